//! Keeps accounts from being locked by refused passwords: neither by one cluster that retries, nor by many that share the
//! account. The state outlives a reload of the configuration.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio::time::{Instant as Timer, sleep};

use crate::{lock::lock, secret::Secret};

/// The pause after the first refusal of a password; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(300);

/// The longest such pause. Attempts come at 0, 5, 15, 35 and 65 minutes, which is below the thresholds at which
/// directories lock accounts.
const MAX_PAUSE: Duration = Duration::from_secs(1800);

/// Until a password is known to be good, only one attempt is in progress, but at most for this long: a cluster that
/// hangs must not hold up the others that share the account.
const PENDING_LIMIT: Duration = Duration::from_secs(1);

/// How often a waiting attempt checks whether it may begin.
const PENDING_CHECK: Duration = Duration::from_millis(20);

#[derive(Clone, Debug, Default)]
pub struct Accounts(Arc<Mutex<HashMap<Account, State>>>);

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Account {
    /// Of the cluster or of the proxy.
    pub host_and_port: String,
    pub username: String,
}

/// A password that may be sent now. The caller reports the outcome with [`Self::accepted`] or [`Self::refused`].
#[derive(Debug)]
pub struct Attempt {
    account: Account,
    accounts: Accounts,
    /// The time of the poll.
    now: Instant,
    pub password: Secret,
}

/// The password was refused and must not be sent yet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Paused {
    /// The message of the refusal.
    pub message: String,
    pub remaining: Duration,
}

#[derive(Debug, Default)]
struct State {
    /// The password that was accepted last.
    accepted: Option<Secret>,
    /// When the attempt in progress began, if there is one.
    pending: Option<Timer>,
    refused: HashMap<Secret, Refused>,
}

#[derive(Debug)]
struct Refused {
    message: String,
    times: u32,
    until: Instant,
}

// === impl Accounts ===

impl Accounts {
    /// Waits until `password` may be sent: at once if it is known to be good.
    ///
    /// # Errors
    ///
    /// When it was refused recently.
    pub async fn attempt(&self, account: Account, password: Secret, now: Instant) -> Result<Attempt, Paused> {
        while !self.begin(&account, &password, now)? {
            sleep(PENDING_CHECK).await;
        }
        Ok(Attempt { account, accounts: self.clone(), now, password })
    }

    fn begin(&self, account: &Account, password: &Secret, now: Instant) -> Result<bool, Paused> {
        let mut states = lock(&self.0);
        let state = states.entry(account.clone()).or_default();
        if let Some(refused) = state.refused.get(password)
            && refused.until > now
        {
            return Err(Paused { message: refused.message.clone(), remaining: refused.until - now });
        }
        if state.accepted.as_ref() == Some(password) {
            return Ok(true);
        }
        if state.pending.is_some_and(|since| since.elapsed() < PENDING_LIMIT) {
            return Ok(false);
        }
        state.pending = Some(Timer::now());
        Ok(true)
    }
}

// === impl Attempt ===

impl Attempt {
    pub fn accepted(&self) {
        let mut states = lock(&self.accounts.0);
        let state = states.entry(self.account.clone()).or_default();
        if state.accepted.as_ref() != Some(&self.password) {
            state.refused.remove(&self.password);
            state.accepted = Some(self.password.clone());
            state.pending = None;
        }
    }

    /// Returns how long the password is not sent again. `message` is the error of other polls that would send it meanwhile.
    pub fn refused(&self, message: &str) -> Duration {
        let mut states = lock(&self.accounts.0);
        let state = states.entry(self.account.clone()).or_default();
        let times = state.refused.get(&self.password).map_or(0, |refused| refused.times);
        let pause = FIRST_PAUSE.saturating_mul(1 << times.min(8)).min(MAX_PAUSE);
        let refused = Refused { message: message.to_owned(), times: times.saturating_add(1), until: self.now + pause };
        state.refused.insert(self.password.clone(), refused);
        state.accepted.take_if(|accepted| *accepted == self.password);
        state.pending = None;
        pause
    }
}

/// If the outcome is still unknown (a proxy that cannot be reached), the next attempt may begin.
impl Drop for Attempt {
    fn drop(&mut self) {
        if let Some(state) = lock(&self.accounts.0).get_mut(&self.account)
            && state.accepted.as_ref() != Some(&self.password)
        {
            state.pending = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    fn account() -> Account {
        Account { host_and_port: "proxy.test:3128".to_owned(), username: "monitor".to_owned() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_password_is_sent_again_rarely_whoever_has_it() {
        let (accounts, origin) = (Accounts::default(), Instant::now());
        let attempt = async |password: &str, second: u64| {
            accounts.attempt(account(), Secret::new(password), origin + Duration::from_secs(second)).await
        };
        let mut sent = Vec::new();
        for minute in 0..180 {
            for _cluster in 0..50 {
                if let Ok(attempt) = attempt("wrong", minute * 60).await {
                    sent.push(minute);
                    attempt.refused("refused");
                }
            }
        }
        assert_eq!(sent, [0, 5, 15, 35, 65, 95, 125, 155]);
        let paused = attempt("wrong", 179 * 60).await.unwrap_err();
        assert_eq!(paused, Paused { message: "refused".to_owned(), remaining: Duration::from_secs(360) });
        // Another password is tried at once, and then slows down as well; the first one is not forgotten.
        attempt("also wrong", 179 * 60).await.unwrap().refused("refused");
        for password in ["also wrong", "wrong"] {
            assert!(attempt(password, 183 * 60).await.is_err());
        }
        attempt("right", 180 * 60).await.unwrap().accepted();
        assert!(attempt("wrong", 180 * 60).await.is_err(), "of another file");
        // What was refused and is good after all begins anew.
        attempt("wrong", 200 * 60).await.unwrap().accepted();
        assert_eq!(attempt("wrong", 200 * 60).await.unwrap().refused("refused"), FIRST_PAUSE);
    }

    #[tokio::test(start_paused = true)]
    async fn one_attempt_at_a_time_until_the_password_is_known_to_be_good() {
        let (accounts, now) = (Accounts::default(), Instant::now());
        let attempt = || accounts.attempt(account(), Secret::new("password"), now);
        let first = attempt().await.unwrap();
        assert!(timeout(PENDING_LIMIT / 2, attempt()).await.is_err(), "waits for the first one");
        let (second, ()) = tokio::join!(attempt(), async { drop(first) });
        let second = second.unwrap();
        // The second one hangs: the others go on one by one.
        let begun = Timer::now();
        let third = attempt().await.unwrap();
        assert!(begun.elapsed() >= PENDING_LIMIT / 2, "{:?}", begun.elapsed());
        third.accepted();
        let _many: Vec<_> = [attempt().await.unwrap(), attempt().await.unwrap()].into();
        drop(second);
        // A refusal reaches those who wait for it.
        let waiting = async {
            let other = accounts.attempt(account(), Secret::new("other"), now).await.unwrap();
            tokio::join!(accounts.attempt(account(), Secret::new("other"), now), async { other.refused("refused") }).0
        };
        assert_eq!(waiting.await.unwrap_err().remaining, FIRST_PAUSE);
    }
}
