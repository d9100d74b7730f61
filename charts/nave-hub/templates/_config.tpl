{{/*
The secrets as they are mounted: for each its folder, its files by the key in the secret, and the fields of the configuration that name them. A list in
YAML.
*/}}
{{- define "nave-hub.mounts" -}}
{{- $s := .Values.secrets -}}
{{- $mounts := list -}}
{{- with $s.etcdPassword }}{{ if .existingSecret }}
{{- $mounts = append $mounts (dict "value" "etcdPassword" "secret" .existingSecret "folder" "etcd-password" "fields" (dict "etcd.password_file" .key)) }}
{{- end }}{{ end -}}
{{- with $s.etcdTLS }}{{ if .existingSecret }}
{{- $mounts = append $mounts (dict "value" "etcdTLS" "secret" .existingSecret "folder" "etcd-tls" "fields" (dict "etcd.tls.ca_file" .ca "etcd.tls.cert_file" .cert "etcd.tls.key_file" .key)) }}
{{- end }}{{ end -}}
{{- with $s.postgresqlPassword }}{{ if .existingSecret }}
{{- $mounts = append $mounts (dict "value" "postgresqlPassword" "secret" .existingSecret "folder" "postgresql-password" "fields" (dict "archive.postgresql.password_file" .key)) }}
{{- end }}{{ end -}}
{{- with $s.overlayPassword }}{{ if .existingSecret }}
{{- $mounts = append $mounts (dict "value" "overlayPassword" "secret" .existingSecret "folder" "overlay-password" "fields" (dict "overlay.password_file" .key)) }}
{{- end }}{{ end -}}
{{- with $s.overlayCA }}{{ if .existingSecret }}
{{- $mounts = append $mounts (dict "value" "overlayCA" "secret" .existingSecret "folder" "overlay-ca" "fields" (dict "overlay.ca_file" .ca)) }}
{{- end }}{{ end -}}
{{- with $s.apiTLS }}{{ if .existingSecret }}
{{- $mounts = append $mounts (dict "value" "apiTLS" "secret" .existingSecret "folder" "api-tls" "fields" (dict "api.tls.cert_file" .cert "api.tls.key_file" .key)) }}
{{- end }}{{ end -}}
{{- with $s.adminToken }}{{ if .existingSecret }}
{{- $mounts = append $mounts (dict "value" "adminToken" "secret" .existingSecret "folder" "admin-token" "fields" (dict "api.admin_token_file" .key)) }}
{{- end }}{{ end -}}
{{- $mounts | toYaml -}}
{{- end -}}

{{/* A map without what is empty, as YAML. */}}
{{- define "nave-hub.prune" -}}
{{- $out := dict -}}
{{- range $key, $value := . -}}
{{- if kindIs "map" $value -}}
{{- $inner := include "nave-hub.prune" $value | fromYaml -}}
{{- if $inner }}{{ $_ := set $out $key $inner }}{{ end -}}
{{- else if $value -}}
{{- $_ := set $out $key $value -}}
{{- end -}}
{{- end -}}
{{- $out | toYaml -}}
{{- end -}}

