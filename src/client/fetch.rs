//! One GET without a credential: what another exporter serves.

use std::{sync::Arc, time::Duration};

use reqwest::StatusCode;
use tokio::time::timeout;
use url::Url;

use super::{
    answer::{BodyError, read_body},
    error::{self, Peer},
    settings::{ProxySettings, TlsSettings, TransportSettings},
    transport::TransportPool,
};
use crate::model::{FailureReason, PollFailure};

/// The longest response: the JSON of some 10,000 clusters.
const MAX: usize = 64 * 1024 * 1024;

const TIMEOUT: Duration = Duration::from_secs(10);

/// Gets `url`, with the system's CA certificates for https.
///
/// # Errors
///
/// Why there is no response, in words.
pub async fn fetch(url: &Url) -> Result<Vec<u8>, String> {
    let place = error::host_and_port(url);
    timeout(TIMEOUT, get(url, &place)).await.unwrap_or_else(|_| Err(too_slow(&place)))
}

async fn get(url: &Url, place: &str) -> Result<Vec<u8>, String> {
    let tls = (url.scheme() == "https").then(TlsSettings::default);
    let settings = TransportSettings { connect_timeout: TIMEOUT, proxy: ProxySettings::Direct, tls };
    let connector = TransportPool::default().open(&settings).map_err(|err| err.to_string())?;
    let client = connector
        .client(url, Arc::default(), Arc::default())
        .map_err(|_| format!("the address {place} cannot be used"))?;
    let peer =
        Peer { client_cert_requested: Arc::default(), connect_timeout: TIMEOUT, place: place.to_owned(), proxy: None };
    let failed = |err| in_words(error::no_answer(&err, &peer), place);
    let response = client.get(url.clone()).send().await.map_err(failed)?;
    match response.status() {
        StatusCode::UNAUTHORIZED => {
            Err(format!("{place} asks for a password, and this command gives none; ask the clusters themselves"))
        }
        status if !status.is_success() => Err(format!("{place} answered with HTTP {}", status.as_u16())),
        _ => read_body(response, MAX).await.map_err(|err| match err {
            BodyError::Broken { err, .. } => failed(err),
            BodyError::TooLarge => format!("the answer of {place} is larger than 64 MiB"),
        }),
    }
}

/// The words for a cluster name settings that do not exist here.
fn in_words(failure: PollFailure, place: &str) -> String {
    match failure.reason {
        FailureReason::Malformed => {
            format!("{place} does not speak HTTP; compare scheme and port of --exporter.url with those of the exporter")
        }
        FailureReason::Timeout => too_slow(place),
        FailureReason::Tls => format!(
            "TLS with {place} failed; its certificate has to be good for this system's authorities and this name"
        ),
        _ => failure.message,
    }
}

fn too_slow(place: &str) -> String {
    format!("{place} did not answer within {TIMEOUT:?}")
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
