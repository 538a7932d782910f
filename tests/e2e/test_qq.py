"""Qumulo's client `qq` and the exporter read the same simulated clusters, with the same results."""

import datetime
import json
import os
import re
import subprocess

from support import VENVS, Case, metrics, wait_for

FLEET = """
clusters:
  - {name: kms, host: 127.0.0.2, type: KMS, status: KMS Available, fraction_digits: 9, ca_cert_expiry: +900d,
     client_cert_expiry: "2031-04-18T19:55:17Z", last_key_rotation_time: "2023-09-05T20:15:40.06864014Z",
     last_status_update_time: "2023-09-05T20:28:58.108120131Z",
     kms: {hostname: hsm.example.com, port: 5697, key_id: k-17, config_creation_time: "2024-01-02T03:04:05.123456789Z"},
     auth: {token_expiry: "2031-01-02T03:04:05Z", own_tokens_visible: true,
            privileges: [PRIVILEGE_ENCRYPTION_READ, PRIVILEGE_FS_LIST, PRIVILEGE_DEBUG]}}
  - {name: local, host: 127.0.0.2, last_key_rotation_time: "2022-11-20T12:15:25.683207795Z"}
  - {name: unreachable, host: 127.0.0.2, type: KMS, status: Cannot connect to KMS server., profile: core-6.2.2,
     ca_cert_expiry: -1d, client_cert_expiry: +1d}
  - {name: plain, host: 127.0.0.2, status: Not Encrypted, last_key_rotation_time: null}
  - {name: old, host: 127.0.0.2, profile: core-6.0, last_key_rotation_time: "2021-01-01T00:00:00Z"}
"""

STATUS = {
    "Not Encrypted": "not_encrypted", "Encrypted": "encrypted", "Configuration Corrupted": "configuration_corrupted",
    "KMS Available": "kms_available", "KMS Authentication Error": "kms_authentication_error",
    "Cannot connect to KMS server.": "kms_cannot_connect", "KMS Key Not Found": "kms_key_not_found",
    "KMS Key Inactive": "kms_key_inactive", "a newer one": "unknown",
}
TYPE = {"Local": "local", "KMS": "kms", "a newer one": "unknown"}
DATES = {
    "ca_cert_expiry": ("qumulo_encryption_certificate_expiry_timestamp_seconds", ',certificate="kms_ca"'),
    "client_cert_expiry": ("qumulo_encryption_certificate_expiry_timestamp_seconds", ',certificate="kms_client"'),
    "last_key_rotation_time": ("qumulo_encryption_last_key_rotation_timestamp_seconds", ""),
    "last_status_update_time": ("qumulo_encryption_last_status_update_timestamp_seconds", ""),
}
TOKEN = "qumulo_encryption_access_token_expiry_timestamp_seconds"
EXCESS = "qumulo_encryption_credential_excess_privileges"
KEY_STORE = "qumulo_encryption_key_store_info"
CONFIGURED = "qumulo_encryption_key_store_configured_timestamp_seconds"
# All metrics of a cluster's responses.
METRICS = {name for name, _ in DATES.values()} | {
    "qumulo_encryption_status", "qumulo_encryption_type", "qumulo_encryption_cluster_info", TOKEN, EXCESS, KEY_STORE, CONFIGURED,
}


def unix_seconds(text):
    """Parses RFC 3339 with any number of fractional digits, to the microsecond."""
    whole, _, fraction = text.rstrip("Z").partition(".")
    at = datetime.datetime.strptime(whole, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=datetime.timezone.utc)
    return at.timestamp() + float(f"0.{fraction or 0}")


