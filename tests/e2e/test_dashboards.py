"""The dashboards: layout, and queries that return data in every store."""

import json
import re
import subprocess
import unittest

from drawing import panels
from support import EXPORTER, ROOT, Case, metrics, scrape_config

FOLDER = ROOT / "dashboards"
BOARDS = {path.stem: json.loads(path.read_text()) for path in FOLDER.glob("*.json")}

# Queries that return no data for the demo, with the reason.
EMPTY = {"qumulo_encryption_exporter_listener_certificate_expiry_timestamp_seconds": "it has no TLS",
         "qumulo_encryption_kms_reachable": "probe_kms is off", "- 8 > 0": "no more than eight clusters are named",
         "- 5 > 0": "no more than five are named", "0 * (count(": "there are clusters to be named",
         "qumulo_encryption_policy_info": "no policy is set"}

# Metrics that are on no panel, because dashboards for processes show them.
ABSENT = ("process_cpu_seconds_total", "process_max_fds", "process_open_fds", "process_threads", "process_virtual_memory_bytes",
          "process_virtual_memory_max_bytes")

# Default values of the variables.
DEFAULTS = {"$clusters": ".*", "$site": ".*", "$state": ">= 0", "$job": "qumulo-encryption", "$__range": "1h",
          "$__rate_interval": "1m"}


def variables(board):
    return {each["name"]: each for each in board["templating"]["list"]}


def queries(board, label="cluster"):
    values = {"$label": label, **DEFAULTS}
    for panel in panels(board):
        for target in panel.get("targets", []):
            expression = target["expr"]
            if "${ranks:raw}" in expression:
                expression = expression.replace("${ranks:raw}", variables(board)["ranks"]["query"])
            yield panel["title"], re.sub(r"\$\w+", lambda name: values.get(name[0], name[0]), expression)
    for annotation in board["annotations"]["list"]:
        yield annotation["name"], re.split(" > | unless ", annotation["expr"].replace("$label", label))[0]


# Clusters with: a token that expires, a bad KMS certificate, failed polls, an unreadable date, an old key, an unknown status.
REPRESENTATIVE = ("prod-east", "media-paris", "edge-oslo", "lab-2", "legacy-nyc", "lab-1")


def answers(store, expression, clusters=REPRESENTATIVE):
    """Whether the query of a panel returns data for any of these clusters."""
    return any(store.query(expression.replace("$cluster", cluster)) for cluster in clusters)


