//! What went wrong -> the model's closed list, with words that say what to do.

use std::{error::Error, io, time::Duration};

use hyper::StatusCode;
use url::Url;

use super::{
    answer::Answer,
    connect::{ConnectError, ProxyError},
    decode,
    resolve::DnsError,
    verify, words,
};
use crate::model::{FailureReason, PollFailure, Refusal};

/// Whom a request went to, for messages.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The time limit of connecting.
    pub connect_timeout: Duration,
    /// Host and port of the cluster.
    pub place: String,
    /// The proxy in between, if there may be one.
    pub proxy: Option<Via>,
}

/// A proxy, for messages.
#[derive(Clone, Debug)]
pub struct Via {
    /// Whether it gets a user and a password.
    pub authorized: bool,
    /// Host and port, or where it is written down.
    pub place: String,
}

/// Host and port.
pub fn place(url: &Url) -> String {
    let port = url.port_or_known_default().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}{port}", url.host_str().unwrap_or_default())
}

/// A request that got no answer, or a part of it.
pub fn no_answer(err: &hyper::Error, peer: &Peer) -> PollFailure {
    failed(err, &peer.place, &format!("the connection to {} broke", peer.place))
}

/// A connection that was not made.
pub fn no_connection(err: &ConnectError, peer: &Peer) -> PollFailure {
    let Peer { connect_timeout: limit, place, proxy } = peer;
    match (err, proxy) {
        (ConnectError::Failed(err), _) => unreached(err.as_ref(), place),
        (ConnectError::NoTls, _) => {
            PollFailure::new(FailureReason::Tls, format!("{place} needs TLS, and there is none"))
        }
        (ConnectError::Proxy(err), Some(via)) => PollFailure {
            refusal: matches!(err, ProxyError::Refused(StatusCode::PROXY_AUTHENTICATION_REQUIRED) if via.authorized)
                .then_some(Refusal::Locks),
            ..PollFailure::new(FailureReason::Proxy, through(err, via, place))
        },
        (ConnectError::Proxy(_), None) => PollFailure::new(FailureReason::Proxy, "a proxy makes no connection"),
        (ConnectError::TooSlow, _) => {
            let text = format!("no connection to {place} within {limit:?}, half of poll_timeout");
            PollFailure::new(FailureReason::Timeout, text)
        }
    }
}

/// Why the proxy did not make a connection to the cluster.
fn through(err: &ProxyError, Via { authorized, place: proxy }: &Via, place: &str) -> String {
    match err {
        ProxyError::Ended => format!("the proxy {proxy} ended the connection before it connected to {place}"),
        ProxyError::Kind => format!("the proxy {proxy} is no HTTP proxy by its URL, and only those are used"),
        ProxyError::Refused(StatusCode::PROXY_AUTHENTICATION_REQUIRED) if *authorized => format!(
            "the proxy {proxy} refused the user and password of proxy_authorization (407); they are tried again \
             rarely, so that the account is not locked, and at once when the password file changes"
        ),
        ProxyError::Refused(StatusCode::PROXY_AUTHENTICATION_REQUIRED) => {
            format!("the proxy {proxy} wants a user and password (407); set proxy_authorization")
        }
        ProxyError::Refused(status) => format!(
            "the proxy {proxy} does not connect to {place}: it answered CONNECT with HTTP {}; its log says why",
            status.as_u16()
        ),
        ProxyError::Unreachable(err) => {
            format!("the proxy cannot be used: {}", unreached(err.as_ref(), proxy).message)
        }
    }
}

