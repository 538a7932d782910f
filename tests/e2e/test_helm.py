"""The Helm chart, without Kubernetes."""

import json
import re
import subprocess
import tarfile
import textwrap
import tomllib
import unittest

from chart import BASE, CHART, EVERYTHING, MATRIX, NAME, OPERATOR, OVERLAY, documents, helm, one, rendered, written
from support import CURRENT, EXPORTER, PARTS, ROOT, VENVS, Case, run, self_signed

EXAMPLE = ROOT / "deploy/example/helm.yaml"
# Copies in the chart, and their sources.
COPIES = {CHART / "LICENSE": "LICENSE", CHART / "files/alerts.yml": "deploy/prometheus/alerts.yml"} | {
    CHART / "files/dashboards" / path.name: path for path in (ROOT / "dashboards").glob("*.json")}
# The settings of chart-testing (etc/lintconf.yaml), without the limit of the line length.
YAMLLINT = """
rules:
  braces: {min-spaces-inside: 0, max-spaces-inside: 0, min-spaces-inside-empty: -1, max-spaces-inside-empty: -1}
  brackets: {min-spaces-inside: 0, max-spaces-inside: 0, min-spaces-inside-empty: -1, max-spaces-inside-empty: -1}
  colons: {max-spaces-before: 0, max-spaces-after: 1}
  commas: {max-spaces-before: 0, min-spaces-after: 1, max-spaces-after: 1}
  comments: {require-starting-space: true, min-spaces-from-content: 1}
  document-end: disable
  document-start: disable
  empty-lines: {max: 2, max-start: 0, max-end: 0}
  hyphens: {max-spaces-after: 1}
  indentation: {spaces: consistent, indent-sequences: whatever, check-multi-line-strings: false}
  key-duplicates: enable
  new-line-at-end-of-file: enable
  new-lines: {type: unix}
  trailing-spaces: enable
  truthy: {level: error}
"""
# The YAML examples in the README. All but one are values.
BLOCKS = [textwrap.dedent(block) for block in
          re.findall(r"^ *```yaml\n(.*?)^ *```", (CHART / "README.md").read_text(), re.M | re.S)]
# The addresses that a user of kustomize has to replace.
LINKS = {"externalUrl": "https://exporter.example.com", "runbookUrl": "https://runbooks.example.com"}
# Labels that Helm adds to objects and selectors, unlike kustomize.
OF_HELM = {"app.kubernetes.io/instance", "app.kubernetes.io/managed-by", "app.kubernetes.io/version", "helm.sh/chart"}


def everything(folder):
    """EVERYTHING, with a real certificate."""
    values = json.loads(json.dumps(EVERYTHING))
    _, certificate = self_signed(folder, "example-ca")
    values["configMap"]["files"]["example-ca.pem"] = certificate.read_text()
    return values


