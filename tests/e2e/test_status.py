"""`status`, `completions`, `man`: the commands that end by themselves."""

import json
import shutil
import subprocess
import unittest

from support import EXPORTER, GENERATIONS, Case, wait_for


class Status(Case):
    def ask(self, fleet, *arguments):
        """`status` about simulated clusters."""
        simulator = self.simulate(fleet)
        text = "global: {poll_interval: 5s}\nclusters:\n"
        for name, cluster in simulator.clusters.items():
            (self.folder / f"{name}.token").write_text(cluster["token"])
            text += (f"- name: {name}\n  url: {cluster['url']}\n  authorization: {{credentials_file: {name}.token}}\n"
                     f"  tls_config: {{pin_sha256: ['{cluster['pin_sha256']}']}}\n")
        (self.folder / "exporter.yml").write_text(text)
        return self.run_status("--config.file", "exporter.yml", *arguments)

    def run_status(self, *arguments):
        done = subprocess.run([EXPORTER, "status", *arguments], stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=60, cwd=self.folder)
        return done.returncode, done.stdout, done.stderr

    def test_exit_codes_are_those_of_monitoring_plugins(self):
        kms = "type: KMS, ca_cert_expiry: +900d, client_cert_expiry: +900d, status: {status}"
        for line, expect in (
            ("", 0),
            (kms.format(status="Cannot connect to KMS server."), 1),
            (kms.format(status="KMS Key Not Found"), 2),
            ("faults: {down: true}", 3),
        ):
            code, stdout, stderr = self.ask(f"clusters: [{{name: one}}, {{name: two, {line}}}]\n")
            self.assertEqual((code, stderr), (expect, ""), stdout)
            self.assertIn("2 clusters:", stdout)
            self.assertNotIn("\x1b", stdout, "no colour into a pipe")
        self.assertEqual(self.run_status("--config.file", "nowhere.yml")[0], 3)
        self.assertEqual(self.run_status("--nonsense")[0], 3)

    def test_json_and_prometheus(self):
        code, stdout, _ = self.ask("clusters: [{name: one}]\n", "--output", "json")
        self.assertEqual((code, json.loads(stdout)["clusters"][0]["status"]), (0, "encrypted"))
        code, stdout, _ = self.ask("clusters: [{name: one}]\n", "--output", "prometheus")
        self.assertIn('qumulo_encryption_status{cluster="one",status="encrypted"} 1\n', stdout)
        for one in GENERATIONS:
            checked = subprocess.run([one.promtool, "check", "metrics"], input=stdout, capture_output=True, text=True)
            self.assertEqual((code, checked.returncode, checked.stdout + checked.stderr), (0, 0, ""))

    def test_a_running_exporter_answers_as_the_clusters_do(self):
        fleet = "clusters: [{name: one}, {name: two, type: KMS, status: KMS Key Not Found}]\n"
        direct, _, _ = self.ask(fleet, "--output", "plugin")
        url = self.exporter("--config.file", str(self.folder / "exporter.yml")).url
        wait_for(lambda: "0 unknown" in self.run_status("--exporter.url", url)[1], "two answers")
        for output in ("table", "json", "prometheus", "plugin"):
            code, stdout, stderr = self.run_status("--exporter.url", url, "--output", output)
            self.assertEqual((code, stderr, bool(stdout)), (direct, "", True), output)
        code, stdout, _ = self.run_status("--exporter.url", url, "one")
        self.assertEqual((code, "KMS Key" in stdout), (0, False), stdout)
        for arguments, word in (
            ((url, "three"), "three: the exporter watches no cluster of this name"),
            ((url.replace("://", "://me:hush@"),), "without a user or a password"),
            (("ftp://localhost",), "give http:// or https://"),
            ((url, "one", "--output", "json"), "name none"),
            ((f"{url}/nowhere",), "HTTP 404"),
            (("http://127.0.0.1:1",), "127.0.0.1:1"),
        ):
            code, stdout, stderr = self.run_status("--exporter.url", *arguments)
            self.assertEqual((code, stdout, "hush" in stderr), (3, "", False), stderr)
            self.assertIn(word, stderr)

    def test_completions_and_manual(self):
        for shell in ("bash", "zsh", "fish"):
            done = subprocess.run([EXPORTER, "completions", shell], capture_output=True, text=True, check=True)
            self.assertIn("--config.file" if shell != "fish" else "config.file", done.stdout)
            if shutil.which(shell):
                subprocess.run([shell, "-n"], input=done.stdout, text=True, check=True)
        page = subprocess.run([EXPORTER, "man"], capture_output=True, check=True).stdout
        self.assertTrue(page.startswith(b".ie") or b".TH " in page)


if __name__ == "__main__":
    unittest.main()
