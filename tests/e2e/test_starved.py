"""The exporter when its host runs out of a resource. Each row of the table in docs/reliability.md has a test here."""

import http.client
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import unittest

from support import EXPORTER, ROOT, Case, entry, metrics, wait_for

UP = 'qumulo_encryption_up{cluster="a"}'


class Starved(Case):
    def configure(self, faults):
        """A configuration with one simulated cluster, polled every second."""
        simulator, config = self.simulate(f"clusters: [{{name: a, faults: {faults}}}]\n"), self.folder / "exporter.yml"
        cluster = entry("a", simulator.clusters["a"], self.folder)
        config.write_text("global: {poll_interval: 1s}\nclusters:\n" + cluster)
        return config

    def test_no_descriptors_are_left(self):
        exporter = self.exporter("--config.file", self.configure("{close: true}"))
        wait_for(lambda: metrics(exporter.url).get(UP) == 1, "polled")
        kept = http.client.HTTPConnection(exporter.url.removeprefix("http://"), timeout=10)
        self.addCleanup(kept.close)

        def scrape():
            kept.request("GET", "/metrics")
            return kept.getresponse().read().decode()

        scrape()
        before = resource.prlimit(exporter.pid, resource.RLIMIT_NOFILE)
        used = max(int(name) for name in os.listdir(f"/proc/{exporter.pid}/fd")) + 1
        self.addCleanup(resource.prlimit, exporter.pid, resource.RLIMIT_NOFILE, before)
        resource.prlimit(exporter.pid, resource.RLIMIT_NOFILE, (used, before[1]))
        # Idle connections use up the descriptors that are still free below the limit.
        address = exporter.url.removeprefix("http://").split(":")
        taken = [http.client.HTTPConnection(*address, timeout=10) for _ in range(used)]
        for client in taken:
            client.connect()
            self.addCleanup(client.close)
        failed = 'qumulo_encryption_last_poll_failure{cluster="a",reason="connect"} 1'
        wait_for(lambda: failed in scrape(), "polls fail, and an existing connection is served")
        self.assertIn('qumulo_encryption_status{cluster="a",status="encrypted"} 1', scrape(), "while it is fresh")
        self.assertRegex(exporter.log.read_text(), r"poll failed.*too many open files", "the log names it")
        resource.prlimit(exporter.pid, resource.RLIMIT_NOFILE, before)
        wait_for(lambda: metrics(exporter.url).get(UP) == 1, "polling recovers")

    def test_the_limit_of_descriptors_is_too_low(self):
        """The exporter does not start, and its error names a limit that is sufficient."""
        config = self.configure("{}")
        for limit in (8, 16, 20, 24, 32, 63):
            done = subprocess.run(["prlimit", f"--nofile={limit}", EXPORTER, "--config.file", config, "--web.listen-address",
                                   "127.0.0.1:0"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20)
            self.assertEqual(done.returncode, 1, limit)
            self.assertRegex(done.stderr, rf"the limit of open files is {limit}, .* raise it to 64", limit)
        exporter = self.exporter("--config.file", config, wrapper=["prlimit", "--nofile=64"])
        wait_for(lambda: metrics(exporter.url).get(UP) == 1, "polled")
        address = exporter.url.removeprefix("http://").split(":")
        for _ in range(100):
            self.addCleanup(socket.create_connection(address, timeout=10).close)
        polls = lambda: metrics(exporter.url)['qumulo_encryption_polls_total{cluster="a"}']
        before = polls()
        wait_for(lambda: polls() > before + 2 and metrics(exporter.url)[UP] == 1, "polls and scrapes continue")

    def test_the_disk_is_full_or_read_only(self):
        config = self.configure("{}")
        # The log cannot be written, and all file systems are read-only.
        script = ("mount --make-rprivate / && mount -o remount,bind,ro / && ! touch /etc/x 2>/dev/null && "
                  'exec "$@" 2>/dev/full')
        process = self.start("unshare", "--mount", "sh", "-c", script, "sh", EXPORTER, "--config.file", config,
                             "--web.listen-address", "127.0.0.1:0")

        def address():
            self.assertIsNone(process.poll(), process.log.read_text())
            listening = subprocess.run(["ss", "-Hltnp"], capture_output=True, text=True).stdout
            return re.search(rf"127\.0\.0\.1:(\d+) .*pid={process.pid},", listening)

        url = "http://127.0.0.1:" + wait_for(address, "it listens")[1]
        wait_for(lambda: metrics(url).get(UP) == 1, "polled")
        dropped = metrics(url)["qumulo_encryption_exporter_log_lines_dropped_total"]
        self.assertTrue(0 < dropped < 100, f"{dropped} log lines are dropped and counted")
        self.assertEqual(self.end(process), 0)
        for command in (["check-config", config], ["status", "--config.file", config], ["man"], ["completions", "bash"],
                        ["simulate", "--print-fleet"]):
            with open("/dev/full", "w") as full:
                done = subprocess.run([EXPORTER, *command], stdin=subprocess.DEVNULL, stdout=full, stderr=subprocess.PIPE, text=True)
            self.assertEqual(done.returncode, 3 if command[0] == "status" else 1, command)
            self.assertIn("cannot write to standard output: the disk is full\n", done.stderr)

    def test_no_threads_are_left(self):
        """With every limit, the exporter runs or its error names the limit to raise. It keeps the threads that it has."""
        config, words = self.configure("{}"), "the system starts no more threads: raise what limits them (TasksMax of the unit"
        for path in (config, self.folder / "a.token"):
            path.chmod(0o644)
        program = self.folder / "exporter"
        shutil.copy(EXPORTER, program)
        outcomes, processes = [], []
        for limit in range(1, 12):
            # A separate user, because the limit counts all threads of a user.
            process = self.start("setpriv", f"--reuid={50_000 + limit}", "--regid=50000", "--clear-groups", "prlimit",
                                 f"--nproc={limit}", program, "--config.file", config, "--web.listen-address", "127.0.0.1:0")

            def outcome():
                log = process.log.read_text()
                self.assertNotIn("this is a bug", log, limit)
                if process.poll() is not None:
                    self.assertEqual((process.returncode, words in log), (1, True), log)
                    return "refused"
                address = re.search(r"msg=listening address=(\S+)", log)
                try:
                    return address and metrics(f"http://{address[1]}").get(UP) == 1 and "runs"
                except OSError:
                    return None

            processes.append(process)
            outcomes.append(wait_for(outcome, f"it runs or ends with {limit} threads"))
        self.assertEqual(outcomes, sorted(outcomes), "from some limit on, it runs")
        self.assertEqual({outcomes[0], outcomes[-1]}, {"refused", "runs"})
        # With the smallest sufficient limit, no thread can be started later. Polls, which read files, continue.
        process = processes[outcomes.index("runs")]
        url = "http://" + re.search(r"msg=listening address=(\S+)", process.log.read_text())[1]
        polls = lambda: metrics(url)['qumulo_encryption_polls_total{cluster="a"}']
        before = polls()
        wait_for(lambda: polls() > before + 2 and metrics(url).get(UP) == 1, "polls continue")
        self.assertNotIn("this is a bug", process.log.read_text())

    def test_its_memory_limit_is_reached(self):
        """The exporter aborts without a core dump, which would contain credentials. The unit restarts it."""
        exporter = self.exporter("--config.file", self.configure("{}"), env={"RUST_BACKTRACE": "0"})
        wait_for(lambda: metrics(exporter.url).get(UP) == 1, "polled")
        resource.prlimit(exporter.pid, resource.RLIMIT_DATA, (1 << 20, 1 << 20))
        address, clients = exporter.url.removeprefix("http://").split(":"), []

        def ended():
            try:
                for _ in range(50):
                    clients.append(socket.create_connection(address))
                    self.addCleanup(clients[-1].close)
                    clients[-1].sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 12_000)
            except OSError:
                pass
            return exporter.poll()

        self.assertEqual(wait_for(ended, "it ends"), -signal.SIGABRT)
        self.assertEqual([path for path in self.folder.iterdir() if path.name.startswith("core")], [])
        unit = (ROOT / "deploy/systemd/qumulo-encryption-exporter.service").read_text()
        self.assertRegex(unit, r"(?m)^Restart=(always|on-failure)$")
        again = self.exporter("--config.file", self.folder / "exporter.yml")
        wait_for(lambda: metrics(again.url).get(UP) == 1, "it starts and polls")


if __name__ == "__main__":
    unittest.main()
