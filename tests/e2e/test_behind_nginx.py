"""The exporter behind nginx, below a path: every link works, and Prometheus finds the clusters."""

import json
import re
import ssl
import subprocess
import unittest
import urllib.error
import urllib.parse
import urllib.request

from support import EXPORTER, ROOT, Case, free_port, get, self_signed, wait_for

EXAMPLE = ROOT / "deploy/nginx/qumulo-encryption-exporter.conf"
PATH = "/qumulo-encryption"
SERVER = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {folder}/localhost.pem;
        ssl_certificate_key {folder}/localhost.key;
{location}
    }}
}}
"""


class BehindNginx(Case):
    def setUp(self):
        super().setUp()
        self_signed(self.folder, "ca")
        self_signed(self.folder, "localhost", "-CA", "ca.pem", "-CAkey", "ca.key", "-addext", "subjectAltName=DNS:localhost",
                    "-addext", "basicConstraints=CA:FALSE")
        self.trust = ssl.create_default_context(cafile=self.folder / "ca.pem")

    def serve(self, rewrite, *arguments):
        """Starts an exporter, and nginx with the example configuration in front of it. Returns the URL."""
        port = free_port()
        site = f"https://localhost:{port}{PATH}"
        exporter = self.exporter("demo", "--web.external-url", site, *arguments)
        text = EXAMPLE.read_text()
        self.assertIn("http://127.0.0.1:10979;", text)
        location = text.replace("http://127.0.0.1:10979;", f"{exporter.url}{'/' if rewrite else ''};")
        config = self.folder / f"nginx-{port}.conf"
        config.write_text(SERVER.format(folder=self.folder, port=port, location=location))
        self.start("nginx", "-c", config)
        wait_for(lambda: self.get(site + "/-/ready")[0] == 200, "ready behind nginx")
        return site

    def get(self, url):
        try:
            with urllib.request.urlopen(url, timeout=10, context=self.trust) as answer:
                return answer.status, answer.url, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, url, ""
        except urllib.error.URLError:
            return 0, url, ""

    def follow_every_link(self, site):
        """Follows all links from the root page. Returns the pages by URL."""
        seen, todo = {}, [site]
        while todo:
            status, url, text = self.get(todo.pop())
            self.assertEqual(status, 200, url)
            self.assertTrue(url.startswith(site), url)
            seen[url] = text
            for link in re.findall(r'href="([^"#]+)"', text) if text.startswith("<!DOCTYPE") else []:
                further = urllib.parse.urljoin(url, link.replace("&amp;", "&"))
                if further.startswith("https://") and further not in seen and further not in todo:
                    todo.append(further)
        return seen

    def check(self, site):
        pages = self.follow_every_link(site)
        for path in ("/", "/metrics", "/sd", "/api/v1/clusters", "/runbooks/QumuloEncryptionKeyNotFound",
                     "/probe?target=prod-east"):
            self.assertIn(site + path, pages)
        clusters = json.loads(pages[site + "/api/v1/clusters"])["clusters"]
        finding = next(each["findings"][0] for each in clusters if each["findings"])
        self.assertEqual(self.get(f"{site}/{finding['runbook']}")[0], 200)
        for trust, code, words in ((f"{self.folder}/ca.pem", 2, ""), ("/nowhere", 3, "no CA certificates found"),
                                   ("/etc/ssl/certs/ca-certificates.crt", 3, "verified against this system's CA certificates")):
            done = subprocess.run([EXPORTER, "status", "--exporter.url", site, "--output", "plugin"], text=True, timeout=60,
                                  stdin=subprocess.DEVNULL, capture_output=True, env={"SSL_CERT_FILE": trust})
            self.assertEqual((done.returncode, words in done.stderr), (code, True), done.stderr)
        config = self.folder / "prometheus.yml"
        trust = f"tls_config: {{ca_file: {self.folder}/ca.pem}}"
        config.write_text(f"""
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
- job_name: qumulo-encryption
  {trust}
  http_sd_configs:
  - {{url: "{site}/sd", {trust}}}
""")
        prometheus = self.run_prometheus(config)
        query = urllib.parse.urlencode({"query": 'up{job="qumulo-encryption"} == 1'})

        def scraped():
            return json.loads(get(f"{prometheus}/api/v1/query?{query}")[2])["data"]["result"]

        wait_for(lambda: len(scraped()) == len(clusters), "each cluster is scraped through nginx", seconds=40)

    def test_below_the_same_path(self):
        self.check(self.serve(False))

    def test_below_a_path_that_nginx_strips(self):
        self.check(self.serve(True, "--web.route-prefix=/"))


if __name__ == "__main__":
    unittest.main()
