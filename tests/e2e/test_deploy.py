"""What is deployed: the Debian package, the container, Kubernetes' objects, the compose stack."""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import time
import unittest

from support import EXPORTER, GENERATIONS, ROOT, VENVS, Case, get, metrics, run, wait_for

NAME = "qumulo-encryption-exporter"
EXAMPLE = ROOT / f"deploy/example/{NAME}.yml"
CONFIG = pathlib.Path(f"/etc/{NAME}/{NAME}.yml")


class Examples(Case):
    def test_the_example_configuration_is_good(self):
        copy = self.folder / EXAMPLE.name
        copy.write_text(EXAMPLE.read_text())
        (self.folder / "prod-east.token").write_text("token")
        self.assertIn("is good: 1 cluster\n", run(EXPORTER, "check-config", copy))

    def test_kubernetes_has_the_same_with_its_own_place_for_secrets(self):
        text = (EXAMPLE.parent / f"kubernetes/{NAME}.yml").read_text()
        self.assertEqual(text.replace("/run/secrets/qumulo/", ""), EXAMPLE.read_text())


# Bad configurations that a schema cannot refuse, and why.
BEYOND_A_SCHEMA = {
    "stale_too_soon": "compares durations with each other",
}


class Schema(Case):
    def refuses(self, path, schema="config"):
        command = [VENVS / "deploy/bin/check-jsonschema", "--schemafile", ROOT / f"deploy/{schema}.schema.json", path]
        return subprocess.run(command, capture_output=True).returncode != 0

    def test_the_schema_refuses_what_the_program_refuses(self):
        for path in sorted((ROOT / "tests/config/good").glob("*.yml")):
            self.assertFalse(self.refuses(path), path)
        for path in sorted((ROOT / "tests/config/good/split.d").glob("*.yml")):
            self.assertFalse(self.refuses(path, "cluster-file"), path)
        for path in sorted((ROOT / "tests/config/bad").glob("*.yml")):
            self.assertEqual(self.refuses(path), path.stem not in BEYOND_A_SCHEMA, path)

    def test_each_mistake_alone_is_refused_by_both(self):
        """One mistake at a time in a file that is good otherwise."""
        good = "clusters:\n- name: a\n  url: https://a\n  authorization: {credentials_file: t}\n"
        accepted = []
        for mistake in (
            good.replace("name: a", "nam: a"), good.replace("name: a", "name: 'a '"), good.replace("name: a", "name: [a]"),
            good.replace("https://a", "https://a/api"), good.replace("https://a", "http://a"),
            good.replace("https://a", "https://u:p@a"), good.replace("https://a", "ftp://a"), good.replace("https://a", "a"),
            good.replace("https://a", "https://a?x=1"), good.replace("credentials_file: t", "credentials: t"),
            good.replace("credentials_file: t", "type: Basic, credentials_file: t"), good.replace("credentials_file: t", ""),
            good.replace("credentials_file: t", "credentials_file: ''"), good + "  login: {username: a, password_file: b}\n",
            good + "  poll_interval: 60\n", good + "  poll_interval: 1.5s\n", good + "  poll_interval: 500ms\n",
            good + "  poll_timeout: 0s\n", good + "  poll_interval: 2d\n", good + "  poll_timeout: 2m\n",
            good + "  tls_config: {min_version: '1.2'}\n", good + "  tls_config: {pin_sha256: []}\n",
            good + "  tls_config: {pin_sha256: [ab]}\n", good + "  tls_config: {cert_file: a}\n",
            good + "  tls_config: {insecure_skip_verify: true, ca_file: a}\n",
            good + "  tls_config: {insecure_skip_verify: maybe}\n", good + "  tls_config: {server_name: 'https://a'}\n",
            good + "  proxy_url: http://u:p@a\n", good + "  proxy_url: socks5://a\n", good + "  no_proxy: a\n",
            good + "  proxy_url: http://a\n  proxy_from_environment: true\n", good + "  labels: {cluster: a}\n",
            good + "  labels: {2a: a}\n", good + "  ca_file: a\n", good + "globl: {}\n", good + "global: {name: a}\n",
            good + "cluster_files: a.yml\n", "global: {}\n", "clusters: {}\n", "",
        ):
            path = self.folder / "mistake.yml"
            path.write_text(mistake)
            program = subprocess.run([EXPORTER, "check-config", path], capture_output=True, text=True)
            self.assertNotEqual(program.returncode, 0, mistake)
            if not self.refuses(path):
                accepted.append(mistake.removeprefix(good).strip())
        # A schema compares no durations.
        self.assertEqual(accepted, ["poll_interval: 500ms", "poll_timeout: 0s", "poll_interval: 2d", "poll_timeout: 2m"])


