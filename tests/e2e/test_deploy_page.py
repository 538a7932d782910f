"""The commands of deploy/README.md, in their order, in a clone, on a machine that systemd runs."""

import re
import unittest

from machine import FOR_CONTAINERS, NAME, Machine, compiler
from support import ROOT, Case, run, wait_for

PAGE = (ROOT / "deploy/README.md").read_text()
UP = 'qumulo_encryption_up{cluster="prod-east"}'


class Commands(Case):
    def follow(self, title, host="127.0.0.1"):
        """Each block of a section. What it says must be there before; the compiler has built already."""
        self.machine = machine = Machine(self, *FOR_CONTAINERS)
        machine.podman()
        cluster = machine.cluster("prod-east")
        machine.forward(cluster)
        run("git", "clone", "--quiet", ROOT, self.folder / "clone")
        (self.folder / f"clone/{NAME}.yml").write_text(f"""global: {{poll_interval: 1s, poll_timeout: 1s}}
clusters:
- name: prod-east
  url: https://{host}:8000
  authorization: {{credentials_file: prod-east.token}}
  tls_config: {{pin_sha256: ["{cluster["pin_sha256"]}"]}}
""")
        (self.folder / "clone/prod-east.token").write_text(cluster["token"])
        compiler(self.folder, "/mnt")
        machine.run("install", "/mnt/cargo", "/mnt/rustc", "/usr/local/bin")
        section = PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]
        blocks = re.findall(r"^```sh\n(.*?)^```", section, re.M | re.S)
        self.assertNotEqual(blocks, [])
        for block in blocks:
            script = f"cd /mnt/clone\nexport PATH=/usr/local/bin:$PATH BUILDER='buildah bud --isolation chroot'\n{block}"
            if block.startswith("podman run"):
                machine.run("systemd-run", "--unit=foreground", "bash", "-ec", script)
            else:
                machine.run("bash", "-ec", script)
            if re.search(r"^(systemctl|podman run|mv) ", block, re.M):
                wait_for(lambda: machine.sample(UP) == 1, block)

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


if __name__ == "__main__":
    unittest.main()
