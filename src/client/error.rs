//! What went wrong -> the model's closed list, with words that say what to do.

use std::{error::Error, io};

use reqwest::StatusCode;

use super::{answer::Answer, decode, resolve::DnsError, verify};
use crate::model::{FailureReason, PollFailure};

/// A request that got no answer. `place` is the host and port, for the message.
pub fn no_answer(err: &reqwest::Error, place: &str) -> PollFailure {
    let cause = causes(err).last().map(ToString::to_string).unwrap_or_default();
    if let Some(tls) = causes(err).find_map(|cause| cause.downcast_ref::<rustls::Error>()) {
        let text = verify::refusal_text(tls).unwrap_or_else(|| tls.to_string());
        PollFailure::new(FailureReason::Tls, format!("TLS with {place} failed: {text}"))
    } else if let Some(dns) = causes(err).find_map(|cause| cause.downcast_ref::<DnsError>()) {
        PollFailure::new(FailureReason::Dns, dns.to_string())
    } else if err.is_timeout() || causes(err).any(timed_out) {
        PollFailure::new(FailureReason::Timeout, format!("no connection to {place} within the time limit"))
    } else if causes(err).filter_map(|cause| cause.downcast_ref::<hyper::Error>()).any(hyper::Error::is_parse) {
        PollFailure::new(FailureReason::Malformed, format!("{place} does not speak HTTP: {cause}"))
    } else if err.is_connect() {
        PollFailure::new(FailureReason::Connect, format!("cannot connect to {place}: {cause}"))
    } else {
        PollFailure::new(FailureReason::Connect, format!("the connection to {place} broke: {cause}"))
    }
}

/// An answer with another HTTP status than 200. `asked` is the path, for the message.
pub fn bad_status(answer: &Answer, asked: &str) -> PollFailure {
    let status = status_and_class(answer);
    let (reason, message) = match answer.status {
        StatusCode::UNAUTHORIZED => (
            FailureReason::Authentication,
            format!("the cluster refused the credential ({status}); it may have expired or been disabled"),
        ),
        StatusCode::FORBIDDEN => (
            FailureReason::Permission,
            format!("the credential lacks PRIVILEGE_ENCRYPTION_READ ({status}); add it to the user's role"),
        ),
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
    PollFailure { message, reason, retry_after: answer.retry_after }
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

fn timed_out(err: &(dyn Error + 'static)) -> bool {
    err.downcast_ref::<io::Error>().is_some_and(|err| err.kind() == io::ErrorKind::TimedOut)
}
