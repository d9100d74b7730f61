{{/*
What an egress rule to a CIDR must leave out: a list of the CIDR and of the addresses that no session may reach. Printed as a list in YAML.

Templates know no addresses, so IPv4 is compared as numbers, and of IPv6 only what can be judged by its first digits: all of it, and ranges of
2000::/3 where none of the excluded addresses lies in that.
*/}}
{{- define "nave-spoke.except" -}}
{{- $cidr := index . 0 -}}
{{- $except := list -}}
{{- range index . 1 -}}
{{- $both4 := and (contains "." $cidr) (contains "." .) -}}
{{- $both6 := and (contains ":" $cidr) (contains ":" .) -}}
{{- if $both4 -}}
{{- $outer := include "nave-spoke.range4" $cidr | fromYaml -}}
{{- $inner := include "nave-spoke.range4" . | fromYaml -}}
{{- if and (le ($inner.from | int64) ($outer.from | int64)) (ge ($inner.to | int64) ($outer.to | int64)) -}}
{{- fail (printf "settings.egress: %s lies in %s, which no session may reach: leave it out" $cidr .) -}}
{{- end -}}
{{- if and (ge ($inner.from | int64) ($outer.from | int64)) (le ($inner.to | int64) ($outer.to | int64)) -}}
{{- $except = append $except . -}}
{{- end -}}
{{- else if $both6 -}}
{{- if eq $cidr "::/0" -}}
{{- $except = append $except . -}}
{{- else if not (regexMatch "^[23][0-9a-fA-F]{3}:" $cidr) -}}
{{- fail (printf "settings.egress: %s: of IPv6 use ::/0 or a range in 2000::/3" $cidr) -}}
{{- else if regexMatch "^[23][0-9a-fA-F]{3}:" . -}}
{{- fail (printf "settings.egress: whether %s holds %s cannot be told here: use ::/0" $cidr .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $except | uniq | toYaml -}}
{{- end -}}

{{/* The addresses at which clouds tell a machine its credentials, which no session reaches: the spoke's own list (spoke/kube/tenant). As JSON. */}}
{{- define "nave-spoke.never" -}}
{{- list "169.254.0.0/16" "168.63.129.16/32" "100.100.100.200/32" "192.0.0.192/32" "fe80::/10" "fd00:ec2::254/128" "fd00:ec2::23/128" "fd20:ce::254/128"
  "fd00:c1::a9fe:a9fe/128" "fd00:42::42/128" "fd00:a9fe:a9fe::1/128" "fd00:100::100:200/128" | toJson -}}
{{- end -}}

{{/* First and last address of an IPv4 CIDR, as numbers. */}}
{{- define "nave-spoke.range4" -}}
{{- $parts := splitList "/" . -}}
{{- $address := 0 -}}
{{- range splitList "." (index $parts 0) -}}
{{- $address = add (mul $address 256) (atoi .) -}}
{{- end -}}
{{- $size := 1 -}}
{{- range until (sub 32 (atoi (index $parts 1)) | int) -}}
{{- $size = mul $size 2 -}}
{{- end -}}
{{- $from := mul (div $address $size) $size -}}
{{- if ne ($from | int64) ($address | int64) -}}
{{- fail (printf "settings.egress, cluster: %s is no network: its address has bits beyond the length of its prefix" .) -}}
{{- end -}}
from: "{{ $from }}"
to: "{{ sub (add $from $size) 1 }}"
{{- end -}}
