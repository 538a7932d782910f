"""From a cluster's state to a notification: simulator, exporter, Prometheus, Alertmanager, and a webhook that listens."""

import http.server
import json
import re
import threading
import time
import unittest

from support import ROOT, Case, free_port, get, wait_for

KMS = "type: KMS, client_cert_expiry: +900d, last_key_rotation_time: -10d"


class Chain(Case):
    def setUp(self):
        super().setUp()
        self.fleet = self.folder / "fleet.yml"
        self.set("status: KMS Available")
        self.demo = self.exporter("demo", "--fleet", self.fleet)
        # Alerts, one by one; and notifications, which are about all alerts of a cluster.
        self.notifications, self.posts = [], []
        self.webhook()
        self.alertmanager()
        self.watch()

    def set(self, state, expiry="+900d"):
        self.fleet.write_text(f"clusters:\n- {{name: prod, {KMS}, ca_cert_expiry: {expiry}, {state}}}\n- {{name: other}}\n")
        return time.monotonic()

    def webhook(self):
        notifications, posts = self.notifications, self.posts

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
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.webhook_address = f"127.0.0.1:{server.server_port}"

    def alertmanager(self):
        """The shipped example, at the pace of a test."""
        text = (ROOT / "deploy/alertmanager/alertmanager.yml").read_text()
        text = text.replace("127.0.0.1:9099", self.webhook_address)
        text = text.replace("group_wait: 30s", "group_wait: 1s").replace("group_interval: 5m", "group_interval: 1s")
        config = self.folder / "alertmanager.yml"
        config.write_text(text)
        self.alertmanager_port = free_port()
        self.start("prometheus-alertmanager", f"--config.file={config}", f"--storage.path={self.folder}/alerts",
                   f"--web.listen-address=127.0.0.1:{self.alertmanager_port}", "--cluster.listen-address=")

    def watch(self):
        """The shipped rules; only what they wait is short."""
        rules = self.folder / "alerts.yml"
        paces = {"5m": "2s", "10m": "2s", "15m": "2s", "1h": "6s", "4h": "10s"}
        text = (ROOT / "deploy/prometheus/alerts.yml").read_text()
        text = re.sub(r"(\n        for): (\S+)", lambda found: f"{found[1]}: {paces[found[2]]}", text)
        text = text.replace(">= 300", ">= 3").replace(">= 3600", ">= 8")
        # Not polled: 4 and 10 seconds in place of 15 minutes and 4 hours.
        text = re.sub(r"clamp_min\(\d \* [\w:]+, 15 \* 60\)", "clamp_max(cluster:qumulo_encryption_stale_after_seconds:held, 4)", text)
        text = re.sub(r"clamp_min\(\d \* [\w:]+, 4 \* 3600\)", "(2 * cluster:qumulo_encryption_stale_after_seconds:held)", text)
        rules.write_text(text)
        config = self.folder / "prometheus.yml"
        config.write_text(f"""
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: ['{rules}']
alerting: {{alertmanagers: [{{static_configs: [{{targets: ['127.0.0.1:{self.alertmanager_port}']}}]}}]}}
scrape_configs:
- job_name: qumulo-encryption
  honor_labels: true
  static_configs: [{{targets: ['{self.demo.url.removeprefix("http://")}']}}]
""")
        url = self.run_prometheus(config)

        def value(expression):
            try:
                status, _, body = get(f"{url}/api/v1/query?query={expression}")
            except OSError:
                return None
            # While it starts it answers 503 with a sentence.
            if status != 200:
                return None
            answer = json.loads(body)
            result = answer["data"]["result"]
            return float(result[0]["value"][1]) if result else None

        self.value = value
        held = "cluster:qumulo_encryption_status:held{cluster='prod',status='kms_available'}"
        wait_for(lambda: value(held.replace("'", "%22").replace("{", "%7B").replace("}", "%7D")) == 1,
                 "the rules have seen the good state", seconds=40)

    def wait(self, notification, since):
        wait_for(lambda: notification in self.notifications, f"{notification} among {self.notifications}", seconds=40)
        print(f"{time.monotonic() - since:.1f} s from the change to {notification}")

    def test_exactly_what_should_be_notified_is(self):
        # A lost key pages; its KMS restarts; the cluster becomes unreachable. One page, and nothing is resolved.
        since = self.set("status: KMS Key Not Found")
        lost = ("/pager", "firing", "prod", "KeyNotFound")
        self.wait(lost, since)
        self.set("status: Cannot connect to KMS server.")
        time.sleep(12)
        self.set("status: Cannot connect to KMS server., faults: {down: true}")
        # Well beyond the five seconds after which the demonstration drops an old status.
        wait_for(lambda: b'status{cluster="prod"' not in get(self.demo.url + "/metrics")[2], "the status is stale")
        time.sleep(15)
        self.assertEqual(self.notifications, [lost])
        # The contrary is seen: one resolution.
        since = self.set("status: KMS Available")
        self.wait(("/pager", "resolved", "prod", "KeyNotFound"), since)
        self.assertEqual([one for one in self.notifications if one[0] == "/pager"], [lost, ("/pager", "resolved", "prod", "KeyNotFound")])
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
        # Nothing about the healthy cluster, and each page once.
        self.assertEqual([one for one in self.notifications if one[2] != "prod"], [])
        pages = [one for one in self.notifications if one[:2] == ("/pager", "firing")]
        self.assertEqual({name for *_, name in pages},
                         {"KeyNotFound", "ClusterNotPolledForLong", "CertificateExpiring", "CertificateExpired"})
        # That the certificate is not about to expire any more comes with the same notification.
        resolved = sorted(name for path, status, _, name in self.notifications if (path, status) == ("/pager", "resolved"))
        self.assertEqual(resolved, ["CertificateExpired", "CertificateExpiring", "ClusterNotPolledForLong", "KeyNotFound"])
        # A notification follows a change of its cluster's alerts: none comes twice.
        for one, next_one in zip(self.posts, self.posts[1:]):
            self.assertNotEqual(one, next_one)


if __name__ == "__main__":
    unittest.main()
