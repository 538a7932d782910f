//! One connection: the TLS handshake, then the way of each request to the handler.

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    pin::pin,
    sync::Arc,
    task::Poll,
    time::SystemTime,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    HeaderMap, Request, Response, StatusCode, Version,
    body::Incoming,
    header::{CONNECTION, DATE, HOST, HeaderValue, WWW_AUTHENTICATE},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::server::Acceptor;
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::{Semaphore, watch},
    task::yield_now,
    time::{Instant, sleep_until, timeout},
};
use tokio_io_timeout::TimeoutWriter;
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::web::{
    basic_auth::Verdict,
    handler::{Handler, OverTls},
    policy::ListenerPolicy,
    registry::ConnectionGuard,
    respond,
    server::Limits,
    tls::{self, Tls},
};

/// Limit for the head of a request, in bytes. A scrape needs a few hundred; hyper's default is 400 KiB for each connection.
const MAX_HEAD: usize = 16 * 1024;

/// Limits for the kernel's buffers of a connection, in bytes. By default they grow to megabytes for a client that sends or
/// leaves unread a lot, and they count against the memory limit of a container.
const SEND_BUFFER: usize = 64 * 1024;
const RECEIVE_BUFFER: usize = 32 * 1024;

/// The part of request handling that all connections of a server share.
#[derive(Debug)]
pub(super) struct RequestPipeline<H> {
    handler: Arc<H>,
    handshake_turn: Semaphore,
    http: http1::Builder,
    limits: Limits,
    policy: watch::Receiver<Arc<ListenerPolicy>>,
    requests: Semaphore,
    shutdown: CancellationToken,
}

#[derive(Debug)]
pub(super) struct ConnectionContext {
    /// When the client certificate expires, if there is a verified one.
    pub(super) expires: Option<Instant>,
    pub(super) guard: ConnectionGuard,
    pub(super) peer: SocketAddr,
    /// The policy at the time of the handshake.
    pub(super) policy: Arc<ListenerPolicy>,
}

// === impl RequestPipeline ===

impl<H: Handler> RequestPipeline<H> {
    pub(super) fn new(
        handler: Arc<H>,
        policy: watch::Receiver<Arc<ListenerPolicy>>,
        limits: Limits,
        shutdown: CancellationToken,
    ) -> Self {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(limits.head)
            // A client may close its sending side after its request and still read the response.
            .half_close(true)
            .max_buf_size(MAX_HEAD);
        let max_requests = if limits.max_requests == 0 { usize::MAX } else { limits.max_requests };
        let requests = Semaphore::new(max_requests.min(Semaphore::MAX_PERMITS));
        Self { handler, handshake_turn: Semaphore::new(1), http, limits, policy, requests, shutdown }
    }

