"""Certificate chains of many kinds: the exporter trusts the same ones as OpenSSL, as a client and as a server."""

import json
import pathlib
import shutil
import socket
import ssl
import subprocess
import tempfile
import unittest

from support import EXPORTER, Case, free_port, run, self_signed, wait_for

NAME = "subjectAltName=IP:127.0.0.1"
CA = "basicConstraints=critical,CA:TRUE"
SIGN = "keyUsage=critical,keyCertSign"
LEAF = "basicConstraints=CA:FALSE"
SERVER, CLIENT = "extendedKeyUsage=serverAuth", "extendedKeyUsage=clientAuth"
# Validity periods.
GOOD, EXPIRED, FUTURE = ("20200101000000Z", "20490101000000Z"), ("20200101000000Z", "20210101000000Z"), \
    ("20480101000000Z", "20490101000000Z")

# {name: chain}. A chain begins with the trusted certificate. Each certificate has extensions and a validity period.
SHAPES = {
    "root": [(CA, GOOD), (NAME, GOOD)],
    "root-with-usage": [(f"{CA}\n{SIGN}", GOOD), (f"{NAME}\n{LEAF}", GOOD)],
    "own": [(NAME, GOOD)],
    "own-not-ca": [(f"{NAME}\n{LEAF}", GOOD)],
    "own-ca": [(f"{NAME}\n{CA}", GOOD)],
    "own-expired": [(NAME, EXPIRED)],
    "own-future": [(NAME, FUTURE)],
    "own-for-clients": [(f"{NAME}\n{CLIENT}", GOOD)],
    "own-for-servers": [(f"{NAME}\n{SERVER}", GOOD)],
    "signed-by-leaf": [(f"{NAME}\n{LEAF}", GOOD), (NAME, GOOD)],
    "signed-by-leaf-without-constraints": [(NAME, GOOD), (NAME, GOOD)],
    "signed-below-leaf": [(f"{NAME}\n{LEAF}", GOOD), (f"{CA}\n{SIGN}", GOOD), (NAME, GOOD)],
    "root-without-cert-sign": [(f"{CA}\nkeyUsage=critical,digitalSignature,cRLSign", GOOD), (NAME, GOOD)],
    "root-expired": [(CA, EXPIRED), (NAME, GOOD)],
    "root-future": [(CA, FUTURE), (NAME, GOOD)],
    "root-for-clients": [(f"{CA}\n{CLIENT}", GOOD), (NAME, GOOD)],
    "root-for-servers": [(f"{CA}\n{SERVER}", GOOD), (NAME, GOOD)],
    "root-with-policies": [(f"{CA}\ncertificatePolicies=critical,1.2.3.4", GOOD), (NAME, GOOD)],
    "root-short-enough": [(f"{CA},pathlen:0", GOOD), (NAME, GOOD)],
    "root-too-short": [(f"{CA},pathlen:0", GOOD), (CA, GOOD), (NAME, GOOD)],
    "root-longer": [(f"{CA},pathlen:1", GOOD), (CA, GOOD), (NAME, GOOD)],
    "root-constrained": [(f"{CA}\nnameConstraints=critical,permitted;IP:10.0.0.0/255.0.0.0", GOOD), (NAME, GOOD)],
    "root-constrained-well": [(f"{CA}\nnameConstraints=critical,permitted;IP:127.0.0.0/255.0.0.0", GOOD), (NAME, GOOD)],
    "intermediate": [(CA, GOOD), (f"{CA}\n{SIGN}", GOOD), (NAME, GOOD)],
    "two-intermediates": [(CA, GOOD), (CA, GOOD), (CA, GOOD), (NAME, GOOD)],
    "intermediate-not-ca": [(CA, GOOD), (LEAF, GOOD), (NAME, GOOD)],
    "intermediate-without-cert-sign": [(CA, GOOD), (f"{CA}\nkeyUsage=critical,digitalSignature", GOOD), (NAME, GOOD)],
    "intermediate-expired": [(CA, GOOD), (CA, EXPIRED), (NAME, GOOD)],
    "intermediate-future": [(CA, GOOD), (CA, FUTURE), (NAME, GOOD)],
    "intermediate-too-short": [(CA, GOOD), (f"{CA},pathlen:0", GOOD), (CA, GOOD), (NAME, GOOD)],
    "intermediate-for-clients": [(CA, GOOD), (f"{CA}\n{CLIENT}", GOOD), (NAME, GOOD)],
    "leaf-expired": [(CA, GOOD), (NAME, EXPIRED)],
    "leaf-future": [(CA, GOOD), (NAME, FUTURE)],
    "leaf-for-clients": [(CA, GOOD), (f"{NAME}\n{CLIENT}", GOOD)],
    "leaf-for-servers": [(CA, GOOD), (f"{NAME}\n{SERVER}", GOOD)],
    "leaf-for-both": [(CA, GOOD), (f"{NAME}\nextendedKeyUsage=serverAuth,clientAuth", GOOD)],
    "leaf-with-unknown-critical-extension": [(CA, GOOD), (f"{NAME}\n1.2.3.4=critical,DER:3000", GOOD)],
    "leaf-with-unknown-extension": [(CA, GOOD), (f"{NAME}\n1.2.3.4=DER:3000", GOOD)],
    # Valid chains for another name than that in the URL.
    "another-address": [(CA, GOOD), ("subjectAltName=IP:127.0.0.2", GOOD)],
    "address-as-name": [(CA, GOOD), ("subjectAltName=DNS:127.0.0.1", GOOD)],
}
# Chains that OpenSSL accepts and the exporter rejects, as documented in docs/configuration.md.
STRICTER = {
    "root-with-cert-sign-alone": [(SIGN, GOOD), (NAME, GOOD)],
    "leaf-marked-as-ca": [(CA, GOOD), (f"{NAME}\n{CA}", GOOD)],
    "leaf-with-policies": [(CA, GOOD), (f"{NAME}\ncertificatePolicies=critical,1.2.3.4", GOOD)],
}
NAMES_ONLY = {"another-address", "address-as-name"}


