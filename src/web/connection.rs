//! One connection: the TLS handshake, then each request's way to the handler.

use std::{
    convert::Infallible, future::poll_fn, io, net::SocketAddr, pin::pin, sync::Arc, task::Poll, time::SystemTime,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response, StatusCode, Version,
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
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::yield_now,
    time::{Instant, sleep_until, timeout},
};
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
    write_timeout::WriteTimeout,
};

/// For a request's head, in bytes. Ours need a few hundred; hyper's default of 400 KiB is a gift to an attacker with
/// many connections.
const MAX_HEAD: usize = 16 * 1024;

/// What the kernel may keep of a connection, in bytes: it would take megabytes for a client that sends or leaves unread a lot,
/// and counts them against the memory limit of a container.
const SEND_BUFFER: usize = 64 * 1024;
const RECEIVE_BUFFER: usize = 32 * 1024;

/// What connections have in common on the way to the handler.
#[derive(Debug)]
pub(super) struct RequestPipeline<H> {
    handler: Arc<H>,
    handshakes: Semaphore,
    http: http1::Builder,
    limits: Limits,
    policy: watch::Receiver<Arc<ListenerPolicy>>,
    /// `None` is no limit.
    requests: Option<Arc<Semaphore>>,
    shutdown: CancellationToken,
}