class Debian(Case):
    def build(self, version):
        run(ROOT / "deploy/debian/build", EXPORTER, self.folder, env={**os.environ, "DEB_VERSION": version})
        return next(self.folder.glob(f"{NAME}_{version}_*.deb"))

    def test_from_building_to_purging(self):
        self.assertFalse(CONFIG.exists(), "a machine without the package")
        self.addCleanup(run, "dpkg", "--purge", NAME, check=False)
        old, new = self.build("0.0.1"), self.build("0.0.2")
        findings = run("lintian", "--allow-root", "--fail-on", "error", old)
        self.assertNotIn("E:", findings)
        run("dpkg", "--install", old)
        for path in (f"/usr/bin/{NAME}", f"/lib/systemd/system/{NAME}.service", f"/usr/share/man/man8/{NAME}.8.gz",
                     f"/usr/share/bash-completion/completions/{NAME}"):
            self.assertTrue(pathlib.Path(path).is_file(), path)
        self.assertEqual(run("systemd-analyze", "verify", "--man=no", f"/lib/systemd/system/{NAME}.service"), "")
        # As the unit starts it, with a configuration that an administrator wrote.
        edited = EXAMPLE.read_text().replace("prod-east", "prod-west")
        CONFIG.write_text(edited)
        (CONFIG.parent / "prod-west.token").write_text("token")
        self.addCleanup(shutil.rmtree, CONFIG.parent, ignore_errors=True)
        unit = pathlib.Path(f"/lib/systemd/system/{NAME}.service").read_text()
        command = re.search(r"^ExecStart=(.*)$", unit, re.M)[1].split()
        self.as_the_unit_does(unit, command)
        run("dpkg", "--install", "--force-confdef", new)
        self.assertEqual(CONFIG.read_text(), edited, "an edited configuration survives the upgrade")
        self.assertIn("0.0.2", run("dpkg-query", "--show", NAME))
        run("dpkg", "--remove", NAME)
        self.assertFalse(pathlib.Path(f"/usr/bin/{NAME}").exists())
        self.assertTrue(CONFIG.exists())
        run("dpkg", "--purge", NAME)
        self.assertFalse(CONFIG.exists())
        self.assertTrue((CONFIG.parent / "prod-west.token").exists(), "what the package did not bring stays")


    def as_the_unit_does(self, unit, command):
        """The installed program with the unit's user, mounts and limits; systemd itself does not run here."""
        for line in (f"User={NAME}", f"Group={NAME}", "ProcSubset=pid", "ProtectSystem=strict", "NoNewPrivileges=yes",
                     "CapabilityBoundingSet=", "LimitNOFILE=16384", "UMask=0077"):
            self.assertIn(f"\n{line}\n", unit)
        cluster = self.simulate("clusters:\n- {name: prod-west}\n").clusters["prod-west"]
        edited = CONFIG.read_text()
        self.assertEqual((CONFIG.parent.stat().st_mode & 0o777, CONFIG.stat().st_mode & 0o777), (0o750, 0o640))
        self.addCleanup(lambda: CONFIG.exists() and CONFIG.write_text(edited))
        CONFIG.write_text(f"""global: {{poll_interval: 1s, poll_timeout: 1s}}
clusters:
- name: prod-west
  url: {cluster["url"]}
  authorization: {{credentials_file: prod-west.token}}
  tls_config: {{pin_sha256: ["{cluster["pin_sha256"]}"]}}
""")

        def rotate(text):
            (self.folder / "token").write_text(text)
            new = CONFIG.parent / ".prod-west.token.new"
            run("install", "-g", NAME, "-m", "640", self.folder / "token", new)
            run("mv", new, CONFIG.parent / "prod-west.token")

        rotate("wrong")
        confine = ("mount -t proc -o subset=pid proc /proc && mount --bind / /mnt && mount -o remount,bind,ro /mnt && "
                   "mount -t proc -o subset=pid proc /mnt/proc && ulimit -n 16384 && umask 077 && exec chroot /mnt "
                   f"setpriv --reuid={NAME} --regid={NAME} --clear-groups --no-new-privs --bounding-set=-all "
                   '--inh-caps=-all "$@"')
        process = self.start("unshare", "--pid", "--mount", "--fork", "--kill-child", "sh", "-c", confine, "sh", *command,
                             "--web.listen-address", "127.0.0.1:0")
        found = wait_for(lambda: re.search(r"msg=listening address=(\S+)", process.log.read_text()), "it listens")
        url = f"http://{found[1]}"
        up = 'qumulo_encryption_up{cluster="prod-west"}'
        wait_for(lambda: metrics(url).get(up) == 0, "the wrong token is refused")
        rotate(cluster["token"])
        wait_for(lambda: metrics(url).get(up) == 1, "the replaced token is used")
        samples = metrics(url)
        for name in ("cpu_seconds_total", "max_fds", "open_fds", "resident_memory_bytes", "start_time_seconds", "threads",
                     "virtual_memory_bytes", "virtual_memory_max_bytes"):
            self.assertGreater(samples[f"process_{name}"], -1 if name.startswith("cpu") else 0, name)
        self.assertLess(abs(samples["process_start_time_seconds"] - time.time()), 300)
        children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGTERM)
        self.assertEqual(process.wait(10), 0)
        CONFIG.write_text(edited)


