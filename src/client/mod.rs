//! One cluster's REST API: one attempt, one outcome, read-only.
//!
//! [`Client::poll`] is all that the rest of the program sees. Inside: `settings` (what a client needs to know),
//! `transport`, `resolve`, `https_proxy` and `tls_files` (how clusters are reached), `verify` and `verify_error` (which
//! certificates are trusted, and why one is not), `secret_file`, `auth` and `accounts` (credentials), `api` and `response`
//! (HTTP), `decode` (JSON to model), `details` (what is requested rarely), `error` and `error_text` (errors to model).
//! Besides: `kms_probe` (the certificate of a key management server), and `fetch` (the JSON of another exporter).
//!
//! The schedule, retries over time and the wall clock belong to the poller.

mod accounts;
mod api;
mod auth;
mod decode;
mod details;
mod error;
mod error_text;
mod fetch;
mod https_proxy;
mod kms_probe;
mod no_proxy;
mod pin;
mod recorder;
mod resolve;
mod response;
mod secret_file;
mod settings;
mod tls_files;
mod transport;
mod verify;
mod verify_error;

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use reqwest::StatusCode;
use tokio::time::timeout_at;

use self::{
    api::Api,
    auth::Auth,
    decode::{DecodeError, DecodedStatus, V2Response},
    details::DetailsCache,
    error::Peer,
    verify::HandshakeRecorder,
};
pub use self::{
    fetch::fetch,
    kms_probe::Networks,
    no_proxy::NoProxy,
    pin::{Pin, PinError},
    recorder::{Exchange, Recorded, RecordedBody, RecordedResponse, Recorder},
    response::http_date,
    secret_file::SecretError,
    settings::{
        ClientCertificate, ClientSettings, Credential, ProxyAccount, ProxySettings, SecretSource, TlsSettings,
        TransportSettings, files_mut,
    },
    transport::{TransportError, TransportPool},
};
pub use crate::trust::san_address;
use crate::{
    blocking::folder_key,
    model::{ApiVersion, FailureReason, KeyStore, PollFailure, PollResult, ServerClock, Timestamp},
    secret::Secret,
};

/// What the fuzz targets, which are another crate, call.
#[cfg(fuzzing)]
pub mod fuzzing {
    pub use super::{
        decode::*,
        response::{http_date, pause},
        secret_file::{parse_password, parse_token},
    };
}

const STATUS_V1: &str = "v1/encryption/status";
const STATUS_V2: &str = "v2/encryption/key-store/status";

/// How long v1 is not used after v2 responded. Clusters are not downgraded, so a 404 for v2 comes from a cluster that is
/// starting, or from something else in its place; and v1, which cannot report a KMS failure, would make a lost key look
/// healthy.
const V2_MEMORY: Duration = Duration::from_secs(3600);

#[derive(Debug)]
pub struct Client {
    auth: Auth,
    /// From the last response of this poll.
    clock: Option<ServerClock>,
    details: DetailsCache,
    /// Polls that did not get through to the cluster; each makes the next one begin with another address.
    failed_connections: usize,
    /// From the last status.
    key_store: Option<KeyStore>,
    last_kms_probe: Option<Instant>,
    peer: Arc<Peer>,
    phase: PollPhase,
    pool: Arc<TransportPool>,
    settings: ClientSettings,
    support: ApiSupport,
}

/// What the requests of one poll use. Dropping it closes the connection.
#[derive(Debug)]
struct Session {
    api: Api,
    token: Secret,
}

/// What a poll waits for, for the message when its time is over.
#[derive(Clone, Copy, Debug)]
enum PollPhase {
    Credential,
    Response,
    TransportFiles,
}

/// Which version of the API responded last.
#[derive(Clone, Copy, Debug)]
enum ApiSupport {
    /// Only v1, which does not report the key store.
    V1(KeyStore),
    /// v2, and when; `None` before the first response.
    V2(Option<Instant>),
}

// === impl Client ===

