"""From a cluster's state to a notification: simulator, exporter, each store with its Alertmanager, and a webhook."""

import http.server
import json
import re
import threading
import time
import unittest

from support import ROOT, STACKS, Case, get, wait_for

KMS = "type: KMS, client_cert_expiry: +900d, last_key_rotation_time: -10d"


class Webhook:
    """Listens to one Alertmanager."""

    def __init__(self, case):
        # Alerts, one by one; and notifications, which are about all alerts of a cluster.
        self.notifications, self.posts = notifications, posts = [], []

        class Listener(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                posts.append((self.path, [(one["labels"]["alertname"], one["status"]) for one in body["alerts"]]))
                for alert in body["alerts"]:
                    name = alert["labels"]["alertname"].removeprefix("QumuloEncryption")
                    notifications.append((self.path, alert["status"], alert["labels"].get("cluster"), name))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Listener)
        case.addCleanup(server.server_close)
        case.addCleanup(server.shutdown)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.address = f"127.0.0.1:{server.server_port}"


class Chain(Case):
    def setUp(self):
        super().setUp()
        self.fleet = self.folder / "fleet.yml"
        self.set("status: KMS Available")
        self.demo = self.exporter("demo", "--fleet", self.fleet)
        self.webhooks = {name: Webhook(self) for name in STACKS}
        self.alertmanagers = {name: self.alertmanager(name) for name in STACKS}
        self.watch()

    def set(self, state, expiry="+900d"):
        self.fleet.write_text(f"clusters:\n- {{name: prod, {KMS}, ca_cert_expiry: {expiry}, {state}}}\n- {{name: other}}\n")
        return time.monotonic()

    def alertmanager(self, name):
        """The shipped example, at the pace of a test; the address where it listens."""
        text = (ROOT / "deploy/alertmanager/alertmanager.yml").read_text()
        text = text.replace("127.0.0.1:9099", self.webhooks[name].address)
        text = text.replace("group_wait: 30s", "group_wait: 1s").replace("group_interval: 5m", "group_interval: 1s")
        folder, address = self.room()
        config = folder / "alertmanager.yml"
        config.write_text(text)
        self.ready(address, STACKS[name].alertmanager, f"--config.file={config}", f"--storage.path={folder}",
                   f"--web.listen-address={address}", "--cluster.listen-address=")
        return address

    def watch(self):
        """The shipped rules with short waits. Prometheus 3 evaluates rules five seconds before it scrapes for the first
        time: the wait of ExporterAbsent is longer."""
        rules = self.folder / "alerts.yml"
        paces = {"5m": "2s", "10m": "10s", "15m": "2s", "1h": "6s", "4h": "10s"}
        text = (ROOT / "deploy/prometheus/alerts.yml").read_text()
        text = re.sub(r"(\n        for): (\S+)", lambda found: f"{found[1]}: {paces[found[2]]}", text)
        text = text.replace(">= 300", ">= 3")
        # Not polled: 10 and 15 seconds in place of 15 minutes and 4 hours.
        text = re.sub(r"clamp_min\(\d( \* [\w:]+), 15 \* 60\)", r"(2\1)", text)
        text = re.sub(r"clamp_min\(\d( \* [\w:]+), 4 \* 3600\)", r"(3\1)", text)
        rules.write_text(text)
        for store in self.stores(f"""
global: {{scrape_interval: 1s}}
scrape_configs:
- job_name: qumulo-encryption
  honor_labels: true
  static_configs: [{{targets: ['{self.demo.url.removeprefix("http://")}']}}]
""", rules, self.alertmanagers):
            seen = 'cluster:qumulo_encryption_status:confirmed{cluster="prod",status="kms_available"}'
            wait_for(lambda: store.value(seen) == 1, f"{store.name}: the rules have seen the good state", seconds=60)

    def wait(self, notification, since):
        for name, webhook in self.webhooks.items():
            wait_for(lambda: notification in webhook.notifications, f"{name}: {notification} in {webhook.notifications}", 60)
            print(f"{name}: {time.monotonic() - since:.1f} s from the change to {notification}")

    def silenced(self, alert):
        """Waits until each Alertmanager has an alert, and notifies nobody, because a worse one fires."""
        def found(address):
            for one in json.loads(get(f"http://{address}/api/v2/alerts")[2]):
                if one["labels"]["alertname"] == f"QumuloEncryption{alert}":
                    return one["status"]["state"] == "suppressed"

        for name, address in self.alertmanagers.items():
            wait_for(lambda: found(address), f"{name}: {alert} is silenced", seconds=60)

    def test_exactly_what_should_be_notified_is(self):
        # A lost key pages; its KMS restarts; the cluster becomes unreachable. One page, and nothing is resolved.
        since = self.set("status: KMS Key Not Found")
        lost = ("/pager", "firing", "prod", "KeyNotFound")
        self.wait(lost, since)
        self.set("status: Cannot connect to KMS server.")
        self.silenced("KmsCannotConnect")
        self.set("status: Cannot connect to KMS server., faults: {down: true}")
        # Well beyond the five seconds after which the demonstration drops an old status.
        wait_for(lambda: b'status{cluster="prod"' not in get(self.demo.url + "/metrics")[2], "the status is stale")
        self.silenced("ClusterNotPolledForLong")
        for name, webhook in self.webhooks.items():
            self.assertEqual(webhook.notifications, [lost], name)
        # The contrary is seen: one resolution.
        since = self.set("status: KMS Available")
        self.wait(("/pager", "resolved", "prod", "KeyNotFound"), since)
        for name, webhook in self.webhooks.items():
            self.assertEqual([one for one in webhook.notifications if one[0] == "/pager"],
                             [lost, ("/pager", "resolved", "prod", "KeyNotFound")], name)
        # Not readable without any other trouble: a ticket, and then a page.
        since = self.set("status: KMS Available, faults: {down: true}")
        self.wait(("/ticket", "firing", "prod", "ClusterNotPolled"), since)
        self.wait(("/pager", "firing", "prod", "ClusterNotPolledForLong"), since)
        since = self.set("status: KMS Available")
        self.wait(("/pager", "resolved", "prod", "ClusterNotPolledForLong"), since)
        # A certificate moves from good through both bands to past, and is renewed.
        for days, path, name in (("+20d", "/ticket", "CertificateExpiringSoon"), ("+3d", "/pager", "CertificateExpiring"),
                                 ("-1d", "/pager", "CertificateExpired")):
            since = self.set("status: KMS Available", expiry=days)
            self.wait((path, "firing", "prod", name), since)
        since = self.set("status: KMS Available")
        self.wait(("/pager", "resolved", "prod", "CertificateExpired"), since)
        for name, webhook in self.webhooks.items():
            with self.subTest(name):
                self.only_what_should_be(webhook)

    def only_what_should_be(self, webhook):
        # Nothing about the healthy cluster, and each page once.
        self.assertEqual([one for one in webhook.notifications if one[2] != "prod"], [])
        pages = [one for one in webhook.notifications if one[:2] == ("/pager", "firing")]
        self.assertEqual({name for *_, name in pages},
                         {"KeyNotFound", "ClusterNotPolledForLong", "CertificateExpiring", "CertificateExpired"})
        # That the certificate is not about to expire any more comes with the same notification.
        resolved = sorted(one[3] for one in webhook.notifications if one[:2] == ("/pager", "resolved"))
        self.assertEqual(resolved, ["CertificateExpired", "CertificateExpiring", "ClusterNotPolledForLong", "KeyNotFound"])
        # A notification follows a change of its cluster's alerts: none comes twice.
        for one, next_one in zip(webhook.posts, webhook.posts[1:]):
            self.assertNotEqual(one, next_one)


if __name__ == "__main__":
    unittest.main()
