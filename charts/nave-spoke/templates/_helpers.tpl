{{/* Name of every object. */}}
{{- define "nave-spoke.fullname" -}}
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

{{/* What the spoke's pod and the selectors of everything that belongs to it have. */}}
{{- define "nave-spoke.selector" -}}
app.kubernetes.io/name: nave-spoke
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "nave-spoke.labels" -}}
{{ include "nave-spoke.selector" . }}
app.kubernetes.io/version: {{ regexReplaceAll "[^A-Za-z0-9_.-]" .Chart.AppVersion "-" | trunc 63 | trimSuffix "-" | quote }}
app.kubernetes.io/component: spoke
app.kubernetes.io/part-of: nave
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{- define "nave-spoke.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (include "nave-spoke.fullname" .) -}}
{{- end -}}

{{/* A reference of an image: a list of the section of values and the chart's version of the program. */}}
{{- define "nave-spoke.image" -}}
{{- $image := index . 0 -}}
{{- $name := printf "%s/%s" $image.registry $image.repository -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $name $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name ($image.tag | default (regexReplaceAll "[^A-Za-z0-9_.-]" (index . 1) "-")) -}}
{{- end -}}
{{- end -}}

{{- define "nave-spoke.joinSecret" -}}
{{- .Values.joinToken.existingSecret | default (printf "%s-join" (include "nave-spoke.fullname" .)) -}}
{{- end -}}

{{/* The namespaces of sessions, each once. Two organizations in one namespace would share quota and policies. */}}
{{- define "nave-spoke.checkNamespaces" -}}
{{- $seen := dict -}}
{{- range $organization, $namespace := .Values.settings.namespaces.organizations -}}
{{- if eq $namespace $.Release.Namespace -}}
{{- fail (printf "settings.namespaces.organizations.%s: %s is the namespace of the spoke itself, which sessions must not share: name another" $organization $namespace) -}}
{{- end -}}
{{- if or (hasPrefix "kube-" $namespace) (eq $namespace "default") -}}
{{- fail (printf "settings.namespaces.organizations.%s: %s belongs to Kubernetes: name another" $organization $namespace) -}}
{{- end -}}
{{- if hasKey $seen $namespace -}}
{{- fail (printf "settings.namespaces.organizations.%s: %s is the namespace of %s too: give each organization its own" $organization $namespace (get $seen $namespace)) -}}
{{- end -}}
{{- $_ := set $seen $namespace $organization -}}
{{- end -}}
{{- if not (or $seen .Values.settings.namespaces.manage) -}}
{{- fail "settings.namespaces: there is no organization and manage is off, so no session could run here: name an organization" -}}
{{- end -}}
{{- if and .Values.settings.egress (not .Values.cluster.apiServer) -}}
{{- fail "cluster.apiServer: is empty, and settings.egress lets sessions out: name the API server's addresses, which sessions must never reach; `kubectl --namespace default get service/kubernetes endpointslice/kubernetes` shows them" -}}
{{- end -}}
{{- if and .Values.joinToken.value .Values.joinToken.existingSecret -}}
{{- fail "joinToken: value and existingSecret are both given: leave one of them out" -}}
{{- end -}}
{{- end -}}

{{/* The rights of a spoke in a namespace of sessions, and nothing beyond. */}}
{{- define "nave-spoke.rules" -}}
- apiGroups: [""]
  resources: [configmaps, pods, persistentvolumeclaims]
  verbs: [create, get, list, watch, patch, delete]
- apiGroups: [""]
  resources: [pods/log]
  verbs: [get]
- apiGroups: [""]
  resources: [resourcequotas]
  verbs: [get, list]
{{- end -}}

{{/* The settings of the runtime: the file that the program reads. */}}
{{- define "nave-spoke.settings" -}}
{{- $s := .Values.settings -}}
{{- $flavors := dict -}}
{{- range $name, $f := $s.flavors -}}
{{- $flavor := dict "cpu" $f.cpu "memory" $f.memory "count" $f.count -}}
{{- with $f.cpuLimit }}{{ $_ := set $flavor "cpu_limit" . }}{{ end -}}
{{- with $f.ephemeralStorage }}{{ $_ := set $flavor "ephemeral_storage" . }}{{ end -}}
{{- $_ := set $flavors $name $flavor -}}
{{- end -}}
{{- $namespaces := dict "organizations" $s.namespaces.organizations "manage" $s.namespaces.manage "prefix" $s.namespaces.prefix -}}
{{- if $s.namespaces.manage -}}
{{- $secrets := list -}}
{{- range .Values.sessions.imagePullSecrets }}{{ $secrets = append $secrets .name }}{{ end -}}
{{- $limits := .Values.sessions.limits -}}
{{- $_ := set $namespaces "template" (dict "pull_secrets" $secrets "quota" .Values.sessions.quota
  "limits" (dict "cpu" $limits.cpu "memory" $limits.memory "cpu_request" $limits.cpuRequest "memory_request" $limits.memoryRequest)
  "api_servers" .Values.cluster.apiServer "cluster_cidrs" .Values.cluster.ranges) -}}
{{- end -}}
{{- $service := $s.service | default (printf "%s.%s.svc:%v" (include "nave-spoke.fullname" .) .Release.Namespace .Values.service.port) -}}
{{- dict
  "service" $service
  "namespaces" $namespaces
  "harness" (dict "image" (include "nave-spoke.image" (list $s.harness.image .Chart.AppVersion)) "delivery" $s.harness.delivery)
  "pods" (dict "image" $s.pods.image "user" $s.pods.user "service_account" "nave-session" "pull_policy" $s.pods.pullPolicy
    "node_selector" $s.pods.nodeSelector "tolerations" $s.pods.tolerations "labels" $s.pods.labels "annotations" $s.pods.annotations)
  "flavors" $flavors
  "sidecar" (dict "cpu" $s.sidecar.cpu "memory" $s.sidecar.memory)
  "runtime_classes" $s.runtimeClasses
  "storage_classes" $s.storageClasses
  "start_limit" $s.startLimit
  "network_policies" $s.networkPolicies
  "egress" $s.egress
  | toYaml -}}
{{- end -}}
