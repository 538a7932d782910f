//! Basic authentication (RFC 7617) against bcrypt hashes.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
    str::FromStr,
    sync::{Arc, Mutex},
};

use aws_lc_rs::digest::{Context, SHA256};
use base64::{Engine, engine::general_purpose::STANDARD};
use hyper::{HeaderMap, header::AUTHORIZATION};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::{blocking::KeyedBlockingPool, lock::lock};

/// Wrong verdicts kept. bcrypt takes some 60 ms, which a scraper every few seconds should not cost.
const CACHED: usize = 100;

/// Comparisons that may wait: some seconds of work. More are told to come back, so that a flood of guesses grows no queue.
const WAITING: usize = 32;

/// What came of looking at a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// One of the users.
    Admitted,
    /// Too many passwords are being compared.
    Busy,
    /// Nobody, or a wrong password.
    Refused,
}

/// A bcrypt hash of a password. It cannot be printed.
#[derive(Clone, Eq, PartialEq)]
pub struct PasswordHash(String);

/// Users and their passwords' hashes.
#[derive(Debug)]
pub struct Users {
    hashes: BTreeMap<String, PasswordHash>,
    /// Shared with the users before a reload: a client that is known stays known, and a flood of guesses gets no second queue.
    checks: Arc<Checks>,
}

/// Passwords that are being compared, and those that were.
#[derive(Debug)]
struct Checks {
    /// One at a time, so that wrong passwords keep one core busy at most; on a thread that nothing else uses.
    pool: KeyedBlockingPool,
    /// By user, the digest of user, hash and password that were right: guessing evicts none.
    right: Mutex<HashMap<String, Digest>>,
    /// Comparisons that wait or are under way.
    waiting: Semaphore,
    /// The same digests, of wrong ones: a scraper with an old password should cost nothing either.
    wrong: Mutex<HashSet<Digest>>,
}

type Digest = [u8; 32];

impl FromStr for PasswordHash {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() < 60 {
            return Err("hashedSecret too short to be a bcrypted password; `hash-password` makes one");
        }
        match bcrypt::HashParts::from_str(text) {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(_) => Err("is no bcrypt hash ($2a$, $2b$ or $2y$); `hash-password` makes one"),
        }
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}

// === impl Users ===

impl Users {
    /// `None` if there are none: then everybody is admitted.
    pub fn new(hashes: BTreeMap<String, PasswordHash>) -> Option<Self> {
        let checks = Checks {
            pool: KeyedBlockingPool::new(1),
            right: Mutex::default(),
            waiting: Semaphore::new(WAITING),
            wrong: Mutex::default(),
        };
        (!hashes.is_empty()).then(|| Self { hashes, checks: Arc::new(checks) })
    }

    /// Knows the passwords that `old` knew; one whose hash has changed does not fit any more.
    pub fn remember_from(&mut self, old: &Self) {
        self.checks = old.checks.clone();
        lock(&self.checks.right).retain(|user, _| self.hashes.contains_key(user));
    }

    /// Whether a request with these headers comes from one of them. A password that was right before is known at once.
    ///
    /// A name that nobody has is compared with somebody's hash, always the same for the same name, so that the time taken
    /// does not tell which names exist, whatever the costs of the hashes are.
    pub async fn admit(&self, request: &HeaderMap) -> Verdict {
        let Some((user, password)) = credentials(request) else { return Verdict::Refused };
        let known = self.hashes.get(&user);
        let Some(hash) = known.or_else(|| self.decoy(&user)).cloned() else { return Verdict::Refused };
        let (checks, key) = (&self.checks, digest(&[user.as_bytes(), hash.0.as_bytes(), &password]));
        if lock(&checks.right).get(&user) == Some(&key) {
            return Verdict::Admitted;
        }
        if lock(&checks.wrong).contains(&key) {
            return Verdict::Refused;
        }
        let Ok(_place) = checks.waiting.try_acquire() else { return Verdict::Busy };
        let compare = move || bcrypt::verify(password, &hash.0).unwrap_or(false);
        if checks.pool.run("", compare).await.unwrap_or(false) && known.is_some() {
            lock(&checks.right).insert(user, key);
            return Verdict::Admitted;
        }
        checks.remember_wrong(key);
        Verdict::Refused
    }

    /// Somebody's hash for a name that nobody has.
    fn decoy(&self, user: &str) -> Option<&PasswordHash> {
        let all: Vec<&[u8]> = self.hashes.values().map(|hash| hash.0.as_bytes()).chain([user.as_bytes()]).collect();
        let number = digest(&all).first().copied().map(usize::from)?;
        self.hashes.values().nth(number % self.hashes.len().max(1))
    }
}

impl Checks {
    /// A full set loses a tenth, chosen by the set's random order.
    fn remember_wrong(&self, key: Digest) {
        let mut wrong = lock(&self.wrong);
        if wrong.len() >= CACHED {
            let mut kept = 0..CACHED - CACHED / 10;
            wrong.retain(|_| kept.next().is_some());
        }
        wrong.insert(key);
    }
}

/// User and password, if the request has them. A password may hold colons, a name may not.
fn credentials(request: &HeaderMap) -> Option<(String, Zeroizing<Vec<u8>>)> {
    let (scheme, encoded) = request.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = Zeroizing::new(STANDARD.decode(encoded.trim()).ok()?);
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    let (user, password) = decoded.split_at(colon);
    Some((String::from_utf8(user.to_vec()).ok()?, password.get(1..)?.to_vec().into()))
}

