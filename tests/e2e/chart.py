"""Renders the Helm chart. Sets of values that use all of it."""

import json
import os
import subprocess

from support import PARTS, ROOT, VENVS, run

NAME = "qumulo-encryption-exporter"
CHART = ROOT / f"deploy/helm/{NAME}"
BASE = ROOT / "deploy/kubernetes"
OVERLAY = ROOT / "deploy/example/kubernetes"


def documents(text):
    """The documents of a YAML text. The environment of the validators has a YAML library; that of the tests has none."""
    # The loader in C is four times as fast as safe_load_all.
    parse = "import json, sys, yaml; json.dump([d for d in yaml.load_all(sys.stdin, yaml.CSafeLoader) if d], sys.stdout)"
    done = subprocess.run([VENVS / "deploy/bin/python", "-c", parse], input=text, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def helm(folder, *arguments, check=True):
    """Runs Helm with its files and the kubeconfig in a folder."""
    places = {f"HELM_{place}_HOME": f"{folder}/helm-{place}" for place in ("CACHE", "CONFIG", "DATA")}
    environment = {**os.environ, **places, "KUBECONFIG": f"{folder}/kubeconfig"}
    return run(PARTS / "helm", *arguments, check=check, env=environment)


def written(folder, values):
    """Writes values to a new file. JSON is YAML."""
    path = folder / f"values-{len(list(folder.glob('values-*')))}.yaml"
    path.write_text(json.dumps(values))
    return path


OPERATOR = [f"--api-versions=monitoring.coreos.com/v1/{kind}" for kind in ("ServiceMonitor", "PrometheusRule")]


def rendered(folder, *values, release=NAME, chart=CHART, apis=OPERATOR):
    """The rendered objects as text. `values` are files or dictionaries. By default, the API has the types of the Prometheus
    Operator."""
    files = [value if hasattr(value, "read_text") else written(folder, value) for value in values]
    return helm(folder, "template", release, chart, "--namespace", NAME, *apis, *[f"--values={file}" for file in files])


def one(objects, kind, suffix=""):
    """The only object of a kind whose name ends with `suffix`."""
    found = [each for each in objects if each["kind"] == kind and each["metadata"]["name"].endswith(suffix)]
    assert len(found) == 1, (kind, suffix, [each["metadata"]["name"] for each in found])
    return found[0]


TOKEN = "/run/secrets/qumulo/prod-east.token"
EVERYTHING = {
    "config": {
        "global": {
            "poll_interval": "30s",
            "policy": {"require": "kms", "certificate_warning": "45d"},
            "proxy_url": "http://proxy.example.com:3128",
            "probe_kms": True,
            "proxy_authorization": {"username": "exporter", "password_file": "/run/secrets/qumulo/proxy.password"},
        },
        "clusters": [
            {"name": "prod-east", "url": "https://prod-east.example.com", "authorization": {"credentials_file": TOKEN},
             "tls_config": {"ca_file": "example-ca.pem"}, "labels": {"site": "berlin", "cost_centre": "0815"}},
            {"name": "prod west", "url": "https://prod-west.example.com:8443/",
             "login": {"username": "monitor", "password_file": "/run/secrets/qumulo/prod-west.password"}},
            {"name": "007", "url": "https://192.0.2.7", "authorization": {"credentials_file": TOKEN},
             "proxy_url": "https://proxy.example.com"},
        ],
        "cluster_files": ["more-*.yml"],
        "x-site": {"anything": "goes"},
    },
    "configMap": {
        "files": {
            "example-ca.pem": None,
            "more-1.yml": "clusters:\n- {name: other, url: https://other, authorization: {credentials_file: %s}}\n" % TOKEN,
        },
        "labels": {"of": "configMap"}, "annotations": {"of": "configMap"},
    },
    "secret": {"files": {"prod-east.token": "one", "prod-west.password": "two", "proxy.password": "three\n"},
               "labels": {"of": "secret"}, "annotations": {"of": "secret"}},
    "existingSecrets": ["tokens", {"name": "more", "optional": True, "items": [{"key": "token", "path": "more.token"}]}],
    "web": {"existingSecrets": ["exporter-web", "exporter-tls"]},
    "extraArgs": ["--log.format=json"],
    "extraEnv": [{"name": "QUMULO_ENCRYPTION_EXPORTER_LOG_LEVEL", "value": "debug"}],
    "extraVolumes": [{"name": "more", "emptyDir": {}}],
    "extraVolumeMounts": [{"name": "more", "mountPath": "/more"}],
    "extraObjects": [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": '{{ include "exporter.fullname" . }}-more'}},
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}-text\n",
    ],
    "image": {"repository": "registry.example.com/exporter", "digest": "sha256:" + 64 * "a", "pullPolicy": "Always"},
    "imagePullSecrets": [{"name": "registry"}],
    "replicas": 2,
    "commonLabels": {"release": "kube-prometheus-stack"},
    "commonAnnotations": {"example.com/owner": "storage"},
    "deployment": {"labels": {"of": "deployment"}, "annotations": {"of": "deployment"}},
    "pod": {"labels": {"of": "pod"}, "annotations": {"of": "pod"}},
    "serviceAccount": {"name": "exporter", "labels": {"of": "serviceAccount"}, "annotations": {"of": "serviceAccount"}},
    "service": {"type": "NodePort", "port": 80, "labels": {"of": "service"}, "annotations": {"of": "service"}},
    "serviceMonitor": {
        "labels": {"of": "serviceMonitor"}, "annotations": {"of": "serviceMonitor"},
        "endpoint": {
            "interval": "1m", "scheme": "https",
            "tlsConfig": {"ca": {"secret": {"name": "exporter-tls", "key": "ca.crt"}}, "serverName": "exporter"},
            "basicAuth": {"username": {"name": "scrape", "key": "user"}, "password": {"name": "scrape", "key": "password"}},
            "relabelings": [{"targetLabel": "site", "replacement": "berlin"}],
        },
    },
    "prometheusRule": {
        "alertLabels": {"team": "storage"},
        "alerts": {
            "QumuloEncryptionExcessPrivileges": {"enabled": False},
            "QumuloEncryptionKeyTooOld": {"severity": "info", "for": "1d"},
        },
        "labels": {"of": "prometheusRule"}, "annotations": {"of": "prometheusRule"},
    },
    "ingress": {"enabled": True, "className": "nginx", "host": "exporter.example.com",
                "tls": [{"hosts": ["exporter.example.com"], "secretName": "exporter-public"}],
                "labels": {"of": "ingress"}, "annotations": {"of": "ingress"}},
    "httpRoute": {"enabled": True, "parentRefs": [{"name": "gateway", "namespace": "gateways"}], "host": "exporter.example.com",
                  "labels": {"of": "httpRoute"}, "annotations": {"of": "httpRoute"}},
    "scrapeJob": "storage/qumulo",
    "clusterLabel": "qumulo_cluster",
    "dashboards": {"labels": {"of": "dashboards"}, "annotations": {"grafana_folder": "Storage", "of": "dashboards"}},
    "networkPolicy": {
        "labels": {"of": "networkPolicy"}, "annotations": {"of": "networkPolicy"},
        "from": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
        "to": [{"ipBlock": {"cidr": "10.20.0.0/16"}}],
        "ports": [9443],
        "egress": [{"to": [{"ipBlock": {"cidr": "10.30.0.0/16"}}], "ports": [{"port": 5696, "protocol": "TCP"}]}],
    },
    "podDisruptionBudget": {"maxUnavailable": "50%", "labels": {"of": "podDisruptionBudget"},
                            "annotations": {"of": "podDisruptionBudget"}},
    "resources": {"requests": {"cpu": "20m"}},
    "nodeSelector": {"kubernetes.io/os": "linux"},
    "tolerations": [{"key": "monitoring", "operator": "Exists", "effect": "NoSchedule"}],
    "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
        {"matchExpressions": [{"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64"]}]}]}}},
    "priorityClassName": "monitoring",
    "hostAliases": [{"ip": "10.20.0.7", "hostnames": ["prod-east.example.com"]}],
    "dnsPolicy": "None",
    "dnsConfig": {"nameservers": ["10.20.0.53"]},
    "topologySpreadConstraints": [
        {"topologyKey": "rack", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule"},
        {"topologyKey": "room", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule",
         "labelSelector": {"matchLabels": {"app": "other"}}},
    ],
    "podSecurityContext": {"runAsGroup": None, "supplementalGroups": [1234]},
}
OFF = {
    "serviceAccount": {"create": False},
    "serviceMonitor": {"enabled": False},
    "prometheusRule": {"enabled": False},
    "dashboards": {"enabled": False},
    "networkPolicy": {"enabled": False},
    "podDisruptionBudget": {"enabled": False},
    "topologySpreadConstraints": [],
    "resources": None,
}
MATRIX = {
    "defaults": {},
    "everything": EVERYTHING,
    "as little as possible": OFF,
    "OpenShift": {"openshift": True, "replicas": 2},
    "names": {"nameOverride": "exporter", "fullnameOverride": "a-very-long-name" + 5 * "-of-an-exporter", "replicas": 0},
    "a Secret of the user": {"existingSecrets": ["tokens"], "serviceAccount": {"create": False, "name": "shared"}},
    "the Secrets Store CSI driver": {
        "extraVolumes": [{"name": "vault", "csi": {"driver": "secrets-store.csi.k8s.io", "readOnly": True,
                                                   "volumeAttributes": {"secretProviderClass": "tokens"}}}],
        "extraVolumeMounts": [{"name": "vault", "mountPath": "/run/secrets/qumulo", "readOnly": True}],
    },
    "Vault's agent": {
        "pod": {"annotations": {"vault.hashicorp.com/agent-inject": "true"}},
        "config": {"clusters": [{"name": "a", "url": "https://a", "authorization": {"credentials_file": "/vault/secrets/a"}}]},
    },
    "External Secrets": {
        "existingSecrets": ["tokens"],
        "extraObjects": [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "external"}}],
    },
}
