//! What went wrong -> the model's closed list, with words that say what to do.

use std::{
    error::Error,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use reqwest::StatusCode;
use url::Url;

use super::{
    answer::ApiResponse,
    decode, error_text,
    resolve::DnsError,
    settings::{ProxyAccount, TransportSettings},
    transport::NoClient,
    verify,
};
use crate::model::{CredentialRejection, FailureReason, PollFailure};

/// Whom a request went to, for messages.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Whether the cluster asked for a client certificate in this poll.
    pub client_cert_requested: Arc<AtomicBool>,
    /// The time limit of connecting.
    pub connect_timeout: Duration,
    /// Host and port of the cluster.
    pub place: String,
    /// The proxy in between.
    pub proxy: Option<ProxyInfo>,
}

/// A proxy, for messages.
#[derive(Clone, Debug)]
pub struct ProxyInfo {
    /// Where its user and password are written, if it gets any.
    pub account: Option<&'static str>,
    /// Host and port.
    pub place: String,
}

impl Peer {
    pub fn new(url: &Url, transport: &TransportSettings) -> Self {
        let proxy = transport.proxy_for(url);
        let proxy = proxy
            .map(|(url, account)| ProxyInfo { account: account.map(ProxyAccount::origin), place: host_and_port(url) });
        Self {
            client_cert_requested: Arc::default(),
            connect_timeout: transport.connect_timeout,
            place: host_and_port(url),
            proxy,
        }
    }
}

/// Host and port.
pub fn host_and_port(url: &Url) -> String {
    let port = url.port_or_known_default().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}{port}", url.host_str().unwrap_or_default())
}

/// Nothing to send a request with.
pub fn no_client(why: NoClient, peer: &Peer) -> PollFailure {
    let place = &peer.place;
    match why {
        NoClient::Http => PollFailure::new(FailureReason::Connect, format!("{place} cannot be connected to")),
        NoClient::NoTls => PollFailure::new(FailureReason::Tls, format!("{place} needs TLS, and there is none")),
        NoClient::ProxyIpv6 => {
            let text =
                format!("{place} cannot be reached by its IPv6 address through a proxy; set url to a name of it");
            PollFailure::new(FailureReason::Proxy, text)
        }
    }
}

/// A request that got no answer, or a part of it.
pub fn no_answer(err: &reqwest::Error, peer: &Peer) -> PollFailure {
    // The library's type has no name outside of it; the tests with proxies hold its words.
    let tunnel =
        causes(err).map(ToString::to_string).find_map(|text| text.strip_prefix("tunnel error: ").map(str::to_owned));
    match (tunnel, &peer.proxy) {
        (Some(tunnel), Some(proxy)) => through(&tunnel, err, proxy, peer),
        _ => direct(err, &peer.place, peer),
    }
}

/// The proxy did not make a connection to the cluster.
fn through(
    tunnel: &str,
    err: &reqwest::Error,
    ProxyInfo { account, place: proxy }: &ProxyInfo,
    peer: &Peer,
) -> PollFailure {
    let place = &peer.place;
    let text = match (tunnel, account) {
        ("proxy authorization required", Some(origin)) => {
            let text = format!(
                "the proxy {proxy} refused the user and password of {origin} (407); they are tried again rarely, so that \
                 the account is not locked, and at once when the password changes"
            );
            return PollFailure {
                rejection: Some(CredentialRejection::LockoutRisk),
                ..PollFailure::new(FailureReason::Proxy, text)
            };
        }
        ("proxy authorization required", None) => format!(
            "the proxy {proxy} wants a user and password (407); set proxy_authorization beside proxy_url, or write them \
             into HTTPS_PROXY"
        ),
        ("failed to create underlying connection", _) => unreachable_proxy(err, proxy, peer),
        ("unsuccessful", _) => format!(
            "the proxy {proxy} does not connect to {place}: it answered CONNECT with something else than 200; its log \
             says why"
        ),
        _ => format!("the proxy {proxy} ended the connection before it connected to {place}"),
    };
    PollFailure::new(FailureReason::Proxy, text)
}

/// With a proxy that speaks TLS, `tls_config` has nothing to do.
fn unreachable_proxy(err: &reqwest::Error, proxy: &str, peer: &Peer) -> String {
    let failure = direct(err, proxy, peer);
    let advice = match failure.reason {
        FailureReason::Tls => {
            "; a proxy is verified by this system's certificate authorities and by its own name, not by tls_config"
        }
        _ => "",
    };
    format!("the proxy cannot be used: {}{advice}", failure.message)
}

fn direct(err: &reqwest::Error, place: &str, peer: &Peer) -> PollFailure {
    let mut hyper = causes(err).filter_map(|cause| cause.downcast_ref::<hyper::Error>());
    let io = causes(err).filter_map(|cause| cause.downcast_ref::<io::Error>()).last();
    let (reason, text) = if let Some(tls) = causes(err).find_map(|cause| cause.downcast_ref()) {
        let requested = peer.client_cert_requested.load(Ordering::Relaxed);
        let text = verify::refusal_text(tls).unwrap_or_else(|| error_text::tls(tls, requested));
        (FailureReason::Tls, format!("TLS with {place} failed: {text}"))
    } else if let Some(dns) = causes(err).find_map(|cause| cause.downcast_ref::<DnsError>()) {
        (FailureReason::Dns, dns.to_string())
    } else if io.is_some_and(|err| err.kind() == io::ErrorKind::TimedOut) {
        (FailureReason::Timeout, format!("no connection to {place}: the network gave no answer"))
    } else if err.is_timeout() {
        let limit = peer.connect_timeout;
        (FailureReason::Timeout, format!("no connection to {place} within {limit:?}, half of poll_timeout"))
    } else if hyper.any(is_no_http) {
        let text = "the answer is not HTTP; compare scheme and port in url with those of the REST API";
        (FailureReason::Malformed, format!("{place} does not speak HTTP: {text}"))
    } else {
        let begin = if err.is_connect() { "cannot connect to" } else { "the connection to" };
        let broke = if err.is_connect() { "" } else { " broke" };
        let text = io.map_or_else(|| "it ended before the answer did".to_owned(), error_text::io);
        (FailureReason::Connect, format!("{begin} {place}{broke}: {text}"))
    };
    PollFailure::new(reason, text)
}

/// Something that is no answer; or something before the request, for which hyper has no question of its own.
fn is_no_http(err: &hyper::Error) -> bool {
    let known =
        err.is_canceled() || err.is_closed() || err.is_incomplete_message() || err.is_timeout() || err.is_user();
    err.is_parse() || (!known && err.source().is_none())
}

/// Whether the connection ended without the end mark of TLS, which says nothing about an answer that is complete.
pub fn is_end(err: &reqwest::Error) -> bool {
    let mut io = causes(err).filter_map(|cause| cause.downcast_ref::<io::Error>());
    io.any(|err| err.kind() == io::ErrorKind::UnexpectedEof)
}

/// An answer with another HTTP status than 200. `asked` is the path, for the message.
pub fn bad_status(answer: &ApiResponse, asked: &str) -> PollFailure {
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
    let rejection = (reason == FailureReason::Authentication).then_some(CredentialRejection::NoLockout);
    PollFailure { message, reason, rejection, retry_after: answer.retry_after }
}

/// `401, http_unauthorized_error`, or `401` alone, for messages.
pub fn status_and_class(answer: &ApiResponse) -> String {
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
