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
    /// Puts the configured headers into an answer's.
    pub fn decorate(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.headers {
            headers.insert(name.clone(), value.clone());
        }
    }
}
