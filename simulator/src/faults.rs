//! What can go wrong between a cluster and its client.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::timespec;

/// Faults of one cluster. They combine; which requests each one acts on is said with it.
///
/// "Encryption endpoints" are `GET /v1/encryption/status`, `GET /v2/encryption/key-store/status`
/// and `GET /v2/encryption/key-store`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// Everything: nothing listens on the port (connection refused), open connections are closed.
    pub down: bool,
    /// Everything: requests are accepted and never answered.
    pub hang: bool,
    /// Everything: connections are accepted, the TLS handshake never goes on.
    pub hang_handshake: bool,
    /// Everything: a pause before each answer, such as `200ms` or `5s`.
    #[serde(deserialize_with = "timespec::duration")]
    pub latency: Duration,
    /// Everything: the cluster's clock, in the header `Date`, is off by this much, such as `+10m` or `-2h`.
    pub clock_skew: Option<String>,
    /// Everything: `Connection: close` with each answer, and then it is closed.
    pub close: bool,
    /// Encryption endpoints: the connection is closed without an answer.
    pub drop: bool,
    /// Encryption endpoints: the connection is reset (TCP RST) without an answer.
    pub reset: bool,
    /// Encryption endpoints: 302 to this location.
    pub redirect: Option<String>,
    /// Encryption endpoints: this HTTP status with an error in JSON, or with the cluster's `body`.
    pub http_status: Option<u16>,
    /// Encryption endpoints: a `Retry-After` header with this text, next to whatever is answered.
    pub retry_after: Option<String>,
    /// Encryption endpoints: half the JSON with the Content-Length of that half, which is valid
    /// HTTP and invalid JSON.
    pub truncate: bool,
    /// Encryption endpoints: the answer is filled up with spaces to this many bytes. It stays
    /// valid JSON, so only a limit on the size refuses it.
    pub oversize: Option<u64>,
    /// Encryption endpoints: half the body is sent, the rest never comes.
    pub stall_body: bool,
    /// Encryption endpoints: the body comes byte by byte with this pause before each.
    #[serde(deserialize_with = "timespec::optional_duration")]
    pub trickle: Option<Duration>,
    /// Encryption endpoints: `Transfer-Encoding: chunked` in place of `Content-Length`.
    pub chunked: bool,
    /// Login: this HTTP status with an error in JSON, whatever the password.
    pub login_status: Option<u16>,
    /// `GET /v1/version` and `GET /v1/node/state` only: `hang`, or an HTTP status such as 500.
    pub identity_fault: Option<EndpointFault>,
    /// `GET /v2/encryption/key-store`, `GET /v1/session/who-am-i` and `GET /v1/auth/access-tokens/` only: the same.
    pub details_fault: Option<EndpointFault>,
}

/// What happens to calls of certain endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Value")]
pub enum EndpointFault {
    /// They are never answered.
    Hang,
    /// They get this HTTP status and an error in JSON.
    Status(u16),
}

impl TryFrom<Value> for EndpointFault {
    type Error = String;

    fn try_from(value: Value) -> Result<EndpointFault, String> {
        if value == "hang" {
            return Ok(EndpointFault::Hang);
        }
        value
            .as_u64()
            .and_then(|number| u16::try_from(number).ok())
            .map(EndpointFault::Status)
            .ok_or_else(|| format!("{value} is neither `hang` nor an HTTP status"))
    }
}
