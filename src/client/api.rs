//! Requests to one cluster: GETs, and the login.

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, StatusCode, Uri,
    header::{AUTHORIZATION, CONTENT_TYPE},
    http::request,
};
use serde::{Serialize, de::IgnoredAny};
use tokio::io::{AsyncRead, ReadBuf};
use url::Url;

use super::{
    answer::{self, Answer, retry_after},
    connect::{ConnectError, Connector, Stream, Way},
    error::{self, Peer, Via, place},
    exchange::{self, Cut, Received, exchange},
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

/// How long a connection is kept unused: longer than nearly every poll interval.
const KEEP: Duration = Duration::from_secs(600);

/// One cluster's REST API.
#[derive(Debug)]
pub struct Api {
    base: Url,
    kept: Mutex<Option<Kept>>,
    noted: Cell,
    peer: Peer,
    way: Option<Way>,
}

/// A connection between two requests.
struct Kept {
    since: Instant,
    stream: Box<dyn Stream>,
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
        Self { base, kept: Mutex::default(), noted: Cell::default(), peer, way: None }
    }

    /// How the requests of a new poll connect. What was kept of another way is closed.
    pub fn begin(&mut self, connector: Arc<Connector>) {
        if !self.way.as_ref().is_some_and(|way| way.is_of(&connector)) {
            *lock(&self.kept) = None;
            self.way = Some(Way::new(connector));
        }
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

    /// `GET path`.
    ///
    /// # Errors
    ///
    /// Without a complete answer.
    pub async fn get(&self, path: &str, token: Option<&Secret>) -> Result<Answer, PollFailure> {
        let mut request = self.request(Method::GET, path)?;
        if let Some(token) = token {
            let value = token.header("Bearer").map_err(|_| malformed("the token cannot be sent in a header"))?;
            request = request.header(AUTHORIZATION, value);
        }
        let answer = self.send(request, Bytes::new(), token).await?;
        if token.is_some_and(|token| token.is_in(&answer.body)) {
            return Err(malformed("the answer repeats the credential; is this a Qumulo cluster?"));
        }
        Ok(answer)
    }

    /// `POST /v1/session/login`, the only request that is no GET.
    ///
    /// # Errors
    ///
    /// Without a complete answer.
    pub async fn login(&self, username: &str, password: &Secret) -> Result<Answer, PollFailure> {
        let login = Login { password: password.expose(), username };
        let body = serde_json::to_vec(&login).map_err(|_| malformed("the login cannot be written as JSON"))?;
        let request = self.request(Method::POST, "v1/session/login")?.header(CONTENT_TYPE, "application/json");
        self.send(request, Secret::bytes(body), Some(password)).await
    }

    fn request(&self, method: Method, path: &str) -> Result<request::Builder, PollFailure> {
        let url = self.base.join(path).map_err(|_| malformed("the cluster's url cannot be extended by a path"))?;
        Ok(exchange::request(method, &url))
    }

    /// Sends over the kept connection, or a new one. That a kept one turns out to be broken is no failure of the cluster, so a
    /// GET, which changes nothing, is sent once more (RFC 9110, section 9.2.2). A login is not: a wrong password counts.
    async fn send(
        &self,
        request: request::Builder,
        body: Bytes,
        secret: Option<&Secret>,
    ) -> Result<Answer, PollFailure> {
        let request = request.body(Full::new(body)).map_err(|_| malformed("the request cannot be sent"))?;
        let kept = lock(&self.kept).take();
        if let Some(stream) = kept.and_then(Kept::usable) {
            let asked = Instant::now();
            match exchange(stream, request.clone(), MAX_BODY).await {
                Err(err) if request.method() == Method::GET && error::is_broken(&err) => {}
                outcome => return self.receive(asked, outcome, secret),
            }
        }
        let stream = self.connect().await?;
        let asked = Instant::now();
        self.receive(asked, exchange(stream, request, MAX_BODY).await, secret)
    }

    /// A new connection, which has shown the cluster's certificate, or was resumed with that of the session.
    async fn connect(&self) -> Result<Box<dyn Stream>, PollFailure> {
        let way = self.way.as_ref().ok_or_else(|| malformed("there is no way to connect yet"))?;
        let target: Uri =
            self.base.as_str().parse().map_err(|_| malformed("the cluster's url cannot be connected to"))?;
        let connected = way.connect(&target).await;
        let mut noted = lock(&self.noted.0);
        match connected {
            Ok(connection) => {
                noted.effort.connections += 1;
                noted.certificate = connection.certificate.or(noted.certificate);
                Ok(connection.stream)
            }
            Err(err) => {
                noted.certificate = expired(&err).or(noted.certificate);
                Err(error::no_connection(&err, &self.peer))
            }
        }
    }

    /// An answer that is whole. An error that repeats the secret which was sent loses its body here, so that nothing
    /// behind this door can log or show it; its status still counts, because a refused password must slow down
    /// the next attempt even if an answer such as "wrong username or password" happens to hold it.
    fn receive(
        &self,
        asked: Instant,
        outcome: Result<(Received, Option<Box<dyn Stream>>), hyper::Error>,
        sent: Option<&Secret>,
    ) -> Result<Answer, PollFailure> {
        let (received, stream) = outcome.map_err(|err| error::no_answer(&err, &self.peer))?;
        let Received { at, mut body, cut, head } = received;
        *lock(&self.kept) = stream.map(|stream| Kept { since: at, stream });
        let mut noted = lock(&self.noted.0);
        noted.clock = answer::clock(&head, asked, at);
        noted.effort.requests += 1;
        drop(noted);
        match cut {
            None => {}
            Some(Cut::TooLarge) => {
                return Err(malformed("the answer is larger than 256 KiB; is this a Qumulo cluster?"));
            }
            // A connection that ends without the end mark of TLS may have been cut, which a JSON object shows.
            Some(Cut::Broken(err)) if error::is_end(&err) && serde_json::from_slice::<Object>(&body).is_ok() => {}
            Some(Cut::Broken(err)) => return Err(error::no_answer(&err, &self.peer)),
        }
        if head.status != StatusCode::OK && sent.is_some_and(|secret| secret.is_in(&body)) {
            body.clear();
        }
        Ok(Answer { body, retry_after: retry_after(&head), status: head.status })
    }
}

/// The body of a login.
#[derive(Serialize)]
struct Login<'a> {
    username: &'a str,
    password: &'a str,
}

/// Any JSON object.
type Object = std::collections::BTreeMap<String, IgnoredAny>;

// === impl Cell ===

impl Cell {
    fn now(&self) -> Noted {
        *lock(&self.0)
    }
}

// === impl Kept ===

impl Kept {
    /// The stream, unless it is old, has ended, or brings what nobody asked for.
    fn usable(mut self) -> Option<Box<dyn Stream>> {
        let mut byte = [0];
        let mut context = Context::from_waker(Waker::noop());
        let read = Pin::new(&mut self.stream).poll_read(&mut context, &mut ReadBuf::new(&mut byte));
        (matches!(read, Poll::Pending) && self.since.elapsed() < KEEP).then_some(self.stream)
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").field("since", &self.since).finish_non_exhaustive()
    }
}

/// When the certificate expired that a handshake was refused for.
fn expired(err: &ConnectError) -> Option<Timestamp> {
    error::tls(err).and_then(verify::expired)
}

fn malformed(problem: &str) -> PollFailure {
    PollFailure::new(FailureReason::Malformed, problem)
}