{{/* The hub's configuration: the file that the program reads. */}}
{{- define "nave-hub.config" -}}
{{- include "nave-hub.check" . -}}
{{- $config := deepCopy .Values.config -}}
{{- if not (or .Values.secrets.apiTLS.existingSecret $config.api.tls.cert_file) -}}
{{- $name := include "nave-hub.fullname" . -}}
{{- $own := list $name (printf "%s.%s" $name .Release.Namespace) (printf "%s.%s.svc" $name .Release.Namespace) -}}
{{- $_ := set $config.api "hosts" (concat $own $config.api.hosts | uniq) -}}
{{- end -}}
{{- if and $config.overlay.advertise (not $config.overlay.controller) -}}
{{- $_ := set $config.overlay "listen" ($config.overlay.listen | default "0.0.0.0") -}}
{{- $_ := set $config.overlay "port" (include "nave-hub.overlayPort" . | int) -}}
{{- end -}}
{{- range include "nave-hub.mounts" . | fromYamlArray -}}
{{- $mount := . -}}
{{- range $field, $key := .fields -}}
{{- if $key -}}
{{- $parts := splitList "." $field -}}
{{- $section := $config -}}
{{- range initial $parts }}{{ $section = get $section . }}{{ end -}}
{{- if get $section (last $parts) -}}
{{- fail (printf "secrets.%s: config.%s is given too: leave one of them out" $mount.value $field) -}}
{{- end -}}
{{- $_ := set $section (last $parts) (printf "/etc/nave/secrets/%s/%s" $mount.folder $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- include "nave-hub.prune" $config -}}
{{- end -}}

{{/* What a schema cannot say. */}}
{{- define "nave-hub.check" -}}
{{- $c := .Values.config -}}
{{- if not (hasPrefix "/var/lib/nave-hub/" $c.data_dir) -}}
{{- fail (printf "config.data_dir: %s is not on the claim: name a folder in /var/lib/nave-hub" $c.data_dir) -}}
{{- end -}}
{{- if or (regexMatch "^[a-z]+://[^/@]*:[^/@]*@" $c.archive.postgresql.dsn) (regexMatch "(?i)(^|[?&\\s])password\\s*=" $c.archive.postgresql.dsn) -}}
{{- fail "config.archive.postgresql.dsn: holds a password, which everybody would see who may read the release: name a secret in secrets.postgresqlPassword" -}}
{{- end -}}
{{- if and $c.api.hosts (or .Values.secrets.apiTLS.existingSecret $c.api.tls.cert_file) -}}
{{- fail "config.api.hosts: is for certificates of the hub's own authority, and secrets.apiTLS or config.api.tls names one: leave one of them out" -}}
{{- end -}}
{{- include "nave-hub.checkOverlay" . -}}
{{- include "nave-hub.checkService" . -}}
{{- end -}}

{{/* What a schema cannot say of the API's service. */}}
{{- define "nave-hub.checkService" -}}
{{- $service := .Values.service -}}
{{- range list "nodePort" "grpcNodePort" -}}
{{- if and (get $service .) (eq $service.type "ClusterIP") -}}
{{- fail (printf "service.%s: a service of type ClusterIP has none: leave it out, or set service.type" .) -}}
{{- end -}}
{{- end -}}
{{- $taken := dict -}}
{{- if include "nave-hub.overlayService" . -}}
{{- range include "nave-hub.overlayPorts" . | fromYamlArray -}}
{{- with .node }}{{ $_ := set $taken (int . | toString) "the overlay's service" }}{{ end -}}
{{- end -}}
{{- end -}}
{{- range $field := list "nodePort" "grpcNodePort" -}}
{{- $port := get $service $field | int | toString -}}
{{- if ne $port "0" -}}
{{- with get $taken $port -}}
{{- fail (printf "service.%s: %s is a port of %s: choose another" $field $port .) -}}
{{- end -}}
{{- $_ := set $taken $port (printf "service.%s" $field) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/*
What an upgrade cannot change, compared with the release that runs. A hub that is ready runs by the configuration that is there; where none is ready
nothing is known, and the hub itself says it. Without a cluster, as with helm template, nothing is there.
*/}}
{{- define "nave-hub.checkUpgrade" -}}
{{- $name := include "nave-hub.fullname" . -}}
{{- $map := lookup "v1" "ConfigMap" .Release.Namespace $name -}}
{{- $set := lookup "apps/v1" "StatefulSet" .Release.Namespace $name -}}
{{- $status := get $set "status" | default dict -}}
{{- $same := and $map $set (eq (dig "metadata" "generation" 0 $set | int) (get $status "observedGeneration" | int)) (eq (get $status "currentRevision") (get $status "updateRevision")) -}}
{{- if and $same (ge (get $status "readyReplicas" | int) 1) -}}
{{- $was := get $map.data "hub.yaml" | fromYaml -}}
{{- $is := include "nave-hub.config" . | fromYaml -}}
{{- $keep := printf "keep it, or begin with another release, or with an empty claim in the place of data-%s-0" $name -}}
{{- if ne $was.data_dir $is.data_dir -}}
{{- fail (printf "config.data_dir: is %s, and what the hub knows is in %s: %s" $is.data_dir $was.data_dir $keep) -}}
{{- end -}}
{{- $before := $was.overlay | default dict -}}
{{- $after := $is.overlay | default dict -}}
{{- if not (or $before.controller $after.controller) -}}
{{- $made := $before.advertise | default $before.listen | default "127.0.0.1" -}}
{{- $told := $after.advertise | default $after.listen | default "127.0.0.1" -}}
{{- if ne $made $told -}}
{{- fail (printf "config.overlay.advertise: leads spokes to %s, and the overlay was made for %s, which certificates and identities name: %s" $told $made $keep) -}}
{{- end -}}
{{- if and $before.port $after.port (ne (int $before.port) (int $after.port)) -}}
{{- fail (printf "config.overlay.port: is %d, and the overlay was made for %d, which certificates and identities name: %s" (int $after.port) (int $before.port) $keep) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