class Files(Case):
    def test_the_versions_are_those_of_the_program(self):
        version = tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]["version"]
        [chart] = documents((CHART / "Chart.yaml").read_text())
        self.assertEqual((chart["version"], chart["appVersion"]), (version, version))
        self.assertIn(f"image: {NAME}:{version}\n", (BASE / "deployment.yaml").read_text())
        self.assertIn(f"newTag: {version}\n", (OVERLAY / "kustomization.yaml").read_text())

    def test_generated_files_are_current(self):
        paths = [CHART / "values.schema.json", CHART / "README.md", *COPIES]
        before = [path.read_text() for path in paths]
        run(CHART.parent / "build")
        self.assertEqual([path.read_text() for path in paths], before, "run deploy/helm/build")
        self.assertEqual(set((CHART / "files").rglob("*.*")) | {CHART / "LICENSE"}, set(COPIES))
        for copy, source in COPIES.items():
            self.assertEqual(copy.read_text(), (ROOT / source).read_text())

    def test_nothing_that_is_deployed_is_a_symbolic_link(self):
        """Flux ignores symbolic links in Git."""
        listed = run("git", "-C", ROOT, "ls-files", "--stage", "deploy", "dashboards")
        self.assertEqual([line for line in listed.splitlines() if line.startswith("120000")], [])

    def test_the_schema_knows_exactly_the_values(self):
        [values] = documents((CHART / "values.yaml").read_text())
        known = json.loads((CHART / "values.schema.json").read_text())["properties"]
        self.assertEqual(set(known) - {"global"}, set(values))
        for name, section in known.items():
            if section.get("additionalProperties") is False:
                self.assertEqual(set(section["properties"]), set(values[name]), name)

    def test_every_value_has_a_description(self):
        [values] = documents((CHART / "values.yaml").read_text())
        described = set(re.findall(r"^\| `([\w.]+)` \|", (CHART / "README.md").read_text(), re.M))
        sections = {name for name in values if any(each.startswith(f"{name}.") for each in described)}
        expected = {name for name in values if name not in sections} - {"deployment", "pod"}
        expected |= {f"{name}.{key}" for name in sections for key in values[name] if key not in ("labels", "annotations")}
        self.assertEqual(described, expected)

    def test_linters_accept_it(self):
        # The checks of `ct lint`. chart-testing itself is not available as a package.
        run(VENVS / "deploy/bin/yamllint", "--strict", "--config-data", YAMLLINT, CHART / "Chart.yaml", CHART / "values.yaml", EXAMPLE)
        helm(self.folder, "lint", "--strict", CHART)

    def test_the_package_holds_the_rules_and_dashboards(self):
        helm(self.folder, "package", CHART, "--destination", self.folder)
        [package] = self.folder.glob("*.tgz")
        helm(self.folder, "lint", "--strict", package)
        with tarfile.open(package) as archive:
            packaged = {member.name.removeprefix(f"{NAME}/"): archive.extractfile(member).read().decode()
                        for member in archive.getmembers()}
        for path in COPIES:
            self.assertEqual(packaged[str(path.relative_to(CHART))], path.read_text())
        self.assertEqual(documents(rendered(self.folder, chart=package)), documents(rendered(self.folder)))


class Kustomize(Case):
    def comparable(self, text):
        """Objects by kind and name, without permitted differences: Helm's labels, the formatting of the configuration, and the
        namespace, which Helm does not create."""
        def plain(value):
            if isinstance(value, dict):
                return {key: plain(each) for key, each in value.items() if key not in OF_HELM}
            return [plain(each) for each in value] if isinstance(value, list) else value

        objects = {(each["kind"], each["metadata"]["name"]): plain(each) for each in documents(text)}
        objects.pop(("Namespace", NAME), None)
        data = objects["ConfigMap", NAME]["data"]
        data[f"{NAME}.yml"] = documents(data[f"{NAME}.yml"])
        boards = objects["ConfigMap", f"{NAME}-dashboards"]["data"]
        boards.update({name: json.loads(text) for name, text in boards.items()})
        return objects

    def assert_equal(self, values, folder):
        # The base refers to an optional Secret of this name.
        secret = {"existingSecrets": [{"name": NAME, "optional": True}]}
        chart = self.comparable(rendered(self.folder, *values, LINKS, secret))
        base = self.comparable(run(PARTS / "kubectl", "kustomize", folder))
        self.assertEqual(set(chart), set(base))
        self.maxDiff = None
        for name in base:
            self.assertEqual(chart[name], base[name], name)

    def test_default_values_are_the_base(self):
        self.assert_equal([], BASE)

    def test_the_example_values_are_the_example_overlay(self):
        self.assert_equal([EXAMPLE], OVERLAY)

    def test_the_components_are_values(self):
        overlay = self.folder / "overlay"
        overlay.mkdir()
        # kustomize does not accept absolute paths.
        root = "../" * (len(overlay.resolve().parts) - 1)
        for component, values in (
            ("openshift", {"openshift": True}),
            ("without-operator", {"serviceMonitor": {"enabled": False}, "prometheusRule": {"enabled": False}}),
        ):
            (overlay / "kustomization.yaml").write_text(json.dumps({
                "resources": [f"{root}{OVERLAY}"], "components": [f"{root}{BASE}/{component}"]}))
            self.assert_equal([EXAMPLE, values], overlay)


