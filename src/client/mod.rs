//! One cluster's REST API: one attempt, one outcome, read-only.
//!
//! [`Client::poll`] is all that the rest of the program sees. Inside: `settings` (what a client needs to know),
//! `transport`, `pem`, `sessions` and `verify` (connections and whom to trust), `resolve`, `secret_file` and `auth`
//! (credentials), `api` and `answer` (requests), `decode` (JSON -> model), `error` and `words` (what went wrong -> model).
//!
//! Deliberately absent: pace, retries over time, the wall clock. They are the poller's.

mod answer;
mod api;
mod auth;
mod decode;
mod error;
mod fetch;
mod pem;
mod pin;
mod resolve;
mod secret_file;
mod sessions;
mod settings;
mod transport;
mod verify;
mod words;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use reqwest::StatusCode;
use tokio::time::timeout_at;

use self::{
    api::Api,
    auth::Auth,
    decode::{DecodeError, Understood, V2Answer},
};
pub use self::{
    api::Effort,
    fetch::fetch,
    pin::{Pin, PinError},
    secret_file::SecretError,
    settings::{
        ClientCertificate, ClientSettings, Credential, ProxyAccount, ProxySettings, SecretSource, TlsSettings,
        TransportSettings,
    },
    transport::{TransportError, TransportPool},
};
use crate::{
    model::{ApiVersion, FailureReason, Identity, KeyStore, PollFailure, Reading},
    secret::Secret,
};

const STATUS_V1: &str = "v1/encryption/status";
const STATUS_V2: &str = "v2/encryption/key-store/status";

/// How often things that change with an upgrade are asked again: the cluster's identity, and v2 where there is none.
const REVISIT: Duration = Duration::from_secs(600);

/// The same, while the cluster's identity is not known.
const REVISIT_SOON: Duration = Duration::from_secs(60);

/// How long a cluster that answered v2 is not asked v1 instead. Clusters are not downgraded, so a 404 from one that
/// knew v2 is a cluster that is starting, or something else in its place; and v1, which cannot show a KMS failure,
/// would make a lost key look like good health.
const V2_IS_TRUSTED: Duration = Duration::from_secs(3600);

/// A cluster to ask, and what is remembered between two polls.
#[derive(Debug)]
pub struct Client {
    api: Api,
    auth: Auth,
    dialect: Dialect,
    identity: Identity,
    pool: Arc<TransportPool>,
    /// When identity and dialect are looked at again; `None` is now.
    revisit: Option<Instant>,
    settings: ClientSettings,
    waiting: Waiting,
}

/// What a poll waits for: what to say when its time is over.
#[derive(Clone, Copy, Debug)]
enum Waiting {
    Answer,
    Certificates,
    Credential,
}

/// Which endpoint answered last.
#[derive(Clone, Copy, Debug)]
enum Dialect {
    /// Only v1, with what is known of the key store.
    V1(KeyStore),
    /// v2, and when; `None` before the first answer.
    V2(Option<Instant>),
}

// === impl Client ===

impl Client {
    /// Reads nothing, sends nothing.
    pub fn new(settings: ClientSettings, pool: Arc<TransportPool>) -> Self {
        Self {
            api: Api::new(settings.url.clone(), &settings.transport),
            auth: Auth::new(&settings.credential),
            dialect: Dialect::V2(None),
            identity: Identity::default(),
            pool,
            revisit: None,
            settings,
            waiting: Waiting::Answer,
        }
    }

    /// Whether the file of a credential changed since it was last read.
    pub async fn credential_changed(&self) -> bool {
        self.auth.changed(self.pool.files()).await || self.pool.changed(&self.settings.transport).await
    }

    /// Reads the file of the credential here and now, without sending anything. Says what works but should not stay so.
    ///
    /// # Errors
    ///
    /// When it cannot be read or holds nothing useful.
    pub fn check_credential(&mut self) -> Result<Option<String>, SecretError> {
        self.auth.check()
    }

    /// What the last poll took.
    pub fn effort(&self) -> Effort {
        self.api.effort()
    }

    /// Asks the cluster once, within the time limit of its settings. `now` is the monotonic time.
    ///
    /// # Errors
    ///
    /// Without a status.
    pub async fn poll(&mut self, now: Instant) -> Result<Reading, PollFailure> {
        let deadline = tokio::time::Instant::now() + self.settings.timeout;
        let due = self.revisit.is_none_or(|revisit| now >= revisit);
        let status = timeout_at(deadline, self.status(now, due)).await.unwrap_or_else(|_| Err(self.too_slow()));
        match status {
            Ok((api, Understood { dates, key_store, status })) => {
                if due {
                    self.refresh_identity(now, deadline).await;
                }
                Ok(Reading { api, dates, identity: self.identity.clone(), key_store, status })
            }
            Err(failure) => {
                // After an outage the cluster may be another version.
                self.revisit = None;
                if matches!(failure.reason, FailureReason::Connect | FailureReason::Tls | FailureReason::Timeout) {
                    self.pool.turn(self.api.host());
                }
                Err(failure)
            }
        }
    }

    async fn status(&mut self, now: Instant, due: bool) -> Result<(ApiVersion, Understood), PollFailure> {
        self.waiting = Waiting::Certificates;
        let http = self.pool.current(&self.settings.transport).await;
        self.api.begin(http.map_err(|err| PollFailure::new(FailureReason::Tls, err.to_string()))?);
        self.waiting = Waiting::Credential;
        let token = self.auth.token(&self.api, self.pool.files()).await?;
        self.waiting = Waiting::Answer;
        let refusal = match self.ask(now, due, &token).await {
            Err(failure) if failure.reason == FailureReason::Authentication => failure,
            outcome => return outcome,
        };
        let token = self.auth.renew(&self.api, self.pool.files(), &token).await?.ok_or(refusal)?;
        self.ask(now, due, &token).await
    }