class Trust(Case):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        """Issues all certificates, once for all tests."""
        cls.certificates = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        (cls.certificates / "ca.cnf").write_text(
            "[ca]\ndefault_ca=a\n[a]\ndatabase=index.txt\nnew_certs_dir=.\npolicy=p\nunique_subject=no\ndefault_md=sha256\n"
            "rand_serial=yes\n[p]\ncommonName=supplied\n")
        (cls.certificates / "index.txt").write_text("")
        for name, chain in {**SHAPES, **STRICTER}.items():
            cls.issue(cls.certificates, name, chain)

    def setUp(self):
        super().setUp()
        shutil.copytree(self.certificates, self.folder, dirs_exist_ok=True)

    @staticmethod
    def issue(folder, shape, chain):
        """Writes SHAPE-0.pem (the trusted certificate), SHAPE.pem and SHAPE.key (the last one), SHAPE-sent.pem (those between)."""
        for place, (extensions, (start, end)) in enumerate(chain):
            this, issuer = f"{shape}-{place}", f"{shape}-{place - 1}"
            (folder / "extensions").write_text(extensions + "\n")
            run("openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
                f"{this}.key", "-out", "csr", "-subj", f"/CN={this}", cwd=folder)
            by = ["-selfsign", "-keyfile", f"{this}.key"] if place == 0 else \
                ["-cert", f"{issuer}.pem", "-keyfile", f"{issuer}.key"]
            run("openssl", "ca", "-batch", "-notext", "-config", "ca.cnf", *by, "-in", "csr", "-out", f"{this}.pem",
                "-startdate", start, "-enddate", end, "-extfile", "extensions", cwd=folder)
        between = [(folder / f"{shape}-{place}.pem").read_text() for place in range(len(chain) - 2, 0, -1)]
        (folder / f"{shape}-sent.pem").write_text("".join(between))
        for kind in ("pem", "key"):
            shutil.copy(folder / f"{shape}-{len(chain) - 1}.{kind}", folder / f"{shape}.{kind}")

    def trusted_by_openssl(self, shape, purpose, *more):
        sent = f"{shape}-sent.pem"
        between = ["-untrusted", sent] if (self.folder / sent).read_text() else []
        done = subprocess.run(["openssl", "verify", "-partial_chain", "-no-CApath", "-no-CAstore", "-purpose", purpose, *more,
                               "-CAfile", f"{shape}-0.pem", *between, f"{shape}.pem"], cwd=self.folder, capture_output=True)
        return done.returncode == 0

    def poll(self, servers):
        """The poll failures of clusters {name: (CA file, options of `openssl s_server`)}."""
        (self.folder / "token").write_text("token")
        config = ["clusters:"]
        for name, (ca_file, *options) in servers.items():
            port = free_port()
            self.start("openssl", "s_server", "-accept", f"127.0.0.1:{port}", *options, "-www", "-quiet")
            config.append(f"- name: {name}\n  url: https://127.0.0.1:{port}\n  authorization: {{credentials_file: token}}\n"
                          f"  tls_config: {{ca_file: {ca_file}}}\n")
            wait_for(lambda: self.listens(port), "the server listens")
        (self.folder / "exporter.yml").write_text("\n".join(config))
        report = run(EXPORTER, "status", "--output", "json", "--config.file", "exporter.yml", cwd=self.folder, check=False)
        return {each["name"]: each["last_poll_failure"] for each in json.loads(report)["clusters"]}

    def test_clusters(self):
        servers = {}
        for shape in [*SHAPES, *STRICTER]:
            sent = ["-cert_chain", f"{shape}-sent.pem"] if (self.folder / f"{shape}-sent.pem").read_text() else []
            servers[shape] = (f"{shape}-0.pem", "-cert", f"{shape}.pem", "-key", f"{shape}.key", *sent)
        clusters = self.poll(servers)
        # The response of s_server is not that of a cluster, but TLS succeeded.
        got = {name: failure["reason"] != "tls" for name, failure in clusters.items()}
        expect = {shape: self.trusted_by_openssl(shape, "sslserver", "-verify_ip", "127.0.0.1")
                  for shape in [*SHAPES, *STRICTER]}
        self.assertEqual([shape for shape in STRICTER if not expect[shape]], [], "OpenSSL accepts them")
        self.assertEqual(got, {**expect, **dict.fromkeys(STRICTER, False)}, clusters)
        self.assertTrue(10 < sum(got.values()) < len(got) - 10, got)

    def test_tls_alert_messages(self):
        """The message names the possible causes of alert 40."""
        self_signed(self.folder, "pss", "-newkey", "rsa-pss", "-pkeyopt", "rsa_keygen_bits:2048", "-addext", NAME, "-addext",
                    "basicConstraints=critical,CA:FALSE")
        clusters = self.poll({"demands": ("own.pem", "-cert", "own.pem", "-key", "own.key", "-tls1_2", "-Verify", "1"),
                              "pss": ("pss.pem", "-cert", "pss.pem", "-key", "pss.key")})
        self.assertIn("requires a client certificate, or does not accept the one in cert_file", clusters["demands"]["message"])
        self.assertIn("no cipher suite or key type in common (RSA-PSS,", clusters["pss"]["message"])

    def listens(self, port):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    def test_clients(self):
        shapes = [shape for shape in [*SHAPES, *STRICTER] if shape not in NAMES_ONLY]
        got = {shape: self.admitted(shape) for shape in shapes}
        expect = {shape: self.trusted_by_openssl(shape, "sslclient") for shape in shapes}
        self.assertEqual(got, {**expect, **dict.fromkeys(STRICTER, False)})
        self.assertTrue(10 < sum(got.values()) < len(got) - 10, got)

    def admitted(self, shape):
        """Whether a listener that trusts the first certificate admits a client with the last one."""
        chain = self.folder / "chain.pem"
        chain.write_text((self.folder / f"{shape}.pem").read_text() + (self.folder / f"{shape}-sent.pem").read_text())
        (self.folder / "web.yml").write_text(
            "tls_server_config:\n  cert_file: own.pem\n  key_file: own.key\n  client_auth_type: RequireAndVerifyClientCert\n"
            f"  client_ca_file: {shape}-0.pem\n")
        (self.folder / "none.yml").write_text("clusters: []\n")
        exporter = self.exporter("--config.file", "none.yml", "--web.config.file", "web.yml")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.load_cert_chain(chain, self.folder / f"{shape}.key")
        host, port = exporter.url.removeprefix("http://").split(":")
        try:
            with socket.create_connection((host, int(port)), timeout=10) as plain, \
                    context.wrap_socket(plain, server_hostname="127.0.0.1") as stream:
                stream.sendall(b"GET /-/healthy HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                return stream.recv(100).startswith(b"HTTP/1.1 200")
        except (ssl.SSLError, ConnectionError):
            return False
        finally:
            exporter.kill()
            exporter.wait()


if __name__ == "__main__":
    unittest.main()