class Rules(Case):
    def groups(self, values):
        return one(documents(rendered(self.folder, values)), "PrometheusRule")["spec"]["groups"]

    def test_default_rules(self):
        [expected] = documents((ROOT / "deploy/prometheus/alerts.yml").read_text())
        self.assertEqual(self.groups(LINKS), expected["groups"])

    def test_alerts_can_be_changed(self):
        def alerts(values):
            return [rule for group in self.groups(values) for rule in group["rules"] if "alert" in rule]

        def named(rules, name):
            return [rule for rule in rules if rule["alert"] == f"QumuloEncryption{name}"]

        before = alerts({})
        after = alerts({"prometheusRule": {"alertLabels": {"team": "storage", "severity": "other"}, "alerts": {
            "QumuloEncryptionExcessPrivileges": {"enabled": False},
            "QumuloEncryptionKeyTooOld": {"severity": "info", "for": "1d"},
            "QumuloEncryptionKmsUnusable": {"for": "10m", "critical": {"for": "2h", "severity": "page"}},
            "QumuloEncryptionClusterNotPolled": {"warning": {"enabled": False}},
        }}})
        self.assertEqual(len(before) - len(after), 2)
        self.assertEqual({rule["labels"]["team"] for rule in after}, {"storage"})
        self.assertEqual(named(after, "ExcessPrivileges"), [])
        [rule] = named(after, "KeyTooOld")
        self.assertEqual((rule["labels"]["severity"], rule["for"]), ("info", "1d"))
        warning, critical = named(after, "KmsUnusable")
        self.assertEqual((warning["labels"]["severity"], warning["for"]), ("warning", "10m"))
        self.assertEqual((critical["labels"]["severity"], critical["for"]), ("page", "2h"))
        [rule] = named(after, "ClusterNotPolled")
        self.assertEqual(rule["labels"]["severity"], "critical")
        self.assertEqual([rule["expr"] for rule in after], [rule["expr"] for rule in before if rule["expr"] in
                                                            {rule["expr"] for rule in after}])

    def test_another_job_and_another_label_for_clusters(self):
        """The tests of the rules pass with both names changed in rules and series."""
        rules = self.folder / "rules.yml"
        rules.write_text(json.dumps({"groups": self.groups({"scrapeJob": "storage/qumulo", "clusterLabel": "qumulo_cluster"})}))
        text = (ROOT / "tests/rules/alerts.test.yml").read_text().replace("../../deploy/prometheus/alerts.yml", "rules.yml")
        scenarios = self.folder / "rules.test.yml"
        scenarios.write_text(re.sub(r"\bcluster(?=[=,)])", "qumulo_cluster", text).replace(
            'job="qumulo-encryption"', 'job="storage/qumulo"'))
        run(CURRENT.promtool, "test", "rules", scenarios)


