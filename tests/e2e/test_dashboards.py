"""The dashboards: well made, and every query answered by every store."""

import json
import re
import subprocess
import unittest

from support import EXPORTER, ROOT, Case, get, impatient, metrics, wait_for

FOLDER = ROOT / "dashboards"
BOARDS = {path.stem: json.loads(path.read_text()) for path in FOLDER.glob("*.json")}

# Queries that have nothing to answer on the demonstration, with the reason.
EMPTY = {"qumulo_encryption_exporter_listener_certificate_expiry_timestamp_seconds": "it has no TLS",
         'alertstate="firing", cluster=""': "no alert that is about no cluster fires",
         'certificate="kms_server"': "probe_kms is off", "qumulo_encryption_kms_reachable": "probe_kms is off"}

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
        yield annotation["name"], re.split(" > | unless ", annotation["expr"])[0]

# One with a token that expires, one with a bad KMS certificate, one that fails, and one with a bad date.
TELLING = ("prod-east", "media-paris", "edge-oslo", "lab-2")


def answers(store, expression, clusters=TELLING):
    """Whether the query of a panel gives anything for one of some clusters."""
    expression = expression.replace("$__range", "1h")
    return any(store.query(expression.replace("$cluster", cluster)) for cluster in clusters)


class Dashboards(Case):
    def test_they_are_what_the_builder_writes(self):
        before = {name: (FOLDER / f"{name}.json").read_text() for name in BOARDS}
        subprocess.run([FOLDER / "build"], check=True)
        for name, text in before.items():
            self.assertEqual((FOLDER / f"{name}.json").read_text(), text)

    def test_they_are_well_made(self):
        readme = (FOLDER / "README.md").read_text()
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

    def watch(self, fleet):
        """Stores that watch a fleet, with the rules."""
        path = self.folder / "fleet.yml"
        path.write_text(fleet)
        demo = self.exporter("demo", "--fleet", path)
        wait_for(lambda: get(demo.url + "/-/ready")[0] == 200, "every cluster was polled")
        self.served = {series.split("{")[0] for series in metrics(demo.url)}
        rules = self.folder / "alerts.yml"
        rules.write_text(impatient((ROOT / "deploy/prometheus/alerts.yml").read_text()))
        return self.stores(f"""
global: {{scrape_interval: 1s}}
scrape_configs:
- job_name: qumulo-encryption
  honor_labels: true
  static_configs: [{{targets: ['{demo.url.removeprefix('http://')}']}}]
""", rules)

    def silent(self, store, clusters=TELLING):
        """The (board, panel, query)s that have no answer for any of some clusters."""
        return {(name, title, expression) for name, board in BOARDS.items() for title, expression in queries(board)
                if not answers(store, expression, clusters)}

    def test_every_query_answers(self):
        fleet = subprocess.run([EXPORTER, "simulate", "--print-fleet"], capture_output=True, text=True, check=True).stdout
        expect = {(name, title, expression) for name, board in BOARDS.items() for title, expression in queries(board)
                  if any(metric in expression for metric in EMPTY)}
        self.assertGreater(len(expect), 1)
        for store in self.watch(fleet):
            try:
                wait_for(lambda: self.silent(store) == expect, "all answer", seconds=60)
            except AssertionError:
                self.assertEqual(self.silent(store), expect, store.name)
        shown = " ".join(expression for board in BOARDS.values() for _, expression in queries(board))
        for metric in self.served:
            if metric not in ABSENT:
                self.assertIn(metric, shown)

    def test_local_key_stores_leave_no_panel_without_words(self):
        words = {(name, panel["title"]): panel["fieldConfig"]["defaults"]["noValue"]
                 for name, board in BOARDS.items() for panel in board["panels"]}

        def speechless(store):
            silent = self.silent(store, ["one"])
            answered = {(name, title) for name, board in BOARDS.items() for title, expression in queries(board)
                        if (name, title, expression) not in silent}
            fits = r"^(No [\w ]+ known|no date|not reported|not tried)$"
            return {panel for panel in set(words) - answered if not re.search(fits, words[panel])}

        for store in self.watch("clusters: [{name: one}, {name: two}]\n"):
            try:
                wait_for(lambda: not speechless(store), "all have words", seconds=60)
            except AssertionError:
                self.assertEqual(speechless(store), set(), store.name)


if __name__ == "__main__":
    unittest.main()