/// Each part with its length, so that no two lists of parts read the same.
fn digest(parts: &[&[u8]]) -> Digest {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&part.len().to_be_bytes());
        context.update(part);
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    digest
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn users() -> Users {
        let hash = |password: &str| bcrypt::hash(password, 4).unwrap().parse().unwrap();
        let users = [("alice".to_owned(), hash("colon:in it")), ("bob".to_owned(), hash("b"))];
        Users::new(users.into()).unwrap()
    }

    fn headers(text: &str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(text).unwrap())])
    }

    fn basic(pair: &str) -> HeaderMap {
        headers(&format!("Basic {}", STANDARD.encode(pair)))
    }

    #[tokio::test]
    async fn users_come_in_with_their_own_password() {
        let users = users();
        // Twice, since the second answer comes from the cache.
        for _ in 0..2 {
            for (pair, expect) in [
                ("alice:colon:in it", true),
                ("bob:b", true),
                ("alice:b", false),
                ("alice:", false),
                ("carol:colon:in it", false),
                (":", false),
                ("alice", false),
            ] {
                assert_eq!(users.admit(&basic(pair)).await == Verdict::Admitted, expect, "{pair}");
            }
        }
        for text in ["", "Basic", "Basic !!", "Bearer YTpi", "basic"] {
            assert_eq!(users.admit(&headers(text)).await, Verdict::Refused, "{text}");
        }
        assert_eq!(users.admit(&HeaderMap::new()).await, Verdict::Refused);
        assert_eq!(
            users.admit(&headers(&format!("bAsIc {}", STANDARD.encode("bob:b")))).await,
            Verdict::Admitted,
            "any case"
        );
    }

    #[tokio::test]
    async fn guessing_evicts_no_right_password_and_grows_nothing() {
        let users = users();
        assert_eq!(users.admit(&basic("bob:b")).await, Verdict::Admitted);
        for number in 0..CACHED + 30 {
            assert_eq!(users.admit(&basic(&format!("bob:{number}"))).await, Verdict::Refused);
        }
        assert!(lock(&users.checks.wrong).len() <= CACHED);
        assert_eq!(lock(&users.checks.right).len(), 1);
    }

    #[tokio::test]
    async fn a_flood_of_guesses_is_turned_away_and_a_known_user_does_not_wait() {
        let users = users();
        assert_eq!(users.admit(&basic("bob:b")).await, Verdict::Admitted);
        let _all = users.checks.waiting.acquire_many(u32::try_from(WAITING).unwrap()).await.unwrap();
        assert_eq!(users.admit(&basic("bob:guess")).await, Verdict::Busy);
        assert_eq!(users.admit(&basic("bob:b")).await, Verdict::Admitted);
    }

    /// A reload while somebody guesses passwords.
    #[tokio::test]
    async fn known_users_stay_known_as_long_as_their_hash_is_the_same() {
        let old = users();
        for pair in ["alice:colon:in it", "bob:b"] {
            assert_eq!(old.admit(&basic(pair)).await, Verdict::Admitted);
        }
        let mut hashes = old.hashes.clone();
        hashes.insert("bob".to_owned(), bcrypt::hash("new", 4).unwrap().parse().unwrap());
        let mut new = Users::new(hashes).unwrap();
        new.remember_from(&old);
        let _all = old.checks.waiting.acquire_many(u32::try_from(WAITING).unwrap()).await.unwrap();
        assert_eq!(new.admit(&basic("alice:colon:in it")).await, Verdict::Admitted);
        assert_eq!(new.admit(&basic("bob:b")).await, Verdict::Busy, "with another hash everything is checked anew");
        drop(_all);
        assert_eq!(new.admit(&basic("bob:b")).await, Verdict::Refused);
        assert_eq!(new.admit(&basic("bob:new")).await, Verdict::Admitted);
        let mut alone = Users::new(BTreeMap::from([("bob".to_owned(), new.hashes["bob"].clone())])).unwrap();
        alone.remember_from(&new);
        assert_eq!(alone.admit(&basic("alice:colon:in it")).await, Verdict::Refused, "a removed user is not known");
    }

    #[test]
    fn names_that_nobody_has_are_spread_over_the_hashes() {
        let users = users();
        let picked: std::collections::BTreeSet<_> =
            (0..64).map(|number| users.decoy(&format!("nobody-{number}")).unwrap().0.clone()).collect();
        assert_eq!(picked.len(), 2);
        assert!(users.decoy("x") == users.decoy("x"));
    }

    #[test]
    fn hashes_are_checked_and_not_shown() {
        let good = bcrypt::hash("x", 4).unwrap();
        for version in ["$2a$", "$2b$", "$2y$"] {
            let hash: PasswordHash = good.replacen("$2b$", version, 1).parse().unwrap();
            assert!(!format!("{hash:?}").contains(&good[10..]));
        }
        for bad in ["doe", "", &good.replace("$2b$", "$9z$"), &good.replace("$04$", "$xx$")] {
            assert!(bad.parse::<PasswordHash>().is_err(), "{bad}");
        }
    }
}
