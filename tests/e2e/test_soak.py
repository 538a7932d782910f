"""Months of trouble in a short time: a fleet polled every second, with faults, renewals and reloads at random.

The simulated clusters say what this program tells them to say, so it knows what may be served: a state that the cluster was
in when it was polled last, whole, and not for longer than `stale_after`. SOAK_SECONDS makes it longer, SOAK_SEED repeats one.
"""

import datetime
import json
import os
import pathlib
import random
import re
import signal
import ssl
import statistics
import time
import unittest
import urllib.parse

from support import Case, get, metrics, polled, post, wait_for

SECONDS = float(os.environ.get("SOAK_SECONDS", "40"))
SEED = int(os.environ.get("SOAK_SEED", random.SystemRandom().randrange(1 << 32)))
NAMES = [f"cluster-{number:02}" for number in range(24)]
INTERVAL, TIMEOUT, STALE_AFTER = 1, 1, 5
# How long the simulator, which looks at its file four times a second, and a busy machine may take.
SLACK = 4

STATES = [("Local", "Not Encrypted", "not_encrypted"), ("Local", "Encrypted", "encrypted"),
          ("Local", "Configuration Corrupted", "configuration_corrupted"), ("KMS", "KMS Available", "kms_available"),
          ("KMS", "Cannot connect to KMS server.", "kms_cannot_connect"), ("KMS", "Something new", "unknown")]
# Faults with which a poll is good, and those with which it is not.
HARMLESS = [{}, {}, {}, {"latency": "100ms"}, {"close": True}, {"chunked": True}, {"clock_skew": "-10m"},
            {"identity_fault": 500}, {"details_fault": 403}]
HARMFUL = [{"down": True}, {"hang": True}, {"hang_handshake": True, "close": True}, {"drop": True}, {"reset": True},
           {"truncate": True}, {"oversize": 1 << 20}, {"stall_body": True}, {"trickle": "100ms"}, {"latency": "5s"},
           {"redirect": "https://elsewhere.example/"}, {"http_status": 403}, {"http_status": 404}, {"http_status": 500},
           {"http_status": 503, "retry_after": "1"}, {"http_status": 429, "retry_after": "1"}]


def series(metric, name, label=""):
    return f'qumulo_encryption_{metric}{{cluster="{name}"{label}}}'


class Generation:
    """What a cluster says from one change to the next."""

    def __init__(self, dice, number):
        self.type, self.text, self.status = dice.choice(STATES)
        self.fault = dice.choice(HARMLESS if dice.random() < 0.7 else HARMFUL)
        # Every generation has dates of its own, by which it is known.
        self.rotation, self.client = 1_500_000_000 + number, 2_500_000_000 + number
        self.begins, self.ends = time.time(), float("inf")

    def spec(self):
        date = lambda seconds: datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {"type": self.type, "status": self.text, "faults": self.fault, "last_key_rotation_time": date(self.rotation),
                "client_cert_expiry": date(self.client) if self.type == "KMS" else None,
                "ca_cert_expiry": date(self.client + 1) if self.type == "KMS" else None}

    def served(self, name):
        """The samples of this generation that follow from nothing else."""
        expiry = lambda which: series("certificate_expiry_timestamp_seconds", name, f',certificate="{which}"')
        samples = {series("status", name, f',status="{self.status}"'): 1,
                   series("type", name, f',encryption_type="{self.type.lower()}"'): 1,
                   series("last_key_rotation_timestamp_seconds", name): self.rotation}
        if self.type == "KMS":
            samples |= {expiry("kms_client"): self.client, expiry("kms_ca"): self.client + 1}
        return samples


class Cluster:
    def __init__(self, soak, name):
        self.soak, self.name, self.token, self.expiry, self.generations = soak, name, f"access-v1:{name}==", 800, []
        # Until when a poll may fail because a credential or a certificate is being renewed.
        self.unsettled, self.polls = 0, 0
        self.ca_file, self.token_file = (soak.folder / f"{name}.{kind}" for kind in ("pem", "token"))
        self.change()

    def change(self):
        now = time.time()
        if self.generations:
            self.generations[-1].ends = now
        self.soak.changes += 1
        self.generations.append(Generation(self.soak.dice, self.soak.changes))
        self.generations = [each for each in self.generations if each.ends > now - 60]

    def spec(self):
        auth = {"token": self.token}
        return {"name": self.name, "certificate_expiry": f"+{self.expiry}d", "auth": auth, **self.generations[-1].spec()}

    def shown(self):
        address = urllib.parse.urlsplit(self.url)
        try:
            return ssl.get_server_certificate((address.hostname, address.port), timeout=1)
        except OSError:
            return None

    def settles(self):
        self.unsettled = time.time()

    def entry(self):
        return {"name": self.name, "url": self.url, "authorization": {"credentials_file": str(self.token_file)},
                "tls_config": {"ca_file": str(self.ca_file), "server_name": "127.0.0.1"}}


