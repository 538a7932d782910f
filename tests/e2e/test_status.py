"""The commands `status`, `completions` and `man`."""

import json
import re
import subprocess
import unittest

from support import EXPORTER, GENERATIONS, ROOT, Case, free_port, get, wait_for


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
        code, stdout, _ = self.ask("clusters: [{name: one}, {name: two, faults: {down: true}}]\n", "--output", "prometheus")
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
            expect = 0 if output == "prometheus" else direct
            self.assertEqual((code, stderr, bool(stdout)), (expect, "", True), output)
        code, stdout, _ = self.run_status("--exporter.url", url, "one")
        self.assertEqual((code, "KMS Key" in stdout), (0, False), stdout)
        for arguments, word in (
            ((url, "three"), "three: the exporter watches no cluster of this name"),
            ((url.replace("://", "://me:hush@"),), "cannot contain a user or password"),
            ((url.replace("127.0.0.1", "0177.0.0.1"),), "four decimal numbers"),
            (("ftp://localhost",), "give http:// or https://"),
            ((url, "one", "--output", "json"), "name none"),
            ((f"{url}/nowhere",), "HTTP 404"),
            (("http://127.0.0.1:1",), "127.0.0.1:1"),
        ):
            code, stdout, stderr = self.run_status("--exporter.url", *arguments)
            self.assertEqual((code, stdout, "hush" in stderr), (3, "", False), stderr)
            self.assertIn(word, stderr)

    def test_plugin_output_of_every_error(self):
        (self.folder / "good.yml").write_text(
            "clusters: [{name: a, url: 'https://127.0.0.1:1', authorization: {credentials_file: t}}]\n")
        (self.folder / "t").write_text("access-v1:x")
        (self.folder / "bad.yml").write_text("clusters: [{nam: a, url: 'http://a|b'}]\n")
        (self.folder / "empty.yml").write_text("clusters: []\n")
        for arguments, expect in (
            ((), "no such file"),
            (("--config.file", "nowhere.yml"), "no such file"),
            (("--config.file", "bad.yml"), "did you mean `name`?"),
            (("--config.file", "empty.yml"), "no clusters are configured"),
            (("--config.file", "good.yml", "b"), "no cluster of this name is configured"),
            (("--config.file", "good.yml"), "connection refused"),
            (("--exporter.url", "http://127.0.0.1:1"), "127.0.0.1:1"),
            (("--exporter.url", "nonsense"), "needs a scheme"),
            (("--nonsense",), "--nonsense"),
            (("--cluster.url", "https://a"), "--cluster.token-file"),
            (("--config.file",), "value is required"),
        ):
            for output in (("--output", "plugin"), ("--output=plugin",)):
                for line in ((*output, *arguments), (*arguments, *output)):
                    if line[-3:] == ("--config.file", "--output", "plugin") or line[-1] == "--config.file":
                        continue
                    code, stdout, stderr = self.run_status(*line)
                    self.assertEqual((code, stdout.count("\n")), (3, 1), (line, stdout, stderr))
                    self.assertRegex(stdout, r"^QUMULO ENCRYPTION UNKNOWN - [^|\x00-\x1f]+( \|[^|]*)?\n$")
                    self.assertIn(expect, stdout)
        before = subprocess.run([EXPORTER, "--output", "plugin", "--nonsense", "status"], stdin=subprocess.DEVNULL,
                                capture_output=True, text=True, timeout=20)
        self.assertEqual((before.returncode, before.stdout[:27]), (3, "QUMULO ENCRYPTION UNKNOWN -"), before)

    def test_performance_data_has_the_limits_of_the_policy(self):
        fleet = ("clusters: [{name: one}, {name: two, type: KMS, status: KMS Available, ca_cert_expiry: +40d, "
                 "client_cert_expiry: +9d}]\n")
        code, stdout, _ = self.ask(fleet, "--output", "plugin")
        self.assertEqual(code, 1)
        # The format of the Monitoring Plugins guidelines: 'label'=value[UOM];[warn];[crit];[min];[max]
        number, limit = r"-?\d+(\.\d+)?", r"(-?\d+(\.\d+)?:?)?"
        data = stdout.rstrip("\n").split(" | ")[1].split(" ")
        for one in data:
            self.assertRegex(one, rf"^[a-z_]+={number};{limit};{limit}(;({number})?;({number})?)?$")
        self.assertIn("critical=0;;0;0;2", data)
        self.assertRegex(data[-1], r"^first_expiry_days=(8\.9|9\.0);30:;7:$")

    def test_the_textfile_collector_takes_what_is_written(self):
        """The commands of docs/status.md, with a critical cluster."""
        recipe = (ROOT / "docs/status.md").read_text().split("```sh\n")
        recipe = next(block.split("```")[0] for block in recipe if "--output prometheus" in block)
        fleet = "clusters: [{name: one}, {name: two, type: KMS, status: KMS Key Not Found}]\n"
        self.ask(fleet)
        collected = self.folder / "collected"
        collected.mkdir()
        command = recipe.replace("/var/lib/prometheus/node-exporter", str(collected))
        command = command.replace("qumulo-encryption-exporter status", f"{EXPORTER} status")
        for telemetry in ((), ("--web.telemetry-path=/qumulo/metrics", "--web.route-prefix=/q")):
            exporter = self.exporter("--config.file", "exporter.yml", *telemetry)
            url = exporter.url + ("/q" if telemetry else "")
            self.wait_ready(url)
            self.assertIn("http://127.0.0.1:10979", command)
            subprocess.run(["sh", "-euc", command.replace("http://127.0.0.1:10979", url)], cwd=self.folder, check=True, timeout=20)
            self.assertEqual([path.name for path in collected.iterdir()], ["qumulo.prom"])
            text = (collected / "qumulo.prom").read_text()
            names = {re.split(r"[{ ]", line.removeprefix("# HELP ").removeprefix("# TYPE "))[0] for line in text.splitlines()}
            self.assertTrue(all(name.startswith("qumulo_") for name in names) and len(names) > 10, names)
            exporter.terminate()
        address = f"127.0.0.1:{free_port()}"
        self.start("prometheus-node-exporter", f"--collector.textfile.directory={collected}", f"--web.listen-address={address}",
                   "--collector.disable-defaults", "--collector.textfile")
        node = wait_for(lambda: self.scraped(f"http://{address}/metrics"), "the node exporter answers")
        self.assertIn("\nnode_textfile_scrape_error 0\n", node)
        self.assertIn('qumulo_encryption_status{cluster="two",status="kms_key_not_found"} 1\n', node)
        # Polling the clusters without an exporter gives the same series. A failure does not change the file.
        direct = subprocess.run(["sh", "-euc", command.replace("--exporter.url http://127.0.0.1:10979", f"--config.file {self.folder}/exporter.yml")],
                                cwd=self.folder, timeout=20)
        self.assertEqual(direct.returncode, 0)
        text = (collected / "qumulo.prom").read_text()
        self.assertIn('status="kms_key_not_found"} 1\n', text)
        failed = subprocess.run(["sh", "-euc", command.replace("http://127.0.0.1:10979", "http://127.0.0.1:1")],
                                cwd=self.folder, stderr=subprocess.DEVNULL, timeout=20)
        self.assertNotEqual(failed.returncode, 0)
        self.assertEqual((collected / "qumulo.prom").read_text(), text)

    @staticmethod
    def scraped(url):
        try:
            return get(url)[2].decode()
        except OSError:
            return None

    def test_completions_and_manual(self):
        for shell in ("bash", "zsh", "fish"):
            done = subprocess.run([EXPORTER, "completions", shell], capture_output=True, text=True, check=True)
            self.assertIn("--config.file" if shell != "fish" else "config.file", done.stdout)
            subprocess.run([shell, "-n"], input=done.stdout, text=True, check=True)
        page = subprocess.run([EXPORTER, "man"], capture_output=True, check=True).stdout
        self.assertTrue(page.startswith(b".ie") or b".TH " in page)


if __name__ == "__main__":
    unittest.main()
