//! One GET without a credential: what another exporter says.

use std::time::Duration;

use reqwest::StatusCode;
use url::Url;

use super::{
    error::{self, Peer},
    settings::{ProxySettings, TlsSettings, TransportSettings},
    transport::TransportPool,
};
use crate::model::{FailureReason, PollFailure};

/// The longest answer: the JSON of some 10,000 clusters.
const MAX: usize = 64 * 1024 * 1024;

const PATIENCE: Duration = Duration::from_secs(10);

/// Gets `url`, with the system's authorities for https.
///
/// # Errors
///
/// Why there is no answer, in words.
pub async fn fetch(url: &Url) -> Result<Vec<u8>, String> {
    let place = error::place(url);
    let peer = Peer { connect_timeout: PATIENCE, place: place.clone(), proxy: None };
    let tls = (url.scheme() == "https").then(TlsSettings::default);
    let settings = TransportSettings { connect_timeout: PATIENCE, proxy: ProxySettings::Direct, tls };
    let client = TransportPool::default().open(&settings).map_err(|err| err.to_string())?;
    let failed = |err: reqwest::Error| match err.is_timeout() {
        true => format!("{place} did not answer within {PATIENCE:?}"),
        false => match error::no_answer(&err, &peer) {
            PollFailure { reason: FailureReason::Tls, .. } => {
                format!(
                    "TLS with {place} failed; its certificate has to be good for this system's authorities and this name"
                )
            }
            failure => failure.message,
        },
    };
    let mut answer = client.get(url.clone()).timeout(PATIENCE).send().await.map_err(failed)?;
    if answer.status() == StatusCode::UNAUTHORIZED {
        return Err(format!("{place} asks for a password, and this command gives none; ask the clusters themselves"));
    }
    if !answer.status().is_success() {
        return Err(format!("{place} answered with HTTP {}", answer.status().as_u16()));
    }
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(failed)? {
        if body.len() + chunk.len() > MAX {
            return Err(format!("the answer of {place} is larger than 64 MiB"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn silence_has_an_end_and_its_own_words() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let place = silent.local_addr().unwrap();
        let url = format!("http://{place}/metrics").parse().unwrap();
        assert_eq!(fetch(&url).await.unwrap_err(), format!("{place} did not answer within 10s"));
    }
}
