//! Requests to one cluster: GETs, and the login.

use reqwest::{
    Method, RequestBuilder, Response, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue},
};
use serde_json::json;
use url::Url;

use super::{
    answer::{Answer, retry_after},
    error,
};
use crate::{
    model::{FailureReason, PollFailure},
    secret::Secret,
};

/// Larger than any answer of these endpoints by two orders of magnitude.
const MAX_BODY: usize = 256 * 1024;

/// One cluster's REST API.
#[derive(Debug)]
pub struct Api {
    /// The client that carries the requests.
    pub http: reqwest::Client,
    base: Url,
    place: String,
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