impl Client {
    pub fn new(settings: ClientSettings, pool: Arc<TransportPool>) -> Self {
        Self {
            auth: Auth::new(&settings.credential),
            clock: None,
            details: DetailsCache::default(),
            failed_connections: 0,
            key_store: None,
            last_kms_probe: None,
            peer: Arc::new(Peer::new(&settings.url, &settings.transport)),
            phase: PollPhase::Response,
            pool,
            settings,
            support: ApiSupport::V2(None),
        }
    }

    /// Records requests and responses from now on.
    pub fn record(&mut self, recorder: Arc<Recorder>) {
        Arc::make_mut(&mut self.peer).handshakes = Arc::new(HandshakeRecorder::with_recorder(recorder));
    }

    /// Whether a file of the credential, of `tls_config` or of the proxy's account changed since it was last read.
    pub async fn credential_changed(&self) -> bool {
        self.auth.file.changed(&self.pool.files).await || self.pool.changed(&self.settings.transport).await
    }

    /// Reads the file of the credential, on the current thread. Returns a warning about its permissions.
    ///
    /// # Errors
    ///
    /// When it cannot be read or holds no usable secret.
    pub fn check_credential(&self) -> Result<Option<String>, SecretError> {
        self.auth.file.check()
    }

    /// When the certificate expires that the REST API last showed, also if it was rejected because it has expired.
    pub fn certificate(&self) -> Option<Timestamp> {
        self.peer.handshakes.expiry()
    }

    /// Polls the cluster once, within the time limit of its settings. `now` is the monotonic time.
    ///
    /// # Errors
    ///
    /// When there is no status.
    pub async fn poll(&mut self, now: Instant) -> Result<PollResult, PollFailure> {
        let deadline = tokio::time::Instant::now() + self.settings.timeout;
        let details_due = self.details.is_due(now);
        let status = timeout_at(deadline, self.connect_and_get_status(now)).await;
        match status.unwrap_or_else(|_| Err(self.timed_out())) {
            Ok((session, api, DecodedStatus { dates, key_store, status })) => {
                let clock = self.clock;
                let has_moved = self.key_store.replace(key_store) != Some(key_store);
                if details_due || has_moved {
                    self.details.refresh(&session, &self.settings, key_store, now, deadline).await;
                }
                let details = self.details.get();
                let (last_probe, pool) = (&mut self.last_kms_probe, &self.pool);
                let kms_probe = (self.settings.kms_probe.as_ref()).and_then(|networks| {
                    pool.probes.probe(details.kms.as_ref()?, networks, last_probe, &pool.resolver, now)
                });
                Ok(PollResult { api, clock, dates, details, key_store, kms_probe, status })
            }
            Err(failure) => {
                // After an outage the cluster may have another version.
                self.details.expire();
                if matches!(failure.reason, FailureReason::Connect | FailureReason::Tls | FailureReason::Timeout) {
                    self.failed_connections = self.failed_connections.wrapping_add(1);
                }
                Err(failure)
            }
        }
    }

    async fn connect_and_get_status(
        &mut self,
        now: Instant,
    ) -> Result<(Session, ApiVersion, DecodedStatus), PollFailure> {
        self.clock = None;
        self.phase = PollPhase::TransportFiles;
        let connector = self.pool.current(&self.settings.transport).await;
        let connector = connector.map_err(|err| PollFailure::new(FailureReason::Tls, err.to_string()))?;
        self.phase = PollPhase::Response;
        let proxy_login = match connector.proxy_login(&self.settings.url) {
            None => None,
            Some((account, password)) => {
                let attempt = self.pool.accounts.attempt(account, password, now).await;
                Some(attempt.map_err(|paused| auth::not_yet(FailureReason::Proxy, paused))?)
            }
        };
        let url = self.settings.url.clone();
        let client = connector.client(&url, self.peer.handshakes.clone(), self.failed_connections)?;
        let api = Api::new(url, client, self.peer.clone(), proxy_login);
        self.phase = PollPhase::Credential;
        let token = self.auth.token(&api, &self.pool, now).await?;
        self.phase = PollPhase::Response;
        let mut session = Session { api, token };
        let rejection = match self.get_status(now, &session).await {
            Err(failure) if failure.reason == FailureReason::Authentication => failure,
            outcome => return outcome.map(|(version, decoded)| (session, version, decoded)),
        };
        let renewed = self.auth.renew(&session.api, &self.pool, now, &session.token).await?;
        session.token = renewed.ok_or(rejection)?;
        self.get_status(now, &session).await.map(|(version, decoded)| (session, version, decoded))
    }

