"""The Helm chart, as far as it can be looked at without Kubernetes."""

import json
import shutil
import subprocess
import tarfile
import tomllib
import unittest

from chart import BASE, CHART, EVERYTHING, MATRIX, NAME, OVERLAY, documents, helm, one, rendered, written
from support import EXPORTER, PARTS, ROOT, VENVS, Case, run

EXAMPLE = ROOT / "deploy/example/helm.yaml"
# What Helm adds to objects and selectors, and kustomize does not.
OF_HELM = {"app.kubernetes.io/instance", "app.kubernetes.io/managed-by", "app.kubernetes.io/version", "helm.sh/chart"}


def certificate(folder):
    path = folder / "example-ca.pem"
    run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=ca",
        "-keyout", folder / "key.pem", "-out", path)
    return path.read_text()


def everything(folder):
    """EVERYTHING, with a real certificate."""
    values = json.loads(json.dumps(EVERYTHING))
    values["configMap"]["files"]["example-ca.pem"] = certificate(folder)
    return values


class Files(Case):
    def test_the_versions_are_those_of_the_program(self):
        version = tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]["version"]
        [chart] = documents((CHART / "Chart.yaml").read_text())
        self.assertEqual((chart["version"], chart["appVersion"]), (version, version))
        self.assertIn(f"image: {NAME}:{version}\n", (BASE / "deployment.yaml").read_text())
        self.assertIn(f"newTag: {version}\n", (OVERLAY / "kustomization.yaml").read_text())

    def test_the_schema_knows_exactly_the_values(self):
        path = CHART / "values.schema.json"
        before = path.read_text()
        run(CHART.parent / "build")
        self.assertEqual(path.read_text(), before, "made anew with deploy/helm/build")
        [values] = documents((CHART / "values.yaml").read_text())
        known = json.loads(before)["properties"]
        self.assertEqual(set(known) - {"global"}, set(values))
        for name, section in known.items():
            if section.get("additionalProperties") is False:
                self.assertEqual(set(section["properties"]), set(values[name]), name)

    def test_the_package_holds_the_rules_and_dashboards(self):
        helm(self.folder, "package", CHART, "--destination", self.folder)
        [package] = self.folder.glob("*.tgz")
        helm(self.folder, "lint", "--strict", package)
        with tarfile.open(package) as archive:
            self.assertTrue(all(member.isreg() for member in archive.getmembers()))
            packaged = {member.name.removeprefix(f"{NAME}/"): archive.extractfile(member).read().decode()
                        for member in archive.getmembers()}
        self.assertEqual(packaged["files/alerts.yml"], (ROOT / "deploy/prometheus/alerts.yml").read_text())
        for path in (ROOT / "dashboards").glob("*.json"):
            self.assertEqual(packaged.pop(f"files/dashboards/{path.name}"), path.read_text())
        self.assertEqual([name for name in packaged if name.startswith("files/dashboards/")], [])
        self.assertEqual(packaged["LICENSE"], (ROOT / "LICENSE").read_text())
        self.assertEqual(documents(helm(self.folder, "template", NAME, package, "--namespace", NAME)),
                         documents(rendered(self.folder)))

    def test_a_checkout_without_symbolic_links_is_refused(self):
        copy = self.folder / NAME
        shutil.copytree(CHART, copy)
        (copy / "files/alerts.yml").write_text("../../../prometheus/alerts.yml")
        done = subprocess.run([PARTS / "helm", "template", NAME, copy], capture_output=True, text=True)
        self.assertIn("files/alerts.yml has no rules: check the project out with symbolic links", done.stderr)


class Kustomize(Case):
    def comparable(self, text):
        """Objects by kind and name, without what may differ: Helm's labels, the text of the configuration, and the
        namespace, which Helm does not create."""
        def plain(value):
            if isinstance(value, dict):
                return {key: plain(each) for key, each in value.items() if key not in OF_HELM}
            return [plain(each) for each in value] if isinstance(value, list) else value

        objects = {(each["kind"], each["metadata"]["name"]): plain(each) for each in documents(text)}
        objects.pop(("Namespace", NAME), None)
        data = objects["ConfigMap", NAME]["data"]
        data[f"{NAME}.yml"] = documents(data[f"{NAME}.yml"])
        return objects

    def hold_together(self, values, folder):
        chart = self.comparable(rendered(self.folder, *values))
        base = self.comparable(run(PARTS / "kubectl", "kustomize", folder))
        self.assertEqual(set(chart), set(base))
        self.maxDiff = None
        for name in base:
            self.assertEqual(chart[name], base[name], name)

    def test_default_values_are_the_base(self):
        self.hold_together([], BASE)

    def test_the_example_values_are_the_example_overlay(self):
        self.hold_together([EXAMPLE], OVERLAY)

    def test_the_components_are_values(self):
        overlay = self.folder / "overlay"
        overlay.mkdir()
        # kustomize reads no absolute path.
        root = "../" * (len(overlay.resolve().parts) - 1)
        for component, values in (
            ("openshift", {"openshift": True}),
            ("without-operator", {"serviceMonitor": {"enabled": False}, "prometheusRule": {"enabled": False}}),
        ):
            (overlay / "kustomization.yaml").write_text(json.dumps({
                "resources": [f"{root}{OVERLAY}"], "components": [f"{root}{BASE}/{component}"]}))
            self.hold_together([EXAMPLE, values], overlay)


