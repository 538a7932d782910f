"""Configuration changes without a restart, under load."""

import email.utils
import os
import signal
import threading
import time
import unittest

from support import Case, entry, get, metrics, polled, post, run, wait_for

RELOADED = "qumulo_encryption_exporter_config_last_reload_successful"


def descriptors(process):
    return len(os.listdir(f"/proc/{process.pid}/fd"))


class Reload(Case):
    def start_with(self, names, *arguments):
        self.simulator = self.simulate("clusters: [" + ", ".join(f"{{name: {name}}}" for name in "abcde") + "]\n")
        self.config = self.folder / "exporter.yml"
        self.write(*names)
        return self.exporter("--config.file", self.config, *arguments)

    def write(self, *names, extra=""):
        clusters = self.simulator.clusters
        text = "global: {poll_interval: 1s}\nclusters:\n"
        text += "".join(entry(name, clusters[name], self.folder, extra) for name in names)
        self.replace(self.config, text)

    def clusters(self, exporter):
        return polled(metrics(exporter.url))

    def test_sighup_and_post(self):
        exporter = self.start_with("ab", "--web.enable-lifecycle")
        wait_for(lambda: metrics(exporter.url).get('qumulo_encryption_up{cluster="b"}') == 1, "b is up")
        self.write(*"bc")
        status, body = post(exporter.url + "/-/reload")
        self.assertEqual((status, body), (200, "Reloaded; added=1 changed=0 removed=1 unchanged=1\n"))
        self.assertEqual(self.clusters(exporter), set("bc"), "at the next scrape")
        self.assertEqual(metrics(exporter.url)['qumulo_encryption_up{cluster="b"}'], 1)
        self.config.write_text("clusters:\n- {name: b, url: 'ftp://x'}\n- {name: b, url: 'https://x'}\n")
        status, body = post(exporter.url + "/-/reload")
        self.assertEqual(status, 500)
        for mistake in (':2:13: cluster "b": url: ', ':2:3: cluster "b": authorization: ', ':3:4: cluster "b": name: '):
            self.assertIn(mistake, body)
        self.assertEqual(metrics(exporter.url)[RELOADED], 0)
        self.assertEqual(self.clusters(exporter), set("bc"), "the last good configuration stays")
        self.write(*"cd")
        exporter.send_signal(signal.SIGHUP)
        wait_for(lambda: self.clusters(exporter) == set("cd"), "SIGHUP reloads")
        self.assertEqual(metrics(exporter.url)[RELOADED], 1)
        warnings = "qumulo_encryption_exporter_config_warnings"
        for line, count in (("cluster_files: ['none-*.yml']\n", 1), ("", 0)):
            self.write(*"cd")
            self.replace(self.config, self.config.read_text() + line)
            self.assertEqual(post(exporter.url + "/-/reload")[0], 200)
            self.assertEqual(metrics(exporter.url)[warnings], count)
            self.assertEqual("cluster_files[0]: matches no file" in get(exporter.url + "/")[2].decode(), bool(count))

    def test_reload_by_http_has_to_be_allowed(self):
        exporter = self.start_with("a")
        self.assertEqual(post(exporter.url + "/-/reload")[0], 403)
        self.assertEqual(get(exporter.url + "/-/reload")[0], 405)

    def test_edits_are_found(self):
        exporter = self.start_with("a", "--config.enable-auto-reload", "--config.auto-reload-interval", "1s")
        self.write(*"ab")
        wait_for(lambda: self.clusters(exporter) == set("ab"), "a replaced file is found")
        text = self.config.read_text()
        self.config.write_text(text[:len(text) // 2])
        wait_for(lambda: metrics(exporter.url)[RELOADED] == 0, "a broken file is reported")
        self.assertEqual(self.clusters(exporter), set("ab"))
        self.config.write_text(text.replace("name: b", "name: renamed"))
        wait_for(lambda: self.clusters(exporter) == {"a", "renamed"}, "a file edited in place, as in a bind mount, is found")

    def test_both_files_are_reloaded_and_reported(self):
        web = self.folder / "web.yml"
        web.write_text("")
        exporter = self.start_with("a", "--web.enable-lifecycle", "--web.config.file", web)
        web_reloaded = "qumulo_encryption_exporter_web_config_last_reload_successful"
        for names, text, status, words, gauges in (
                ("ab", "http_server_config: {headers: {X-Frame-Options: deny}}\n", 200, "Web configuration reloaded.", (1, 1)),
                ("a", "nonsense: 1\n", 500, "removed=1", (1, 0)),
                ("", "", 500, "Web configuration reloaded.", (0, 1)),
                ("", "nonsense: 1\n", 500, f"{web}:1:1: nonsense: ", (0, 0)),
                ("a", "", 200, "Reloaded; ", (1, 1))):
            self.config.write_text("clusters: 1\n") if not names else self.write(*names)
            # The reload follows immediately, as in scripts.
            web.write_text(text)
            got, body = post(exporter.url + "/-/reload")
            self.assertEqual(got, status, body)
            self.assertIn(words, body)
            self.assertEqual(str(self.config) in body, not names, body)
            self.assertEqual(str(web) in body, "nonsense" in text, body)
            samples = metrics(exporter.url)
            self.assertEqual((samples[RELOADED], samples[web_reloaded]), gauges)
            self.assertEqual(get(exporter.url + "/")[1]["X-Frame-Options"], "deny" if "deny" in text or gauges == (1, 0) else None)

    def test_clock_changes(self):
        """Reloads work after changes of the clock, and the `Date` header follows the clock."""
        self.simulator = self.simulate("clusters: [{name: a}]\n")
        self.config, web = self.folder / "exporter.yml", self.folder / "web.yml"
        self.write("a")
        web.write_text("")
        clock = self.folder / "clock"
        clock.write_text("+0")
        library = run("find", "/usr/lib", "-name", "libfaketime.so.1").split()[0]
        exporter = self.exporter("--config.file", self.config, "--web.config.file", web, "--web.enable-lifecycle", env={
            "LD_PRELOAD": library, "FAKETIME_TIMESTAMP_FILE": str(clock), "FAKETIME_NO_CACHE": "1", "DONT_FAKE_MONOTONIC": "1"})
        hour, year = 3600, 365.25 * 86400
        for offset in (0, -hour, hour, -30 * year, 100 * year, 0):
            self.replace(clock, f"{offset:+.0f}")
            web.write_text(f"http_server_config: {{headers: {{X-XSS-Protection: 'now{offset:.0f}'}}}}\n")
            status, body = post(exporter.url + "/-/reload")
            self.assertEqual(status, 200, body)
            headers = get(exporter.url + "/")[1]
            self.assertEqual(headers["X-XSS-Protection"], f"now{offset:.0f}")
            date = email.utils.parsedate_to_datetime(headers["Date"]).timestamp()
            self.assertLess(abs(date - (time.time() + offset)), 10, headers["Date"])
        # HTTP dates cannot represent these times: requests fail, and the exporter keeps running.
        for offset in (-70 * year, 9000 * year):
            self.replace(clock, f"{offset:+.0f}")
            with self.assertRaises(OSError):
                get(exporter.url + "/")
        self.replace(clock, "+0")
        self.assertEqual(get(exporter.url + "/")[0], 200)
        self.assertNotIn("this is a bug", exporter.log.read_text())

    def test_a_swapped_symbolic_link_is_an_edit(self):
        """As Kubernetes updates a mounted ConfigMap."""
        self.simulator = self.simulate("clusters: [{name: a}, {name: b}]\n")
        volume = self.folder / "volume"
        for name in "ab":
            (volume / f"..{name}").mkdir(parents=True)
            text = "clusters:\n" + entry(name, self.simulator.clusters[name], self.folder)
            (volume / f"..{name}" / "exporter.yml").write_text(text)
        (volume / "..data").symlink_to("..a")
        (volume / "exporter.yml").symlink_to("..data/exporter.yml")
        exporter = self.exporter("--config.file", volume / "exporter.yml", "--config.enable-auto-reload",
                                 "--config.auto-reload-interval", "1s")
        self.assertEqual(self.clusters(exporter), {"a"})
        (volume / "..tmp").symlink_to("..b")
        (volume / "..tmp").rename(volume / "..data")
        wait_for(lambda: self.clusters(exporter) == {"b"}, "the new volume is found")

    def test_a_hundred_reloads_under_load(self):
        exporter = self.start_with("abc", "--web.enable-lifecycle")
        self.wait_ready(exporter.url)
        scrapes, failures, ended = [0], [], threading.Event()

        def scrape():
            counters = {}
            while not ended.is_set():
                try:
                    now = metrics(exporter.url)
                except Exception as error:  # Any error is a failed scrape.
                    failures.append(repr(error))
                    continue
                scrapes[0] += 1
                for series, value in now.items():
                    # `a` is always configured, so its counters never decrease.
                    if 'cluster="a"' in series and "_total" in series:
                        if value < counters.get(series, 0):
                            failures.append(f"{series} fell")
                        counters[series] = value

        scraper = threading.Thread(target=scrape)
        self.addCleanup(ended.set)
        scraper.start()
        before = threads = None
        for number in range(100):
            names = ["a"] + [name for index, name in enumerate("bcde") if (number >> index) & 1]
            self.write(*names, extra=f"  stale_after: {10 + number}s\n" if number % 3 == 0 else "")
            status, body = post(exporter.url + "/-/reload")
            self.assertEqual(status, 200, body)
            self.assertEqual(self.clusters(exporter), set(names))
            if number == 15:
                before = (descriptors(exporter), len(os.listdir(f"/proc/{exporter.pid}/task")))
        self.write(*"abcde")
        post(exporter.url + "/-/reload")
        wait_for(lambda: all(metrics(exporter.url).get(f'qumulo_encryption_up{{cluster="{name}"}}') == 1
                             for name in "abcde"), "all are up after it")
        ended.set()
        scraper.join()
        self.assertEqual(failures, [])
        self.assertGreater(scrapes[0], 100)
        self.write("a")
        post(exporter.url + "/-/reload")
        # Up to five connections to clusters, and one of the last scrape.
        wait_for(lambda: descriptors(exporter) <= before[0] + 6, f"descriptors settle near {before[0]}")
        self.assertLessEqual(len(os.listdir(f"/proc/{exporter.pid}/task")), before[1] + 2)
        print(f"100 reloads, {scrapes[0]} scrapes, descriptors {before[0]} -> {descriptors(exporter)}")


if __name__ == "__main__":
    unittest.main()
