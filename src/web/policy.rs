//! Who may come in, and how: what a listener asks of every connection and request.

use std::{fmt::Debug, sync::Arc};

use hyper::{
    HeaderMap,
    header::{HeaderName, HeaderValue},
};

use super::{basic_auth::Users, rate_limit::RateLimit, tls::Tls};

/// The rules at one time. The default is none: plain HTTP for everybody.
#[derive(Debug, Default)]
pub struct Policy {
    /// Set on every answer, over what a handler says.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Shared with the policy before, so that a reload does not fill the bucket.
    pub rate: Option<Arc<RateLimit>>,
    /// `None` is plain HTTP.
    pub tls: Option<Tls>,
    /// `None` is everybody.
    pub users: Option<Users>,
}

/// Where the rules come from. They may change between two calls.
pub trait Policies: Debug + Send + Sync + 'static {
    /// The rules for what comes next.
    fn current(&self) -> Arc<Policy>;

    /// Takes in changes that are only made when somebody asks for them. May take as long as files do.
    ///
    /// # Errors
    ///
    /// Why the rules stay what they were.
    fn reload(&self) -> Result<(), String> {
        Ok(())
    }
}

/// Rules that do not change.
#[derive(Clone, Debug, Default)]
pub struct Fixed(pub Arc<Policy>);

impl Policies for Fixed {
    fn current(&self) -> Arc<Policy> {
        self.0.clone()
    }
}

impl Policy {
    /// What these rules had and `next` has not, in words: what an edit must not take away by itself. A file that is
    /// being written reads as one without its last lines. Whether TLS is spoken is among them in both directions,
    /// because clients have to be changed with it.
    pub fn loses(&self, next: &Self) -> Option<&'static str> {
        let demands = |policy: &Self| policy.tls.as_ref().map(|tls| tls.demands).unwrap_or_default();
        let (old, new) = (demands(self), demands(next));
        match (&self.tls, &next.tls) {
            (Some(_), None) => Some("switch TLS off"),
            (None, Some(_)) => Some("switch TLS on"),
            _ if self.users.is_some() && next.users.is_none() => Some("admit everybody without a password"),
            _ if old.mandatory && !new.mandatory => Some("admit clients without a certificate"),
            _ if old.verified && !new.verified => Some("admit client certificates of any authority"),
            _ if old.named && !new.named => Some("admit client certificates of any name"),
            _ => None,
        }
    }

    /// Puts the configured headers into an answer's.
    pub fn decorate(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.headers {
            headers.insert(name.clone(), value.clone());
        }
    }
}
