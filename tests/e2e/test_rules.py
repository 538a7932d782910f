"""The alert rules, their tests and runbooks, and Alertmanager's example."""

import json
import re
import shutil
import subprocess
import unittest
import urllib.parse

from support import ROOT, VENVS, Case, get, impatient, metrics, wait_for

RULES = ROOT / "deploy/prometheus/alerts.yml"
TESTS = ROOT / "tests/rules/alerts.test.yml"
ROUTES = ROOT / "deploy/alertmanager/alertmanager.yml"
RUNBOOKS = ROOT / "deploy/runbooks"
CAUTION = "**Do not reboot, upgrade or power-cycle nodes until the status is available again.**"

# The states in which nodes that restart now may not get their key.
KMS = {"CertificateExpired", "KeyNotFound", "KeyInactive",
       "ConfigurationCorrupted", "KmsAuthenticationError", "KmsCannotConnect", "KmsCannotConnectForLong", "KmsUnstable",
       "ManyKmsUnusable", "UnknownStatus"}


def run(*command):
    done = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def alerts():
    """{name: the text of its rule}"""
    parts = re.split(r"^      - (?=alert:|record:)", RULES.read_text(), flags=re.M)
    return {re.match(r"alert: (\w+)", part)[1]: part for part in parts if part.startswith("alert:")}


