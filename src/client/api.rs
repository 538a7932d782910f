//! Requests to one cluster in one poll: GETs, and the login.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use reqwest::{
    Method, RequestBuilder, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE},
};
use serde::{Serialize, de::IgnoredAny};
use url::Url;

use super::{
    answer::{self, ApiResponse, BodyError, read_body, retry_after},
    error::{self, Peer},
    transport::Connector,
    verify::CertificateRecorder,
};
use crate::{
    model::{FailureReason, PollFailure},
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
        recorder: Arc<CertificateRecorder>,
    ) -> Result<Self, PollFailure> {
        let client = connector.client(&base, recorder).map_err(|why| error::no_client(why, &peer))?;
        Ok(Self { base, client, peer })
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
        }
        let response = self.send(request, token).await?;
        if token.is_some_and(|token| token.is_in(&response.body)) {
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
        self.send(request, Some(password)).await
    }

    fn request(&self, method: Method, path: &str) -> Result<RequestBuilder, PollFailure> {
        let url = self.base.join(path).map_err(|_| malformed("the cluster's url cannot be extended by a path"))?;
        Ok(self.client.request(method, url))
    }

    /// A response that is whole. An error that repeats the secret which was sent loses its body here, so that nothing
    /// behind this door can log or show it; its status still counts, because a refused password must slow down
    /// the next attempt even if an answer such as "wrong username or password" happens to hold it.
    async fn send(&self, request: RequestBuilder, sent: Option<&Secret>) -> Result<ApiResponse, PollFailure> {
        let asked = Instant::now();
        let response = request.send().await.map_err(|err| error::no_answer(&err, &self.peer))?;
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
            Err(BodyError::Broken { err, .. }) => return Err(error::no_answer(&err, &self.peer)),
        };
        if status != StatusCode::OK && sent.is_some_and(|secret| secret.is_in(&body)) {
            body.clear();
        }
        Ok(ApiResponse { body, clock, retry_after, status })
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
