//! The rules for connections and requests.

use std::sync::Arc;

use hyper::header::{HeaderName, HeaderValue};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{basic_auth::Users, rate_limit::RateLimit, tls::Tls};

/// The default is plain HTTP without restrictions.
#[derive(Debug, Default)]
pub struct ListenerPolicy {
    /// Set on every response; they replace those of the handler.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub rate: Option<Arc<RateLimit>>,
    /// Cancelled when a policy with other rules for TLS replaces this one: the connections that it admitted have to end.
    pub superseded: CancellationToken,
    /// `None` is plain HTTP.
    pub tls: Option<Tls>,
    /// `None`: no password is needed.
    pub users: Option<Users>,
}

/// A policy that does not change.
pub fn fixed(policy: ListenerPolicy) -> watch::Receiver<Arc<ListenerPolicy>> {
    watch::channel(Arc::new(policy)).1
}

impl ListenerPolicy {
    /// Takes over from `old` what a reload must not reset: the tokens of an unchanged rate limit, known passwords, and the
    /// connections if the rules for TLS are the same. If not, the returned token has to be cancelled once this policy is in
    /// force.
    pub fn inherit(&mut self, old: &Self) -> Option<CancellationToken> {
        if let (Some(new), Some(old)) = (&self.rate, &old.rate)
            && new.is_like(old)
        {
            self.rate = Some(old.clone());
        }
        if let (Some(new), Some(old)) = (&mut self.users, &old.users) {
            new.inherit(old);
        }
        if self.tls.as_ref().map(|tls| &tls.rules) == old.tls.as_ref().map(|tls| &tls.rules) {
            self.superseded = old.superseded.clone();
            return None;
        }
        Some(old.superseded.clone())
    }
}
