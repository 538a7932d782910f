//! Responds to a request, with the faults of the cluster.

use std::{convert::Infallible, future::pending};

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Frame, Incoming},
    header::{CONNECTION, CONTENT_LENGTH, DATE, LOCATION, RETRY_AFTER, STRICT_TRANSPORT_SECURITY},
};
use tokio::time::sleep;

use crate::{
    api::{self, KEY_STORE, LOGIN, NODE_STATE, STATUS_V1, STATUS_V2, TOKENS, VERSION, WHO_AM_I, set_header},
    counts::InFlight,
    spec::{ClusterSpec, EndpointFault, Faults},
    state::Shared,
    time,
};

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Ends the connection without a response.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Disconnect {
    #[error("the simulated cluster closes the connection")]
    Close,
    #[error("the simulated cluster resets the connection")]
    Reset,
}

pub async fn respond(shared: &Shared, request: Request<Incoming>) -> Result<Response<Body>, Disconnect> {
    let _in_flight = InFlight::new(&shared.counts);
    let mut context = api::Context::new(&shared.lock());
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    if head.method == Method::GET {
        count(shared, path);
    }
    if context.spec.faults.hang {
        return pending().await;
    }
    if let Some(latency) = context.spec.faults.latency {
        sleep(latency).await;
        context.now = shared.lock().now();
    }
    let (spec, faults) = (&context.spec, &context.spec.faults);
    let replacement = match &spec.replay {
        Some(replay) => replay.response(shared, &head)?,
        None if head.method == Method::GET => forced(spec, path).await?,
        None => None,
    };
    let mut response = match replacement {
        Some(response) => response,
        None => context.respond(shared, &head, body).await,
    };
    if response.status() == StatusCode::UNAUTHORIZED && path != LOGIN {
        shared.counts.send_modify(|counts| counts.unauthorized += 1);
    }
    // The vendor's documentation has the directive without an `s` at the end.
    set_header(&mut response, STRICT_TRANSPORT_SECURITY, "max-age=31536000; includeSubdomain");
    if faults.close {
        set_header(&mut response, CONNECTION, "close");
    }
    if let Some(now) = faults.clock_skew.as_ref().and_then(|skew| time::relative(skew, context.now)) {
        set_header(&mut response, DATE, &now.format("%a, %d %b %Y %H:%M:%S GMT").to_string());
    }
    if is_encryption(path) {
        if let Some(text) = &faults.retry_after {
            set_header(&mut response, RETRY_AFTER, text);
        }
        // The others have no body, and hyper does not check that if it gets a stream.
        if !matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
            return Ok(with_body_faults(response, faults));
        }
    }
    Ok(response.map(|body| Full::new(body).boxed_unsync()))
}

fn is_encryption(path: &str) -> bool {
    matches!(path, STATUS_V1 | STATUS_V2 | KEY_STORE)
}

fn count(shared: &Shared, path: &str) {
    shared.counts.send_modify(|counts| match path {
        STATUS_V1 => counts.status_v1 += 1,
        STATUS_V2 => counts.status_v2 += 1,
        KEY_STORE => counts.key_store += 1,
        VERSION | NODE_STATE => counts.identity += 1,
        WHO_AM_I => counts.who_am_i += 1,
        _ if path.starts_with(TOKENS) => counts.tokens += 1,
        _ => {}
    });
}

/// The response of a fault that replaces the one of the API.
async fn forced(spec: &ClusterSpec, path: &str) -> Result<Option<Response<Bytes>>, Disconnect> {
    let faults = &spec.faults;
    let endpoint_fault = match path {
        VERSION | NODE_STATE => faults.identity_fault,
        KEY_STORE | WHO_AM_I => faults.details_fault,
        _ if path.starts_with(TOKENS) => faults.details_fault,
        _ => None,
    };
    match endpoint_fault {
        Some(EndpointFault::Hang) => return pending().await,
        Some(EndpointFault::Status(code)) => return Ok(Some(api::forced_error(code))),
        None if !is_encryption(path) => return Ok(None),
        None => {}
    }
    if faults.reset {
        return Err(Disconnect::Reset);
    }
    if faults.drop {
        return Err(Disconnect::Close);
    }
    if let Some(location) = &faults.redirect {
        let mut response = api::with_status(StatusCode::FOUND, Response::default());
        set_header(&mut response, LOCATION, location);
        return Ok(Some(response));
    }
    Ok(faults.http_status.map(|code| match &spec.body {
        Some(body) => api::with_status(api::forced_error(code).status(), api::raw(body)),
        None => api::forced_error(code),
    }))
}

fn with_body_faults(mut response: Response<Bytes>, faults: &Faults) -> Response<Body> {
    let Faults { chunked, oversize, stall_body, trickle, truncate, .. } = *faults;
    if truncate {
        let half = response.body().len() / 2;
        response.body_mut().truncate(half);
    }
    let length = oversize.unwrap_or_default().max(response.body().len() as u64);
    if !chunked {
        set_header(&mut response, CONTENT_LENGTH, &length.to_string());
    }
    // Generated piece by piece, because `oversize` can be larger than the memory.
    let piece_length = if trickle.is_some() { 1 } else { 16_384 };
    let end = if stall_body { length / 2 } else { length };
    response.map(|data| {
        let pieces = stream::unfold(0, move |start| {
            let (next, data) = (end.min(start + piece_length), data.clone());
            async move {
                if start == end {
                    return if stall_body { pending().await } else { None };
                }
                if let Some(delay) = trickle {
                    sleep(delay).await;
                }
                let offset = |at| usize::try_from(at).unwrap_or(usize::MAX).min(data.len());
                let mut piece = data.slice(offset(start)..offset(next)).to_vec();
                piece.resize((next - start) as usize, b' ');
                Some((Ok(Frame::data(Bytes::from(piece))), next))
            }
        });
        StreamBody::new(pieces).boxed_unsync()
    })
}
