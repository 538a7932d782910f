//! Basic authentication (RFC 7617) against bcrypt hashes.

use std::{
    collections::{BTreeMap, HashMap},
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

/// Wrong passwords that are remembered, so that a scraper with an old password costs one comparison.
const MAX_WRONG: usize = 100;

/// Password comparisons that may wait. Each takes some 60 ms, and a flood of guesses must not grow the queue without bound.
const WAITING: usize = 32;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    Admitted,
    /// Too many comparisons are waiting.
    Busy,
    /// No credentials, or wrong ones.
    Refused,
}

/// A bcrypt hash of a password. Not shown by `Debug`.
#[derive(Clone, Eq, PartialEq)]
pub struct PasswordHash(String);

/// The users of the listener.
#[derive(Debug)]
pub struct Users {
    hashes: BTreeMap<String, PasswordHash>,
    checks: Arc<PasswordChecks>,
}

/// Shared with the users of the next configuration, so that a reload makes known clients wait for no comparison.
#[derive(Debug)]
struct PasswordChecks {
    /// Whether a digest of user, hash and password was right.
    known: Mutex<HashMap<Digest, bool>>,
    /// One comparison at a time: guessing keeps one core busy at most.
    pool: KeyedBlockingPool,
    /// Permits for comparisons that wait or run.
    waiting: Semaphore,
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
    /// `None` without users: then no password is needed.
    pub fn new(hashes: BTreeMap<String, PasswordHash>) -> Option<Self> {
        let checks = PasswordChecks {
            known: Mutex::default(),
            pool: KeyedBlockingPool::new(1),
            waiting: Semaphore::new(WAITING),
        };
        (!hashes.is_empty()).then(|| Self { hashes, checks: Arc::new(checks) })
    }

    /// Takes over the known passwords of `old`. One whose hash has changed does not match any more.
    pub fn inherit(&mut self, old: &Self) {
        self.checks = old.checks.clone();
    }

    /// Checks the credentials of a request. A password that was right before needs no comparison.
    ///
    /// An unknown user name is compared with a decoy, always the same for that name, so that the response time does not
    /// reveal which names exist, even if the hashes have different costs.
    pub async fn authenticate(&self, request: &HeaderMap) -> Verdict {
        let Some((user, password)) = credentials(request) else { return Verdict::Refused };
        let hash = self.hashes.get(&user);
        let is_user = hash.is_some();
        let Some(hash) = hash.or_else(|| self.decoy(&user)).cloned() else { return Verdict::Refused };
        // With `is_user`: a user who is removed, or added, is not judged by an earlier comparison with a decoy.
        let key = digest(&[user.as_bytes(), &[u8::from(is_user)], hash.0.as_bytes(), &password]);
        let known = lock(&self.checks.known).get(&key).copied();
        let is_right = match known {
            Some(is_right) => is_right,
            None => {
                let Ok(_permit) = self.checks.waiting.try_acquire() else { return Verdict::Busy };
                let compare = move || bcrypt::verify(password, &hash.0).unwrap_or(false);
                let is_right = self.checks.pool.run("", compare).await.unwrap_or(false) && is_user;
                let mut known = lock(&self.checks.known);
                if known.len() >= MAX_WRONG + self.hashes.len() {
                    known.retain(|_, is_right| *is_right);
                    // Reloads leave passwords behind that were right for earlier hashes.
                    if known.len() > self.hashes.len() {
                        known.clear();
                    }
                }
                known.insert(key, is_right);
                is_right
            }
        };
        if is_right { Verdict::Admitted } else { Verdict::Refused }
    }

    fn decoy(&self, user: &str) -> Option<&PasswordHash> {
        let all: Vec<&[u8]> = self.hashes.values().map(|hash| hash.0.as_bytes()).chain([user.as_bytes()]).collect();
        let number = digest(&all).first().copied().map(usize::from)?;
        self.hashes.values().nth(number % self.hashes.len().max(1))
    }
}

/// User and password. A password may contain colons, a user name may not.
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

