//! One GET without a credential: what another exporter says.

use std::time::Duration;

use reqwest::StatusCode;
use url::Url;

use super::{
    error::{self, Peer},
    settings::{ProxySettings, TlsSettings, TransportSettings},
    transport::TransportPool,
};

/// The longest answer: the JSON of some 10,000 clusters.
const MAX: usize = 64 * 1024 * 1024;

const PATIENCE: Duration = Duration::from_secs(10);

/// Gets `url`, with the system's authorities for https.
///
/// # Errors
///
/// Why there is no answer, in words.
pub async fn fetch(url: &Url) -> Result<Vec<u8>, String> {
    let port = url.port_or_known_default().map(|port| format!(":{port}")).unwrap_or_default();
    let place = format!("{}{port}", url.host_str().unwrap_or_default());
    let peer = Peer { connect_timeout: PATIENCE, place: place.clone(), proxy: None };
    let tls = (url.scheme() == "https").then(TlsSettings::default);
    let settings = TransportSettings { connect_timeout: PATIENCE, proxy: ProxySettings::Direct, tls };
    let client = TransportPool::default().open(&settings).map_err(|err| err.to_string())?;
    let answer = client.get(url.clone()).timeout(PATIENCE).send().await;
    let mut answer = answer.map_err(|err| error::no_answer(&err, &peer).message)?;
    if answer.status() == StatusCode::UNAUTHORIZED {
        return Err(format!("{place} asks for a password, and this command gives none; ask the clusters themselves"));
    }
    if !answer.status().is_success() {
        return Err(format!("{place} answered with HTTP {}", answer.status().as_u16()));
    }
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|err| error::no_answer(&err, &peer).message)? {
        if body.len() + chunk.len() > MAX {
            return Err(format!("the answer of {place} is larger than 64 MiB"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
