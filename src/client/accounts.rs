//! Accounts whose password was refused, so that none is locked: neither by one cluster that tries again and again, nor by
//! many that share the account. What is known belongs to the account at its place, and outlives a reload.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use tokio::{
    sync::watch,
    time::{Instant as Timer, timeout_at},
};

use crate::{lock::lock, secret::Secret};

/// The pause after the first refused password; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(300);

/// The longest such pause. Refused logins come at 0, 5, 15, 35 and 65 minutes, which is below the thresholds at
/// which directories lock accounts.
const LONGEST_PAUSE: Duration = Duration::from_secs(1800);

/// While nobody knows whether a password is good, one attempt is under way at a time; but not longer than this, so that a
/// cluster that hangs does not hold up the others that share the account.
const TURN: Duration = Duration::from_secs(1);

/// Refused passwords to remember of an account: of several files for it, each can be wrong.
const REMEMBERED: usize = 8;

/// All accounts.
#[derive(Clone, Debug, Default)]
pub struct Accounts(Arc<Mutex<HashMap<Account, State>>>);

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Account {
    /// Host and port of the cluster or of the proxy.
    pub place: String,
    pub username: String,
}

/// A password that may be sent; tells how that went.
#[derive(Debug)]
pub struct Attempt {
    account: Account,
    accounts: Accounts,
    /// The time of the poll.
    now: Instant,
    password: Secret,
}

/// A password that was refused, and is not sent yet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Paused {
    /// What was said when it was refused.
    pub message: String,
    pub remaining: Duration,
}

#[derive(Debug, Default)]
struct State {
    /// The password that was accepted last.
    accepted: Option<Secret>,
    /// Changes whenever an attempt has ended.
    ended: watch::Sender<()>,
    refused: VecDeque<Refused>,
    /// When an attempt began whose outcome is not known.
    trying: Option<Timer>,
}

#[derive(Debug)]
struct Refused {
    message: String,
    password: Secret,
    times: u32,
    until: Instant,
}

// === impl Accounts ===

impl Accounts {
    /// Waits until `password` may be sent, which is at once if it is known to be good.
    ///
    /// # Errors
    ///
    /// When it was refused a short time ago.
    pub async fn attempt(&self, account: Account, password: Secret, now: Instant) -> Result<Attempt, Paused> {
        loop {
            let (mut ended, turn) = {
                let mut states = self.states();
                let state = states.entry(account.clone()).or_default();
                if let Some(refused) = state.refused.iter().find(|refused| refused.password == password)
                    && refused.until > now
                {
                    return Err(Paused { message: refused.message.clone(), remaining: refused.until - now });
                }
                let turn = state.trying.map(|since| since + TURN).filter(|turn| *turn > Timer::now());
                match turn.filter(|_| state.accepted.as_ref() != Some(&password)) {
                    Some(turn) => (state.ended.subscribe(), turn),
                    None => {
                        if state.accepted.as_ref() != Some(&password) {
                            state.trying = Some(Timer::now());
                        }
                        break;
                    }
                }
            };
            let _ = timeout_at(turn, ended.changed()).await;
        }
        Ok(Attempt { account, accounts: self.clone(), now, password })
    }

    fn states(&self) -> MutexGuard<'_, HashMap<Account, State>> {
        lock(&self.0)
    }
}

// === impl Attempt ===

impl Attempt {
    pub fn password(&self) -> &Secret {
        &self.password
    }

    pub fn accepted(&self) {
        let mut states = self.accounts.states();
        let state = states.entry(self.account.clone()).or_default();
        if state.accepted.as_ref() != Some(&self.password) {
            state.refused.retain(|refused| refused.password != self.password);
            state.accepted = Some(self.password.clone());
            state.over();
        }
    }

    /// Returns how long the password is not sent again. `message` is for those who would send it meanwhile.
    pub fn refused(&self, message: &str) -> Duration {
        let mut states = self.accounts.states();
        let state = states.entry(self.account.clone()).or_default();
        let before = state.refused.iter().position(|refused| refused.password == self.password);
        let times = before.and_then(|index| state.refused.remove(index)).map_or(0, |refused| refused.times);
        let pause = FIRST_PAUSE.saturating_mul(1 << times.min(8)).min(LONGEST_PAUSE);
        state.refused.push_back(Refused {
            message: message.to_owned(),
            password: self.password.clone(),
            times: times.saturating_add(1),
            until: self.now + pause,
        });
        if state.refused.len() > REMEMBERED {
            state.refused.pop_front();
        }
        if state.accepted.as_ref() == Some(&self.password) {
            state.accepted = None;
        }
        state.over();
        pause
    }
}

/// Its outcome may still be unknown, as of a proxy that cannot be reached: then it is the next one's turn.
impl Drop for Attempt {
    fn drop(&mut self) {
        if let Some(state) = self.accounts.states().get_mut(&self.account)
            && state.accepted.as_ref() != Some(&self.password)
        {
            state.over();
        }
    }
}

// === impl State ===

impl State {
    fn over(&mut self) {
        self.trying = None;
        self.ended.send_replace(());
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    fn account() -> Account {
        Account { place: "proxy.test:3128".to_owned(), username: "monitor".to_owned() }
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
        assert!(timeout(TURN / 2, attempt()).await.is_err(), "waits for the first one");
        let (second, ()) = tokio::join!(attempt(), async { drop(first) });
        let second = second.unwrap();
        // The second one hangs: the others go on one by one.
        let begun = Timer::now();
        let third = attempt().await.unwrap();
        assert!(begun.elapsed() >= TURN / 2, "{:?}", begun.elapsed());
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
