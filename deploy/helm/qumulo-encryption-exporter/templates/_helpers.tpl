{{/* A heading without keys is null, and to Helm that removes the defaults below it. This puts them back; every template includes
it first. A single key of a security context, and `resources`, stay removed. */}}
{{- define "exporter.complete" -}}
{{- range $name, $default := include "exporter.defaults" . | fromYaml }}
  {{- $value := index $.Values $name }}
  {{- if kindIs "invalid" $value }}
    {{- $_ := set $.Values $name $default }}
  {{- else if kindIs "map" $default }}
    {{- range $key, $each := $default }}
      {{- if kindIs "invalid" (index $value $key) }}
        {{- $_ := set $value $key $each }}
      {{- end }}
    {{- end }}
  {{- end }}
{{- end }}
{{- range $name, $default := include "exporter.securityDefaults" . | fromYaml }}
  {{- if kindIs "invalid" (index $.Values $name) }}
    {{- $_ := set $.Values $name $default }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "exporter.defaults" -}}
config: {clusters: []}
configMap: {}
secret: {}
web: {}
image: {repository: qumulo-encryption-exporter}
replicas: 1
deployment: {}
pod: {}
serviceAccount: {create: true}
service: {type: ClusterIP, port: 10979}
ingress: {enabled: false}
httpRoute: {enabled: false}
scrapeJob: qumulo-encryption
clusterLabel: cluster
serviceMonitor: {enabled: auto, endpoint: {}}
prometheusRule: {enabled: auto}
dashboards: {enabled: true, labels: {grafana_dashboard: "1"}}
networkPolicy: {enabled: true, from: [{namespaceSelector: {}}], ports: []}
podDisruptionBudget: {enabled: true, maxUnavailable: 1}
topologySpreadConstraints:
  - {topologyKey: kubernetes.io/hostname, maxSkew: 1, whenUnsatisfiable: ScheduleAnyway, matchLabelKeys: [pod-template-hash]}
  - {topologyKey: topology.kubernetes.io/zone, maxSkew: 1, whenUnsatisfiable: ScheduleAnyway, matchLabelKeys: [pod-template-hash]}
{{- end }}

{{- define "exporter.securityDefaults" -}}
podSecurityContext:
  runAsNonRoot: true
  runAsUser: 65534
  runAsGroup: 65534
  fsGroup: 65534
  seccompProfile: {type: RuntimeDefault}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{- define "exporter.name" -}}
{{ .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* The name of the objects. Only the release's if it contains the chart's name. */}}
{{- define "exporter.fullname" -}}
{{- $name := include "exporter.name" . -}}
{{- $default := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) -}}
{{ .Values.fullnameOverride | default $default | trunc 52 | trimSuffix "-" }}
{{- end }}

