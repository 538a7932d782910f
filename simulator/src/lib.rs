//! Simulated Qumulo clusters: the part of the REST API that concerns encryption at rest, over HTTPS.
//!
//! For `demo` and `simulate`, which rehearse alerts without a broken KMS, and for tests. The vendor's client (`qq`, `RestClient` of
//! the Python package `qumulo-api`) works with them. This crate does not depend on the exporter and generates the JSON itself, so
//! that an error in the understanding of the API is not repeated here.
//!
//! # Reading order
//!
//! 1. `spec`: what can be simulated. `demo.yml` is an example. `time` parses `200ms` and `+25d`.
//! 2. `fleet`: running clusters, and the file that they follow. `cluster`: one of them. `folder`: files that it saves.
//! 3. `state`: the state of a cluster, and its socket. `counts`: what happened to it. `certificate`: its TLS settings.
//! 4. `connection` accepts connections and reads requests, `respond` applies faults, `api` generates the responses.
//! 5. `replay`: responses from a recording.

mod api;
mod certificate;
mod cluster;
mod connection;
mod counts;
mod fleet;
mod folder;
mod replay;
mod respond;
mod spec;
mod state;
mod time;

#[cfg(test)]
mod tests;

pub use self::{
    cluster::SimCluster,
    counts::Counts,
    fleet::{Fleet, FleetError, FleetFile},
    spec::{ClusterSpec, EndpointFault, Faults, FleetSpec, Profile, StatusField},
};