/// Includes the length of each part, so that different lists of parts have different digests.
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
                assert_eq!(users.authenticate(&basic(pair)).await == Verdict::Admitted, expect, "{pair}");
            }
        }
        for text in ["", "Basic", "Basic !!", "Bearer YTpi", "basic"] {
            assert_eq!(users.authenticate(&headers(text)).await, Verdict::Refused, "{text}");
        }
        assert_eq!(users.authenticate(&HeaderMap::new()).await, Verdict::Refused);
        assert_eq!(
            users.authenticate(&headers(&format!("bAsIc {}", STANDARD.encode("bob:b")))).await,
            Verdict::Admitted,
            "any case"
        );
    }

    #[tokio::test]
    async fn a_wrong_password_is_compared_once_and_guesses_grow_nothing() {
        let users = users();
        assert_eq!(users.authenticate(&basic("bob:b")).await, Verdict::Admitted);
        for number in 0..MAX_WRONG + 30 {
            assert_eq!(users.authenticate(&basic(&format!("bob:{number}"))).await, Verdict::Refused);
        }
        assert!(lock(&users.checks.known).len() <= MAX_WRONG + 2);
        assert_eq!(users.authenticate(&basic("bob:b")).await, Verdict::Admitted);
        let _all = users.checks.waiting.acquire_many(u32::try_from(WAITING).unwrap()).await.unwrap();
        assert_eq!(
            users.authenticate(&basic(&format!("bob:{}", MAX_WRONG + 29))).await,
            Verdict::Refused,
            "from memory"
        );
        assert_eq!(users.authenticate(&basic("bob:new guess")).await, Verdict::Busy);
    }

    #[tokio::test]
    async fn a_flood_of_guesses_is_turned_away_and_a_known_user_does_not_wait() {
        let users = users();
        assert_eq!(users.authenticate(&basic("bob:b")).await, Verdict::Admitted);
        let _all = users.checks.waiting.acquire_many(u32::try_from(WAITING).unwrap()).await.unwrap();
        assert_eq!(users.authenticate(&basic("bob:guess")).await, Verdict::Busy);
        assert_eq!(users.authenticate(&basic("bob:b")).await, Verdict::Admitted);
    }

    /// A reload while somebody guesses passwords.
    #[tokio::test]
    async fn known_users_stay_known_as_long_as_their_hash_is_the_same() {
        let old = users();
        for pair in ["alice:colon:in it", "bob:b"] {
            assert_eq!(old.authenticate(&basic(pair)).await, Verdict::Admitted);
        }
        let mut hashes = old.hashes.clone();
        hashes.insert("bob".to_owned(), bcrypt::hash("new", 4).unwrap().parse().unwrap());
        let mut new = Users::new(hashes).unwrap();
        new.inherit(&old);
        let _all = old.checks.waiting.acquire_many(u32::try_from(WAITING).unwrap()).await.unwrap();
        assert_eq!(new.authenticate(&basic("alice:colon:in it")).await, Verdict::Admitted);
        assert_eq!(
            new.authenticate(&basic("bob:b")).await,
            Verdict::Busy,
            "with another hash everything is checked anew"
        );
        drop(_all);
        assert_eq!(new.authenticate(&basic("bob:b")).await, Verdict::Refused);
        assert_eq!(new.authenticate(&basic("bob:new")).await, Verdict::Admitted);
        // Refused while there is no such user, and admitted once there is one, even with the hash of another user.
        assert_eq!(new.authenticate(&basic("carol:new")).await, Verdict::Refused);
        let mut more =
            Users::new(["bob", "carol"].map(|user| (user.to_owned(), new.hashes["bob"].clone())).into()).unwrap();
        more.inherit(&new);
        assert_eq!(more.authenticate(&basic("carol:new")).await, Verdict::Admitted);
        let mut alone = Users::new(BTreeMap::from([("bob".to_owned(), new.hashes["bob"].clone())])).unwrap();
        alone.inherit(&new);
        assert_eq!(
            alone.authenticate(&basic("alice:colon:in it")).await,
            Verdict::Refused,
            "a removed user is not known"
        );
    }

    #[tokio::test]
    async fn passwords_that_were_right_before_reloads_are_forgotten() {
        let mut users = users();
        for _ in 0..2 * MAX_WRONG {
            let hash = bcrypt::hash("b", 4).unwrap().parse().unwrap();
            let mut next = Users::new(BTreeMap::from([("bob".to_owned(), hash)])).unwrap();
            next.inherit(&users);
            users = next;
            assert_eq!(users.authenticate(&basic("bob:b")).await, Verdict::Admitted);
        }
        assert!(lock(&users.checks.known).len() <= MAX_WRONG + 1);
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
