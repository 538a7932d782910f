"""Sites that use the label `cluster` for something else: the instructions in deploy/prometheus/README.md."""

import json
import re
import subprocess
import unittest

from support import CURRENT, OLDEST, ROOT, Case, Store, get, wait_for, without_waits
from test_rules import FIRING

README = (ROOT / "deploy/prometheus/README.md").read_text()
LABEL = "qumulo_cluster"


def block(language, containing):
    [found] = [text for text in re.findall(rf"```{language}\n(.*?)```", README, re.S) if containing in text]
    return found


class OwnClusterLabel(Case):
    def setUp(self):
        super().setUp()
        self.demo = self.start_demo()
        document = json.loads(get(self.demo.url + "/api/v1/clusters")[2])
        self.names = {cluster["name"] for cluster in document["clusters"]}
        self.target = self.demo.url.removeprefix("http://")

    def scrape(self, *replacements):
        """The scrape example, for a server with an external label, with each (old, new) text replaced."""
        text = "global: {scrape_interval: 1s, external_labels: {cluster: site-a}}\n" + block("yaml", LABEL)
        for old, new in (("exporter.example.com:10979", self.target), *replacements):
            self.assertIn(old, text)
            text = text.replace(old, new)
        return text

    def test_rules_routes_and_inhibitions(self):
        for path in ("deploy/prometheus/alerts.yml", "deploy/alertmanager/alertmanager.yml"):
            (self.folder / path.rsplit("/", 1)[1]).write_text((ROOT / path).read_text())
        subprocess.run(["sh", "-euc", block("sh", LABEL)], cwd=self.folder, check=True)
        rules = self.folder / "alerts.yml"
        self.assertNotRegex(rules.read_text(), r"[({]cluster[),=]|labels\.cluster\b(?!_)")
        rules.write_text(without_waits(rules.read_text()))
        folder, alertmanager = self.room()
        self.ready(alertmanager, CURRENT.alertmanager, f"--config.file={self.folder}/alertmanager.yml",
                   f"--storage.path={folder}", f"--web.listen-address={alertmanager}", "--cluster.listen-address=")
        for stack in (OLDEST, CURRENT):
            store = Store(stack.server, stack.start(self, self.scrape(), rules, alertmanager))

            def firing():
                found = (labels for labels, _ in store.query('ALERTS{alertstate="firing"}'))
                return {(one.get(LABEL), one["alertname"].removeprefix("QumuloEncryption"), one["severity"]) for one in found}

            self.wait_equal(firing, FIRING, f"{store.name}: firing alerts")

        def states():
            found = json.loads(get(f"http://{alertmanager}/api/v2/alerts")[2])
            return {(one["labels"].get(LABEL), one["labels"]["alertname"].removeprefix("QumuloEncryption"),
                     one["labels"]["severity"], one["status"]["state"]) for one in found}

        expect = {("media-paris", "CertificateExpiring", "warning", "suppressed"),
                  ("media-paris", "CertificateExpiring", "critical", "active"),
                  ("media-london", "CertificateExpiring", "warning", "active"), ("genomics-1", "KeyNotFound", "critical", "active")}
        wait_for(lambda: expect <= states(), f"{expect} in {states()}")

    def test_where_the_target_has_the_label(self):
        target = f'- targets: ["{self.target}"]\n'
        text = self.scrape(("    honor_labels: true\n", ""), (target, f"{target}        labels: {{cluster: site-a}}\n"),
                           ("source_labels: [cluster]", "source_labels: [exported_cluster]"),
                           ("        regex: cluster\n", "        regex: exported_cluster\n"))
        for stack in (OLDEST, CURRENT):
            store = Store(stack.server, stack.start(self, text))
            found = wait_for(lambda: store.query("qumulo_encryption_up"), f"{store.name} scrapes")
            self.assertEqual({(labels["cluster"], labels[LABEL]) for labels, _ in found},
                             {("site-a", name) for name in self.names})
            [(own, _)] = store.query("qumulo_encryption_exporter_build_info")
            self.assertEqual((own["cluster"], own.get(LABEL)), ("site-a", None))
            self.assertEqual(store.query('{exported_cluster!=""}'), [])


if __name__ == "__main__":
    unittest.main()
