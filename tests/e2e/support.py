"""Helpers of the end-to-end tests: processes, ports, HTTP, waiting for conditions."""

import gzip
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import tempfile
import time
import typing
import unittest
import urllib.error
import urllib.parse
import urllib.request

EXPORTER = os.environ["EXPORTER"]
VENVS = pathlib.Path(os.environ["VENVS"])
PARTS = pathlib.Path(os.environ["PARTS"])
ROOT = pathlib.Path(__file__).resolve().parents[2]


def run(*command, check=True, **rest):
    """The standard output of a command. Raises if it fails."""
    done = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, capture_output=True, text=True, **rest)
    if check and done.returncode != 0:
        raise AssertionError(f"{command}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def wait_for(condition, what, seconds=20):
    """Calls `condition()` ten times a second and returns its first true value."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.1)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def get(url, headers=None):
    """Status, headers and body of a GET. Does not raise for error statuses."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers or {}), timeout=10) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def post(url):
    """Status and body of a POST."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="POST"), timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


class Store(typing.NamedTuple):
    """A running server that scrapes and evaluates rules."""
    name: str
    url: str

    def query(self, expression):
        """[(labels, value)] of an instant query."""
        status, _, body = get(f"{self.url}/api/v1/query?" + urllib.parse.urlencode({"query": expression}))
        assert status == 200, (self.name, expression, body)
        return [(sample["metric"], float(sample["value"][1])) for sample in json.loads(body)["data"]["result"]]

    def value(self, expression):
        found = self.query(expression)
        return found[0][1] if found else None


class Prometheus(typing.NamedTuple):
    """A version of Prometheus, and the programs released with it."""
    server: str
    promtool: str
    alertmanager: str
    amtool: str

    def start(self, case, scrape, rules=None, alertmanager=None, arguments=()):
        """The URL of a server that is ready. Before, it responds to every query with 503."""
        folder, address = case.room()
        text = re.sub(r"^global: \{", "global: {evaluation_interval: 1s, ", scrape, flags=re.M)
        if rules:
            text += f"\nrule_files: ['{rules}']\n"
        if alertmanager:
            text += f"alerting: {{alertmanagers: [{{static_configs: [{{targets: ['{alertmanager}']}}]}}]}}\n"
        config = folder / "prometheus.yml"
        config.write_text(text)
        return case.ready(address, self.server, f"--config.file={config}", f"--storage.tsdb.path={folder}",
                          f"--web.listen-address={address}", "--rules.alert.resend-delay=10m", *arguments)


class VictoriaMetrics(typing.NamedTuple):
    """VictoriaMetrics, and vmalert for rules. The flags switch off the wait of half a minute for late samples, and a cache that
    hides a new series for ten seconds if it was queried before it existed."""
    server: str
    vmalert: str
    alertmanager: str

    def start(self, case, scrape, rules=None, alertmanager=None, arguments=()):
        folder, address = case.room()
        config = folder / "scrape.yml"
        config.write_text(scrape)
        url = case.ready(address, self.server, f"-promscrape.config={config}", f"-storageDataPath={folder}",
                         f"-httpListenAddr={address}", "-search.latencyOffset=0s", "-storage.cacheSizeIndexDBTagFilters=1",
                         "-loggerLevel=WARN", *arguments)
        if rules:
            _, address = case.room()
            notifier = f"-notifier.url=http://{alertmanager}" if alertmanager else "-notifier.blackhole"
            case.ready(address, self.vmalert, f"-rule={rules}", f"-datasource.url={url}", f"-remoteWrite.url={url}",
                       f"-remoteRead.url={url}", notifier, f"-httpListenAddr={address}", "-evaluationInterval=1s",
                       "-rule.evalDelay=0s", "-rule.resendDelay=10m", "-loggerLevel=WARN")
        return url


OLDEST = Prometheus("prometheus", "promtool", "prometheus-alertmanager", "amtool")
CURRENT = Prometheus(*(str(PARTS / name) for name in ("prometheus", "promtool", "alertmanager", "amtool")))
GENERATIONS = (OLDEST, CURRENT)
# Tests that need a store run all of these.
STACKS = {
    "oldest Prometheus": OLDEST,
    "current Prometheus": CURRENT,
    "VictoriaMetrics": VictoriaMetrics(str(PARTS / "victoria-metrics"), str(PARTS / "vmalert"), CURRENT.alertmanager),
}


def scrape_config(*exporters):
    """A configuration of Prometheus that scrapes exporters, given by URL or address, every second."""
    targets = ", ".join(f"'{exporter.removeprefix('http://')}'" for exporter in exporters)
    return f"""global: {{scrape_interval: 1s}}
scrape_configs:
- job_name: qumulo-encryption
  honor_labels: true
  static_configs: [{{targets: [{targets}]}}]
"""


def self_signed(folder, name, *options):
    """Creates NAME.pem and NAME.key with `openssl req`. The key is elliptic unless the options have another one."""
    key = () if "-newkey" in options else ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")
    run("openssl", "req", "-x509", "-nodes", "-days", "90", "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out",
        f"{name}.pem", *key, *options, cwd=folder)
    return folder / f"{name}.key", folder / f"{name}.pem"


def without_waits(rules):
    """The text of the alert rules without `for`, `keep_firing_for` and `interval`."""
    return re.sub(r"\n +(?:for|keep_firing_for|interval): \w+(?=\n)", "", rules)


def metrics(url):
    """The samples of an exporter: {series as in the text format: value}."""
    status, headers, body = get(url + "/metrics", {"Accept-Encoding": "gzip"})
    assert status == 200 and headers["Content-Encoding"] == "gzip", (status, headers)
    lines = gzip.decompress(body).decode().splitlines()
    return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines if not line.startswith("#")}


def polled(samples):
    """The names of the clusters that are polled."""
    prefix = 'qumulo_encryption_polls_total{cluster="'
    return {series[len(prefix):-2] for series in samples if series.startswith(prefix)}


def entry(name, cluster, folder, extra=""):
    """The configuration of a simulated cluster, with a token file and a pinned certificate."""
    token = folder / f"{cluster['name']}.token"
    token.write_text(cluster["token"])
    return (f"- name: {name}\n  url: {cluster['url']}\n  authorization: {{credentials_file: {token}}}\n"
            f"  tls_config: {{pin_sha256: ['{cluster['pin_sha256']}']}}\n{extra}")


class Case(unittest.TestCase):
    """A test with its own folder and processes. Their logs are printed if the test fails."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.folder.chmod(0o755)
        self.processes = []

    def tearDown(self):
        outcome = getattr(self, "_outcome", None)
        failed = outcome is not None and not outcome.success
        for process in self.processes if failed else []:
            print(f"--- {process.args[0]}\n{process.log.read_text()}")

    def start(self, *command, env=None):
        """Starts a process, which is killed at the end of the test. Standard output and error go to files."""
        number = len(self.processes)
        out, log = self.folder / f"out-{number}", self.folder / f"log-{number}"
        with out.open("w") as stdout, log.open("w") as stderr:
            process = subprocess.Popen(
                [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr,
                cwd=self.folder, env={**os.environ, **(env or {})},
            )
        process.out, process.log = out, log
        self.processes.append(process)

        def stop():
            process.kill()
            process.wait()

        self.addCleanup(stop)
        return process

    def exporter(self, *arguments, env=None, wrapper=()):
        """Starts an exporter (or demo) and sets its `.url`. `wrapper` is a command that starts it."""
        process = self.start(*wrapper, EXPORTER, *arguments, "--web.listen-address", "127.0.0.1:0", env=env)

        def listening():
            if process.poll() is not None:
                raise AssertionError(f"ended with {process.returncode}: {process.log.read_text()}")
            return re.search(r"msg=listening address=(\S+)", process.log.read_text())

        process.url = "http://" + wait_for(listening, "the exporter listens")[1]
        return process

    def start_demo(self, *arguments):
        """Starts a demo, and waits until every cluster was polled."""
        demo = self.exporter("demo", *arguments)
        self.wait_ready(demo.url)
        return demo

    def wait_ready(self, url):
        """Waits until an exporter has polled every cluster."""
        wait_for(lambda: get(url + "/-/ready")[0] == 200, "every cluster was polled")

    def wait_equal(self, function, expected, message, seconds=60):
        """Waits until the result is as expected. Shows the difference if it is not."""
        try:
            wait_for(lambda: function() == expected, message, seconds)
        except AssertionError:
            self.assertEqual(function(), expected, message)

    def end(self, process, number=signal.SIGTERM, seconds=10):
        """Sends a signal and returns the exit status."""
        process.send_signal(number)
        return process.wait(seconds)

    def replace(self, path, text):
        """Replaces a file atomically."""
        new = self.folder / "new"
        new.write_text(text)
        new.rename(path)

    def room(self):
        """A new folder and a free address for a process."""
        folder = pathlib.Path(tempfile.mkdtemp(dir=self.folder))
        return folder, f"127.0.0.1:{free_port()}"

    def ready(self, address, *command):
        """Starts a server that has /-/ready, and returns its URL once it is ready."""
        process = self.start(*command)
        url = f"http://{address}"

        def ready():
            assert process.poll() is None, process.log.read_text()
            try:
                return get(url + "/-/ready")[0] == 200
            except OSError:
                return False

        wait_for(ready, f"{command[0]} is ready", seconds=60)
        return url

    def run_prometheus(self, config, data=None):
        """Starts a current Prometheus with this configuration file, and returns its URL."""
        folder, address = self.room()
        return self.ready(address, CURRENT.server, f"--config.file={config}", f"--storage.tsdb.path={data or folder}",
                          f"--web.listen-address={address}")

    def stores(self, scrape, rules=None, alertmanagers={}):
        """Starts a store of each stack, with the same scrape configuration and rules."""
        return [Store(name, stack.start(self, scrape, rules, alertmanagers.get(name))) for name, stack in STACKS.items()]

    def simulate(self, fleet):
        """Starts simulated clusters. `.clusters` has their settings by name, as the simulator prints them."""
        path = self.folder / "fleet.yml"
        path.write_text(fleet)
        process = self.start(EXPORTER, "simulate", "--fleet", path)
        text = wait_for(lambda: process.out.read_text(), "the simulator describes its clusters")
        process.clusters, process.fleet = {}, path
        for block in text.split("- name: ")[1:]:
            values = dict(re.findall(r'(\w+): "([^"]*)"', "name: " + block))
            process.clusters[values["name"]] = values
        return process
