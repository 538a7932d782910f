"""The three scrape configurations in deploy/prometheus/, with every store."""

import json
import unittest

from support import ROOT, Case, get, wait_for

EXAMPLES = ROOT / "deploy/prometheus"


class Discovery(Case):
    def scrape(self, example, **addresses):
        """Starts stores with an example, with other addresses and a short interval."""
        text = (EXAMPLES / example).read_text()
        for shown, address in addresses.items():
            self.assertIn(shown.replace("__", "-") + ".example.com:10979", text)
            text = text.replace(shown.replace("__", "-") + ".example.com:10979", address)
        return self.stores("global: {scrape_interval: 1s, scrape_timeout: 1s}\n" + text)

    def demo(self):
        exporter = self.start_demo()
        document = json.loads(get(exporter.url + "/api/v1/clusters")[2])
        return exporter, {cluster["name"] for cluster in document["clusters"]}

    def test_all_clusters_on_one_target(self):
        exporter, names = self.demo()
        for store in self.scrape("scrape-metrics.yml", exporter=exporter.url.removeprefix("http://")):
            found = wait_for(lambda: store.query("qumulo_encryption_up"), f"{store.name}: the series are stored", seconds=30)
            self.assertEqual({labels["cluster"] for labels, _ in found}, names, store.name)
            self.assertEqual(store.query('{exported_cluster!=""}'), [], store.name)

    def test_each_cluster_a_target(self):
        exporter, names = self.demo()
        for store in self.scrape("scrape-probe.yml", exporter=exporter.url.removeprefix("http://")):
            wait_for(lambda: len(store.query("qumulo_encryption_up")) == len(names), f"{store.name}: each was scraped", 30)
            up = store.query('up{job="qumulo-encryption"}')
            self.assertEqual({labels["instance"] for labels, _ in up}, names, store.name)
            self.assertEqual({value for _, value in up}, {1}, store.name)
            for labels, _ in store.query("qumulo_encryption_up"):
                self.assertEqual(labels["instance"], labels["cluster"], store.name)
            own = wait_for(lambda: store.query("qumulo_encryption_exporter_build_info"), f"{store.name}: the exporter too")
            self.assertEqual(len(own), 1, store.name)

    def test_two_exporters_give_one_answer(self):
        (first, names), (second, _) = self.demo(), self.demo()
        stores = self.scrape("scrape-pair.yml", exporter__a=first.url.removeprefix("http://"),
                             exporter__b=second.url.removeprefix("http://"))
        text = (EXAMPLES / "scrape-pair.yml").read_text()
        expression = text.split("# Query: ")[1].splitlines()[0]
        with_status = sorted(name for name in names if name not in ("edge-oslo", "edge-lisbon"))

        def check(store):
            answers = sorted(labels["cluster"] for labels, _ in store.query(expression))
            self.assertEqual(answers, with_status, f"{store.name}: one series for each cluster with a status")

        for store in stores:
            wait_for(lambda: len(store.query("qumulo_encryption_up")) == 2 * len(names), f"{store.name}: both are scraped",
                     seconds=30)
            check(store)
        first.kill()
        for store in stores:
            wait_for(lambda: store.query('up{job="qumulo-encryption"} == 0'), f"{store.name}: one exporter is gone")
            check(store)


if __name__ == "__main__":
    unittest.main()