    /// From v2, or from v1 where v2 does not exist. Each poll tries v2 first: v1 calls a cluster with a lost key encrypted, so a
    /// 404 that was an accident must not last.
    async fn get_status(
        &mut self,
        now: Instant,
        session: &Session,
    ) -> Result<(ApiVersion, DecodedStatus), PollFailure> {
        let key_store = match (self.get(STATUS_V2, session, decode::status_v2).await, self.support) {
            (Ok(Some(V2Response::Status(decoded))), _) => {
                self.support = ApiSupport::V2(Some(now));
                return Ok((ApiVersion::V2, decoded));
            }
            (Ok(Some(V2Response::PreRelease(key_store))), _) => key_store,
            (Err(failure), ApiSupport::V2(_)) => return Err(failure),
            (Err(failure), ApiSupport::V1(_)) if failure.rejection.is_some() => return Err(failure),
            // Whether v2 exists by now must not cost the status that v1 gives.
            (Err(_) | Ok(None), ApiSupport::V1(key_store)) => key_store,
            (Ok(None), ApiSupport::V2(Some(at))) if now.saturating_duration_since(at) < V2_MEMORY => {
                let text =
                    format!("/{STATUS_V2} is gone (404), although it existed recently; is the cluster starting?");
                return Err(PollFailure::new(FailureReason::Unsupported, text));
            }
            (Ok(None), ApiSupport::V2(_)) => KeyStore::Local,
        };
        let decoded =
            self.get(STATUS_V1, session, |body| decode::status_v1(body, key_store)).await?.ok_or_else(|| {
                PollFailure::new(
                    FailureReason::Unsupported,
                    format!(
                        "the cluster has neither /{STATUS_V2} nor /{STATUS_V1} (404); Core 3.1.5 or later is required"
                    ),
                )
            })?;
        self.support = ApiSupport::V1(key_store);
        Ok((ApiVersion::V1, decoded))
    }

    /// `None` if there is no such endpoint.
    async fn get<T>(
        &mut self,
        path: &str,
        session: &Session,
        decode: impl FnOnce(&[u8]) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, PollFailure> {
        let response = session.api.get(path, Some(&session.token)).await?;
        self.clock = response.clock;
        match response.status {
            StatusCode::OK => decode(&response.body)
                .map(Some)
                .map_err(|err| PollFailure::new(FailureReason::Malformed, format!("/{path}: {err}"))),
            StatusCode::NOT_FOUND => Ok(None),
            _ => Err(error::bad_status(&response, &format!("/{path}"))),
        }
    }

    fn timed_out(&self) -> PollFailure {
        let (cluster, limit) = (&self.peer.host_and_port, self.settings.timeout);
        let is_busy = |path: &Path| self.pool.files.is_busy(&folder_key(path));
        let file = match self.phase {
            PollPhase::TransportFiles => Some("a file of tls_config or proxy_authorization"),
            // Otherwise it is the login that takes so long.
            PollPhase::Credential if self.auth.file.path().is_some_and(is_busy) => Some("the credential file"),
            PollPhase::Credential | PollPhase::Response => None,
        };
        let text = match file {
            None => format!("no complete response from {cluster} within {limit:?} (poll_timeout)"),
            Some(file) => {
                format!("cannot read {file} within {limit:?} (poll_timeout): its file system does not respond")
            }
        };
        PollFailure::new(FailureReason::Timeout, text)
    }
}
