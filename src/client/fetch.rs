//! One GET without a credential: what another exporter says.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, StatusCode, Uri};
use tokio::time::timeout;
use url::Url;

use super::{
    connect::Way,
    error::{self, Peer},
    exchange::{self, Cut, Received, exchange},
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
    let way = Way::new(TransportPool::default().open(&settings).map_err(|err| err.to_string())?);
    let Received { body, cut, head, .. } =
        timeout(PATIENCE, get(url, &way, &peer)).await.unwrap_or_else(|_| Err(silent(&place)))?;
    if head.status == StatusCode::UNAUTHORIZED {
        return Err(format!("{place} asks for a password, and this command gives none; ask the clusters themselves"));
    }
    if !head.status.is_success() {
        return Err(format!("{place} answered with HTTP {}", head.status.as_u16()));
    }
    match cut {
        None => Ok(body),
        Some(Cut::Broken(err)) => Err(instead(error::no_answer(&err, &peer), &place)),
        Some(Cut::TooLarge) => Err(format!("the answer of {place} is larger than 64 MiB")),
    }
}

async fn get(url: &Url, way: &Way, peer: &Peer) -> Result<Received, String> {
    let place = &peer.place;
    let unusable = |()| format!("the address {place} cannot be used");
    let target: Uri = url.as_str().parse().map_err(|_| unusable(()))?;
    let request = exchange::request(Method::GET, url).body(Full::<Bytes>::default()).map_err(|_| unusable(()))?;
    let connection = way.connect(&target).await;
    let connection = connection.map_err(|err| instead(error::no_connection(&err, peer), place))?;
    let answer = exchange(connection.stream, request, MAX).await;
    answer.map(|(received, _)| received).map_err(|err| instead(error::no_answer(&err, peer), place))
}

/// Where the words for a cluster name settings that there are none of here, others.
fn instead(failure: PollFailure, place: &str) -> String {
    match failure.reason {
        FailureReason::Malformed => {
            format!("{place} does not speak HTTP; compare scheme and port of --exporter.url with those of the exporter")
        }
        FailureReason::Timeout => silent(place),
        FailureReason::Tls => format!(
            "TLS with {place} failed; its certificate has to be good for this system's authorities and this name"
        ),
        _ => failure.message,
    }
}

fn silent(place: &str) -> String {
    format!("{place} did not answer within {PATIENCE:?}")
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
