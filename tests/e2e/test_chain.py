"""From a cluster's state to a notification: simulator, two exporters, each store with its Alertmanager, and a webhook.
Minutes in the rules are replaced by seconds."""

import http.server
import json
import re
import signal
import threading
import time
import unittest

from support import EXPORTER, ROOT, STACKS, Case, entry, free_port, get, scrape_config, wait_for

KMS = "type: KMS, client_cert_expiry: +900d, last_key_rotation_time: -10d"
CLUSTERS = ("prod", "other", "retired")


class Webhook:
    """A webhook receiver for one Alertmanager."""

    def __init__(self, case):
        # Single alerts, and requests, which may contain several alerts.
        self.notifications, self.posts = notifications, posts = [], []

        class Listener(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                posts.append((self.path, [(one["labels"]["alertname"], one["status"]) for one in body["alerts"]]))
                for alert in body["alerts"]:
                    name = alert["labels"]["alertname"].removeprefix("QumuloEncryption")
                    one = (self.path, alert["status"], alert["labels"].get("cluster"), name)
                    if one not in notifications[-1:]:
                        notifications.append(one)
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Listener)
        case.addCleanup(server.server_close)
        case.addCleanup(server.shutdown)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.address = f"127.0.0.1:{server.server_port}"

    def about(self, name, cluster="prod"):
        return [one[:2] for one in self.notifications if one[2:] == (cluster, name)]


def fast(rules):
    """The text of the rules with seconds instead of minutes, and at most 20 seconds instead of hours."""
    def shorter(found):
        return f"{found[1]}{min(20, int(found[2]) * (60 if found[3] == 'h' else 1))}s"

    rules = re.sub(r"((?:for|keep_firing_for): |\[|offset )(?!6h)(\d+)([mh])", shorter, rules)
    return rules.replace("    interval: 1m\n", "")


