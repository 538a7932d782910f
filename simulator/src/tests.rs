//! Simulated clusters seen from outside: over TLS, with HTTP/1.1 written by hand.

mod api;
mod client;
mod faults;
mod fleet;
mod lifecycle;
mod replay;

use super::{ClusterSpec, SimCluster};
use client::Client;

/// The newer status, which most tests ask for.
const STATUS: &str = "/v2/encryption/key-store/status";

/// A cluster that differs from the default as `change` says.
async fn cluster(change: impl FnOnce(&mut ClusterSpec)) -> SimCluster {
    let mut spec = ClusterSpec::named("test");
    change(&mut spec);
    SimCluster::start(spec).await.unwrap()
}

/// A client that brings the cluster's access token.
async fn client(cluster: &SimCluster) -> Client {
    let mut client = Client::connect(cluster).await.unwrap();
    client.bearer = Some(cluster.spec().token());
    client
}