    /// Serves an accepted connection until it ends.
    pub(super) async fn connection(&self, stream: TcpStream, peer: SocketAddr, guard: ConnectionGuard) {
        // If these fail, the connection is slower or needs more memory, and works.
        let _ = stream.set_nodelay(true);
        let _ = SockRef::from(&stream).set_send_buffer_size(SEND_BUFFER);
        let _ = SockRef::from(&stream).set_recv_buffer_size(RECEIVE_BUFFER);
        let policy = self.policy.borrow().clone();
        let mut context = ConnectionContext { expires: None, guard, peer, policy: policy.clone() };
        let Some(tls) = &policy.tls else { return self.serve(stream, &context).await };
        let handshake = tokio::select! {
            biased;
            () = self.ending(&context) => return,
            handshake = timeout(self.limits.handshake, self.handshake(stream, tls)) => handshake,
        };
        match handshake.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(stream) => {
                context.expires = tls.verifies_clients.then(|| tls::expiry(stream.get_ref().1)).flatten();
                self.serve(stream, &context).await;
            }
            Err(err) => {
                self.handler.on_handshake_failure();
                debug!(%peer, %err, "TLS handshake failed");
            }
        }
    }

    async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S, tls: &Tls) -> io::Result<TlsStream<S>> {
        // Read before the turn is taken, so that a silent client blocks no other.
        let hello = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
        let turn = self.handshake_turn.acquire().await;
        // This computes the signature, which takes milliseconds. Other ready tasks run before the next handshake, so a
        // flood of handshakes leaves time for requests.
        let accept = hello.into_stream(tls.config.clone());
        yield_now().await;
        drop(turn);
        accept.await
    }

    /// Serves `stream` until the client, a limit, a change of the policy or the shutdown ends it.
    pub(super) async fn serve<S>(&self, stream: S, context: &ConnectionContext)
    where
        S: AsyncRead + AsyncWrite + Send,
    {
        // hyper has no time limit for sending a response.
        let mut stream = TimeoutWriter::new(stream);
        stream.set_timeout(Some(self.limits.write));
        let service = service_fn(|request| self.respond(request, context));
        let mut http = pin!(self.http.serve_connection(TokioIo::new(Box::pin(stream)), service));
        let mut ending = pin!(self.ending(context));
        let mut is_ending = false;
        let ended = poll_fn(|cx| {
            if !is_ending && ending.as_mut().poll(cx).is_ready() {
                is_ending = true;
                http.as_mut().graceful_shutdown();
            }
            // hyper panics while HTTP has no date for the time of the clock.
            if respond::date(SystemTime::now()).is_none() {
                return Poll::Ready(Ok(()));
            }
            http.as_mut().poll(cx)
        });
        if let Err(err) = ended.await {
            // Caused by the client or its network: no action for an operator.
            debug!(peer = %context.peer, %err, "connection ended early");
        }
    }

    /// Waits until the connection has to end after the request in flight.
    async fn ending(&self, context: &ConnectionContext) {
        let expires = context.expires.unwrap_or_else(Instant::now);
        tokio::select! {
            () = self.shutdown.cancelled() => {}
            () = context.policy.superseded.cancelled() => {}
            () = sleep_until(expires), if context.expires.is_some() => {}
        }
    }

    async fn respond(
        &self,
        mut request: Request<Incoming>,
        context: &ConnectionContext,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        context.guard.start_request();
        if context.policy.tls.is_some() {
            request.extensions_mut().insert(OverTls);
        }
        let (uri, policy) = (request.uri().clone(), self.policy.borrow().clone());
        let (mut head, body) = self.admit_and_handle(request, context, &policy).await.into_parts();
        for (name, value) in &policy.headers {
            head.headers.insert(name.clone(), value.clone());
        }
        // hyper's own date stays in the future when the clock is set back.
        if let Some(date) = respond::date(SystemTime::now()) {
            head.headers.insert(DATE, date);
        }
        self.handler.on_response(uri.path(), head.status);
        Ok(Response::from_parts(head, Full::new(context.guard.track_body(body).await)))
    }

    async fn admit_and_handle(
        &self,
        request: Request<Incoming>,
        context: &ConnectionContext,
        policy: &ListenerPolicy,
    ) -> Response<Bytes> {
        let has_expired = context.expires.is_some_and(|expires| expires <= Instant::now());
        if has_expired || context.policy.superseded.is_cancelled() {
            let problem = "This connection is no longer allowed: the TLS settings have changed or the client certificate \
                           has expired. Connect again.\n";
            let mut response = respond::text(StatusCode::FORBIDDEN, problem);
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            return response;
        }
        if !has_one_host(&request) {
            let problem = "400 the request needs one Host header with a host and port\n";
            return respond::text(StatusCode::BAD_REQUEST, problem);
        }
        let _permit = if self.handler.is_health_check(request.uri().path()) {
            None
        } else {
            if let Some(refusal) = refuse(policy, request.headers()).await {
                return refusal;
            }
            match timeout(self.limits.patience, self.requests.acquire()).await {
                Ok(Ok(permit)) => Some(permit),
                _ => {
                    // The text of the Prometheus client libraries, which operators may search their logs for.
                    let max = self.limits.max_requests;
                    let problem = format!("Limit of concurrent requests reached ({max}), try again later.\n");
                    return respond::text(StatusCode::SERVICE_UNAVAILABLE, problem);
                }
            }
        };
        let response = timeout(self.limits.handler, self.handler.handle(request)).await;
        response.unwrap_or_else(|_| respond::text(StatusCode::SERVICE_UNAVAILABLE, "The request took too long.\n"))
    }
}

/// The response to a request over the rate limit, or else without a right password: in this order, as in the Prometheus
/// exporter toolkit.
async fn refuse(policy: &ListenerPolicy, headers: &HeaderMap) -> Option<Response<Bytes>> {
    if policy.rate.as_ref().is_some_and(|rate| !rate.admit(Instant::now())) {
        return Some(respond::text(StatusCode::TOO_MANY_REQUESTS, "Too Many Requests\n"));
    }
    match policy.users.as_ref()?.authenticate(headers).await {
        Verdict::Admitted => None,
        Verdict::Busy => {
            let problem = "Too many passwords are being checked, try again later.\n";
            Some(respond::text(StatusCode::SERVICE_UNAVAILABLE, problem))
        }
        Verdict::Refused => {
            let mut response = respond::text(StatusCode::UNAUTHORIZED, "Unauthorized\n");
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic"));
            Some(response)
        }
    }
}

/// RFC 9112, section 3.2: HTTP/1.1 has exactly one, which is empty or an authority without a user.
fn has_one_host<B>(request: &Request<B>) -> bool {
    let mut hosts = request.headers().get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) => request.version() < Version::HTTP_11,
        (Some(host), None) => host.is_empty() || respond::authority(host).is_some(),
        _ => false,
    }
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
