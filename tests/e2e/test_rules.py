"""The alert rules, their tests and runbooks, the mixin, and Alertmanager's example."""

import concurrent.futures
import json
import re
import subprocess
import unittest

from support import GENERATIONS, PARTS, ROOT, VENVS, Case, metrics, scrape_config, without_waits

RULES = ROOT / "deploy/prometheus/alerts.yml"
TESTS = ROOT / "tests/rules"
ROUTES = ROOT / "deploy/alertmanager/alertmanager.yml"
RUNBOOKS = ROOT / "deploy/runbooks"
CAUTION = "**Do not reboot, upgrade or power-cycle nodes of this cluster until this alert has resolved.**"
FIRING_EXPRESSION = """'group by (alertname, cluster, severity) (ALERTS{alertstate="firing"})'"""

# Alerts in whose state a restart may make data inaccessible, or may not be known to be safe.
NO_RESTART = {"KeyNotFound", "KeyInactive", "ConfigurationCorrupted", "CertificateExpired", "KmsAuthenticationError",
              "KmsUnusable", "UnknownStatus", "ClusterNotPolled", "CredentialsRejected"}

# The alerts that fire for the demo, without waits: (cluster, alert, severity).
FIRING = {
    ("archive", "PolicyViolated", "warning"),
    ("dr-frankfurt", "KmsUnusable", "critical"), ("dr-frankfurt", "KmsUnusable", "warning"),
    ("edge-lisbon", "ClusterNotPolled", "critical"), ("edge-lisbon", "ClusterNotPolled", "warning"),
    ("edge-lisbon", "CredentialsRejected", "warning"),
    ("edge-oslo", "ClusterNotPolled", "critical"), ("edge-oslo", "ClusterNotPolled", "warning"),
    ("genomics-1", "KeyNotFound", "critical"), ("genomics-2", "KeyInactive", "critical"),
    ("lab-1", "UnknownStatus", "warning"), ("lab-2", "ExpiryUnknown", "warning"), ("legacy-nyc", "KeyTooOld", "warning"),
    ("media-london", "CertificateExpiring", "warning"),
    ("media-paris", "CertificateExpiring", "critical"), ("media-paris", "CertificateExpiring", "warning"),
    ("render-farm", "ConfigurationCorrupted", "critical"), ("render-farm", "ExpiryUnknown", "warning"),
    ("render-farm", "KeyAgeUnknown", "info"), ("lab-2", "UnreadableDate", "info"),
    ("research-zurich", "KmsAuthenticationError", "critical"), ("research-zurich", "CertificateExpired", "critical"),
    ("research-zurich", "CertificateExpiring", "critical"), ("research-zurich", "CertificateExpiring", "warning"),
    ("research-zurich", "KmsUnusable", "critical"), ("research-zurich", "KmsUnusable", "warning"),
    # The age of its key reaches a year when the demo starts.
    ("research-zurich", "KeyTooOld", "warning"),
}


def run(*command, **rest):
    done = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, capture_output=True, text=True, **rest)
    return done.returncode, done.stdout + done.stderr


def groups():
    """[[the text of each rule] of each group]"""
    parts = re.split(r"^  - name: .*\n", RULES.read_text(), flags=re.M)[1:]
    return [re.split(r"^      - (?=alert:|record:)", part, flags=re.M)[1:] for part in parts]


def alerts():
    """{name: [the text of its rules]}"""
    found = {}
    for rule in (rule for group in groups() for rule in group if rule.startswith("alert:")):
        found.setdefault(re.match(r"alert: QumuloEncryption(\w+)", rule)[1], []).append(rule)
    return found


def for_vmalert(tests):
    """Converts promtool's tests to vmalert-tool's. Its time begins in the year 2000. It records the results of a group after the
    evaluation of all its rules, so chains of rules need several evaluations: the interval is shorter."""
    def later(found):
        return found[1] + re.sub(r"(?<!\S)-?\d+", lambda number: str(int(number[0]) + 946_684_800), found[2])

    tests = re.sub(r"(\w+_timestamp_seconds(?::min)?\{.*values: ')([^']*)", later, tests)
    tests = tests.replace("&firing ", "").replace("*firing", FIRING_EXPRESSION)
    tests = tests.replace("promql_expr_test", "metricsql_expr_test")
    return tests.replace("evaluation_interval: 1m", "evaluation_interval: 20s")


