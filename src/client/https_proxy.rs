//! TLS with a proxy, which has nothing to do with TLS with the cluster behind it: the proxy is verified against its own
//! name and the system's CA certificates, and is not shown the cluster's client certificate.
//!
//! reqwest uses one configuration for both handshakes. They are told apart by their order: on each new connection the
//! proxy comes first. Within a handshake, rustls chooses the client certificate before it verifies the server's.

use std::{cell::Cell, sync::Arc};

use reqwest::ClientBuilder;
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    client::{
        ResolvesClientCert, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    pki_types::{CertificateDer, ServerName, UnixTime},
    sign::CertifiedKey,
};
use tower::util::MapFutureLayer;

tokio::task_local! {
    /// Certificates verified so far on the connection that is being made.
    static VERIFIED: Cell<u32>;
}

#[derive(Debug)]
struct ProxyFirst {
    cluster: Arc<dyn ServerCertVerifier>,
    proxy: Arc<WebPkiServerVerifier>,
}

#[derive(Debug)]
struct ClusterOnly(Arc<dyn ResolvesClientCert>);

/// Makes a client that connects with `tls`, by way of a proxy that speaks TLS.
pub fn prepare(
    builder: ClientBuilder,
    mut tls: ClientConfig,
    cluster: Arc<dyn ServerCertVerifier>,
    proxy: Arc<WebPkiServerVerifier>,
) -> ClientBuilder {
    tls.dangerous().set_certificate_verifier(Arc::new(ProxyFirst { cluster, proxy }));
    tls.client_auth_cert_resolver = Arc::new(ClusterOnly(tls.client_auth_cert_resolver));
    builder
        .tls_backend_preconfigured(tls)
        .connector_layer(MapFutureLayer::new(|connecting| VERIFIED.scope(Cell::new(0), connecting)))
}

/// Outside of a connection that is being made nothing is known, and nobody is taken for the cluster.
fn verified() -> u32 {
    VERIFIED.try_with(Cell::get).unwrap_or_default()
}

impl ProxyFirst {
    /// The verifier of the handshake whose certificate was verified last.
    fn current(&self) -> &dyn ServerCertVerifier {
        if verified() > 1 { &*self.cluster } else { &*self.proxy }
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
