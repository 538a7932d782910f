//! Clusters that answer as a recording of `status --record` says. The shape of the file is read here once more, so that
//! what it holds is not understood by the exporter's own code.

use std::collections::BTreeMap;

use bytes::Bytes;
use chrono::{DateTime, NaiveDateTime};
use hyper::header::{CONTENT_TYPE, RETRY_AFTER};
use hyper::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::api::Answer;
use super::fleet_spec::{FleetError, FleetSpec};
use super::respond::Disconnect;
use super::spec::{AuthSpec, ClusterSpec};
use super::timespec;

/// The form of the file that is understood.
const FORMAT: u32 = 1;

/// The only path that is asked with POST.
const LOGIN: &str = "/v1/session/login";

/// What a cluster answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Replay(Vec<Exchange>);

#[derive(Deserialize)]
struct Recording {
    format: u32,
    clusters: Vec<Cluster>,
}

#[derive(Deserialize)]
struct Cluster {
    name: String,
    settings: Settings,
    tls: Option<Tls>,
    exchanges: Vec<Exchange>,
}

#[derive(Deserialize)]
struct Settings {
    credential: String,
    username: Option<String>,
}

#[derive(Deserialize)]
struct Tls {
    chain: Vec<Certificate>,
}

#[derive(Deserialize)]
struct Certificate {
    not_after: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
struct Exchange {
    sent_at: String,
    path: String,
    response: Option<Response>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
struct Response {
    status: u16,
    headers: BTreeMap<String, String>,
    body: Body,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Body {
    Json(Value),
    /// It repeated a credential, or opened a session.
    LeftOut(String),
    NotJson {
        line: usize,
        column: usize,
    },
}

impl FleetSpec {
    /// The clusters of a recording. A cluster that never answered is down.
    ///
    /// # Errors
    ///
    /// When the text is not a recording, or one of a later version.
    pub fn replay(recording: &str) -> Result<FleetSpec, FleetError> {
        let not_one = |error: serde_json::Error| FleetError::Syntax(format!("not a file of status --record: {error}"));
        let recording: Recording = serde_json::from_str(recording).map_err(not_one)?;
        if recording.format != FORMAT {
            return Err(FleetError::Syntax(format!(
                "a recording of form {}; this version reads {FORMAT}",
                recording.format
            )));
        }
        let fleet = FleetSpec { clusters: recording.clusters.into_iter().map(ClusterSpec::from).collect() };
        fleet.check()?;
        Ok(fleet)
    }
}

impl From<Cluster> for ClusterSpec {
    fn from(Cluster { name, settings, tls, exchanges }: Cluster) -> ClusterSpec {
        let mut spec = ClusterSpec::named(name);
        spec.faults.down = exchanges.iter().all(|exchange| exchange.response.is_none());
        spec.faults.clock_skew = exchanges.iter().find_map(Exchange::clock_skew);
        let leaf = tls.and_then(|tls| tls.chain.into_iter().next());
        if let Some(not_after) = leaf.and_then(|leaf| leaf.not_after) {
            spec.certificate_expiry = not_after;
        }
        spec.auth = AuthSpec { login: settings.credential == "login", ..spec.auth };
        if let Some(username) = settings.username {
            spec.auth.username = username;
        }
        spec.replay = Some(Replay(exchanges));
        spec
    }
}

impl Replay {
    /// The answer to the request for `path` that `before` others for it came before; the last one stays. `None` where the
    /// simulated cluster's own is right: for what is neither GET nor login, and for a login that succeeded.
    pub(super) fn answer(
        &self,
        method: &Method,
        path: &str,
        before: usize,
        bearer: Option<&str>,
    ) -> Result<Option<Answer>, Disconnect> {
        if method != Method::GET && path != LOGIN {
            return Ok(None);
        }
        let recorded: Vec<&Exchange> = self.0.iter().filter(|exchange| exchange.path == path).collect();
        let Some(exchange) = recorded.get(before).or(recorded.last()) else {
            return Ok(Some(Answer::error(StatusCode::NOT_FOUND, "Not in the recording.")));
        };
        let response = exchange.response.as_ref().ok_or(Disconnect::Close)?;
        if path == LOGIN && response.status == StatusCode::OK {
            return Ok(None);
        }
        Ok(Some(response.answer(bearer)))
    }
}

impl Exchange {
    /// By how much the cluster's clock was ahead, as [`Faults::clock_skew`](super::Faults::clock_skew) has it.
    fn clock_skew(&self) -> Option<String> {
        let date = self.response.as_ref()?.headers.get("date")?;
        let date = NaiveDateTime::parse_from_str(date, "%a, %d %b %Y %H:%M:%S GMT").ok()?;
        let sent_at = timespec::parse_time(&self.sent_at, DateTime::UNIX_EPOCH)?;
        let ahead = (date.and_utc() - sent_at).num_seconds();
        Some(format!("{}{}s", if ahead < 0 { '-' } else { '+' }, ahead.abs()))
    }
}

impl Response {
    fn answer(&self, bearer: Option<&str>) -> Answer {
        let body = match &self.body {
            Body::Json(value) => value.to_string(),
            Body::LeftOut(_) => json!({ "status": bearer }).to_string(),
            // Stops being JSON at the same place.
            Body::NotJson { line, column } => {
                let wrong = if *column == 0 { "" } else { "<" };
                format!("{}{}{wrong}", "\n".repeat(line.saturating_sub(1)), " ".repeat(column.saturating_sub(1)))
            }
        };
        let mut answer = Answer::empty(StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR));
        answer.body = Bytes::from(body);
        for (name, header) in [("content-type", CONTENT_TYPE), ("retry-after", RETRY_AFTER)] {
            if let Some(value) = self.headers.get(name) {
                answer = answer.with(header, value);
            }
        }
        answer
    }
}
