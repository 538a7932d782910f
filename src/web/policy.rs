//! What the listener asks of every connection and request.

use std::sync::Arc;

use hyper::{
    HeaderMap,
    header::{HeaderName, HeaderValue},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{basic_auth::Users, rate_limit::RateLimit, tls::Tls};

/// The rules at one time. The default is none: plain HTTP for everybody.
#[derive(Debug, Default)]
pub struct ListenerPolicy {
    /// Set on every response, over what a handler says.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub rate: Option<Arc<RateLimit>>,
    /// Cancelled when a policy with other rules for connections replaces this one: what it admitted has to end.
    pub superseded: CancellationToken,
    /// `None` is plain HTTP.
    pub tls: Option<Tls>,
    /// `None` is everybody.
    pub users: Option<Users>,
}

/// A policy that does not change.
pub fn fixed(policy: ListenerPolicy) -> watch::Receiver<Arc<ListenerPolicy>> {
    watch::channel(Arc::new(policy)).1
}

impl ListenerPolicy {
    /// Takes over from `old` what a change must not lose: the tokens of an unchanged rate limit, passwords that are known
    /// to be right, and connections if the rules for them are the same. Returns what to cancel once this policy is in force.
    pub fn succeed(&mut self, old: &Self) -> Option<CancellationToken> {
        if let (Some(new), Some(old)) = (&self.rate, &old.rate)
            && new.is_like(old)
        {
            self.rate = Some(old.clone());
        }
        if let (Some(new), Some(old)) = (&mut self.users, &old.users) {
            new.remember_from(old);
        }
        let rules = |policy: &Self| policy.tls.as_ref().map(|tls| tls.rules.clone());
        if rules(self) == rules(old) {
            self.superseded = old.superseded.clone();
            return None;
        }
        Some(old.superseded.clone())
    }

    pub fn decorate(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.headers {
            headers.insert(name.clone(), value.clone());
        }
    }
}
