"""The image, run by podman, by systemd with podman, and by compose."""

import json
import os
import pathlib
import re
import shutil
import signal
import tarfile
import unittest

from machine import FOR_CONTAINERS, NAME, Machine, compiler, image
from support import PARTS, ROOT, VENVS, Case, free_port, get, metrics, run, wait_for

def podman(*arguments, check=True):
    return run("podman", "--cgroup-manager=cgroupfs", "--runtime=runc", *arguments, check=check)


def status(url):
    try:
        return get(url)[0]
    except OSError:
        return None


class Image(Case):
    def test_labels(self):
        labels = podman("image", "inspect", "--format={{range $k, $v := .Config.Labels}}{{$k}}={{$v}}\n{{end}}", image())
        output = podman("run", "--rm", "--network=none", "--read-only-tmpfs=false", "--ulimit=nofile=1024:1024",
                      "--ulimit=nproc=1024:1024", image(), "--version")
        version, revision = re.match(rf"{NAME} (\S+) \(revision (\w+), ", output).groups()
        expected = {"version": version, "revision": revision, "title": NAME, "licenses": "Apache-2.0"}
        for key, value in expected.items():
            self.assertIn(f"\norg.opencontainers.image.{key}={value}\n", f"\n{labels}")

    def test_contents(self):
        container = podman("create", image()).strip()
        self.addCleanup(podman, "rm", container)
        archive = self.folder / "image.tar"
        podman("export", f"--output={archive}", container)
        with tarfile.open(archive) as files:
            names = {member.name for member in files.getmembers() if member.isfile() and member.size}
        self.assertEqual({name for name in names if not name.startswith(("dev/", "proc/", "sys/", "run/"))}, {
            NAME, "etc/ssl/certs/ca-certificates.crt", "licenses/LICENSE", "licenses/LGPL-2.1.txt",
            "licenses/THIRD-PARTY-LICENSES.txt"})

    def test_it_runs_the_demonstration(self):
        url = f"127.0.0.1:{free_port()}"
        name = f"exporter-{os.getpid()}"
        self.addCleanup(podman, "rm", "--force", name, check=False)
        podman("run", "--detach", f"--name={name}", "--network=host", "--read-only", "--read-only-tmpfs=false",
               "--cap-drop=ALL", "--security-opt=no-new-privileges", "--ulimit=nofile=1024:1024",
               "--ulimit=nproc=1024:1024", image(), "demo", f"--web.listen-address={url}")
        wait_for(lambda: status(f"http://{url}/-/ready") == 200, "the demonstration is ready")
        self.assertGreater(metrics(f"http://{url}")["process_open_fds"], 10)
        pid = int(podman("inspect", "--format={{.State.Pid}}", name))
        uid = re.search(r"^Uid:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text(), re.M)[1]
        self.assertEqual(uid, "65534")
        os.kill(pid, signal.SIGTERM)
        state = "--format={{.State.Status}} {{.State.ExitCode}}"
        ended = wait_for(lambda: re.match(r"exited (\d+)", podman("inspect", state, name)),
                         "it ends within the grace period", seconds=15)
        self.assertEqual(ended[1], "0")

    def test_name_resolution(self):
        cluster = self.simulate("clusters:\n- {name: one}\n").clusters["one"]
        (self.folder / "token").write_text(cluster["token"])
        (self.folder / "token").chmod(0o644)
        output = podman("run", "--rm", "--network=host", "--add-host=one.example:127.0.0.1", "--read-only",
                      "--read-only-tmpfs=false", "--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024",
                      f"--volume={self.folder}/token:/token:ro", image(), "status",
                      f"--cluster.url={cluster['url'].replace('127.0.0.1', 'one.example')}",
                      f"--cluster.pin-sha256={cluster['pin_sha256']}", "--cluster.token-file=/token")
        self.assertIn("one.example", output)
        self.assertIn("1 cluster: 0 critical, 0 unknown, 0 warning, 1 good", output)
        size = int(podman("image", "inspect", "--format={{.Size}}", image()))
        print(f"image: {size / 1e6:.1f} MB")


class Podman(Case):
    """The current Podman on a separate machine with its own network, so that the files work unchanged, including ports."""

    def setUp(self):
        super().setUp()
        self.machine = Machine(self, *FOR_CONTAINERS, f"--bind-ro={VENVS}")
        self.machine.podman()

    def load(self, image, name):
        archive = self.folder / "image.tar"
        run("buildah", "push", "--quiet", image, f"oci-archive:{archive}:{name}")
        self.machine.run("podman", "load", "--quiet", "--input=/mnt/image.tar")
        archive.unlink()

    def test_quadlet(self):
        folder, token = f"/etc/{NAME}", f"/etc/{NAME}/prod-west.token"
        self.load(image(), f"localhost/{NAME}:latest")
        shutil.copy(ROOT / f"deploy/podman/{NAME}.container", self.folder)
        self.machine.run("install", "-D", "-m", "644", "-t", "/etc/containers/systemd", f"/mnt/{NAME}.container")
        cluster = self.machine.cluster("prod-west")
        self.machine.forward(cluster)
        self.machine.run("install", "-d", "-g", "10979", "-m", "750", folder)
        self.machine.run("systemctl", "daemon-reload")
        self.assertEqual(self.machine.run("systemd-analyze", "verify", f"/run/systemd/generator/{NAME}.service"), "")
        self.machine.replace(f"{folder}/{NAME}.yml", "clusters: wrong\n", "10979")
        with self.assertRaises(AssertionError, msg="the unit is ready only when the exporter is"):
            self.machine.run("systemctl", "start", NAME)
        self.machine.replace(f"{folder}/{NAME}.yml", f"""global: {{poll_interval: 1s, poll_timeout: 1s}}
clusters:
- name: prod-west
  url: https://host.containers.internal:8000
  authorization: {{credentials_file: prod-west.token}}
  tls_config: {{pin_sha256: ["{cluster["pin_sha256"]}"]}}
""", "10979")
        self.machine.replace(token, "wrong", "10979")
        self.machine.run("systemctl", "restart", NAME)
        up = 'qumulo_encryption_up{cluster="prod-west"}'
        wait_for(lambda: self.machine.sample(up) == 0, "the wrong token is refused")
        self.machine.replace(token, cluster["token"], "10979")
        wait_for(lambda: self.machine.sample(up) == 1, "the replaced token is used")
        loaded = "qumulo_encryption_exporter_config_last_reload_success_timestamp_seconds"
        before = self.machine.sample(loaded)
        self.machine.run("systemctl", "reload", NAME)
        wait_for(lambda: self.machine.sample(loaded) > before, "it is reloaded")
        inside = self.machine.run("podman", "inspect", "--format={{.State.Pid}}", NAME).strip()
        limits = dict(line.split(":\t") for line in self.machine.run("cat", f"/proc/{inside}/status").splitlines())
        self.assertEqual((limits["Uid"].split()[0], int(limits["CapBnd"], 16), limits["NoNewPrivs"], limits["Seccomp"]),
                         ("10979", 0, "1", "2"))
        mounts = self.machine.run("cat", f"/proc/{inside}/mounts").splitlines()
        writable = [line.split()[1] for line in mounts if re.search(r" (overlay|tmpfs|ext4|xfs|btrfs) rw", line)]
        self.assertEqual((len(mounts) > 5, writable), (True, []))
        self.machine.run("systemctl", "stop", NAME)
        shown = self.machine.run("systemctl", "show", "--property=ActiveState,Result", NAME)
        self.assertEqual(set(shown.split()), {"ActiveState=inactive", "Result=success"})

    def stand_in(self, name, files, *lines):
        """Loads an image into the machine. `files` is {path in the image: path on the host}."""
        context = self.folder / "context"
        for path, source in files.items():
            (context / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, context / path)
        recipe = ["FROM scratch", *(f"COPY {path} /{path}" for path in files), *lines]
        (context / "Containerfile").write_text("\n".join(recipe))
        run("buildah", "bud", "--quiet", "--isolation=chroot", f"--tag=localhost/{NAME}-stand-in", context)
        self.load(f"localhost/{NAME}-stand-in", name)
        run("buildah", "rmi", f"localhost/{NAME}-stand-in")
        shutil.rmtree(context)

    def test_compose(self):
        """The unchanged file in a clone, without Grafana, which is not available here. There is no registry: the images are built
        from the same programs. The Rust image has only the commands that the Containerfile runs, and copies programs that have
        been built before."""
        compiler(self.folder, "/built")
        rust = re.search(r"^FROM (\S+) AS build$", (ROOT / "deploy/container/Containerfile").read_text(), re.M)[1]
        self.stand_in(rust, {
            "built/static": self.folder / "static", "bin/cargo": self.folder / "cargo", "bin/rustc": self.folder / "rustc",
            "bin/busybox": "/bin/busybox", "etc/ssl/certs/ca-certificates.crt": "/etc/ssl/certs/ca-certificates.crt",
        }, 'RUN ["/bin/busybox", "--install", "-s", "/bin"]')
        compose = (ROOT / "deploy/compose/compose.yml").read_text()
        options = {"prometheus": "--storage.tsdb.path=/prometheus", "alertmanager": "--storage.path=/alertmanager"}
        for name, storage in options.items():
            tag = re.search(rf"^    image: (prom/{name}:\S+)$", compose, re.M)[1]
            command = [f"/bin/{name}", f"--config.file=/etc/{name}/{name}.yml", storage]
            self.stand_in(f"docker.io/{tag}", {f"bin/{name}": PARTS / name}, f"CMD {json.dumps(command)}")
        run("git", "clone", "--quiet", ROOT, self.folder / "clone")
        self.machine.run(VENVS / "deploy/bin/podman-compose", "--file=/mnt/clone/deploy/compose/compose.yml", "up",
                         "--detach", "exporter", *options)

        def answer(url):
            return self.machine.run("curl", "--silent", "--globoff", "--max-time", "2", f"http://127.0.0.1:{url}",
                                    check=False)

        def scraped():
            count = answer("10979/metrics").count("\nqumulo_encryption_up{")
            found = answer("9090/api/v1/query?query=count(qumulo_encryption_up)")
            return count and f'"{count}"' in found

        wait_for(scraped, "Prometheus has the demonstration's clusters", seconds=60)
        wait_for(lambda: "QumuloEncryptionKeyNotFound" in answer("9093/api/v2/alerts"),
                 "Alertmanager has an alert", seconds=90)


if __name__ == "__main__":
    unittest.main()
