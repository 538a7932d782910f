"""The alert rules, their tests and runbooks, and Alertmanager's example."""

import concurrent.futures
import re
import shutil
import subprocess
import unittest

from support import GENERATIONS, PARTS, ROOT, VENVS, Case, get, impatient, metrics, wait_for

RULES = ROOT / "deploy/prometheus/alerts.yml"
TESTS = ROOT / "tests/rules/alerts.test.yml"
ROUTES = ROOT / "deploy/alertmanager/alertmanager.yml"
RUNBOOKS = ROOT / "deploy/runbooks"
CAUTION = "**Do not reboot, upgrade or power-cycle nodes until the status is available again.**"

# The states in which nodes that restart now may not get their key.
KMS = {"CertificateExpired", "KeyNotFound", "KeyInactive",
       "ConfigurationCorrupted", "KmsAuthenticationError", "KmsCannotConnect", "KmsCannotConnectForLong", "KmsUnstable",
       "ManyKmsUnusable", "UnknownStatus"}

# What fires on the demonstration, without waits: (cluster, alert).
FIRING = {
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


def run(*command):
    done = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def alerts():
    """{name: the text of its rule}"""
    parts = re.split(r"^      - (?=alert:|record:)", RULES.read_text(), flags=re.M)
    return {re.match(r"alert: (\w+)", part)[1]: part for part in parts if part.startswith("alert:")}


def for_vmalert(tests):
    """promtool's tests as vmalert-tool wants them. Its time begins in the year 2000. It records the results of a group's
    rules after the last of them, as vmalert may, so what passes through several rules takes several evaluations: hence
    their pace, and no question after more than 400 minutes, which would double the time."""
    def later(found):
        values = re.sub(r"(?<!\S)-?\d+", lambda number: str(int(number[0]) + 946_684_800), found[2])
        return found[1] + values

    tests = re.sub(r"(\w+_timestamp_seconds\{.*values: ')([^']*)", later, tests)
    tests = re.sub(r".* eval_time: [4-9]\d\dm.*\n", "", tests).replace("promql_expr_test", "metricsql_expr_test")
    return tests.replace("evaluation_interval: 1m", "evaluation_interval: 20s")


class Rules(Case):
    def test_tools_accept_them(self):
        commands = []
        for one in GENERATIONS:
            for rules in (RULES, RULES.with_name("watchdog.yml")):
                commands.append([one.promtool, "check", "rules", rules])
            commands.append([one.promtool, "test", "rules", TESTS])
            commands.append([one.amtool, "check-config", ROUTES])
        commands.append([PARTS / "vmalert", "-dryRun", f"-rule={RULES}", f"-rule={RULES.with_name('watchdog.yml')}"])
        head, *tests = re.split(r"^(?=  - name: )", for_vmalert(TESTS.read_text()), flags=re.M)
        self.assertGreater(len(tests), 15)
        for number, test in enumerate(tests):
            path = self.folder / f"{number}.test.yml"
            path.write_text(head.replace("../../deploy/prometheus", str(RULES.parent)) + test)
            commands.append([PARTS / "vmalert-tool", "unittest", f"-files={path}"])
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            for command, (code, output) in zip(commands, pool.map(lambda command: run(*command), commands)):
                self.assertEqual(code, 0, f"{command}\n{output}")

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
        for path in [ROOT / "README.md", ROOT / "deploy/README.md", *RUNBOOKS.glob("*.md")]:
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
        rows = re.findall(r"^\| `(QumuloEncryption\w+)` \| (\w+) \| (\S*) \|", (ROOT / "deploy/prometheus/README.md").read_text(), re.M)
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
            for one in GENERATIONS:
                code, output = run(one.amtool, "config", "routes", "test", f"--config.file={ROUTES}", *labels)
                self.assertEqual((code, output.split()[0]), (0, receiver), labels)

    def test_in_every_store(self):
        """Every metric in the rules exists, and the demonstration fires just what it should."""
        demo = self.exporter("demo")
        wait_for(lambda: get(demo.url + "/-/ready")[0] == 200, "every cluster was polled")
        served = {series.split("{")[0] for series in metrics(demo.url)}
        # Present with TLS only.
        served.add("qumulo_encryption_exporter_listener_certificate_expiry_timestamp_seconds")
        # Present with probe_kms only.
        served.add("qumulo_encryption_kms_reachable")
        expressions = re.sub(r"#.*|annotations:(\n          .*)+", "", RULES.read_text())
        used = set(re.findall(r"(?<![:\w])qumulo_encryption_\w+(?![\w:])", expressions))
        self.assertGreater(len(used), 10)
        self.assertEqual(used - served, set())
        rules = self.folder / "alerts.yml"
        rules.write_text(impatient(RULES.read_text()))
        stores = self.stores(f"""
global: {{scrape_interval: 1s}}
scrape_configs:
- job_name: qumulo-encryption
  honor_labels: true
  static_configs: [{{targets: ['{demo.url.removeprefix('http://')}']}}]
""", rules)

        def firing(store):
            found = (labels for labels, _ in store.query('ALERTS{alertstate="firing"}'))
            return {(one.get("cluster"), one["alertname"].removeprefix("QumuloEncryption")) for one in found}

        for store in stores:
            try:
                wait_for(lambda: firing(store) == FIRING, "all fire", seconds=60)
            except AssertionError:
                self.assertEqual(firing(store), FIRING, store.name)


if __name__ == "__main__":
    unittest.main()
