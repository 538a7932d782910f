//! What one poll sent and received, for `status --record`. Nothing here is fit to be shown: `crate::recording` makes a file
//! of it.

use std::{
    fmt,
    sync::Mutex,
    time::{Duration, Instant},
};

use reqwest::{Method, StatusCode, header::HeaderMap};
use rustls::pki_types::CertificateDer;

use crate::{lock::lock, secret::Secret};

/// Notes what the polls of one cluster send and receive.
#[derive(Default)]
pub struct Recorder(Mutex<Recorded>);

/// What was noted.
#[derive(Clone, Default)]
pub struct Recorded {
    /// The certificates of the last connection in DER, leaf first.
    pub chain: Vec<Vec<u8>>,
    pub exchanges: Vec<Exchange>,
    /// The credentials that were in use.
    pub secrets: Vec<Secret>,
    pub tls_version: Option<&'static str>,
}

/// A request.
#[derive(Clone)]
pub struct Exchange {
    pub method: Method,
    /// Below the cluster's URL, without a slash in front.
    pub path: String,
    /// `None` if it was never complete.
    pub response: Option<RecordedResponse>,
    pub sent: Instant,
}

/// A complete response.
#[derive(Clone)]
pub struct RecordedResponse {
    pub body: RecordedBody,
    pub headers: HeaderMap,
    pub status: StatusCode,
    /// From the request to the end of the response.
    pub took: Duration,
}

/// A body.
#[derive(Clone)]
pub enum RecordedBody {
    Bytes(Vec<u8>),
    /// It repeats a credential, and is not kept.
    Secret,
    /// Of a login, with the token of the session; it is not kept.
    Session,
}

// === impl Recorder ===

impl Recorder {
    /// What was noted so far.
    pub fn recorded(&self) -> Recorded {
        lock(&self.0).clone()
    }

    /// Notes a request; returns its number.
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

/// Nothing of it: it is what clusters answered.
impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").finish_non_exhaustive()
    }
}
