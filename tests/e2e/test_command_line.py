"""The command line as users and service managers meet it."""

import re
import signal
import socket
import subprocess

from support import EXPORTER, ROOT, Case, get, metrics, wait_for


def run(*arguments, env=None, cwd=None):
    result = subprocess.run(
        [EXPORTER, *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20, env=env, cwd=cwd
    )
    return result.returncode, result.stdout, result.stderr


class CommandLine(Case):
    def test_a_good_configuration_is_good_and_a_bad_one_lists_its_mistakes(self):
        config = self.folder / "exporter.yml"
        (self.folder / "token").write_text("access-v1:x")
        config.write_text("clusters: [{name: a, url: 'https://a', authorization: {credentials_file: token}}]\n")
        self.assertEqual(run("check-config", config), (0, f"{config} is good: 1 cluster\n", ""))
        (self.folder / "token").unlink()
        code, _, stderr = run("check-config", config)
        self.assertEqual(code, 1)
        self.assertIn(f"clusters[0]: {self.folder}/token: no such file", stderr)
        bad = ROOT / "tests/config/bad/everything_at_once.yml"
        code, _, stderr = run("check-config", bad)
        self.assertEqual((code, stderr), (1, f"{bad}\n{bad.with_suffix('.txt').read_text()}"))

    def test_what_cannot_start_says_why(self):
        code, _, stderr = run(cwd=self.folder)
        self.assertEqual(code, 1)
        self.assertIn("the configuration file qumulo-encryption-exporter.yml: no such file", stderr)
        self.assertEqual(run("--nonsense")[0], 2)
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            code, _, stderr = run("demo", "--web.listen-address", address)
        self.assertEqual(code, 1)
        self.assertIn(f"cannot listen on {address}: address in use", stderr)

    def test_version_names_the_source(self):
        code, stdout, _ = run("--version")
        self.assertEqual(code, 0)
        self.assertRegex(stdout, r"^qumulo-encryption-exporter \d+\.\d+\.\d+ \(revision [0-9a-f]{12}, rustc \d+\.\d+\.\d+\)\n$")

    def test_a_single_cluster_by_environment(self):
        simulator = self.simulate("clusters: [{name: prod}]\n")
        cluster = simulator.clusters["prod"]
        token = self.folder / "token"
        token.write_text(cluster["token"])
        exporter = self.exporter(env={
            "QUMULO_URL": cluster["url"], "QUMULO_CLUSTER_NAME": "by-environment", "QUMULO_TOKEN_FILE": str(token),
            "QUMULO_PIN_SHA256": cluster["pin_sha256"], "QUMULO_ENCRYPTION_EXPORTER_LOG_FORMAT": "logfmt",
        })
        up = 'qumulo_encryption_up{cluster="by-environment"}'
        wait_for(lambda: metrics(exporter.url).get(up) == 1, "the cluster is up")
        self.assertEqual(get(exporter.url + "/-/ready")[0], 200)
        resident = metrics(exporter.url)["process_resident_memory_bytes"]
        print(f"resident with one cluster: {resident / 1e6:.1f} MB")
        self.assertLess(resident, 10e6)
        self.assertNotIn(cluster["token"], exporter.log.read_text())

    def test_the_first_signal_drains_and_the_second_ends_at_once(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            exporter = self.exporter("demo")
            self.assertEqual(self.end(exporter, number, seconds=4), 0)
        exporter = self.exporter("demo")
        host, port = re.fullmatch(r"http://(.*):(\d+)", exporter.url).groups()
        with socket.create_connection((host, int(port))) as half:
            half.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n")
            get(exporter.url + "/-/healthy")
            exporter.send_signal(signal.SIGTERM)
            wait_for(lambda: "shutting down" in exporter.log.read_text(), "the first signal is heard")
            self.assertEqual(self.end(exporter, signal.SIGTERM, seconds=2), 128 + 15)
