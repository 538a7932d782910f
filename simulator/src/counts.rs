//! What happened to a cluster, as numbers that tests can wait for.

use tokio::sync::watch;

/// Totals since the start of a cluster, except [`in_flight`](Counts::in_flight).
///
/// Requests are counted when they arrive, before any fault, so that tests can also wait for a request that gets no response.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    pub connections: u64,
    /// Failed TLS handshakes, for example if the client does not trust the certificate.
    pub failed_handshakes: u64,
    pub failed_logins: u64,
    /// Completed TLS handshakes.
    pub handshakes: u64,
    /// `GET /v1/version` and `GET /v1/node/state`.
    pub identity: u64,
    /// Requests whose response has not started.
    pub in_flight: u64,
    /// `GET /v2/encryption/key-store`.
    pub key_store: u64,
    pub logins: u64,
    /// Requests other than GET and login, all of which are refused. An exporter must keep this 0.
    pub refused_writes: u64,
    /// HTTP requests of any kind.
    pub requests: u64,
    /// `GET /v1/encryption/status`.
    pub status_v1: u64,
    /// `GET /v2/encryption/key-store/status`.
    pub status_v2: u64,
    /// `GET /v1/auth/access-tokens/` and below.
    pub tokens: u64,
    /// Responses with 401, except to a login.
    pub unauthorized: u64,
    /// `GET /v1/session/who-am-i`.
    pub who_am_i: u64,
}

/// A request in flight, until it is dropped. That includes the end of its connection.
pub struct InFlight<'a>(&'a watch::Sender<Counts>);

impl<'a> InFlight<'a> {
    pub fn new(counts: &'a watch::Sender<Counts>) -> Self {
        counts.send_modify(|counts| {
            counts.requests += 1;
            counts.in_flight += 1;
        });
        Self(counts)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|counts| counts.in_flight -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_flight_falls_again() {
        let counts = watch::Sender::default();
        drop((InFlight::new(&counts), InFlight::new(&counts)));
        let counts = counts.borrow();
        assert_eq!((counts.requests, counts.in_flight), (2, 0));
    }
}