class Rules(Case):
    def test_tools_accept_them(self):
        for command in (["promtool", "check", "rules", RULES], ["promtool", "test", "rules", TESTS],
                        ["amtool", "check-config", ROUTES],
                        ["promtool", "check", "rules", RULES.with_name("watchdog.yml")]):
            code, output = run(*command)
            self.assertEqual(code, 0, output)

    def test_the_rules_are_in_step_with_their_table(self):
        copy = self.folder / "build"
        shutil.copy(ROOT / "deploy/prometheus/build", copy)
        self.assertEqual(run(copy), (0, ""))
        self.assertEqual((self.folder / "alerts.yml").read_text(), RULES.read_text())

    def test_every_alert_is_whole_and_tested(self):
        tests = TESTS.read_text()
        self.assertGreater(len(alerts()), 20)
        for name, rule in alerts().items():
            with self.subTest(name):
                self.assertRegex(rule, r"severity: (critical|warning|info)\n")
                for key in ("summary", "description", "runbook_url"):
                    self.assertIn(f"{key}: ", rule)
                self.assertIn(f"runbook_url: https://runbooks.example.com/{name}.md", rule)
                # Once firing and once not.
                fires = rf'count\(ALERTS{{alertname="{name}", alertstate="firing"}}\)|alertname: {name}\n +eval_time: \w+\n +exp_alerts:\n'
                quiet = rf'absent\(ALERTS{{alertname="{name}"|alertname: {name}\n +eval_time: \w+\n +exp_alerts: \[\]|time travel'
                self.assertRegex(tests, fires)
                self.assertRegex(tests, quiet)

    def test_every_alert_has_a_runbook(self):
        pages = {page.stem for page in RUNBOOKS.glob("*.md")}
        self.assertEqual(pages, set(alerts()))
        for name in pages:
            text = (RUNBOOKS / f"{name}.md").read_text()
            is_kms = name.removeprefix("QumuloEncryption") in KMS
            self.assertEqual(text.startswith(CAUTION), is_kms, name)
            if is_kms and name != "QumuloEncryptionUnknownStatus":
                self.assertLess(text.index("## First\n"), text.index("## What it means\n"), name)
                self.assertIn("## When it ends\n", text, name)
            for heading in ("What it means", "What is at stake", "What to check", "What to do", "What never to do"):
                self.assertIn(f"## {heading}\n", text, name)

    def test_every_command_of_qq_exists_with_its_flags(self):
        qq, asked = VENVS / "qumulo-7.10.2.1/bin/qq", {}
        for path in [ROOT / "README.md", *RUNBOOKS.glob("*.md")]:
            text = path.read_text().replace("\\\n", " ")
            for line in re.findall(r"^qq --host \S+ (.*)$", text, re.M):
                words = line.split()
                # A mode such as `kms` belongs to the command.
                command = tuple(words[:2] if words[0] == "encryption_set_key_store" else words[:1])
                asked.setdefault(command, set()).update(word for word in words if re.match(r"--?[a-z]", word))
        self.assertGreater(len(asked), 8)
        for command, flags in asked.items():
            code, known = run(qq, *command, "--help")
            self.assertEqual(code, 0, command)
            for flag in flags:
                self.assertRegex(known, rf"(^|\s|\[){flag}\b", command)

    def test_the_readme_lists_every_alert_as_it_is(self):
        rows = re.findall(r"^\| `(QumuloEncryption\w+)` \| (\w+) \| (\S*) \|", (ROOT / "README.md").read_text(), re.M)
        expect = []
        for name, rule in alerts().items():
            wait = re.search(r"\n        for: (\S+)\n", rule)
            expect.append((name, re.search(r"severity: (\w+)", rule)[1], wait[1] if wait else "0m"))
        self.assertEqual(rows, expect)

    def test_routes(self):
        for labels, receiver in (
            (["severity=critical", "cluster=a"], "pager"), (["severity=warning", "cluster=a"], "ticket"),
            (["severity=info", "cluster=a"], "log"), (["cluster=a"], "ticket"),
        ):
            code, output = run("amtool", "config", "routes", "test", f"--config.file={ROUTES}", *labels)
            self.assertEqual((code, output.split()[0]), (0, receiver), labels)

    def test_in_a_real_prometheus(self):
        """Every metric in the rules exists, and the demonstration fires just what it should."""
        demo = self.exporter("demo")
        wait_for(lambda: get(demo.url + "/-/ready")[0] == 200, "every cluster was polled")
        served = {series.split("{")[0] for series in metrics(demo.url)}
        # Present with TLS only.
        served.add("qumulo_encryption_exporter_listener_certificate_expiry_timestamp_seconds")
        expressions = re.sub(r"#.*|annotations:(\n          .*)+", "", RULES.read_text())
        used = set(re.findall(r"(?<![:\w])qumulo_encryption_\w+(?![\w:])", expressions))
        self.assertGreater(len(used), 10)
        self.assertEqual(used - served, set())
        rules = self.folder / "alerts.yml"
        rules.write_text(impatient(RULES.read_text()))
        config = self.folder / "prometheus.yml"
        config.write_text(
            f"global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: ['{rules}']\nscrape_configs:\n"
            "- job_name: qumulo-encryption\n  honor_labels: true\n"
            f"  static_configs: [{{targets: ['{demo.url.removeprefix('http://')}']}}]\n")
        url = self.run_prometheus(config)

        def firing():
            expression = urllib.parse.quote('ALERTS{alertstate="firing"}')
            try:
                answer = json.loads(get(f"{url}/api/v1/query?query={expression}")[2])
            except OSError:
                return None
            found = (sample["metric"] for sample in answer["data"]["result"])
            return {(one.get("cluster"), one["alertname"].removeprefix("QumuloEncryption")) for one in found}

        expect = {
            ("archive", "NotEncrypted"),
            ("dr-frankfurt", "KmsCannotConnect"), ("dr-frankfurt", "KmsCannotConnectForLong"),
            ("edge-lisbon", "ClusterNotPolled"), ("edge-lisbon", "ClusterNotPolledForLong"),
            ("edge-lisbon", "CredentialsRejected"),
            ("edge-oslo", "ClusterNotPolled"), ("edge-oslo", "ClusterNotPolledForLong"),
            ("genomics-1", "KeyNotFound"), ("genomics-2", "KeyInactive"),
            ("lab-1", "UnknownStatus"), ("lab-2", "ExpiryUnknown"), ("legacy-nyc", "KeyTooOld"),
            ("media-london", "CertificateExpiringSoon"), ("media-paris", "CertificateExpiring"),
            ("render-farm", "ConfigurationCorrupted"), ("render-farm", "ExpiryUnknown"),
            ("media-paris", "CertificateExpiringSoon"),
            ("research-zurich", "KmsAuthenticationError"), ("research-zurich", "CertificateExpired"),
            ("research-zurich", "CertificateExpiring"), ("research-zurich", "CertificateExpiringSoon"),
            ("research-zurich", "KmsCannotConnect"), ("research-zurich", "KmsCannotConnectForLong"),
            # Its key became a year old the moment the demonstration began.
            ("research-zurich", "KeyTooOld"),
        }
        try:
            wait_for(lambda: firing() == expect, "all fire", seconds=30)
        except AssertionError:
            self.assertEqual(firing(), expect)


if __name__ == "__main__":
    unittest.main()