class Rules(Case):
    def test_tools_accept_them(self):
        watchdog = RULES.with_name("watchdog.yml")
        commands = [[PARTS / "vmalert", "-dryRun", f"-rule={RULES}", f"-rule={watchdog}"]]
        for one in GENERATIONS:
            commands += [[one.promtool, "check", "rules", RULES, watchdog], [one.amtool, "check-config", ROUTES]]
            commands += [[one.promtool, "test", "rules", tests] for tests in TESTS.glob("*.yml")]
        # A process for each test: with more tests in a file, vmalert-tool takes longer for each.
        head, *tests = re.split(r"^(?=  - name: )", for_vmalert((TESTS / "alerts.test.yml").read_text()), flags=re.M)
        self.assertGreater(len(tests), 20)
        for number, test in enumerate(tests):
            path = self.folder / f"{number}.test.yml"
            path.write_text(head.replace("../../deploy/prometheus", str(RULES.parent)) + test)
            commands.append([PARTS / "vmalert-tool", "unittest", f"-files={path}"])
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            for command, (code, output) in zip(commands, pool.map(lambda command: run(*command), commands)):
                self.assertEqual(code, 0, f"{command}\n{output}")

    def test_limits_of_rule_servers(self):
        text = RULES.read_text()
        self.assertLess(len(text.splitlines()), 600)
        # The limit of Mimir and Grafana Cloud.
        self.assertLessEqual(max(len(group) for group in groups()), 20)
        records = [rule for group in groups() for rule in group if rule.startswith("record:")]
        self.assertLessEqual(len(records), 5)
        for record in records:
            name, expression = record.split("\n", 1)
            self.assertNotIn(name.removeprefix("record: "), expression)
        # The job, which users may change, occurs once. Grafana-managed rules do not support query() in annotations.
        self.assertEqual(re.sub("^#.*", "", text, flags=re.M).count('job="'), 1)
        self.assertNotRegex(text, r"\bquery\b|externalLabels|externalURL")

    def test_every_alert_is_complete_and_tested(self):
        tests = "".join(path.read_text() for path in TESTS.glob("*.yml"))
        self.assertEqual(len(alerts()), 29)
        for name, rules in alerts().items():
            with self.subTest(name):
                for rule in rules:
                    # A fixed severity, or that of the finding.
                    self.assertRegex(rule, r"severity: (critical|warning|info)\n|max by \(cluster, severity\)")
                    for key in ("summary", "description"):
                        self.assertIn(f"{key}: ", rule)
                    self.assertIn(f"runbook_url: https://runbooks.example.com/QumuloEncryption{name}.md\n", rule)
                    severity = re.search(r"severity: (\w+)\n", rule)
                    self.assertRegex(tests, rf'alertname="QumuloEncryption{name}",.* severity="{severity[1] if severity else ""}')

    def test_every_alert_has_a_runbook(self):
        names = {page.stem.removeprefix("QumuloEncryption") for page in RUNBOOKS.glob("*.md")}
        self.assertEqual(names, set(alerts()))
        for name in names:
            text = (RUNBOOKS / f"QumuloEncryption{name}.md").read_text()
            with self.subTest(name):
                # The index of the runbooks shows severity and summary.
                self.assertRegex(text, rf"^# QumuloEncryption{name}\n\nSeverity: (critical|warning|info)\b.*?\. [A-Z].+\.\n\n")
                self.assertEqual(CAUTION in text, name in NO_RESTART)
                for heading in ("What it means", "Find the cause", "Fix it", "Resolves when"):
                    self.assertIn(f"## {heading}\n", text)
                # Commands may not be enough: mention the support.
                self.assertTrue("support" in text or "qq" not in text)
                # No command to copy that changes a lost key.
                if name in NO_RESTART:
                    self.assertNotRegex(text, r"qq .*(rotate_encryption_keys|encryption_set_key_store)")

    def test_every_command_of_qq_exists_with_its_flags(self):
        qq, asked = VENVS / "qumulo-7.10.2.1/bin/qq", {}
        for path in [ROOT / "README.md", ROOT / "deploy/README.md", *RUNBOOKS.glob("*.md")]:
            text = re.sub(r"\\\n\s*", " ", path.read_text())
            for line in re.findall(r"^ *qq --host \S+ (?:--port \S+ )?(.*)$", text, re.M):
                words = line.split()
                # This command has a subcommand, such as `kms`.
                command = tuple(words[:2] if words[0] == "encryption_set_key_store" else words[:1])
                asked.setdefault(command, set()).update(word for word in words if re.match(r"--?[a-z]", word))
        self.assertGreater(len(asked), 8)
        for command, flags in asked.items():
            code, known = run(qq, "--host", "none", *command, "--help")
            self.assertEqual(code, 0, command)
            for flag in flags:
                self.assertRegex(known, rf"(^|\s|\[){flag}\b", command)

    def test_the_readme_lists_every_alert_as_it_is(self):
        rows = re.findall(r"^\| `(\w+)` \| ([\w, ]+) \|", (ROOT / "deploy/prometheus/README.md").read_text(), re.M)
        pages = {}
        for name in alerts():
            page = (RUNBOOKS / f"QumuloEncryption{name}.md").read_text()
            pages[name] = set(re.findall("critical|warning|info", re.search("^Severity: (.*?)\\. [A-Z]", page, re.M)[1]))
        self.assertEqual([name for name, _ in rows], list(alerts()))
        for name, severities in rows:
            self.assertEqual(set(severities.split(", ")), pages[name], name)

    def test_the_alert_in_the_readme_fires_on_the_demonstration(self):
        text = (ROOT / "README.md").read_text()
        (alert,) = re.findall(r'^QumuloEncryption(\w+)  cluster="([\w-]+)" severity="(\w+)"$', text, re.M)
        name, cluster, severity = alert
        self.assertIn((cluster, name, severity), FIRING)

    def test_routes_and_inhibitions(self):
        for labels, receiver in (
            (["severity=critical", "cluster=a"], "pager"), (["severity=warning", "cluster=a"], "ticket"),
            (["severity=info", "cluster=a"], "log"), (["cluster=a"], "ticket"),
            (["alertname=QumuloEncryptionKeyNotFound", "severity=critical"], "pager"),
            (["alertname=QumuloEncryptionWatchdog", "severity=none"], "deadman"),
        ):
            for one in GENERATIONS:
                code, output = run(one.amtool, "config", "routes", "test", f"--config.file={ROUTES}", *labels)
                self.assertEqual((code, output.split()[0]), (0, receiver), labels)
        # All names in the file are alerts.
        for pattern in re.findall(r'alertname=~?"QumuloEncryption([^"+]+)"', ROUTES.read_text()):
            for name in re.findall(r"\w+", pattern):
                self.assertIn(name, {*alerts(), "Watchdog"})

    def test_the_mixin(self):
        def mixin(expression, config=""):
            text = f"local mixin = (import '{ROOT}/mixin.libsonnet') + {{ _config+:: {{ {config} }} }}; {expression}"
            code, output = run(PARTS / "jsonnet", "-e", text)
            self.assertEqual(code, 0, output)
            return output

        plain = self.folder / "plain.json"
        plain.write_text(mixin("mixin.prometheusAlerts"))
        as_yaml = json.loads(run(PARTS / "jsonnet", "-e", f"std.parseYaml(importstr '{RULES}')")[1])
        self.assertEqual(json.loads(plain.read_text()), as_yaml)
        adapted = self.folder / "adapted.json"
        adapted.write_text(mixin("mixin.prometheusAlerts", "selector: 'job=\"other\"', clusterLabel: 'qumulo_cluster', "
                                 "runbooks: 'https://books.test', page: 'https://page.test'"))
        for path in (plain, adapted):
            for one in GENERATIONS:
                self.assertEqual(run(one.promtool, "check", "rules", path)[0], 0)
        text = adapted.read_text()
        self.assertNotRegex(text, r"example\.com|job=.\"qumulo-encryption|[({]cluster[),=]|labels\.cluster ")
        for wanted in ("up{job=\\\"other\\\"}", "https://books.test/QumuloEncryptionKeyNotFound.md",
                       "https://page.test/?cluster={{ $labels.qumulo_cluster | urlquery }}"):
            self.assertIn(wanted, text)
        boards = json.loads(mixin("mixin.grafanaDashboards"))
        self.assertEqual(boards, {path.name: json.loads(path.read_text()) for path in (ROOT / "dashboards").glob("*.json")})
        boards = json.loads(mixin("mixin.grafanaDashboards", "job: 'other', clusterLabel: 'qumulo_cluster', "
                                  "runbooks: 'https://books.test', page: 'https://page.test'"))
        self.assertNotIn("example.com", json.dumps(boards))
        for name, board in boards.items():
            # The dashboard of one cluster does not use the job.
            values = {each["name"]: each.get("current", {}).get("value") for each in board["templating"]["list"]}
            self.assertEqual((values.get("job", "other"), values["label"]), ("other", "qumulo_cluster"), name)
            self.assertEqual("job" in values, name != "cluster.json")

    def test_in_every_store(self):
        """Every metric in the rules exists, and exactly the expected alerts fire for the demo."""
        demo = self.start_demo()
        served = {series.split("{")[0] for series in metrics(demo.url)}
        # Only with TLS.
        served.add("qumulo_encryption_exporter_listener_certificate_expiry_timestamp_seconds")
        expressions = re.sub(r"#.*|annotations:(\n          .*)+", "", RULES.read_text())
        used = set(re.findall(r"(?<![:\w])qumulo_encryption_\w+(?![\w:])", expressions))
        self.assertGreater(len(used), 10)
        self.assertEqual(used - served, set())
        rules = self.folder / "alerts.yml"
        rules.write_text(without_waits(RULES.read_text()))
        stores = self.stores(scrape_config(demo.url), rules)

        def firing(store):
            found = (labels for labels, _ in store.query('ALERTS{alertstate="firing"}'))
            return {(one.get("cluster"), one["alertname"].removeprefix("QumuloEncryption"), one["severity"]) for one in found}

        for store in stores:
            self.wait_equal(lambda: firing(store), FIRING, f"{store.name}: firing alerts")


if __name__ == "__main__":
    unittest.main()
