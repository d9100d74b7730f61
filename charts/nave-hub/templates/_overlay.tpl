{{/* First of the embedded overlay's ports; empty: the hub chooses them. */}}
{{- define "nave-hub.overlayPort" -}}
{{- $o := .Values.config.overlay -}}
{{- if and (not $o.controller) (or $o.port $o.advertise) -}}
{{- $o.port | default 7410 | int -}}
{{- end -}}
{{- end -}}

{{/* Something where the embedded overlay has a service of its own. */}}
{{- define "nave-hub.overlayService" -}}
{{- $o := .Values.config.overlay -}}
{{- if and $o.advertise (not $o.controller) (not .Values.hostNetwork.enabled) -}}
true
{{- end -}}
{{- end -}}

{{/* The ports that spokes dial, in the order in which the hub has them: names, numbers and node ports. A list in YAML. */}}
{{- define "nave-hub.overlayPorts" -}}
{{- $ports := list -}}
{{- with include "nave-hub.overlayPort" . -}}
{{- $first := int . -}}
{{- range $i, $name := list "overlay" "router-1" "router-2" -}}
{{- $entry := dict "name" $name "port" (add $first $i) -}}
{{- if eq $.Values.overlayService.type "NodePort" -}}
{{- $_ := set $entry "node" (add $first $i) -}}
{{- else if $.Values.overlayService.nodePorts -}}
{{- $_ := set $entry "node" (index $.Values.overlayService.nodePorts $i | int) -}}
{{- end -}}
{{- $ports = append $ports $entry -}}
{{- end -}}
{{- end -}}
{{- $ports | toYaml -}}
{{- end -}}

{{/* The DNS name that the embedded overlay advertises; empty: none, or an IP address. */}}
{{- define "nave-hub.ownName" -}}
{{- $o := .Values.config.overlay -}}
{{- if and (not $o.controller) (not (regexMatch "^[0-9.]+$|:" $o.advertise)) -}}
{{- $o.advertise -}}
{{- end -}}
{{- end -}}

{{/* The pod's own address. */}}
{{- define "nave-hub.near" -}}
{{- ternary "::1" "127.0.0.1" (eq .Values.config.overlay.listen "::1") -}}
{{- end -}}

{{/* What a schema cannot say of the overlay. */}}
{{- define "nave-hub.checkOverlay" -}}
{{- $c := .Values.config -}}
{{- $o := $c.overlay -}}
{{- $near := list "0.0.0.0" "::" "127.0.0.1" "::1" -}}
{{- $given := .Values.overlayService.nodePorts -}}
{{- if $o.controller -}}
{{- if .Values.hostNetwork.enabled -}}
{{- fail "hostNetwork.enabled: is for the embedded overlay, and config.overlay.controller names another: leave one of them out" -}}
{{- end -}}
{{- range list "advertise" "port" -}}
{{- if get $o . -}}
{{- fail (printf "config.overlay.%s: is for the embedded overlay, and config.overlay.controller names another: leave one of them out" .) -}}
{{- end -}}
{{- end -}}
{{- else if $o.advertise -}}
{{- if not (has ($o.listen | default "0.0.0.0") $near) -}}
{{- fail (printf "config.overlay.listen: is %s: with config.overlay.advertise leave it out, or use ::" $o.listen) -}}
{{- end -}}
{{- else if .Values.hostNetwork.enabled -}}
{{- if or (not $o.listen) (has $o.listen $near) (hasPrefix "127." $o.listen) -}}
{{- fail "config.overlay.listen: is loopback: with hostNetwork.enabled name the address of the node, which spokes reach, or name config.overlay.advertise" -}}
{{- end -}}
{{- else if not (or (not $o.listen) (hasPrefix "127." $o.listen) (eq $o.listen "::1")) -}}
{{- fail "config.overlay.listen: no pod keeps an address: with the embedded overlay name config.overlay.advertise or use hostNetwork.enabled, or name config.overlay.controller" -}}
{{- end -}}
{{- if and .Values.hostNetwork.enabled (not (or .Values.nodeSelector .Values.affinity)) -}}
{{- fail "nodeSelector: is empty: with hostNetwork.enabled the hub must stay on the node whose address spokes dial, for example {kubernetes.io/hostname: NODE}" -}}
{{- end -}}
{{- with include "nave-hub.overlayPort" . -}}
{{- $first := int . -}}
{{- range $field, $listen := dict "api.listen" $c.api.listen "api.grpc_listen" $c.api.grpc_listen "metrics.listen" $c.metrics.listen "profiling.listen" $c.profiling.listen -}}
{{- $port := include "nave-hub.port" $listen | int -}}
{{- if and (ge $port $first) (lt $port (add $first 5 | int)) -}}
{{- fail (printf "config.overlay.port: %d and the four behind it are the overlay's, and config.%s has %d" $first $field $port) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if not (include "nave-hub.overlayService" .) -}}
{{- if $given -}}
{{- fail "overlayService.nodePorts: there is no such service without config.overlay.advertise, with hostNetwork.enabled, or with config.overlay.controller" -}}
{{- end -}}
{{- else -}}
{{- if and $given (ne (len $given) 3) -}}
{{- fail (printf "overlayService.nodePorts: has %d ports, want three: of controller, first and second router" (len $given)) -}}
{{- end -}}
{{- if and $given (eq .Values.overlayService.type "ClusterIP") -}}
{{- fail "overlayService.nodePorts: a service of type ClusterIP has none: leave them out, or set overlayService.type" -}}
{{- end -}}
{{- if eq .Values.overlayService.type "NodePort" -}}
{{- if not $o.port -}}
{{- fail "config.overlay.port: is missing: with overlayService.type NodePort spokes dial node ports, so name the first of three, such as 30410" -}}
{{- end -}}
{{- range $i, $port := $given -}}
{{- if ne (int $port) (add $o.port $i | int) -}}
{{- fail (printf "overlayService.nodePorts: has %d in place %d, and the hub advertises %d: with NodePort they must be config.overlay.port and the two behind it, or left out" (int $port) (add $i 1 | int) (add $o.port $i | int)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
