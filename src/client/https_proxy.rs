//! TLS with a proxy, which is independent of TLS with the cluster behind it: the proxy is verified against its own name
//! and the system's CA certificates, and does not get the cluster's client certificate.
//!
//! reqwest uses one TLS configuration for both handshakes. They are told apart by their order: on each new connection the
//! proxy comes first. Within a handshake, rustls chooses the client certificate before it verifies the server's.

use std::cell::Cell;

use reqwest::ClientBuilder;
use tower::util::MapFutureLayer;

tokio::task_local! {
    /// The number of certificates that were shown on the connection that is being set up.
    static SHOWN: Cell<u32>;
}

/// Counts the certificates on each connection. The verifier has to call [`count_certificate`].
pub fn prepare(builder: ClientBuilder) -> ClientBuilder {
    builder.connector_layer(MapFutureLayer::new(|connecting| SHOWN.scope(Cell::new(0), connecting)))
}

/// To be called when a server has shown its certificate.
pub fn count_certificate() {
    let _ = SHOWN.try_with(|shown| shown.set(shown.get() + 1));
}

/// Whether the handshake in progress, whose server has not shown a certificate yet, is that with the proxy.
pub fn is_handshake_with_proxy() -> bool {
    SHOWN.try_with(Cell::get).unwrap_or_default() == 0
}

/// Whether the last certificate was the proxy's. True where no connection is being set up, so that an unexpected caller is
/// not taken for the cluster.
pub fn is_from_proxy() -> bool {
    SHOWN.try_with(Cell::get).unwrap_or_default() < 2
}