class Values(Case):
    def test_every_set_of_values_gives_valid_objects(self):
        for name, values in MATRIX.items():
            with self.subTest(name):
                values = everything(self.folder) if values is EVERYTHING else values
                helm(self.folder, "lint", "--strict", CHART, "--values", written(self.folder, values))
                text = rendered(self.folder, values)
                core = [each for each in documents(text) if not re.match(r"monitoring\.|gateway\.", each["apiVersion"])]
                path = self.folder / "core.yaml"
                path.write_text("\n---\n".join(json.dumps(each) for each in core))
                # The newest, and the oldest that Chart.yaml allows.
                for version in ([], ["--kubernetes-version=1.27"]):
                    run(VENVS / "deploy/bin/kubernetes-validate", "--strict", *version, path)

    def test_every_value_has_an_effect(self):
        objects = documents(rendered(self.folder, everything(self.folder), release="prod"))
        extra = [each["metadata"]["name"] for each in objects if "labels" not in each["metadata"]]
        self.assertEqual(sorted(extra), [f"prod-{NAME}-more", "prod-text"])
        objects = [each for each in objects if each["metadata"]["name"] not in extra]
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
        sources = {volume["name"]: [source["secret"] for source in volume["projected"]["sources"]]
                   for volume in pod["volumes"] if "projected" in volume}
        self.assertEqual(sources, {"credentials": [{"name": "tokens"}, EVERYTHING["existingSecrets"][1],
                                                   {"name": f"prod-{NAME}"}],
                                   "web": [{"name": "exporter-web"}, {"name": "exporter-tls"}]})
        self.assertEqual(pod["securityContext"]["supplementalGroups"], [1234])
        self.assertNotIn("runAsGroup", pod["securityContext"])
        self.assertEqual(pod["serviceAccountName"], "exporter")
        for key in ("nodeSelector", "tolerations", "affinity", "priorityClassName", "imagePullSecrets", "hostAliases", "dnsPolicy",
                    "dnsConfig"):
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
        self.assertEqual([(each["targetLabel"], each["replacement"]) for each in endpoint["relabelings"]],
                         [("job", "storage/qumulo"), ("site", "berlin")])
        self.assertEqual([each.get("targetLabel", each.get("regex")) for each in endpoint["metricRelabelings"]],
                         ["qumulo_cluster", "cluster"])
        rules = json.dumps(one(objects, "PrometheusRule"))
        self.assertIn("https://exporter.example.com/runbooks/QumuloEncryptionKeyNotFound", rules)
        self.assertNotIn("runbooks.example.com", rules + json.dumps(one(objects, "ConfigMap", "-dashboards")))
        backend = one(objects, "Ingress")["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
        self.assertEqual(backend, {"name": f"prod-{NAME}", "port": {"name": "metrics"}})
        self.assertEqual(one(objects, "HTTPRoute")["spec"]["rules"], [{"backendRefs": [{"name": f"prod-{NAME}", "port": 80}]}])

    def test_a_heading_without_keys_counts_as_not_set(self):
        def plain(text):
            return sorted(documents(text), key=lambda each: (each["kind"], each["metadata"]["name"]))

        [values] = documents((CHART / "values.yaml").read_text())
        default = plain(rendered(self.folder))
        paths = [[name] for name in values]
        paths += [[name, key] for name, section in values.items() if isinstance(section, dict) for key in section]
        # In these, null removes a single default.
        removed = ("podSecurityContext", "securityContext", "resources")
        for path in paths:
            with self.subTest(path):
                without = None
                for name in reversed(path):
                    without = {name: without}
                objects = plain(rendered(self.folder, without))
                if path[0] not in removed or path == ["podSecurityContext"] or path == ["securityContext"]:
                    self.assertEqual(objects, default)
        everything = plain(rendered(self.folder, {name: None for name in values if name != "resources"}))
        self.assertEqual(everything, default)

    def test_null_is_empty_below_every_heading(self):
        def nulls(value, path=()):
            """The paths to all keys of maps."""
            for key, each in value.items() if isinstance(value, dict) else []:
                yield (*path, key)
                yield from nulls(each, (*path, key))

        values = everything(self.folder)
        # The contents of these are checked by Kubernetes or by the program.
        free = ("config", "affinity", "dnsConfig", "extraObjects")
        for path in nulls({name: each for name, each in values.items() if name not in free}):
            with self.subTest(path):
                changed = json.loads(json.dumps(values))
                place = changed
                for name in path[:-1]:
                    place = place[name]
                place[path[-1]] = None
                # An ingress needs a host, a route needs a host and gateways.
                if path in (("ingress", "host"), ("httpRoute", "host"), ("httpRoute", "parentRefs")):
                    self.assertIn(".".join(path), self.refused(changed))
                else:
                    self.assertGreater(len(documents(rendered(self.folder, changed))), 10)
        for config in (None, {}, {"clusters": None}, {"global": None}, {"clusters": [], "cluster_files": None}):
            data = one(documents(rendered(self.folder, {"config": config})), "ConfigMap", NAME)["data"]
            (self.folder / "none.yml").write_text(data[f"{NAME}.yml"])
            self.assertIn("is good: 0 clusters", run(EXPORTER, "check-config", self.folder / "none.yml"))

    def test_objects_of_the_operator_are_there_where_their_types_are(self):
        def kinds(apis, enabled=None):
            values = {name: {"enabled": enabled} for name in ("serviceMonitor", "prometheusRule")}
            objects = documents(rendered(self.folder, values, apis=apis))
            return {each["kind"] for each in objects} & {"ServiceMonitor", "PrometheusRule"}

        self.assertEqual(kinds([]), set())
        self.assertEqual(kinds(OPERATOR), {"ServiceMonitor", "PrometheusRule"})
        self.assertEqual(kinds(OPERATOR[:1]), {"ServiceMonitor"})
        self.assertEqual(kinds(OPERATOR, False), set())
        self.assertEqual(kinds([], True), {"ServiceMonitor", "PrometheusRule"})

    def test_the_schema_accepts_numbers_where_the_program_does(self):
        for number, text in ((111111, "111111"), (12345678901, "12345678901"), (1.5, "1.5"), (True, "true"), (0, "0")):
            cluster = {"name": number, "url": "https://a", "login": {"username": number, "password_file": "/b"},
                       "labels": {"asset": number}}
            data = one(documents(rendered(self.folder, {"config": {"clusters": [cluster]}})), "ConfigMap", NAME)["data"]
            path = self.folder / "numbers.yml"
            path.write_text(data[f"{NAME}.yml"].replace("/b", str(path)))
            self.assertIn(f"name: {text}\n", path.read_text())
            self.assertIn("is good: 1 cluster\n", run(EXPORTER, "check-config", path))

    def test_links(self):
        ingress = {"enabled": True, "host": "exporter.example.com"}
        for values, place in (
            ({}, f"http://{NAME}.{NAME}.svc:10979/runbooks"),
            ({"service": {"port": 80}, "fullnameOverride": "short"}, f"http://short.{NAME}.svc:80/runbooks"),
            ({"ingress": ingress}, "http://exporter.example.com/runbooks"),
            ({"ingress": ingress | {"tls": [{"hosts": ["exporter.example.com"]}]}}, "https://exporter.example.com/runbooks"),
            ({"httpRoute": {"enabled": True, "host": "a.example.com", "parentRefs": [{"name": "g"}]}},
             "https://a.example.com/runbooks"),
            ({"ingress": ingress, "externalUrl": "https://b.example.com/q/"}, "https://b.example.com/q/runbooks"),
            ({"ingress": ingress, "runbookUrl": "https://wiki.example.com/qumulo/"}, "https://wiki.example.com/qumulo"),
        ):
            objects = documents(rendered(self.folder, values))
            links = {rule["annotations"]["runbook_url"] for group in one(objects, "PrometheusRule")["spec"]["groups"]
                     for rule in group["rules"] if "alert" in rule}
            self.assertEqual({link.rsplit("/", 1)[0] for link in links}, {place}, values)
            text = json.dumps(objects)
            self.assertNotIn("runbooks.example.com", text)
            if "exporter.example.com" not in json.dumps(values):
                self.assertNotIn("exporter.example.com", text)

    def test_three_clusters_in_less_than_ten_lines(self):
        """The values of the README, with tokens in one Secret."""
        block = next(block for block in BLOCKS if "{name}" in block)
        self.assertLess(len(block.splitlines()), 10)
        objects = documents(rendered(self.folder, *documents(block)))
        volume = next(each for each in one(objects, "Deployment")["spec"]["template"]["spec"]["volumes"]
                      if each["name"] == "credentials")
        self.assertEqual(volume["secret"]["secretName"], "qumulo-tokens")
        path = self.folder / f"{NAME}.yml"
        path.write_text(one(objects, "ConfigMap", NAME)["data"][f"{NAME}.yml"].replace("/run/secrets/qumulo", str(self.folder)))
        for name in ("prod-east", "prod-west", "lab"):
            (self.folder / name).write_text(name)
        self.assertIn("is good: 3 clusters\n", run(EXPORTER, "check-config", path))

    def test_every_example_of_the_page_is_accepted(self):
        examples = [block for block in BLOCKS if "tls_server_config" not in block]
        self.assertGreater(len(examples), 7)
        for block in examples:
            rendered(self.folder, *documents(block))

    def test_the_program_accepts_the_configuration(self):
        for name, values in MATRIX.items():
            with self.subTest(name):
                values = everything(self.folder) if values is EVERYTHING else values
                objects = documents(rendered(self.folder, values))
                config = next(each["data"] for each in objects if f"{NAME}.yml" in each.get("data", {}))
                for file, text in config.items():
                    (self.folder / file).write_text(re.sub("/run/secrets/qumulo|/vault/secrets", str(self.folder), text))
                for file in ("a", *values.get("secret", {}).get("files", {})):
                    (self.folder / file).write_text("secret")
                    (self.folder / file).chmod(0o440)
                output = run(EXPORTER, "check-config", self.folder / f"{NAME}.yml")
                expected = 4 if name == "everything" else len(values.get("config", {}).get("clusters", []))
                self.assertIn(f"is good: {expected} cluster", output)

    def refused(self, values):
        command = [PARTS / "helm", "template", NAME, CHART, *OPERATOR, f"--values={written(self.folder, values)}"]
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
            ({"replicas": "two"}, "at '/replicas': got string, want null or integer"),
            ({"replicas": -1}, "at '/replicas': minimum: got -1, want 0"),
            ({"service": {"port": 70000}}, "at '/service/port': maximum: got 70,000, want 65,535"),
            ({"service": {"type": "Ingress"}}, "at '/service/type': value must be one of"),
            ({"image": {"digest": "latest"}}, "at '/image/digest': 'latest' does not match pattern"),
            ({"commonLabels": {"a": 1}}, "at '/commonLabels/a': got number, want null or string"),
            ({"secret": {"file": {}}}, "at '/secret': additional properties 'file' not allowed"),
            ({"existingSecrets": "tokens"}, "at '/existingSecrets': got string, want null or array"),
            ({"existingSecrets": [{"secret": "tokens"}]}, "at '/existingSecrets/0'"),
            ({"prometheusRule": {"alerts": {"QumuloEncryptionKeyLost": {"for": "1h"}}}},
             "prometheusRule.alerts: there is no alert QumuloEncryptionKeyLost"),
            ({"prometheusRule": {"alerts": {"QumuloEncryptionKeyTooOld": {"for": "1 hour"}}}},
             "at '/prometheusRule/alerts/QumuloEncryptionKeyTooOld/for': '1 hour' does not match pattern"),
            ({"ingress": {"enabled": True}}, "ingress.host: set the host name"),
            ({"secret": {"files": {"a/b": "c"}}}, "at '/secret/files': additional properties 'a/b' not allowed"),
            ({"configMap": {"files": {f"{NAME}.yml": ""}}}, f"at '/configMap/files/{NAME}.yml'"),
            ({"web": {"existingSecrets": "web"}}, "at '/web/existingSecrets': got string, want null or array"),
            ({"runbookUrl": "runbooks"}, "at '/runbookUrl': 'runbooks' does not match pattern"),
            ({"config": {"cluster": []}}, "at '/config': additional properties 'cluster' not allowed"),
            ({"config": {"clusters": {}}}, "at '/config/clusters': got object, want"),
            (cluster(url="a"), "at '/config/clusters/0/url': 'a' does not match pattern"),
            (cluster(urls="a"), "at '/config/clusters/0': additional properties 'urls' not allowed"),
            (cluster(poll_interval=60), "at '/config/clusters/0/poll_interval': got number, want"),
            (cluster(labels={"job": "a"}), "invalid propertyName 'job'"),
            (cluster(login={"username": "a", "password_file": "/b"}), "at '/config/clusters/0': 'not' failed"),
            (cluster(authorization={"credentials_file": "t"}),
             "config: the cluster a: authorization.credentials_file must be an absolute path; files of Secrets are in "
             "/run/secrets/qumulo/"),
            ({"config": {"global": {"login": {"username": "a", "password_file": "b"}}}},
             "config: global: login.password_file must be an absolute path"),
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
