"""Commands, flags, environment variables, exit codes and signals."""

import pathlib
import re
import signal
import socket
import subprocess

from support import EXPORTER, ROOT, Case, get, metrics, post, wait_for


def run(*arguments, env=None, cwd=None):
    result = subprocess.run(
        [EXPORTER, *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20, env=env, cwd=cwd
    )
    return result.returncode, result.stdout, result.stderr


class CommandLine(Case):
    def test_check_config(self):
        config = self.folder / "exporter.yml"
        (self.folder / "token").write_text("access-v1:x")
        (self.folder / "token").chmod(0o600)
        config.write_text("clusters: [{name: a, url: 'https://a', authorization: {credentials_file: token}}]\n")
        self.assertEqual(run("check-config", config), (0, f"{config} is good: 1 cluster\n", ""))
        (self.folder / "token").unlink()
        code, _, stderr = run("check-config", config)
        self.assertEqual(code, 1)
        self.assertIn(f'{config}:1:12: cluster "a": authorization.credentials_file: the configured file (path not shown', stderr)
        bad = ROOT / "tests/config/bad/everything_at_once.yml"
        code, _, stderr = run("check-config", bad)
        self.assertEqual((code, stderr.replace(f"{bad.parent}/", "")), (1, bad.with_suffix(".txt").read_text()))

    def test_every_command_takes_the_file_in_the_same_ways(self):
        config, other = self.folder / "exporter.yml", {"QUMULO_ENCRYPTION_EXPORTER_CONFIG_FILE": "/nowhere.yml"}
        config.write_text("clusters: []\n")
        good = (0, f"{config} is good: 0 clusters\nwarning: {config}: has no clusters, so nothing is monitored\n", "")
        self.assertEqual(run("check-config", config), good)
        self.assertEqual(run("check-config", "--config.file", config), good)
        self.assertEqual(run("--config.file", config, "check-config"), good)
        self.assertEqual(run("check-config", config, env=other), good)
        self.assertIn("/nowhere.yml: no such file", run("check-config", env=other)[2])
        self.assertEqual(run("status", "--config.file", config)[0], run("--config.file", config, "status")[0])

    def test_a_world_readable_secret_is_warned_about(self):
        config = self.folder / "exporter.yml"
        (self.folder / "token").write_text("access-v1:x")
        (self.folder / "token").chmod(0o644)
        config.write_text("clusters: [{name: a, url: 'https://a', authorization: {credentials_file: token}}]\n")
        code, stdout, _ = run("check-config", config)
        self.assertEqual(code, 0)
        self.assertIn("chmod o-r", stdout)

    def test_environment_variables(self):
        config = self.folder / "exporter.yml"
        config.write_text("clusters: []\n")
        name = "QUMULO_ENCRYPTION_EXPORTER_WEB_ENABLE_LIFECYCLE"
        for value in ("1", "yes", "on", "true", "0", "no", "off", "false", ""):
            exporter = self.exporter("--config.file", config, env={
                name: value, "QUMULO_TOKEN_FILE": "", "QUMULO_URL": "", "QUMULO_ENCRYPTION_EXPORTER_LOG_LEVEL": ""})
            allowed = value in ("1", "yes", "on", "true")
            self.assertEqual(post(exporter.url + "/-/reload")[0], 200 if allowed else 403, value)
            exporter.terminate()
        code, _, stderr = run("--config.file", config, env={name: "maybe"})
        self.assertEqual(code, 2)
        self.assertIn(name, stderr)
        code, _, stderr = run("--config.file", config, env={"QUMULO_ENCRYPTION_EXPORTER_WEB_MAX_REQUESTS": "many"})
        self.assertEqual(code, 2)
        self.assertIn("QUMULO_ENCRYPTION_EXPORTER_WEB_MAX_REQUESTS", stderr)

    def test_a_secret_in_the_wrong_place_is_not_shown(self):
        """As an argument, in an environment variable, and as a path in the configuration of a running exporter."""
        token, password = "access-v1:aHVudGVyMg==", "hunter2-hunter2"
        for secret in (token, password):
            for arguments, env in (
                (("--cluster.url", "https://127.0.0.1:1", "--cluster.token-file", secret), {}),
                (("--cluster.url", "https://127.0.0.1:1", "--cluster.token-file", "t", "--cluster.ca-file", secret), {}),
                (("check-config", "--web.config.file", secret), {}),
                (("--cluster.url", secret, "--cluster.token-file", "t"), {}),
                (("status",), {"QUMULO_TOKEN_FILE": secret, "QUMULO_URL": "https://127.0.0.1:1"}),
                (("status",), {"QUMULO_TOKEN_FILE": "t", "QUMULO_URL": secret}),
            ):
                if secret == token or "--web.config.file" not in arguments:
                    started = ("--web.listen-address", "127.0.0.1:0") if arguments[0].startswith("--cluster") else ()
                    if secret == password and started and "--cluster.ca-file" not in arguments and secret != arguments[1]:
                        continue  # The exporter starts. See below.
                    code, stdout, stderr = run(*arguments, *started, env=env)
                    self.assertNotEqual(code, 0)
                    self.assertNotIn(secret, stdout + stderr, (arguments, env))
        for keys in (
            "authorization: {credentials_file: %s}", "login: {username: x, password_file: %s}",
            "login: {username: x, password_file: p}, proxy_url: 'http://127.0.0.1:1', "
            "proxy_authorization: {username: x, password_file: %s}",
            "authorization: {credentials_file: t}, tls_config: {ca_file: %s}",
        ):
            config = self.folder / "exporter.yml"
            config.write_text("clusters: [{name: a, url: 'https://127.0.0.1:1', %s}]\n" % (keys % password))
            code, stdout, stderr = run("check-config", config)
            self.assertNotIn(password, stdout + stderr)
            code, stdout, stderr = run("status", "--config.file", config)
            self.assertNotIn(password, stdout + stderr)
            if "ca_file" in keys or "proxy" in keys:
                continue  # The exporter does not start.
            exporter = self.exporter("--config.file", config, "--log.level", "debug")
            self.wait_ready(exporter.url)
            for path in ("/", "/metrics", "/api/v1/clusters", "/sd"):
                self.assertNotIn(password.encode(), get(exporter.url + path)[2])
            exporter.terminate()
            self.assertNotIn(password, exporter.log.read_text())

    def test_startup_errors(self):
        code, _, stderr = run(cwd=self.folder)
        self.assertEqual(code, 1)
        self.assertIn("no such file; set another file with --config.file", stderr)
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

    def test_first_and_last_log_lines_of_the_start(self):
        version = run("--version")[1].split()[1]
        for arguments, scheme, path in (((), "http", "/"), (("--web.route-prefix=/q", "--log.format=logfmt"), "http", "/q/")):
            demo = self.exporter("demo", *arguments)
            lines = wait_for(lambda: (text := demo.log.read_text()) and "in a browser" in text and text.splitlines(), "the start ends")
            self.assertRegex(lines[0], f'msg="starting qumulo-encryption-exporter" version={version} revision=[0-9a-f]{{12}}')
            port = demo.url.rsplit(":", 1)[1]
            self.assertTrue(lines[-1].endswith(f'msg="open {scheme}://127.0.0.1:{port}{path} in a browser"'), lines[-1])
            self.assertEqual(get(f"{scheme}://127.0.0.1:{port}{path}")[0], 200)
            demo.terminate()

    def test_simulate_prints_a_configuration_and_keeps_it_current(self):
        (self.folder / "fleet.yml").write_text("clusters: [{name: a}, {name: b, type: KMS, status: KMS Available}]\n")
        simulator = self.start(EXPORTER, "simulate", "--fleet", "fleet.yml", "--directory", "sim")
        text = wait_for(lambda: simulator.out.read_text(), "the configuration is printed")
        written = self.folder / "sim/qumulo-encryption-exporter.yml"
        self.assertEqual(written.read_text(), text)
        (self.folder / "elsewhere").mkdir()
        (self.folder / "elsewhere/config.yml").write_text(text)
        self.assertEqual(run("check-config", self.folder / "elsewhere/config.yml")[::2], (0, ""))
        self.assertIn("2 clusters: 0 critical, 0 unknown", run("status", "--config.file", self.folder / "elsewhere/config.yml")[1])
        exporter = self.exporter("--config.file", written)
        simulator.terminate()
        simulator.wait()
        simulator = self.start(EXPORTER, "simulate", "--fleet", "fleet.yml", "--directory", "sim")
        self.assertEqual(wait_for(lambda: simulator.out.read_text(), "the configuration is printed again"), text)
        self.assertIn("0 unknown", run("status", "--config.file", self.folder / "elsewhere/config.yml")[1])
        # An edited fleet.
        (self.folder / "fleet.yml").write_text("clusters: [{name: a}, {name: c}]\n")
        wait_for(lambda: 'name: "c"' in written.read_text(), "the configuration follows")
        self.assertEqual(run("check-config", written)[0], 0)
        code, _, stderr = run("simulate", "--directory", "/proc/nowhere")
        self.assertEqual(code, 1)
        self.assertIn("name a folder with --directory", stderr)

    def test_levels_are_understood_in_any_case(self):
        config = self.folder / "exporter.yml"
        config.write_text("clusters: []\n")
        for level in ("INFO", "Info"):
            exporter = self.exporter("--config.file", config, f"--log.level={level}", env={"QUMULO_ENCRYPTION_EXPORTER_LOG_FORMAT": "LOGFMT"})
            exporter.terminate()

    def test_a_single_cluster_by_environment(self):
        simulator = self.simulate("clusters: [{name: prod}]\n")
        cluster = simulator.clusters["prod"]
        token = self.folder / "token"
        token.write_text(cluster["token"])
        exporter = self.exporter(env={
            "QUMULO_URL": cluster["url"], "QUMULO_CLUSTER_NAME": "by-environment", "QUMULO_TOKEN_FILE": str(token),
            "QUMULO_PIN_SHA256": "sha256 Fingerprint=" + cluster["pin_sha256"], "QUMULO_ENCRYPTION_EXPORTER_LOG_FORMAT": "logfmt",
        })
        up = 'qumulo_encryption_up{cluster="by-environment"}'
        wait_for(lambda: metrics(exporter.url).get(up) == 1, "the cluster is up")
        self.assertEqual(get(exporter.url + "/-/ready")[0], 200)
        resident = metrics(exporter.url)["process_resident_memory_bytes"]
        print(f"resident with one cluster: {resident / 1e6:.1f} MB")
        self.assertLess(resident, 10e6)
        self.assertNotIn(cluster["token"], exporter.log.read_text())

    def unread(self, port, peer):
        """Bytes from port `peer` that the listener at `port` has not read yet; None without a connection."""
        for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]:
            _, local, remote, _, queues, *_ = line.split()
            if [int(address.split(":")[1], 16) for address in (local, remote)] == [port, peer]:
                return int(queues.split(":")[1], 16)

    def test_the_first_signal_drains_and_the_second_ends_at_once(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            exporter = self.exporter("demo")
            self.assertEqual(self.end(exporter, number, seconds=4), 0)
        exporter = self.exporter("demo")
        host, port = re.fullmatch(r"http://(.*):(\d+)", exporter.url).groups()
        with socket.create_connection((host, int(port))) as half:
            half.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n")
            # A connection on which nothing was read yet is closed at once.
            wait_for(lambda: self.unread(int(port), half.getsockname()[1]) == 0, "the exporter has read the half request")
            exporter.send_signal(signal.SIGTERM)
            wait_for(lambda: "shutting down" in exporter.log.read_text(), "the first signal is handled")
            self.assertEqual(self.end(exporter, signal.SIGTERM, seconds=2), 128 + 15)