class Chain(Case):
    def setUp(self):
        super().setUp()
        self.clusters = self.simulate(self.fleet())
        self.ports = {name: free_port() for name in ("good", "blind")}
        self.configure(CLUSTERS)
        self.exporters = {name: self.start_exporter(name) for name in self.ports}
        self.webhooks = {name: Webhook(self) for name in STACKS}
        self.alertmanagers = {name: self.alertmanager(name) for name in STACKS}
        self.watch()

    def fleet(self, state="status: KMS Available", expiry="+900d"):
        good = f"{KMS}, ca_cert_expiry: +900d, status: KMS Available"
        return (f"clusters:\n- {{name: prod, {KMS}, ca_cert_expiry: {expiry}, {state}}}\n"
                f"- {{name: other, {good}}}\n- {{name: retired, {good}}}\n")

    def set(self, state, expiry="+900d"):
        self.clusters.fleet.write_text(self.fleet(state, expiry))
        return time.monotonic()

    def configure(self, names):
        """Writes the configurations of two exporters. One of them has a wrong fingerprint for `prod`."""
        for exporter in self.ports:
            text = "global: {poll_interval: 1s, poll_timeout: 1s, stale_after: 5s}\nclusters:\n"
            for name in names:
                cluster = dict(self.clusters.clusters[name])
                if (exporter, name) == ("blind", "prod"):
                    cluster["pin_sha256"] = self.clusters.clusters["other"]["pin_sha256"]
                text += entry(name, cluster, self.folder)
            self.replace(self.folder / f"{exporter}.yml", text)

    def start_exporter(self, name):
        return self.start(EXPORTER, "--config.file", self.folder / f"{name}.yml",
                          "--web.listen-address", f"127.0.0.1:{self.ports[name]}")

    def alertmanager(self, name):
        """Starts an Alertmanager with the example configuration and short intervals. Returns its address."""
        text = (ROOT / "deploy/alertmanager/alertmanager.yml").read_text()
        text = text.replace("127.0.0.1:9099", self.webhooks[name].address)
        for old, new in (("group_wait: 30s", "group_wait: 1s"), ("group_interval: 5m", "group_interval: 1s"),
                         ("group_interval: 1m", "group_interval: 1s"), ("repeat_interval: 50s", "repeat_interval: 1s")):
            self.assertIn(old, text)
            text = text.replace(old, new)
        folder, address = self.room()
        config = folder / "alertmanager.yml"
        config.write_text(text)
        self.ready(address, STACKS[name].alertmanager, f"--config.file={config}", f"--storage.path={folder}",
                   f"--web.listen-address={address}", "--cluster.listen-address=")
        return address

    def watch(self):
        rules = self.folder / "alerts.yml"
        text = fast((ROOT / "deploy/prometheus/alerts.yml").read_text())
        watchdog = (ROOT / "deploy/prometheus/watchdog.yml").read_text().split("groups:\n")[1]
        # Here, Prometheus sends an alert only every ten minutes; `for` delays the first one until it has found Alertmanager.
        rules.write_text(text + watchdog.replace("expr: vector(1)\n", "expr: vector(1)\n        for: 15s\n"))
        scrape = scrape_config(*(f"127.0.0.1:{port}" for port in self.ports.values()))
        for store in self.stores(scrape, rules, self.alertmanagers):
            seen = 'cluster:qumulo_encryption_finding:max{cluster="prod",finding="key_not_found"}'
            wait_for(lambda: store.value(seen) == 0, f"{store.name}: the rules have seen the good state", seconds=60)

    def wait(self, notification, since):
        for name, webhook in self.webhooks.items():
            wait_for(lambda: notification in webhook.notifications, f"{name}: {notification} in {webhook.notifications}", 90)
            print(f"{name}: {time.monotonic() - since:.1f} s from the change to {notification}")

    def suppressed(self, alert, severity):
        """Waits until each Alertmanager has this alert, inhibited by another one."""
        def found(address):
            for one in json.loads(get(f"http://{address}/api/v2/alerts")[2]):
                if (one["labels"]["alertname"], one["labels"]["severity"]) == (f"QumuloEncryption{alert}", severity):
                    return one["status"]["state"] == "suppressed"

        for name, address in self.alertmanagers.items():
            wait_for(lambda: found(address), f"{name}: {alert} is suppressed", seconds=60)

    def test_notifications(self):
        # One of the two exporters cannot read the cluster: no page. The other one suffices for the rest of the test.
        self.wait(("/log", "firing", "prod", "ExporterCannotReach"), time.monotonic())
        self.wait(("/deadman", "firing", None, "Watchdog"), time.monotonic())
        # The key is lost, then the KMS is unreachable, then the exporter restarts without its history, then the cluster is
        # unreachable. There is one page about the key, which is not resolved.
        since = self.set("status: KMS Key Not Found")
        self.wait(("/pager", "firing", "prod", "KeyNotFound"), since)
        since = self.set("status: Cannot connect to KMS server.")
        self.wait(("/ticket", "firing", "prod", "KmsUnusable"), since)
        self.exporters["good"].send_signal(signal.SIGKILL)
        self.exporters["good"].wait()
        self.exporters["good"] = self.start_exporter("good")
        url = f"http://127.0.0.1:{self.ports['good']}/metrics"
        series = b'qumulo_encryption_finding{cluster="prod",finding="key_not_found"'
        wait_for(lambda: self.exporters["good"].poll() is None and b'status{cluster="prod"' in self.body(url), "it polls")
        self.assertNotIn(series, self.body(url), "not known after the restart")
        since = self.set("status: Cannot connect to KMS server., faults: {down: true}")
        self.wait(("/pager", "firing", "prod", "ClusterNotPolled"), since)
        self.wait(("/pager", "firing", "prod", "KmsUnusable"), since)
        self.suppressed("ClusterNotPolled", "warning")
        for name, webhook in self.webhooks.items():
            self.assertEqual(webhook.about("KeyNotFound"), [("/pager", "firing")], name)
        # The key is back: one resolution.
        since = self.set("status: KMS Available")
        self.wait(("/pager", "resolved", "prod", "KeyNotFound"), since)
        self.wait(("/pager", "resolved", "prod", "ClusterNotPolled"), since)
        # A certificate passes both limits, expires, and is renewed.
        for days, path, name in (("+20d", "/ticket", "CertificateExpiring"), ("+3d", "/pager", "CertificateExpiring"),
                                 ("-1d", "/pager", "CertificateExpired")):
            since = self.set("status: KMS Available", expiry=days)
            self.wait((path, "firing", "prod", name), since)
        self.suppressed("CertificateExpiring", "critical")
        since = self.set("status: KMS Available")
        self.wait(("/pager", "resolved", "prod", "CertificateExpired"), since)
        # A cluster is removed from both configurations: a ticket, but no page.
        self.configure(CLUSTERS[:2])
        since = time.monotonic()
        for exporter in self.exporters.values():
            exporter.send_signal(signal.SIGHUP)
        self.wait(("/ticket", "firing", "retired", "ClusterForgotten"), since)
        for name, webhook in self.webhooks.items():
            with self.subTest(name):
                self.check_notifications(webhook)

    def body(self, url):
        try:
            return get(url)[2]
        except OSError:
            return b""

    def check_notifications(self, webhook):
        self.assertEqual({one[2:] for one in webhook.notifications if one[2] not in ("prod", None)},
                         {("retired", "ClusterForgotten")})
        pages = [one[3] for one in webhook.notifications if one[:2] == ("/pager", "firing")]
        self.assertEqual({name: pages.count(name) for name in pages},
                         {"KeyNotFound": 1, "KmsUnusable": 1, "ClusterNotPolled": 1, "CertificateExpiring": 1,
                          "CertificateExpired": 1})
        self.assertEqual(webhook.about("KeyNotFound"), [("/pager", "firing"), ("/pager", "resolved")])
        self.assertEqual(webhook.about("ClusterForgotten", "retired"), [("/ticket", "firing")])


if __name__ == "__main__":
    unittest.main()