class Container(Case):
    def podman(self, *arguments, check=True):
        return run("podman", "--cgroup-manager=cgroupfs", "--runtime=runc", *arguments, check=check)

    def test_the_image_runs_the_demonstration(self):
        tag = "localhost/qumulo-encryption-exporter:test"
        environment = {**os.environ, "BUILDER": "buildah bud --isolation chroot"}
        done = subprocess.run([ROOT / "deploy/container/build", tag], stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, env=environment)
        self.assertEqual(done.returncode, 0, done.stderr[-2000:])
        self.addCleanup(self.podman, "rm", "--force", "exporter", check=False)
        self.podman("run", "--detach", "--name=exporter", "--network=host", "--read-only", "--read-only-tmpfs=false",
                    "--cap-drop=ALL", "--security-opt=no-new-privileges", "--ulimit=nofile=1024:1024",
                    "--ulimit=nproc=1024:1024", tag, "demo", "--web.listen-address=127.0.0.1:10989")

        def ready():
            try:
                return get("http://127.0.0.1:10989/-/ready")[0] == 200
            except OSError:
                return False

        wait_for(ready, "the demonstration is ready")
        self.assertGreater(metrics("http://127.0.0.1:10989")["process_open_fds"], 10)
        pid = int(self.podman("inspect", "--format={{.State.Pid}}", "exporter"))
        uid = re.search(r"^Uid:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text(), re.M)[1]
        self.assertEqual(uid, "65534")
        os.kill(pid, signal.SIGTERM)
        code = wait_for(lambda: self.podman("inspect", "--format={{.State.Status}} {{.State.ExitCode}}", "exporter")
                        .startswith("exited") and self.podman("inspect", "--format={{.State.ExitCode}}", "exporter"),
                        "it ends within the grace period", seconds=15)
        self.assertEqual(code.strip(), "0")
        # A name, with nothing but the program in the image to resolve it.
        cluster = self.simulate("clusters:\n- {name: one}\n").clusters["one"]
        (self.folder / "token").write_text(cluster["token"])
        (self.folder / "token").chmod(0o644)
        said = self.podman("run", "--rm", "--network=host", "--add-host=one.example:127.0.0.1", "--read-only",
                           "--read-only-tmpfs=false", "--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024",
                           f"--volume={self.folder}/token:/token:ro", tag, "status",
                           f"--cluster.url={cluster['url'].replace('127.0.0.1', 'one.example')}",
                           f"--cluster.pin-sha256={cluster['pin_sha256']}", "--cluster.token-file=/token")
        self.assertIn("one.example", said)
        self.assertIn("1 cluster: 0 critical, 0 unknown, 0 warning, 1 good", said)
        size = int(run("podman", "image", "inspect", "--format={{.Size}}", tag))
        print(f"image: {size / 1e6:.1f} MB")


class Orchestrators(Case):
    def test_kubernetes_objects_are_valid(self):
        folder = ROOT / "deploy/kubernetes"
        own = [folder / f"{kind}.yaml" for kind in (
            "namespace", "dashboards", "deployment", "service", "serviceaccount", "networkpolicy", "poddisruptionbudget")]
        run(VENVS / "deploy/bin/kubernetes-validate", "--strict", *own)
        named = set(re.findall(r"^  - (\S+\.yaml)$", (folder / "kustomization.yaml").read_text(), re.M))
        self.assertEqual(named, {path.name for path in folder.glob("*.yaml")} - {"kustomization.yaml"})

    def test_rules_and_dashboards_inside_are_the_rules_and_dashboards(self):
        paths = [ROOT / f"deploy/kubernetes/{kind}.yaml" for kind in ("prometheusrule", "dashboards")]
        before = [path.read_text() for path in paths]
        run(ROOT / "deploy/kubernetes/build")
        self.assertEqual([path.read_text() for path in paths], before, "made anew with deploy/kubernetes/build")
        rules = self.folder / "rules.yml"
        rules.write_text(re.sub(r"^  ", "", before[0].split("spec:\n")[1], flags=re.M))
        for one in GENERATIONS:
            run(one.promtool, "check", "rules", rules)

    def test_the_collector_scrapes_as_prometheus_does(self):
        """The Collector does not run here: its scrape is the example that stores run, and its pipeline has all that is there."""
        load = "import json, sys, yaml; print(json.dumps([yaml.safe_load(open(path)) for path in sys.argv[1:]]))"
        collector, scrape = json.loads(run(VENVS / "deploy/bin/python", "-c", load, ROOT / "deploy/opentelemetry/collector.yml",
                                           ROOT / "deploy/prometheus/scrape-metrics.yml"))
        self.assertEqual(collector["receivers"]["prometheus"]["config"], scrape)
        pipeline = collector["service"]["pipelines"]["metrics"]
        for kind in ("receivers", "processors", "exporters"):
            self.assertEqual(pipeline[kind], list(collector[kind]))

    def test_the_compose_stack_is_whole(self):
        path = ROOT / "deploy/compose/compose.yml"
        run(VENVS / "deploy/bin/check-jsonschema", "--builtin-schema", "vendor.compose-spec", path)
        for source in re.findall(r"^      - (\.\S+?):", path.read_text(), re.M):
            self.assertTrue((path.parent / source).is_file(), source)
        copy = self.folder / "prometheus.yml"
        copy.write_text((path.parent / "prometheus.yml").read_text())
        (self.folder / "alerts.yml").write_text((ROOT / "deploy/prometheus/alerts.yml").read_text())
        for one in GENERATIONS:
            run(one.promtool, "check", "config", copy)


if __name__ == "__main__":
    unittest.main()
