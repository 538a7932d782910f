//! Tests over TLS, with a hand-written HTTP/1.1 client.

mod api;
mod client;
mod faults;
mod fleet;
mod lifecycle;
mod replay;

use self::client::Client;
use crate::{ClusterSpec, SimCluster};

/// The newer status, which most tests request.
const STATUS: &str = "/v2/encryption/key-store/status";

/// A healthy cluster, modified by `change`.
async fn cluster(change: impl FnOnce(&mut ClusterSpec)) -> SimCluster {
    let mut spec = ClusterSpec::named("test");
    change(&mut spec);
    SimCluster::start(spec).await.unwrap()
}

/// A client with the access token.
async fn client(cluster: &SimCluster) -> Client {
    let mut client = Client::connect(cluster).await.unwrap();
    client.bearer = Some(cluster.spec().token());
    client
}
