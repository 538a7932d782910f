//! What a cluster says about itself.

use hyper::header::ETAG;
use serde_json::json;

use crate::derived;
use crate::spec::ClusterSpec;

use super::Answer;

/// `GET /v1/version`. Clients take the text after the last space for the version number, as the
/// SDK does (`qumulo/rest/version.py`).
pub(super) fn version(spec: &ClusterSpec) -> Answer {
    Answer::json(&json!({
        "revision_id": format!("Qumulo Core {}", spec.version()),
        "build_id": "312837.1.17",
        "flavor": "release",
        "build_date": "2024-09-18T09:12:34Z",
    }))
}

/// `GET /v1/node/state`.
pub(super) fn node_state(spec: &ClusterSpec) -> Answer {
    Answer::json(&json!({
        "node_id": 1,
        "state": "ACTIVE",
        "cluster_id": spec.cluster_id(),
    }))
}

/// `GET /v1/cluster/settings`.
pub(super) fn settings(spec: &ClusterSpec) -> Answer {
    let etag = derived::hex("etag", spec.cluster_name());
    let etag = format!("\"{}\"", etag.get(..16).unwrap_or_default());
    Answer::json(&json!({ "cluster_name": spec.cluster_name() })).with(ETAG, &etag)
}

/// `GET /v1/cluster/nodes/`: four nodes, all online.
pub(super) fn nodes(spec: &ClusterSpec) -> Answer {
    let node = |id: u8| {
        json!({
            "id": id,
            "node_status": "online",
            "node_name": format!("{}-{id}", spec.cluster_name()),
            "uuid": derived::uuid(&format!("{}/{id}", spec.name)),
            "label": format!("02:00:00:00:00:{id:02x}"),
            "model_number": "SIMULATED",
            "serial_number": format!("SIM{id:05}"),
            "mac_address": format!("02:00:00:00:00:{id:02x}"),
            "capacity_in_bytes": "25001189376000",
        })
    };
    Answer::json(&[1, 2, 3, 4].map(node))
}

/// `GET /v2/metrics/endpoints/default/data`: the one metric that identifies the cluster. The
/// documented list of metrics has none about encryption, which is why there is an exporter.
pub(super) fn metrics(spec: &ClusterSpec) -> Answer {
    let (name, uuid, version) = (spec.cluster_name(), spec.cluster_id(), spec.version());
    let text = format!(
        "# TYPE qumulo info\n\
         # HELP qumulo Qumulo cluster information.\n\
         qumulo_info{{name=\"{name}\",uuid=\"{uuid}\",version=\"Qumulo Core {version}\"}} 1\n\
         # EOF\n"
    );
    Answer::ok("text/plain; charset=utf-8", text)
}
