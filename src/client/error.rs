//! Errors of requests, as failures of a poll: the reason, and a message that says what to do.

use std::{error::Error, io, sync::Arc, time::Duration};

use reqwest::StatusCode;
use url::Url;

use super::{
    decode,
    error_text::{self, TlsPeer},
    resolve::DnsError,
    response::ApiResponse,
    settings::{ProxyAccount, TransportSettings},
    verify::HandshakeRecorder,
    verify_error::VerifyError,
};
use crate::model::{CredentialRejection, FailureReason, PollFailure};

/// The server that requests go to, for messages.
#[derive(Clone, Debug)]
pub struct Peer {
    pub connect_timeout: Duration,
    pub handshakes: Arc<HandshakeRecorder>,
    pub host_and_port: String,
    pub proxy: Option<ProxyInfo>,
    /// Whether its certificate is verified against the system's CA certificates and it gets no client certificate, whatever
    /// `tls_config` says.
    pub system_trust: bool,
}

#[derive(Clone, Debug)]
pub struct ProxyInfo {
    /// Where its user and password are configured, if it has them.
    pub account: Option<&'static str>,
    pub host_and_port: String,
}

impl Peer {
    pub fn new(url: &Url, transport: &TransportSettings) -> Self {
        let proxy = transport.proxy_for(url).map(|(url, account)| ProxyInfo {
            account: account.map(ProxyAccount::origin),
            host_and_port: host_and_port(url),
        });
        let (connect_timeout, host_and_port) = (transport.connect_timeout, host_and_port(url));
        Self { connect_timeout, handshakes: Arc::default(), host_and_port, proxy, system_trust: false }
    }
}

pub fn host_and_port(url: &Url) -> String {
    let port = url.port_or_known_default().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}{port}", url.host_str().unwrap_or_default())
}

/// The failure of a request without a complete response.
pub fn no_response(err: &reqwest::Error, peer: &Peer) -> PollFailure {
    // The type of this error is private to the library; the tests with proxies check its text.
    let tunnel =
        causes(err).map(ToString::to_string).find_map(|text| text.strip_prefix("tunnel error: ").map(str::to_owned));
    match (tunnel, &peer.proxy) {
        (Some(tunnel), Some(proxy)) => proxy_failed(&tunnel, err, proxy, peer),
        _ => direct(err, peer),
    }
}

/// The proxy did not connect to the cluster.
fn proxy_failed(tunnel: &str, err: &reqwest::Error, proxy: &ProxyInfo, peer: &Peer) -> PollFailure {
    let (ProxyInfo { account, host_and_port: proxy }, cluster) = (proxy, &peer.host_and_port);
    let has_tls_error = causes(err).any(|cause| cause.is::<rustls::Error>());
    let text = match (tunnel, account) {
        ("proxy authorization required", Some(origin)) => {
            let text = format!(
                "the proxy {proxy} refused the user and password of {origin} (407); they are retried rarely, so that the \
                 account is not locked, and at once when the password changes"
            );
            return PollFailure {
                rejection: Some(CredentialRejection::LockoutRisk),
                ..PollFailure::new(FailureReason::Proxy, text)
            };
        }
        ("proxy authorization required", None) => format!(
            "the proxy {proxy} requires a user and password (407); set proxy_authorization, or add them to HTTPS_PROXY"
        ),
        // TLS 1.3 reports a missing client certificate after the handshake.
        (tunnel, _) if tunnel == "failed to create underlying connection" || has_tls_error => {
            let proxy = Peer { host_and_port: proxy.clone(), system_trust: true, ..peer.clone() };
            format!("the proxy cannot be used: {}", direct(err, &proxy).message)
        }
        ("unsuccessful", _) => format!(
            "the proxy {proxy} did not connect to {cluster}: its response to CONNECT was not 200; see the proxy's log"
        ),
        _ => format!("the proxy {proxy} closed the connection before it connected to {cluster}"),
    };
    PollFailure::new(FailureReason::Proxy, text)
}

