"""A real Prometheus scrapes the demonstration."""

import json
import re
import subprocess
import urllib.parse

from prometheus_client.parser import text_string_to_metric_families

from support import EXPORTER, ROOT, Case, get, metrics, wait_for


class Prometheus(Case):
    def setUp(self):
        super().setUp()
        demo = subprocess.run([EXPORTER, "simulate", "--print-fleet"], capture_output=True, text=True, check=True).stdout
        self.fleet = self.folder / "fleet.yml"
        self.fleet.write_text(demo)
        self.demo = self.exporter("demo", "--fleet", self.fleet)

    def prometheus(self):
        config = self.folder / "prometheus.yml"
        target = self.demo.url.removeprefix("http://")
        config.write_text(
            "global: {scrape_interval: 1s}\nscrape_configs:\n- job_name: qumulo-encryption\n  honor_labels: true\n"
            f"  static_configs: [{{targets: ['{target}']}}]\n"
        )
        self.api = self.run_prometheus(config) + "/api/v1/query?query="

    def query(self, expression):
        """{cluster or job: value} of an instant query; None while Prometheus does not answer."""
        try:
            status, _, body = get(self.api + urllib.parse.quote(expression))
        except OSError:
            return None
        if status != 200:
            return None
        result = json.loads(body)["data"]["result"]
        return [(sample["metric"], float(sample["value"][1])) for sample in result]

    def value(self, expression):
        result = self.query(expression)
        return result[0][1] if result else None

    def test_promtool_and_an_independent_parser_have_nothing_to_say(self):
        wait_for(lambda: get(self.demo.url + "/-/ready")[0] == 200, "every cluster was polled")
        plain = get(self.demo.url + "/metrics")[2]
        for text in (plain, (ROOT / "tests/golden/metrics.txt").read_bytes()):
            check = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True)
            self.assertEqual((check.returncode, check.stdout, check.stderr), (0, b"", b""))
        families = list(text_string_to_metric_families(plain.decode()))
        samples = [(sample.name, tuple(sorted(sample.labels.items()))) for family in families for sample in family.samples]
        self.assertEqual(len(samples), len(set(samples)), "no series is there twice")
        lines = [line for line in plain.decode().splitlines() if not line.startswith("#")]
        self.assertEqual(len(samples), len(lines))

    def test_every_documented_series_answers_and_a_dead_cluster_goes_stale(self):
        self.prometheus()
        wait_for(lambda: self.value('up{job="qumulo-encryption"}') == 1, "Prometheus scrapes", 40)
        documented = set(re.findall(r"^\| `((?:qumulo_encryption|process)_\w+)`", (ROOT / "README.md").read_text(), re.M))
        self.assertGreater(len(documented), 25)
        # Served with TLS only, which test_web_config.py looks at.
        documented.remove("qumulo_encryption_exporter_listener_certificate_expiry_timestamp_seconds")
        for name in sorted(documented):
            wait_for(lambda name=name: self.query(name), f"{name} answers")
        self.assertEqual(self.value("scrape_samples_scraped"), len(metrics(self.demo.url)))

        up = 'qumulo_encryption_up{cluster="prod-east"}'
        status = 'qumulo_encryption_status{cluster="prod-east",status="kms_available"}'
        self.assertEqual((self.value(up), self.value(status)), (1, 1))
        alive = self.fleet.read_text()
        self.fleet.write_text(alive.replace("  - name: prod-east\n", "  - name: prod-east\n    faults: { down: true }\n", 1))
        wait_for(lambda: metrics(self.demo.url)[up] == 0, "up is 0 at once", 5)
        self.assertEqual(metrics(self.demo.url).get(status), 1, "the last status stays")
        wait_for(lambda: self.value(up) == 0, "Prometheus sees it", 5)
        wait_for(lambda: self.value(status) is None, "the status is dropped after stale_after")
        self.assertEqual(self.value('qumulo_encryption_up{cluster="prod-west"}'), 1)
        self.fleet.write_text(alive)
        wait_for(lambda: (self.value(up), self.value(status)) == (1, 1), "back again")
