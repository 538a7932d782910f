use std::time::Duration;

/// Why a poll failed. A closed list, because it is a label.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FailureReason {
    /// The host name could not be resolved.
    Dns,
    /// The connection could not be established, or broke.
    Connect,
    /// The TLS handshake failed, or the certificate is not trusted.
    Tls,
    /// `poll_timeout` elapsed.
    Timeout,
    /// The cluster rejected the credential (401), or the credential file could not be read.
    Authentication,
    /// The credential was accepted but lacks the privilege (403).
    Permission,
    /// The cluster has neither the v2 nor the v1 status endpoint.
    Unsupported,
    /// The cluster limits the request rate (429).
    RateLimited,
    /// Any other HTTP status.
    HttpError,
    /// The response could not be decoded.
    Malformed,
    /// The proxy did not connect to the cluster.
    Proxy,
}

/// A rejected credential. Determines how long the next attempt is delayed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CredentialRejection {
    /// Further attempts cannot lock the account, or it is not known that they can: an access token, or a login that failed
    /// without a verdict on the password.
    NoLockout,
    /// Further attempts can lock the account: a password.
    LockoutRisk,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PollFailure {
    /// Cause and remedy, for users. Contains no secret.
    pub message: String,
    pub reason: FailureReason,
    pub rejection: Option<CredentialRejection>,
    /// Minimum pause before the next poll: from the `Retry-After` header, or for a rejected password until the next attempt
    /// cannot lock the account.
    pub retry_after: Option<Duration>,
}

// === impl FailureReason ===

impl FailureReason {
    /// In the order in which the series are written.
    pub const ALL: [Self; 11] = [
        Self::Dns,
        Self::Connect,
        Self::Tls,
        Self::Timeout,
        Self::Authentication,
        Self::Permission,
        Self::Unsupported,
        Self::RateLimited,
        Self::HttpError,
        Self::Malformed,
        Self::Proxy,
    ];

    /// The value of the label `reason`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Authentication => "authentication",
            Self::Permission => "permission",
            Self::Unsupported => "unsupported",
            Self::RateLimited => "rate_limited",
            Self::HttpError => "http_error",
            Self::Malformed => "malformed",
            Self::Proxy => "proxy",
        }
    }
}

// === impl PollFailure ===

impl PollFailure {
    /// A failure without rejection and `retry_after`.
    pub fn new(reason: FailureReason, message: impl Into<String>) -> Self {
        Self { message: message.into(), reason, rejection: None, retry_after: None }
    }
}
