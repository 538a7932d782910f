//! What happened to a simulated cluster, as numbers that can be awaited.

use tokio::sync::watch;

/// Everything since the start of a cluster, except [`in_flight`](Counts::in_flight).
///
/// A request is counted when it arrives, before any fault acts on it: a request that is never
/// answered can be awaited, too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// TCP connections accepted.
    pub connections: u64,
    /// TLS handshakes completed.
    pub handshakes: u64,
    /// TLS handshakes failed, for example because the client did not trust the certificate.
    pub failed_handshakes: u64,
    /// HTTP requests of any kind.
    pub requests: u64,
    /// Requests being answered now (until the head of the answer is out).
    pub in_flight: u64,
    /// Logins that got a session.
    pub logins: u64,
    /// Logins refused.
    pub failed_logins: u64,
    /// `GET /v1/encryption/status`, whatever the answer.
    pub status_v1: u64,
    /// `GET /v2/encryption/key-store/status`, whatever the answer (404 on old profiles).
    pub status_v2: u64,
    /// `GET /v2/encryption/key-store`, whatever the answer.
    pub key_store: u64,
    /// `GET /v1/session/who-am-i`.
    pub who_am_i: u64,
    /// `GET /v1/auth/access-tokens/` and below.
    pub tokens: u64,
    /// `GET /v1/version` and `GET /v1/node/state`.
    pub identity: u64,
    /// Answers 401 to anything but a login.
    pub unauthorized: u64,
    /// Requests other than GET and login, all of which are refused. An exporter must keep this 0.
    pub refused_writes: u64,
}

/// The sending side of [`Counts`].
#[derive(Debug, Default)]
pub(super) struct Counter(watch::Sender<Counts>);

/// A request being answered; dropping it ends the request, also when its connection dies.
pub(super) struct InFlight(watch::Sender<Counts>);

impl Counter {
    /// The numbers of now.
    pub(super) fn now(&self) -> Counts {
        self.0.borrow().clone()
    }

    /// A receiver that sees every later change.
    pub(super) fn watch(&self) -> watch::Receiver<Counts> {
        self.0.subscribe()
    }

    /// Changes the numbers and wakes whoever waits for them.
    pub(super) fn add(&self, change: impl FnOnce(&mut Counts)) {
        self.0.send_modify(change);
    }

    /// Counts a request from here until the guard is dropped.
    pub(super) fn begin_request(&self) -> InFlight {
        self.add(|counts| {
            counts.requests += 1;
            counts.in_flight += 1;
        });
        InFlight(self.0.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.send_modify(|counts| counts.in_flight = counts.in_flight.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_flight_falls_again() {
        let counter = Counter::default();
        let first = counter.begin_request();
        let second = counter.begin_request();
        drop((first, second));
        let counts = counter.now();
        assert_eq!((counts.requests, counts.in_flight), (2, 0));
    }
}