fn direct(err: &reqwest::Error, server: &Peer) -> PollFailure {
    let Peer { connect_timeout, host_and_port: peer, .. } = server;
    let mut hyper = causes(err).filter_map(|cause| cause.downcast_ref::<hyper::Error>());
    let io = causes(err).filter_map(|cause| cause.downcast_ref::<io::Error>()).last();
    let (reason, text) = if let Some(tls) = causes(err).find_map(|cause| cause.downcast_ref()) {
        (FailureReason::Tls, format!("TLS with {peer} failed: {}", tls_problem(tls, server)))
    } else if let Some(dns) = causes(err).find_map(|cause| cause.downcast_ref::<DnsError>()) {
        (FailureReason::Dns, dns.to_string())
    } else if io.is_some_and(|err| err.kind() == io::ErrorKind::TimedOut) {
        (FailureReason::Timeout, format!("no connection to {peer}: no response from the network"))
    } else if err.is_timeout() {
        (FailureReason::Timeout, format!("no connection to {peer} within {connect_timeout:?}, half of poll_timeout"))
    } else if hyper.any(is_not_http) || (!err.is_connect() && io.is_some_and(is_bad_chunk)) {
        (FailureReason::Malformed, format!("{peer} does not speak HTTP; check scheme and port in url"))
    } else {
        let problem = io.map_or_else(|| error_text::CLOSED_EARLY.to_owned(), error_text::io);
        let text = if err.is_connect() { "cannot connect to" } else { "connection lost to" };
        (FailureReason::Connect, format!("{text} {peer}: {problem}"))
    };
    PollFailure::new(reason, text)
}

fn tls_problem(err: &rustls::Error, server: &Peer) -> String {
    let client_cert_requested = server.handshakes.client_cert_requested();
    match (VerifyError::from_rustls(err), server.system_trust) {
        (Some(err), true) => {
            format!("{}; it is verified against this system's CA certificates, not by tls_config", err.problem)
        }
        (Some(err), false) => err.to_string(),
        (None, true) => error_text::tls(err, TlsPeer::Other),
        (None, false) => error_text::tls(err, TlsPeer::Cluster { client_cert_requested }),
    }
}

/// A response that is not HTTP, or data before the request was sent, for which hyper has no predicate.
fn is_not_http(err: &hyper::Error) -> bool {
    let known =
        err.is_canceled() || err.is_closed() || err.is_incomplete_message() || err.is_timeout() || err.is_user();
    err.is_parse() || (!known && err.source().is_none())
}

/// hyper's error for a chunk whose size or end is invalid.
fn is_bad_chunk(err: &io::Error) -> bool {
    err.raw_os_error().is_none() && matches!(err.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput)
}

/// Whether the connection ended without TLS' close_notify, which does not matter if the response is complete.
pub fn is_end(err: &reqwest::Error) -> bool {
    let mut io = causes(err).filter_map(|cause| cause.downcast_ref::<io::Error>());
    io.any(|err| err.kind() == io::ErrorKind::UnexpectedEof)
}

/// The failure for a response to `path` with an HTTP status other than 200.
pub fn bad_status(response: &ApiResponse, path: &str) -> PollFailure {
    let status = status_and_class(response);
    let (reason, message) = match response.status {
        StatusCode::UNAUTHORIZED => (
            FailureReason::Authentication,
            format!("the cluster refused the credential ({status}); it may have expired or been disabled"),
        ),
        StatusCode::FORBIDDEN => {
            (FailureReason::Permission, format!("the credential lacks PRIVILEGE_ENCRYPTION_READ ({status})"))
        }
        StatusCode::NOT_FOUND => (FailureReason::Unsupported, format!("the cluster does not have {path} ({status})")),
        StatusCode::TOO_MANY_REQUESTS => {
            (FailureReason::RateLimited, format!("the cluster limits the rate of requests ({status})"))
        }
        code if code.is_redirection() => (
            FailureReason::HttpError,
            format!(
                "the cluster redirects {path} ({status}), which the exporter does not follow; set url to the cluster itself"
            ),
        ),
        _ => (FailureReason::HttpError, format!("the cluster responds to {path} with HTTP {status}")),
    };
    let rejection = (reason == FailureReason::Authentication).then_some(CredentialRejection::NoLockout);
    PollFailure { message, reason, rejection, retry_after: response.retry_after }
}

/// `401, http_unauthorized_error`, or `401` alone, for messages.
pub fn status_and_class(response: &ApiResponse) -> String {
    let class = decode::error_class(&response.body).map(|class| format!(", {class}")).unwrap_or_default();
    format!("{}{class}", response.status.as_u16())
}

/// The chain of causes, outermost first. `io::Error::source()` skips the error that it wraps.
fn causes<'a>(err: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(err), |&err: &&'a (dyn Error + 'static)| {
        match err.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner as &(dyn Error + 'static)),
            None => err.source(),
        }
    })
}
