//! One request in, one answer out, with the cluster's faults applied on the way.

use std::future::pending;

use hyper::body::Incoming;
use hyper::header::{CONNECTION, DATE, HeaderName, HeaderValue, LOCATION, RETRY_AFTER};
use hyper::{Method, Request, Response, StatusCode};

use super::api::{self, Answer, Endpoint};
use super::body::SimBody;
use super::faults::{EndpointFault, Faults};
use super::spec::ClusterSpec;
use super::state::State;
use super::timespec;

/// The connection ends here, without a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Disconnect {
    /// Closed.
    #[error("the simulated cluster closes the connection")]
    Close,
    /// Reset.
    #[error("the simulated cluster resets the connection")]
    Reset,
}

/// Answers `request`, or ends its connection.
pub(super) async fn respond(state: &State, request: Request<Incoming>) -> Result<Response<SimBody>, Disconnect> {
    let _in_flight = state.counter.begin_request();
    let applied = state.applied();
    let spec = &applied.spec;
    let (head, body) = request.into_parts();
    let endpoint = Endpoint::of(head.uri.path());
    count_request(state, endpoint, &head.method);
    if spec.faults.hang {
        return pending().await;
    }
    if !spec.faults.latency.is_zero() {
        tokio::time::sleep(spec.faults.latency).await;
    }
    let path = head.uri.path();
    let instead = match &spec.replay {
        Some(replay) => replay.answer(&head.method, path, state.count_replayed(path), api::bearer(&head))?,
        None if head.method == Method::GET => forced(spec, endpoint).await?,
        None => None,
    };
    let answer = match instead {
        Some(answer) => answer,
        None => api::answer(state, &applied, endpoint, &head, body).await,
    };
    if answer.status == StatusCode::UNAUTHORIZED && endpoint != Endpoint::Login {
        state.counter.add(|counts| counts.unauthorized += 1);
    }
    let mut response = response(answer, &spec.faults, endpoint);
    let skewed = spec.faults.clock_skew.as_deref().and_then(|skew| timespec::relative(skew, state.now()));
    if let Some(date) = skewed.and_then(|now| header_value(&now.format("%a, %d %b %Y %H:%M:%S GMT").to_string())) {
        response.headers_mut().insert(DATE, date);
    }
    Ok(response)
}

/// The answer that a fault gives in place of the cluster's own.
async fn forced(spec: &ClusterSpec, endpoint: Endpoint<'_>) -> Result<Option<Answer>, Disconnect> {
    let faults = &spec.faults;
    let fault = faults.identity_fault.filter(|_| endpoint.is_identity());
    match fault.or(faults.details_fault.filter(|_| endpoint.is_detail())) {
        Some(EndpointFault::Hang) => return pending().await,
        Some(EndpointFault::Status(code)) => return Ok(Some(Answer::forced(code))),
        None => {}
    }
    if !endpoint.is_encryption() {
        return Ok(None);
    }
    if faults.reset {
        return Err(Disconnect::Reset);
    }
    if faults.drop {
        return Err(Disconnect::Close);
    }
    if let Some(location) = &faults.redirect {
        return Ok(Some(Answer::empty(StatusCode::FOUND).with(LOCATION, location)));
    }
    Ok(faults.http_status.map(|code| match &spec.body {
        Some(body) => Answer { status: Answer::forced(code).status, ..Answer::raw(body) },
        None => Answer::forced(code),
    }))
}

/// Puts an answer on the wire, slow and broken as asked.
fn response(answer: Answer, faults: &Faults, endpoint: Endpoint<'_>) -> Response<SimBody> {
    let Answer { status, mut headers, body } = answer;
    if faults.close {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    let mut body = SimBody::whole(body);
    if endpoint.is_encryption() {
        if let Some(value) = faults.retry_after.as_deref().and_then(header_value) {
            headers.insert(RETRY_AFTER, value);
        }
        body = with_body_faults(body, faults);
    }
    let mut response = Response::new(body);
    *response.status_mut() = status;
    // The vendor's documentation spells the directive without a final `s`.
    headers.insert(
        HeaderName::from_static("strict-transport-security"),
        HeaderValue::from_static("max-age=31536000; includeSubdomain"),
    );
    *response.headers_mut() = headers;
    response
}

/// The body as the faults leave it.
fn with_body_faults(mut body: SimBody, faults: &Faults) -> SimBody {
    if faults.truncate {
        body = body.truncated();
    }
    if let Some(bytes) = faults.oversize {
        body = body.padded_to(bytes);
    }
    if faults.chunked {
        body = body.chunked();
    }
    if faults.stall_body {
        return body.stalling();
    }
    match faults.trickle {
        Some(pause) => body.trickling(pause),
        None => body,
    }
}

fn header_value(text: &str) -> Option<HeaderValue> {
    HeaderValue::from_str(text).ok()
}

fn count_request(state: &State, endpoint: Endpoint<'_>, method: &Method) {
    if method != Method::GET {
        return;
    }
    state.counter.add(|counts| match endpoint {
        Endpoint::StatusV1 => counts.status_v1 += 1,
        Endpoint::StatusV2 => counts.status_v2 += 1,
        Endpoint::KeyStore => counts.key_store += 1,
        Endpoint::Version | Endpoint::NodeState => counts.identity += 1,
        Endpoint::WhoAmI => counts.who_am_i += 1,
        Endpoint::Tokens | Endpoint::Token(_) => counts.tokens += 1,
        _ => {}
    });
}
