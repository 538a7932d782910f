"""The three ways to scrape that deploy/prometheus/ shows, each with a real Prometheus."""

import json
import unittest
import urllib.parse

from support import ROOT, Case, get, wait_for

EXAMPLES = ROOT / "deploy/prometheus"


class Discovery(Case):
    def prometheus(self, example, **addresses):
        """A Prometheus with an example's text, but for the addresses and a pace for tests. Returns its query."""
        text = (EXAMPLES / example).read_text()
        for shown, address in addresses.items():
            self.assertIn(shown.replace("__", "-") + ".example.com:10979", text)
            text = text.replace(shown.replace("__", "-") + ".example.com:10979", address)
        config = self.folder / example
        config.write_text("global: {scrape_interval: 1s, scrape_timeout: 1s}\n"
                          + text.replace("refresh_interval: 1m", "refresh_interval: 1s"))
        prometheus = self.run_prometheus(config)

        def query(expression):
            url = f"{prometheus}/api/v1/query?" + urllib.parse.urlencode({"query": expression})
            try:
                return json.loads(get(url)[2])["data"]["result"]
            except OSError:
                return []

        return query

    def demo(self):
        exporter = self.exporter("demo")
        wait_for(lambda: get(exporter.url + "/-/ready")[0] == 200, "every cluster was polled")
        document = json.loads(get(exporter.url + "/api/v1/clusters")[2])
        return exporter, {cluster["name"] for cluster in document["clusters"]}

    def test_all_clusters_on_one_target(self):
        exporter, names = self.demo()
        query = self.prometheus("scrape-metrics.yml", exporter=exporter.url.removeprefix("http://"))
        found = wait_for(lambda: query("qumulo_encryption_up"), "the series are stored", seconds=30)
        self.assertEqual({sample["metric"]["cluster"] for sample in found}, names)
        self.assertEqual(query('{exported_cluster!=""}'), [])

    def test_each_cluster_a_target(self):
        exporter, names = self.demo()
        query = self.prometheus("scrape-probe.yml", exporter=exporter.url.removeprefix("http://"))
        wait_for(lambda: len(query("qumulo_encryption_up")) == len(names), "each cluster was scraped", seconds=30)
        up = query('up{job="qumulo-encryption"}')
        self.assertEqual({sample["metric"]["instance"] for sample in up}, names)
        self.assertEqual({sample["value"][1] for sample in up}, {"1"})
        for sample in query("qumulo_encryption_up"):
            self.assertEqual(sample["metric"]["instance"], sample["metric"]["cluster"])
        own = wait_for(lambda: query("qumulo_encryption_exporter_build_info"), "the exporter itself is scraped too")
        self.assertEqual(len(own), 1)

    def test_two_exporters_give_one_answer(self):
        (first, names), (second, _) = self.demo(), self.demo()
        query = self.prometheus("scrape-pair.yml", exporter__a=first.url.removeprefix("http://"),
                                exporter__b=second.url.removeprefix("http://"))
        text = (EXAMPLES / "scrape-pair.yml").read_text()
        expression = text.split("# Query: ")[1].splitlines()[0]
        wait_for(lambda: len(query("qumulo_encryption_up")) == 2 * len(names), "both are scraped", seconds=30)

        def answers():
            return sorted(sample["metric"]["cluster"] for sample in query(expression))

        with_status = sorted(name for name in names if name not in ("edge-oslo", "edge-lisbon"))
        self.assertEqual(answers(), with_status, "one series for each cluster with a status")
        first.kill()
        wait_for(lambda: query('up{job="qumulo-encryption"} == 0'), "one exporter is gone")
        self.assertEqual(answers(), with_status)


if __name__ == "__main__":
    unittest.main()
