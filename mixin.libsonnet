// The alert rules and dashboards as a monitoring mixin. To adapt it:
//   (import 'qumulo-encryption-exporter/mixin.libsonnet') + { _config+:: { selector: 'job="my-job"' } }
{
  _config:: {
    selector: 'job="qumulo-encryption"',
    clusterLabel: 'cluster',
    // The exporter serves its runbooks at /runbooks.
    runbooks: 'https://runbooks.example.com',
    page: 'https://exporter.example.com',
  },

  local adapted(text) = std.foldl(
    function(text, each) std.strReplace(text, each[0], each[1]),
    [
      ['job="qumulo-encryption"', $._config.selector],
      ['https://runbooks.example.com', $._config.runbooks],
      ['https://exporter.example.com', $._config.page],
      ['(cluster,', '(%s,' % $._config.clusterLabel],
      ['(cluster)', '(%s)' % $._config.clusterLabel],
      ['{cluster=', '{%s=' % $._config.clusterLabel],
      ['labels.cluster ', 'labels.%s ' % $._config.clusterLabel],
    ],
    text
  ),

  prometheusAlerts+:: std.parseYaml(adapted(importstr 'deploy/prometheus/alerts.yml')),

  grafanaDashboards+:: {
    'cluster.json': std.parseJson(adapted(importstr 'dashboards/cluster.json')),
    'exporter.json': std.parseJson(adapted(importstr 'dashboards/exporter.json')),
    'fleet.json': std.parseJson(adapted(importstr 'dashboards/fleet.json')),
  },
}