/// What is known about one connection.
#[derive(Debug)]
pub(super) struct ConnectionContext {
    /// When the client's certificate expires.
    pub(super) expires: Option<Instant>,
    pub(super) guard: ConnectionGuard,
    pub(super) peer: SocketAddr,
    /// The policy that admitted it.
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
            .header_read_timeout(limits.time.head)
            // A client may close its sending side after its request and still read the response.
            .half_close(true)
            .max_buf_size(MAX_HEAD)
            // hyper's own stays in the future when the clock is set back.
            .auto_date_header(false);
        let requests = (limits.max_requests > 0)
            .then(|| Arc::new(Semaphore::new(limits.max_requests.min(Semaphore::MAX_PERMITS))));
        Self { handler, handshakes: Semaphore::new(1), http, limits, policy, requests, shutdown }
    }

    /// A connection from `accept` to its end.
    pub(super) async fn connection(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, guard: ConnectionGuard) {
        let socket = SockRef::from(&stream);
        // Failing to set these costs speed or memory, nothing else.
        let _ = stream.set_nodelay(true);
        let _ = socket.set_send_buffer_size(SEND_BUFFER);
        let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
        let stream = WriteTimeout::new(stream, self.limits.time.write);
        let policy = self.policy.borrow().clone();
        let mut context = ConnectionContext { expires: None, guard, peer, policy: policy.clone() };
        let Some(tls) = &policy.tls else { return self.serve(stream, &context).await };
        let handshake = tokio::select! {
            biased;
            () = self.ending(&context) => return,
            () = context.guard.closing() => return,
            handshake = timeout(self.limits.time.handshake, self.handshake(stream, tls)) => handshake,
        };
        match handshake.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(stream) => {
                context.expires = tls.verifies_clients.then(|| tls::expiry(stream.get_ref().1)).flatten();
                self.serve(stream, &context).await;
            }
            Err(err) => {
                self.handler.handshake_failed();
                debug!(%peer, %err, "TLS handshake failed");
            }
        }
    }

    async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S, tls: &Tls) -> io::Result<TlsStream<S>> {
        // A client that says nothing holds up no other.
        let hello = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
        // The signature takes milliseconds, here and not when it is awaited. One at a time, and all that is ready runs in between,
        // so that a flood of handshakes leaves time for requests.
        let turn = self.handshakes.acquire().await;
        let accept = hello.into_stream(tls.config.clone());
        yield_now().await;
        drop(turn);
        accept.await
    }

    /// Serves `stream` until the client, a limit, a change of the policy or the shutdown ends it.
    pub(super) async fn serve<S>(&self, stream: S, context: &ConnectionContext)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin,
    {
        let service = service_fn(|request| async move { Ok::<_, Infallible>(self.answer(request, context).await) });
        let mut http = pin!(self.http.serve_connection(TokioIo::new(stream), service));
        let mut ending = pin!(self.ending(context));
        let mut ends = false;
        let mut serving = poll_fn(|cx| {
            if !ends && ending.as_mut().poll(cx).is_ready() {
                ends = true;
                http.as_mut().graceful_shutdown();
            }
            // hyper panics when HTTP has no date for the time of the clock.
            if respond::date(SystemTime::now()).is_none() {
                return Poll::Ready(Ok(()));
            }
            http.as_mut().poll(cx)
        });
        let ended = tokio::select! {
            biased;
            () = context.guard.closing() => return,
            ended = &mut serving => ended,
        };
        if let Err(err) = ended {
            // The client's doing, or its network's: nothing that an operator has to act on.
            debug!(peer = %context.peer, %err, "connection ended early");
        }
    }

    /// Waits until the connection has to end after the request in flight.
    async fn ending(&self, context: &ConnectionContext) {
        let expiry = async {
            match context.expires {
                Some(expires) => sleep_until(expires).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.shutdown.cancelled() => {}
            () = context.policy.superseded.cancelled() => {}
            () = expiry => {}
        }
    }

    async fn answer(&self, mut request: Request<Incoming>, context: &ConnectionContext) -> Response<Full<Bytes>> {
        context.guard.begin();
        if context.policy.tls.is_some() {
            request.extensions_mut().insert(OverTls);
        }
        let (uri, policy) = (request.uri().clone(), self.policy.borrow().clone());
        let (mut head, body) = self.admit_and_handle(request, context, &policy).await.into_parts();
        policy.decorate(&mut head.headers);
        if let Some(date) = respond::date(SystemTime::now()) {
            head.headers.insert(DATE, date);
        }
        self.handler.answered(uri.path(), head.status);
        let Ok(body) = body.collect().await;
        Response::from_parts(head, Full::new(context.guard.answer(body.to_bytes()).await))
    }

    async fn admit_and_handle(
        &self,
        request: Request<Incoming>,
        context: &ConnectionContext,
        policy: &ListenerPolicy,
    ) -> Response<Full<Bytes>> {
        if context.policy.superseded.is_cancelled() || context.expires.is_some_and(|expires| expires <= Instant::now())
        {
            return superseded();
        }
        if !has_one_host(&request) {
            return respond::text(
                StatusCode::BAD_REQUEST,
                "400 the request needs one Host header with a host and port\n",
            );
        }
        if let Some(refusal) = self.refuse(policy, &request).await {
            return refusal;
        }
        let Ok(_permit) = self.permit(&request).await else { return overloaded(self.limits.max_requests) };
        match timeout(self.limits.time.handler, self.handler.handle(request)).await {
            Ok(answer) => answer,
            Err(_) => respond::text(StatusCode::SERVICE_UNAVAILABLE, "The request took too long.\n"),
        }
    }

    /// Rate limit first, then authentication, as in the original.
    async fn refuse(&self, policy: &ListenerPolicy, request: &Request<Incoming>) -> Option<Response<Full<Bytes>>> {
        if self.handler.is_open(request.uri().path()) {
            return None;
        }
        if policy.rate.as_ref().is_some_and(|rate| !rate.admit(Instant::now())) {
            return Some(respond::text(StatusCode::TOO_MANY_REQUESTS, "Too Many Requests\n"));
        }
        match policy.users.as_ref()?.admit(request.headers()).await {
            Verdict::Admitted => None,
            Verdict::Busy => Some(busy()),
            Verdict::Refused => Some(unauthorized()),
        }
    }

    /// A permit for requests that need one, after a moment if need be.
    async fn permit(&self, request: &Request<Incoming>) -> Result<Option<OwnedSemaphorePermit>, ()> {
        match &self.requests {
            Some(requests) if self.handler.is_limited(request.uri().path()) => {
                let permit = timeout(self.limits.patience, requests.clone().acquire_owned()).await;
                permit.ok().and_then(Result::ok).map(Some).ok_or(())
            }
            _ => Ok(None),
        }
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

fn superseded() -> Response<Full<Bytes>> {
    let words = "This connection is no longer allowed: the TLS settings have changed or the client certificate has expired. \
                 Connect again.\n";
    let mut answer = respond::text(StatusCode::FORBIDDEN, words);
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    answer
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