class VendorsClient(Case):
    def qq(self, version, cluster, *arguments, check=True):
        """Runs `qq` with a separate home folder. The clusters listen on 127.0.0.2, because for 127.0.0.1, `qq` as root binds a
        privileged source port."""
        home = self.folder / f"home-{version}-{cluster['name']}"
        home.mkdir(exist_ok=True)
        host, port = cluster["url"].removeprefix("https://").split(":")
        env = {key: value for key, value in os.environ.items() if key != "XDG_CONFIG_HOME"} | {"HOME": str(home)}
        command = [VENVS / f"qumulo-{version}/bin/qq", "--host", host, "--port", port, *arguments]
        result = subprocess.run(
            [str(word) for word in command], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, env=env
        )
        if check:
            self.assertEqual(result.returncode, 0, result.stderr)
        return home, result

    def login(self, version, cluster):
        """Logs in, and returns the credentials file that `qq` wrote."""
        home, _ = self.qq(version, cluster, "login", "-u", cluster["username"], "-p", cluster["password"])
        new = list((home / ".config/qumulo/credentials").glob("*"))
        return (new or [home / ".qfsd_cred"])[0]

    def expected(self, name, version):
        """The expected samples of a cluster, calculated only from the output of qq."""
        cluster, labels = self.clusters[name], f'cluster="{name}"'

        def ask(*command):
            # Some commands print a sentence after the JSON.
            return json.JSONDecoder().raw_decode(self.qq(version, cluster, *command)[1].stdout)[0]

        answer, revision, node = ask("encryption_get_status"), ask("version"), ask("node_state_get")
        print(f"{name}: qq {version} reports {answer}")
        number, api = revision["revision_id"].removeprefix("Qumulo Core "), "v1" if version == "6.0.0" else "v2"
        # Version 1 has only local key stores, and does not report the type.
        current = STATUS[answer["status"]], TYPE[answer.get("type", "Local")]
        samples = {f'qumulo_encryption_status{{{labels},status="{one}"}}': float(one == current[0]) for one in STATUS.values()}
        samples |= {f'qumulo_encryption_type{{{labels},encryption_type="{one}"}}': float(one == current[1]) for one in TYPE.values()}
        samples |= {
            f"{metric}{{{labels}{more}}}": unix_seconds(answer[field])
            for field, (metric, more) in DATES.items()
            if field in answer
        }
        info = f'{labels},cluster_id="{node["cluster_id"]}",version="{number}",api="{api}"'
        samples |= {f"qumulo_encryption_cluster_info{{{info}}}": 1.0}
        samples[f"{EXCESS}{{{labels}}}"] = len(set(ask("who_am_i")["privileges"]) - {"PRIVILEGE_ENCRYPTION_READ"})
        if current[1] == "kms":
            store = ask("encryption_get_key_store")["config_details"]
            labelled = f'{labels},host="{store["hostname"]}",port="{store["port"]}",key_id="{store["key_id"]}"'
            samples[f"{KEY_STORE}{{{labelled}}}"] = 1.0
            samples[f"{CONFIGURED}{{{labels}}}"] = unix_seconds(store["config_creation_time"])
        if name == "kms":
            for token in ask("auth_list_access_tokens", "--self", "--json"):
                samples[f'{TOKEN}{{{labels},token_id="{token["id"]}"}}'] = unix_seconds(token["expiration_time"])
        return samples

    def compare(self, name, expected, samples):
        """Checks that the series and their values are the same."""
        served = {
            series: value
            for series, value in samples.items()
            if series.partition("{")[0] in METRICS and f'{{cluster="{name}"' in series
        }
        self.assertEqual(sorted(served), sorted(expected))
        for series, value in expected.items():
            self.assertAlmostEqual(served[series], value, delta=1e-6, msg=series)

    def test_qq_and_the_exporter_agree_on_every_field(self):
        simulator = self.simulate(FLEET)
        self.clusters = simulator.clusters
        versions = {"kms": "7.10.2.1", "local": "7.10.2.1", "unreachable": "6.2.2", "plain": "6.2.2", "old": "6.0.0"}
        clusters, answers = [], {}
        for name, version in versions.items():
            cluster = simulator.clusters[name]
            credentials = self.login(version, cluster)
            answers[name] = self.expected(name, version)
            # Half of the clusters with the file that qq wrote, the other half with a login.
            (self.folder / "password").write_text(cluster["password"] + "\n")
            secret = (
                f"login: {{username: {cluster['username']}, password_file: password}}"
                if name in ("local", "old")
                else f"authorization: {{credentials_file: {credentials}}}"
            )
            clusters.append(
                f"  - name: {name}\n    url: {cluster['url']}\n    {secret}\n"
                f"    tls_config: {{pin_sha256: [\"{cluster['pin_sha256']}\"]}}\n"
            )
        config = self.folder / "exporter.yml"
        config.write_text("clusters:\n" + "".join(clusters))
        exporter = self.exporter("--config.file", config)
        wait_for(lambda: all(metrics(exporter.url).get(f'qumulo_encryption_up{{cluster="{name}"}}') == 1 for name in versions), "all are up")
        samples = metrics(exporter.url)
        for name, expected in answers.items():
            with self.subTest(name):
                self.compare(name, expected, samples)
        # Until now, there was no write request. The simulator logs and refuses them.
        self.assertNotIn("refused", simulator.log.read_text())
        _, refused = self.qq("7.10.2.1", simulator.clusters["kms"], "rotate_encryption_keys", check=False)
        self.assertIn("Error 405", refused.stderr)
        log = wait_for(lambda: re.findall("msg=.*refused.*", simulator.log.read_text()), "the refused write is logged")
        self.assertEqual(
            log, ['msg="simulated cluster refused a write" cluster=kms method=POST path=/v2/encryption/rotate-keys']
        )

    def test_a_rotated_token_needs_no_restart(self):
        fleet = "clusters: [{{name: prod, auth: {{token: '{}'}}}}]\n"
        simulator = self.simulate(fleet.format("access-v1:first"))
        cluster, token = simulator.clusters["prod"], self.folder / "token"
        token.write_text("access-v1:first")
        config = self.folder / "exporter.yml"
        config.write_text(
            f"global: {{poll_interval: 1s}}\nclusters: [{{name: prod, url: '{cluster['url']}', "
            f"authorization: {{credentials_file: token}}, tls_config: {{pin_sha256: ['{cluster['pin_sha256']}']}}}}]\n"
        )
        exporter = self.exporter("--config.file", config)
        up, reason = 'qumulo_encryption_up{cluster="prod"}', 'qumulo_encryption_last_poll_failure{cluster="prod",reason="authentication"}'
        wait_for(lambda: metrics(exporter.url).get(up) == 1, "up with the first token")
        simulator.fleet.write_text(fleet.format("access-v1:second"))
        wait_for(lambda: metrics(exporter.url).get(reason) == 1, "the old token is refused")
        self.assertEqual(metrics(exporter.url)[up], 0)
        token.write_text("access-v1:second")
        wait_for(lambda: metrics(exporter.url).get(up) == 1, "up with the second token")
        for secret in ("first", "second"):
            self.assertNotIn(f"access-v1:{secret}", exporter.log.read_text())
