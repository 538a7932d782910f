"""The dashboards as people see them: drawn with Grafana's own packages, and what each panel then shows."""

import html
import json
import os
import re
import subprocess
import time
import unittest
import urllib.parse
from datetime import datetime

from history import History
from support import ROOT, Case, get, impatient, metrics, wait_for

PREVIEW = ROOT / "tests/dashboard-preview/preview"
BOARDS = {path.stem: path for path in (ROOT / "dashboards").glob("*.json")}
RULES = (ROOT / "deploy/prometheus/alerts.yml").read_text()
HUES = {"critical": "red", "unknown": "purple", "warning": "orange", "good": "green"}
# Set it to a folder to look at the pictures.
PICTURES = os.environ.get("PICTURES")


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
        frames = self.panels[title]["frames"]
        return [{column["name"]: cell for column, cell in zip(frame["columns"], row)} for frame in frames for row in frame["cells"]]

    def column(self, title, heading):
        return [row[heading]["text"] for row in self.rows(title)]

    def timeline(self, title):
        """{row: [(text, hue, from, to)]}"""
        return {row["name"]: [(each["text"], each.get("hue"), moment(each["from"]), moment(each["to"])) for each in row["periods"]]
                for row in self.panels[title].get("timeline", [])}

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
            if any(one.get("hue") == "green" for one in shown) or any(hue == "green" and to >= end for _, hue, _, to in last):
                found.add(title)
        return found


