"""Metric, JSON, status page and `status` agree about the clusters of the demo."""

import json
import re
import unittest

from support import EXPORTER, ROOT, VENVS, Case, get, metrics, run

SCHEMA = ROOT / "deploy/clusters.schema.json"
FINDING = re.compile(r'qumulo_encryption_finding\{cluster="(.+)",finding="(\w+)",severity="(\w+)"\}')


class OutputsAgree(Case):
    def setUp(self):
        super().setUp()
        self.demo = self.start_demo()
        self.clusters = {each["name"]: each for each in self.json()["clusters"]}

    def json(self, query=""):
        status, _, body = get(self.demo.url + "/api/v1/clusters" + query)
        self.assertEqual(status, 200)
        return json.loads(body)

    def test_metric_and_json_agree(self):
        samples = metrics(self.demo.url)
        holding = {match.groups() for series, value in samples.items() if (match := FINDING.match(series)) and value == 1}
        worst = {}
        for name, cluster in self.clusters.items():
            for finding in cluster["findings"]:
                worst.setdefault((name, finding["id"]), finding["severity"])
        self.assertEqual(holding, {(*key, severity) for key, severity in worst.items()})
        self.assertGreater(len({finding for _, finding, _ in holding}), 12)
        for name, cluster in self.clusters.items():
            value = samples[f'qumulo_encryption_do_not_restart{{cluster="{name}"}}']
            self.assertEqual(value == 1, cluster["do_not_restart"], name)

    def test_page_and_status_show_the_same(self):
        page = get(self.demo.url + "/?refresh=0")[2].decode()
        shown = re.findall(r'<article class="cluster (\w+)"', page), re.findall(r"<h2>([^<]+)</h2>", page)
        self.assertEqual(list(zip(*shown)), [(each["severity"], name) for name, each in self.clusters.items()], "in one order")
        warning = page.split('class="warning-box')[1].split("</section>")[0]
        warned = set(re.findall(r'href="\?cluster=([\w-]+)"', warning))
        self.assertEqual(warned, {name for name, each in self.clusters.items() if each["do_not_restart"]})
        table = run(EXPORTER, "status", "--exporter.url", self.demo.url, check=False)
        rows = [line for line in table.splitlines() if line and not line.startswith(" ")][1:]
        names = [row.split()[0] for row in rows if row.split()[0] in self.clusters]
        self.assertEqual(names, list(self.clusters), "in one order")
        for name, cluster in self.clusters.items():
            for finding in cluster["findings"]:
                self.assertIn(f"{finding['severity']}: {finding['message'].split(' (')[0][:20]}", table, name)
                self.assertIn(finding["advice"].split(". ")[-1][:15], page.replace("<code>", ""), name)

    def test_every_document_matches_the_schema(self):
        for name, query in (("all", ""), ("none", "?q=nothing"), ("one", "?cluster=genomics-1")):
            path = self.folder / f"{name}.json"
            path.write_bytes(get(self.demo.url + "/api/v1/clusters" + query)[2])
            run(VENVS / "deploy/bin/check-jsonschema", "--schemafile", SCHEMA, path)
        document = self.json()
        self.assertEqual(len(self.json("?cluster=genomics-1")["clusters"]), 1)
        # Additional fields are allowed. Missing fields and other values are not.
        for change in (lambda cluster: cluster.update(severity="dreadful"), lambda cluster: cluster.update(stale_after_seconds="long"),
                       lambda cluster: cluster.pop("do_not_restart")):
            bad = json.loads(json.dumps(document))
            change(bad["clusters"][0])
            path.write_text(json.dumps(bad))
            refused = run(VENVS / "deploy/bin/check-jsonschema", "--schemafile", SCHEMA, path, check=False)
            self.assertIn("errors were encountered", refused)


if __name__ == "__main__":
    unittest.main()
