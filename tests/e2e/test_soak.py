"""The soak test: a fleet that is polled every second, with random faults, renewals and reloads.

This program controls the simulated clusters, so it knows which metrics are correct: those of a state that the cluster was in at
its last successful poll, complete, and for at most `stale_after`. SOAK_SECONDS sets the duration, SOAK_SEED repeats a run.
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
# Tolerance for a busy machine, and for the simulator, which reads its file four times a second.
SLACK = 4

STATES = [("Local", "Not Encrypted", "not_encrypted"), ("Local", "Encrypted", "encrypted"),
          ("Local", "Configuration Corrupted", "configuration_corrupted"), ("KMS", "KMS Available", "kms_available"),
          ("KMS", "Cannot connect to KMS server.", "kms_cannot_connect"), ("KMS", "Something new", "unknown")]
# Faults that polls tolerate, and faults with which they fail.
HARMLESS = [{}, {}, {}, {"latency": "100ms"}, {"close": True}, {"chunked": True}, {"clock_skew": "-10m"},
            {"identity_fault": 500}, {"details_fault": 403}]
HARMFUL = [{"down": True}, {"hang": True}, {"hang_handshake": True, "close": True}, {"drop": True}, {"reset": True},
           {"truncate": True}, {"oversize": 1 << 20}, {"stall_body": True}, {"trickle": "100ms"}, {"latency": "5s"},
           {"redirect": "https://elsewhere.example/"}, {"http_status": 403}, {"http_status": 404}, {"http_status": 500},
           {"http_status": 503, "retry_after": "1"}, {"http_status": 429, "retry_after": "1"}]


def series(metric, name, label=""):
    return f'qumulo_encryption_{metric}{{cluster="{name}"{label}}}'


class Generation:
    """The state of a cluster from one change to the next."""

    def __init__(self, rng, number):
        self.type, self.text, self.status = rng.choice(STATES)
        self.fault = rng.choice(HARMLESS if rng.random() < 0.7 else HARMFUL)
        # Every generation has different dates, which identify it.
        self.rotation, self.client = 1_500_000_000 + number, 2_500_000_000 + number
        self.begins, self.ends = time.time(), float("inf")

    def spec(self):
        date = lambda seconds: datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {"type": self.type, "status": self.text, "faults": self.fault, "last_key_rotation_time": date(self.rotation),
                "client_cert_expiry": date(self.client) if self.type == "KMS" else None,
                "ca_cert_expiry": date(self.client + 1) if self.type == "KMS" else None}

    def served(self, name):
        """The samples that identify this generation."""
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
        # Until this time, polls may fail because a credential or certificate was replaced.
        self.unsettled, self.polls = 0, 0
        self.ca_file, self.token_file = (soak.folder / f"{name}.{kind}" for kind in ("pem", "token"))
        self.change()

    def change(self):
        now = time.time()
        if self.generations:
            self.generations[-1].ends = now
        self.soak.changes += 1
        self.generations.append(Generation(self.soak.rng, self.soak.changes))
        self.generations = [each for each in self.generations if each.ends > now - 60]

    def spec(self):
        auth = {"token": self.token}
        return {"name": self.name, "certificate_expiry": f"+{self.expiry}d", "auth": auth, **self.generations[-1].spec()}

    def certificate(self):
        address = urllib.parse.urlsplit(self.url)
        try:
            return ssl.get_server_certificate((address.hostname, address.port), timeout=1)
        except OSError:
            return None

    def mark_unsettled(self):
        self.unsettled = time.time()

    def entry(self):
        return {"name": self.name, "url": self.url, "authorization": {"credentials_file": str(self.token_file)},
                "tls_config": {"ca_file": str(self.ca_file), "server_name": "127.0.0.1"}}


class Soak(Case):
    def fleet(self):
        return json.dumps({"clusters": [each.spec() for each in self.clusters.values()]})

    def update_simulator(self):
        """Writes the current state of all clusters to the simulator's file."""
        self.replace(self.simulator.fleet, self.fleet())

    def configure(self, names):
        self.configured = set(names)
        self.added = {name: self.added.get(name, time.time()) for name in names}
        settings = {"poll_interval": "1s", "poll_timeout": "1s", "stale_after": f"{STALE_AFTER}s"}
        entries = [self.clusters[name].entry() for name in sorted(names)]
        self.replace(self.config, json.dumps({"global": settings, "clusters": entries}))

    # Events.

    def changes_of_state(self):
        for cluster in self.rng.sample(list(self.clusters.values()), self.rng.randint(1, 4)):
            cluster.change()
        self.update_simulator()

    def rotation_of_a_token(self):
        cluster = self.rng.choice(list(self.clusters.values()))
        cluster.token = f"access-v1:{self.rng.getrandbits(160):040x}=="
        cluster.mark_unsettled()
        steps = [self.update_simulator, lambda: self.replace(cluster.token_file, cluster.token)]
        self.rng.shuffle(steps)
        for step in steps:
            step()

    def renewal_of_a_certificate(self):
        cluster = self.rng.choice(list(self.clusters.values()))
        if cluster.generations[-1].fault not in HARMLESS or not (before := cluster.certificate()):
            return
        cluster.expiry += 1
        cluster.mark_unsettled()
        self.update_simulator()
        renewed = wait_for(lambda: (new := cluster.certificate()) and new != before and new, "another certificate")
        self.replace(cluster.ca_file, renewed)
        cluster.mark_unsettled()

    def invalid_files(self):
        """An invalid CA file, after which the last good one stays in use, and an invalid token file."""
        cluster = self.rng.choice(list(self.clusters.values()))
        good = cluster.ca_file.read_text()
        # A poll can read the invalid token before the scrape.
        cluster.mark_unsettled()
        self.replace(cluster.ca_file, self.rng.choice(["", "no certificate", good[:len(good) // 2]]))
        self.replace(cluster.token_file, self.rng.choice(["two words", ""]))
        self.scrape()
        self.replace(cluster.ca_file, good)
        self.replace(cluster.token_file, cluster.token)
        cluster.mark_unsettled()

    def reload(self):
        self.configure(self.rng.sample(NAMES, self.rng.randint(len(NAMES) * 3 // 4, len(NAMES))))
        status, body = post(self.exporter.url + "/-/reload")
        self.assertEqual(status, 200, body)
        self.reloads += 1

    def reload_by_signal(self):
        self.exporter.send_signal(signal.SIGHUP)
        self.reloads += 1

    def broken_reload(self):
        text = self.config.read_text()
        self.replace(self.config, self.rng.choice([text[:len(text) // 2], "clusters: 1", text.replace('"url"', '"uri"', 1)]))
        self.assertEqual(post(self.exporter.url + "/-/reload")[0], 500)
        self.replace(self.config, text)

    def other_readers(self):
        for path in ("/", "/api/v1/clusters", "/sd", f"/probe?target={min(self.configured)}", "/-/healthy"):
            self.assertEqual(get(self.exporter.url + path)[0], 200, path)

    # Checks of the metrics.

    def scrape(self):
        before = time.time()
        samples = metrics(self.exporter.url)
        now = time.time()
        self.scrapes += 1
        self.assertEqual(polled(samples), self.configured)
        for name in self.configured:
            self.check(self.clusters[name], samples, before, now)
        for name in set(NAMES) - self.configured:
            self.clusters[name].polls = 0
            self.assertFalse([each for each in samples if f'"{name}"' in each], "a removed cluster has no series")
            self.added.pop(name, None)

    def check(self, cluster, samples, before, now):
        name, generations = cluster.name, cluster.generations
        polls = samples[series("polls_total", name)]
        self.assertGreaterEqual(polls, cluster.polls, name)
        cluster.polls = polls
        success = samples.get(series("last_successful_poll_timestamp_seconds", name))
        fresh = {each for each in samples if each.startswith(series("status", name)[:-1])}
        if fresh:
            self.assertLess(before - success, STALE_AFTER + 0.1, f"{name}: a stale status is served")
            possible = [each for each in generations if each.begins <= success and each.ends + SLACK >= success - TIMEOUT]
            matching = [each for each in possible if each.served(name).items() <= samples.items()]
            served = {each: samples[each] for each in samples if f'"{name}"' in each and samples[each]}
            self.assertTrue(matching, f"{name}: wrong or mixed state: {served}, possible: {[vars(each) for each in possible]}")
            self.assertEqual(sum(samples[each] for each in fresh), 1, "one status")
        else:
            self.assertEqual(samples.get(series("up", name), 0), 0, name)
        fault = generations[-1].fault
        settled = max(generations[-1].begins, cluster.unsettled, self.added[name]) + INTERVAL + TIMEOUT + SLACK
        if before > settled:
            good = fault in HARMLESS
            self.settled += 1
            self.assertEqual(samples.get(series("up", name)), int(good), f"{name}: {fault}, {self.reasons(samples, name)}")
            if before > settled + STALE_AFTER:
                self.assertEqual(bool(fresh), good, f"{name}: {fault}")

    def reasons(self, samples, name):
        prefix = series("last_poll_failure", name)[:-1]
        return [each for each in samples if each.startswith(prefix) and samples[each] == 1]

    # Use of resources.

    def resources(self):
        status = pathlib.Path(f"/proc/{self.exporter.pid}/status").read_text()
        figure = lambda key: int(re.search(rf"^{key}:\s+(\d+)", status, re.M)[1])
        return figure("RssAnon"), len(os.listdir(f"/proc/{self.exporter.pid}/fd")), figure("Threads")

    def test_soak(self):
        print(f"SOAK_SEED={SEED} SOAK_SECONDS={SECONDS:.0f}", flush=True)
        self.rng = random.Random(SEED)
        self.changes = self.reloads = self.scrapes = self.settled = 0
        self.added, self.config = {}, self.folder / "exporter.yml"
        self.clusters = {name: Cluster(self, name) for name in NAMES}
        for cluster in self.clusters.values():
            cluster.generations[-1].fault = {}
        self.simulator = self.simulate(self.fleet())
        for cluster in self.clusters.values():
            cluster.url = self.simulator.clusters[cluster.name]["url"]
            self.replace(cluster.ca_file, cluster.certificate())
            self.replace(cluster.token_file, cluster.token)
        self.configure(NAMES)
        # One heap without caches per thread, so that leaks are visible.
        malloc = {"GLIBC_TUNABLES": "glibc.malloc.arena_max=1:glibc.malloc.tcache_count=0"}
        self.exporter = self.exporter("--config.file", self.config, "--web.enable-lifecycle", env=malloc)
        events = [self.changes_of_state] * 6 + [self.rotation_of_a_token, self.renewal_of_a_certificate, self.invalid_files,
                                               self.reload, self.reload_by_signal, self.broken_reload, self.other_readers]
        began, usage, reported = time.monotonic(), [], 0
        while (passed := time.monotonic() - began) < SECONDS:
            self.rng.choice(events)()
            for _ in range(self.rng.randint(1, 4)):
                self.scrape()
                time.sleep(self.rng.uniform(0, 0.3))
            usage.append((passed / SECONDS, *self.resources()))
            if passed > reported + 60:
                reported = passed
                print(f"{passed:.0f} s: {self.changes} changes, {self.reloads} reloads, {self.scrapes} scrapes, own memory "
                      f"{usage[-1][1]} KiB, {usage[-1][2]} descriptors, {usage[-1][3]} threads", flush=True)
        # After the last fault, all clusters recover without a restart.
        self.configure(NAMES)
        self.assertEqual(post(self.exporter.url + "/-/reload")[0], 200)
        for cluster in self.clusters.values():
            cluster.change()
            cluster.generations[-1].fault = {}
        self.update_simulator()
        wait_for(lambda: all(metrics(self.exporter.url).get(series("up", name)) == 1 for name in NAMES), "all are up")
        half = lambda first, column: statistics.median(each[column] for each in usage if first <= each[0] < first + 0.3)
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
