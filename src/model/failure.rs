use std::time::Duration;

/// Why a poll gave no status: a closed list, because it becomes a label.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FailureReason {
    /// The host's name could not be resolved.
    Dns,
    /// No connection, or a connection that broke.
    Connect,
    /// The TLS handshake failed, or the certificate is not trusted.
    Tls,
    /// The poll's time limit passed.
    Timeout,
    /// The credential was refused (401), or there is none to send.
    Authentication,
    /// The credential was accepted but lacks the privilege (403).
    Permission,
    /// The cluster has none of the known endpoints.
    Unsupported,
    /// The cluster asked for fewer requests (429).
    RateLimited,
    /// Any other HTTP status.
    HttpError,
    /// An answer that could not be understood.
    Malformed,
    /// The proxy in between makes no connection to the cluster.
    Proxy,
}

/// A credential that was refused, for the pace of further attempts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CredentialRejection {
    /// Refusals change nothing: an access token, or a login that fails without a verdict.
    NoLockout,
    /// Refusals count towards the lock of an account: a password.
    LockoutRisk,
}

/// A poll that gave no status: what the rest of the program may know of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PollFailure {
    /// What happened and what to do about it, in words, without any secret.
    pub message: String,
    /// The class of the failure.
    pub reason: FailureReason,
    /// Whether a credential was refused.
    pub rejection: Option<CredentialRejection>,
    /// How long the cluster asked to be left alone (`Retry-After`).
    pub retry_after: Option<Duration>,
}

// === impl FailureReason ===

impl FailureReason {
    /// All of them, in the order in which their series are served.
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
    /// A failure that asks for no pause and is no rejection.
    pub fn new(reason: FailureReason, message: impl Into<String>) -> Self {
        Self { message: message.into(), reason, rejection: None, retry_after: None }
    }
}
