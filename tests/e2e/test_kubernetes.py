"""The objects on a real Kubernetes API server, and the pod in podman."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import unittest

from chart import BASE, CHART, MATRIX, NAME, TOKEN, documents, helm, rendered, written
from support import EXPORTER, PARTS, ROOT, Case, free_port, get, metrics, run, wait_for

CLUSTER = {"name": "prod-east", "url": "https://prod-east.example.com", "authorization": {"credentials_file": TOKEN}}


class ApiServer(Case):
    """An API server with the operator's types. It has no controllers and no nodes: objects are checked, completed and
    admitted, and nothing runs."""

    def setUp(self):
        super().setUp()
        store, peer, port = free_port(), free_port(), free_port()
        self.start(PARTS / "etcd", f"--data-dir={self.folder}/etcd", "--unsafe-no-fsync",
                   f"--listen-client-urls=http://127.0.0.1:{store}", f"--advertise-client-urls=http://127.0.0.1:{store}",
                   f"--listen-peer-urls=http://127.0.0.1:{peer}", f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}",
                   f"--initial-cluster=default=http://127.0.0.1:{peer}")
        key, tokens = self.folder / "key.pem", self.folder / "tokens.csv"
        run("openssl", "genrsa", "-out", key, "2048")
        tokens.write_text('admin,admin,1,"system:masters"\n')
        server = self.start(
            PARTS / "kube-apiserver", f"--etcd-servers=http://127.0.0.1:{store}", f"--secure-port={port}",
            "--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", f"--cert-dir={self.folder}/certificates",
            "--service-account-issuer=https://issuer.example.com", f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}", f"--token-auth-file={tokens}", "--authorization-mode=RBAC",
            "--service-cluster-ip-range=10.96.0.0/24")
        # JSON is YAML.
        (self.folder / "kubeconfig").write_text(json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
            "clusters": [{"name": "test", "cluster": {
                "server": f"https://127.0.0.1:{port}", "insecure-skip-tls-verify": True}}],
            "users": [{"name": "admin", "user": {"token": "admin"}}]}))

        def ready():
            self.assertIsNone(server.poll(), server.log.read_text()[-2000:])
            return self.kubectl("get", "--raw", "/readyz", check=False) == "ok"

        wait_for(ready, "the API server is ready", seconds=120)
        for kind in ("monitoring.coreos.com_servicemonitors", "monitoring.coreos.com_prometheusrules",
                     "gateway.networking.k8s.io_httproutes"):
            self.kubectl("create", "-f", PARTS / f"crds/{kind}.yaml")
        self.kubectl("wait", "--for=condition=Established", "customresourcedefinitions", "--all")

    def environment(self):
        return {**os.environ, "HOME": str(self.folder), "KUBECONFIG": f"{self.folder}/kubeconfig",
                "PATH": f"{PARTS}:{os.environ['PATH']}"}

    def kubectl(self, *arguments, check=True):
        done = subprocess.run([PARTS / "kubectl", *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, env=self.environment())
        if check and (done.returncode != 0 or "Warning" in done.stderr):
            raise AssertionError(f"{arguments}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout + done.stderr

    def namespace(self):
        """Creates the namespace of the base, which admits only pods of the restricted standard."""
        self.kubectl("apply", "-f", BASE / "namespace.yaml")

    def helm(self, *arguments):
        return helm(self.folder, *arguments, "--namespace", NAME)

    def read(self, kind, name=NAME):
        return json.loads(self.kubectl("get", "--namespace", NAME, kind, name, "--output=json"))

    def objects(self):
        """The objects in the namespace, except for those that Kubernetes or Helm creates."""
        kinds = ("deployment", "service", "serviceaccount", "configmap", "secret", "networkpolicy", "poddisruptionbudget",
                 "servicemonitor", "prometheusrule")
        found = json.loads(self.kubectl("get", "--namespace", NAME, ",".join(kinds), "--output=json"))["items"]
        return sorted((each["kind"], each["metadata"]["name"]) for each in found
                      if each["metadata"]["name"] != "kube-root-ca.crt" and each.get("type") != "helm.sh/release.v1")

    def pod(self, name, **changes):
        """Creates a pod from the Deployment's template, as the missing controller would. Returns the output of kubectl."""
        template = self.read("deployment")["spec"]["template"]
        path = self.folder / f"{name}.json"
        path.write_text(json.dumps({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": NAME, "labels": template["metadata"]["labels"]},
            "spec": {**template["spec"], **changes}}))
        return self.kubectl("create", "-f", path, check=False)

    def test_helm_installs_upgrades_rolls_back_and_uninstalls(self):
        self.namespace()
        values = {"config": {"clusters": [CLUSTER]}, "secret": {"files": {"prod-east.token": "first"}}}
        self.helm("install", NAME, CHART, f"--values={written(self.folder, values)}")
        first = {kind: self.read(kind) for kind in ("deployment", "configmap", "secret")}
        objects = sorted((each["kind"], each["metadata"]["name"]) for each in documents(rendered(self.folder, values)))
        self.assertEqual(self.objects(), objects)
        self.assertEqual(first["secret"]["data"], {"prod-east.token": "Zmlyc3Q="})
        self.assertIn("pod/admitted created", self.pod("admitted"))
        self.assertIn("violates PodSecurity", self.pod("refused", hostNetwork=True))

        values["config"]["global"] = {"poll_interval": "30s"}
        values["secret"]["files"]["prod-east.token"] = "second"
        self.helm("upgrade", NAME, CHART, f"--values={written(self.folder, values)}")
        self.assertIn("poll_interval: 30s", self.read("configmap")["data"][f"{NAME}.yml"])
        self.assertEqual(self.read("secret")["data"], {"prod-east.token": "c2Vjb25k"})
        self.assertEqual(self.read("deployment")["spec"], first["deployment"]["spec"], "the exporter is not restarted")

        self.helm("upgrade", NAME, CHART, "--reuse-values", "--set", "replicas=2,networkPolicy.enabled=false")
        self.assertEqual(self.read("deployment")["spec"]["replicas"], 2)
        self.assertEqual([each for each in objects if each not in self.objects()], [("NetworkPolicy", NAME)])

        self.helm("rollback", NAME, "1")
        self.assertEqual(self.objects(), objects)
        for kind, before in first.items():
            now = self.read(kind)
            self.assertEqual((now.get("data"), now.get("spec")), (before.get("data"), before.get("spec")), kind)

        self.helm("uninstall", NAME)
        wait_for(lambda: self.objects() == [], "nothing is left")

    def test_openshift_sets_no_user(self):
        """OpenShift rejects user and group IDs outside of the namespace's range. Its admission plugin is not available here."""
        self.namespace()
        self.helm("install", NAME, CHART, "--set", "openshift=true")
        context = self.read("deployment")["spec"]["template"]["spec"]["securityContext"]
        self.assertEqual(context, {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}})
        self.assertIn("pod/admitted created", self.pod("admitted"))
        # With the IDs that OpenShift adds.
        self.assertIn("pod/completed created", self.pod(
            "completed", securityContext={**context, "runAsUser": 1000680000, "fsGroup": 1000680000}))

    def test_every_set_of_values_is_accepted(self):
        self.namespace()
        for number, (name, values) in enumerate(MATRIX.items()):
            with self.subTest(name):
                values = json.loads(json.dumps(values).replace('"example-ca.pem": null', '"example-ca.pem": "PEM"'))
                path = self.folder / f"objects-{number}.yaml"
                path.write_text(rendered(self.folder, values))
                self.kubectl("create", "--dry-run=server", "--validate=strict", "-f", path)

    def test_the_base_applies_as_it_is(self):
        self.kubectl("apply", "--validate=strict", "-k", BASE)
        self.assertIn("pod/admitted created", self.pod("admitted"))
        self.assertIn("violates PodSecurity", self.pod("refused", securityContext={"runAsUser": 0}))

    def follow(self, page):
        """Runs the commands of a page in a clone, with the files that the page expects there."""
        clone = self.folder / "clone"
        clone.mkdir()
        (clone / "deploy").symlink_to(ROOT / "deploy")
        (clone / "prod-east.token").write_text("token")
        (clone / "tokens").mkdir()
        for name in ("prod-east", "prod-west", "lab"):
            (clone / "tokens" / name).write_text(name)
        (clone / "values.yaml").write_text("".join(re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.M | re.S)[:1]))
        # The chart of a release. There is no registry here: its address is replaced by the file.
        run(ROOT / "deploy/helm/package", "1.2.3", "ghcr.io/owner/image", "https://github.com/owner/exporter", clone,
            env=self.environment())
        for commands in re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.M | re.S):
            commands = commands.replace(f"oci://ghcr.io/OWNER/charts/{NAME}", f"{NAME}-1.2.3.tgz")
            run("sh", "-euxc", commands, cwd=clone, env=self.environment())
            yield

    def test_the_commands_of_the_page_about_kustomize(self):
        list(self.follow(BASE / "README.md"))
        self.assertIn("prod-east.example.com", self.read("configmap")["data"][f"{NAME}.yml"])
        self.assertEqual(self.read("prometheusrule")["metadata"]["labels"]["release"], "kube-prometheus-stack")
        self.assertIn("pod/admitted created", self.pod("admitted"))

    def test_the_commands_of_the_page_about_the_chart(self):
        blocks = self.follow(CHART / "README.md")
        next(blocks)
        self.assertIn("prod-west.example.com", self.read("configmap")["data"][f"{NAME}.yml"])
        self.assertEqual(set(self.read("secret", "qumulo-tokens")["data"]), {"prod-east", "prod-west", "lab"})
        self.assertTrue({("ServiceMonitor", NAME), ("PrometheusRule", NAME)} < set(self.objects()), "the API has their types")
        self.kubectl("label", "namespace", NAME, "pod-security.kubernetes.io/enforce=restricted")
        self.assertIn("pod/admitted created", self.pod("admitted"))
        self.assertIn("violates PodSecurity", self.pod("refused", hostNetwork=True))
        image = self.read("deployment")["spec"]["template"]["spec"]["containers"][0]["image"]
        self.assertEqual(image, "ghcr.io/owner/image:1.2.3")
        next(blocks)
        self.assertEqual(self.objects(), [("Secret", "qumulo-tokens")])


