//! One cluster's REST API: one attempt, one outcome, read-only.
//!
//! [`Client::poll`] is all that the rest of the program sees. Inside: `settings` (what a client needs to know),
//! `transport`, `resolve`, `pem` and `verify` (how clusters are reached and whom to trust), `secret_file` and `auth`
//! (credentials), `api` and `answer` (requests and responses), `decode` (JSON -> model), `error` and `words` (what went
//! wrong -> model). Beside it `kms_probe` (the certificate of a key management server), and `fetch` (what another exporter
//! says).
//!
//! Deliberately absent: pace, retries over time, the wall clock. They are the poller's.

mod accounts;
mod answer;
mod api;
mod auth;
mod decode;
mod error;
mod error_text;
mod fetch;
#[cfg(fuzzing)]
pub mod fuzzing;
mod https_proxy;
mod kms_probe;
mod no_proxy;
mod pem;
mod pin;
mod resolve;
mod secret_file;
mod settings;
mod transport;
mod verify;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use reqwest::StatusCode;
use tokio::time::timeout_at;

use self::{
    api::Api,
    auth::{Auth, Resources},
    decode::{DecodeError, DecodedStatus, V2Answer},
    error::Peer,
    verify::CertificateRecorder,
};
pub use self::{
    fetch::fetch,
    kms_probe::Networks,
    no_proxy::{NoProxy, NoProxyError},
    pin::{Pin, PinError},
    secret_file::SecretError,
    settings::{
        ClientCertificate, ClientSettings, Credential, ProxyAccount, ProxySettings, SecretSource, TlsSettings,
        TransportSettings,
    },
    transport::{TransportError, TransportPool},
};
use crate::{
    model::{
        Account, ApiVersion, Details, FailureReason, Identity, KeyStore, PollFailure, PollResult, ServerClock,
        Timestamp,
    },
    secret::Secret,
};

const KEY_STORE: &str = "v2/encryption/key-store";
const STATUS_V1: &str = "v1/encryption/status";
const STATUS_V2: &str = "v2/encryption/key-store/status";

/// How often things that change with an upgrade are asked again: the cluster's identity, and v2 where there is none.
const REVISIT: Duration = Duration::from_secs(600);

/// The same, while something of it is not known.
const REVISIT_SOON: Duration = Duration::from_secs(60);

/// How long details stand while asking for them fails: nothing of them goes away with one bad answer.
const DETAILS_MAX_AGE: Duration = Duration::from_secs(3600);

/// How long a cluster that answered v2 is not asked v1 instead. Clusters are not downgraded, so a 404 from one that
/// knew v2 is a cluster that is starting, or something else in its place; and v1, which cannot show a KMS failure,
/// would make a lost key look like good health.
const V2_IS_TRUSTED: Duration = Duration::from_secs(3600);

/// A cluster to ask, and what is remembered between two polls.
#[derive(Debug)]
pub struct Client {
    auth: Auth,
    certificate: Arc<CertificateRecorder>,
    /// Of the last response of this poll.
    clock: Option<ServerClock>,
    /// When all details were decided last.
    decided: Option<Instant>,
    details: Arc<Details>,
    support: ApiSupport,
    /// Polls that did not get through to the cluster; each makes the next one begin with another address.
    failed_connections: usize,
    /// The key store in the last response.
    key_store: Option<KeyStore>,
    last_kms_probe: Option<Instant>,
    peer: Arc<Peer>,
    pool: Arc<TransportPool>,
    /// The session whose privileges are known: they stay the same until it ends.
    privileges_of: Option<Secret>,
    /// When details and API are looked at again; `None` is now.
    revisit: Option<Instant>,
    settings: ClientSettings,
    phase: PollPhase,
}

/// What the requests of one poll are sent with. Its connections end with it.
#[derive(Debug)]
struct Session {
    api: Api,
    token: Secret,
}

/// An answer that says nothing about what was asked.
#[derive(Clone, Copy, Debug)]
struct DetailUnavailable;

/// What a poll waits for: what to say when its time is over.
#[derive(Clone, Copy, Debug)]
enum PollPhase {
    Answer,
    Certificates,
    Credential,
}

