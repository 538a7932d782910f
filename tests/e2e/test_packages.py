"""The packages and the systemd unit, from building to purging, on a machine with systemd."""

import os
import pathlib
import re
import shutil
import tomllib
import unittest

from machine import NAME, Machine
from support import EXPORTER, ROOT, Case, run, wait_for

FOLDER = f"/etc/{NAME}"
CONFIG = f"{FOLDER}/{NAME}.yml"
TOKEN = f"{FOLDER}/prod-west.token"
UP = 'qumulo_encryption_up{cluster="prod-west"}'


class Packaged(Case):
    """Steps that are common to the tests."""

    def build(self, kind, version="0.0.1", folder=None):
        folder = self.folder / (folder or f"{kind}-{version}")
        folder.mkdir()
        # As in the release workflow.
        known = {"PACKAGE_VERSION": version, "PACKAGE_HOMEPAGE": "https://example.com/exporter",
                 "PACKAGE_MAINTAINER": "Owner <owner@example.com>"}
        run(ROOT / f"deploy/{kind}/build", EXPORTER, folder, env={**os.environ, **known})
        (package,) = folder.iterdir()
        return package

    def two_versions(self, kind):
        old, new = self.build(kind), self.build(kind, "0.0.2")
        again = self.build(kind, "0.0.2", folder="again")
        self.assertTrue(new.read_bytes() == again.read_bytes(), "the same source gives the same package")
        return old, new

    def inside(self, path):
        return f"/mnt/{path.relative_to(self.folder)}"

    def assert_all_files(self, files):
        patterns = ("dashboards/*.json", "deploy/*.json", "docs/*.md", "deploy/runbooks/*.md", "deploy/nginx/*",
                    "deploy/opentelemetry/*", "deploy/prometheus/*.yml", "deploy/systemd/lxc.conf",
                    f"deploy/example/{NAME}.yml", "README.md", "CHANGELOG.md", "deploy/package/THIRD-PARTY-LICENSES.txt")
        own = [path for pattern in patterns for path in ROOT.glob(pattern)]
        self.assertGreater(len(own), 35)
        names = {pathlib.Path(path).name.removesuffix(".gz") for path in files}
        self.assertEqual([str(path) for path in own if path.name not in names], [])
        for path in (f"/usr/bin/{NAME}", f"/usr/share/man/man8/{NAME}.8.gz", f"/usr/lib/systemd/system/{NAME}.socket",
                     f"/usr/share/bash-completion/completions/{NAME}", f"/usr/share/fish/vendor_completions.d/{NAME}.fish"):
            self.assertIn(path, files)

    def state(self):
        """Whether the service is enabled and active, and its process."""
        shown = self.machine.run("systemctl", "show", "--property=UnitFileState,ActiveState,MainPID", NAME)
        state = dict(line.split("=") for line in shown.splitlines())
        return state["UnitFileState"], state["ActiveState"], int(state["MainPID"])

    def configure(self):
        """Starts a simulated cluster in the machine, and writes the configuration. Returns the cluster's token."""
        cluster = self.machine.cluster("prod-west")
        (self.folder / "edited.yml").write_text(f"""global: {{poll_interval: 1s, poll_timeout: 1s}}
clusters:
- name: prod-west
  url: {cluster["url"]}
  authorization: {{credentials_file: prod-west.token}}
  tls_config: {{pin_sha256: ["{cluster["pin_sha256"]}"]}}
""")
        # The file keeps the owner and mode that the package gave it.
        self.machine.run("sh", "-c", f"cat /mnt/edited.yml >{CONFIG}")
        return cluster["token"]

    def assert_configured(self):
        edited = self.machine.run("cat", CONFIG)
        self.assertEqual(edited, (self.folder / "edited.yml").read_text(), "an edited configuration stays")
        modes = self.machine.run("stat", "--format=%U:%G %a", FOLDER, CONFIG, TOKEN).splitlines()
        self.assertEqual(modes, [f"root:{NAME} 750", f"root:{NAME} 640", f"root:{NAME} 640"])

    def assert_confined(self, process):
        status = dict(line.split(":\t") for line in self.machine.run("cat", f"/proc/{process}/status").splitlines())
        user = self.machine.run("id", "--user", NAME).strip()
        self.assertEqual((status["Uid"].split(), int(status["CapBnd"], 16), status["NoNewPrivs"], status["Seccomp"]),
                         ([user] * 4, 0, "1", "2"))
        mounts = [line.split() for line in self.machine.run("cat", f"/proc/{process}/mounts").splitlines()]
        self.assertEqual({path: options.split(",")[0] for _, path, _, options, *_ in mounts if path in ("/", "/tmp")},
                         {"/": "ro", "/tmp": "rw"})
        self.assertIn("subset=pid", {option for mount in mounts if mount[1] == "/proc" for option in mount[3].split(",")})

    def serves_until_upgraded(self, upgrade):
        """From the first start to an upgrade, with the unmodified unit."""
        self.assertEqual(self.state(), ("disabled", "inactive", 0), "no cluster is configured yet")
        self.assertEqual(self.machine.run("systemd-analyze", "verify", f"{NAME}.service", f"{NAME}.socket"), "")
        token = self.configure()
        self.machine.replace(TOKEN, "wrong", NAME)
        self.machine.run("systemctl", "enable", "--now", NAME)
        wait_for(lambda: self.machine.sample(UP) == 0, "the wrong token is refused")
        self.machine.replace(TOKEN, token, NAME)
        wait_for(lambda: self.machine.sample(UP) == 1, "the replaced token is used")
        for name in ("cpu_seconds_total", "max_fds", "open_fds", "resident_memory_bytes", "start_time_seconds", "threads",
                     "virtual_memory_bytes", "virtual_memory_max_bytes"):
            self.assertIsNotNone(self.machine.sample(f"process_{name}"), name)
        self.assertEqual(self.machine.sample("process_max_fds"), 16384)
        loaded = "qumulo_encryption_exporter_config_last_reload_success_timestamp_seconds"
        before = self.machine.sample(loaded)
        self.machine.run("systemctl", "reload", NAME)
        wait_for(lambda: self.machine.sample(loaded) > before, "it is reloaded")
        enabled, active, process = self.state()
        self.assertEqual((enabled, active), ("enabled", "active"))
        self.assert_confined(process)
        upgrade()
        self.assert_configured()
        enabled, active, new = self.state()
        self.assertEqual((enabled, active), ("enabled", "active"))
        self.assertNotEqual(new, process, "restarted with the new program")
        wait_for(lambda: self.machine.sample(UP) == 1, "it reads its configuration")
        self.machine.run("systemctl", "stop", NAME)


