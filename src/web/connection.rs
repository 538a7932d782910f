//! HTTP on one connection.

use std::{convert::Infallible, net::SocketAddr, pin::pin, sync::Arc};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Request, Response, StatusCode, Version,
    body::{Body, Incoming},
    header::{HOST, HeaderValue, WWW_AUTHENTICATE},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use rustls::server::Acceptor;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Duration, Instant, timeout},
};
use tokio_rustls::LazyConfigAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::{
    lanes,
    web::{
        basic_auth::Verdict,
        crowd::Seat,
        handler::{Handler, OverTls},
        policy::{Policies, Policy},
        request_clock::RequestClock,
        respond,
        timed_io::TimedIo,
    },
};

/// For a request's head, in bytes. Ours need a few hundred; hyper's default of 400 KiB is a gift to an attacker with
/// many connections.
const MAX_HEAD: usize = 16 * 1024;

/// Handshakes that compute at the same time, so that a flood of them leaves time for requests in between.
pub(super) const HANDSHAKES: usize = 4;

/// How long a handshake computes; after that it waits for its client.
const HANDSHAKE_COMPUTES: Duration = Duration::from_millis(10);

/// The way from a connection to the handler, past the limit of concurrent requests.
#[derive(Debug)]
pub(super) struct Gate<H> {
    handler: Arc<H>,
    /// TLS handshakes that compute at the same time.
    handshakes: Arc<Semaphore>,
    http: http1::Builder,
    policies: Arc<dyn Policies>,
    /// `None` is no limit.
    requests: Option<RequestLimit>,
}

/// Where a connection stands, and what it is doing.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) seat: Seat,
    pub(super) clock: RequestClock,
    pub(super) tls: bool,
}

#[derive(Clone, Debug)]
struct RequestLimit {
    max: usize,
    patience: Duration,
    permits: Arc<Semaphore>,
}

// === impl Gate ===

impl<H: Handler> Gate<H> {
    /// `max_requests` 0 is no limit; `patience` is how long a request waits for others to be answered.
    pub(super) fn new(handler: Arc<H>, policies: Arc<dyn Policies>, max_requests: usize, patience: Duration) -> Self {
        let mut http = http1::Builder::new();
        http.keep_alive(true)
            // A client may close its sending side after its request and still read the answer.
            .half_close(true)
            .max_buf_size(MAX_HEAD)
            // `TimedIo` bounds the head too.
            .header_read_timeout(None);
        let handshakes = Arc::new(Semaphore::new(HANDSHAKES));
        Self { handler, handshakes, http, policies, requests: RequestLimit::new(max_requests, patience) }
    }

    /// Serves a connection just accepted, after a TLS handshake where the rules want one.
    pub(super) async fn serve_accepted(
        &self,
        stream: TimedIo<TcpStream>,
        place: Place,
        peer: SocketAddr,
        shutdown: CancellationToken,
    ) {
        let Some(tls) = self.policies.current().tls.clone() else {
            return self.serve(stream, place, peer, shutdown).await;
        };
        let shake = async {
            // Whoever says nothing takes no part of the limit.
            let hello = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
            // `into_stream` computes at once: most of a handshake is over before the first await.
            lanes::briefly(&self.handshakes, HANDSHAKE_COMPUTES, async { hello.into_stream(tls.config).await }).await
        };
        let handshake = tokio::select! {
            handshake = shake => handshake,
            () = shutdown.cancelled() => return,
        };
        match handshake {
            Ok(stream) => self.serve(stream, Place { tls: true, ..place }, peer, shutdown).await,
            Err(error) => {
                self.handler.handshake_failed();
                debug!(%peer, err = %error, "TLS handshake failed");
            }
        }
    }

