{{/* wsproxy.yaml: what values say of it, and what the chart has to know itself. */}}
{{- define "wsproxy.config" -}}
{{- include "wsproxy.objections" . -}}
{{- $c := deepCopy .Values.config -}}
{{- $own := dict "timeout" (printf "%ds" (int .Values.drain.timeoutSeconds)) "spread" (printf "%ds" (int .Values.drain.spreadSeconds)) -}}
{{- $_ := set $c "drain" (merge $own ($c.drain | default dict)) -}}
{{- if .Values.admin.tokenSecret.name -}}
{{- $_ := set $c "admin" (dict "address" (printf ":%d" (int .Values.admin.port)) "token" (printf "file:/run/admin/%s" .Values.admin.tokenSecret.key)) -}}
{{- else -}}
{{- $_ := set $c "admin" (dict "address" (printf "127.0.0.1:%d" (int .Values.admin.port))) -}}
{{- end -}}
{{- toYaml $c -}}
{{- end }}

{{/* What can't work, said before anything is installed. */}}
{{- define "wsproxy.objections" -}}
{{- $listened := list -}}
{{- range .Values.config.listeners -}}
{{- $listened = append $listened (regexFind "[0-9]+$" .address) -}}
{{- end -}}
{{- range .Values.service.ports -}}
{{- if not (has (toString .targetPort) $listened) -}}
{{- fail (printf "service.ports: no listener of config has port %v, only %s" .targetPort (join ", " $listened)) -}}
{{- end -}}
{{- end -}}
{{- if has (toString .Values.admin.port) $listened -}}
{{- fail (printf "admin.port: a listener of config has port %v, too" .Values.admin.port) -}}
{{- end -}}
{{- if gt (int .Values.drain.spreadSeconds) (int .Values.drain.timeoutSeconds) -}}
{{- fail "drain.spreadSeconds is longer than drain.timeoutSeconds" -}}
{{- end -}}
{{- if and .Values.serviceMonitor.enabled (not .Values.admin.tokenSecret.name) -}}
{{- fail "serviceMonitor: Prometheus can't reach /metrics on loopback; set admin.tokenSecret.name" -}}
{{- end -}}
{{- end }}
