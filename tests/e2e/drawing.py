"""Renders dashboards with Grafana's packages, and reads what each panel shows."""

import http.server
import json
import re
import subprocess
import threading
import time
import urllib.parse
from datetime import datetime

from history import History
from support import ROOT, Case, get, metrics, scrape_config, wait_for

PREVIEW = ROOT / "tests/dashboard-preview/preview"
BOARDS = {path.stem: path for path in (ROOT / "dashboards").glob("*.json")}


def panels(board):
    """The panels of a dashboard, including those in collapsed rows."""
    return [one for outer in board["panels"] for one in [outer, *outer.get("panels", [])] if one["type"] != "row"]


class Drawn:
    """The content of a rendered dashboard."""

    def __init__(self, report):
        self.report = report
        self.panels = {panel["title"]: panel for panel in report["panels"]}

    def tile(self, title):
        """Text and hue of a panel with one value."""
        [value] = self.panels[title]["values"]
        return value["text"], value["hue"]

    def names(self, title):
        """{name: (text, hue)} of a panel with several values."""
        return {value["title"]: (value["text"], value["hue"]) for value in self.panels[title]["values"]}

    def rows(self, title):
        """The rows of a table as shown: {heading: cell}."""
        def headings(frame):
            return [column["name"] for column in frame["columns"]]

        return [dict(zip(headings(frame), row)) for frame in self.panels[title]["frames"] for row in frame["cells"]]

    def column(self, title, heading):
        return [row[heading]["text"] for row in self.rows(title)]

    def words(self, title, *headings):
        """The text of these columns, row by row."""
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
        """The panels with something green, except for the past of timelines."""
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
    """A Prometheus that scrapes an exporter, and dashboards of its data."""

    demo = None

    def serve(self, text):
        """Starts a server that responds to scrapes with `.text`, at `.url`."""
        class Answer(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.end_headers()
                self.wfile.write(self.server.text.encode())

            def log_message(self, *arguments):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        server.text, server.url = text, f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        return server

    def prometheus(self, *exporters, data=None, relabel=""):
        """Starts a Prometheus that scrapes exporters every second."""
        config = self.folder / "prometheus.yml"
        config.write_text(scrape_config(*(each.url for each in exporters)) + relabel)
        self.url = self.run_prometheus(config, data=data)

    def ask(self, expression):
        """{cluster: value}"""
        status, _, body = get(f"{self.url}/api/v1/query?" + urllib.parse.urlencode({"query": expression}))
        self.assertEqual(status, 200, body)
        return {each["metric"].get("cluster"): float(each["value"][1]) for each in json.loads(body)["data"]["result"]}

    def draw(self, board, picture, *arguments, since="now-5m", cluster=None, variables={}):
        """Renders a dashboard, which must show no error and no truncated text."""
        variables = {**variables, **({"cluster": cluster} if cluster else {})}
        report = self.folder / "report.json"
        done = subprocess.run(
            [PREVIEW, "--dashboard", BOARDS[board], "--prometheus", self.url, "--out", picture, "--report", report,
             "--from", since, *arguments, *(f"--var={name}={value}" for name, value in variables.items())],
            stdin=subprocess.DEVNULL, capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        drawn = Drawn(json.loads(report.read_text()))
        for title, panel in drawn.panels.items():
            self.assertEqual(panel["cut"], [], title)
        return drawn

    def begin(self, fleet=None, changes=None, keys=None):
        """Starts the demo and a Prometheus, and waits until all clusters are scraped. With `changes`, Prometheus also has the data of
        the day before."""
        path = self.folder / "fleet.yml"
        if fleet:
            path.write_text(fleet)
        self.demo = self.exporter("demo", *(["--fleet", path] if fleet else []))
        clusters = wait_for(self.polled, "every cluster was polled")["clusters"]
        self.now = int(time.time())
        self.prometheus(self.demo, data=self.past(changes, keys or {}) if changes else None)
        finding = 'qumulo_encryption_finding{finding="not_readable"}'
        wait_for(lambda: self.ask(finding).keys() == {each["name"] for each in clusters}, "all are scraped", seconds=60)

    def past(self, changes, keys):
        """Writes a day of all series that the dashboards query over time."""
        boards = [json.loads(board.read_text()) for board in BOARDS.values()]
        asked = [target["expr"] for board in boards for panel in panels(board) for target in panel.get("targets", [])
                 if target["range"]]
        asked += [annotation["expr"] for board in boards for annotation in board["annotations"]["list"]]
        names = set(re.findall(r"\w+", " ".join(asked)))
        return History(metrics(self.demo.url), self.now, changes, keys).write(
            self.folder, names, self.demo.url.removeprefix("http://"))

    def report(self):
        """The exporter's JSON."""
        return json.loads(get(self.demo.url + "/api/v1/clusters")[2])

    def polled(self):
        report = self.report()
        return report if all(each["up"] is not None for each in report["clusters"]) else None
