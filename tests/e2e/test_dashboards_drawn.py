"""Rendered dashboards in various situations."""

import json
import os
import pathlib
import subprocess
import unittest

from drawing import BOARDS, Drawing, moment
from support import ROOT, wait_for

HUES = {"critical": "red", "unknown": "purple", "warning": "orange", "good": "green"}
FORBIDDEN, DOUBTFUL = "Do not reboot, upgrade or power-cycle nodes of", "Nor of these: their status is not known"
# Qumulo's texts by status label.
WORDS = {"encrypted": "Encrypted", "kms_available": "KMS Available", "not_encrypted": "Not Encrypted", "unknown": "unrecognised",
         "kms_cannot_connect": "Cannot connect to KMS server", "kms_authentication_error": "KMS Authentication Error",
         "kms_key_inactive": "KMS Key Inactive", "configuration_corrupted": "Configuration Corrupted",
         "kms_key_not_found": "KMS Key Not Found"}
# Rendering takes some time, depending on the machine.
JUST_NOW = "^(a few seconds|a minute|[2-9] minutes) ago$"
RUNBOOKS = {"certificate_critical": "CertificateExpiring", "certificate_warning": "CertificateExpiring",
            "kms_cannot_connect": "KmsUnusable", "not_readable": "ClusterNotPolled"}
# Panels that are empty for a healthy cluster.
EMPTY_IF_HEALTHY = {"KMS reachable", "Access token expires in", "Failed polls by reason", "Policy requires"}
HEALTHY = "{{name: '{}', type: KMS, status: KMS Available, ca_cert_expiry: +900d, client_cert_expiry: +{}d, " \
          "last_key_rotation_time: -30d, last_status_update_time: -5m}}"


FINDINGS = {"key_not_found": "critical", "key_inactive": "critical", "kms_cannot_connect": "critical"}


def cluster(name, site, found={}):
    """The metrics of a cluster. Without a site, the exporter cannot read it."""
    own, fresh = f'cluster="{name}"', site is not None
    findings = {("not_readable", "unknown"): int(not fresh)}
    if fresh:
        findings |= {pair: int(pair in found.items()) for pair in FINDINGS.items()}
    lines = [f'finding{{{own},finding="{finding}",severity="{severity}"}} {value}'
             for (finding, severity), value in findings.items()]
    lines += [f"do_not_restart{{{own}}} {int(not fresh or bool(found))}", f"stale_after_seconds{{{own}}} 300", f"up{{{own}}} {int(fresh)}"]
    if fresh:
        lines += [f'status{{{own},status="kms_available"}} 1', f'cluster_info{{{own},site="{site}"}} 1']
    return "".join(f"qumulo_encryption_{line}\n" for line in lines)


def camel(finding):
    return RUNBOOKS.get(finding, "".join(word.capitalize() for word in finding.split("_")))