class Packages(Packaged):
    def with_another_link(self, package):
        """A later version, whose unit has an additional alias."""
        folder = self.folder / "newer"
        run("dpkg-deb", "--raw-extract", package, folder)
        with (folder / f"usr/lib/systemd/system/{NAME}.service").open("a") as unit:
            unit.write("Alias=another.service\n")
        run("dpkg-deb", "--build", folder, self.folder / "newer.deb")
        return "/mnt/newer.deb"

    def test_debian_from_building_to_purging(self):
        old, new = self.two_versions("debian")
        findings = run("lintian", "--allow-root", new, check=False)
        self.assertEqual(re.findall(r"^[EW]:.*", findings, re.M), [])
        for name, value in (("Homepage", "https://example.com/exporter"), ("Maintainer", "Owner <owner@example.com>")):
            self.assertEqual(run("dpkg-deb", "--field", new, name), f"{value}\n")
        contents = run("dpkg-deb", "--contents", new)
        self.assert_all_files({line.split(" .", 1)[1] for line in contents.splitlines()})
        self.machine = machine = Machine(self)
        machine.run("dpkg", "--install", self.inside(old))
        self.serves_until_upgraded(lambda: machine.run("dpkg", "--install", self.inside(new)))
        self.assertIn("0.0.2", machine.run("dpkg-query", "--show", NAME))
        newer = self.with_another_link(new)
        machine.run("dpkg", "--install", newer)
        self.assertEqual(self.state(), ("enabled", "inactive", 0), "a stopped service stays stopped")
        self.assertIn(f"{NAME}.service", machine.run("readlink", "/etc/systemd/system/another.service"))
        machine.run("systemctl", "start", NAME)
        machine.run("dpkg", "--remove", NAME)
        self.assertEqual(self.state()[1:], ("inactive", 0))
        self.assertIsNone(self.machine.sample(UP))
        self.assert_configured()
        machine.run("dpkg", "--install", newer)
        self.assertEqual(self.state(), ("enabled", "inactive", 0), "an enabled service is enabled again")
        machine.run("dpkg", "--purge", NAME)
        left = machine.run("find", "/etc", "/usr/bin", "/usr/lib/systemd", "/usr/share/doc", "/var/lib/systemd",
                           "-name", f"*{NAME}*", "-or", "-name", "another.service")
        self.assertEqual(left.split(), [FOLDER])
        self.assertEqual(machine.run("ls", FOLDER), "prod-west.token\n", "other files stay")
        # Without a running systemd, as in the build of an image.
        for command in (("--install", self.inside(new)), ("--purge", NAME)):
            hidden = 'mount -t tmpfs tmpfs /run/systemd && exec dpkg "$@"'
            machine.run("unshare", "--mount", "sh", "-c", hidden, "sh", *command)

    def test_rpm_from_building_to_erasing(self):
        old, new = self.two_versions("rpm")
        findings = run("rpmlint", new, check=False)
        tags = set(re.findall(r"^\S+ [EW]: (\S+)", findings, re.M))
        self.assertEqual(tags, {
            # Configuration and secrets are readable only for root and the exporter's group.
            "non-readable", "non-standard-dir-perm", "non-standard-gid",
            # The publisher signs it.
            "no-signature",
            # Conventions of some distributions: section 8, gzip, a unit as the only file in /usr/lib, an SPDX licence.
            "invalid-license", "manpage-not-compressed", "no-changelogname-tag", "no-group-tag",
            "no-manual-page-for-binary", "only-non-binary-in-usr-lib",
        })
        about = run("rpm", "--query", "--package", "--queryformat=%{URL} %{PACKAGER}", new)
        self.assertEqual(about, "https://example.com/exporter Owner <owner@example.com>")
        needed = run("rpm", "--query", "--package", "--requires", new)
        glibc = max(tuple(map(int, version.split("."))) for version in re.findall(r"GLIBC_([\d.]+)", needed))
        self.assertLessEqual(glibc, (2, 34), "the version of Red Hat Enterprise Linux 9")
        self.assert_all_files(set(run("rpm", "--query", "--package", "--list", new).split()))
        self.machine = machine = Machine(self)
        # As in distributions with RPM.
        machine.run("mkdir", "-p", "/etc/systemd/system-preset")
        machine.run("sh", "-c", "echo 'disable *' >/etc/systemd/system-preset/99-default-disable.preset")

        def rpm(*arguments):
            machine.run("rpm", "--force-debian", "--nodeps", *arguments)

        rpm("--install", self.inside(old))
        self.serves_until_upgraded(lambda: rpm("--upgrade", self.inside(new)))
        self.assertIn("-0.0.2-", machine.run("rpm", "--query", NAME))
        self.assertEqual(machine.run("rpm", "--verify", "--nodeps", NAME, check=False).split()[1:], ["c", CONFIG])
        rpm("--upgrade", "--replacepkgs", self.inside(new))
        self.assertEqual(self.state(), ("enabled", "inactive", 0), "a stopped service stays stopped")
        machine.run("systemctl", "start", NAME)
        rpm("--erase", NAME)
        self.assertEqual(self.state()[1:], ("inactive", 0))
        self.assertIsNone(self.machine.sample(UP))
        self.assertEqual(machine.run("ls", FOLDER).split(), ["prod-west.token", f"{NAME}.yml.rpmsave"])
        left = machine.run("find", "/etc/systemd", "/usr/lib/systemd", "/usr/bin", "-name", f"*{NAME}*")
        self.assertEqual(left, "")


