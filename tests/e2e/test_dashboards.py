"""The dashboards: well made, and every query answered by a real Prometheus."""

import json
import re
import subprocess
import time
import unittest
import urllib.parse

from support import EXPORTER, ROOT, Case, get, impatient, metrics, wait_for

FOLDER = ROOT / "dashboards"
BOARDS = {path.stem: json.loads(path.read_text()) for path in FOLDER.glob("*.json")}

# Queries that have nothing to answer on the demonstration, with the reason.
EMPTY = {"qumulo_encryption_exporter_listener_certificate_expiry_timestamp_seconds": "it has no TLS",
         'alertstate="firing", cluster=""': "no alert that is about no cluster fires",
         'certificate="kms_server"': "probe_kms is off", "qumulo_encryption_kms_reachable": "probe_kms is off",
         "qumulo_encryption_access_token_expiry_timestamp_seconds": "its tokens do not expire"}

# Served, and deliberately on no panel: what every exporter has, a dashboard of processes shows.
ABSENT = ("process_max_fds", "process_virtual_memory_bytes", "process_virtual_memory_max_bytes")

# The queries of one number whose colour says what it is: one of them answers.
BANDS = ("Critical", "Warning", "Old", "Good", "Rest")


def queries(board):
    for panel in board["panels"]:
        targets = {target["refId"]: target["expr"] for target in panel["targets"]}
        bands = [targets.pop(name) for name in BANDS if name in targets] if panel["type"] == "stat" else []
        for expression in targets.values():
            yield panel["title"], expression
        if bands:
            yield panel["title"], " or ".join(f"({band})" for band in bands)
    for annotation in board["annotations"]["list"]:
        yield annotation["name"], annotation["expr"].split(" > ")[0]


class Dashboards(Case):
    def test_they_are_what_the_builder_writes(self):
        before = {name: (FOLDER / f"{name}.json").read_text() for name in BOARDS}
        subprocess.run([FOLDER / "build"], check=True)
        for name, text in before.items():
            self.assertEqual((FOLDER / f"{name}.json").read_text(), text)

    def test_they_are_well_made(self):
        readme = (ROOT / "README.md").read_text()
        self.assertEqual(len({board["uid"] for board in BOARDS.values()}), len(BOARDS))
        runbooks = re.search(r"runbook_url: (https://[^/]+)/", (ROOT / "deploy/prometheus/alerts.yml").read_text())[1]
        for board in BOARDS.values():
            self.assertIn(runbooks, [link.get("url") for link in board["links"]])
            panels = board["panels"]
            for key in ("id", "title"):
                self.assertEqual(len({panel[key] for panel in panels}), len(panels), key)
            taken = set()
            for panel in panels:
                with self.subTest(panel["title"]):
                    place = panel["gridPos"]
                    self.assertLessEqual(place["x"] + place["w"], 24)
                    cells = {(x, y) for x in range(place["x"], place["x"] + place["w"])
                             for y in range(place["y"], place["y"] + place["h"])}
                    self.assertEqual(cells & taken, set(), "panels overlap")
                    taken |= cells
                    self.assertGreater(len(panel["description"]), 15)
                    defaults = panel["fieldConfig"]["defaults"]
                    self.assertTrue(defaults["unit"] and defaults["thresholds"]["steps"] and defaults["noValue"])
                    self.assertIn(f"**{panel['title']}**", readme)
                    references = [target["refId"] for target in panel["targets"]]
                    self.assertEqual(len(set(references)), len(references))
                    for part in [panel, *panel["targets"]]:
                        self.assertEqual(part["datasource"]["uid"], "${datasource}")
                    for target in panel["targets"]:
                        # What is known of a cluster does not depend on who tells it; one name is one cluster, dots or not.
                        if board["uid"] != "qumulo-encryption-exporter":
                            series = re.sub(r"up\{job=\S+\}|label_join\(.*|bottomk by \(.*?\)", "", target["expr"])
                            self.assertNotRegex(series, r"\b(job|instance)\b")
                        self.assertNotIn('=~"$', target["expr"])
            for uid in re.findall(r"/d/([\w-]+)", json.dumps(board)):
                self.assertIn(uid, {each["uid"] for each in BOARDS.values()})

    def ask(self, fleet, *clusters):
        """{(board, panel, query): the number of series in the answer}, over some clusters."""
        path = self.folder / "fleet.yml"
        path.write_text(fleet)
        demo = self.exporter("demo", "--fleet", path)
        wait_for(lambda: get(demo.url + "/-/ready")[0] == 200, "every cluster was polled")
        config = self.folder / "prometheus.yml"
        rules = self.folder / "alerts.yml"
        rules.write_text(impatient((ROOT / "deploy/prometheus/alerts.yml").read_text()))
        config.write_text(f"global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: ['{rules}']\nscrape_configs:\n- job_name: qumulo-encryption\n"
                          f"  honor_labels: true\n  static_configs: [{{targets: ['{demo.url.removeprefix('http://')}']}}]\n")
        url = self.run_prometheus(config)

        def query(expression, cluster=""):
            expression = expression.replace("$cluster", cluster).replace("$__range", "1h")
            try:
                status, _, body = get(f"{url}/api/v1/query?" + urllib.parse.urlencode({"query": expression}))
            except OSError:
                return -1
            self.assertEqual(status, 200, f"{expression}: {body}")
            return len(json.loads(body)["data"]["result"])

        wait_for(lambda: query("rate(qumulo_encryption_polls_total[5m])") > 0 and query("cluster:qumulo_encryption:known") > 0
                 and query('rate(qumulo_encryption_poll_failures_total[5m]) > 0 or absent(ALERTS{alertname="QumuloEncryptionClusterNotPolled"})') > 0,
                 "there is something to see", seconds=40)
        time.sleep(3)
        self.served = {series.split("{")[0] for series in metrics(demo.url)}
        answers = {}
        for name, board in BOARDS.items():
            for title, expression in queries(board):
                answers[name, title, expression] = sum(query(expression, cluster) for cluster in clusters)
        return answers

    def test_every_query_answers(self):
        fleet = subprocess.run([EXPORTER, "simulate", "--print-fleet"], capture_output=True, text=True, check=True).stdout
        # A cluster with a KMS, one that fails, and one with a bad date, for the queries about each.
        answers = self.ask(fleet, "media-paris", "edge-oslo", "lab-2")
        for (name, title, expression), count in answers.items():
            why = next((why for metric, why in EMPTY.items() if metric in expression), None)
            with self.subTest(f"{name}: {title}"):
                self.assertEqual(count == 0, why is not None, expression)
        shown = " ".join(expression for _, _, expression in answers)
        for metric in self.served:
            if metric not in ABSENT:
                self.assertIn(metric, shown)

    def test_local_key_stores_leave_no_panel_without_words(self):
        answers = self.ask("clusters: [{name: one}, {name: two}]\n", "one")
        panels = {}
        for (name, title, _), count in answers.items():
            panels[name, title] = panels.get((name, title), 0) + count
        for (name, title), count in panels.items():
            found = [panel for panel in BOARDS[name]["panels"] if panel["title"] == title]
            if found and count == 0:
                words = found[0]["fieldConfig"]["defaults"]["noValue"]
                self.assertRegex(words, r"^(No [\w ]+ known|no date|not reported|not tried)$", title)


if __name__ == "__main__":
    unittest.main()
