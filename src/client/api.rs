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
    answer::{self, ApiResponse, BodyError, read_body, repeats, retry_after},
    error::{self, Peer},
    transport::Connector,
    verify::CertificateRecorder,
};
use crate::{
    lock::lock,
    model::{CredentialRejection, FailureReason, PollFailure},
    secret::Secret,
};

/// Larger than any answer of these endpoints by two orders of magnitude.
const MAX_BODY: usize = 256 * 1024;

/// One cluster's REST API. Its connections end with it.
#[derive(Debug)]
pub struct Api {
    base: Url,
    client: reqwest::Client,
    peer: Arc<Peer>,
    proxy_login: Option<Attempt>,
    /// Once the proxy refused its password, nothing more is sent in this poll.
    proxy_refused: OnceLock<PollFailure>,
    /// What no response may repeat.
    secrets: Mutex<Vec<Secret>>,
}

// === impl Api ===

impl Api {
    /// The API below `base`. Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// When the cluster cannot be reached with these settings.
    pub fn new(
        base: Url,
        connector: &Connector,
        peer: Arc<Peer>,
        proxy_login: Option<Attempt>,
        recorder: Arc<CertificateRecorder>,
    ) -> Result<Self, PollFailure> {
        let client = connector
            .client(&base, recorder, peer.client_cert_requested.clone())
            .map_err(|why| error::no_client(why, &peer))?;
        let secrets = proxy_login.iter().map(|login| login.password().clone()).collect();
        Ok(Self { base, client, peer, proxy_login, proxy_refused: OnceLock::new(), secrets: Mutex::new(secrets) })
    }

    /// A secret of this cluster, which no response may repeat.
    pub fn guard(&self, secret: &Secret) {
        let mut secrets = lock(&self.secrets);
        if !secrets.contains(secret) {
            secrets.push(secret.clone());
        }
    }

    fn is_secret(&self, body: &[u8]) -> bool {
        repeats(body, &lock(&self.secrets))
    }

    /// Host and port.
    pub fn place(&self) -> &str {
        &self.peer.place
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
        let response = self.send(request).await?;
        if self.is_secret(&response.body) {
            return Err(malformed("the answer repeats the credential; is this a Qumulo cluster?"));
        }
        Ok(response)
    }

    /// `POST /v1/session/login`, the only request that is no GET.
    ///
    /// # Errors
    ///
    /// Without a complete response.
    pub async fn login(&self, username: &str, password: &Secret) -> Result<ApiResponse, PollFailure> {
        let login = Login { password: password.expose(), username };
        let body = serde_json::to_vec(&login).map_err(|_| malformed("the login cannot be written as JSON"))?;
        let request = self.request(Method::POST, "v1/session/login")?;
        let request = request.header(CONTENT_TYPE, "application/json").body(Secret::bytes(body));
        self.guard(password);
        self.send(request).await
    }

    fn request(&self, method: Method, path: &str) -> Result<RequestBuilder, PollFailure> {
        let url = self.base.join(path).map_err(|_| malformed("the cluster's url cannot be extended by a path"))?;
        Ok(self.client.request(method, url))
    }

    /// A response that is whole. An error that repeats a secret loses its body here, so that nothing behind this function can
    /// log or show it; its status still counts, because a refused password must slow down the next attempt even if an
    /// answer such as "wrong username or password" happens to hold it.
    async fn send(&self, request: RequestBuilder) -> Result<ApiResponse, PollFailure> {
        if let Some(refused) = self.proxy_refused.get() {
            return Err(refused.clone());
        }
        let asked = Instant::now();
        let response = request.send().await.map_err(|err| self.no_answer(&err))?;
        if let Some(login) = &self.proxy_login {
            login.accepted();
        }
        let (status, headers) = (response.status(), response.headers());
        let (clock, retry_after) = (answer::clock(headers, asked, Instant::now()), retry_after(status, headers));
        let mut body = match read_body(response, MAX_BODY).await {
            Ok(body) => body,
            Err(BodyError::TooLarge) => {
                return Err(malformed("the answer is larger than 256 KiB; is this a Qumulo cluster?"));
            }
            // A connection that ends without the end mark of TLS may have been cut, which a JSON object shows.
            Err(BodyError::Broken { body, err })
                if error::is_end(&err) && serde_json::from_slice::<Object>(&body).is_ok() =>
            {
                body
            }
            Err(BodyError::Broken { err, .. }) => return Err(self.no_answer(&err)),
        };
        if status != StatusCode::OK && self.is_secret(&body) {
            body.clear();
        }
        Ok(ApiResponse { body, clock, retry_after, status })
    }

    fn no_answer(&self, err: &reqwest::Error) -> PollFailure {
        let failure = error::no_answer(err, &self.peer);
        let Some(login) = &self.proxy_login else { return failure };
        match (failure.reason, failure.rejection) {
            (FailureReason::Proxy, Some(CredentialRejection::LockoutRisk)) => {
                let retry_after = Some(login.refused(&failure.message));
                self.proxy_refused.get_or_init(|| PollFailure { retry_after, ..failure }).clone()
            }
            // It was the cluster's answer, by way of the proxy.
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

/// Any JSON object.
type Object = BTreeMap<String, IgnoredAny>;

fn malformed(problem: &str) -> PollFailure {
    PollFailure::new(FailureReason::Malformed, problem)
}
