{{- define "kco.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "kco.fullname" -}}
{{- if contains (include "kco.name" .) .Release.Name -}}
{{- .Release.Name | trunc 53 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "kco.name" .) | trunc 53 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "kco.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride -}}
{{- end -}}

{{- define "kco.selectorLabels" -}}
app.kubernetes.io/name: {{ include "kco.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "kco.labels" -}}
{{ include "kco.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | quote }}
{{- end -}}

{{- define "kco.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "kco.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "kco.enabledActions" -}}
{{- $names := list -}}
{{- range $name, $on := .Values.actions -}}
{{- if $on -}}{{- $names = append $names $name -}}{{- end -}}
{{- end -}}
{{- join "," (concat $names .Values.extraActions) -}}
{{- end -}}

{{/* How replicas share the work: "leader", "shares", or "" where each acts alone. */}}
{{- define "kco.sharing" -}}
{{- if ne (get .Values.extraConfig "LEADER_ELECTION" | toString | lower) "false" -}}
{{- get .Values.extraConfig "SHARING" | default "leader" | toString | lower -}}
{{- end -}}
{{- end -}}

{{/* What the operator may do with TargetApps and what they point to, in the namespaces that it watches. */}}
{{- define "kco.rules" -}}
- apiGroups: ["operator.kco.local"]
  resources: ["targetapps"]
  verbs: [{{ if eq (include "kco.sharing" .) "shares" }}"get", {{ end }}"list", "watch"]
- apiGroups: ["operator.kco.local"]
  resources: ["targetapps/status"]
  verbs: ["patch"]
- apiGroups: ["operator.kco.local"]
  resources: ["actionruns"]
  verbs: ["get", "list", "create", "delete"]
- apiGroups: ["operator.kco.local"]
  resources: ["actionruns/status"]
  verbs: ["patch"]
- apiGroups: [""]
  resources: ["pods"]
  verbs: ["list", "watch"]
- apiGroups: [""]
  resources: ["events"]
  verbs: ["create", "patch"]
{{- if .Values.rbac.secrets }}
- apiGroups: [""]
  resources: ["secrets", "configmaps"]
  verbs: ["get"]
{{- end }}
{{- if .Values.actions.restart_pod }}
- apiGroups: [""]
  resources: ["pods/eviction"]
  verbs: ["create"]
- apiGroups: [""]
  resources: ["pods"]
  verbs: ["delete"]
- apiGroups: ["apps"]
  resources: ["replicasets"]
  verbs: ["get"]
- apiGroups: ["apps"]
  resources: ["deployments", "statefulsets", "daemonsets"]
  verbs: ["patch"]
{{- end }}
{{- if .Values.actions.scale_deployment }}
- apiGroups: ["apps"]
  resources: ["deployments/scale", "statefulsets/scale"]
  verbs: ["get", "patch"]
- apiGroups: ["autoscaling"]
  resources: ["horizontalpodautoscalers"]
  verbs: ["list"]
{{- end }}
{{- if .Values.actions.patch_resource }}
{{- range .Values.patchableKinds }}
{{- $parts := splitn "." 2 . }}
- apiGroups: [{{ default "" $parts._1 | quote }}]
  resources: [{{ $parts._0 | quote }}]
  verbs: ["patch"]
{{- end }}
{{- end }}
{{- if .Values.actions.exec_command }}
- apiGroups: [""]
  resources: ["pods/exec"]
  verbs: ["get", "create"]
{{- end }}
{{- if .Values.rbac.impersonation }}
- apiGroups: [""]
  resources: ["serviceaccounts"]
  verbs: ["impersonate"]
{{- end }}
{{- with .Values.rbac.extraRules }}
{{ toYaml . }}
{{- end }}
{{- end -}}
