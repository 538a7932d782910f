"""A machine with its own systemd and network: a copy of this one, which forgets everything when it ends."""

import os
import pathlib
import re
import shutil
import signal

from support import EXPORTER, run, wait_for

# Its mounts and its control groups are its own, so that nothing of it stays.
PREPARE = """set -e
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs tmpfs /run
mkdir /run/systemd
mount --bind / "$1"
shift
exec "$@"
"""


class Machine:
    """Booted as far as services can be started. The folder of the test is /mnt there."""

    def __init__(self, case, *options):
        self.folder = case.folder
        folder = case.folder / "machine"
        (folder / "root").mkdir(parents=True)
        (folder / "prepare").write_text(PREPARE)
        groups = pathlib.Path(run("findmnt", "--noheadings", "--first-only", "--types=cgroup2", "--output=TARGET").strip())
        group = groups / f"machine-{os.getpid()}"
        group.mkdir()
        case.addCleanup(run, "find", group, "-depth", "-type", "d", "-exec", "rmdir", "{}", ";")
        process = case.start(
            "sh", "-c", 'echo 0 >"$1/cgroup.procs"; shift; exec unshare --mount --fork --kill-child sh "$@"',
            "sh", group, folder / "prepare", folder / "root", "systemd-nspawn", f"--directory={folder}/root",
            "--volatile=overlay", "--machine=machine", "--register=no", "--keep-unit", "--link-journal=no", "--console=pipe",
            "--private-network", f"--bind={case.folder}:/mnt", *options, "--boot", "systemd.unit=sysinit.target")
        supervisor = wait_for(lambda: self.child(process, process.pid), "the machine is set up")

        def halt():
            os.kill(supervisor, signal.SIGTERM)
            process.wait(30)

        case.addCleanup(halt)

        def booted():
            # The child that sets the first process up is there before it.
            self.leader = self.child(process, supervisor)
            return self.run("systemctl", "is-system-running", check=False).strip() in ("running", "degraded")

        wait_for(booted, "the machine has booted", seconds=60)
        # Containers forbid packages to start services by this file.
        self.run("rm", "--force", "/usr/sbin/policy-rc.d")

    @staticmethod
    def child(process, parent):
        assert process.poll() is None, process.log.read_text()
        children = pathlib.Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        return int(children[0]) if children else None

    def run(self, *command, check=True):
        return run("nsenter", f"--target={self.leader}", "--all", *command, check=check,
                   env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"})

    def cluster(self, name):
        """A simulated cluster on the loopback, as the simulator describes it."""
        shutil.copy(EXPORTER, self.folder / "program")
        (self.folder / "fleet.yml").write_text(f"clusters:\n- {{name: {name}}}\n")
        self.run("systemd-run", "--unit=cluster", "--property=StandardOutput=file:/mnt/cluster", "/mnt/program", "simulate",
                 "--fleet=/mnt/fleet.yml")
        path = self.folder / "cluster"
        wait_for(lambda: path.exists() and "pin_sha256" in path.read_text(), "the simulator describes its cluster")
        return dict(re.findall(r'(\w+): "([^"]*)"', path.read_text()))

    def sample(self, series):
        """The value that the exporter on its usual port serves; None if there is none."""
        body = self.run("curl", "--silent", "--max-time", "2", "http://127.0.0.1:10979/metrics", check=False)
        values = [line.rsplit(" ", 1)[1] for line in body.splitlines() if line.rsplit(" ", 1)[0] == series]
        return float(values[0]) if values else None

    def replace(self, path, text, group):
        """A file that is replaced as the README does it: written beside, with its owner and mode, and moved."""
        (self.folder / "replaced").write_text(text)
        new = f"{os.path.dirname(path)}/.{os.path.basename(path)}.new"
        self.run("install", "-g", group, "-m", "640", "/mnt/replaced", new)
        self.run("mv", new, path)
