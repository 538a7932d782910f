//! TLS with a proxy, which is independent of TLS with the cluster behind it: the proxy is verified against its own name
//! and the system's CA certificates, and does not get the cluster's client certificate.
//!
//! reqwest uses one TLS configuration for both handshakes. They are told apart by their order: on each new connection the
//! proxy comes first. Within a handshake, rustls chooses the client certificate before it verifies the server's.

use std::{cell::Cell, sync::Arc};

use reqwest::ClientBuilder;
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    client::{
        ResolvesClientCert,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    pki_types::{CertificateDer, ServerName, UnixTime},
    sign::CertifiedKey,
};
use tower::util::MapFutureLayer;

use super::verify::ServerVerifier;

tokio::task_local! {
    /// The number of certificates verified on the connection that is being set up.
    static VERIFIED: Cell<u32>;
}

#[derive(Debug)]
struct ProxyFirst {
    cluster: Arc<ServerVerifier>,
    proxy: Arc<ServerVerifier>,
}

#[derive(Debug)]
struct ClusterOnly(Arc<dyn ResolvesClientCert>);

/// Configures a client that connects with `tls` through a proxy that speaks TLS.
pub fn prepare(
    builder: ClientBuilder,
    mut tls: ClientConfig,
    cluster: Arc<ServerVerifier>,
    proxy: Arc<ServerVerifier>,
) -> ClientBuilder {
    tls.dangerous().set_certificate_verifier(Arc::new(ProxyFirst { cluster, proxy }));
    tls.client_auth_cert_resolver = Arc::new(ClusterOnly(tls.client_auth_cert_resolver));
    builder
        .tls_backend_preconfigured(tls)
        .connector_layer(MapFutureLayer::new(|connecting| VERIFIED.scope(Cell::new(0), connecting)))
}

/// 0 if no connection is being set up, so that an unexpected caller is not taken for the cluster.
fn verified() -> u32 {
    VERIFIED.try_with(Cell::get).unwrap_or_default()
}

impl ProxyFirst {
    /// The verifier of the handshake whose certificate was verified last.
    fn current(&self) -> &ServerVerifier {
        if verified() > 1 { &self.cluster } else { &self.proxy }
    }
}

impl ServerCertVerifier for ProxyFirst {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let _ = VERIFIED.try_with(|count| count.set(count.get() + 1));
        self.current().verify_server_cert(leaf, intermediates, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.current().verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.current().verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.cluster.supported_verify_schemes()
    }
}

impl ResolvesClientCert for ClusterOnly {
    fn resolve(&self, issuers: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        if verified() > 0 { self.0.resolve(issuers, schemes) } else { None }
    }

    fn has_certs(&self) -> bool {
        self.0.has_certs()
    }
}
