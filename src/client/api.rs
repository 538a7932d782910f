//! Requests to one cluster: GETs, and the login.

use std::{
    net::SocketAddr,
    sync::{Mutex, PoisonError},
};

use hyper_util::client::legacy::connect::HttpInfo;
use reqwest::{
    Method, RequestBuilder, Response, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue},
};
use serde::de::IgnoredAny;
use serde_json::json;
use url::Url;

use super::{
    answer::{Answer, retry_after},
    error::{self, Peer, Via, place},
    settings::{ProxySettings, TransportSettings},
};
use crate::{
    model::{FailureReason, PollFailure},
    secret::Secret,
};

/// Larger than any answer of these endpoints by two orders of magnitude.
const MAX_BODY: usize = 256 * 1024;

/// One cluster's REST API.
#[derive(Debug)]
pub struct Api {
    base: Url,
    effort: Cell,
    http: Option<reqwest::Client>,
    peer: Peer,
}

/// What a poll took, for the log.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Effort {
    /// New connections.
    pub connections: u32,
    /// Requests that were answered.
    pub requests: u32,
}

/// Counted while requests borrow the API.
#[derive(Debug, Default)]
struct Cell(Mutex<(Effort, Option<SocketAddr>)>);

// === impl Api ===

impl Api {
    /// The API below `base`, which needs a client before it is asked.
    pub fn new(base: Url, transport: &TransportSettings) -> Self {
        let proxy = match &transport.proxy {
            _ if transport.tls.is_none() => None,
            ProxySettings::Direct => None,
            ProxySettings::FromEnvironment => Some(Via { authorized: false, place: "of the environment".to_owned() }),
            ProxySettings::Url { account, url, .. } => Some(Via { authorized: account.is_some(), place: place(url) }),
        };
        let peer = Peer { connect_timeout: transport.connect_timeout, place: place(&base), proxy };
        Self { base, effort: Cell::default(), http: None, peer }
    }

    /// The client that carries the requests from now on, in a new poll.
    pub fn begin(&mut self, http: reqwest::Client) {
        self.http = Some(http);
        self.effort.0.get_mut().unwrap_or_else(PoisonError::into_inner).0 = Effort::default();
    }

    /// What this poll took so far.
    pub fn effort(&self) -> Effort {
        self.effort.0.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    /// Host and port, for messages.
    pub fn place(&self) -> &str {
        &self.peer.place
    }

    /// The host.
    pub fn host(&self) -> &str {
        self.base.host_str().unwrap_or_default()
    }

    /// `GET path`. A connection that was kept and turns out to be broken is not a failure of the cluster, so the
    /// request, which changes nothing, is sent once more (RFC 9110, section 9.2.2).
    ///
    /// # Errors
    ///
    /// Without a complete answer.
    pub async fn get(&self, path: &str, token: Option<&Secret>) -> Result<Answer, PollFailure> {
        let response = match self.request(Method::GET, path, token)?.send().await {
            Err(err) if error::is_broken(&err) => self.request(Method::GET, path, token)?.send().await,
            result => result,
        };
        let answer = self.read(response, token).await?;
        if token.is_some_and(|token| token.is_in(&answer.body)) {
            return Err(malformed("the answer repeats the credential; is this a Qumulo cluster?"));
        }
        Ok(answer)
    }

    /// `POST /v1/session/login`, the only request that is no GET. It is never repeated: a wrong password counts.
    ///
    /// # Errors
    ///
    /// Without a complete answer.
    pub async fn login(&self, username: &str, password: &Secret) -> Result<Answer, PollFailure> {
        let body = json!({ "username": username, "password": password.expose() }).to_string();
        let request = self.request(Method::POST, "v1/session/login", None)?;
        let request = request.header(CONTENT_TYPE, "application/json").body(body);
        self.read(request.send().await, Some(password)).await
    }

    fn request(&self, method: Method, path: &str, token: Option<&Secret>) -> Result<RequestBuilder, PollFailure> {
        let url = self.base.join(path).map_err(|_| malformed("the cluster's url cannot be extended by a path"))?;
        let http = self.http.as_ref().ok_or_else(|| malformed("there is no HTTP client yet"))?;
        let mut request = http.request(method, url);
        if let Some(token) = token {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose()))
                .map_err(|_| malformed("the token cannot be sent in a header"))?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        Ok(request)
    }

    /// Reads an answer whole. An error that repeats the secret which was sent loses its body here, so that nothing
    /// behind this door can log or show it; its status still counts, because a refused password must slow down
    /// the next attempt even if an answer such as "wrong username or password" happens to hold it.
    async fn read(&self, response: reqwest::Result<Response>, sent: Option<&Secret>) -> Result<Answer, PollFailure> {
        let mut response = response.map_err(|err| error::no_answer(&err, &self.peer))?;
        self.effort.count(&response);
        let (status, retry_after) = (response.status(), retry_after(&response));
        let mut body = Vec::new();
        loop {
            match response.chunk().await {
                Ok(None) => break,
                Ok(Some(chunk)) if body.len() + chunk.len() <= MAX_BODY => body.extend_from_slice(&chunk),
                Ok(Some(_)) => return Err(malformed("the answer is larger than 256 KiB; is this a Qumulo cluster?")),
                // A connection that ends without the end mark of TLS may have been cut, which a JSON object shows.
                Err(err) if error::is_end(&err) && serde_json::from_slice::<Object>(&body).is_ok() => break,
                Err(err) => return Err(error::no_answer(&err, &self.peer)),
            }
        }
        if status != StatusCode::OK && sent.is_some_and(|secret| secret.is_in(&body)) {
            body.clear();
        }
        Ok(Answer { body, retry_after, status })
    }
}

/// Any JSON object.
type Object = std::collections::BTreeMap<String, IgnoredAny>;

// === impl Cell ===

impl Cell {
    /// A connection is known by its local address.
    fn count(&self, response: &Response) {
        let local = response.extensions().get::<HttpInfo>().map(HttpInfo::local_addr);
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (effort, before) = &mut *counted;
        effort.requests += 1;
        effort.connections += u32::from(*before != local);
        *before = local;
    }
}

fn malformed(problem: &str) -> PollFailure {
    PollFailure::new(FailureReason::Malformed, problem)
}
