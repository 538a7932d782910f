//! One GET without a credential: the JSON that another exporter serves.

use std::{sync::Arc, time::Duration};

use reqwest::StatusCode;
use tokio::time::timeout;
use url::Url;

use super::{
    error::{self, Peer},
    response::{BodyError, read_body},
    settings::{ProxySettings, TlsSettings, TransportSettings},
    transport::TransportPool,
};
use crate::model::FailureReason;

/// The limit of the response: the JSON of some 10,000 clusters.
const MAX_BODY: usize = 64 * 1024 * 1024;

const TIMEOUT: Duration = Duration::from_secs(10);

/// Gets `url`; for https, verified against the system's CA certificates.
///
/// # Errors
///
/// Why there is no response, as text for the user.
pub async fn fetch(url: &Url) -> Result<Vec<u8>, String> {
    let slow = || format!("no response from {} within {TIMEOUT:?}", error::host_and_port(url));
    timeout(TIMEOUT, get(url, &slow)).await.unwrap_or_else(|_| Err(slow()))
}

async fn get(url: &Url, slow: &impl Fn() -> String) -> Result<Vec<u8>, String> {
    let tls = (url.scheme() == "https").then(TlsSettings::default);
    let settings = TransportSettings { connect_timeout: TIMEOUT, proxy: ProxySettings::Direct, tls };
    // Without a credential, plain HTTP may go to any host.
    let connector = TransportPool::default().build(&settings, false).map_err(|err| err.to_string())?;
    let peer = Peer { system_trust: true, ..Peer::new(url, &settings) };
    let client = connector.client(url, Arc::default(), 0).map_err(|failure| failure.message)?;
    let host = &peer.host_and_port;
    // Some messages about clusters name settings that do not exist here.
    let failed = |err| {
        let failure = error::no_response(&err, &peer);
        match failure.reason {
            FailureReason::Malformed => {
                format!("{host} does not speak HTTP; check scheme and port in --exporter.url")
            }
            FailureReason::Timeout => slow(),
            _ => failure.message,
        }
    };
    let response = client.get(url.clone()).send().await.map_err(failed)?;
    match response.status() {
        StatusCode::UNAUTHORIZED => Err(format!(
            "{host} requires a password, which this command cannot send; leave out --exporter.url to poll the clusters"
        )),
        status if !status.is_success() => Err(format!("{host} responds with HTTP {}", status.as_u16())),
        _ => read_body(response, MAX_BODY).await.map_err(|err| match err {
            BodyError::Broken { err, .. } => failed(err),
            BodyError::TooLarge => format!("the response of {host} is larger than 64 MiB"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn silence_has_an_end_and_its_own_words() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let place = silent.local_addr().unwrap();
        let url = format!("http://{place}/metrics").parse().unwrap();
        assert_eq!(fetch(&url).await.unwrap_err(), format!("no response from {place} within 10s"));
    }
}
