"""The KMS probe, with a real KMIP server that requires a client certificate."""

import json
import re
import subprocess
import unittest

from support import VENVS, Case, free_port, get, metrics, self_signed, wait_for

REACHABLE = 'qumulo_encryption_kms_reachable{cluster="one"}'
SERVER = """
import sys
from kmip.services.server import KmipServer
server = KmipServer(config_path=sys.argv[1], log_path=sys.argv[2], database_path=sys.argv[3])
with server:
    server.serve()
"""


class KeyManagementServer(Case):
    def certificates(self, *key):
        self_signed(self.folder, "ca", *key)
        self_signed(self.folder, "kms", *key, "-CA", "ca.pem", "-CAkey", "ca.key", "-addext", "subjectAltName=IP:127.0.0.1",
                    "-addext", "basicConstraints=CA:FALSE", "-addext", "extendedKeyUsage=serverAuth")
        end = subprocess.run(["openssl", "x509", "-in", "kms.pem", "-noout", "-enddate", "-dateopt", "iso_8601"], check=True,
                             capture_output=True, text=True, cwd=self.folder).stdout
        stamp = re.search(r"notAfter=(.*)Z", end)[1]
        return subprocess.run(["date", "--utc", "--date", stamp, "+%s"], check=True, capture_output=True, text=True).stdout

    def serve(self):
        """Starts a KMIP server, and returns its port."""
        port = free_port()
        (self.folder / "policies").mkdir()
        (self.folder / "kms.conf").write_text(f"""[server]
hostname=127.0.0.1
port={port}
certificate_path={self.folder}/kms.pem
key_path={self.folder}/kms.key
ca_path={self.folder}/ca.pem
auth_suite=TLS1.2
policy_path={self.folder}/policies
enable_tls_client_auth=True
logging_level=INFO
""")
        self.start(VENVS / "kmip/bin/python", "-c", SERVER, self.folder / "kms.conf", self.folder / "kms.log",
                   self.folder / "kms.db")
        log = self.folder / "kms.log"
        wait_for(lambda: log.exists() and "Starting connection service" in log.read_text(), "the server listens", seconds=60)
        return port

    def test_a_server_with_current_cipher_suites(self):
        """The probe reads the certificate, and sends no request."""
        end, port = float(self.certificates()), self.serve()
        exporter = self.probing(port)
        expiry = 'qumulo_encryption_certificate_expiry_timestamp_seconds{cluster="one",certificate="kms_server"}'
        wait_for(lambda: expiry in metrics(exporter.url), "the expiry of the certificate is known")
        samples = metrics(exporter.url)
        self.assertEqual(samples[expiry], end)
        self.assertEqual(samples[REACHABLE], 1)
        info = f'qumulo_encryption_key_store_info{{cluster="one",host="127.0.0.1",port="{port}",key_id="17"}}'
        self.assertEqual(samples[info], 1)
        document = json.loads(get(exporter.url + "/api/v1/clusters")[2])["clusters"][0]
        self.assertEqual((document["key_store"]["host"], document["key_store"]["reachable"]), ("127.0.0.1", True))
        self.check_log(connections=1)

    def test_a_server_with_obsolete_cipher_suites(self):
        """The metric shows that the KMS is not reachable, and the log gives the reason."""
        self.certificates("-newkey", "rsa:2048")
        exporter = self.probing(self.serve())
        wait_for(lambda: REACHABLE in metrics(exporter.url), "the probe ended")
        self.assertEqual(metrics(exporter.url)[REACHABLE], 0)
        self.assertIn("no TLS version, cipher suite or key type in common", exporter.log.read_text())
        self.check_log(connections=1)

    def probing(self, port):
        """Starts an exporter of a cluster whose KMS is at this port."""
        kms = "type: KMS, status: KMS Available, ca_cert_expiry: +300d, client_cert_expiry: +300d"
        cluster = self.simulate(f"""clusters:
- {{name: one, {kms}, kms: {{hostname: 127.0.0.1, port: {port}, key_id: "17"}}}}
""").clusters["one"]
        (self.folder / "token").write_text(cluster["token"])
        (self.folder / "exporter.yml").write_text(f"""
global: {{poll_interval: 1s, probe_kms: true, probe_kms_networks: [127.0.0.0/8]}}
clusters:
- name: one
  url: {cluster["url"]}
  authorization: {{credentials_file: token}}
  tls_config: {{pin_sha256: ["{cluster["pin_sha256"]}"]}}
""")
        return self.exporter("--config.file", self.folder / "exporter.yml")

    def check_log(self, connections):
        log = (self.folder / "kms.log").read_text()
        self.assertEqual(log.count("Receiving incoming connection"), connections, log)
        self.assertNotIn("Session established", log)


if __name__ == "__main__":
    unittest.main()
