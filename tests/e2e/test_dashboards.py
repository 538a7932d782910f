"""The dashboards: well made, and every query answered by every store."""

import json
import re
import subprocess
import unittest

from support import EXPORTER, ROOT, Case, get, impatient, metrics, wait_for

FOLDER = ROOT / "dashboards"
BOARDS = {name: json.loads((FOLDER / f"{name}.json").read_text()) for name in ("fleet", "cluster")}

# Queries that have nothing to answer on the demonstration, with the reason.
EMPTY = {"qumulo_encryption_exporter_listener_certificate_expiry_timestamp_seconds": "it has no TLS",
         "qumulo_encryption_policy_info": "nothing is written down"}

# Served, and deliberately on no panel.
ABSENT = {"process_": "what every exporter has: a dashboard of processes shows it"}


def queries(board):
    for panel in board["panels"]:
        targets = {target["refId"]: target["expr"] for target in panel["targets"]}
        # One value in the colour that the policy gives it: one of these queries answers.
        bands = [targets.pop(name) for name in ("Critical", "Warning", "Good") if name in targets]
        for expression in targets.values():
            yield panel["title"], expression
        if bands:
            yield panel["title"], " or ".join(f"({band})" for band in bands)
    for annotation in board["annotations"]["list"]:
        yield annotation["name"], annotation["expr"].split(" > 0")[0]


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
                        # But for the question whether exporters answer.
                        self.assertNotRegex(target["expr"].replace('up{job="qumulo-encryption"}', ""), r"\b(job|instance)\b")
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

    def silent(self, store, cluster):
        """The (board, panel, query)s that have no answer."""
        asked = {(name, title, expression) for name, board in BOARDS.items() for title, expression in queries(board)}
        return {query for query in asked if not store.query(query[2].replace("$cluster", cluster))}

    def test_every_query_answers(self):
        fleet = subprocess.run([EXPORTER, "simulate", "--print-fleet"], capture_output=True, text=True, check=True).stdout
        expect = {(name, title, expression) for name, board in BOARDS.items() for title, expression in queries(board)
                  if any(metric in expression for metric in EMPTY)}
        self.assertGreater(len(expect), 1)
        for store in self.watch(fleet):
            # A cluster with a KMS, and one that fails, for the queries about failures.
            try:
                wait_for(lambda: self.silent(store, "media-paris|edge-oslo") == expect, "all answer", seconds=60)
            except AssertionError:
                self.assertEqual(self.silent(store, "media-paris|edge-oslo"), expect, store.name)
        shown = " ".join(expression for board in BOARDS.values() for _, expression in queries(board))
        for metric in self.served:
            if not any(metric.startswith(prefix) for prefix in ABSENT):
                self.assertIn(metric, shown)

    def test_local_key_stores_leave_no_panel_without_words(self):
        words = {(name, panel["title"]): panel["fieldConfig"]["defaults"]["noValue"]
                 for name, board in BOARDS.items() for panel in board["panels"]}

        def speechless(store):
            silent = self.silent(store, "one")
            answered = {(name, title) for name, board in BOARDS.items() for title, expression in queries(board)
                        if (name, title, expression) not in silent}
            fits = r"(?i)local|certificates|not reported|TLS|none|No poll failed|No alert fires|not written down|^-$"
            return {panel for panel in set(words) - answered if not re.search(fits, words[panel])}

        for store in self.watch("clusters: [{name: one}, {name: two}]\n"):
            try:
                wait_for(lambda: not speechless(store), "all have words", seconds=60)
            except AssertionError:
                self.assertEqual(speechless(store), set(), store.name)


if __name__ == "__main__":
    unittest.main()
