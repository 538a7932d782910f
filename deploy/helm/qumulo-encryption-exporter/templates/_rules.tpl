{{/* files/alerts.yml with the settings of the values. */}}
{{- define "exporter.rules" -}}
{{- $values := .Values.prometheusRule }}
{{- $settings := $values.alerts | default dict }}
{{- $job := printf "job=%q" .Values.scrapeJob }}
{{- $label := .Values.clusterLabel }}
{{- $names := list }}
{{- $groups := list }}
{{- range $group := (include "exporter.linked" (list . (.Files.Get "files/alerts.yml")) | fromYaml).groups }}
  {{- $rules := list }}
  {{- range $rule := $group.rules }}
    {{- $enabled := true }}
    {{- $_ := set $rule "expr" ($rule.expr | replace "job=\"qumulo-encryption\"" $job) }}
    {{- if ne $label "cluster" }}
      {{- /* The label, not the beginning of a recorded series (cluster:...). */}}
      {{- $_ := set $rule "expr" (regexReplaceAll "\\bcluster(\\W)" $rule.expr (printf "%s${1}" $label) | replace (printf "%s:" $label) "cluster:") }}
    {{- end }}
    {{- if $rule.alert }}
      {{- $names = append $names $rule.alert }}
      {{- $labels := $rule.labels | default dict }}
      {{- $own := index $settings $rule.alert | default dict }}
      {{- /* What is set for one of two severities, before what is set for both. */}}
      {{- range $set := list $own (index $own ($labels.severity | default "") | default dict) }}
        {{- if $set.for }}{{- $_ := set $rule "for" $set.for }}{{- end }}
        {{- if $set.severity }}{{- $_ := set $labels "severity" $set.severity }}{{- end }}
        {{- if hasKey $set "enabled" }}{{- $enabled = $set.enabled }}{{- end }}
      {{- end }}
      {{- with include "exporter.merged" (list $labels $values.alertLabels) }}
        {{- $_ := set $rule "labels" (fromYaml .) }}
      {{- end }}
      {{- range $key, $text := $rule.annotations }}
        {{- $_ := set $rule.annotations $key (regexReplaceAll "\\$labels\\.cluster\\b" $text (printf "$$labels.%s" $label)) }}
      {{- end }}
    {{- end }}
    {{- if $enabled }}
      {{- $rules = append $rules $rule }}
    {{- end }}
  {{- end }}
  {{- if $rules }}
    {{- $groups = append $groups (set $group "rules" $rules) }}
  {{- end }}
{{- end }}
{{- range $name, $_ := $settings }}
  {{- if not (has $name $names) }}
    {{- fail (printf "prometheusRule.alerts: there is no alert %s" $name) }}
  {{- end }}
{{- end }}
{{- dict "groups" $groups | toYaml }}
{{- end }}
