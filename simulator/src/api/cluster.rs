//! What a cluster says about itself.

use serde_json::json;

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
