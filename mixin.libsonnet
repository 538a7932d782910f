// The alert rules and dashboards as a monitoring mixin. To adapt it:
//   (import 'qumulo-encryption-exporter/mixin.libsonnet') + { _config+:: { selector: 'job="my-job"' } }
{
  _config:: {
    // The scrape job: in the rules, and as a regular expression the default of the dashboards' text box.
    selector: 'job="qumulo-encryption"',
    job: 'qumulo-encryption',
    clusterLabel: 'cluster',
    // The exporter serves its runbooks at /runbooks.
    runbooks: 'https://runbooks.example.com',
    page: 'https://exporter.example.com',
  },

  local config = $._config,
  local replaced(text, pairs) = std.foldl(function(text, pair) std.strReplace(text, pair[0], pair[1]), pairs, text),
  local adapted(text) = replaced(text, [
    ['https://runbooks.example.com', config.runbooks],
    ['https://exporter.example.com', config.page],
  ]),

  prometheusAlerts+:: std.parseYaml(replaced(adapted(importstr 'deploy/prometheus/alerts.yml'), [
    ['job="qumulo-encryption"', config.selector],
    ['(cluster,', '(%s,' % config.clusterLabel],
    ['(cluster)', '(%s)' % config.clusterLabel],
    ['{cluster=', '{%s=' % config.clusterLabel],
    ['labels.cluster ', 'labels.%s ' % config.clusterLabel],
  ])),

  local textBoxes = { job: config.job, label: config.clusterLabel },
  local dashboard(text) = std.parseJson(adapted(text)) {
    templating+: {
      list: [
        if std.objectHas(textBoxes, each.name) then each {
          local chosen = { selected: true, text: textBoxes[each.name], value: textBoxes[each.name] },
          query: chosen.value,
          current: chosen,
          options: [chosen],
        } else each
        for each in super.list
      ],
    },
  },

  grafanaDashboards+:: {
    'cluster.json': dashboard(importstr 'dashboards/cluster.json'),
    'exporter.json': dashboard(importstr 'dashboards/exporter.json'),
    'fleet.json': dashboard(importstr 'dashboards/fleet.json'),
  },
}