class Dashboards(Drawing):
    def look(self, board, since="now-5m", to="now", cluster=None, width=1600, theme="dark", interval="1s", **variables):
        """Renders a dashboard. The picture is kept if PICTURES names a folder."""
        case = self._testMethodName.removeprefix("test_")
        chosen = "-".join("".join(letter for letter in value if letter.isalnum()) for value in variables.values())
        name = "-".join(filter(None, [case, board, cluster, chosen, str(width), theme])) + ".png"
        picture = pathlib.Path(os.environ.get("PICTURES", self.folder)).resolve() / name
        return self.draw(board, picture, "--to", to, "--width", str(width), "--theme", theme, "--scrape-interval", interval,
                         since=since, cluster=cluster, variables=variables)

    def test_demo(self):
        self.begin()
        report = self.report()
        clusters = report["clusters"]
        for width, theme in ((1600, "dark"), (1280, "light")):
            fleet = self.look("fleet", width=width, theme=theme)
            self.assertLessEqual(fleet.empty(), {"Firing alerts"})
            # The same clusters in the same order as in the JSON.
            self.assertEqual(fleet.column("Clusters", "Cluster"), [each["name"] for each in clusters])
            for each, row in zip(clusters, fleet.rows("Clusters")):
                with self.subTest(each["name"]):
                    state = row["State"]
                    self.assertEqual((state["text"], state["hue"]), (each["severity"], HUES[each["severity"]]))
                    self.assertEqual(row["Status"]["text"], WORDS[each["status"]] if each["status"] else "-")
                    finding = row["Finding and its runbook"]
                    self.assertEqual(finding["text"], camel(each["findings"][0]["id"]) if each["findings"] else "-")
                    if each["findings"]:
                        self.assertEqual(finding["link"], f"https://runbooks.example.com/QumuloEncryption{finding['text']}.md")
                    self.assertIn(f"/d/qumulo-encryption-cluster?var-cluster={each['name']}&", row["Cluster"]["link"])
                    self.assertRegex(row["Last read"]["text"], JUST_NOW if each["up"] else "^never$")
                    failure = each["last_poll_failure"]
                    self.assertEqual(row["Poll failure"]["text"], failure["reason"] if failure else "-")
                    left = min((certificate["seconds_left"] for certificate in each["certificates"]), default=None)
                    lost = {"key_not_found", "configuration_corrupted", "key_inactive"} & {one["id"] for one in each["findings"]}
                    shown = "-" if left is None or lost else "expired" if left <= 0 else f"{left // 86400} d"
                    self.assertEqual(row["First expiry in"]["text"], shown)
            for state, hue in HUES.items():
                self.assertEqual(fleet.tile(state.capitalize()), (str(report["totals"][state]), hue))
            self.assertEqual(fleet.tile("Watched")[0], str(len(clusters)))
            self.assertEqual(fleet.tile("First expiry in"), ("expired", "red"))
            self.assertEqual(fleet.tile("Exporters"), ("all up", "green"))
            self.assertEqual(fleet.tile("Configuration"), ("in use", "green"))
            self.restarts_are_forbidden(fleet, clusters)
            self.assertEqual(fleet.words("Certificates", "Cluster", "Certificate", "Renew", "Expires")[:3],
                             [("research-zurich", "KMS client certificate", "expired", "2 days ago"),
                              ("media-paris", "KMS client certificate", "at once", "in 5 days"),
                              ("media-london", "KMS CA certificate", "soon", "in 25 days")])
            hues = [row["Renew"].get("hue") for row in fleet.rows("Certificates")]
            self.assertEqual(hues[:3], ["red", "red", "orange"])
            self.assertNotIn("green", hues)
            self.assertEqual(fleet.timeline("Restarts forbidden").keys(),
                             {each["name"] for each in clusters if each["do_not_restart"]})

        for state, hue in HUES.items():
            only = self.look("fleet", state={"critical": "< 100", "unknown": ">= 100 < 200", "warning": ">= 200 < 300",
                                             "good": ">= 300"}[state])
            self.assertEqual(only.column("Clusters", "Cluster"), [each["name"] for each in clusters if each["severity"] == state])
            self.assertEqual({row["State"]["hue"] for row in only.rows("Clusters")}, {hue})

        lost = self.look("cluster", cluster="genomics-1")
        self.assertEqual(lost.empty(), EMPTY_IF_HEALTHY)
        self.assertEqual(lost.tile("Restart"), ("Do not reboot, upgrade or power-cycle nodes", "red"))
        self.assertEqual(lost.tile("State"), ("critical", "red"))
        self.assertEqual(lost.tile("Status"), ("KMS Key Not Found", "red"))
        self.assertEqual(lost.tile("Key store")[0], "KMS")
        self.assertEqual(lost.words("Certificates", "Certificate", "Renew"),
                         [("KMS client certificate", "not yet"), ("KMS CA certificate", "not yet")])
        self.assertEqual(lost.tile("KMS reachable"), ("not tried", "grey"))
        self.assertEqual(lost.tile("Key age")[0], "300 d")
        self.assertEqual(lost.words("Key management server", "Host", "Port"), [("kms.example.com", "5696")])
        self.assertEqual(lost.words("Findings", "State", "Finding and its runbook"), [("critical", "KeyNotFound")])
        self.assertEqual(lost.green(), set())
        old = self.look("cluster", cluster="legacy-nyc")
        self.assertEqual(old.tile("Key age"), ("1100 d", "orange"))
        self.assertEqual(old.tile("Restart")[0], "No finding forbids a restart")
        silent = self.look("cluster", cluster="edge-oslo", width=1280)
        self.assertEqual(silent.tile("Restart"), ("Do not reboot, upgrade or power-cycle nodes: the status is not known", "purple"))
        self.assertEqual(silent.tile("State"), ("unknown", "purple"))
        self.assertEqual(silent.tile("Status"), ("not known now", "grey"))
        self.assertEqual({text for text, *_ in silent.timeline("Failed polls by reason")["connect"]}, {"failed"})
        self.assertEqual(silent.green(), set())
        exporter = self.look("exporter")
        self.assertEqual(exporter.empty(), set())
        self.assertEqual(exporter.tile("Read")[0], str(sum(each["up"] for each in clusters)))
        [instance] = exporter.rows("Instances")
        self.assertEqual((instance["Scrape"]["text"], instance["Scrape"]["hue"], instance["Instance"]["text"]),
                         ("answers", "green", self.demo.url.removeprefix("http://")))

    def restarts_are_forbidden(self, fleet, clusters):
        """Restarts are forbidden by a finding, or because the status is not known."""
        certain = {each["name"] for each in clusters
                   if {finding["id"] for finding in each["findings"]} & {
                       "key_not_found", "configuration_corrupted", "key_inactive", "certificate_expired",
                       "kms_authentication_error", "kms_cannot_connect"}}
        named = fleet.names(FORBIDDEN)
        self.assertEqual(named.keys(), certain)
        self.assertEqual(named["genomics-1"], ("KMS Key Not Found", "red"))
        self.assertEqual(list(named)[0], "genomics-1", "the worst is first")
        doubtful = fleet.names(DOUBTFUL)
        self.assertEqual(doubtful.keys(), {each["name"] for each in clusters if each["do_not_restart"]} - certain)
        self.assertEqual({hue for _, hue in doubtful.values()}, {"purple"})

    def test_empty_prometheus(self):
        self.prometheus()
        for board in BOARDS:
            drawn = self.look(board, width=1280)
            self.assertEqual(drawn.empty(), set(drawn.panels) - {"Clusters", "Firing alerts"})
            for title, panel in drawn.panels.items():
                if panel["type"] == "stat":
                    words, hue = drawn.tile(title)
                    self.assertEqual(hue, "grey", title)
                    self.assertRegex(words, "^(No data|no data|no target|no date|never|none known|not known|not known now|not reported"
                                            "|not tried)$", title)
            self.assertEqual(drawn.green(), set())
            if board == "fleet":
                [row] = drawn.rows("Clusters")
                self.assertEqual((row["State"]["text"], row["State"]["hue"], row["Cluster"]["text"]),
                                 ("no data", "grey", "No exporter has reported a cluster"))

    def test_stopped_exporter(self):
        self.begin()
        before = {each["name"]: each for each in self.report()["clusters"]}
        self.end(self.demo)
        wait_for(lambda: not self.ask("qumulo_encryption_finding"), "the series have ended", seconds=40)
        fleet = self.look("fleet")
        self.assertEqual(fleet.green(), set())
        self.assertEqual(fleet.tile("Exporters"), ("1 down", "red"))
        self.assertEqual(fleet.tile("Configuration"), ("no data", "grey"))
        shown = {row["Cluster"]["text"]: row for row in fleet.rows("Clusters")}
        self.assertEqual(shown.keys(), before.keys())
        for name, each in before.items():
            state = "critical" if each["severity"] == "critical" else "unknown"
            self.assertEqual((shown[name]["State"]["text"], shown[name]["State"]["hue"]), (state, HUES[state]), name)
            self.assertRegex(shown[name]["Last read"]["text"], JUST_NOW if each["up"] else "^never$")
        critical = sum(each["severity"] == "critical" for each in before.values())
        self.assertEqual(fleet.tile("Critical"), (str(critical), "red"))
        self.assertEqual(fleet.tile("Unknown"), (str(len(before) - critical), "purple"))
        self.assertEqual(fleet.tile("Good"), ("0", "grey"))
        self.assertEqual(fleet.column("Clusters", "Cluster")[0], "genomics-1")
        self.assertEqual(fleet.names(FORBIDDEN)["genomics-1"], ("KMS Key Not Found", "red"))
        self.assertIn("more clusters", fleet.names(DOUBTFUL))
        cluster = self.look("cluster", cluster="prod-east")
        self.assertEqual((cluster.tile("State"), cluster.tile("Status")), (("unknown", "purple"), ("not known now", "grey")))
        self.assertEqual(cluster.tile("Restart"), ("Do not reboot, upgrade or power-cycle nodes: the status is not known", "purple"))
        self.assertEqual(cluster.green(), set())
        exporter = self.look("exporter")
        self.assertEqual(exporter.green(), set())
        [instance] = exporter.rows("Instances")
        self.assertEqual((instance["Scrape"]["text"], instance["Scrape"]["hue"]), ("fails", "red"))
        scrapes = [text for text, *_ in exporter.timeline("Scrapes")[instance["Instance"]["text"]]]
        self.assertEqual((scrapes[0], scrapes[-1]), ("answers", "fails"))

    def test_local_key_stores(self):
        self.begin("clusters: [{name: one}, {name: two, type: Local, status: Encrypted}]\n")
        fleet = self.look("fleet", width=1280)
        self.assertEqual(fleet.empty() - {"Firing alerts"}, {"First expiry in", "Certificates", "Restarts forbidden"})
        self.assertEqual(fleet.tile("First expiry in"), ("no date", "grey"))
        self.assertEqual((fleet.tile("Critical"), fleet.tile("Good")), (("0", "grey"), ("2", "green")))
        self.assertEqual((fleet.names(FORBIDDEN).keys(), fleet.names(DOUBTFUL).keys()), ({"no cluster"}, {"no cluster"}))
        self.assertEqual(fleet.words("Clusters", "Cluster", "State", "Status"),
                         [("one", "good", "Encrypted"), ("two", "good", "Encrypted")])
        cluster = self.look("cluster", cluster="two", width=1280)
        self.assertEqual(cluster.empty(), EMPTY_IF_HEALTHY | {"Findings", "Certificates", "Key management server", "KMS configured",
                                                     "Age of the cluster's own check"})
        self.assertEqual(cluster.tile("Key store")[0], "local")

    def test_a_day_of_forty_clusters(self):
        names = ["007", "eu.1", "eu-1", "prod-east-with-a-long-name", *(f"site-{number:02}" for number in range(36))]
        now_bad = {"site-20": "KMS Key Not Found", "site-21": "Cannot connect to KMS server."}
        fleet = "clusters:\n" + "".join(
            "- " + HEALTHY.format(name, 100 + number).replace("KMS Available", now_bad.get(name, "KMS Available")) + "\n"
            for number, name in enumerate(names))
        changes = {"007": [(600, 540, "kms_cannot_connect")], "eu.1": [(900, 870, "kms_key_not_found")],
                   "site-03": [(300, 200, None)], "site-20": [(1440, 100, "kms_available")]}
        self.begin(fleet, changes, keys={"site-05": (400, "the-one-before")})

        board = self.look("fleet", since="now-24h", interval="15s")
        self.assertLessEqual(board.empty(), {"Firing alerts"})
        timeline = board.timeline("Restarts forbidden")
        self.assertEqual(sorted(timeline), ["007", "eu.1", "site-03", "site-20", "site-21"])
        for name in ("007", "eu.1", "site-03"):
            periods = [(text, shown) for text, shown, _, _ in timeline[name]]
            self.assertEqual(periods, [("not forbidden", "grey"), ("do not restart", "red"), ("not forbidden", "grey")])
            [(begin, end, _)] = changes[name]
            for edge, ago in zip(timeline[name][1][2:], (begin, end)):
                # Imported series have no staleness markers, so Prometheus returns the last sample for five minutes.
                self.assertAlmostEqual(edge, self.now - 60 * ago, delta=7 * 60)
        self.assertEqual([text for text, *_ in timeline["site-20"]], ["not forbidden", "do not restart"])
        self.assertEqual(board.column("Clusters", "Cluster")[:4], ["site-20", "site-21", "007", "eu-1"])
        self.assertEqual(board.column("Certificates", "Cluster")[:4], names[:4])
        self.assertEqual(board.tile("Watched")[0], "40")

        for name, other, ago in (("007", "Cannot connect to KMS server", (60, 54)), ("eu.1", "KMS Key Not Found", (90, 87))):
            board = self.look("cluster", since="now-24h", interval="15s", cluster=name)
            self.assertEqual(board.empty(), EMPTY_IF_HEALTHY | {"Findings"})
            [(row, periods)] = board.timeline("Status over time").items()
            self.assertEqual((row, [text for text, *_ in periods]), ("status", ["KMS Available", other, "KMS Available"]))
            statuses, _ = board.report["annotations"]
            self.assertEqual({round((self.now - moment(mark["time"])) / 600) for mark in statuses["marks"]}, set(ago))
            for mark in statuses["marks"]:
                self.assertLess(moment(mark["timeEnd"]) - moment(mark["time"]), 300, "a change is a moment")
            for title in ("Poll duration", "Age of the data", "Age of the cluster's own check"):
                for frame in board.panels[title]["frames"]:
                    self.assertGreater(frame["rows"], 250, title)
        board = self.look("cluster", since="now-24h", interval="15s", cluster="site-05")
        [mark] = board.report["annotations"][1]["marks"]
        self.assertEqual(round((self.now - moment(mark["time"])) / 600), 40)
        # Grafana's step is shorter than the scrape interval.
        board = self.look("cluster", since="now-7h", to="now-1h", interval="15s", cluster="site-03")
        self.assertEqual([text for text, *_ in board.timeline("Failed polls by reason")["connect"]], ["failed"])
        board = self.look("exporter", since="now-24h", interval="15s")
        self.assertEqual(board.empty(), set())

    def test_two_exporters(self):
        """The worse finding counts, one exporter that can read a cluster suffices, and critical findings stay until one reports
        recovery."""
        lost = {"key_not_found": "critical"}
        one = self.serve(cluster("R&D", "berlin", lost) + cluster("lab #2", "oslo") + cluster("a+b", None)
                         + cluster("gone", "oslo", lost))
        other = self.serve(cluster("R&D", "berlin") + cluster("lab #2", None) + cluster("a+b", None) + cluster("calm", "oslo"))
        self.prometheus(one, other)
        wait_for(lambda: len(self.ask("qumulo_encryption_do_not_restart")) == 5, "both are scraped")
        fleet = self.look("fleet", width=1280)
        self.assertEqual(fleet.words("Clusters", "Cluster", "State"),
                         [("gone", "critical"), ("R&D", "critical"), ("a+b", "unknown"), ("calm", "good"), ("lab #2", "good")])
        self.assertEqual(fleet.names(FORBIDDEN).keys(), {"gone", "R&D"})
        self.assertEqual(fleet.names(DOUBTFUL).keys(), {"a+b"})
        for row in fleet.rows("Clusters"):
            name = {"R&D": "R%26D", "lab #2": "lab%20%232", "a+b": "a%2Bb"}.get(row["Cluster"]["text"], row["Cluster"]["text"])
            self.assertIn(f"?var-cluster={name}&", row["Cluster"]["link"])
        # A cluster that cannot be read is shown at every site.
        oslo = self.look("fleet", site="oslo")
        self.assertEqual(oslo.column("Clusters", "Cluster"), ["gone", "a+b", "calm", "lab #2"])
        self.assertEqual((oslo.tile("Critical")[0], oslo.tile("Good")[0]), ("1", "2"))
        self.assertEqual(self.look("fleet", clusters="a+b").column("Clusters", "Cluster"), ["a+b"])

        one.text, other.text = "", cluster("R&D", "berlin") + cluster("lab #2", "oslo")
        wait_for(lambda: len(self.ask("qumulo_encryption_do_not_restart")) == 2, "the series have ended")
        fleet = self.look("fleet", width=1280)
        self.assertEqual(fleet.words("Clusters", "Cluster", "State"),
                         [("gone", "critical"), ("a+b", "unknown"), ("calm", "unknown"), ("lab #2", "good"), ("R&D", "good")])
        self.assertEqual(fleet.names(FORBIDDEN).keys(), {"gone"})

    def test_another_label_for_clusters(self):
        exporter = self.serve(cluster("west", "oslo", {"key_inactive": "critical"}) + cluster("east", "oslo"))
        self.prometheus(exporter, relabel="  metric_relabel_configs:\n"
                        "  - {source_labels: [cluster], regex: (.+), target_label: qumulo_cluster}\n"
                        "  - {source_labels: [cluster], regex: .+, replacement: site-a, target_label: cluster}\n")
        wait_for(lambda: self.ask("qumulo_encryption_up").keys() == {"site-a"}, "it is scraped")
        fleet = self.look("fleet", label="qumulo_cluster")
        self.assertEqual(fleet.words("Clusters", "Cluster", "State", "Status"),
                         [("west", "critical", "KMS Available"), ("east", "good", "KMS Available")])
        self.assertEqual(fleet.names(FORBIDDEN).keys(), {"west"})
        self.assertEqual(fleet.tile("Watched")[0], "2")
        one = self.look("cluster", cluster="west", label="qumulo_cluster")
        self.assertEqual((one.tile("State")[0], one.column("Findings", "Finding and its runbook")), ("critical", ["KeyInactive"]))

    def test_two_hundred_clusters(self):
        lost, unread = {"kms_cannot_connect": "critical"}, None
        exporter = self.serve("".join(cluster(f"cluster-{number:03}", unread if number % 20 == 7 else "oslo",
                                              lost if number % 10 == 3 else {}) for number in range(200)))
        self.prometheus(exporter)
        wait_for(lambda: len(self.ask("qumulo_encryption_do_not_restart")) == 200, "it is scraped")
        fleet = self.look("fleet", width=1280)
        self.assertEqual([fleet.tile(state)[0] for state in ("Critical", "Unknown", "Good", "Watched")], ["20", "10", "170", "200"])
        self.assertEqual(fleet.names(FORBIDDEN)["more clusters"][0], "12")
        self.assertEqual(fleet.names(DOUBTFUL)["more clusters"][0], "5")
        self.assertEqual(set(fleet.column("Clusters", "State")), {"critical"})
        [panel] = [one for one in json.loads(BOARDS["fleet"].read_text())["panels"] if one["title"] == "Clusters"]
        self.assertTrue(panel["options"]["enablePagination"], "whole rows, and pages")

    def test_pictures_of_the_readme(self):
        """docs/draw works, and the committed pictures have the same dimensions as its output."""
        done = subprocess.run([ROOT / "docs/draw", self.folder], stdin=subprocess.DEVNULL, capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        for name, page in (("page", "README.md"), ("fleet", "dashboards/README.md"), ("cluster", "dashboards/README.md")):
            new, old = ((folder / f"{name}.png").read_bytes() for folder in (self.folder, ROOT / "docs"))
            # The PNG signature, and the dimensions.
            self.assertEqual(new[:8], b"\x89PNG\r\n\x1a\n")
            self.assertEqual(new[16:24], old[16:24], name)
            self.assertLess(max(len(new), len(old)), 250_000, name)
            self.assertRegex((ROOT / page).read_text(), rf"!\[[^\]]{{40,}}\]\((\.\./)?docs/{name}\.png\)")


if __name__ == "__main__":
    unittest.main()
