"""The interface to systemd, which the tests simulate: notification socket, watchdog, socket activation."""

import contextlib
import ctypes
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import unittest

from support import EXPORTER, ROOT, Case, get, metrics, wait_for

NAME = pathlib.Path(EXPORTER).name
UNIT = ROOT / "deploy/systemd/qumulo-encryption-exporter.service"
CONFIG = "clusters: [{name: a, url: 'https://127.0.0.1:1', authorization: {credentials_file: token}}]\n"

# ptrace(2), waitpid(2)
LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
LIBC.ptrace.restype = ctypes.c_long
SEIZE, INTERRUPT, DETACH, WALL = 0x4206, 0x4207, 17, 0x40000000

# Listens, then executes the exporter with the socket as descriptor 3, like systemd.
ACTIVATE = """
import os, socket, sys
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
os.dup2(listener.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[1], sys.argv[1:])
"""


@contextlib.contextmanager
def stopped(thread):
    """Stops one thread of a child process, like a deadlock. A signal would stop all threads."""
    def ptrace(request):
        if LIBC.ptrace(request, thread, None, None) != 0:
            raise OSError(ctypes.get_errno(), "ptrace")

    ptrace(SEIZE)
    ptrace(INTERRUPT)
    os.waitpid(thread, WALL)
    try:
        yield
    finally:
        ptrace(DETACH)


class Service(Case):
    def setUp(self):
        super().setUp()
        (self.folder / "token").write_text("token")
        self.config = self.folder / "exporter.yml"
        self.config.write_text(CONFIG)

    def notified(self, env):
        """Starts an exporter. Returns it and the notification socket."""
        path = self.folder / "notify"
        notifications = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(notifications.close)
        notifications.bind(str(path))
        notifications.settimeout(10)
        exporter = self.exporter("--config.file", self.config, env={"NOTIFY_SOCKET": str(path), **env})
        return exporter, notifications

    def wait_notified(self, notifications, wanted):
        """Waits for a message with a line that starts with `wanted`."""
        while True:
            message = notifications.recv(4096).decode().splitlines()
            if any(line.startswith(wanted) for line in message):
                return message

    def test_ready_reloading_stopping(self):
        exporter, notifications = self.notified({})
        self.wait_notified(notifications, "READY=1")
        self.assertEqual(get(exporter.url + "/-/healthy")[0], 200, "it listens before READY=1")
        wait_for(lambda: metrics(exporter.url)['qumulo_encryption_polls_total{cluster="a"}'] >= 1, "it polls")
        exporter.send_signal(signal.SIGHUP)
        reloading = self.wait_notified(notifications, "RELOADING=1")
        self.assertTrue(any(line.startswith("MONOTONIC_USEC=") for line in reloading), reloading)
        self.wait_notified(notifications, "READY=1")
        exporter.send_signal(signal.SIGTERM)
        self.wait_notified(notifications, "STOPPING=1")
        self.assertEqual(exporter.wait(10), 0)

    def test_the_watchdog_is_fed_by_the_threads_that_work(self):
        exporter, notifications = self.notified({"WATCHDOG_USEC": "400000"})
        times = []
        for _ in range(5):
            self.wait_notified(notifications, "WATCHDOG=1")
            times.append(time.monotonic())
        self.assertTrue(all(later - earlier < 0.4 for earlier, later in zip(times, times[1:])), times)
        workers = [int(task.name) for task in pathlib.Path(f"/proc/{exporter.pid}/task").iterdir()
                   if task.joinpath("comm").read_text().strip() == "tokio-rt-worker"]
        self.assertGreaterEqual(len(workers), 2)
        with contextlib.ExitStack() as stack:
            for worker in workers:
                stack.enter_context(stopped(worker))
            notifications.settimeout(1)
            with self.assertRaises(TimeoutError):
                while True:
                    notifications.recv(4096)
        notifications.settimeout(10)
        self.wait_notified(notifications, "WATCHDOG=1")

    def test_a_crash_leaves_no_core_dump(self):
        """If a process is not dumpable, the files in its /proc folder belong to root."""
        nobody, program = 65534, self.folder / NAME
        shutil.copy(EXPORTER, program)
        (self.folder / "token").chmod(0o644)
        log = (self.folder / "log").open("w")
        self.addCleanup(log.close)
        process = subprocess.Popen([program, "--config.file", self.config, "--web.listen-address", "127.0.0.1:0"],
                                   stderr=log, user=nobody, group=nobody)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        text = wait_for(lambda: re.search(r"msg=listening address=(\S+)", (self.folder / "log").read_text()), "it listens")
        other = subprocess.Popen(["sleep", "60"], user=nobody, group=nobody)
        self.addCleanup(other.wait)
        self.addCleanup(other.kill)
        owners = [os.stat(f"/proc/{number}/environ").st_uid for number in (process.pid, other.pid)]
        self.assertEqual(owners, [0, nobody], "root for the exporter, the user for any other program")
        self.assertGreater(metrics(f"http://{text[1]}")["process_open_fds"], 5, "the exporter can read its own /proc folder")

    def test_socket_activation(self):
        process = self.start(sys.executable, "-c", ACTIVATE, EXPORTER, "--config.file", self.config,
                             "--web.systemd-socket")
        port = wait_for(lambda: process.out.read_text().strip(), "the socket listens")
        wait_for(lambda: "msg=listening" in process.log.read_text(), "the exporter uses the socket")
        self.assertEqual(get(f"http://127.0.0.1:{port}/-/healthy")[0], 200)
        self.assertEqual(self.end(process), 0)

    def test_socket_activation_without_sockets(self):
        done = subprocess.run([EXPORTER, "--config.file", self.config, "--web.systemd-socket"], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=10)
        self.assertEqual(done.returncode, 1)
        self.assertIn("no socket activation file descriptors found", done.stderr)

    def test_systemd_accepts_the_units(self):
        binary = pathlib.Path("/usr/bin/qumulo-encryption-exporter")
        if not binary.exists():
            binary.symlink_to(pathlib.Path(EXPORTER).resolve())
            self.addCleanup(binary.unlink)
        for unit in (UNIT, UNIT.with_suffix(".socket")):
            done = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True)
            self.assertEqual((done.returncode, done.stderr), (0, ""), unit)

    def test_the_score_in_the_readme_is_systemds(self):
        done = subprocess.run(["systemd-analyze", "security", "--offline=true", UNIT], capture_output=True, text=True)
        line = [line for line in done.stdout.splitlines() if "Overall exposure level" in line][0]
        score = line.split(": ")[1].split()[0]
        print(line.strip())
        self.assertIn(f"`systemd-analyze security` gives {score}", (ROOT / "deploy/README.md").read_text())


if __name__ == "__main__":
    unittest.main()