{{- define "exporter.selector" -}}
app.kubernetes.io/name: {{ include "exporter.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* One map of several, without nulls; the first one that has a key decides. */}}
{{- define "exporter.merged" -}}
{{- $merged := dict }}
{{- range $map := . }}
  {{- range $key, $value := $map }}
    {{- if not (or (hasKey $merged $key) (kindIs "invalid" $value)) }}
      {{- $_ := set $merged $key $value }}
    {{- end }}
  {{- end }}
{{- end }}
{{- with $merged }}{{ toYaml . }}{{ end }}
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
    {{- include "exporter.merged" (list $own $section.labels $.Values.commonLabels) | nindent 4 }}
  {{- with include "exporter.merged" (list $section.annotations $.Values.commonAnnotations) }}
  annotations:
    {{- . | nindent 4 }}
  {{- end }}
{{- end }}

{{- define "exporter.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (.Values.serviceAccount.create | ternary (include "exporter.fullname" .) "default") }}
{{- end }}

{{/* Whether an object of the Prometheus Operator is wanted: (list $ SECTION KIND). With `auto`, where the API knows it. */}}
{{- define "exporter.operator" -}}
{{- $enabled := (index . 1).enabled | toString }}
{{- $known := (index . 0).Capabilities.APIVersions.Has (printf "monitoring.coreos.com/v1/%s" (index . 2)) }}
{{- if or (eq $enabled "true") (and (eq $enabled "auto") $known) }}true{{ end }}
{{- end }}

{{/* A volume of existing Secrets, each a name or a source of a projected volume: (list NAME-OF-THE-VOLUME SECRETS). */}}
{{- define "exporter.secrets" -}}
{{- $sources := list }}
{{- range index . 1 }}
  {{- $sources = append $sources (kindIs "map" . | ternary . (dict "name" .)) }}
{{- end }}
- name: {{ index . 0 }}
  {{- if eq (len $sources) 1 }}
  {{- $only := first $sources }}
  secret:
    secretName: {{ $only.name }}
    defaultMode: 0440
    {{- with omit $only "name" }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- else }}
  projected:
    defaultMode: 0440
    sources:
      {{- range $sources }}
      - secret:
          {{- toYaml . | nindent 10 }}
      {{- end }}
  {{- end }}
{{- end }}

{{/* All Secrets with credentials: the user's, and the one that the chart creates. */}}
{{- define "exporter.credentials" -}}
{{- $secrets := .Values.existingSecrets | default list }}
{{- if .Values.secret.files }}
  {{- $secrets = append $secrets (include "exporter.fullname" .) }}
{{- end }}
{{- with $secrets }}{{ toYaml . }}{{ end }}
{{- end }}

{{/* The address of the status page: what was set, the ingress, the route, or else the Service, which only pods reach. */}}
{{- define "exporter.url" -}}
{{- if .Values.externalUrl }}
{{- .Values.externalUrl | trimSuffix "/" }}
{{- else if .Values.ingress.enabled }}
{{- printf "%s://%s" (.Values.ingress.tls | empty | ternary "http" "https") .Values.ingress.host }}
{{- else if .Values.httpRoute.enabled }}
{{- printf "https://%s" .Values.httpRoute.host }}
{{- else }}
{{- printf "http://%s.%s.svc:%v" (include "exporter.fullname" .) .Release.Namespace .Values.service.port }}
{{- end }}
{{- end }}

{{/* A text with links to runbooks and the status page: (list $ TEXT). */}}
{{- define "exporter.linked" -}}
{{- $url := include "exporter.url" (index . 0) }}
{{- $runbooks := (index . 0).Values.runbookUrl | default (printf "%s/runbooks" $url) | trimSuffix "/" }}
{{- index . 1 | replace "https://runbooks.example.com" $runbooks | replace "https://exporter.example.com" $url }}
{{- end }}

{{/* Ports of the clusters and proxies in the configuration, and of their KMS with probe_kms, as a list. */}}
{{- define "exporter.ports" -}}
{{- $ports := concat (list 8000) .Values.networkPolicy.ports }}
{{- range prepend (.Values.config.clusters | default list) (.Values.config.global | default dict) }}
  {{- with .url }}
    {{- $ports = append $ports (regexFind "[0-9]+$" (regexFind ":[0-9]+$" (urlParse .).host) | default "8000") }}
  {{- end }}
  {{- if .probe_kms }}
    {{- /* KMIP's port. Others belong in networkPolicy.ports. */}}
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

{{/* Refuses relative paths of secrets: beside the configuration there are none. Values are not repeated, because a token may
be there by mistake. */}}
{{- define "exporter.check" -}}
{{- range $section := prepend (.Values.config.clusters | default list) (.Values.config.global | default dict) }}
  {{- $place := hasKey $section "name" | ternary (printf "the cluster %v" $section.name) "global" }}
  {{- range $key, $file := dict "authorization" "credentials_file" "login" "password_file" "proxy_authorization" "password_file" }}
    {{- with index $section $key }}
      {{- if not (hasPrefix "/" (index . $file | toString)) }}
        {{- fail (printf "config: %s: %s.%s must be an absolute path; files of Secrets are in /run/secrets/qumulo/" $place $key $file) }}
      {{- end }}
    {{- end }}
  {{- end }}
{{- end }}
{{- end }}