def moment(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


class Dashboards(Case):
    def prometheus(self, exporter=None, rules=RULES, data=None):
        """A Prometheus with the rules that scrapes an exporter, and a function that asks it: {cluster: value}."""
        config, file = self.folder / "prometheus.yml", self.folder / "alerts.yml"
        file.write_text(rules)
        job = (f"- {{job_name: qumulo-encryption, honor_labels: true, static_configs: [{{targets: ['{exporter.url[7:]}']}}]}}\n"
               if exporter else "")
        config.write_text(f"global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: ['{file}']\n"
                          f"scrape_configs:\n{job}")
        self.url = self.run_prometheus(config, data=data)

    def ask(self, expression):
        status, _, body = get(f"{self.url}/api/v1/query?" + urllib.parse.urlencode({"query": expression}))
        self.assertEqual(status, 200, body)
        return {each["metric"].get("cluster"): float(each["value"][1]) for each in json.loads(body)["data"]["result"]}

    def draw(self, board, since="now-5m", cluster=None, width=1600, theme="dark", interval="1s"):
        """One picture, which must show no error and cut no text."""
        name = "-".join([self._testMethodName.removeprefix("test_"), board, *([cluster] if cluster else []), str(width), theme])
        picture, report = (self.folder / f"{name}.{kind}" for kind in ("png", "json"))
        if PICTURES:
            picture = ROOT / PICTURES / picture.name
        done = subprocess.run(
            [PREVIEW, "--dashboard", BOARDS[board], "--prometheus", self.url, "--out", picture, "--report", report, "--from", since,
             "--width", str(width), "--theme", theme, "--scrape-interval", interval, *(["--var", f"cluster={cluster}"] if cluster else [])],
            stdin=subprocess.DEVNULL, capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        drawn = Drawn(json.loads(report.read_text()))
        for title, panel in drawn.panels.items():
            self.assertEqual(panel["cut"], [], title)
        return drawn

    def demo(self, rules=RULES):
        """The demonstration, and what its JSON says, once the rules know all of it."""
        self.exporter_ = self.exporter("demo")
        self.prometheus(self.exporter_, rules)
        report = wait_for(lambda: self.judged(), "every cluster was polled")
        answering = [each["name"] for each in report["clusters"] if each["up"]]
        wait_for(lambda: set(self.ask("cluster:qumulo_encryption_status:confirmed")) == set(answering), "two answers agree", seconds=40)
        return self.judged()

    def judged(self):
        report = json.loads(get(self.exporter_.url + "/api/v1/clusters")[2])
        return report if all(each["up"] is not None for each in report["clusters"]) else None

    def words(self, cluster):
        """The status of a cluster as the page has it, without the text that nobody recognised."""
        page = get(self.exporter_.url + "/?" + urllib.parse.urlencode({"q": cluster}))[2].decode()
        return html.unescape(re.search(r"<dt>Status</dt><dd>([^<:]*)", page)[1])

    def test_demo(self):
        said = self.demo()
        clusters = said["clusters"]
        for width, theme in ((1600, "dark"), (1280, "light")):
            fleet = self.draw("fleet", width=width, theme=theme)
            self.assertEqual(fleet.empty(), set())
            # The same clusters, the same words, the same order as the page's.
            self.assertEqual(fleet.column("Clusters", "Cluster"), [each["name"] for each in clusters])
            for each, row in zip(clusters, fleet.rows("Clusters")):
                with self.subTest(each["name"]):
                    state, status = row["State"], row["Last status"]
                    self.assertEqual((state["text"], state["hue"]), (each["severity"], HUES[each["severity"]]))
                    self.assertEqual(status["text"], self.words(each["name"]) if each["up"] else "never seen")
                    self.assertEqual(status["hue"] == "green", each["status"] in ("kms_available", "encrypted"))
                    runbook = each["findings"][0]["runbook"] if each["findings"] else None
                    worst = row["Worst alert and its runbook"]
                    self.assertEqual(worst["text"], runbook.removeprefix("runbooks/") if runbook else "-")
                    if runbook:
                        self.assertEqual(worst["link"], f"https://runbooks.example.com/{worst['text']}.md")
                    self.assertIn(f"/d/qumulo-encryption-cluster?var-cluster={each['name']}&", row["Cluster"]["link"])
                    self.assertEqual(row["Last seen"]["text"], "a few seconds ago" if each["up"] else "never")
                    left = min((certificate["seconds_left"] for certificate in each["certificates"]), default=None)
                    shown = "-" if left is None else "expired" if left <= 0 else f"{left // 86400} d"
                    self.assertEqual(row["First expiry in"]["text"], shown)
            for state, hue in HUES.items():
                self.assertEqual(fleet.tile(state.capitalize()), (str(said["totals"][state]), hue))
            self.assertEqual(fleet.tile("Watched")[0], str(len(clusters)))
            self.assertEqual(fleet.tile("First expiry in"), ("expired", "red"))
            self.assertEqual(fleet.tile("Exporters"), ("all up", "green"))
            self.assertEqual(fleet.tile("Configuration"), ("in use", "green"))
            self.alerts_are_in_order(fleet)
            self.assertEqual(fleet.rows("Next expiries")[0]["State"]["hue"], "red")
            self.assertEqual([(row["Cluster"]["text"], row["Certificate"]["text"], row["State"]["text"], row["Expires in"]["text"])
                              for row in fleet.rows("Next expiries")[:3]],
                             [("research-zurich", "KMS client", "expired", "expired"), ("media-paris", "KMS client", "critical", "4 d"),
                              ("media-london", "KMS authority", "warning", "24 d")])
            timeline = fleet.timeline("Status of every cluster")
            self.assertEqual(timeline.keys(), {each["name"] for each in clusters})
            for each in clusters:
                self.assertEqual(timeline[each["name"]][-1][0], self.words(each["name"]))

        lost = self.draw("cluster", cluster="genomics-1")
        self.assertEqual(lost.empty(), {"Failed polls by reason"})
        self.assertEqual(lost.tile("State"), ("critical", "red"))
        self.assertEqual(lost.tile("Status"), ("KMS key not found", "red"))
        self.assertEqual(lost.tile("Key store")[0], "KMS")
        self.assertEqual(lost.tile("KMS client certificate"), ("199 d", "green"))
        self.assertEqual(lost.tile("Key age")[0], "300 d")
        self.assertEqual(lost.column("Firing alerts", "Alert and its runbook"), ["QumuloEncryptionKeyNotFound"])
        self.assertEqual(lost.green(), {"KMS client certificate", "KMS authority's certificate"})
        old = self.draw("cluster", cluster="legacy-nyc")
        self.assertEqual(old.tile("Key age"), ("1100 d", "orange"))
        self.assertEqual(old.tile("KMS client certificate"), ("not reported", "grey"))
        silent = self.draw("cluster", cluster="edge-oslo", width=1280)
        self.assertEqual(silent.tile("State"), ("unknown", "purple"))
        self.assertEqual(silent.tile("Status"), ("never seen", "grey"))
        self.assertEqual([text for text, *_ in silent.timeline("Failed polls by reason")["connect"]], ["failed"])
        self.assertEqual(silent.green(), set())
        exporter = self.draw("exporter")
        self.assertEqual(exporter.empty(), {"First certificate expires in", "Firing alerts"})
        self.assertEqual(exporter.tile("Read")[0], str(sum(each["up"] for each in clusters)))
        [instance] = exporter.rows("Instances")
        self.assertEqual((instance["Scrape"]["text"], instance["Scrape"]["hue"], instance["Instance"]["text"]),
                         ("answers", "green", self.exporter_.url[7:]))

    def alerts_are_in_order(self, fleet):
        """Firing ones, the worst first: the severity, then the rank of the finding, each certificate once."""
        rows = [(row["Severity"]["text"], row["Severity"]["hue"], row["Cluster"]["text"], row["About"]["text"],
                 row["Alert and its runbook"]["text"]) for row in fleet.rows("Firing alerts")]
        self.assertEqual([name.removeprefix("QumuloEncryption") for *_, name in rows[:5]],
                         ["KeyNotFound", "ConfigurationCorrupted", "KeyInactive", "CertificateExpired", "CertificateExpiring"])
        severities = [severity for severity, *_ in rows]
        self.assertEqual(severities, sorted(severities, key=["critical", "warning", "info"].index))
        self.assertEqual({hue for severity, hue, *_ in rows if severity == "critical"}, {"red"})
        certificates = [(cluster, about) for *_, cluster, about, name in rows if "Certificate" in name]
        self.assertEqual(len(set(certificates)), len(certificates))
        for row in fleet.rows("Firing alerts"):
            cell = row["Alert and its runbook"]
            self.assertEqual(cell["link"], f"https://runbooks.example.com/{cell['text']}.md")

    def test_empty_prometheus(self):
        self.prometheus(rules="")
        for board in BOARDS:
            drawn = self.draw(board, width=1280)
            self.assertEqual(drawn.empty(), set(drawn.panels))
            for title, panel in drawn.panels.items():
                if panel["type"] == "stat":
                    self.assertEqual(drawn.tile(title)[1], "grey", title)
                    self.assertRegex(drawn.tile(title)[0], "^(no data|no target|none known|never|never seen|not reported)$", title)
            self.assertEqual(drawn.green(), set())

    def test_stopped_exporter(self):
        before = {each["name"]: each for each in self.demo()["clusters"]}
        words = {name: self.words(name) for name, each in before.items() if each["up"]}
        self.end(self.exporter_)
        old = "(time() - cluster:qumulo_encryption_last_seen:seconds) > on (cluster) cluster:qumulo_encryption_stale_after_seconds:held + 5"
        wait_for(lambda: self.ask(old).keys() == before.keys(), "what was seen is not fresh any more", seconds=40)
        fleet = self.draw("fleet")
        self.assertEqual(fleet.green(), set())
        self.assertEqual(fleet.tile("Exporters"), ("1 down", "red"))
        self.assertEqual(fleet.tile("Configuration"), ("no data", "grey"))
        states = {"critical": "critical", "unknown": "unknown", "warning": "unknown", "good": "unknown"}
        shown = {row["Cluster"]["text"]: row for row in fleet.rows("Clusters")}
        self.assertEqual(shown.keys(), before.keys())
        for name, each in before.items():
            self.assertEqual(shown[name]["State"]["text"], states[each["severity"]], name)
            self.assertEqual(shown[name]["Last status"]["text"], words.get(name, "never seen"))
        self.assertEqual(fleet.tile("Critical"), (str(sum(each["severity"] == "critical" for each in before.values())), "red"))
        self.assertEqual(fleet.tile("Good"), ("0", "grey"))
        self.assertEqual(shown["genomics-1"]["Last status"]["hue"], "red")
        self.assertEqual(shown["prod-east"]["Last status"]["hue"], "grey")
        self.assertEqual(fleet.column("Clusters", "Cluster")[0], "genomics-1")
        self.alerts_are_in_order(fleet)
        end = moment(fleet.report["to"])
        for name, periods in fleet.timeline("Status of every cluster").items():
            self.assertLess(periods[-1][3], end - 3, f"{name} is drawn as if it had been seen now")
        cluster = self.draw("cluster", cluster="prod-east")
        self.assertEqual((cluster.tile("State"), cluster.tile("Status")), (("unknown", "purple"), ("KMS available", "grey")))
        self.assertEqual(cluster.tile("KMS client certificate"), ("399 d", "grey"))
        self.assertEqual(cluster.green(), set())
        exporter = self.draw("exporter")
        self.assertEqual(exporter.green(), set())
        self.assertEqual([(row["Scrape"]["text"], row["Scrape"]["hue"]) for row in exporter.rows("Instances")], [("fails", "red")])
        self.assertEqual([text for text, *_ in exporter.timeline("Scrapes")[self.exporter_.url[7:]]], ["answers", "fails"])

    def test_local_key_stores(self):
        path = self.folder / "fleet.yml"
        path.write_text("clusters: [{name: one}, {name: two, type: Local, status: Encrypted}]\n")
        self.exporter_ = self.exporter("demo", "--fleet", path)
        self.prometheus(self.exporter_)
        wait_for(lambda: len(self.ask("cluster:qumulo_encryption_status:confirmed")) == 2, "two answers agree", seconds=40)
        fleet = self.draw("fleet", width=1280)
        self.assertEqual(fleet.empty(), {"Firing alerts", "First expiry in", "Next expiries", "Failed polls by reason"})
        self.assertEqual(fleet.tile("First expiry in"), ("none known", "grey"))
        self.assertEqual((fleet.tile("Critical"), fleet.tile("Good")), (("0", "grey"), ("2", "green")))
        for row in fleet.rows("Clusters"):
            self.assertEqual([row[heading]["text"] for heading in ("State", "Last status", "Key store", "First expiry in")],
                             ["good", "Encrypted", "local", "-"])
        cluster = self.draw("cluster", cluster="two", width=1280)
        self.assertEqual(cluster.empty(), {"Firing alerts", "Failed polls by reason", "KMS authority's certificate",
                                           "KMS client certificate", "Age of the cluster's own check"})
        self.assertEqual((cluster.tile("Key store")[0], cluster.tile("KMS client certificate")), ("local", ("not reported", "grey")))

    def test_a_day_of_forty_clusters(self):
        names = ["007", "eu.1", "eu-1", "prod-east-with-a-long-name", *(f"site-{number:02}" for number in range(36))]
        now_bad = {"site-20": "KMS Key Not Found", "site-21": "Cannot connect to KMS server."}
        fleet = "clusters:\n" + "".join(
            f"- {{name: '{name}', type: KMS, status: '{now_bad.get(name, 'KMS Available')}', ca_cert_expiry: +{900 + number}d, "
            f"client_cert_expiry: +{100 + number}d, last_key_rotation_time: -30d, last_status_update_time: -5m}}\n"
            for number, name in enumerate(names))
        path = self.folder / "fleet.yml"
        path.write_text(fleet)
        self.exporter_ = self.exporter("demo", "--fleet", path)
        wait_for(lambda: get(self.exporter_.url + "/-/ready")[0] == 200, "every cluster was polled")
        ranges = " ".join(target["expr"] for board in BOARDS.values() for panel in json.loads(board.read_text())["panels"]
                          for target in panel["targets"] if target["range"])
        wanted = set(re.findall(r"\w+", ranges)) | {"qumulo_encryption_status_changes_total"}
        now, minute = int(time.time()), 60
        changes = {"007": [(600, 540, "kms_cannot_connect")], "eu.1": [(900, 870, "kms_key_not_found")],
                   "site-03": [(300, 200, None)], "site-20": [(1440, 100, "kms_available")]}
        data = History(metrics(self.exporter_.url), now, changes).write(self.folder, wanted, self.exporter_.url[7:])
        self.prometheus(self.exporter_, impatient(RULES), data)
        wait_for(lambda: len(self.ask("cluster:qumulo_encryption_status:confirmed")) == 40, "two answers agree", seconds=40)

        board = self.draw("fleet", since="now-24h", interval="15s")
        self.assertEqual(board.empty(), set())
        timeline = board.timeline("Status of every cluster")
        self.assertEqual(sorted(timeline), sorted(names))
        self.assertEqual(list(timeline)[:5], ["007", "eu.1", "site-03", "site-20", "site-21"], "what was not good is not on top")
        self.assertEqual([text for text, *_ in timeline["eu-1"]], ["KMS available"])
        for name, other, hue in (("007", "Cannot connect to the KMS", "orange"), ("eu.1", "KMS key not found", "red"),
                                 ("site-03", "No status", "purple")):
            periods = [(text, shown) for text, shown, _, _ in timeline[name]]
            self.assertEqual(periods, [("KMS available", "green"), (other, hue), ("KMS available", "green")])
            [(begin, end, _)] = changes[name]
            for edge, ago in zip(timeline[name][1][2:], (begin, end)):
                # What was imported has no marks of its end: Prometheus holds a sample for five minutes.
                self.assertAlmostEqual(edge, now - minute * ago, delta=7 * minute)
        self.assertEqual([text for text, *_ in timeline["site-20"]], ["KMS available", "KMS key not found"])
        marks = {(mark["title"].split(":")[0], round((now - moment(mark["time"])) / minute / 10))
                 for annotation in board.report["annotations"] for mark in annotation["marks"]}
        self.assertLessEqual({("007", 60), ("007", 54), ("eu.1", 90), ("eu.1", 87), ("site-20", 10)}, marks)
        [reason] = board.panels["Failed polls by reason"]["frames"]
        self.assertEqual(reason["columns"][1]["name"], "connect")
        self.assertEqual(board.column("Clusters", "Cluster")[:4], ["site-20", "site-21", "007", "eu.1"])
        self.assertEqual(board.column("Next expiries", "Cluster")[:4], names[:4])
        self.assertEqual(board.tile("Watched")[0], "40")

        for name, other in (("007", "Cannot connect to the KMS"), ("eu.1", "KMS key not found")):
            board = self.draw("cluster", since="now-24h", interval="15s", cluster=name)
            self.assertEqual(board.empty(), {"Firing alerts", "Failed polls by reason"})
            self.assertEqual([text for text, *_ in board.timeline("Status over time")[name]],
                             ["KMS available", other, "KMS available"])
            self.assertEqual({mark["title"].split(":")[0] for mark in board.report["annotations"][0]["marks"]}, {name})
            for title in ("Polls per minute", "Poll duration", "Freshness", "Age of the cluster's own check"):
                for frame in board.panels[title]["frames"]:
                    self.assertGreater(frame["rows"], 600, title)
        board = self.draw("exporter", since="now-24h", interval="15s")
        self.assertEqual(board.empty(), {"First certificate expires in", "Firing alerts"})


if __name__ == "__main__":
    unittest.main()