class Values(Case):
    def test_every_set_of_values_gives_valid_objects(self):
        for name, values in MATRIX.items():
            with self.subTest(name):
                values = everything(self.folder) if values is EVERYTHING else values
                helm(self.folder, "lint", "--strict", CHART, "--values", written(self.folder, values))
                text = rendered(self.folder, values)
                core = [each for each in documents(text) if not each["apiVersion"].startswith("monitoring.")]
                path = self.folder / "core.yaml"
                path.write_text("\n---\n".join(json.dumps(each) for each in core))
                # The newest, and the oldest that Chart.yaml allows.
                for version in ([], ["--kubernetes-version=1.27"]):
                    run(VENVS / "deploy/bin/kubernetes-validate", "--strict", *version, path)

    def test_everything_arrives(self):
        objects = documents(rendered(self.folder, everything(self.folder), release="prod"))
        for each in objects:
            labels, annotations = each["metadata"]["labels"], each["metadata"]["annotations"]
            self.assertEqual(labels["release"], "kube-prometheus-stack", each["kind"])
            self.assertEqual(annotations["example.com/owner"], "storage", each["kind"])
            self.assertEqual(labels["of"], annotations["of"], each["kind"])
        self.assertEqual(len({each["metadata"]["labels"]["of"] for each in objects}), len(objects))
        deployment = one(objects, "Deployment")["spec"]
        self.assertEqual(deployment["replicas"], 2)
        self.assertEqual(deployment["template"]["metadata"]["labels"], {
            "app.kubernetes.io/name": NAME, "app.kubernetes.io/instance": "prod", "release": "kube-prometheus-stack",
            "of": "pod"})
        pod = deployment["template"]["spec"]
        [container] = pod["containers"]
        self.assertEqual(container["image"], "registry.example.com/exporter@sha256:" + 64 * "a")
        self.assertEqual(container["args"][2:], [
            "--web.config.file=/run/secrets/web/web.yml", "--web.health-listen-address=:10980", "--log.format=json"])
        for probe in ("livenessProbe", "readinessProbe"):
            self.assertEqual(container[probe]["httpGet"]["port"], "health")
        self.assertEqual([source["secret"]["name"] for source in pod["volumes"][2]["projected"]["sources"]],
                         ["exporter-web", "exporter-tls"])
        self.assertEqual(pod["securityContext"]["supplementalGroups"], [1234])
        self.assertNotIn("runAsGroup", pod["securityContext"])
        self.assertEqual(pod["serviceAccountName"], "exporter")
        for key in ("nodeSelector", "tolerations", "affinity", "priorityClassName", "imagePullSecrets"):
            self.assertEqual(pod[key], EVERYTHING[key], key)
        own, other = pod["topologySpreadConstraints"]
        self.assertEqual(own["labelSelector"], deployment["selector"])
        self.assertEqual(other["labelSelector"], {"matchLabels": {"app": "other"}})
        policy = one(objects, "NetworkPolicy")["spec"]
        self.assertEqual(policy["ingress"][0]["from"], EVERYTHING["networkPolicy"]["from"])
        self.assertEqual(policy["egress"][1]["to"], EVERYTHING["networkPolicy"]["to"])
        self.assertEqual({each["port"] for each in policy["egress"][1]["ports"]}, {8000, 8443, 443, 3128, 5696, 9443})
        self.assertEqual(policy["egress"][2:], EVERYTHING["networkPolicy"]["egress"])
        [endpoint] = one(objects, "ServiceMonitor")["spec"]["endpoints"]
        self.assertEqual(endpoint["scheme"], "https")
        self.assertTrue(endpoint["honorLabels"])
        self.assertEqual([each["targetLabel"] for each in endpoint["relabelings"]], ["job", "site"])
        rules = json.dumps(one(objects, "PrometheusRule"))
        self.assertIn("https://exporter.example.com/runbooks/QumuloEncryptionKeyNotFound.md", rules)
        self.assertNotIn("runbooks.example.com", rules + json.dumps(one(objects, "ConfigMap", "-dashboards")))

    def test_the_program_accepts_the_configuration(self):
        for name, values in MATRIX.items():
            with self.subTest(name):
                values = everything(self.folder) if values is EVERYTHING else values
                objects = documents(rendered(self.folder, values))
                config = next(each["data"] for each in objects if f"{NAME}.yml" in each.get("data", {}))
                for file, text in config.items():
                    (self.folder / file).write_text(text.replace("/run/secrets/qumulo", str(self.folder)))
                for file in values.get("secret", {}).get("files", {}):
                    (self.folder / file).write_text("secret")
                    (self.folder / file).chmod(0o440)
                said = run(EXPORTER, "check-config", self.folder / f"{NAME}.yml")
                self.assertIn(f"is good: {4 if name == 'everything' else 0} cluster", said)

    def refused(self, values):
        command = [PARTS / "helm", "template", NAME, CHART, f"--values={written(self.folder, values)}"]
        done = subprocess.run(command, capture_output=True, text=True)
        self.assertNotEqual(done.returncode, 0, values)
        return done.stderr

    def test_wrong_values_are_refused_with_a_message(self):
        def cluster(**keys):
            good = {"name": "a", "url": "https://a", "authorization": {"credentials_file": "/t"}}
            return {"config": {"clusters": [good | keys]}}

        helm(self.folder, "template", NAME, CHART, "--values", written(self.folder, cluster()))
        for values, message in (
            ({"replica": 2}, "additional properties 'replica' not allowed"),
            ({"replicas": "two"}, "at '/replicas': got string, want integer"),
            ({"replicas": -1}, "at '/replicas': minimum: got -1, want 0"),
            ({"service": {"port": 70000}}, "at '/service/port': maximum: got 70,000, want 65,535"),
            ({"service": {"type": "Ingress"}}, "at '/service/type': value must be one of"),
            ({"image": {"digest": "latest"}}, "at '/image/digest': 'latest' does not match pattern"),
            ({"commonLabels": {"a": 1}}, "at '/commonLabels/a': got number, want string"),
            ({"secret": {"file": {}}}, "at '/secret': additional properties 'file' not allowed"),
            ({"secret": {"files": {"a/b": "c"}}}, "at '/secret/files': additional properties 'a/b' not allowed"),
            ({"configMap": {"files": {f"{NAME}.yml": ""}}}, f"at '/configMap/files/{NAME}.yml'"),
            ({"web": {"secrets": "web"}}, "at '/web/secrets': got string, want array"),
            ({"runbookUrl": "runbooks"}, "at '/runbookUrl': 'runbooks' does not match pattern"),
            ({"config": {"cluster": []}}, "at '/config': additional properties 'cluster' not allowed"),
            ({"config": {"clusters": {}}}, "at '/config/clusters': got object, want"),
            (cluster(url="a"), "at '/config/clusters/0/url': 'a' does not match pattern"),
            (cluster(urls="a"), "at '/config/clusters/0': additional properties 'urls' not allowed"),
            (cluster(poll_interval=60), "at '/config/clusters/0/poll_interval': got number, want"),
            (cluster(labels={"job": "a"}), "invalid propertyName 'job'"),
            (cluster(labels={"cost_centre": 815}), "at '/config/clusters/0/labels/cost_centre': got number, want string"),
            (cluster(login={"username": "a", "password_file": "/b"}), "at '/config/clusters/0': 'not' failed"),
            (cluster(authorization={"credentials_file": "t"}),
             "config: the cluster a: authorization.credentials_file must be a whole path: the files of the Secret are in "
             "/run/secrets/qumulo/"),
            ({"config": {"global": {"login": {"username": "a", "password_file": "b"}}}},
             "config: global: login.password_file must be a whole path"),
        ):
            self.assertIn(message, self.refused(values))

    def test_a_secret_in_the_wrong_place_is_not_repeated(self):
        for keys in (
            {"authorization": "hunter2"}, {"authorization": {"credentials": "hunter2"}},
            {"authorization": {"credentials_file": "hunter2"}}, {"authorization": ["hunter2"]},
            {"login": {"username": "a", "password": "hunter2"}}, {"login": {"username": "a", "password_file": "hunter2"}},
            {"proxy_url": "http://a:1", "authorization": {"credentials_file": "/a"},
             "proxy_authorization": {"username": "a", "password_file": "hunter2"}},
        ):
            self.assertNotIn("hunter2", self.refused({"config": {"clusters": [{"name": "a", "url": "https://a", **keys}]}}))


if __name__ == "__main__":
    unittest.main()
