"""The listener with a web configuration file: stores, openssl and curl as clients."""

import json
import re
import subprocess
import unittest

from support import EXPORTER, STACKS, Case, free_port, get, self_signed, wait_for

PASSWORD = "correct horse: battery"


def run(*command, stdin=""):
    return subprocess.run([str(word) for word in command], input=stdin, capture_output=True, text=True, timeout=30)


class WebConfig(Case):
    def setUp(self):
        super().setUp()
        self_signed(self.folder, "ca")
        self.issue("listener", "ca", "-days", "30")
        self.issue("client", "ca", "-days", "30")
        # It has expired.
        self.issue("expired", "ca", "-days", "-1")

    def issue(self, name, authority, *days):
        (self.folder / "ext").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
        self.openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{name}.key",
                     "-out", f"{name}.csr", "-subj", f"/CN={name}")
        self.openssl("x509", "-req", "-in", f"{name}.csr", "-CA", f"{authority}.pem", "-CAkey", f"{authority}.key",
                     "-CAcreateserial", "-out", f"{name}.pem", "-extfile", "ext", *days)

    def openssl(self, *arguments):
        subprocess.run(["openssl", *arguments], cwd=self.folder, check=True, capture_output=True)

    def demo(self, lines, *arguments):
        """Starts a demo with TLS. `.address` is host and port."""
        self.web = self.folder / "web.yml"
        self.web.write_text("tls_server_config:\n  cert_file: listener.pem\n  key_file: listener.key\n" + lines)
        exporter = self.exporter("demo", "--web.config.file", self.web, *arguments)
        exporter.address = exporter.url.removeprefix("http://")
        return exporter

    def users(self):
        entry = run(EXPORTER, "hash-password", "prometheus", "--cost", "5", stdin=PASSWORD + "\n")
        self.assertEqual(entry.returncode, 0, entry.stderr)
        return f"basic_auth_users:\n  {entry.stdout}"

    def curl(self, exporter, *arguments, path="/metrics"):
        """Status (0 if the connection failed) and body."""
        done = run("curl", "-s", "--cacert", self.folder / "ca.pem", "-w", "%{http_code}", *arguments,
                   f"https://{exporter.address}{path}")
        return int(done.stdout[-3:]), done.stdout[:-3]

    def scraped(self, exporter, **jobs):
        """Starts stores with these jobs, {name: lines of configuration}. Returns {job: [(health, last error) of each store]}."""
        stores = self.stores("global: {scrape_interval: 1s, scrape_timeout: 1s}\nscrape_configs:\n" + "".join(
            f"- job_name: {job}\n  scheme: https\n  static_configs: [{{targets: ['{exporter.address}']}}]\n"
            f"  tls_config:\n    ca_file: {self.folder / 'ca.pem'}\n{lines}" for job, lines in jobs.items()))

        def targets(store):
            found = json.loads(get(f"{store.url}/api/v1/targets")[2])["data"]["activeTargets"]
            # VictoriaMetrics reports targets as down that it has not scraped yet.
            scraped = {one["labels"]["job"]: (one["health"], one["lastError"]) for one in found
                       if one["health"] == "up" or one["lastError"]}
            return set(scraped) == set(jobs) and scraped

        found = [wait_for(lambda: targets(store), f"{store.name} has scraped all", seconds=30) for store in stores]
        return {job: [one[job] for one in found] for job in jobs}

    def test_stores_with_a_password(self):
        exporter = self.demo(self.users())
        jobs = {}
        for job, password in (("right", PASSWORD), ("wrong", "wrong")):
            secret = self.folder / f"{job}.password"
            secret.write_text(password)
            jobs[job] = f"  basic_auth: {{username: prometheus, password_file: {secret}}}\n"
        found = self.scraped(exporter, **jobs)
        self.assertEqual(found["right"], [("up", "")] * len(STACKS))
        for health, error in found["wrong"]:
            self.assertEqual(health, "down")
            self.assertIn("401", error)
        good = f"prometheus:{PASSWORD}"
        self.assertEqual(self.curl(exporter)[0], 401)
        self.assertEqual(self.curl(exporter, "-u", f"nobody:{PASSWORD}")[0], 401)
        self.assertEqual(self.curl(exporter, path="/-/healthy")[0], 200)
        status, body = self.curl(exporter, "-u", good)
        self.assertEqual(status, 200)
        refused = re.search(r'http_requests_total\{code="401",handler="/metrics"\} (\d+)', body)
        self.assertGreaterEqual(int(refused[1]), 3, "refusals are counted")
        self.assertNotIn(PASSWORD, exporter.log.read_text())

    def test_stores_with_a_certificate(self):
        health_port = free_port()
        exporter = self.demo("  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n",
                             "--web.health-listen-address", f"127.0.0.1:{health_port}")

        def lines(name):
            return f"    cert_file: {self.folder / name}.pem\n    key_file: {self.folder / name}.key\n"

        found = self.scraped(exporter, good=lines("client"), none="", expired=lines("expired"))
        self.assertEqual(found["good"], [("up", "")] * len(STACKS))
        for job in ("none", "expired"):
            self.assertEqual([health for health, _ in found[job]], ["down"] * len(STACKS), job)
        certificate = ("--cert", self.folder / "client.pem", "--key", self.folder / "client.key")
        status, body = self.curl(exporter, *certificate)
        self.assertEqual(status, 200)
        failures = re.search(r"tls_handshake_failures_total (\d+)", body)
        self.assertGreaterEqual(int(failures[1]), 2, "refusals are counted")
        self.assertRegex(body, r"listener_certificate_expiry_timestamp_seconds \d{10}\n")
        self.assertEqual(self.curl(exporter)[0], 0)
        self.assertEqual(get(f"http://127.0.0.1:{health_port}/-/ready")[0] in (200, 503), True)
        self.assertEqual(get(f"http://127.0.0.1:{health_port}/metrics")[0], 404)

    def handshake(self, exporter, *arguments):
        """The version and cipher suite that openssl negotiated, or a false value."""
        done = run("openssl", "s_client", "-connect", exporter.address, "-CAfile", self.folder / "ca.pem", *arguments)
        agreed = re.search(r"New, (TLSv[\d.]+), Cipher is (\S+)", done.stdout)
        return agreed and agreed[2] != "(NONE)" and (agreed[1], agreed[2])

    def test_versions_and_suites(self):
        exporter = self.demo("", "--web.enable-lifecycle")
        self.assertFalse(self.handshake(exporter, "-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"))
        self.assertEqual(self.handshake(exporter, "-tls1_3")[0], "TLSv1.3")
        self.assertTrue(self.handshake(exporter, "-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"))
        self.assertFalse(self.handshake(exporter, "-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA"))
        # Changes take effect with a reload.
        text = self.web.read_text()

        def change(lines):
            self.web.write_text(text + lines)
            status, body = self.curl(exporter, "-X", "POST", path="/-/reload")
            self.assertEqual(status, 200, body)
            self.assertIn("Web configuration reloaded.", body)

        change("  min_version: TLS13\n")
        self.assertFalse(self.handshake(exporter, "-tls1_2"))
        self.assertTrue(self.handshake(exporter, "-tls1_3"))
        change("  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384]\n")
        self.assertFalse(self.handshake(exporter, "-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"))
        self.assertEqual(self.handshake(exporter, "-tls1_2")[1], "ECDHE-ECDSA-AES256-GCM-SHA384")
        change("  curve_preferences: [CurveP384]\n")
        self.assertFalse(self.handshake(exporter, "-tls1_3", "-groups", "X25519"))
        self.assertTrue(self.handshake(exporter, "-tls1_3", "-groups", "P-384"))

    def test_reloads_and_renewals(self):
        """The response to a reload has the errors. A renewed certificate needs no reload."""
        exporter = self.demo("", "--web.enable-lifecycle")
        good = self.web.read_text()
        gauge = lambda: re.search(r"web_config_last_reload_successful (\d)", self.curl(exporter)[1])[1]
        self.web.write_text(good + "  min_version: TLS9\n")
        status, body = self.curl(exporter, "-X", "POST", path="/-/reload")
        self.assertEqual(status, 500)
        self.assertIn(f"{self.web}:4:3: tls_server_config.min_version: unknown TLS version: TLS9", body)
        self.assertEqual(gauge(), "0")
        self.assertRegex(exporter.log.read_text(), r"cannot use the web configuration.*min_version|min_version.*cannot use the web")
        self.web.write_text(good)
        self.assertEqual(self.curl(exporter, "-X", "POST", path="/-/reload")[0], 200)
        self.assertEqual(gauge(), "1")
        # Without a reload, only certificate and key are read again.
        self.web.write_text(good + "  client_auth_type: RequireAnyClientCert\n")
        shown = lambda: run("openssl", "s_client", "-connect", exporter.address, "-showcerts").stdout
        before = shown()
        self.issue("listener", "ca", "-days", "60")
        wait_for(lambda: (now := shown()) != before and "BEGIN CERTIFICATE" in now and self.curl(exporter)[0] == 200,
                 "the renewed certificate is used")
        self.assertEqual(self.curl(exporter, "-X", "POST", path="/-/reload")[0], 200)
        self.assertEqual(self.curl(exporter)[0], 0, "client certificates are required after the reload")

    def test_errors_are_reported_at_startup_and_by_check_config(self):
        web = self.folder / "web.yml"
        web.write_text("tls_server_config: {cert_file: a.pem, min_version: TLS10}\nbasic_auth_users: {a: plain}\n")
        done = run(EXPORTER, "demo", "--web.config.file", web, "--web.listen-address", "127.0.0.1:0")
        self.assertEqual(done.returncode, 1)
        checked = run(EXPORTER, "check-config", "--web.config.file", web, self.folder / "none.yml")
        self.assertEqual(checked.returncode, 1)
        for output in (done.stderr, checked.stderr):
            for place in ("cert_file", "key_file", "min_version", "basic_auth_users.a"):
                self.assertIn(place, output)

    def test_useless_passwords(self):
        for password in ("", "x" * 73):
            done = run(EXPORTER, "hash-password", "a", stdin=password + "\n")
            self.assertEqual((done.returncode, done.stdout), (1, ""))


if __name__ == "__main__":
    unittest.main()