class Licences(Case):
    def test_the_texts_name_exactly_the_libraries_that_are_linked(self):
        text = (ROOT / "deploy/package/THIRD-PARTY-LICENSES.txt").read_text()
        named = set(re.findall(r"^\* ([\w-]+ \d\S*)", text, re.M))
        linked = set()
        for processor in ("x86_64", "aarch64"):
            tree = run("cargo", "tree", "--locked", "--edges=normal", "--prefix=none", "--format={p}",
                       f"--target={processor}-unknown-linux-gnu", cwd=ROOT)
            linked |= {" ".join(line.split()[:2]).replace(" v", " ") for line in tree.splitlines() if line}
        self.assertGreater(len(linked), 100)
        self.assertEqual(named, linked, "run deploy/package/licences")
        # Placeholders of cargo-about's templates, which it uses if a crate has no licence file.
        self.assertEqual(re.findall(r"<year>|\[year\]|<owner>|<copyright holders>", text), [])

    def test_both_lists_of_licences_are_the_same(self):
        lists = [tomllib.loads((ROOT / f"{name}.toml").read_text()) for name in ("about", "deny")]
        self.assertEqual(lists[0]["accepted"], lists[1]["licenses"]["allow"])


class Unit(Packaged):
    """The unit in other environments. The package installs it and its user."""

    def install(self, *options):
        package = self.build("debian")
        self.machine = Machine(self, *options)
        self.machine.run("dpkg", "--install", self.inside(package))
        self.machine.replace(TOKEN, self.configure(), NAME)

    def test_socket(self):
        self.install()
        self.machine.run("sh", "-c", f"echo QUMULO_ENCRYPTION_EXPORTER_WEB_SYSTEMD_SOCKET=true >>/etc/default/{NAME}")
        self.machine.run("systemctl", "enable", "--now", f"{NAME}.socket")
        self.assertEqual(self.state(), ("disabled", "inactive", 0))
        wait_for(lambda: self.machine.sample(UP) == 1, "a request starts the service")

    def test_lxc(self):
        """A container that cannot mount or create user namespaces. On LXC, AppArmor denies both. This kernel may lack AppArmor, so the
        limits of namespaces are set to 0. systemd fails at the same step for the same options."""
        drop_in = ROOT / "deploy/systemd/lxc.conf"
        options = [line.split("=")[0] for line in drop_in.read_text().splitlines() if re.match(r"\w+=", line)]
        shipped = (ROOT / f"deploy/systemd/{NAME}.service").read_text()
        for option in options:
            line = re.search(rf"^{option}=.*$", shipped, re.M)[0]
            (self.folder / f"{option}.service").write_text(f"[Service]\nType=oneshot\nExecStart=/bin/true\n{line}\n")
        self.install("--private-users=identity")
        self.machine.run("sh", "-c", "cp /mnt/*.service /run/systemd/system && systemctl daemon-reload")
        for kind in ("mnt", "user"):
            run("nsenter", f"--target={self.machine.leader}", "--user", "sh", "-c",
                f"echo 0 >/proc/sys/user/max_{kind}_namespaces")
        failed = []
        for option in options:
            self.machine.run("systemctl", "start", option, check=False)
            shown = self.machine.run("systemctl", "show", "--property=ExecMainStatus", "--value", option)
            failed += [option] if shown.strip() in ("217", "226") else []
        self.assertEqual(failed, options, "each line of the drop-in is needed")
        self.machine.run("systemctl", "start", NAME, check=False)
        self.assertNotEqual(self.state()[1], "active")
        folder = f"/etc/systemd/system/{NAME}.service.d"
        shutil.copy(drop_in, self.folder)
        self.machine.run("install", "-D", "-m", "644", "/mnt/lxc.conf", f"{folder}/lxc.conf")
        self.machine.run("systemctl", "daemon-reload")
        self.machine.run("systemctl", "restart", NAME)
        wait_for(lambda: self.machine.sample(UP) == 1, "the cluster is polled")
        self.assertEqual(self.machine.run("systemd-analyze", "verify", f"{NAME}.service"), "")
        verdict = self.machine.run("systemd-analyze", "security", NAME)
        print(re.search(r"Overall exposure level.*", verdict)[0])


if __name__ == "__main__":
    unittest.main()
