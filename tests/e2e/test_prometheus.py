"""Every store scrapes the demo."""

import re
import subprocess

from prometheus_client.parser import text_string_to_metric_families

from support import EXPORTER, GENERATIONS, ROOT, Case, get, metrics, scrape_config, wait_for


class Prometheus(Case):
    def setUp(self):
        super().setUp()
        demo = subprocess.run([EXPORTER, "simulate", "--print-fleet"], capture_output=True, text=True, check=True).stdout
        self.fleet = self.folder / "fleet.yml"
        self.fleet.write_text(demo)
        self.demo = self.exporter("demo", "--fleet", self.fleet)

    def test_promtool_and_an_independent_parser_accept_the_metrics(self):
        self.wait_ready(self.demo.url)
        plain = get(self.demo.url + "/metrics")[2]
        for text in (plain, (ROOT / "tests/golden/metrics.txt").read_bytes()):
            for one in GENERATIONS:
                check = subprocess.run([one.promtool, "check", "metrics"], input=text, capture_output=True)
                self.assertEqual((check.returncode, check.stdout, check.stderr), (0, b"", b""))
        families = list(text_string_to_metric_families(plain.decode()))
        samples = [(sample.name, tuple(sorted(sample.labels.items()))) for family in families for sample in family.samples]
        self.assertEqual(len(samples), len(set(samples)), "no series is there twice")
        lines = [line for line in plain.decode().splitlines() if not line.startswith("#")]
        self.assertEqual(len(samples), len(lines))

    def test_every_documented_series_answers_and_a_dead_cluster_goes_stale(self):
        stores = self.stores(scrape_config(self.demo.url))

        def see(expression, value, what, seconds=20):
            for store in stores:
                wait_for(lambda: store.value(expression) == value, f"{store.name}: {what}", seconds)

        see('up{job="qumulo-encryption"}', 1, "it scrapes", 40)
        documented = set(re.findall(r"^\| `((?:qumulo_encryption|process)_\w+)`", (ROOT / "docs/metrics.md").read_text(), re.M))
        self.assertGreater(len(documented), 25)
        # These need TLS, `probe_kms` or a policy. test_web_config.py, test_kms.py and tests/golden cover them.
        documented -= {"qumulo_encryption_exporter_listener_certificate_expiry_timestamp_seconds",
                       "qumulo_encryption_kms_reachable", "qumulo_encryption_policy_info"}
        for name in sorted(documented):
            for store in stores:
                wait_for(lambda: store.query(name), f"{store.name}: {name} has data")
        see("scrape_samples_scraped", len(metrics(self.demo.url)), "all samples are accepted")

        up = 'qumulo_encryption_up{cluster="prod-east"}'
        status = 'qumulo_encryption_status{cluster="prod-east",status="kms_available"}'
        see(up, 1, "it is up")
        see(status, 1, "its status")
        alive = self.fleet.read_text()
        self.fleet.write_text(alive.replace("  - name: prod-east\n", "  - name: prod-east\n    faults: { down: true }\n", 1))
        wait_for(lambda: metrics(self.demo.url)[up] == 0, "up is 0 at once", 5)
        self.assertEqual(metrics(self.demo.url).get(status), 1, "the last status stays")
        see(up, 0, "it is not up", 5)
        see(status, None, "the status is dropped after stale_after")
        see('qumulo_encryption_up{cluster="prod-west"}', 1, "another one is up")
        self.fleet.write_text(alive)
        see(up, 1, "it is up again")
        see(status, 1, "its status again")