class Soak(Case):
    def fleet(self):
        return json.dumps({"clusters": [each.spec() for each in self.clusters.values()]})

    def tell(self):
        """Tells the simulator what all clusters say now."""
        self.replace(self.simulator.fleet, self.fleet())

    def configure(self, names):
        self.configured = set(names)
        self.added = {name: self.added.get(name, time.time()) for name in names}
        settings = {"poll_interval": "1s", "poll_timeout": "1s", "stale_after": f"{STALE_AFTER}s"}
        entries = [self.clusters[name].entry() for name in sorted(names)]
        self.replace(self.config, json.dumps({"global": settings, "clusters": entries}))

    # What happens.

    def changes_of_state(self):
        for cluster in self.dice.sample(list(self.clusters.values()), self.dice.randint(1, 4)):
            cluster.change()
        self.tell()

    def rotation_of_a_token(self):
        cluster = self.dice.choice(list(self.clusters.values()))
        cluster.token = f"access-v1:{self.dice.getrandbits(160):040x}=="
        cluster.settles()
        steps = [self.tell, lambda: self.replace(cluster.token_file, cluster.token)]
        self.dice.shuffle(steps)
        for step in steps:
            step()

    def renewal_of_a_certificate(self):
        cluster = self.dice.choice(list(self.clusters.values()))
        if cluster.generations[-1].fault not in HARMLESS or not (before := cluster.shown()):
            return
        cluster.expiry += 1
        cluster.settles()
        self.tell()
        shown = wait_for(lambda: (new := cluster.shown()) and new != before and new, "another certificate")
        self.replace(cluster.ca_file, shown)
        cluster.settles()

    def spoiled_files(self):
        """The last good authority stays, and comes back; a token of two words is no token."""
        cluster = self.dice.choice(list(self.clusters.values()))
        good = cluster.ca_file.read_text()
        # A poll can read the spoiled token before the look.
        cluster.settles()
        self.replace(cluster.ca_file, self.dice.choice(["", "no certificate", good[:len(good) // 2]]))
        self.replace(cluster.token_file, self.dice.choice(["two words", ""]))
        self.look()
        self.replace(cluster.ca_file, good)
        self.replace(cluster.token_file, cluster.token)
        cluster.settles()

    def reload(self):
        self.configure(self.dice.sample(NAMES, self.dice.randint(len(NAMES) * 3 // 4, len(NAMES))))
        status, body = post(self.exporter.url + "/-/reload")
        # A renewal that is under way can leave a file that no connection can be made with.
        self.assertEqual(status, 200, body)
        self.reloads += 1

    def reload_by_signal(self):
        self.exporter.send_signal(signal.SIGHUP)
        self.reloads += 1

    def broken_reload(self):
        text = self.config.read_text()
        self.replace(self.config, self.dice.choice([text[:len(text) // 2], "clusters: 1", text.replace('"url"', '"uri"', 1)]))
        self.assertEqual(post(self.exporter.url + "/-/reload")[0], 500)
        self.replace(self.config, text)

    def other_readers(self):
        for path in ("/", "/api/v1/clusters", "/sd", f"/probe?target={min(self.configured)}", "/-/healthy"):
            self.assertEqual(get(self.exporter.url + path)[0], 200, path)

    # What is served.

    def look(self):
        before = time.time()
        samples = metrics(self.exporter.url)
        now = time.time()
        self.scrapes += 1
        self.assertEqual(polled(samples), self.configured)
        for name in self.configured:
            self.check(self.clusters[name], samples, before, now)
        for name in set(NAMES) - self.configured:
            self.clusters[name].polls = 0
            self.assertFalse([each for each in samples if f'"{name}"' in each], "gone")
            self.added.pop(name, None)

    def check(self, cluster, samples, before, now):
        name, said = cluster.name, cluster.generations
        polls = samples[series("polls_total", name)]
        self.assertGreaterEqual(polls, cluster.polls, name)
        cluster.polls = polls
        success = samples.get(series("last_successful_poll_timestamp_seconds", name))
        fresh = {each for each in samples if each.startswith(series("status", name)[:-1])}
        if fresh:
            self.assertLess(before - success, STALE_AFTER + 0.1, f"{name}: nothing old is served")
            possible = [each for each in said if each.begins <= success and each.ends + SLACK >= success - TIMEOUT]
            whole = [each for each in possible if each.served(name).items() <= samples.items()]
            shown = {each: samples[each] for each in samples if f'"{name}"' in each and samples[each]}
            self.assertTrue(whole, f"{name} serves what it did not say: {shown}, possible: {[vars(each) for each in possible]}")
            self.assertEqual(sum(samples[each] for each in fresh), 1, "one status")
        else:
            self.assertEqual(samples.get(series("up", name), 0), 0, name)
        quiet = max(said[-1].begins, cluster.unsettled, self.added[name]) + INTERVAL + TIMEOUT + SLACK
        if before > quiet:
            good = said[-1].fault in HARMLESS
            self.settled += 1
            self.assertEqual(samples.get(series("up", name)), int(good), f"{name}: {said[-1].fault}, {self.reasons(samples, name)}")
            if before > quiet + STALE_AFTER:
                self.assertEqual(bool(fresh), good, f"{name}: {said[-1].fault}")

    def reasons(self, samples, name):
        prefix = series("last_poll_failure", name)[:-1]
        return [each for each in samples if each.startswith(prefix) and samples[each] == 1]

    # What it takes.

    def taken(self):
        status = pathlib.Path(f"/proc/{self.exporter.pid}/status").read_text()
        figure = lambda key: int(re.search(rf"^{key}:\s+(\d+)", status, re.M)[1])
        return figure("RssAnon"), len(os.listdir(f"/proc/{self.exporter.pid}/fd")), figure("Threads")

    def test_soak(self):
        print(f"SOAK_SEED={SEED} SOAK_SECONDS={SECONDS:.0f}", flush=True)
        self.dice = random.Random(SEED)
        self.changes = self.reloads = self.scrapes = self.settled = 0
        self.added, self.config = {}, self.folder / "exporter.yml"
        self.clusters = {name: Cluster(self, name) for name in NAMES}
        for cluster in self.clusters.values():
            cluster.generations[-1].fault = {}
        self.simulator = self.simulate(self.fleet())
        for cluster in self.clusters.values():
            cluster.url = self.simulator.clusters[cluster.name]["url"]
            self.replace(cluster.ca_file, cluster.shown())
            self.replace(cluster.token_file, cluster.token)
        self.configure(NAMES)
        # One heap, and nothing kept aside for each thread: what is not freed shows.
        plain = {"GLIBC_TUNABLES": "glibc.malloc.arena_max=1:glibc.malloc.tcache_count=0"}
        self.exporter = self.exporter("--config.file", self.config, "--web.enable-lifecycle", env=plain)
        events = [self.changes_of_state] * 6 + [self.rotation_of_a_token, self.renewal_of_a_certificate, self.spoiled_files,
                                               self.reload, self.reload_by_signal, self.broken_reload, self.other_readers]
        began, taken, reported = time.monotonic(), [], 0
        while (passed := time.monotonic() - began) < SECONDS:
            self.dice.choice(events)()
            for _ in range(self.dice.randint(1, 4)):
                self.look()
                time.sleep(self.dice.uniform(0, 0.3))
            taken.append((passed / SECONDS, *self.taken()))
            if passed > reported + 60:
                reported = passed
                print(f"{passed:.0f} s: {self.changes} changes, {self.reloads} reloads, {self.scrapes} scrapes, own memory "
                      f"{taken[-1][1]} KiB, {taken[-1][2]} descriptors, {taken[-1][3]} threads", flush=True)
        # Everything is well again, by itself.
        self.configure(NAMES)
        self.assertEqual(post(self.exporter.url + "/-/reload")[0], 200)
        for cluster in self.clusters.values():
            cluster.change()
            cluster.generations[-1].fault = {}
        self.tell()
        wait_for(lambda: all(metrics(self.exporter.url).get(series("up", name)) == 1 for name in NAMES), "all are up")
        half = lambda first, column: statistics.median(each[column] for each in taken if first <= each[0] < first + 0.3)
        growth = [(half(0.2, column), half(0.7, column)) for column in (1, 2, 3)]
        print(f"{self.changes} changes, {self.reloads} reloads, {self.scrapes} scrapes, {self.settled} settled readings; from the "
              "second fifth to the end: own memory {} -> {} KiB, descriptors {} -> {}, threads {} -> {}".format(
                  *(value for pair in growth for value in pair)), flush=True)
        (memory, later), (descriptors, open_later), (threads, threads_later) = growth
        self.assertLess(later, 1.1 * memory + 256, "memory")
        self.assertLess(open_later, descriptors + 12, "descriptors")
        self.assertLess(threads_later, threads + 4, "threads")
        self.assertGreater(self.settled, 0)


if __name__ == "__main__":
    unittest.main()
