//! TLS with a proxy, which is independent of TLS with the cluster behind it: the proxy is verified against its own name
//! and the system's CA certificates, and does not get the cluster's client certificate.
//!
//! reqwest uses one TLS configuration for both handshakes. They are told apart by their order: on each new connection the
//! proxy comes first. Within a handshake, rustls chooses the client certificate before it verifies the server's.

use std::{cell::Cell, sync::Arc};

use reqwest::ClientBuilder;
use rustls::{ClientConfig, SignatureScheme, client::ResolvesClientCert, sign::CertifiedKey};
use tower::util::MapFutureLayer;

tokio::task_local! {
    /// The number of certificates that were shown on the connection that is being set up.
    static SHOWN: Cell<u32>;
}

/// The client certificate, but not for the proxy.
#[derive(Debug)]
struct ClusterOnly(Arc<dyn ResolvesClientCert>);

/// Configures a client that connects through a proxy that speaks TLS. The verifier in `tls` has to count certificates.
pub fn prepare(builder: ClientBuilder, mut tls: ClientConfig) -> ClientBuilder {
    tls.client_auth_cert_resolver = Arc::new(ClusterOnly(tls.client_auth_cert_resolver));
    builder
        .tls_backend_preconfigured(tls)
        .connector_layer(MapFutureLayer::new(|connecting| SHOWN.scope(Cell::new(0), connecting)))
}

/// To be called when a server has shown its certificate.
pub fn count_certificate() {
    let _ = SHOWN.try_with(|shown| shown.set(shown.get() + 1));
}

/// Whether the last certificate was the proxy's. True where no connection is being set up, so that an unexpected caller is
/// not taken for the cluster.
pub fn is_from_proxy() -> bool {
    SHOWN.try_with(Cell::get).unwrap_or_default() < 2
}

impl ResolvesClientCert for ClusterOnly {
    fn resolve(&self, issuers: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let is_proxy = SHOWN.try_with(Cell::get).unwrap_or_default() == 0;
        if is_proxy { None } else { self.0.resolve(issuers, schemes) }
    }

    fn has_certs(&self) -> bool {
        self.0.has_certs()
    }
}