/// Which endpoint answered last.
#[derive(Clone, Copy, Debug)]
enum ApiSupport {
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
            auth: Auth::new(&settings.credential),
            certificate: Arc::default(),
            clock: None,
            decided: None,
            details: Arc::default(),
            support: ApiSupport::V2(None),
            failed_connections: 0,
            key_store: None,
            last_kms_probe: None,
            peer: Arc::new(Peer::new(&settings.url, &settings.transport)),
            pool,
            privileges_of: None,
            revisit: None,
            settings,
            phase: PollPhase::Answer,
        }
    }

    /// Whether the file of a credential changed since it was last read.
    pub async fn credential_changed(&self) -> bool {
        self.auth.file().changed(self.pool.files()).await || self.pool.changed(&self.settings.transport).await
    }

    /// Reads the file of the credential here and now, without sending anything. Says what works but should not stay so.
    ///
    /// # Errors
    ///
    /// When it cannot be read or holds nothing useful.
    pub fn check_credential(&self) -> Result<Option<String>, SecretError> {
        self.auth.file().check()
    }

    /// When the certificate of the REST API expires that was shown last, also if it was refused because it has expired.
    pub fn certificate(&self) -> Option<Timestamp> {
        self.certificate.expiry()
    }

    /// Asks the cluster once, within the time limit of its settings. `now` is the monotonic time.
    ///
    /// # Errors
    ///
    /// Without a status.
    pub async fn poll(&mut self, now: Instant) -> Result<PollResult, PollFailure> {
        let deadline = tokio::time::Instant::now() + self.settings.timeout;
        let due = self.revisit.is_none_or(|revisit| now >= revisit);
        let status = timeout_at(deadline, self.status(now, due)).await.unwrap_or_else(|_| Err(self.too_slow()));
        match status {
            Ok((session, api, DecodedStatus { dates, key_store, status })) => {
                let clock = self.clock;
                let moved = self.key_store.replace(key_store) != Some(key_store);
                if due || moved {
                    self.refresh_details(now, deadline, key_store, &session).await;
                }
                let details = self.details.clone();
                let kms_probe = (self.settings.kms_probe.as_ref()).and_then(|networks| {
                    self.pool.probe_kms(details.kms.as_ref()?, networks, &mut self.last_kms_probe, now)
                });
                Ok(PollResult { api, clock, dates, details, key_store, kms_probe, status })
            }
            Err(failure) => {
                // After an outage the cluster may be another version.
                self.revisit = None;
                if matches!(failure.reason, FailureReason::Connect | FailureReason::Tls | FailureReason::Timeout) {
                    self.failed_connections = self.failed_connections.wrapping_add(1);
                }
                Err(failure)
            }
        }
    }

    async fn status(&mut self, now: Instant, due: bool) -> Result<(Session, ApiVersion, DecodedStatus), PollFailure> {
        self.clock = None;
        self.phase = PollPhase::Certificates;
        let connector = self.pool.current(&self.settings.transport).await;
        let connector = connector.map_err(|err| PollFailure::new(FailureReason::Tls, err.to_string()))?;
        self.phase = PollPhase::Answer;
        let proxy_login = match connector.proxy_login(&self.settings.url) {
            None => None,
            Some((account, password)) => {
                let attempt = self.pool.accounts().attempt(account, password, now).await;
                Some(attempt.map_err(|paused| auth::not_yet(FailureReason::Proxy, paused))?)
            }
        };
        let url = self.settings.url.clone();
        let client = connector.client(&url, self.certificate.clone(), self.failed_connections)?;
        let api = Api::new(url, client, self.peer.clone(), proxy_login);
        self.phase = PollPhase::Credential;
        let pool = self.pool.clone();
        let with = Resources { accounts: pool.accounts(), files: pool.files(), now };
        let token = self.auth.token(&api, with).await?;
        self.phase = PollPhase::Answer;
        let mut session = Session { api, token };
        let rejection = match self.ask(now, due, &session).await {
            Err(failure) if failure.reason == FailureReason::Authentication => failure,
            outcome => return outcome.map(|(version, decoded)| (session, version, decoded)),
        };
        let renewed = self.auth.renew(&session.api, with, &session.token).await?;
        session.token = renewed.ok_or(rejection)?;
        self.ask(now, due, &session).await.map(|(version, decoded)| (session, version, decoded))
    }

    /// Asks v2, and v1 where v2 does not exist.
    async fn ask(
        &mut self,
        now: Instant,
        due: bool,
        session: &Session,
    ) -> Result<(ApiVersion, DecodedStatus), PollFailure> {
        if let ApiSupport::V1(key_store) = self.support {
            if !due && let Some(decoded) = self.v1(session, key_store).await? {
                return Ok((ApiVersion::V1, decoded));
            }
            return match self.v2(session).await {
                Ok(Some(V2Answer::Status(decoded))) => Ok(self.speaks_v2(now, decoded)),
                Ok(Some(V2Answer::PreRelease(key_store))) => self.fall_back(session, key_store).await,
                Err(failure) if failure.rejection.is_some() => Err(failure),
                // Looking for v2 must not cost the status that v1 gives.
                Ok(None) | Err(_) => self.fall_back(session, key_store).await,
            };
        }
        match self.v2(session).await? {
            Some(V2Answer::Status(decoded)) => Ok(self.speaks_v2(now, decoded)),
            Some(V2Answer::PreRelease(key_store)) => self.fall_back(session, key_store).await,
            None if self.spoke_v2(now) => Err(PollFailure::new(
                FailureReason::Unsupported,
                format!("/{STATUS_V2} is gone (404), although it existed recently; is the cluster starting?"),
            )),
            None => self.fall_back(session, KeyStore::Local).await,
        }
    }

    fn speaks_v2(&mut self, now: Instant, decoded: DecodedStatus) -> (ApiVersion, DecodedStatus) {
        self.support = ApiSupport::V2(Some(now));
        (ApiVersion::V2, decoded)
    }

    fn spoke_v2(&self, now: Instant) -> bool {
        matches!(self.support, ApiSupport::V2(Some(at)) if now.saturating_duration_since(at) < V2_IS_TRUSTED)
    }

    async fn fall_back(
        &mut self,
        session: &Session,
        key_store: KeyStore,
    ) -> Result<(ApiVersion, DecodedStatus), PollFailure> {
        let decoded = self.v1(session, key_store).await?.ok_or_else(|| {
            PollFailure::new(
                FailureReason::Unsupported,
                format!("the cluster has neither /{STATUS_V2} nor /{STATUS_V1} (404); Core 3.1.5 or later is required"),
            )
        })?;
        self.support = ApiSupport::V1(key_store);
        Ok((ApiVersion::V1, decoded))
    }

    async fn v1(&mut self, session: &Session, key_store: KeyStore) -> Result<Option<DecodedStatus>, PollFailure> {
        self.get(STATUS_V1, session, |body| decode::status_v1(body, key_store)).await
    }

    async fn v2(&mut self, session: &Session) -> Result<Option<V2Answer>, PollFailure> {
        self.get(STATUS_V2, session, decode::status_v2).await
    }

    /// `None` if there is no such endpoint.
    async fn get<T>(
        &mut self,
        path: &str,
        session: &Session,
        decode: impl FnOnce(&[u8]) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, PollFailure> {
        let answer = session.api.get(path, Some(&session.token)).await?;
        self.clock = answer.clock;
        match answer.status {
            StatusCode::OK => decode(&answer.body)
                .map(Some)
                .map_err(|err| PollFailure::new(FailureReason::Malformed, format!("/{path}: {err}"))),
            StatusCode::NOT_FOUND => Ok(None),
            _ => Err(error::bad_status(&answer, &format!("/{path}"))),
        }
    }

    /// What else there is to know of the cluster. What is not answered in a quarter of the poll's time is asked again soon,
    /// and what was known before stands meanwhile. The first two questions need no credential (documented for the version;
    /// the vendor's own scripts ask for the node's state before they log in).
    async fn refresh_details(
        &mut self,
        now: Instant,
        deadline: tokio::time::Instant,
        key_store: KeyStore,
        session: &Session,
    ) {
        let quarter = || deadline.min(tokio::time::Instant::now() + self.settings.timeout / 4);
        let limit = quarter();
        let version = self.detail(limit, session, "v1/version", None).await;
        let version = version.map(|body| decode::version(&body?));
        let cluster_id = self.detail(limit, session, "v1/node/state", None).await;
        let cluster_id = cluster_id.map(|body| decode::cluster_id(&body?));
        let limit = quarter();
        let kms = match key_store {
            KeyStore::Kms => {
                let answer = self.detail(limit, session, KEY_STORE, Some(&session.token)).await;
                answer.map(|body| decode::kms_server(&body?))
            }
            KeyStore::Local | KeyStore::Unknown => Ok(None),
        };
        let account = self.account(limit, session).await;
        let has_identity = matches!((&version, &cluster_id), (Ok(Some(_)), Ok(Some(_))));
        let decided = version.is_ok() && cluster_id.is_ok() && kms.is_ok() && account.is_ok();
        self.revisit = Some(now + if decided && has_identity { REVISIT } else { REVISIT_SOON });
        let stand = self.decided.is_some_and(|at| now.saturating_duration_since(at) <= DETAILS_MAX_AGE);
        let before = if stand { self.details.clone() } else { Arc::default() };
        if decided {
            self.decided = Some(now);
        }
        let identity = Identity {
            cluster_id: cluster_id.unwrap_or_else(|DetailUnavailable| before.identity.cluster_id.clone()),
            version: version.unwrap_or_else(|DetailUnavailable| before.identity.version.clone()),
        };
        let kms = kms.unwrap_or_else(|DetailUnavailable| before.kms.clone());
        let account = account.unwrap_or_else(|DetailUnavailable| before.account.clone());
        self.details = Arc::new(Details { account, identity, kms });
    }

    /// What the exporter's account may do, and its access tokens where the cluster shows them. No source says which
    /// privileges that needs.
    async fn account(&mut self, limit: tokio::time::Instant, session: &Session) -> Result<Account, DetailUnavailable> {
        if self.privileges_of.as_ref() == Some(&session.token) {
            return Ok(self.details.account.clone());
        }
        let answer = self.detail(limit, session, "v1/session/who-am-i", Some(&session.token)).await?;
        let Some((id, privileges)) = answer.and_then(|body| decode::who_am_i(&body)) else {
            return Ok(Account::default());
        };
        let mut account = Account { privileges: Some(privileges), tokens: None };
        match self.settings.credential {
            Credential::Login { .. } => self.privileges_of = Some(session.token.clone()),
            // Sessions have none.
            Credential::Token(_) => {
                let path = format!("v1/auth/access-tokens/?user=auth_id%3A{id}");
                let answer = self.detail(limit, session, &path, Some(&session.token)).await?;
                account.tokens = answer.map(|body| decode::access_tokens(&body));
            }
        }
        Ok(account)
    }

    /// An answer that no status depends on; `None` if the cluster does not give it to this account.
    async fn detail(
        &self,
        limit: tokio::time::Instant,
        session: &Session,
        path: &str,
        token: Option<&Secret>,
    ) -> Result<Option<Vec<u8>>, DetailUnavailable> {
        let answer = timeout_at(limit, session.api.get(path, token)).await;
        let answer = answer.map_err(|_| DetailUnavailable)?.map_err(|_| DetailUnavailable)?;
        match answer.status {
            StatusCode::OK => Ok(Some(answer.body)),
            StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => Ok(None),
            _ => Err(DetailUnavailable),
        }
    }

    fn too_slow(&self) -> PollFailure {
        let (cluster, limit) = (&self.peer.host_and_port, self.settings.timeout);
        let file = match self.phase {
            PollPhase::Answer => None,
            PollPhase::Certificates => Some("a file of tls_config or proxy_authorization"),
            // With a login, it may also be the cluster that is waited for.
            PollPhase::Credential => self
                .auth
                .file()
                .path()
                .filter(|path| self.pool.files().is_busy(&transport::folder(path)))
                .map(|_| "the file of the credential"),
        };
        let text = match file {
            None => format!("no complete response from {cluster} within {limit:?} (poll_timeout)"),
            Some(file) => {
                format!("{file} cannot be read within {limit:?} (poll_timeout): its file system does not answer")
            }
        };
        PollFailure::new(FailureReason::Timeout, text)
    }
}
