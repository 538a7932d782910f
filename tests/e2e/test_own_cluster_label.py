"""Sites whose label `cluster` means something else: the example, run by a pair of servers that write to two receivers."""

import json
import subprocess
import unittest

from support import CURRENT, EXPORTER, OLDEST, ROOT, STACKS, Case, Store, get, impatient, wait_for
from test_dashboards import BOARDS, EMPTY, answers, queries
from test_rules import FIRING

EXAMPLE = (ROOT / "deploy/prometheus/own-cluster-label.yml").read_text()
LABEL = "qumulo_cluster"


class OwnClusterLabel(Case):
    def setUp(self):
        super().setUp()
        self.fleet = self.folder / "fleet.yml"
        demo = subprocess.run([EXPORTER, "simulate", "--print-fleet"], capture_output=True, text=True, check=True).stdout
        self.fleet.write_text(demo)
        self.demo = self.exporter("demo", "--fleet", self.fleet)
        wait_for(lambda: get(self.demo.url + "/-/ready")[0] == 200, "every cluster was polled")
        document = json.loads(get(self.demo.url + "/api/v1/clusters")[2])
        self.names = {cluster["name"] for cluster in document["clusters"]}

    def example(self, *replacements):
        """The example at the pace of a test, with each (old, new) text replaced."""
        text = EXAMPLE
        for old, new in (("global:\n", "global:\n  scrape_interval: 1s\n  evaluation_interval: 1s\n"),
                         ("exporter.example.com:10979", self.demo.url.removeprefix("http://")), *replacements):
            self.assertIn(old, text)
            text = text.replace(old, new)
        return text

    def receivers(self):
        """Prometheus stores what it gets; VictoriaMetrics drops the replica's label and deduplicates, as Mimir does."""
        keeps = CURRENT.start(self, "global: {scrape_interval: 1s}", arguments=["--web.enable-remote-write-receiver"])
        relabel = self.folder / "relabel.yml"
        relabel.write_text("- {action: labeldrop, regex: __replica__}\n")
        merges = STACKS["VictoriaMetrics"].start(self, "global: {scrape_interval: 1s}", arguments=[
            f"-relabelConfig={relabel}", "-dedup.minScrapeInterval=1s"])
        return Store("Prometheus that receives", keeps), Store("VictoriaMetrics that receives", merges)

    def test_a_pair_that_writes_to_a_receiver(self):
        rules = self.folder / "alerts.yml"
        subprocess.run([ROOT / "deploy/prometheus/build", "--cluster-label", LABEL, rules], check=True)
        rules.write_text(impatient(rules.read_text()))
        subprocess.run([ROOT / "dashboards/build", "--cluster-label", LABEL, self.folder / "dashboards"], check=True)
        keeps, merges = self.receivers()
        folder, alertmanager = self.room()
        self.ready(alertmanager, CURRENT.alertmanager, f"--config.file={ROOT}/deploy/alertmanager/alertmanager.yml",
                   f"--storage.path={folder}", f"--web.listen-address={alertmanager}", "--cluster.listen-address=")
        replacements = (
            ("own/alerts.yml", str(rules)), ("alertmanager.example.com:9093", alertmanager),
            ("  - url: https://mimir.example.com/api/v1/push\n",
             f"  - url: {keeps.url}/api/v1/write\n  - url: {merges.url}/api/v1/write\n"))
        OLDEST.start(self, self.example(*replacements))
        first = self.processes[-1]
        CURRENT.start(self, self.example(*replacements, ("replica-1", "replica-2")))

        def firing(store):
            found = (labels for labels, _ in store.query('ALERTS{alertstate="firing"}'))
            return {(one.get(LABEL), one["alertname"].removeprefix("QumuloEncryption")) for one in found}

        for store in (keeps, merges):
            wait_for(lambda: firing(store) == FIRING, f"{store.name}: all fire", seconds=60)
        # To Mimir, the pair is these two labels, on each series: scraped, recorded or an alert.
        self.assertEqual({(labels.get("cluster"), labels.get("__replica__")): count > 500 for labels, count in
                          keeps.query('count by (cluster, __replica__) ({__name__!=""})')},
                         {("site-a", "replica-1"): True, ("site-a", "replica-2"): True})
        # What is left of two samples is one, by the name of the Qumulo cluster.
        up = merges.query("qumulo_encryption_up")
        self.assertEqual(sorted(labels[LABEL] for labels, _ in up), sorted(self.names))
        self.assertEqual({labels["cluster"] for labels, _ in up}, {"site-a"})
        for name in BOARDS:
            board = json.loads((self.folder / f"dashboards/{name}.json").read_text())
            for title, expression in queries(board):
                if not any(metric in expression.replace(LABEL, "cluster") for metric in EMPTY):
                    wait_for(lambda: answers(merges, expression), f"{title}: {expression}")
        self.alerts_are_one(alertmanager)
        # One of the pair is enough.
        first.kill()
        first.wait()
        self.fleet.write_text(self.fleet.read_text().replace(
            "  - name: prod-east\n", "  - name: prod-east\n    faults: { down: true }\n", 1))
        wait_for(lambda: merges.value('qumulo_encryption_up{qumulo_cluster="prod-east"}') == 0, "the other one writes")

    def alerts_are_one(self, address):
        """Alertmanager has each alert once, and a worse one silences those of its cluster only."""
        def states():
            found = json.loads(get(f"http://{address}/api/v2/alerts")[2])
            self.assertEqual({one["labels"].get("site") for one in found}, {"site-a"})
            self.assertEqual({one["labels"].get("__replica__") for one in found}, {None})
            return sorted((one["labels"].get(LABEL, ""), one["labels"]["alertname"].removeprefix("QumuloEncryption"),
                           one["labels"].get("certificate", ""), one["status"]["state"]) for one in found)

        # Of its own cluster, and of another one: a lost key silences that its cluster is not polled.
        expect = {("media-paris", "CertificateExpiringSoon", "kms_client", "suppressed"),
                  ("edge-oslo", "ClusterNotPolledForLong", "", "active"), ("genomics-1", "KeyNotFound", "", "active")}
        wait_for(lambda: expect <= set(states()), f"{expect} in {states()}")
        once = [one[:3] for one in states()]
        self.assertEqual(len(once), len(set(once)), once)

    def test_where_the_target_has_the_label(self):
        target = f'- targets: ["{self.demo.url.removeprefix("http://")}"]\n'
        text = self.example(("    honor_labels: true\n", ""), (target, f"{target}        labels: {{cluster: site-a}}\n"),
                            ("source_labels: [cluster]", "source_labels: [exported_cluster]"),
                            ("        regex: cluster\n", "        regex: exported_cluster\n"))
        for generation in (OLDEST, CURRENT):
            store = Store(generation.server, generation.start(self, text.replace("  - own/alerts.yml", "  []")))
            found = wait_for(lambda: store.query("qumulo_encryption_up"), f"{store.name} scrapes")
            expect = {("site-a", name) for name in self.names}
            self.assertEqual({(labels["cluster"], labels[LABEL]) for labels, _ in found}, expect)
            [(own, _)] = store.query("qumulo_encryption_exporter_build_info")
            self.assertEqual((own["cluster"], own.get(LABEL)), ("site-a", None))
            self.assertEqual(store.query('{exported_cluster!=""}'), [])


if __name__ == "__main__":
    unittest.main()
