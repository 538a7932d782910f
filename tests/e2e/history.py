"""A day of history: Prometheus blocks, generated from the current metrics of an exporter."""

import math
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor

MINUTES = 24 * 60
# Metrics that are served only while the status of a cluster is fresh.
FRESH = ("status", "type", "certificate_expiry_timestamp_seconds", "last_key_rotation_timestamp_seconds",
         "last_status_update_timestamp_seconds", "cluster_info", "key_store_info")
# Minutes in one block, as Prometheus has them.
BLOCK = 120


class History:
    """Metrics of each minute of the day before `now`: the current ones, except for `changes` and `keys`.

    `changes` is {cluster: [(from, to, status)]}, in minutes before now. A status of None means that polls failed.
    `keys` is {cluster: (until, key)}: an earlier key, used until that many minutes before now."""

    def __init__(self, samples, now, changes, keys):
        self.samples, self.now, self.changes, self.keys = dict(samples), now, changes, keys
        self.current, self.reasons = {}, {}
        for series, value in samples.items():
            name, labels = parse(series)
            if name == "qumulo_encryption_key_store_info" and labels["cluster"] in keys:
                before = series.replace(f'key_id="{labels["key_id"]}"', f'key_id="{keys[labels["cluster"]][1]}"')
                self.samples[before] = value
            if name == "qumulo_encryption_status" and value == 1:
                self.current[labels["cluster"]] = labels["status"]
            if name == "qumulo_encryption_last_poll_failure" and value == 1:
                self.reasons[labels["cluster"]] = labels["reason"]

    def status(self, cluster, ago):
        for begin, end, status in self.changes.get(cluster, []):
            if begin >= ago > end:
                return status
        return self.current.get(cluster)

    def failures(self, cluster, ago):
        """The number of failed polls up to that time."""
        if cluster not in self.current:
            return MINUTES - ago
        return sum(max(begin - max(ago, end), 0) for begin, end, status in self.changes.get(cluster, []) if status is None)

    def last_success(self, cluster, ago):
        """The time of the last successful poll of an unreachable cluster, or None."""
        begins = (begin for begin, end, _ in self.changes.get(cluster, []) if begin >= ago > end)
        return next((self.now - 60 * (begin + 1) for begin in begins), None)

    def held_key(self, cluster, key, ago):
        until, before = self.keys.get(cluster, (MINUTES, None))
        return 1 if (key == before) == (ago > until) else None

    def value(self, name, labels, live, ago):
        """The sample of a series `ago` minutes before now, or None."""
        cluster, time = labels.get("cluster"), self.now - 60 * ago
        name = name.removeprefix("qumulo_encryption_")
        if cluster is None:
            return MINUTES - ago if name.endswith("_total") else live
        status, changes = self.status(cluster, ago), self.changes.get(cluster, [])
        if name in FRESH and status is None:
            return None
        is_reason = labels.get("reason") == self.reasons.get(cluster, "connect")
        answers = {
            "status": lambda: int(labels["status"] == status),
            "up": lambda: int(status is not None),
            "do_not_restart": lambda: int(status not in ("kms_available", "encrypted", "not_encrypted")),
            "polls_total": lambda: MINUTES - ago,
            "last_poll_failure": lambda: int(is_reason and status is None),
            "poll_failures_total": lambda: self.failures(cluster, ago) if is_reason else 0,
            "last_poll_timestamp_seconds": lambda: time,
            "last_successful_poll_timestamp_seconds": lambda: time if status else self.last_success(cluster, ago),
            "last_status_update_timestamp_seconds": lambda: time - 300,
            "last_poll_duration_seconds": lambda: 0.12 + 0.03 * math.sin(ago / 60 + len(cluster)),
            "stale_after_seconds": lambda: 300,
            "key_store_info": lambda: self.held_key(cluster, labels["key_id"], ago),
            "status_changes_total": lambda: sum((begin > ago) + (end > ago) for begin, end, _ in changes),
        }
        return answers.get(name, lambda: live)()

    def write(self, folder, names, instance):
        """Writes blocks with the metrics `names` to `folder`/data, with a sample each minute."""
        found = [(series, *parse(series), value) for series, value in self.samples.items() if parse(series)[0] in names]
        found += [(name, name, {}, value) for name, value in (("up", 1), ("scrape_duration_seconds", 0.01)) if name in names]
        own = f'{{job="qumulo-encryption",instance="{instance}"'
        series = [(text.replace("{", own + ",", 1) if labels else text + own + "}", name, labels, value)
                  for text, name, labels, value in found]
        files = []
        for first in range(MINUTES, 0, -BLOCK):
            file = folder / f"history-{first}"
            with file.open("w") as out:
                for ago in range(first, first - BLOCK, -1):
                    for text, name, labels, live in series:
                        value = self.value(name, labels, live, ago)
                        if value is not None:
                            out.write(f"{text} {value} {self.now - 60 * ago}\n")
                out.write("# EOF\n")
            files.append(file)

        def load(file):
            command = ["promtool", "tsdb", "create-blocks-from", "openmetrics", "--quiet", file, folder / "data"]
            subprocess.run(command, check=True, capture_output=True)
            file.unlink()

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(load, files))
        return folder / "data"


def parse(series):
    name, _, labels = series.partition("{")
    return name, dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels))
