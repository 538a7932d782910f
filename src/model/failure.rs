use std::time::Duration;

label_enum! {
    pub enum FailureReason {
        /// The host name could not be resolved.
        Dns = "dns",
        /// The connection could not be established, or broke.
        Connect = "connect",
        /// The TLS handshake failed, or the certificate is not trusted.
        Tls = "tls",
        /// `poll_timeout` elapsed.
        Timeout = "timeout",
        /// The cluster rejected the credential (401), or the credential file could not be read.
        Authentication = "authentication",
        /// The credential was accepted but lacks the privilege (403).
        Permission = "permission",
        /// The cluster has neither the v2 nor the v1 status endpoint.
        Unsupported = "unsupported",
        /// The cluster limits the request rate (429).
        RateLimited = "rate_limited",
        /// Any other HTTP status.
        HttpError = "http_error",
        /// The response could not be decoded.
        Malformed = "malformed",
        /// The proxy did not connect to the cluster.
        Proxy = "proxy",
    }
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

// === impl PollFailure ===

impl PollFailure {
    /// A failure without rejection and `retry_after`.
    pub fn new(reason: FailureReason, message: impl Into<String>) -> Self {
        Self { message: message.into(), reason, rejection: None, retry_after: None }
    }
}