    /// Asks v2, and v1 where v2 does not exist.
    async fn ask(&mut self, now: Instant, due: bool, token: &Secret) -> Result<(ApiVersion, Understood), PollFailure> {
        if let Dialect::V1(key_store) = self.dialect {
            if !due && let Some(understood) = self.v1(token, key_store).await? {
                return Ok((ApiVersion::V1, understood));
            }
            return match self.v2(token).await {
                Ok(Some(V2Answer::Status(understood))) => Ok(self.speaks_v2(now, understood)),
                Ok(Some(V2Answer::PreRelease(key_store))) => self.fall_back(token, key_store).await,
                Err(failure) if failure.reason == FailureReason::Authentication => Err(failure),
                // Looking for v2 must not cost the status that v1 gives.
                Ok(None) | Err(_) => self.fall_back(token, key_store).await,
            };
        }
        match self.v2(token).await? {
            Some(V2Answer::Status(understood)) => Ok(self.speaks_v2(now, understood)),
            Some(V2Answer::PreRelease(key_store)) => self.fall_back(token, key_store).await,
            None if self.spoke_v2(now) => Err(PollFailure::new(
                FailureReason::Unsupported,
                format!("/{STATUS_V2} is gone (404), which it answered a short time ago; is the cluster starting?"),
            )),
            None => self.fall_back(token, KeyStore::Local).await,
        }
    }

    fn speaks_v2(&mut self, now: Instant, understood: Understood) -> (ApiVersion, Understood) {
        self.dialect = Dialect::V2(Some(now));
        (ApiVersion::V2, understood)
    }

    fn spoke_v2(&self, now: Instant) -> bool {
        matches!(self.dialect, Dialect::V2(Some(at)) if now.saturating_duration_since(at) < V2_IS_TRUSTED)
    }

    async fn fall_back(
        &mut self,
        token: &Secret,
        key_store: KeyStore,
    ) -> Result<(ApiVersion, Understood), PollFailure> {
        let understood = self.v1(token, key_store).await?.ok_or_else(|| {
            PollFailure::new(
                FailureReason::Unsupported,
                format!("the cluster has neither /{STATUS_V2} nor /{STATUS_V1} (404); Core 3.1.5 is needed at least"),
            )
        })?;
        self.dialect = Dialect::V1(key_store);
        Ok((ApiVersion::V1, understood))
    }

    async fn v1(&self, token: &Secret, key_store: KeyStore) -> Result<Option<Understood>, PollFailure> {
        self.get(STATUS_V1, token, |body| decode::status_v1(body, key_store)).await
    }

    async fn v2(&self, token: &Secret) -> Result<Option<V2Answer>, PollFailure> {
        self.get(STATUS_V2, token, decode::status_v2).await
    }

    /// `None` if there is no such endpoint.
    async fn get<T>(
        &self,
        path: &str,
        token: &Secret,
        decode: impl FnOnce(&[u8]) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, PollFailure> {
        let answer = self.api.get(path, Some(token)).await?;
        match answer.status {
            StatusCode::OK => decode(&answer.body)
                .map(Some)
                .map_err(|err| PollFailure::new(FailureReason::Malformed, format!("/{path}: {err}"))),
            StatusCode::NOT_FOUND => Ok(None),
            _ => Err(error::bad_status(&answer, &format!("/{path}"))),
        }
    }

    /// Which cluster this is: two requests that need no credential (documented for the version; the vendor's own
    /// scripts ask the node's state before they log in). What is not answered in a quarter of the poll's time is not
    /// known, and asked again later.
    async fn refresh_identity(&mut self, now: Instant, deadline: tokio::time::Instant) {
        let patience = tokio::time::Instant::now() + self.settings.timeout / 4;
        let answers = async {
            let version = self.public("v1/version").await.and_then(|body| decode::version(&body));
            let cluster_id = self.public("v1/node/state").await.and_then(|body| decode::cluster_id(&body));
            Identity { cluster_id, version }
        };
        self.identity = timeout_at(patience.min(deadline), answers).await.unwrap_or_default();
        let complete = self.identity.cluster_id.is_some() && self.identity.version.is_some();
        self.revisit = Some(now + if complete { REVISIT } else { REVISIT_SOON });
    }

    async fn public(&self, path: &str) -> Option<Vec<u8>> {
        let answer = self.api.get(path, None).await.ok()?;
        (answer.status == StatusCode::OK).then_some(answer.body)
    }

    fn too_slow(&self) -> PollFailure {
        let (place, limit) = (self.api.place(), self.settings.timeout);
        let file = match self.waiting {
            Waiting::Answer => None,
            Waiting::Certificates => Some("a file of tls_config or proxy_authorization"),
            // With a login, it may also be the cluster that is waited for.
            Waiting::Credential => self
                .auth
                .path()
                .filter(|path| self.pool.files().is_busy(&transport::folder(path)))
                .map(|_| "the file of the credential"),
        };
        let text = match file {
            None => format!("no complete answer from {place} within {limit:?} (poll_timeout)"),
            Some(file) => {
                format!("{file} cannot be read within {limit:?} (poll_timeout): its file system does not answer")
            }
        };
        PollFailure::new(FailureReason::Timeout, text)
    }
}
