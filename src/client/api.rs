//! Requests to one cluster: GETs, and the login.

use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::{
    Method, RequestBuilder, Response, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER},
};
use serde_json::json;
use url::Url;

use super::error;
use crate::{
    model::{FailureReason, PollFailure},
    secret::Secret,
};

/// Larger than any answer of these endpoints by two orders of magnitude.
const MAX_BODY: usize = 256 * 1024;

/// The longest pause that a cluster can ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// One cluster's REST API.
#[derive(Debug)]
pub struct Api {
    /// The client that carries the requests.
    pub http: reqwest::Client,
    base: Url,
    place: String,
}

/// A complete answer.
#[derive(Debug)]
pub struct Answer {
    /// The body.
    pub body: Vec<u8>,
    /// `Retry-After`, an hour at most, where the status gives it a meaning (429 and 503).
    pub retry_after: Option<Duration>,
    /// The HTTP status.
    pub status: StatusCode,
}

// === impl Api ===

impl Api {
    /// The API below `base`.
    pub fn new(http: reqwest::Client, base: Url) -> Self {
        let port = base.port_or_known_default().map(|port| format!(":{port}")).unwrap_or_default();
        let place = format!("{}{port}", base.host_str().unwrap_or_default());
        Self { http, base, place }
    }

    /// Host and port, for messages.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// `GET path`. A connection that was kept and turns out to be broken is not a failure of the cluster, so the
    /// request, which changes nothing, is sent once more (RFC 9110, section 9.2.2).
    ///
    /// # Errors
    ///
    /// Without a complete answer.
    pub async fn get(&self, path: &str, token: Option<&Secret>) -> Result<Answer, PollFailure> {
        let response = match self.request(Method::GET, path, token)?.send().await {
            Err(err) if err.is_request() && !err.is_connect() && !err.is_timeout() => {
                self.request(Method::GET, path, token)?.send().await
            }
            result => result,
        };
        let answer = self.read(response, token).await?;
        if token.is_some_and(|token| token.is_in(&answer.body)) {
            return Err(malformed("the answer repeats the credential; is this a Qumulo cluster?"));
        }
        Ok(answer)
    }

    /// `POST /v1/session/login`, the only request that is no GET. It is never repeated: a wrong password counts.
    ///
    /// # Errors
    ///
    /// Without a complete answer.
    pub async fn login(&self, username: &str, password: &Secret) -> Result<Answer, PollFailure> {
        let body = json!({ "username": username, "password": password.expose() }).to_string();
        let request = self.request(Method::POST, "v1/session/login", None)?;
        let request = request.header(CONTENT_TYPE, "application/json").body(body);
        self.read(request.send().await, Some(password)).await
    }

    fn request(&self, method: Method, path: &str, token: Option<&Secret>) -> Result<RequestBuilder, PollFailure> {
        let url = self.base.join(path).map_err(|_| malformed("the cluster's url cannot be extended by a path"))?;
        let mut request = self.http.request(method, url);
        if let Some(token) = token {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose()))
                .map_err(|_| malformed("the token cannot be sent in a header"))?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        Ok(request)
    }

    /// Reads an answer whole. An error that repeats the secret which was sent loses its body here, so that nothing
    /// behind this door can log or show it; its status still counts, because a refused password must slow down
    /// the next attempt even if an answer such as "wrong username or password" happens to hold it.
    async fn read(&self, response: reqwest::Result<Response>, sent: Option<&Secret>) -> Result<Answer, PollFailure> {
        let mut response = response.map_err(|err| error::no_answer(&err, &self.place))?;
        let (status, retry_after) = (response.status(), retry_after(&response));
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|err| error::no_answer(&err, &self.place))? {
            if body.len() + chunk.len() > MAX_BODY {
                return Err(malformed("the answer is larger than 256 KiB; is this a Qumulo cluster?"));
            }
            body.extend_from_slice(&chunk);
        }
        if status != StatusCode::OK && sent.is_some_and(|secret| secret.is_in(&body)) {
            body.clear();
        }
        Ok(Answer { body, retry_after, status })
    }
}

fn malformed(problem: &str) -> PollFailure {
    PollFailure::new(FailureReason::Malformed, problem)
}

/// `Retry-After` in seconds or as a date (RFC 9110, section 10.2.3), where it counts. A date is compared with the
/// answer's own `Date`, so that the clocks need not agree.
fn retry_after(response: &Response) -> Option<Duration> {
    if !matches!(response.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        return None;
    }
    let text = |name| response.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    pause(text(RETRY_AFTER)?, text(reqwest::header::DATE))
}

fn pause(retry_after: &str, date: Option<&str>) -> Option<Duration> {
    let retry_after = retry_after.trim();
    let pause = if retry_after.bytes().all(|digit| digit.is_ascii_digit()) {
        // Too many digits for a number are too long a pause anyway.
        Duration::from_secs(retry_after.parse().unwrap_or(u64::MAX))
    } else {
        (http_date(retry_after)? - http_date(date?)?).to_std().ok()?
    };
    Some(pause.min(MAX_RETRY_AFTER))
}

fn http_date(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc2822(text).ok().map(|date| date.with_timezone(&Utc))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_a_number_or_a_date_and_an_hour_at_most() {
        let now = "Sun, 06 Nov 1994 08:49:37 GMT";
        let check = |text: &str, expect: Option<u64>| {
            assert_eq!(pause(text, Some(now)), expect.map(Duration::from_secs), "{text:?}");
        };
        check("120", Some(120));
        check(" 0 ", Some(0));
        check("86400", Some(3600));
        check("99999999999999999999999", Some(3600));
        check("Sun, 06 Nov 1994 08:50:37 GMT", Some(60));
        check("Mon, 07 Nov 1994 08:50:37 GMT", Some(3600));
        check("Sun, 06 Nov 1994 08:48:37 GMT", None);
        check("soon", None);
        check("-5", None);
        assert_eq!(pause(now, None), None);
    }
}
