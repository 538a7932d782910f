"""Runs the commands of deploy/README.md in order on a machine with systemd, in a folder with the files of a release or in a
clone."""

import re
import unittest

from machine import FOR_CONTAINERS, NAME, Machine, compiler, image
from support import EXPORTER, ROOT, Case, run, wait_for

PAGE = (ROOT / "deploy/README.md").read_text()
UP = 'qumulo_encryption_up{cluster="prod-east"}'


class Commands(Case):
    def follow(self, title, host="127.0.0.1"):
        """Runs each block of a section. The compiler is replaced by programs that have been built before."""
        self.machine = machine = Machine(self, *FOR_CONTAINERS)
        machine.podman()
        cluster = machine.cluster("prod-east")
        machine.forward(cluster)
        compiler(self.folder, "/mnt")
        machine.run("install", "/mnt/cargo", "/mnt/rustc", "/usr/local/bin")
        place = self.folder / "place"
        if title == "Build":
            run("git", "clone", "--quiet", ROOT, place)
        else:
            self.download(place)
        (place / f"{NAME}.yml").write_text(f"""global: {{poll_interval: 1s, poll_timeout: 1s}}
clusters:
- name: prod-east
  url: https://{host}:8000
  authorization: {{credentials_file: prod-east.token}}
  tls_config: {{pin_sha256: ["{cluster["pin_sha256"]}"]}}
""")
        (place / "prod-east.token").write_text(cluster["token"])
        # As in the first steps of the README.
        (place / "prod-east.token").chmod(0o600)
        section = PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]
        blocks = re.findall(r"^```sh\n(.*?)^```", section, re.M | re.S)
        self.assertNotEqual(blocks, [])
        for block in blocks:
            # Image names must be lower case.
            block = block.replace("ghcr.io/OWNER", "ghcr.io/owner")
            script = f"cd /mnt/place\nexport PATH=/usr/local/bin:$PATH BUILDER='buildah bud --isolation chroot'\n{block}"
            if "podman build" in block:
                # This needs a registry. test_containers builds from a clone.
                continue
            if "podman run" in block:
                machine.run("systemd-run", "--unit=foreground", "bash", "-ec", script)
            else:
                machine.run("bash", "-ec", script)
            if re.search(r"^(systemctl|podman run|mv) ", block, re.M):
                wait_for(lambda: machine.sample(UP) == 1, block)

    def download(self, place):
        """Prepares the files of a release: package, archive with the static program, and the image, here in podman's storage."""
        place.mkdir()
        run(ROOT / "deploy/debian/build", EXPORTER, place)
        run(ROOT / "deploy/archive/build", self.folder / "static", place)
        archive = self.folder / "image.tar"
        run("buildah", "push", "--quiet", image(), f"oci-archive:{archive}:ghcr.io/owner/{NAME}:latest")
        self.machine.run("podman", "load", "--quiet", "--input=/mnt/image.tar")
        archive.unlink()

    def test_packages(self):
        self.follow("Packages")

    def test_systemd(self):
        self.follow("systemd")
        verdict = self.machine.run("systemd-analyze", "security", NAME)
        score = re.search(r"Overall exposure level for \S+: (\S+)", verdict)[1]
        self.assertIn(f"(`systemd-analyze security` then gives {score})", PAGE)

    def test_container(self):
        self.follow("Container", host="host.containers.internal")

    def test_podman_with_systemd(self):
        self.follow("Podman with systemd", host="host.containers.internal")

    def test_build(self):
        self.follow("Build")
        self.assertEqual(len(list((self.folder / "place").glob("*.deb"))), 1)
        self.assertIn(f"localhost/{NAME}", self.machine.run("buildah", "images"))


if __name__ == "__main__":
    unittest.main()
