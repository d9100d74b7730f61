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
{{- end -}}
