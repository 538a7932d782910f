"""The report in Rust and the alert rules judge alike: several hundred readings through both."""

import os
import subprocess
import unittest

from support import GENERATIONS, OLDEST, ROOT, Case

RULES = ROOT / "deploy/prometheus/alerts.yml"
# The times of tests/it/judgement.rs, in minutes; promtool's time begins at 0.
LAST_SEEN, END = 10, 300
# The longest interval of scrapes and evaluations that is supported, in minutes.
STEP = 5
BEGIN = 1_800_000_000
# About whether anybody looks, or about many clusters: not about the state of one.
OTHER = "ClusterNotPolled|ClusterNotPolledForLong|CredentialsRejected|ManyKmsUnusable|ManyClustersNotPolled|ClusterForgotten"
SEVERITIES = ["good", "info", "warning", "critical"]


class Judgement(Case):

    def matrix(self):
        done = subprocess.run(["cargo", "test", "--locked", "--quiet", "--test", "it", "matrix_for_the_alert_rules", "--", "--ignored"],
                              cwd=ROOT, env={**os.environ, "JUDGEMENT": str(self.folder)}, capture_output=True, text=True)
        self.assertIn("1 passed", done.stdout, done.stdout + done.stderr)
        series = {}
        for phase in ("before", "after"):
            for line in (self.folder / phase).read_text().splitlines():
                name, value = line.rsplit(" ", 1)
                # Expiries and rotations are judged against promtool's clock, which begins at 0; polls are only compared.
                if "_timestamp_seconds" in name:
                    value = str(float(value) - (BEGIN - 1000 if "_poll_" in name else BEGIN))
                series.setdefault(name, {})[phase] = value
        verdicts = [line.split() for line in (self.folder / "verdicts").read_text().splitlines()]
        return series, {name: (severity, readable == "true") for name, severity, readable in verdicts}

    def differences(self, rules, series, verdicts, promtool=OLDEST.promtool):
        """What promtool says about clusters whose worst alert is not what the report says."""
        lines = [f"rule_files: [{rules}]", f"evaluation_interval: {STEP}m", "tests:", f"- interval: {STEP}m", "  input_series:",
                 "  - {series: 'up{job=\"qumulo-encryption\"}', values: '1x400'}"]
        for name, phases in series.items():
            before = f"{phases['before']}x{LAST_SEEN // STEP}" if "before" in phases else f"_x{LAST_SEEN // STEP + 1}"
            after = f"{phases['after']}x400" if "after" in phases else "stale"
            lines.append(f"  - {{series: '{name}', values: '{before} {after}'}}")
        lines.append("  promql_expr_test:")
        for severity in SEVERITIES[1:]:
            worse = "|".join(SEVERITIES[SEVERITIES.index(severity) + 1:]) or "none"
            firing = f'ALERTS{{alertstate="firing", cluster!="", alertname!~"QumuloEncryption({OTHER})"'
            expression = (f'group by (cluster) ({firing}, severity="{severity}"}}) '
                          f'unless on (cluster) {firing}, severity=~"{worse}"}}')
            clusters = [name for name, (verdict, _) in verdicts.items() if verdict == severity]
            lines.append(self.expect(expression, clusters))
        unreadable = [name for name, (_, readable) in verdicts.items() if not readable]
        lines.append(self.expect('group by (cluster) (ALERTS{alertstate="firing", alertname=~".*ClusterNotPolledForLong"})', unreadable))
        test = self.folder / "test.yml"
        test.write_text("\n".join(lines) + "\n")
        done = subprocess.run([promtool, "test", "rules", test], capture_output=True, text=True)
        return "" if done.returncode == 0 else done.stdout + done.stderr

    def expect(self, expression, clusters):
        samples = ", ".join(f"{{labels: '{{cluster=\"{name}\"}}', value: 1}}" for name in sorted(clusters))
        return f"  - {{expr: '{expression}', eval_time: {END}m, exp_samples: [{samples}]}}"

    def test_report_and_rules_agree_and_no_side_can_change_alone(self):
        series, verdicts = self.matrix()
        self.assertGreater(len(verdicts), 400)
        self.assertEqual({severity for severity, _ in verdicts.values()}, set(SEVERITIES))
        for one in GENERATIONS:
            self.assertEqual(self.differences(RULES, series, verdicts, one.promtool), "")
        # A part is enough to notice a change.
        every_status = 504
        numbers = {name: int(name.removeprefix("case-")) for name in verdicts}
        some = {name for name, number in numbers.items() if number % 11 == 0 or number >= every_status}
        series = {name: phases for name, phases in series.items() if name.split('cluster="')[1].split('"')[0] in some}
        verdicts = {name: verdicts[name] for name in some}
        self.assertEqual(self.differences(RULES, series, verdicts), "")
        text, mutant = RULES.read_text(), self.folder / "mutant.yml"
        for old, new in (
            ('key:held{status="kms_key_not_found"} == 1', 'key:held{status="kms_key_not_found"} == 2'),
            ("policy_certificate_critical_seconds:held\n        labels", "policy_certificate_warning_seconds:held\n        labels"),
            (">= 3600", ">= 36000"), ('require=~"encrypted|kms"', 'require="kms"'), ("reported:held < 2", "reported:held < 1"),
            ("max_age_seconds:held\n            unless", "max_age_seconds:held * 9\n            unless"),
            ('confirmed{status="unknown"}', 'confirmed{status="none"}'),
            ("api_certificate_expiry_timestamp_seconds:held - time() <= 0", "api_certificate_expiry_timestamp_seconds:held - time() <= -1e9"),
            ("> on (cluster) group_left () cluster:qumulo_encryption_answer:seconds", ">= on (cluster) group_left () (0 * cluster:qumulo_encryption_answer:seconds)"),
            ("clock_skew_seconds:held > 300", "clock_skew_seconds:held > 500"), ("excess_privileges:held > 0", "excess_privileges:held > 5"),
            ("abs(qumulo_encryption_clock_skew_seconds)", "qumulo_encryption_clock_skew_seconds"),
            ('certificate!="kms_server"', 'certificate!="none"'),
        ):
            self.assertIn(old, text)
            mutant.write_text(text.replace(old, new))
            self.assertNotEqual(self.differences(mutant, series, verdicts), "", f"{old} -> {new} was not noticed")
        # And the other side: one verdict that is another one.
        name = next(name for name, (severity, _) in verdicts.items() if severity == "critical")
        changed = {**verdicts, name: ("warning", verdicts[name][1])}
        self.assertNotEqual(self.differences(RULES, series, changed), "")


if __name__ == "__main__":
    unittest.main()