class Rules(Case):
    def test_an_operator_may_attach_the_namespace_to_every_series_and_rule(self):
        """OpenShift's monitoring for user-defined projects does so, to separate projects."""
        def marked(series):
            return f"{series[:-1]}, namespace='n'}}" if series.endswith("}") else f"{series}{{namespace='n'}}"

        [rules] = documents((ROOT / "deploy/prometheus/alerts.yml").read_text())
        for group in rules["groups"]:
            for rule in group["rules"]:
                rule["labels"] = {**rule.get("labels", {}), "namespace": "n"}
        [tests] = documents((ROOT / "tests/rules/alerts.test.yml").read_text())
        tests["rule_files"] = ["rules.yml"]
        for test in tests["tests"]:
            for series in test["input_series"]:
                series["series"] = marked(series["series"])
            # The expected series are grouped by other labels.
            for query in test["promql_expr_test"]:
                self.assertIn(" by (alertname, cluster, severity)", query["expr"])
        for name, content in (("rules.yml", rules), ("rules.test.yml", tests)):
            (self.folder / name).write_text(json.dumps(content))
        run(PARTS / "promtool", "test", "rules", self.folder / "rules.test.yml")


class Podman(Case):
    """Runs the rendered objects in podman, with a separate storage."""

    def setUp(self):
        super().setUp()
        settings = self.folder / "containers.conf"
        # Containers cannot have higher limits than the process that starts them. Locks are not shared with other storages.
        settings.write_text('[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]\n'
                            '[engine]\nlock_type = "file"\n')
        self.environment = {**os.environ, "CONTAINERS_CONF": str(settings), "PODMAN_IGNORE_CGROUPSV1_WARNING": "1"}
        # Podman bind-mounts its storage.
        self.addCleanup(run, "umount", self.folder / "storage/overlay", check=False)

    def podman(self, *arguments, check=True):
        places = [f"--{name}={self.folder}/{folder}" for name, folder in
                  (("root", "storage"), ("runroot", "run"), ("tmpdir", "tmp"), ("network-config-dir", "networks"))]
        return run(PARTS / "podman", *places, "--cgroup-manager=cgroupfs", "--runtime=runc", "--events-backend=file",
                   *arguments, check=check, env=self.environment)

    def build(self, image):
        """Builds the image with EXPORTER, and with the libraries that it needs if it is not static."""
        context = self.folder / "context"
        program = context / self.podman("info", "--format={{.Host.Arch}}").strip() / NAME
        program.parent.mkdir(parents=True)
        shutil.copy(EXPORTER, program)
        shutil.copy("/etc/ssl/certs/ca-certificates.crt", context)
        for name in ("deploy/container/Containerfile", "LICENSE"):
            shutil.copy(ROOT / name, context)
        shutil.copytree(ROOT / "deploy/package", context / "deploy/package")
        with (context / "Containerfile").open("a") as recipe:
            for library in run("ldd", EXPORTER, check=False).split():
                if library.startswith("/"):
                    shutil.copy(library, context)
                    recipe.write(f"COPY {pathlib.Path(library).name} {library}\n")
        self.podman("build", "--isolation=chroot", f"--tag={image}", f"--build-context=program={context}", context)

    def test_the_rendered_pod_is_ready_and_serves_the_clusters(self):
        self.build("localhost/exporter:test")
        clusters = self.simulate(run(EXPORTER, "simulate", "--print-fleet")).clusters
        # The user of the chart, and one of OpenShift.
        for user in (65534, 1000680000):
            with self.subTest(user):
                self.serve(clusters, user)

    def serve(self, clusters, user):
        port = free_port()
        values = {
            "config": {"global": {"poll_interval": "1s", "poll_timeout": "1s"}, "clusters": [
                {"name": name, "url": cluster["url"], "tls_config": {"pin_sha256": [cluster["pin_sha256"]]},
                 "authorization": {"credentials_file": f"/run/secrets/qumulo/{name}.token"}}
                for name, cluster in clusters.items()]},
            # Podman stores ConfigMaps and Secrets as volumes, which need different names.
            "existingSecrets": ["tokens"],
            "extraObjects": [{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "tokens"}, "stringData": {
                f"{name}.token": each["token"] for name, each in clusters.items()}}],
            "image": {"repository": "localhost/exporter", "tag": "test"},
            # Podman has no fsGroup: files of a Secret belong to the group root, of which every OpenShift user is a member.
            "podSecurityContext": {"runAsUser": user, "runAsGroup": 0},
            # The pod uses the host's network, to reach the simulated clusters on the loopback interface.
            "extraArgs": [f"--web.listen-address=127.0.0.1:{port}"],
        }
        objects = self.folder / f"objects-{user}.yaml"
        objects.write_text(rendered(self.folder, values, apis=[]))
        self.addCleanup(self.podman, "kube", "down", "--force", objects, check=False)
        self.podman("kube", "play", "--network=host", objects)

        def ready():
            try:
                return get(f"http://127.0.0.1:{port}/-/ready")[0] == 200
            except OSError:
                return False

        wait_for(ready, "the pod is ready")
        samples = metrics(f"http://127.0.0.1:{port}")
        up = {name: samples[f'qumulo_encryption_up{{cluster="{name}"}}'] for name in clusters}
        self.assertEqual({name for name in up if not up[name]}, {"edge-oslo", "edge-lisbon"})
        self.assertEqual(samples['qumulo_encryption_status{cluster="genomics-1",status="kms_key_not_found"}'], 1)
        container = f"{NAME}-pod-exporter"
        pid = self.podman("inspect", "--format={{.State.Pid}}", container).strip()
        status = dict(line.split(":\t") for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines())
        self.assertEqual((int(status["Uid"].split()[0]), int(status["CapBnd"], 16), status["NoNewPrivs"], status["Seccomp"]),
                         (user, 0, "1", "2"))
        self.assertEqual(self.podman("inspect", "--format={{.HostConfig.ReadonlyRootfs}}", container), "true\n")
        self.podman("stop", container)
        self.assertEqual(self.podman("inspect", "--format={{.State.ExitCode}}", container), "0\n")
        self.podman("kube", "down", "--force", objects)


if __name__ == "__main__":
    unittest.main()
