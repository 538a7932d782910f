//! Simulated Qumulo clusters: the part of the REST API that concerns encryption at rest, over HTTPS.
//!
//! For rehearsing alerts without breaking a key manager, and for tests. The vendor's own client
//! (`qq`, `RestClient` of the Python package `qumulo-api`) talks to it as to a real cluster.
//! It depends on nothing of the exporter and writes the JSON itself, so that a wrong belief about
//! the API cannot cancel out between the exporter and its tests.
//!
//! Where to find what, in reading order:
//!
//! * what can be simulated: [`ClusterSpec`] (`spec`), [`Faults`] (`faults`), [`FleetSpec`]
//!   (`fleet_spec`), an example of all of it in `demo.yml`; `timespec` reads `200ms` and `+25d`;
//! * what was recorded of real clusters: `replay`;
//! * what runs: [`SimCluster`] (`cluster`), [`Fleet`] (`fleet`), [`FleetFile`] (`fleet_file`);
//! * what happened: [`Counts`] (`counts`);
//! * how a connection is served: `listener` -> `connection` (TLS, HTTP/1.1) ->
//!   `respond` (faults) -> `api` (routes, access, JSON) -> `body` (how the bytes leave);
//! * what a cluster remembers: `state` (spec, clock, certificate), `sessions`, `certificate`, `persist` (between two starts).

mod api;
mod body;
mod certificate;
mod cluster;
mod connection;
mod counts;
mod derived;
mod faults;
mod fleet;
mod fleet_file;
mod fleet_spec;
mod listener;
mod persist;
mod replay;
mod respond;
mod sessions;
mod spec;
mod state;
mod timespec;

#[cfg(test)]
mod tests;

pub use self::cluster::SimCluster;
pub use self::counts::Counts;
pub use self::faults::{EndpointFault, Faults};
pub use self::fleet::{Changes, Fleet};
pub use self::fleet_file::FleetFile;
pub use self::fleet_spec::{FleetError, FleetSpec};
pub use self::replay::Replay;
pub use self::spec::{AuthSpec, ClusterSpec, KmsSpec, Profile, StatusField};
