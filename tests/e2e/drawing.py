"""Dashboards as people see them: drawn with Grafana's own packages, and what each panel then shows."""

import html
import json
import re
import subprocess
import time
import urllib.parse
from datetime import datetime

from history import History
from support import ROOT, Case, get, metrics, wait_for

PREVIEW = ROOT / "tests/dashboard-preview/preview"
BOARDS = {path.stem: path for path in (ROOT / "dashboards").glob("*.json")}
RULES = (ROOT / "deploy/prometheus/alerts.yml").read_text()


class Drawn:
    """What one drawing shows."""

    def __init__(self, report):
        self.report = report
        self.panels = {panel["title"]: panel for panel in report["panels"]}

    def tile(self, title):
        """The text of a number or word, and its hue."""
        [value] = self.panels[title]["values"]
        return value["text"], value["hue"]

    def rows(self, title):
        """The rows of a table in the order shown: {heading: cell}."""
        def headings(frame):
            return [column["name"] for column in frame["columns"]]

        return [dict(zip(headings(frame), row)) for frame in self.panels[title]["frames"] for row in frame["cells"]]

    def column(self, title, heading):
        return [row[heading]["text"] for row in self.rows(title)]

    def words(self, title, *headings):
        """The texts of some columns, row by row."""
        return list(zip(*(self.column(title, heading) for heading in headings)))

    def timeline(self, title):
        """{row: [(text, hue, from, to)]}"""
        def period(each):
            return each["text"], each.get("hue"), moment(each["from"]), moment(each["to"])

        rows = self.panels[title].get("timeline", [])
        return {row["name"]: [period(each) for each in row["periods"]] for row in rows}

    def empty(self):
        return {title for title, panel in self.panels.items() if panel["empty"]}

    def green(self):
        """What is green now; the past of a timeline may have been."""
        found, end = set(), moment(self.report["to"])
        for title, panel in self.panels.items():
            shown = panel.get("values", [])
            if panel["type"] == "table":
                shown = [cell for frame in panel["frames"] for row in frame["cells"] for cell in row]
            last = [periods[-1] for periods in self.timeline(title).values() if periods]
            hues = [one.get("hue") for one in shown] + [hue for _, hue, _, to in last if to >= end]
            if "green" in hues:
                found.add(title)
        return found


def moment(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


class Drawing(Case):
    """A Prometheus that scrapes an exporter, and pictures of what it then knows."""

    demo = None

    def prometheus(self, rules=RULES, data=None):
        """Scrapes the exporter, if there is one, and evaluates the rules."""
        config, file = self.folder / "prometheus.yml", self.folder / "alerts.yml"
        file.write_text(rules)
        job = (f"- {{job_name: qumulo-encryption, honor_labels: true, static_configs: [{{targets: ['{self.address}']}}]}}\n"
               if self.demo else "")
        config.write_text(f"global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: ['{file}']\n"
                          f"scrape_configs:\n{job}")
        self.url = self.run_prometheus(config, data=data)

    def ask(self, expression):
        """{cluster: value}"""
        status, _, body = get(f"{self.url}/api/v1/query?" + urllib.parse.urlencode({"query": expression}))
        self.assertEqual(status, 200, body)
        return {each["metric"].get("cluster"): float(each["value"][1]) for each in json.loads(body)["data"]["result"]}

    def draw(self, board, picture, *arguments, since="now-5m", cluster=None):
        """One picture, which must show no error and cut no text."""
        report = self.folder / "report.json"
        done = subprocess.run(
            [PREVIEW, "--dashboard", BOARDS[board], "--prometheus", self.url, "--out", picture, "--report", report,
             "--from", since, *arguments, *(["--var", f"cluster={cluster}"] if cluster else [])],
            stdin=subprocess.DEVNULL, capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        drawn = Drawn(json.loads(report.read_text()))
        for title, panel in drawn.panels.items():
            self.assertEqual(panel["cut"], [], title)
        return drawn

    def begin(self, fleet=None, changes=None, rules=RULES, keys=None):
        """The demonstration, watched until the rules know all of it; with the day before, if there were changes."""
        path = self.folder / "fleet.yml"
        if fleet:
            path.write_text(fleet)
        self.demo = self.exporter("demo", *(["--fleet", path] if fleet else []))
        self.address = self.demo.url.removeprefix("http://")
        clusters = wait_for(self.polled, "every cluster was polled")["clusters"]
        self.now = int(time.time())
        self.prometheus(rules, self.past(changes, keys or {}) if changes else None)
        answering = {each["name"] for each in clusters if each["up"]}
        confirmed = "cluster:qumulo_encryption_status:confirmed"
        wait_for(lambda: self.ask(confirmed).keys() == answering, "two answers agree", seconds=60)

    def past(self, changes, keys):
        """A day of all that the dashboards ask of it."""
        boards = [json.loads(board.read_text()) for board in BOARDS.values()]
        asked = [target["expr"] for board in boards for panel in board["panels"] for target in panel["targets"]
                 if target["range"]]
        asked += [annotation["expr"] for board in boards for annotation in board["annotations"]["list"]]
        names = set(re.findall(r"\w+", " ".join(asked)))
        return History(metrics(self.demo.url), self.now, changes, keys).write(self.folder, names, self.address)

    def said(self):
        """What the exporter's JSON says."""
        return json.loads(get(self.demo.url + "/api/v1/clusters")[2])

    def polled(self):
        report = self.said()
        return report if all(each["up"] is not None for each in report["clusters"]) else None

    def words(self, cluster):
        """The status of a cluster as the page has it, without the text that nobody recognised."""
        page = get(self.demo.url + "/?" + urllib.parse.urlencode({"q": cluster}))[2].decode()
        return html.unescape(re.search(r"<dt>Status</dt><dd>([^<:]*)", page)[1])
