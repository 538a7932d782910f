"""The listener under attack: how long other requests take during many malicious connections.

Each test prints the longest time. The limit is one second, which is generous: most requests take some milliseconds.
"""

import base64
import collections
import http.client
import multiprocessing
import os
import pathlib
import re
import resource
import socket
import ssl
import statistics
import subprocess
import time
import unittest
import urllib.request

from support import EXPORTER, Case, entry, get, metrics, self_signed, wait_for

FLEET = "clusters:\n" + "".join(f"- {{name: cluster-{number}}}\n" for number in range(20))


def raise_descriptors():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def connect(address):
    client = socket.create_connection(address, timeout=10)
    client.setblocking(False)
    return client


def silent(address, count, ready, end):
    """Connections that send nothing. Those that are closed are opened again."""
    raise_descriptors()
    clients, watched = [connect(address) for _ in range(count)], max(0, count - 500)
    ready.set()
    while not end.is_set():
        for index, client in enumerate(clients[watched:], watched):
            try:
                if client.recv(1) == b"":
                    clients[index] = connect(address)
            except BlockingIOError:
                pass
            except OSError:
                clients[index] = connect(address)
        time.sleep(0.2)


def slow_heads(address, count, ready, end):
    """Requests whose headers are sent byte by byte. Those that are closed are started again."""
    raise_descriptors()
    head = b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-Slow: " + b"a" * 10_000
    clients, sent = [connect(address) for _ in range(count)], 0
    ready.set()
    while not end.is_set():
        for index, client in enumerate(clients):
            try:
                client.send(head[sent:sent + 1])
            except OSError:
                client.close()
                clients[index] = connect(address)
                clients[index].send(head[:sent + 1])
        sent += 1
        time.sleep(0.3)


def never_read(address, count, ready, end):
    """Requests for large responses that are never read."""
    request = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"

    def ask():
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(10)
        client.connect(address)
        # More responses than fit into all buffers.
        client.sendall(request * 20)
        return client

    clients = [ask() for _ in range(count)]
    ready.set()
    end.wait()
    del clients


def guess(address, count, ready, end):
    """Connections that try passwords one after the other. They come from another address than the scrapes: at the limit of
    connections, the exporter closes connections of the address that has the most."""
    elsewhere = ("127.0.0.2", 0)
    clients, number = [http.client.HTTPConnection(*address, timeout=30, source_address=elsewhere) for _ in range(count)], 0
    ready.set()
    while not end.is_set():
        for client in clients:
            number += 1
            header = "Basic " + base64.b64encode(f"scraper:wrong-{number}".encode()).decode()
            try:
                client.request("GET", "/metrics", headers={"Authorization": header})
            except (OSError, http.client.HTTPException):
                client.close()
        for client in clients:
            try:
                client.getresponse().read()
            except (OSError, http.client.HTTPException):
                client.close()


def hellos(address, count, ready, end):
    """TLS handshakes that are started and never finished."""
    hello = client_hello()
    while not end.is_set():
        clients = []
        for _ in range(count):
            clients.append(socket.create_connection(address, timeout=10))
        for client in clients:
            client.sendall(hello)
        ready.set()
        time.sleep(0.5)
        for client in clients:
            client.close()


# The bytes that a client sends over each connection of a flood. It reads nothing.
FLOODS = {
    "silent": b"",
    "long heads": b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 15_000,
    "hellos": None,
    # More than fits into the buffers of both sides.
    "unread answers": b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 3,
}


