"""A blocked log, special files, hanging clusters and hanging clients do not delay anything else."""

import os
import re
import signal
import socket
import ssl
import subprocess
import threading
import time
import unittest

from support import EXPORTER, Case, get, metrics, self_signed, wait_for

CONFIG = """clusters:
- name: a
  url: https://127.0.0.1:9
  authorization: {credentials_file: token}
"""


class Hanging(Case):
    def setUp(self):
        super().setUp()
        self.config = self.folder / "exporter.yml"
        self.config.write_text(CONFIG)
        (self.folder / "token").write_text("token")

    def test_a_log_that_nobody_reads(self):
        reader, writer = os.pipe()
        self.addCleanup(os.close, reader)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        process = subprocess.Popen(
            [EXPORTER, "--config.file", self.config, "--web.enable-lifecycle", "--web.listen-address", f"127.0.0.1:{port}"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=writer)
        os.close(writer)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        url = f"http://127.0.0.1:{port}"

        def healthy():
            try:
                return get(url + "/-/healthy")[0] == 200
            except OSError:
                return False

        wait_for(healthy, "it listens")
        # Each reload of a bad configuration logs some lines, in total much more than fits into the pipe and the queue.
        self.config.write_text("clusters: [{name: b, url: 'ftp://%s'}]\n" % ("x" * 100))
        for _ in range(4000):
            with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
                client.sendall(b"POST /-/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                self.assertTrue(client.recv(100).startswith(b"HTTP/1.1 500"))
        self.assertTrue(healthy())
        started = time.monotonic()
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(10), 0)
        self.assertLess(time.monotonic() - started, 6)

    def test_files_that_are_not_regular(self):
        fifo = self.folder / "fifo"
        os.mkfifo(fifo)
        for arguments in (["--config.file", fifo], ["--config.file", "/dev/zero"],
                          ["--config.file", self.config, "--web.config.file", fifo]):
            done = subprocess.run([EXPORTER, *arguments, "--web.listen-address", "127.0.0.1:0"], stdin=subprocess.DEVNULL,
                                  capture_output=True, text=True, timeout=10)
            self.assertEqual(done.returncode, 1, done.stderr)
            self.assertIn("is not a regular file", done.stderr)
        (self.folder / "token").unlink()
        os.mkfifo(self.folder / "token")
        exporter = self.exporter("--config.file", self.config)
        wait_for(lambda: metrics(exporter.url).get('qumulo_encryption_up{cluster="a"}') == 0, "the cluster has no token")
        self.assertIn("is not a regular file", exporter.log.read_text())
        self.assertEqual(self.end(exporter), 0)

    def test_sighup_during_the_start(self):
        for pause in range(0, 40, 4):
            process = self.start(EXPORTER, "--config.file", self.config, "--web.listen-address", "127.0.0.1:0")
            wait_for(lambda: handles_hangups(process.pid), "the handler is installed", seconds=10)
            time.sleep(pause / 1000)
            process.send_signal(signal.SIGHUP)
            wait_for(lambda: "reloaded" in process.log.read_text(), "the reload is done")
            self.assertEqual(self.end(process), 0)

    def test_a_shutdown_that_times_out(self):
        """The exit status shows that requests were aborted."""
        exporter = self.exporter("--config.file", self.config)
        host, port = exporter.url.removeprefix("http://").split(":")
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect((host, int(port)))
            client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 100)
            wait_for(lambda: metrics(exporter.url)['qumulo_encryption_exporter_http_requests_total{code="200",handler="/metrics"}'] > 5,
                     "some of them are answered")
            started = time.monotonic()
            self.assertEqual(self.end(exporter), 1)
        self.assertLess(time.monotonic() - started, 6)
        self.assertIn("did not end in time", exporter.log.read_text())

    def test_hanging_clusters(self):
        """Of 1,000 clusters, 900 never respond: the others are polled in time, also at the start."""
        silent = socket.socket()
        self.addCleanup(silent.close)
        silent.bind(("127.0.0.1", 0))
        silent.listen(4096)
        cluster = self.simulate("clusters:\n- {name: good}\n").clusters["good"]
        (self.folder / "token").write_text(cluster["token"])
        lines = ["global: {poll_interval: 10s, poll_timeout: 10s}", "clusters:"]
        for number in range(1000):
            url = cluster["url"] if number % 10 == 0 else f"https://127.0.0.1:{silent.getsockname()[1]}"
            lines.append(f"- name: c{number}\n  url: {url}\n  authorization: {{credentials_file: token}}\n"
                         f"  tls_config: {{pin_sha256: ['{cluster['pin_sha256']}']}}")
        self.config.write_text("\n".join(lines))
        started = time.monotonic()
        exporter = self.exporter("--config.file", self.config)

        def up():
            samples = metrics(exporter.url)
            return sum(samples.get(f'qumulo_encryption_up{{cluster="c{number}"}}', 0) for number in range(0, 1000, 10))

        wait_for(lambda: up() == 100, "all healthy clusters are up", seconds=9)
        print(f"100 healthy clusters among 1,000: up {time.monotonic() - started:.1f} s after the start")
        polls = lambda: [metrics(exporter.url)[f'qumulo_encryption_polls_total{{cluster="c{n}"}}'] for n in range(0, 1000, 10)]
        before = polls()
        wait_for(lambda: all(now >= then + 2 for now, then in zip(polls(), before)), "two more polls each", seconds=25)
        self.assertEqual(up(), 100)
        self.assertEqual(self.end(exporter), 0)

    def test_interim_responses_without_end(self):
        """Ten clusters that send 103 responses without end do not delay the polls of others."""
        key, certificate = self_signed(self.folder, "flood", "-addext", "subjectAltName=IP:127.0.0.1")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        floods = []

        def flood(connection):
            try:
                with context.wrap_socket(connection, server_side=True) as tls:
                    tls.recv(10000)
                    floods.append(1)
                    while True:
                        tls.sendall(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 4000)
            except OSError:
                pass

        def accept():
            try:
                while True:
                    threading.Thread(target=flood, args=listener.accept()[:1], daemon=True).start()
            except OSError:
                pass

        threading.Thread(target=accept, daemon=True).start()
        good = self.simulate("clusters:\n- {name: good}\n").clusters["good"]
        (self.folder / "token").write_text(good["token"])
        lines = ["global: {poll_interval: 5s, poll_timeout: 5s, authorization: {credentials_file: token}}", "clusters:"]
        for number in range(20):
            url, trust = good["url"], f"pin_sha256: ['{good['pin_sha256']}']"
            if number >= 10:
                url, trust = f"https://127.0.0.1:{listener.getsockname()[1]}", "ca_file: flood.pem"
            lines.append(f"- {{name: c{number}, url: '{url}', tls_config: {{{trust}}}}}")
        self.config.write_text("\n".join(lines))
        exporter = self.exporter("--config.file", self.config)

        def polls(name, clusters):
            samples = metrics(exporter.url)
            chosen = {f'cluster="c{number}"' for number in clusters}
            return sum(value for series, value in samples.items()
                       if series.startswith(f"qumulo_encryption_{name}{{") and series.split("{")[1].split(",")[0].rstrip("}") in chosen)

        wait_for(lambda: polls("poll_failures_total", range(10, 20)) >= 20, "the floods are cut off", seconds=60)
        self.assertGreaterEqual(len(floods), 20)
        self.assertGreaterEqual(polls("polls_total", range(10)), 20)
        self.assertEqual(polls("poll_failures_total", range(10)), 0)
        self.assertEqual(self.end(exporter), 0)


def handles_hangups(pid):
    try:
        with open(f"/proc/{pid}/status") as status:
            caught = int(re.search(r"SigCgt:\s+(\w+)", status.read())[1], 16)
    except OSError:
        return False
    return caught >> (signal.SIGHUP - 1) & 1


if __name__ == "__main__":
    unittest.main()
