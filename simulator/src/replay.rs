//! Clusters that send recorded responses. The file of `status --record` is parsed here independently of the exporter.

use std::collections::BTreeMap;

use bytes::Bytes;
use chrono::{DateTime, NaiveDateTime, Utc};
use hyper::{
    Method, Response, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER},
    http::request::Parts,
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    api::{self, LOGIN},
    fleet::FleetError,
    respond::Disconnect,
    spec::{ClusterSpec, FleetSpec},
    state::Shared,
};

/// The version of the file format.
const FORMAT: u32 = 1;

/// The recorded responses of a cluster.
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
    #[serde(default)]
    tls: Value,
    exchanges: Vec<Exchange>,
}

#[derive(Deserialize)]
struct Settings {
    credential: String,
    username: Option<String>,
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
struct Exchange {
    sent_at: String,
    path: String,
    response: Option<Recorded>,
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
struct Recorded {
    status: u16,
    headers: BTreeMap<String, String>,
    body: Body,
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Body {
    Json(Value),
    /// It contained a credential, or opened a session.
    LeftOut(String),
    NotJson {
        line: usize,
        column: usize,
    },
}

impl FleetSpec {
    /// The clusters of a recording. A cluster without any response is down.
    pub fn replay(recording: &str) -> Result<Self, FleetError> {
        let invalid = |err| FleetError::Invalid(format!("not a recording of status --record: {err}"));
        let Recording { format, clusters } = serde_json::from_str(recording).map_err(invalid)?;
        if format != FORMAT {
            let message = format!("the recording has format {format}; this version can read format {FORMAT} only");
            return Err(FleetError::Invalid(message));
        }
        Self { clusters: clusters.into_iter().map(ClusterSpec::from).collect() }.check()
    }
}

impl From<Cluster> for ClusterSpec {
    fn from(Cluster { name, settings, tls, exchanges }: Cluster) -> Self {
        let mut spec = Self::named(name);
        spec.faults.down = exchanges.iter().all(|exchange| exchange.response.is_none());
        spec.faults.clock_skew = exchanges.iter().find_map(Exchange::clock_skew);
        if let Some(not_after) = tls.pointer("/chain/0/not_after").and_then(Value::as_str) {
            spec.certificate_expiry = not_after.to_owned();
        }
        spec.auth.login = settings.credential == "login";
        spec.auth.username = settings.username.unwrap_or(spec.auth.username);
        spec.replay = Some(Replay(exchanges));
        spec
    }
}

impl Replay {
    /// The next recorded response for this path; the last one is repeated. `None` if the simulated cluster must respond itself:
    /// to a successful login, and to everything except GET and login.
    pub fn response(&self, shared: &Shared, head: &Parts) -> Result<Option<Response<Bytes>>, Disconnect> {
        let path = head.uri.path();
        if head.method != Method::GET && path != LOGIN {
            return Ok(None);
        }
        let recorded: Vec<&Exchange> = self.0.iter().filter(|exchange| exchange.path == path).collect();
        let Some(last) = recorded.last() else {
            return Ok(Some(api::error(StatusCode::NOT_FOUND, "Not in the recording.")));
        };
        let mut state = shared.lock();
        let count = state.replayed.entry(path.to_owned()).or_default();
        let response = recorded.get(*count).unwrap_or(last).response.as_ref().ok_or(Disconnect::Close);
        *count += 1;
        let response = response?;
        let is_session = path == LOGIN && response.status == StatusCode::OK;
        Ok((!is_session).then(|| response.response(api::bearer_token(head))))
    }
}

impl Exchange {
    /// How far the cluster's clock was ahead, for [`Faults::clock_skew`](crate::spec::Faults::clock_skew).
    fn clock_skew(&self) -> Option<String> {
        let date = self.response.as_ref()?.headers.get("date")?;
        let date = NaiveDateTime::parse_from_str(date, "%a, %d %b %Y %H:%M:%S GMT").ok()?.and_utc();
        let seconds = (date - self.sent_at.parse::<DateTime<Utc>>().ok()?).num_seconds();
        Some(format!("{seconds:+}s"))
    }
}

impl Recorded {
    fn response(&self, bearer_token: Option<&str>) -> Response<Bytes> {
        let body = match &self.body {
            Body::Json(value) => value.to_string(),
            Body::LeftOut(_) => json!({ "status": bearer_token }).to_string(),
            // Invalid at the same line and column.
            Body::NotJson { line, column } => {
                let invalid = if *column == 0 { "" } else { "<" };
                format!("{}{}{invalid}", "\n".repeat(line.saturating_sub(1)), " ".repeat(column.saturating_sub(1)))
            }
        };
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = api::with_status(status, Response::new(body.into()));
        for name in [CONTENT_TYPE, RETRY_AFTER] {
            if let Some(value) = self.headers.get(name.as_str()) {
                api::set_header(&mut response, name, value);
            }
        }
        response
    }
}
