"""The dashboards as people see them, in each situation that matters."""

import json
import os
import pathlib
import re
import subprocess
import time
import unittest

from drawing import BOARDS, RULES, Drawing, moment
from support import EXPORTER, ROOT, get, impatient, wait_for

HUES = {"critical": "red", "unknown": "purple", "warning": "orange", "good": "green"}

CERTIFICATES = {"KMS authority's certificate", "KMS client certificate", "KMS server's certificate"}


class Dashboards(Drawing):
    def look(self, board, since="now-5m", to="now", cluster=None, width=1600, theme="dark", interval="1s"):
        """The pictures are for people: they stay if PICTURES names a folder."""
        case = self._testMethodName.removeprefix("test_")
        name = "-".join([case, board, *([cluster] if cluster else []), str(width), theme]) + ".png"
        picture = pathlib.Path(os.environ.get("PICTURES", self.folder)).resolve() / name
        return self.draw(board, picture, "--to", to, "--width", str(width), "--theme", theme, "--scrape-interval", interval,
                         since=since, cluster=cluster)

    def test_demo(self):
        self.begin()
        said = self.said()
        clusters = said["clusters"]
        for width, theme in ((1600, "dark"), (1280, "light")):
            fleet = self.look("fleet", width=width, theme=theme)
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
            self.assertEqual(fleet.words("Next expiries", "Cluster", "Certificate", "State", "Expires in")[:3],
                             [("research-zurich", "KMS client", "expired", "expired"),
                              ("media-paris", "KMS client", "critical", "4 d"),
                              ("media-london", "KMS authority", "warning", "24 d")])
            hues = [row["State"]["hue"] for row in fleet.rows("Next expiries")]
            self.assertEqual(hues[:4], ["red", "red", "orange", "green"])
            timeline = fleet.timeline("Status of every cluster")
            self.assertEqual(timeline.keys(), {each["name"] for each in clusters})
            for each in clusters:
                self.assertEqual(timeline[each["name"]][-1][0], self.words(each["name"]))

        self.command_line_and_alerts_agree({each["name"]: each["severity"] for each in clusters})

        lost = self.look("cluster", cluster="genomics-1")
        self.assertEqual(lost.empty(), {"Failed polls by reason", "KMS server's certificate"})
        self.assertEqual(lost.tile("State"), ("critical", "red"))
        self.assertEqual(lost.tile("Status"), ("KMS key not found", "red"))
        self.assertEqual(lost.tile("Key store")[0], "KMS")
        self.assertEqual(lost.tile("KMS client certificate"), ("199 d", "green"))
        self.assertEqual(lost.tile("KMS server's certificate"), ("not tried", "grey"))
        self.assertEqual(lost.tile("Key age")[0], "300 d")
        self.assertEqual(lost.words("Key management server", "Host", "Port", "Reachable"),
                         [("kms.example.com", "5696", "not tried")])
        self.assertEqual(lost.words("Access", "Access token", "Excess privileges"), [("no date", "0")])
        self.assertEqual(lost.column("Firing alerts", "Alert and its runbook"), ["QumuloEncryptionKeyNotFound"])
        self.assertEqual(lost.green(), {"KMS client certificate", "KMS authority's certificate"})
        old = self.look("cluster", cluster="legacy-nyc")
        self.assertEqual(old.tile("Key age"), ("1100 d", "orange"))
        self.assertEqual(old.tile("KMS client certificate"), ("not reported", "grey"))
        silent = self.look("cluster", cluster="edge-oslo", width=1280)
        self.assertEqual(silent.tile("State"), ("unknown", "purple"))
        self.assertEqual(silent.tile("Status"), ("never seen", "grey"))
        # A scrape that comes late is a gap.
        self.assertEqual({text for text, *_ in silent.timeline("Failed polls by reason")["connect"]}, {"failed"})
        self.assertEqual(silent.green(), set())
        exporter = self.look("exporter")
        self.assertEqual(exporter.empty(), {"First certificate expires in", "Firing alerts"})
        self.assertEqual(exporter.tile("Read")[0], str(sum(each["up"] for each in clusters)))
        [instance] = exporter.rows("Instances")
        self.assertEqual((instance["Scrape"]["text"], instance["Scrape"]["hue"], instance["Instance"]["text"]),
                         ("answers", "green", self.address))

    def command_line_and_alerts_agree(self, expect):
        """With what page, JSON and dashboard say, which the test has compared."""
        table = subprocess.run([EXPORTER, "status", "--exporter.url", self.demo.url], stdin=subprocess.DEVNULL, text=True,
                               capture_output=True).stdout
        self.assertEqual(dict(re.findall(r"^(\S+) +(critical|unknown|warning|good) ", table, re.M)), expect)
        # Pending ones count: the waits are those of the shipped rules, and the KMS' five minutes are a part of its rule.
        worst = self.ask("""
            max by (cluster) (
              3 * (ALERTS{severity="critical", cluster!=""} >= 1)
                or 1 * (ALERTS{severity="warning", cluster!=""} >= 1)
                or group by (cluster) (cluster:qumulo_encryption_kms_unusable:since_seconds > 0))""")
        unread = self.ask("max by (cluster) (qumulo_encryption_up) == 0")
        names = {3: "critical", 1: "warning"}
        said = {name: "unknown" if name in unread else names.get(worst.get(name), "good") for name in expect}
        self.assertEqual(said, expect)

    def alerts_are_in_order(self, fleet):
        """Firing ones, worst first: by severity, then by the rank of the finding; each certificate once."""
        rows = [(row["Severity"]["text"], row["Severity"]["hue"], row["Cluster"]["text"], row["About"]["text"],
                 row["Alert and its runbook"]["text"]) for row in fleet.rows("Firing alerts")]
        names = [name.removeprefix("QumuloEncryption") for *_, name in rows]
        self.assertEqual(names[:4], ["KeyNotFound", "ConfigurationCorrupted", "KeyInactive", "CertificateExpired"])
        self.assertIn("CertificateExpiring", names)
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
            drawn = self.look(board, width=1280)
            self.assertEqual(drawn.empty(), set(drawn.panels))
            for title, panel in drawn.panels.items():
                if panel["type"] == "stat":
                    words, hue = drawn.tile(title)
                    self.assertEqual(hue, "grey", title)
                    self.assertRegex(words, "^(no data|no target|no date|never|never seen|not reported|not tried)$", title)
            self.assertEqual(drawn.green(), set())

    def test_stopped_exporter(self):
        self.begin()
        before = {each["name"]: each for each in self.said()["clusters"]}
        words = {name: self.words(name) for name, each in before.items() if each["up"]}
        self.end(self.demo)
        limit = "on (cluster) cluster:qumulo_encryption_stale_after_seconds:held + 5"
        old = f"(time() - cluster:qumulo_encryption_last_seen:seconds) > {limit}"
        wait_for(lambda: self.ask(old).keys() == before.keys(), "what was seen is not fresh any more", seconds=40)
        fleet = self.look("fleet")
        self.assertEqual(fleet.green(), set())
        self.assertEqual(fleet.tile("Exporters"), ("1 down", "red"))
        self.assertEqual(fleet.tile("Configuration"), ("no data", "grey"))
        states = {"critical": "critical", "unknown": "unknown", "warning": "unknown", "good": "unknown"}
        shown = {row["Cluster"]["text"]: row for row in fleet.rows("Clusters")}
        self.assertEqual(shown.keys(), before.keys())
        for name, each in before.items():
            self.assertEqual(shown[name]["State"]["text"], states[each["severity"]], name)
            self.assertEqual(shown[name]["Last status"]["text"], words.get(name, "never seen"))
        critical = sum(each["severity"] == "critical" for each in before.values())
        self.assertEqual(fleet.tile("Critical"), (str(critical), "red"))
        self.assertEqual(fleet.tile("Good"), ("0", "grey"))
        self.assertEqual(shown["genomics-1"]["Last status"]["hue"], "red")
        self.assertEqual(shown["prod-east"]["Last status"]["hue"], "grey")
        self.assertEqual(fleet.column("Clusters", "Cluster")[0], "genomics-1")
        self.alerts_are_in_order(fleet)
        end = moment(fleet.report["to"])
        for name, periods in fleet.timeline("Status of every cluster").items():
            self.assertLess(periods[-1][3], end - 3, f"{name} is drawn as if it had been seen now")
        cluster = self.look("cluster", cluster="prod-east")
        self.assertEqual((cluster.tile("State"), cluster.tile("Status")), (("unknown", "purple"), ("KMS available", "grey")))
        self.assertEqual(cluster.tile("KMS client certificate"), ("399 d", "grey"))
        self.assertEqual(cluster.green(), set())
        exporter = self.look("exporter")
        self.assertEqual(exporter.green(), set())
        [instance] = exporter.rows("Instances")
        self.assertEqual((instance["Scrape"]["text"], instance["Scrape"]["hue"]), ("fails", "red"))
        scrapes = [text for text, *_ in exporter.timeline("Scrapes")[self.address]]
        self.assertEqual((scrapes[0], scrapes[-1]), ("answers", "fails"))

    def test_local_key_stores(self):
        self.begin("clusters: [{name: one}, {name: two, type: Local, status: Encrypted}]\n")
        fleet = self.look("fleet", width=1280)
        self.assertEqual(fleet.empty(), {"Firing alerts", "First expiry in", "Next expiries", "Failed polls by reason"})
        self.assertEqual(fleet.tile("First expiry in"), ("no date", "grey"))
        self.assertEqual((fleet.tile("Critical"), fleet.tile("Good")), (("0", "grey"), ("2", "green")))
        self.assertEqual(fleet.words("Clusters", "Cluster", "State", "Last status", "Key store", "First expiry in"),
                         [("one", "good", "Encrypted", "local", "-"), ("two", "good", "Encrypted", "local", "-")])
        cluster = self.look("cluster", cluster="two", width=1280)
        self.assertEqual(cluster.empty(), {"Firing alerts", "Failed polls by reason", "Age of the cluster's own check",
                                           "Key management server", *CERTIFICATES})
        self.assertEqual(cluster.tile("Key store")[0], "local")
        self.assertEqual(cluster.tile("KMS client certificate"), ("not reported", "grey"))

    def test_a_day_of_forty_clusters(self):
        names = ["007", "eu.1", "eu-1", "prod-east-with-a-long-name", *(f"site-{number:02}" for number in range(36))]
        now_bad = {"site-20": "KMS Key Not Found", "site-21": "Cannot connect to KMS server."}
        fleet = "clusters:\n" + "".join(
            f"- {{name: '{name}', type: KMS, status: '{now_bad.get(name, 'KMS Available')}', "
            f"ca_cert_expiry: +{900 + number}d, client_cert_expiry: +{100 + number}d, "
            f"last_key_rotation_time: -30d, last_status_update_time: -5m}}\n"
            for number, name in enumerate(names))
        changes = {"007": [(600, 540, "kms_cannot_connect")], "eu.1": [(900, 870, "kms_key_not_found")],
                   "site-03": [(300, 200, None)], "site-20": [(1440, 100, "kms_available")]}
        self.begin(fleet, changes, impatient(RULES), keys={"site-05": (400, "the-one-before")})

        board = self.look("fleet", since="now-24h", interval="15s")
        self.assertEqual(board.empty(), set())
        timeline = board.timeline("Status of every cluster")
        self.assertEqual(sorted(timeline), sorted(names))
        self.assertEqual(list(timeline)[:5], ["007", "eu.1", "site-03", "site-20", "site-21"], "troubled clusters first")
        self.assertEqual([text for text, *_ in timeline["eu-1"]], ["KMS available"])
        for name, other, hue in (("007", "Cannot connect to the KMS", "orange"), ("eu.1", "KMS key not found", "red"),
                                 ("site-03", "No status", "purple")):
            periods = [(text, shown) for text, shown, _, _ in timeline[name]]
            self.assertEqual(periods, [("KMS available", "green"), (other, hue), ("KMS available", "green")])
            [(begin, end, _)] = changes[name]
            for edge, ago in zip(timeline[name][1][2:], (begin, end)):
                # What was imported has no marks of its end: Prometheus holds a sample for five minutes.
                self.assertAlmostEqual(edge, self.now - 60 * ago, delta=7 * 60)
        self.assertEqual([text for text, *_ in timeline["site-20"]], ["KMS available", "KMS key not found"])
        statuses, keys = [
            {(mark["title"].split(":")[0], round((self.now - moment(mark["time"])) / 600)) for mark in annotation["marks"]}
            for annotation in board.report["annotations"]]
        self.assertLessEqual({("007", 60), ("007", 54), ("eu.1", 90), ("eu.1", 87), ("site-20", 10)}, statuses)
        self.assertEqual(keys, {("site-05", 40)})
        for annotation in board.report["annotations"]:
            for mark in annotation["marks"]:
                self.assertLess(moment(mark["timeEnd"]) - moment(mark["time"]), 300, "a change is a moment")
        [reason] = board.panels["Failed polls by reason"]["frames"]
        self.assertEqual(reason["columns"][1]["name"], "connect")
        self.assertEqual(board.column("Clusters", "Cluster")[:4], ["site-20", "site-21", "007", "eu.1"])
        self.assertEqual(board.column("Next expiries", "Cluster")[:4], names[:4])
        self.assertEqual(board.tile("Watched")[0], "40")

        for name, other in (("007", "Cannot connect to the KMS"), ("eu.1", "KMS key not found")):
            board = self.look("cluster", since="now-24h", interval="15s", cluster=name)
            self.assertEqual(board.empty(), {"Firing alerts", "Failed polls by reason", "KMS server's certificate"})
            [(row, periods)] = board.timeline("Status over time").items()
            self.assertEqual((row, [text for text, *_ in periods]), (name, ["KMS available", other, "KMS available"]))
            self.assertEqual({mark["title"].split(":")[0] for mark in board.report["annotations"][0]["marks"]}, {name})
            for title in ("Polls per minute", "Poll duration", "Freshness", "Age of the cluster's own check"):
                for frame in board.panels[title]["frames"]:
                    self.assertGreater(frame["rows"], 600, title)
        # Steps of Grafana that are shorter than the interval of the scrapes.
        board = self.look("cluster", since="now-7h", to="now-1h", interval="15s", cluster="site-03")
        self.assertEqual([text for text, *_ in board.timeline("Failed polls by reason")["connect"]], ["failed"])
        polls, failed = board.panels["Polls per minute"]["frames"]
        self.assertEqual([frame["columns"][1]["name"] for frame in (polls, failed)], ["all", "failed: connect"])
        self.assertGreater(polls["rows"], 300)
        board = self.look("exporter", since="now-24h", interval="15s")
        self.assertEqual(board.empty(), {"First certificate expires in", "Firing alerts"})

    def test_pictures_of_the_readme(self):
        """They can be drawn again, and those that are there are as large."""
        done = subprocess.run([ROOT / "docs/draw", self.folder], stdin=subprocess.DEVNULL, capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        for name, page in (("page", "README.md"), ("fleet", "dashboards/README.md"), ("cluster", "dashboards/README.md")):
            new, old = ((folder / f"{name}.png").read_bytes() for folder in (self.folder, ROOT / "docs"))
            # The signature, and then the width and height.
            self.assertEqual(new[:8], b"\x89PNG\r\n\x1a\n")
            self.assertEqual(new[16:24], old[16:24], name)
            self.assertLess(max(len(new), len(old)), 250_000, name)
            self.assertRegex((ROOT / page).read_text(), rf"!\[[^\]]{{40,}}\]\((\.\./)?docs/{name}\.png\)")


if __name__ == "__main__":
    unittest.main()
