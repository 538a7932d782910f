"""Files in deploy/: the example configuration, schemas, Kubernetes objects, the compose stack."""

import json
import pathlib
import re
import subprocess
import unittest

from support import EXPORTER, GENERATIONS, ROOT, VENVS, Case, run

NAME = "qumulo-encryption-exporter"
EXAMPLE = ROOT / f"deploy/example/{NAME}.yml"


class Examples(Case):
    def test_the_example_configuration_is_good(self):
        copy = self.folder / EXAMPLE.name
        copy.write_text(EXAMPLE.read_text())
        (self.folder / "prod-east.token").write_text("token")
        self.assertIn("is good: 1 cluster\n", run(EXPORTER, "check-config", copy))

    def test_the_kubernetes_example_differs_only_in_the_paths_of_secrets(self):
        text = (EXAMPLE.parent / f"kubernetes/{NAME}.yml").read_text()
        self.assertEqual(text.replace("/run/secrets/qumulo/", ""), EXAMPLE.read_text())


# Bad configurations that a schema cannot reject, and why.
BEYOND_A_SCHEMA = {
    "stale_too_soon": "compares durations with each other",
}


class Schema(Case):
    def rejected(self, paths, schema="config"):
        """The files that the schema rejects."""
        paths = list(paths)
        self.assertGreater(len(paths), 0)
        report = json.loads(run(VENVS / "deploy/bin/check-jsonschema", "--output-format=json", "--schemafile",
                                ROOT / f"deploy/{schema}.schema.json", *paths, check=False))
        rejected = {pathlib.Path(error["filename"]) for error in report["errors"] + report.get("parse_errors", [])}
        self.assertLessEqual(rejected, set(paths))
        return rejected

    def test_the_schema_rejects_what_the_program_rejects(self):
        folder = ROOT / "tests/config"
        self.assertEqual(self.rejected((folder / "good").glob("*.yml")), set())
        self.assertEqual(self.rejected((folder / "good/split.d").glob("*.yml"), "cluster-file"), set())
        bad = set((folder / "bad").glob("*.yml"))
        self.assertEqual({path.stem for path in bad - self.rejected(bad)}, set(BEYOND_A_SCHEMA))

    def test_single_mistakes_are_rejected_by_both(self):
        """One mistake at a time in a file that is good otherwise."""
        good = "clusters:\n- name: a\n  url: https://a\n  authorization: {credentials_file: t}\n"
        mistakes = {}
        for number, mistake in enumerate((
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
        )):
            path = self.folder / f"{number}.yml"
            path.write_text(mistake)
            program = subprocess.run([EXPORTER, "check-config", path], capture_output=True, text=True)
            self.assertNotEqual(program.returncode, 0, mistake)
            mistakes[path] = mistake
        rejected = self.rejected(mistakes)
        accepted = [mistake.removeprefix(good).strip() for path, mistake in mistakes.items() if path not in rejected]
        # A schema cannot compare durations.
        self.assertEqual(accepted, ["poll_interval: 500ms", "poll_timeout: 0s", "poll_interval: 2d", "poll_timeout: 2m"])


class Orchestrators(Case):
    def test_kubernetes_objects_are_valid(self):
        folder = ROOT / "deploy/kubernetes"
        own = [folder / f"{kind}.yaml" for kind in (
            "namespace", "dashboards", "deployment", "service", "serviceaccount", "networkpolicy", "poddisruptionbudget")]
        run(VENVS / "deploy/bin/kubernetes-validate", "--strict", *own)
        named = set(re.findall(r"^  - (\S+\.yaml)$", (folder / "kustomization.yaml").read_text(), re.M))
        self.assertEqual(named, {path.name for path in folder.glob("*.yaml")} - {"kustomization.yaml"})

    def test_kubernetes_copies_of_rules_and_dashboards_are_current(self):
        paths = [ROOT / f"deploy/kubernetes/{kind}.yaml" for kind in ("prometheusrule", "dashboards")]
        before = [path.read_text() for path in paths]
        run(ROOT / "deploy/kubernetes/build")
        self.assertEqual([path.read_text() for path in paths], before, "run deploy/kubernetes/build")
        rules = self.folder / "rules.yml"
        rules.write_text(re.sub(r"^  ", "", before[0].split("spec:\n")[1], flags=re.M))
        for one in GENERATIONS:
            run(one.promtool, "check", "rules", rules)

    def test_the_collector_scrapes_as_prometheus_does(self):
        """The Collector is not available here. Its scrape configuration is that of the example, and its pipeline uses all parts."""
        load = "import json, sys, yaml; print(json.dumps([yaml.safe_load(open(path)) for path in sys.argv[1:]]))"
        collector, scrape = json.loads(run(VENVS / "deploy/bin/python", "-c", load, ROOT / "deploy/opentelemetry/collector.yml",
                                           ROOT / "deploy/prometheus/scrape-metrics.yml"))
        self.assertEqual(collector["receivers"]["prometheus"]["config"], scrape)
        pipeline = collector["service"]["pipelines"]["metrics"]
        for kind in ("receivers", "processors", "exporters"):
            self.assertEqual(pipeline[kind], list(collector[kind]))

    def test_the_compose_stack_has_the_versions_that_are_tested(self):
        images = dict(re.findall(r"^    image: (\S+):v?(\S+)$", (ROOT / "deploy/compose/compose.yml").read_text(), re.M))
        parts = dict(re.findall(r"\b(prometheus|alertmanager) v(\S+) ", (ROOT / ".ci/parts").read_text()))
        drawn = json.loads((ROOT / "tests/dashboard-preview/package.json").read_text())["dependencies"]["@grafana/ui"]
        # Prometheus 3.16.0 is the module v0.316.0.
        major, minor = divmod(int(parts["prometheus"].split(".")[1]), 100)
        self.assertEqual(images, {"prom/prometheus": f"{major}.{minor}.{parts['prometheus'].split('.')[2]}",
                                  "prom/alertmanager": parts["alertmanager"], "grafana/grafana": drawn})

    def test_every_image_of_rust_is_the_same(self):
        files = (ROOT / "deploy/container/Containerfile", *(ROOT / ".github/workflows").glob("*.yml"))
        tags = {tag for path in files for tag in re.findall(r"rust:(\S+)", path.read_text())}
        self.assertEqual(len(tags), 1, tags)
        self.assertRegex(tags.pop(), r"^\d+\.\d+\.\d+-")

    def test_the_compose_stack_is_valid(self):
        path = ROOT / "deploy/compose/compose.yml"
        run(VENVS / "deploy/bin/check-jsonschema", "--builtin-schema", "vendor.compose-spec", path)
        for source in re.findall(r"^      - (\.\S+?):", path.read_text(), re.M):
            self.assertTrue((path.parent / source).exists(), source)
        copy = self.folder / "prometheus.yml"
        copy.write_text((path.parent / "prometheus.yml").read_text())
        (self.folder / "alerts.yml").write_text((ROOT / "deploy/prometheus/alerts.yml").read_text())
        for one in GENERATIONS:
            run(one.promtool, "check", "config", copy)


if __name__ == "__main__":
    unittest.main()
