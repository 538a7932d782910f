//! Sessions that a login opened.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};

use super::derived;

/// The sessions of one cluster: bearer token to time of login.
#[derive(Default)]
pub(super) struct Sessions(Mutex<HashMap<String, DateTime<Utc>>>);

impl Sessions {
    /// Opens a session and returns its bearer token, with the prefix of today's releases.
    pub(super) fn open(&self, now: DateTime<Utc>) -> String {
        let mut sessions = self.lock();
        // Unique, not secret: the number of sessions only grows between two calls of `clear`.
        let seed = format!("{}\0{now:?}", sessions.len());
        let token = format!("session-v1:{}", derived::hex("session", &seed));
        sessions.insert(token.clone(), now);
        token
    }

    /// Whether `token` belongs to a session younger than `hours`.
    pub(super) fn is_open(&self, token: &str, now: DateTime<Utc>, hours: u32) -> bool {
        let lifetime = TimeDelta::seconds(i64::from(hours) * 3_600);
        self.lock().get(token).is_some_and(|opened| now - opened < lifetime)
    }

    /// Ends every session, as a restart of a cluster might.
    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, DateTime<Utc>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_ends_after_its_hours() {
        let sessions = Sessions::default();
        let start = DateTime::UNIX_EPOCH;
        let token = sessions.open(start);
        assert_ne!(token, sessions.open(start));
        assert!(sessions.is_open(&token, start + TimeDelta::seconds(35_999), 10));
        assert!(!sessions.is_open(&token, start + TimeDelta::seconds(36_000), 10));
        assert!(!sessions.is_open("session-v1:other", start, 10));
        sessions.clear();
        assert!(!sessions.is_open(&token, start, 10));
    }
}
