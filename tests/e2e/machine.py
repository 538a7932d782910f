"""A container with its own systemd and network. Its file system is a copy of the host's, and is discarded at the end."""

import functools
import os
import pathlib
import re
import shutil
import signal

from support import EXPORTER, PARTS, ROOT, run, wait_for

NAME = "qumulo-encryption-exporter"

# systemd-nspawn denies these by default, and podman needs them.
FOR_CONTAINERS = ("--tmpfs=/var/lib/containers", "--system-call-filter=@keyring bpf")

# Prepares separate mounts and control groups, so that nothing is left behind.
PREPARE = """set -e
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs tmpfs /run
mkdir /run/systemd
mount --bind / "$1"
shift
exec "$@"
"""


@functools.cache
def image():
    """The tag of the container image, which is built once for all tests."""
    tag = f"localhost/{NAME}:test"
    run(ROOT / "deploy/container/build", tag, env={**os.environ, "BUILDER": "buildah bud --isolation chroot"})
    return tag


def compiler(folder, place):
    """Writes replacements of `cargo` and `rustc` to `folder`, which copy programs that have been built before. `place` is the
    path of the folder where they run."""
    image()
    (static,) = ROOT.glob(f"target/*/release/{NAME}")
    shutil.copy(static, folder / "static")
    shutil.copy(EXPORTER, folder / "dynamic")
    (folder / "rustc").write_text(f"#!/bin/sh\necho 'host: {static.relative_to(ROOT / 'target').parts[0]}'\n")
    (folder / "cargo").write_text(f"""#!/bin/sh
for last; do :; done
case "$*" in
  *--target*) folder=target/$last/release program={place}/static ;;
  *) folder=target/release program={place}/dynamic ;;
esac
mkdir -p "$folder" && cp "$program" "$folder/{NAME}"
""")
    for name in ("cargo", "rustc"):
        (folder / name).chmod(0o755)


class Machine:
    """A booted machine, in which services can be started. The folder of the test is /mnt there."""

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
            # The first child only prepares the init process.
            self.leader = self.child(process, supervisor)
            return self.run("systemctl", "is-system-running", check=False).strip() in ("running", "degraded")

        wait_for(booted, "the machine has booted", seconds=60)
        # In containers, this file prevents packages from starting services.
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
        """Starts a simulated cluster on the loopback interface, and returns its settings as the simulator prints them."""
        shutil.copy(EXPORTER, self.folder / "program")
        (self.folder / "fleet.yml").write_text(f"clusters:\n- {{name: {name}}}\n")
        self.run("systemd-run", "--unit=cluster", "--property=StandardOutput=file:/mnt/cluster", "/mnt/program", "simulate",
                 "--fleet=/mnt/fleet.yml")
        path = self.folder / "cluster"
        wait_for(lambda: path.exists() and "pin_sha256" in path.read_text(), "the simulator describes its cluster")
        return dict(re.findall(r'(\w+): "([^"]*)"', path.read_text()))

    def forward(self, cluster):
        """Forwards port 8000 to the cluster, because containers cannot reach the host's loopback interface."""
        self.run("systemd-run", "--unit=forward", "--socket-property=ListenStream=0.0.0.0:8000",
                 "/lib/systemd/systemd-socket-proxyd", cluster["url"].removeprefix("https://"))

    def podman(self):
        """Installs the current Podman with its systemd generator."""
        for name in ("podman", "quadlet"):
            shutil.copy(PARTS / name, self.folder)
        # The machine may lack the pids controller, and containers cannot have higher limits than the process that starts them.
        (self.folder / "containers.conf").write_text(
            '[containers]\npids_limit = 0\ndefault_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]\n')
        self.run("cp", "/mnt/containers.conf", "/etc/containers/containers.conf")
        self.run("install", "/mnt/podman", "/usr/bin/podman")
        self.run("install", "-D", "/mnt/quadlet", "/usr/lib/systemd/system-generators/podman-system-generator")

    def sample(self, series):
        """The value of a series of the exporter on its default port, or None."""
        body = self.run("curl", "--silent", "--max-time", "2", "http://127.0.0.1:10979/metrics", check=False)
        values = [line.rsplit(" ", 1)[1] for line in body.splitlines() if line.rsplit(" ", 1)[0] == series]
        return float(values[0]) if values else None

    def replace(self, path, text, group):
        """Replaces a file as in the README: writes a new file with owner and mode, and renames it."""
        (self.folder / "replaced").write_text(text)
        new = f"{os.path.dirname(path)}/.{os.path.basename(path)}.new"
        self.run("install", "-g", group, "-m", "640", "/mnt/replaced", new)
        self.run("mv", new, path)
