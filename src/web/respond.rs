//! Answers. `Content-Length`, `Date` and leaving out the body of an answer to HEAD are hyper's part.

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    HeaderMap, Response, StatusCode,
    header::{ALLOW, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, VARY, X_CONTENT_TYPE_OPTIONS},
};

use crate::web::{accept_encoding::accepts_gzip, gzip::Gzip};

/// `Content-Type` of plain text.
pub const TEXT: &str = "text/plain; charset=utf-8";

/// `Content-Type` of a page.
pub const HTML: &str = "text/html; charset=utf-8";

/// `Content-Type` of JSON, which is UTF-8 by definition.
pub const JSON: &str = "application/json";

/// Bodies shorter than this many bytes are sent as they are: they fit one packet either way.
const GZIP_MIN: usize = 1024;

/// Plain text, usually a line with its newline.
pub fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    answer(status, TEXT, body)
}

/// An answer with a body of the given `Content-Type`.
///
/// `nosniff` is always set: a browser must not see a page in a text that carries names from elsewhere.
pub fn answer(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    set(&mut answer, CONTENT_TYPE, HeaderValue::from_static(content_type));
    set(&mut answer, X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

/// A 200 with `body`, compressed when the request's headers ask for that and it is worth it.
pub fn compressible(
    request: &HeaderMap,
    gzip: &Gzip,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let plain = body.into();
    // Failing to compress cannot be the client's problem: the plain body is a right answer too.
    let compressed = (plain.len() >= GZIP_MIN && accepts_gzip(request)).then(|| gzip.compress(&plain).ok()).flatten();
    encoded(content_type, compressed.is_some(), compressed.unwrap_or(plain))
}

/// A 200 with what `write` passes on, piece by piece. It is never whole in memory when it is compressed.
pub fn in_pieces(
    request: &HeaderMap,
    gzip: &Gzip,
    content_type: &'static str,
    write: impl Fn(&mut dyn FnMut(&str)),
) -> Response<Full<Bytes>> {
    let compressed = accepts_gzip(request).then(|| {
        let mut member = gzip.begin();
        write(&mut |piece| member.write(piece.as_bytes()));
        member.finish().ok()
    });
    let plain = || {
        let mut body = String::new();
        write(&mut |piece| body.push_str(piece));
        Bytes::from(body)
    };
    let compressed = compressed.flatten();
    encoded(content_type, compressed.is_some(), compressed.unwrap_or_else(plain))
}

fn encoded(content_type: &'static str, compressed: bool, body: Bytes) -> Response<Full<Bytes>> {
    let mut answer = answer(StatusCode::OK, content_type, body);
    // Of the plain answer as well: a cache must not give it to everybody, nor the other one.
    set(&mut answer, VARY, HeaderValue::from_static("Accept-Encoding"));
    if compressed {
        set(&mut answer, CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    answer
}

/// 302 to a path of this server.
pub fn found(path: &str) -> Response<Full<Bytes>> {
    let mut answer = text(StatusCode::FOUND, format!("Found at {path}\n"));
    if let Ok(path) = HeaderValue::from_str(path) {
        set(&mut answer, LOCATION, path);
    }
    answer
}

/// 204 with the methods that a path knows.
pub fn options(allowed: &'static str) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = StatusCode::NO_CONTENT;
    set(&mut answer, ALLOW, HeaderValue::from_static(allowed));
    answer
}

/// 404.
pub fn not_found() -> Response<Full<Bytes>> {
    text(StatusCode::NOT_FOUND, "404 page not found\n")
}

/// 405 with the methods that are allowed, comma separated.
pub fn method_not_allowed(allow: &'static str) -> Response<Full<Bytes>> {
    let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, format!("405 method not allowed, use {allow}\n"));
    set(&mut answer, ALLOW, HeaderValue::from_static(allow));
    answer
}

fn set(answer: &mut Response<Full<Bytes>>, name: HeaderName, value: HeaderValue) {
    answer.headers_mut().insert(name, value);
}