class Dashboards(Case):
    def test_they_are_generated(self):
        before = {name: (FOLDER / f"{name}.json").read_text() for name in BOARDS}
        subprocess.run([FOLDER / "build"], check=True)
        for name, text in before.items():
            self.assertEqual((FOLDER / f"{name}.json").read_text(), text)

    def test_layout_and_defaults(self):
        uids = {board["uid"] for board in BOARDS.values()}
        self.assertEqual(len(uids), len(BOARDS))
        for board in BOARDS.values():
            for key in ("id", "title"):
                self.assertEqual(len({panel[key] for panel in panels(board)}), len(panels(board)), key)
            rows = [panel for panel in board["panels"] if panel["type"] == "row"]
            self.assertTrue(all(row["collapsed"] and row["panels"] for row in rows))
            taken = set()
            for panel in panels(board):
                with self.subTest(panel["title"]):
                    place = panel["gridPos"]
                    self.assertLessEqual(place["x"] + place["w"], 24)
                    inside = next((row["title"] for row in rows if panel in row["panels"]), None)
                    cells = {(inside, x, y) for x in range(place["x"], place["x"] + place["w"])
                             for y in range(place["y"], place["y"] + place["h"])}
                    self.assertEqual(cells & taken, set(), "panels overlap")
                    taken |= cells
                    self.assertGreater(len(panel["description"]), 10)
                    if panel["type"] == "alertlist":
                        continue
                    defaults = panel["fieldConfig"]["defaults"]
                    self.assertTrue(defaults["unit"] and defaults["thresholds"]["steps"] and defaults["noValue"])
                    references = [target["refId"] for target in panel["targets"]]
                    self.assertEqual(len(set(references)), len(references))
                    for part in [panel, *panel["targets"]]:
                        self.assertEqual(part["datasource"]["uid"], "${datasource}")

    def test_queries_read_the_exporters_series_alone(self):
        for name, board in BOARDS.items():
            for panel in panels(board):
                for target in panel.get("targets", []):
                    with self.subTest(f"{name}: {panel['title']}"):
                        expression = target["expr"].replace("${ranks:raw}", "")
                        own = r"qumulo_encryption_\w+|process_\w+|up|scrape_duration_seconds"
                        for series in re.findall(r"([\w:]+)\{", expression):
                            self.assertRegex(series, f"^({own})$")
                        self.assertNotRegex(expression, r"\w:\w|ALERTS")
                        self.assertLess(len(expression), 1500)
                        # Data about a cluster does not depend on the exporter. Cluster names are not regular expressions.
                        if name != "exporter":
                            self.assertNotRegex(re.sub(r"up\{job=\S+\}", "", expression), r"\b(job|instance)\b")
                        self.assertNotIn('=~"$cluster"', expression)

    def test_variables_fit_an_installation(self):
        for name, board in BOARDS.items():
            have = variables(board)
            self.assertEqual(have["datasource"]["current"]["value"], "default")
            for box, value in {"label": "cluster", "job": "qumulo-encryption", "runbooks": "https://runbooks.example.com"}.items():
                if box in have or name != "cluster":
                    self.assertEqual((have[box]["type"], have[box]["query"]), ("textbox", value))
            text = json.dumps(board)
            # Links encode names with &, # and +, and carry the reader's variables.
            for url in re.findall(r'"url": "(/d/[^"]+)"', text):
                self.assertRegex(url, r"^/d/qumulo-encryption-cluster\?var-cluster=\$\{[\w.]+:percentencode\}&")
                for carried in ("datasource", "label", "runbooks"):
                    self.assertIn(f"${{{carried}:queryparam}}", url)
            self.assertNotRegex(text, r"\$\{__value\.text\}")
            self.assertNotIn("https://runbooks.example.com", json.dumps(board["panels"]) + json.dumps(board["links"]))

    def test_findings_are_those_of_the_exporter(self):
        demo = self.start_demo()
        served = {tuple(re.findall(r'="([^"]+)"', series)[1:]) for series in metrics(demo.url)
                  if series.startswith("qumulo_encryption_finding{")}
        self.assertGreater(len(served), 15)
        runbooks = {path.stem for path in (ROOT / "deploy/runbooks").glob("*.md")}
        for name in ("fleet", "cluster"):
            ranks = re.findall(r'vector\((\d+)\), "finding", "(\w+)"', variables(BOARDS[name])["ranks"]["query"])
            ranks = {finding: int(rank) for rank, finding in ranks}
            self.assertLessEqual({finding for finding, _ in served}, ranks.keys())
            [table] = [panel for panel in panels(BOARDS[name]) if panel["title"] in ("Clusters", "Findings")]
            columns = {each["matcher"]["options"]: {one["id"]: one["value"] for one in each["properties"]}
                       for each in table["fieldConfig"]["overrides"]}
            words = columns["Finding and its runbook"]["mappings"][0]["options"]
            self.assertEqual(words.keys(), ranks.keys())
            self.assertLessEqual({"QumuloEncryption" + word["text"] for word in words.values()}, runbooks)
            states = columns["State"]["mappings"][0]["options"]
            self.assertLessEqual({severity for _, severity in served}, states.keys())

    def watch(self, fleet):
        """Starts an exporter of a fleet, and stores that scrape it."""
        path = self.folder / "fleet.yml"
        path.write_text(fleet)
        demo = self.start_demo("--fleet", path)
        self.served = {series.split("{")[0] for series in metrics(demo.url)}
        return self.stores(scrape_config(demo.url))

    def silent(self, store, clusters=REPRESENTATIVE):
        """The (board, panel, query) tuples without data for any of these clusters."""
        return {(name, title, expression) for name, board in BOARDS.items() for title, expression in queries(board)
                if not answers(store, expression, clusters)}

    def test_every_query_answers(self):
        fleet = subprocess.run([EXPORTER, "simulate", "--print-fleet"], capture_output=True, text=True, check=True).stdout
        expect = {(name, title, expression) for name, board in BOARDS.items() for title, expression in queries(board)
                  if any(part in expression for part in EMPTY)}
        self.assertGreater(len(expect), 1)
        for store in self.watch(fleet):
            self.wait_equal(lambda: self.silent(store), expect, f"{store.name}: queries without data")
        shown = " ".join(expression for board in BOARDS.values() for _, expression in queries(board))
        for metric in self.served:
            if metric not in ABSENT:
                self.assertIn(metric, shown)

    def test_panels_without_data_have_a_text(self):
        words = {(name, panel["title"]): panel["fieldConfig"]["defaults"]["noValue"]
                 for name, board in BOARDS.items() for panel in panels(board) if panel["type"] != "alertlist"}

        def without_text(store):
            silent = self.silent(store, ["one"])
            answered = {(name, title) for name, board in BOARDS.items() for title, expression in queries(board)
                        if (name, title, expression) not in silent}
            fits = r"^(No [\w ]+ known|no date|none known|not known|not reported|not tried|Nothing forbade a restart, or no data)$"
            return {panel for panel in set(words) - answered if not re.search(fits, words[panel])}

        for store in self.watch("clusters: [{name: one}, {name: two}]\n"):
            self.wait_equal(lambda: without_text(store), set(), f"{store.name}: empty panels")


if __name__ == "__main__":
    unittest.main()