def client_hello():
    """The first message of a TLS handshake."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    outgoing = ssl.MemoryBIO()
    try:
        context.wrap_bio(ssl.MemoryBIO(), outgoing).do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()


def flood(address, source, payload, opened, ready, end):
    """Opens up to 700 connections a second, and keeps the last 300 open."""
    held, began = collections.deque(), time.monotonic()
    while not end.is_set():
        if opened.value > 700 * (time.monotonic() - began):
            time.sleep(0.005)
            continue
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.bind((source, 0))
        client.setblocking(False)
        client.connect_ex(address)
        opened.value += 1
        held.append(client)
        if payload and len(held) > 5:
            try:
                # By now this connection is established, if the backlog had space.
                held[-5].send(payload)
            except OSError:
                pass
        if len(held) > 300:
            held.popleft().close()
            ready.set()
    for client in held:
        client.close()


def memory_group(case, size):
    """The folder of a new control group with this memory limit, and its file with the peak usage. None if it cannot be created."""
    unified = os.path.exists("/sys/fs/cgroup/cgroup.controllers")
    root, limit, peak = (("/sys/fs/cgroup", "memory.max", "memory.peak") if unified else
                         ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.max_usage_in_bytes"))
    group = pathlib.Path(root) / f"listener-{os.getpid()}-{len(case.processes)}"
    try:
        group.mkdir()
        case.addCleanup(group.rmdir)
        (group / limit).write_text(str(size))
        if not unified:
            # In version 1, the socket buffers count only with a limit.
            (group / "memory.kmem.tcp.limit_in_bytes").write_text(str(size))
    except OSError:
        return None
    return group, group / peak


class ManyConnections(Case):
    def test_floods_within_the_memory_limit_of_the_chart(self):
        """Two clients open connections as fast as they can: the exporter survives and responds to scrapes."""
        limit = 128 << 20
        key, certificate = self_signed(self.folder, "exporter", "-newkey", "rsa:2048")
        tls = self.web_config(f"tls_server_config: {{cert_file: {certificate}, key_file: {key}}}\n")
        context = ssl._create_unverified_context()
        for kind, payload in FLOODS.items():
            with self.subTest(kind):
                group = memory_group(self, limit)
                wrapper = ["sh", "-c", 'echo 0 >"$0/cgroup.procs" && exec "$@"', group[0]] if group else ["prlimit", f"--data={limit}"]
                exporter = self.watched(*(tls if payload is None else ()), wrapper=wrapper)
                url = exporter.url.replace("http:", "https:") if payload is None else exporter.url

                def scrape():
                    with urllib.request.urlopen(url + "/metrics", timeout=10, context=context) as answer:
                        return answer.read().decode()

                wait_for(lambda: "qumulo_encryption_up" in scrape(), "polled")
                host, port = exporter.url.removeprefix("http://").split(":")
                end, counters = multiprocessing.Event(), []
                self.addCleanup(end.set)
                for source in ("127.0.0.2", "127.0.0.3"):
                    ready, opened = multiprocessing.Event(), multiprocessing.Value("q", 0)
                    process = multiprocessing.Process(target=flood, daemon=True, args=(
                        (host, int(port)), source, client_hello() if payload is None else payload, opened, ready, end))
                    process.start()
                    self.addCleanup(process.terminate)
                    self.assertTrue(ready.wait(30), "the flood has begun")
                    counters.append(opened)
                total = lambda: sum(counter.value for counter in counters)
                before, began, worst, most, own = total(), time.monotonic(), 0, 0, 0
                try:
                    while time.monotonic() < began + 8:
                        started = time.monotonic()
                        self.assertIn("qumulo_encryption_up", scrape(), kind)
                        worst = max(worst, time.monotonic() - started)
                        most = max(most, len(os.listdir(f"/proc/{exporter.pid}/fd")))
                        status = pathlib.Path(f"/proc/{exporter.pid}/status").read_text()
                        own = max(own, int(re.search(r"RssAnon:\s+(\d+)", status)[1]) >> 10)
                        time.sleep(0.2)
                finally:
                    rate = (total() - before) / (time.monotonic() - began)
                    end.set()
                    used = f"{int(group[1].read_text()) >> 20} MiB" if group else "not known"
                    print(f"flood of {kind}: {rate:.0f} connections/s, scrape {worst * 1000:.0f} ms at worst, {most} descriptors, "
                          f"own memory {own} MiB, that of the group {used}", flush=True)
                self.assertIsNone(exporter.poll(), "the exporter runs")
                self.assertLess(most, 256 + 60, "descriptors")
                self.assertNotIn("this is a bug", exporter.log.read_text())
                exporter.kill()
                exporter.wait()

    def attack(self, attacker, exporter, count):
        host, port = exporter.url.removeprefix("http://").split(":")
        ready, end = multiprocessing.Event(), multiprocessing.Event()
        process = multiprocessing.Process(target=attacker, args=((host, int(port)), count, ready, end), daemon=True)
        process.start()
        self.addCleanup(process.join)
        self.addCleanup(process.terminate)
        self.addCleanup(end.set)
        self.assertTrue(ready.wait(60), "the attack has begun")

    def times(self, asks, seconds=8):
        """The longest time of each kind of request, sent every half second. All must succeed."""
        worst, until = dict.fromkeys(asks, 0.0), time.monotonic() + seconds
        while time.monotonic() < until:
            for name, ask in asks.items():
                started = time.monotonic()
                self.assertEqual(ask(), 200, name)
                worst[name] = max(worst[name], time.monotonic() - started)
            time.sleep(0.5)
        print(f"{self._testMethodName}: " + ", ".join(f"{name} {value * 1000:.0f} ms" for name, value in worst.items()))
        return max(worst.values())

    def asks(self, exporter):
        return {path: (lambda path=path: get(exporter.url + path)[0]) for path in ("/metrics", "/-/healthy")}

    def watched(self, *arguments, wrapper=()):
        """Starts an exporter of a fleet that is polled every three seconds."""
        clusters = self.simulate(FLEET).clusters
        entries = [entry(name, cluster, self.folder) for name, cluster in clusters.items()]
        config = self.folder / "exporter.yml"
        config.write_text("global: {poll_interval: 3s}\nclusters:\n" + "".join(entries))
        return self.exporter("--config.file", config, *arguments, wrapper=wrapper)

    def check_polls_and_scrapes(self, attacker, count):
        exporter = self.watched()
        self.wait_ready(exporter.url)
        self.attack(attacker, exporter, count)
        self.assertLess(self.times(self.asks(exporter)), 1)
        failures = {series: value for series, value in metrics(exporter.url).items() if "poll_failures_total{" in series}
        self.assertEqual(sum(failures.values()), 0, failures)

    def test_silent_connections(self):
        self.check_polls_and_scrapes(silent, 5000)

    def test_slow_headers(self):
        self.check_polls_and_scrapes(slow_heads, 1000)

    def test_clients_that_never_read(self):
        exporter = self.exporter("demo")
        self.attack(never_read, exporter, 40)
        self.assertLess(self.times(self.asks(exporter)), 1)

    def web_config(self, text):
        path = self.folder / "web.yml"
        path.write_text(text)
        return "--web.config.file", path

    def test_password_guessers(self):
        password = subprocess.run([EXPORTER, "hash-password", "scraper"], input="right", capture_output=True, text=True).stdout
        exporter = self.watched(*self.web_config("basic_auth_users:\n  " + password))
        header = {"Authorization": "Basic " + base64.b64encode(b"scraper:right").decode()}
        scrape = lambda: get(exporter.url + "/metrics", header)[0]
        wait_for(lambda: scrape() == 200, "the right password is known")
        self.attack(guess, exporter, 400)
        self.assertLess(self.times({"/metrics": scrape, "/-/healthy": lambda: get(exporter.url + "/-/healthy")[0]}), 1)
        samples = get(exporter.url + "/metrics", header)[2].decode()
        self.assertNotRegex(samples, r'qumulo_encryption_up{[^}]*} 0')

    def test_rejections_take_equally_long_for_unknown_users(self):
        hashed = lambda user: subprocess.run([EXPORTER, "hash-password", user], input="right", capture_output=True, text=True).stdout
        exporter = self.exporter("demo", *self.web_config(f"basic_auth_users:\n  {hashed('known')}  {hashed('other')}"))
        client = http.client.HTTPConnection(exporter.url.removeprefix("http://"), timeout=30)
        self.addCleanup(client.close)

        def refusal(user, number):
            header = "Basic " + base64.b64encode(f"{user}:wrong-{number}".encode()).decode()
            started = time.monotonic()
            client.request("GET", "/metrics", headers={"Authorization": header})
            answer = client.getresponse()
            text = answer.read()
            seconds, headers = time.monotonic() - started, sorted(name for name, _ in answer.getheaders())
            return seconds, (answer.status, text, headers)

        # Alternately, because the speed of the machine varies.
        rounds = [{user: refusal(user, number) for user in ("known", "nobody")} for number in range(40)]
        self.assertEqual(len({repr(answer) for each in rounds for _, answer in each.values()}), 1, "the same response")
        known, nobody = (statistics.median(each[user][0] for each in rounds) for user in ("known", "nobody"))
        print(f"a wrong password: known user {known * 1000:.2f} ms, unknown {nobody * 1000:.2f} ms")
        self.assertLess(max(known, nobody), 1.3 * min(known, nobody))

    def test_unfinished_handshakes(self):
        key, certificate = self_signed(self.folder, "exporter", "-newkey", "rsa:4096")
        exporter = self.watched(*self.web_config(f"tls_server_config: {{cert_file: {certificate}, key_file: {key}}}\n"))
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        host = exporter.url.removeprefix("http://")
        kept = http.client.HTTPSConnection(host, context=context, timeout=30)
        self.addCleanup(kept.close)

        def scrape():
            kept.request("GET", "/metrics")
            answer = kept.getresponse()
            scrape.text = answer.read().decode()
            return answer.status

        wait_for(lambda: scrape() == 200 and "qumulo_encryption_up" in scrape.text, "polled")
        self.attack(hellos, exporter, 400)
        self.assertLess(self.times({"/metrics on a kept connection": scrape}), 1)
        self.assertNotRegex(scrape.text, r'poll_failures_total{[^}]*} [1-9]')


if __name__ == "__main__":
    unittest.main()
