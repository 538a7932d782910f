//! Requests to one cluster: GETs, and the login.

use std::{net::SocketAddr, sync::Mutex, time::Instant};

use hyper_util::client::legacy::connect::HttpInfo;
use reqwest::{
    Method, RequestBuilder, Response, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue},
    tls::TlsInfo,
};
use serde::de::IgnoredAny;
use serde_json::json;
use url::Url;

use super::{
    answer::{self, Answer, retry_after},
    error::{self, Peer, Via, place},
    lock::lock,
    settings::{ProxySettings, TransportSettings},
    verify,
};
use crate::{
    model::{FailureReason, PollFailure, ServerClock, Timestamp},
    secret::Secret,
};

/// Larger than any answer of these endpoints by two orders of magnitude.
const MAX_BODY: usize = 256 * 1024;

/// One cluster's REST API.
#[derive(Debug)]
pub struct Api {
    base: Url,
    noted: Cell,
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

/// Noted while requests borrow the API.
#[derive(Debug, Default)]
struct Cell(Mutex<Noted>);

#[derive(Clone, Copy, Debug, Default)]
struct Noted {
    /// When the certificate that was shown last expires.
    certificate: Option<Timestamp>,
    /// With the last answer.
    clock: Option<ServerClock>,
    effort: Effort,
    /// By which a connection is known.
    local: Option<SocketAddr>,
}

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
        Self { base, noted: Cell::default(), http: None, peer }
    }

    /// The client that carries the requests from now on, in a new poll.
    pub fn begin(&mut self, http: reqwest::Client) {
        self.http = Some(http);
        lock(&self.noted.0).effort = Effort::default();
    }

    /// What this poll took so far.
    pub fn effort(&self) -> Effort {
        self.noted.now().effort
    }

    /// When the certificate expires that the cluster showed last, also if it was refused because it has expired.
    pub fn certificate(&self) -> Option<Timestamp> {
        self.noted.now().certificate
    }

    /// What the cluster's clock showed with the last answer.
    pub fn clock(&self) -> Option<ServerClock> {
        self.noted.now().clock
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
        let (asked, response) = match self.send(self.request(Method::GET, path, token)?).await {
            (_, Err(err)) if error::is_broken(&err) => self.send(self.request(Method::GET, path, token)?).await,
            result => result,
        };
        let answer = self.read(response, asked, token).await?;
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
        let (asked, response) = self.send(request).await;
        self.read(response, asked, Some(password)).await
    }

    /// Sends, and says when.
    async fn send(&self, request: RequestBuilder) -> (Instant, reqwest::Result<Response>) {
        (Instant::now(), request.send().await)
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
    async fn read(
        &self,
        response: reqwest::Result<Response>,
        asked: Instant,
        sent: Option<&Secret>,
    ) -> Result<Answer, PollFailure> {
        let mut response = response.map_err(|err| {
            self.noted.expired(&err);
            error::no_answer(&err, &self.peer)
        })?;
        self.noted.answered(&response, asked);
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
    fn now(&self) -> Noted {
        *lock(&self.0)
    }

    /// What an answer shows: a connection is known by its local address, and a new one has shown its certificate, or was
    /// resumed with that of the session.
    fn answered(&self, response: &Response, asked: Instant) {
        let local = response.extensions().get::<HttpInfo>().map(HttpInfo::local_addr);
        let mut noted = lock(&self.0);
        noted.clock = answer::clock(response, asked);
        noted.effort.requests += 1;
        if noted.local != local {
            noted.local = local;
            noted.effort.connections += 1;
            let shown =
                response.extensions().get::<TlsInfo>().and_then(TlsInfo::peer_certificate).and_then(verify::expiry);
            noted.certificate = shown.or(noted.certificate);
        }
    }

    /// What a handshake showed that failed.
    fn expired(&self, err: &reqwest::Error) {
        if let Some(at) = error::tls(err).and_then(verify::expired) {
            lock(&self.0).certificate = Some(at);
        }
    }
}

fn malformed(problem: &str) -> PollFailure {
    PollFailure::new(FailureReason::Malformed, problem)
}
