"""Error messages about TLS and HTTP failures that need another implementation as the server."""

import http.server
import re
import socket
import ssl
import subprocess
import threading
import unittest

from support import EXPORTER, Case, free_port, self_signed, wait_for

# Messages do not contain names of Rust types or URLs of documentation.
INTERNAL = re.compile(r"[a-z][A-Z]|://(?!127)|::|[{}\[\]]|Error|\(\)")
KNOWN = ("SubjectAltName", "subjectAltName", "extendedKeyUsage", "keyUsage", "ChaCha20", "OpenSSL", "AES-GCM", "IPv4", "IPv6")


class ErrorMessages(Case):
    def serve(self, key, certificate, *options):
        """`openssl s_server`, which answers every request with a page."""
        port = free_port()
        process = self.start("openssl", "s_server", "-accept", port, "-key", key, "-cert", certificate, "-www", *options)

        def listens():
            assert process.poll() is None, process.log.read_text()
            return "ACCEPT" in process.out.read_text()

        wait_for(listens, "the server listens")
        return port

    def message(self, port, certificate=None, scheme="https"):
        token = self.folder / "token"
        token.write_text("access-v1:x")
        arguments = ["--cluster.url", f"{scheme}://127.0.0.1:{port}", "--cluster.token-file", token]
        if certificate:
            arguments += ["--cluster.ca-file", certificate]
        done = subprocess.run([EXPORTER, "status", *arguments], capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 3, done.stdout)
        text = " ".join(done.stdout.split())
        plain = text
        for word in KNOWN:
            plain = plain.replace(word, "")
        self.assertIsNone(INTERNAL.search(plain), text)
        return text

    def test_what_openssl_serves(self):
        rsa, san = ("-newkey", "rsa:2048"), ("-addext", "subjectAltName=IP:127.0.0.1")
        for make, options, words in (
            ((*rsa, *san), ("-tls1_2", "-cipher", "ECDHE-RSA-AES128-SHA"), "no cipher suite or key type in common"),
            ((*rsa, *san), ("-tls1_2", "-cipher", "AES128-GCM-SHA256"), "no cipher suite or key type in common"),
            ((*rsa, *san), ("-tls1_1", "-cipher", "ALL:@SECLEVEL=0"), "no TLS version in common; the exporter supports TLS 1.3"),
            (("-newkey", "rsa:1024", *san), ("-cipher", "ALL:@SECLEVEL=0"), "RSA key of 1024 bits, which is not supported; use one with 2048 to 8192 bits"),
            (rsa, (), "has no subjectAltName"),
            ((*rsa, "-addext", "subjectAltName=DNS:other.example.com"), (), "not for 127.0.0.1 but for other.example.com"),
            ((*rsa, *san), ("-Verify", "1"), "requires a client certificate"),
            ((*rsa, *san, "-addext", "extendedKeyUsage=clientAuth"), (), None),
            ((*rsa, *san, "-addext", "1.2.3.4=critical,ASN1:NULL"), (), None),
            ((*rsa, *san), (), "is not JSON"),
        ):
            key, certificate = self_signed(self.folder, "cluster", *make)
            text = self.message(self.serve(key, certificate, *options), certificate)
            if words:
                self.assertIn(words, text, (make, options))

    def test_answers_that_are_cut(self):
        key, certificate = self_signed(self.folder, "cluster", "-newkey", "rsa:2048", "-addext", "subjectAltName=IP:127.0.0.1")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        for answer, words in (
            (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", ": closed before the response was complete"),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{", ": closed before the response was complete"),
            (b"HTTP/1.1 200 OK\r\nContent-Len", ": closed before the response was complete"),
            (b"HTTP/1.1 2000 OK\r\n\r\n", "does not speak HTTP"),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", "does not speak HTTP"),
            (b"HTTP/1.1 200 OK\r\nA: " + b"x" * 500000 + b"\r\n\r\n", "does not speak HTTP"),
            (b"", ": closed before the response was complete"),
        ):
            listener = socket.create_server(("127.0.0.1", 0))

            def serve():
                try:
                    while True:
                        connection, _ = listener.accept()
                        with context.wrap_socket(connection, server_side=True) as tls:
                            tls.recv(10000)
                            tls.sendall(answer)
                except OSError:
                    pass

            threading.Thread(target=serve, daemon=True).start()
            text = self.message(listener.getsockname()[1], certificate)
            listener.close()
            self.assertIn(words, text, answer[:80])

    def test_http_and_https_confused(self):
        class Quiet(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

        server = http.server.HTTPServer(("127.0.0.1", 0), Quiet)
        self.addCleanup(server.server_close)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.shutdown)
        self.assertIn("does not speak TLS on this port; compare the port in url", self.message(server.server_port))
        key, certificate = self_signed(self.folder, "cluster", "-newkey", "rsa:2048")
        self.assertRegex(self.message(self.serve(key, certificate), scheme="http"), "does not speak HTTP|: closed before")


if __name__ == "__main__":
    unittest.main()
