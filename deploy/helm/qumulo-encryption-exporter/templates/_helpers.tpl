{{- define "exporter.name" -}}
{{ .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* The name of the objects. The release's, if that says already what it is. */}}
{{- define "exporter.fullname" -}}
{{- $name := include "exporter.name" . -}}
{{- $default := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) -}}
{{ .Values.fullnameOverride | default $default | trunc 52 | trimSuffix "-" }}
{{- end }}

{{- define "exporter.selector" -}}
app.kubernetes.io/name: {{ include "exporter.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* The metadata of an object: (list $ SECTION-OF-THE-VALUES [NAME]). */}}
{{- define "exporter.metadata" -}}
{{- $ := index . 0 }}
{{- $section := index . 1 }}
{{- $own := include "exporter.selector" $ | fromYaml }}
{{- $_ := set $own "app.kubernetes.io/version" $.Chart.AppVersion }}
{{- $_ := set $own "app.kubernetes.io/managed-by" $.Release.Service }}
{{- $_ := set $own "helm.sh/chart" (printf "%s-%s" $.Chart.Name $.Chart.Version | replace "+" "_") }}
metadata:
  name: {{ if gt (len .) 2 }}{{ index . 2 }}{{ else }}{{ include "exporter.fullname" $ }}{{ end }}
  namespace: {{ $.Release.Namespace }}
  labels:
    {{- merge $own $section.labels $.Values.commonLabels | toYaml | nindent 4 }}
  {{- with merge (dict) $section.annotations $.Values.commonAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{- define "exporter.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (.Values.serviceAccount.create | ternary (include "exporter.fullname" .) "default") }}
{{- end }}

{{- define "exporter.secret" -}}
{{ .Values.secret.name | default (include "exporter.fullname" .) }}
{{- end }}

{{/* A text with links to the runbooks: (list $ TEXT). */}}
{{- define "exporter.linked" -}}
{{ index . 1 | replace "https://runbooks.example.com" (trimSuffix "/" (index . 0).Values.runbookUrl) }}
{{- end }}

{{/* Where the clusters and proxies of the configuration listen, and with probe_kms their KMS, as a list. */}}
{{- define "exporter.ports" -}}
{{- $ports := concat (list 8000) .Values.networkPolicy.ports }}
{{- range prepend (.Values.config.clusters | default list) (.Values.config.global | default dict) }}
  {{- with .url }}
    {{- $ports = append $ports (regexFind "[0-9]+$" (regexFind ":[0-9]+$" (urlParse .).host) | default "8000") }}
  {{- end }}
  {{- if .probe_kms }}
    {{- /* KMIP's; a KMS elsewhere is one for networkPolicy.ports. */}}
    {{- $ports = append $ports 5696 }}
  {{- end }}
  {{- with .proxy_url }}
    {{- $default := hasPrefix "https:" . | ternary "443" "80" }}
    {{- $ports = append $ports (regexFind "[0-9]+$" (regexFind ":[0-9]+$" (urlParse .).host) | default $default) }}
  {{- end }}
{{- end }}
{{- $numbers := list }}
{{- range $ports }}
  {{- $numbers = append $numbers (int .) }}
{{- end }}
{{- $numbers | uniq | toYaml }}
{{- end }}

{{/* Refuses secrets' files that are looked for beside the configuration, where no Secret is. Their values are not repeated: a
token may be there by mistake. */}}
{{- define "exporter.check" -}}
{{- range $section := prepend (.Values.config.clusters | default list) (.Values.config.global | default dict) }}
  {{- $place := hasKey $section "name" | ternary (printf "the cluster %v" $section.name) "global" }}
  {{- range $key, $file := dict "authorization" "credentials_file" "login" "password_file" "proxy_authorization" "password_file" }}
    {{- with index $section $key }}
      {{- if not (hasPrefix "/" (index . $file)) }}
        {{- fail (printf "config: %s: %s.%s must be a whole path: the files of the Secret are in /run/secrets/qumulo/" $place $key $file) }}
      {{- end }}
    {{- end }}
  {{- end }}
{{- end }}
{{- end }}
