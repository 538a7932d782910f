//! Records requests and responses for `status --record`. They contain secrets and names: `crate::recording` removes both.

use std::{
    fmt,
    sync::Mutex,
    time::{Duration, Instant},
};

use reqwest::{Method, StatusCode, header::HeaderMap};
use rustls::pki_types::CertificateDer;

use crate::{lock::lock, secret::Secret};

#[derive(Default)]
pub struct Recorder(Mutex<Recorded>);

#[derive(Clone, Default)]
pub struct Recorded {
    /// The certificates of the last connection in DER, leaf first.
    pub chain: Vec<Vec<u8>>,
    pub exchanges: Vec<Exchange>,
    /// The credentials that were in use.
    pub secrets: Vec<Secret>,
    pub tls_version: Option<&'static str>,
}

#[derive(Clone)]
pub struct Exchange {
    pub method: Method,
    /// Below the cluster's URL, without a slash in front.
    pub path: String,
    /// `None` if it was never complete.
    pub response: Option<RecordedResponse>,
    pub sent: Instant,
}

#[derive(Clone)]
pub struct RecordedResponse {
    pub body: RecordedBody,
    pub headers: HeaderMap,
    pub status: StatusCode,
    /// From the request to the end of the response.
    pub took: Duration,
}

#[derive(Clone)]
pub enum RecordedBody {
    Bytes(Vec<u8>),
    /// Not kept, because it contains a credential.
    Secret,
    /// Not kept: the response to a login contains the token of the session.
    Session,
}

// === impl Recorder ===

impl Recorder {
    pub fn recorded(&self) -> Recorded {
        lock(&self.0).clone()
    }

    /// Returns the index of the request.
    pub(super) fn request(&self, method: Method, path: &str, sent: Instant) -> usize {
        let exchanges = &mut lock(&self.0).exchanges;
        exchanges.push(Exchange { method, path: path.to_owned(), response: None, sent });
        exchanges.len() - 1
    }

    pub(super) fn response(&self, request: usize, response: RecordedResponse) {
        if let Some(exchange) = lock(&self.0).exchanges.get_mut(request) {
            exchange.response = Some(response);
        }
    }

    pub(super) fn secret(&self, secret: &Secret) {
        lock(&self.0).secrets.push(secret.clone());
    }

    pub(super) fn certificates(&self, leaf: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>]) {
        lock(&self.0).chain = std::iter::once(leaf).chain(intermediates).map(|each| each.to_vec()).collect();
    }

    pub(super) fn tls_version(&self, version: &'static str) {
        lock(&self.0).tls_version = Some(version);
    }
}

/// Hides the content.
impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").finish_non_exhaustive()
    }
}