fn unreached(err: &(dyn Error + 'static), place: &str) -> PollFailure {
    failed(err, place, &format!("cannot connect to {place}"))
}

/// `begin` is the sentence to which the system's reason belongs.
fn failed(err: &(dyn Error + 'static), place: &str, begin: &str) -> PollFailure {
    let mut hyper = causes(err).filter_map(|cause| cause.downcast_ref::<hyper::Error>());
    let io = causes(err).filter_map(|cause| cause.downcast_ref::<io::Error>()).last();
    let (reason, text) = if let Some(tls) = causes(err).find_map(|cause| cause.downcast_ref()) {
        let text = verify::refusal_text(tls).unwrap_or_else(|| words::tls(tls));
        (FailureReason::Tls, format!("TLS with {place} failed: {text}"))
    } else if let Some(dns) = causes(err).find_map(|cause| cause.downcast_ref::<DnsError>()) {
        (FailureReason::Dns, dns.to_string())
    } else if io.is_some_and(|err| err.kind() == io::ErrorKind::TimedOut) {
        (FailureReason::Timeout, format!("no connection to {place}: the network gave no answer"))
    } else if hyper.any(is_no_http) {
        let text = "the answer is not HTTP; compare scheme and port in url with those of the REST API";
        (FailureReason::Malformed, format!("{place} does not speak HTTP: {text}"))
    } else {
        let text = io.map_or_else(|| "it ended before the answer did".to_owned(), words::io);
        (FailureReason::Connect, format!("{begin}: {text}"))
    };
    PollFailure::new(reason, text)
}

/// What TLS says, if it is that which failed.
pub fn tls(err: &ConnectError) -> Option<&rustls::Error> {
    match err {
        ConnectError::Failed(err) => causes(err.as_ref()).find_map(|cause| cause.downcast_ref()),
        ConnectError::NoTls | ConnectError::Proxy(_) | ConnectError::TooSlow => None,
    }
}

/// Whether the connection turned out to be broken, so that the request never arrived or its answer is lost.
pub fn is_broken(err: &hyper::Error) -> bool {
    !causes(err).filter_map(|cause| cause.downcast_ref::<hyper::Error>()).any(is_no_http)
}

/// Something that is no answer; or something before the request, for which hyper has no question of its own.
fn is_no_http(err: &hyper::Error) -> bool {
    let known =
        err.is_canceled() || err.is_closed() || err.is_incomplete_message() || err.is_timeout() || err.is_user();
    err.is_parse() || (!known && err.source().is_none())
}

/// Whether the connection ended without the end mark of TLS, which says nothing about an answer that is complete.
pub fn is_end(err: &hyper::Error) -> bool {
    let mut io = causes(err).filter_map(|cause| cause.downcast_ref::<io::Error>());
    io.any(|err| err.kind() == io::ErrorKind::UnexpectedEof)
}

/// An answer with another HTTP status than 200. `asked` is the path, for the message.
pub fn bad_status(answer: &Answer, asked: &str) -> PollFailure {
    let status = status_and_class(answer);
    let (reason, message) = match answer.status {
        StatusCode::UNAUTHORIZED => (
            FailureReason::Authentication,
            format!("the cluster refused the credential ({status}); it may have expired or been disabled"),
        ),
        StatusCode::FORBIDDEN => {
            (FailureReason::Permission, format!("the credential lacks PRIVILEGE_ENCRYPTION_READ ({status})"))
        }
        StatusCode::NOT_FOUND => (FailureReason::Unsupported, format!("the cluster has no {asked} ({status})")),
        StatusCode::TOO_MANY_REQUESTS => {
            (FailureReason::RateLimited, format!("the cluster asked for fewer requests ({status})"))
        }
        code if code.is_redirection() => (
            FailureReason::HttpError,
            format!(
                "{asked} was answered with a redirect ({status}), which is not followed; set url to the cluster itself"
            ),
        ),
        _ => (FailureReason::HttpError, format!("{asked} was answered with HTTP {status}")),
    };
    let refusal = (reason == FailureReason::Authentication).then_some(Refusal::Harmless);
    PollFailure { message, reason, refusal, retry_after: answer.retry_after }
}

/// `401, http_unauthorized_error`, or `401` alone, for messages.
pub fn status_and_class(answer: &Answer) -> String {
    let class = decode::error_class(&answer.body).map(|class| format!(", {class}")).unwrap_or_default();
    format!("{}{class}", answer.status.as_u16())
}

/// The chain of causes, outermost first. `io::Error` hides what it wraps from `source()`, so it is opened here.
fn causes<'a>(err: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(err), |&err: &&'a (dyn Error + 'static)| {
        match err.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner as &(dyn Error + 'static)),
            None => err.source(),
        }
    })
}