    /// Serves `stream` until the client, a time limit or the shutdown ends it.
    pub(super) async fn serve<S>(&self, stream: S, place: Place, peer: SocketAddr, shutdown: CancellationToken)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin,
    {
        let service = service_fn(|request| {
            let place = &place;
            async move { Ok::<_, Infallible>(self.answer(request, place).await) }
        });
        let mut connection = pin!(self.http.serve_connection(TokioIo::new(stream), service));
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = shutdown.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            // The client's doing, or its network's: nothing that an operator has to act on.
            debug!(%peer, err = %error, "connection ended early");
        }
    }

    async fn answer(&self, mut request: Request<Incoming>, place: &Place) -> Response<Full<Bytes>> {
        place.clock.handling();
        if place.tls {
            request.extensions_mut().insert(OverTls);
        }
        let (uri, policy) = (request.uri().clone(), self.policies.current());
        let mut answer = match self.refuse(&policy, &request).await {
            _ if !has_one_host(&request) => {
                respond::text(StatusCode::BAD_REQUEST, "400 the request needs one Host header with a host and port\n")
            }
            Some(refusal) => refusal,
            None => match self.admit(&request).await {
                Ok(permit) => {
                    let answer = self.handler.handle(request).await;
                    drop(permit);
                    answer
                }
                Err(max) => overloaded(max),
            },
        };
        policy.decorate(answer.headers_mut());
        let length = usize::try_from(answer.body().size_hint().lower()).unwrap_or(usize::MAX);
        place.clock.answered(length);
        place.seat.crowd().answered(length);
        self.handler.answered(uri.path(), answer.status());
        answer
    }

    /// Rate limit first, then authentication, as in the original.
    async fn refuse(&self, policy: &Policy, request: &Request<Incoming>) -> Option<Response<Full<Bytes>>> {
        if self.handler.is_open(request.uri().path()) {
            return None;
        }
        if policy.rate.as_ref().is_some_and(|rate| !rate.admit(Instant::now())) {
            return Some(respond::text(StatusCode::TOO_MANY_REQUESTS, "Too Many Requests\n"));
        }
        match &policy.users {
            None => None,
            Some(users) => match users.admit(request.headers()).await {
                Verdict::Admitted => None,
                Verdict::Busy => Some(busy()),
                Verdict::Refused => Some(unauthorized()),
            },
        }
    }

    /// A permit for requests that need one, if need be after a moment; the limit when there is none.
    async fn admit(&self, request: &Request<Incoming>) -> Result<Option<OwnedSemaphorePermit>, usize> {
        match &self.requests {
            Some(limit) if self.handler.is_limited(request.uri().path()) => {
                let permit = Arc::clone(&limit.permits).acquire_owned();
                timeout(limit.patience, permit).await.ok().and_then(Result::ok).map(Some).ok_or(limit.max)
            }
            _ => Ok(None),
        }
    }
}

// By hand, because the derived one would ask for `H: Clone`.
impl<H> Clone for Gate<H> {
    fn clone(&self) -> Self {
        Self {
            handler: Arc::clone(&self.handler),
            handshakes: Arc::clone(&self.handshakes),
            http: self.http.clone(),
            policies: self.policies.clone(),
            requests: self.requests.clone(),
        }
    }
}

// === impl RequestLimit ===

impl RequestLimit {
    fn new(max: usize, patience: Duration) -> Option<Self> {
        let permits = Arc::new(Semaphore::new(max.min(Semaphore::MAX_PERMITS)));
        (max > 0).then_some(Self { max, patience, permits })
    }
}

/// RFC 9112, section 3.2: HTTP/1.1 has exactly one, which is empty or an authority without a user.
fn has_one_host<B>(request: &Request<B>) -> bool {
    let mut hosts = request.headers().get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) => request.version() < Version::HTTP_11,
        (Some(host), None) => host.to_str().is_ok_and(|host| {
            host.is_empty() || (host.parse::<hyper::http::uri::Authority>().is_ok() && !host.contains('@'))
        }),
        _ => false,
    }
}

fn unauthorized() -> Response<Full<Bytes>> {
    let mut answer = respond::text(StatusCode::UNAUTHORIZED, "Unauthorized\n");
    answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic"));
    answer
}

fn busy() -> Response<Full<Bytes>> {
    respond::text(StatusCode::SERVICE_UNAVAILABLE, "Too many passwords are being checked, try again later.\n")
}

/// In the words of the Prometheus client libraries, which operators may search their logs for.
fn overloaded(max: usize) -> Response<Full<Bytes>> {
    let message = format!("Limit of concurrent requests reached ({max}), try again later.\n");
    respond::text(StatusCode::SERVICE_UNAVAILABLE, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_one_host() {
        let check = |version, hosts: &[&str], expect: bool| {
            let mut request = Request::new(());
            *request.version_mut() = version;
            for host in hosts {
                request.headers_mut().append(HOST, HeaderValue::from_str(host).unwrap());
            }
            assert_eq!(has_one_host(&request), expect, "{hosts:?}");
        };
        check(Version::HTTP_11, &["exporter.example.com:10979"], true);
        check(Version::HTTP_11, &["[::1]:10979"], true);
        check(Version::HTTP_11, &[""], true);
        check(Version::HTTP_10, &[], true);
        check(Version::HTTP_11, &[], false);
        check(Version::HTTP_11, &["a", "a"], false);
        check(Version::HTTP_11, &["a b"], false);
        check(Version::HTTP_11, &["user@a"], false);
        check(Version::HTTP_11, &["a/b"], false);
    }
}
