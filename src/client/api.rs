//! Requests to one cluster in one poll: GETs, and the login.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, OnceLock},
    time::Instant,
};

use reqwest::{
    Method, RequestBuilder, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE},
};
use serde::{Serialize, de::IgnoredAny};
use url::Url;

use super::{
    accounts::Attempt,
    error::{self, Peer},
    recorder::{RecordedBody, RecordedResponse, Recorder},
    response::{self, ApiResponse, BodyError, contains_secret, read_body, retry_after},
};
use crate::{
    lock::lock,
    model::{CredentialRejection, FailureReason, PollFailure},
    secret::Secret,
};

/// In bytes. A hundred times the largest response of these endpoints.
const MAX_BODY: usize = 256 * 1024;

const LOGIN: &str = "v1/session/login";

/// One cluster's REST API, for one poll. Dropping it closes the connections.
#[derive(Debug)]
pub struct Api {
    base: Url,
    client: reqwest::Client,
    pub peer: Arc<Peer>,
    proxy_login: Option<Attempt>,
    /// Set when the proxy refused the password; nothing more is sent in this poll then.
    proxy_refused: OnceLock<PollFailure>,
    /// No response may contain one of these.
    secrets: Mutex<Vec<Secret>>,
}

// === impl Api ===

impl Api {
    /// The API below `base`.
    pub fn new(base: Url, client: reqwest::Client, peer: Arc<Peer>, proxy_login: Option<Attempt>) -> Self {
        let api = Self { base, client, peer, proxy_login, proxy_refused: OnceLock::new(), secrets: Mutex::default() };
        if let Some(login) = &api.proxy_login {
            api.guard(&login.password);
        }
        api
    }

    /// Rejects responses that contain `secret` from now on.
    pub fn guard(&self, secret: &Secret) {
        let mut secrets = lock(&self.secrets);
        if !secrets.contains(secret) {
            secrets.push(secret.clone());
            if let Some(recorder) = self.recorder() {
                recorder.secret(secret);
            }
        }
    }

    fn recorder(&self) -> Option<&Recorder> {
        self.peer.handshakes.recorder.as_deref()
    }

    fn shows_secret(&self, body: &[u8]) -> bool {
        contains_secret(body, &lock(&self.secrets))
    }

    /// `GET path`.
    ///
    /// # Errors
    ///
    /// Without a complete response.
    pub async fn get(&self, path: &str, token: Option<&Secret>) -> Result<ApiResponse, PollFailure> {
        let mut request = self.request(Method::GET, path)?;
        if let Some(token) = token {
            let value = token.header("Bearer").map_err(|_| malformed("the token cannot be sent in a header"))?;
            request = request.header(AUTHORIZATION, value);
            self.guard(token);
        }
        let response = self.send(Method::GET, path, request).await?;
        if self.shows_secret(&response.body) {
            return Err(malformed("the response contains the credential; is this a Qumulo cluster?"));
        }
        Ok(response)
    }

    /// `POST /v1/session/login`, the only request that is not a GET.
    ///
    /// # Errors
    ///
    /// Without a complete response.
    pub async fn login(&self, username: &str, password: &Secret) -> Result<ApiResponse, PollFailure> {
        let login = Login { password: password.expose(), username };
        let body =
            serde_json::to_vec(&login).map_err(|_| malformed("the user name or password cannot be encoded as JSON"))?;
        let request = self.request(Method::POST, LOGIN)?;
        let request = request.header(CONTENT_TYPE, "application/json").body(Secret::bytes(body));
        self.guard(password);
        self.send(Method::POST, LOGIN, request).await
    }

    fn request(&self, method: Method, path: &str) -> Result<RequestBuilder, PollFailure> {
        let url = self.base.join(path).map_err(|_| malformed("no path can be added to url"))?;
        Ok(self.client.request(method, url))
    }

    /// Returns a complete response. Clears an error body that contains a secret, so that no caller can log or show it; the
    /// status is kept because it drives the retry interval, even if "wrong username or password" contains the password by
    /// chance.
    async fn send(&self, method: Method, path: &str, request: RequestBuilder) -> Result<ApiResponse, PollFailure> {
        if let Some(refused) = self.proxy_refused.get() {
            return Err(refused.clone());
        }
        let asked = Instant::now();
        let recorded = self.recorder().map(|recorder| recorder.request(method, path, asked));
        let response = request.send().await.map_err(|err| self.no_response(&err))?;
        if let Some(login) = &self.proxy_login {
            login.accepted();
        }
        let (status, headers) = (response.status(), response.headers().clone());
        let (clock, retry_after) = (response::clock(&headers, asked, Instant::now()), retry_after(status, &headers));
        let mut body = match read_body(response, MAX_BODY).await {
            Ok(body) => body,
            Err(BodyError::TooLarge) => {
                return Err(malformed("the response is larger than 256 KiB; is this a Qumulo cluster?"));
            }
            // A connection that ends without close_notify may have been cut; a complete JSON object shows that it was not.
            Err(BodyError::Broken { body, err })
                if error::is_end(&err) && serde_json::from_slice::<Object>(&body).is_ok() =>
            {
                body
            }
            Err(BodyError::Broken { err, .. }) => return Err(self.no_response(&err)),
        };
        let is_secret = (recorded.is_some() || status != StatusCode::OK) && self.shows_secret(&body);
        if let (Some(recorder), Some(request)) = (self.recorder(), recorded) {
            let body = match (is_secret, path) {
                (true, _) => RecordedBody::Secret,
                (false, LOGIN) if status == StatusCode::OK => RecordedBody::Session,
                (false, _) => RecordedBody::Bytes(body.clone()),
            };
            recorder.response(request, RecordedResponse { body, headers, status, took: asked.elapsed() });
        }
        if status != StatusCode::OK && is_secret {
            body.clear();
        }
        Ok(ApiResponse { body, clock, retry_after, status })
    }

    fn no_response(&self, err: &reqwest::Error) -> PollFailure {
        let failure = error::no_response(err, &self.peer);
        let Some(login) = &self.proxy_login else { return failure };
        match (failure.reason, failure.rejection) {
            (FailureReason::Proxy, Some(CredentialRejection::LockoutRisk)) => {
                let retry_after = Some(login.refused(&failure.message));
                self.proxy_refused.get_or_init(|| PollFailure { retry_after, ..failure }).clone()
            }
            // It was the cluster that failed, through the proxy.
            (FailureReason::Tls | FailureReason::Malformed, _) => {
                login.accepted();
                failure
            }
            _ => failure,
        }
    }
}

/// The body of a login.
#[derive(Serialize)]
struct Login<'a> {
    username: &'a str,
    password: &'a str,
}

type Object = BTreeMap<String, IgnoredAny>;

fn malformed(problem: &str) -> PollFailure {
    PollFailure::new(FailureReason::Malformed, problem)
}
