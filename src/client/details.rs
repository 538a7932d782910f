//! What is known of a cluster besides its status. It is requested rarely, and never at the cost of the status.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use reqwest::StatusCode;
use tokio::time::timeout_at;

use super::{
    Session, decode,
    settings::{ClientSettings, Credential},
};
use crate::{
    model::{Account, Details, Identity, KeyStore},
    secret::Secret,
};

const ACCESS_TOKENS: &str = "v1/auth/access-tokens/?user=auth_id%3A";
const KEY_STORE: &str = "v2/encryption/key-store";
const NODE_STATE: &str = "v1/node/state";
const VERSION: &str = "v1/version";
const WHO_AM_I: &str = "v1/session/who-am-i";

/// How often details are requested.
const INTERVAL: Duration = Duration::from_secs(600);

/// The same while the identity or anything that failed last time is unknown.
const RETRY_INTERVAL: Duration = Duration::from_secs(60);

/// How long the last details are kept while requests for them fail.
const MAX_AGE: Duration = Duration::from_secs(3600);

/// The last details, and when to request them again.
#[derive(Debug, Default)]
pub struct DetailsCache {
    details: Arc<Details>,
    /// When all requests for them last succeeded.
    complete_at: Option<Instant>,
    /// `None`: in the next poll.
    next_at: Option<Instant>,
}

/// The request failed, so that the last value is kept. A refusal (403, 404) is no failure.
#[derive(Clone, Copy, Debug)]
struct Unavailable;

// === impl DetailsCache ===

impl DetailsCache {
    pub fn get(&self) -> Arc<Details> {
        self.details.clone()
    }

    pub fn is_due(&self, now: Instant) -> bool {
        self.next_at.is_none_or(|next| now >= next)
    }

    /// Makes the next poll request them.
    pub fn expire(&mut self) {
        self.next_at = None;
    }

    /// Requests them, in half of a poll's time at most.
    pub async fn refresh(
        &mut self,
        session: &Session,
        settings: &ClientSettings,
        key_store: KeyStore,
        now: Instant,
        deadline: tokio::time::Instant,
    ) {
        let quarter = || deadline.min(tokio::time::Instant::now() + settings.timeout / 4);
        // These two need no credential (documented; the vendor's own scripts request the node's state before they log in).
        let limit = quarter();
        let version = get(limit, session, VERSION, None).await.map(|body| decode::version(&body?));
        let cluster_id = get(limit, session, NODE_STATE, None).await.map(|body| decode::cluster_id(&body?));
        let limit = quarter();
        let kms = match key_store {
            KeyStore::Kms => {
                let body = get(limit, session, KEY_STORE, Some(&session.token)).await;
                body.map(|body| decode::kms_server(&body?))
            }
            KeyStore::Local | KeyStore::Unknown => Ok(None),
        };
        let account = account(limit, session, &settings.credential).await;
        let has_identity = matches!((&version, &cluster_id), (Ok(Some(_)), Ok(Some(_))));
        let is_complete = version.is_ok() && cluster_id.is_ok() && kms.is_ok() && account.is_ok();
        let is_recent = self.complete_at.is_some_and(|at| now.saturating_duration_since(at) <= MAX_AGE);
        let last = if is_recent { self.details.clone() } else { Arc::default() };
        if is_complete {
            self.complete_at = Some(now);
        }
        self.next_at = Some(now + if is_complete && has_identity { INTERVAL } else { RETRY_INTERVAL });
        self.details = Arc::new(Details {
            account: account.unwrap_or_else(|Unavailable| last.account.clone()),
            identity: Identity {
                cluster_id: cluster_id.unwrap_or_else(|Unavailable| last.identity.cluster_id.clone()),
                version: version.unwrap_or_else(|Unavailable| last.identity.version.clone()),
            },
            kms: kms.unwrap_or_else(|Unavailable| last.kms.clone()),
        });
    }
}

/// The privileges of the exporter's account, and its access tokens. Which privileges that needs is not documented.
async fn account(
    limit: tokio::time::Instant,
    session: &Session,
    credential: &Credential,
) -> Result<Account, Unavailable> {
    let body = get(limit, session, WHO_AM_I, Some(&session.token)).await?;
    let Some((id, privileges)) = body.and_then(|body| decode::who_am_i(&body)) else { return Ok(Account::default()) };
    let tokens = match credential {
        Credential::Login { .. } => None,
        Credential::Token(_) => {
            let body = get(limit, session, &format!("{ACCESS_TOKENS}{id}"), Some(&session.token)).await?;
            body.map(|body| decode::access_tokens(&body))
        }
    };
    Ok(Account { privileges: Some(privileges), tokens })
}

/// The body of a response; `None` if the cluster refuses it to this account, or does not have it.
async fn get(
    limit: tokio::time::Instant,
    session: &Session,
    path: &str,
    token: Option<&Secret>,
) -> Result<Option<Vec<u8>>, Unavailable> {
    let response = timeout_at(limit, session.api.get(path, token)).await;
    let response = response.map_err(|_| Unavailable)?.map_err(|_| Unavailable)?;
    match response.status {
        StatusCode::OK => Ok(Some(response.body)),
        StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => Ok(None),
        _ => Err(Unavailable),
    }
}
