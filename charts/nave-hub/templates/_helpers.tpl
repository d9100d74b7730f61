{{/* Name of every object. */}}
{{- define "nave-hub.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else -}}
{{- $name := .Values.nameOverride | default .Chart.Name -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 45 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 45 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What the hub's pod and the selectors of everything that belongs to it have. */}}
{{- define "nave-hub.selector" -}}
app.kubernetes.io/name: nave-hub
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* The one pod that is the hub: whoever scales the set by hand makes others, with claims of their own, that must not answer for it. */}}
{{- define "nave-hub.one" -}}
{{ include "nave-hub.selector" . }}
statefulset.kubernetes.io/pod-name: {{ include "nave-hub.fullname" . }}-0
{{- end -}}

{{- define "nave-hub.labels" -}}
{{ include "nave-hub.selector" . }}
app.kubernetes.io/version: {{ regexReplaceAll "[^A-Za-z0-9_.-]" .Chart.AppVersion "-" | trunc 63 | trimSuffix "-" | quote }}
app.kubernetes.io/component: hub
app.kubernetes.io/part-of: nave
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{- define "nave-hub.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (include "nave-hub.fullname" .) -}}
{{- end -}}

{{- define "nave-hub.image" -}}
{{- $name := printf "%s/%s" .Values.image.registry .Values.image.repository -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" $name .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name (.Values.image.tag | default (regexReplaceAll "[^A-Za-z0-9_.-]" .Chart.AppVersion "-")) -}}
{{- end -}}
{{- end -}}

{{/* Port of an address. */}}
{{- define "nave-hub.port" -}}
{{- splitList ":" . | last -}}
{{- end -}}

{{/* An address as a URL has it. */}}
{{- define "nave-hub.host" -}}
{{- if contains ":" . }}[{{ . }}]{{ else }}{{ . }}{{ end -}}
{{- end -}}
