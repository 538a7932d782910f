//! An answer before any fault acts on it, and errors as the API words them.

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;

/// Status, headers and body of an answer.
pub(crate) struct Answer {
    /// The HTTP status.
    pub(crate) status: StatusCode,
    /// The headers, except those that every answer has.
    pub(crate) headers: HeaderMap,
    /// The body.
    pub(crate) body: Bytes,
}

/// The error object, with the keys that the SDK reads (`qumulo/lib/request.py`).
#[derive(Serialize)]
struct ErrorBody<'a> {
    module: &'a str,
    error_class: &'a str,
    description: &'a str,
    stack: [&'a str; 0],
    user_visible: bool,
}

impl Answer {
    /// 200 with JSON.
    pub(crate) fn json(value: &impl Serialize) -> Answer {
        // Only maps with keys that are no strings cannot be written; there are none.
        let body = serde_json::to_vec(value).unwrap_or_default();
        Answer::ok("application/json", body)
    }

    /// 200 with a body of this type.
    pub(crate) fn ok(content_type: &'static str, body: impl Into<Bytes>) -> Answer {
        let mut answer = Answer::empty(StatusCode::OK);
        answer.headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        answer.body = body.into();
        answer
    }

    /// 200 with a text that is sent word for word, declared as what it looks like.
    pub(crate) fn raw(text: &str) -> Answer {
        let html = text.trim_start().starts_with('<');
        Answer::ok(if html { "text/html" } else { "application/json" }, text.to_owned())
    }

    /// No body.
    pub(crate) fn empty(status: StatusCode) -> Answer {
        Answer { status, headers: HeaderMap::new(), body: Bytes::new() }
    }

    /// An error as the API words it.
    pub(crate) fn error(status: StatusCode, description: &str) -> Answer {
        let error = ErrorBody {
            module: "simulator",
            error_class: &error_class(status),
            description,
            stack: [],
            user_visible: true,
        };
        Answer { status, ..Answer::json(&error) }
    }

    /// The error that a fault asks for by its number; 500 for one that HTTP does not allow.
    pub(crate) fn forced(code: u16) -> Answer {
        let status = StatusCode::from_u16(code)
            .ok()
            .filter(|status| !status.is_informational())
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Answer::error(status, "A fault of the simulator.")
    }

    /// With one more header. A value that HTTP does not allow is left out.
    pub(crate) fn with(mut self, name: HeaderName, value: &str) -> Answer {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }
}

/// `http_not_found_error` is what the SDK expects of a 404 (`qumulo/rest/tree_delete.py`). The
/// others follow its pattern; no public source has them.
fn error_class(status: StatusCode) -> String {
    let reason = status.canonical_reason().unwrap_or("unknown").to_ascii_lowercase();
    let reason = reason.replace([' ', '-'], "_").replace('\'', "");
    format!("http_{}_error", reason.trim_end_matches("_error"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_classes_follow_one_pattern() {
        for (code, class) in [
            (401, "http_unauthorized_error"),
            (404, "http_not_found_error"),
            (429, "http_too_many_requests_error"),
            (500, "http_internal_server_error"),
            (599, "http_unknown_error"),
        ] {
            assert_eq!(error_class(StatusCode::from_u16(code).unwrap()), class);
        }
    }
}
