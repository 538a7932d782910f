//! Basic authentication (RFC 7617) against bcrypt hashes.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
};

use aws_lc_rs::digest::{Context, SHA256};
use base64::{Engine, engine::general_purpose::STANDARD};
use hyper::{HeaderMap, header::AUTHORIZATION};
use tokio::sync::Semaphore;

/// Verdicts kept. bcrypt takes some 60 ms, which a scraper every few seconds should not cost.
const CACHED: usize = 100;

/// A bcrypt hash of a password. It cannot be printed.
#[derive(Clone, Eq, PartialEq)]
pub struct PasswordHash(String);

/// Users and their passwords' hashes.
#[derive(Debug)]
pub struct Users {
    hashes: BTreeMap<String, PasswordHash>,
    /// One at a time, so that wrong passwords keep one core busy at most.
    turn: Arc<Semaphore>,
    /// By the digest of user, hash and password.
    verdicts: Mutex<HashMap<[u8; 32], bool>>,
}

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
        let turn = Arc::new(Semaphore::new(1));
        (!hashes.is_empty()).then(|| Self { hashes, turn, verdicts: Mutex::default() })
    }

    /// Whether a request with these headers comes from one of them.
    ///
    /// A name that nobody has is compared with somebody's hash, so that the time taken does not tell which names exist.
    pub async fn admit(&self, request: &HeaderMap) -> bool {
        let Some((user, password)) = credentials(request) else { return false };
        let known = self.hashes.get(&user);
        let Some(hash) = known.or_else(|| self.hashes.values().next()).cloned() else { return false };
        let key = digest(&[user.as_bytes(), hash.0.as_bytes(), &password]);
        let cached = self.verdicts().get(&key).copied();
        let right = match cached {
            Some(verdict) => verdict,
            None => {
                let verdict = self.compare(password, hash).await;
                self.remember(key, verdict);
                verdict
            }
        };
        right && known.is_some()
    }

    /// Off the async threads. The turn goes with the work, which goes on when nobody waits for it any more.
    async fn compare(&self, password: Vec<u8>, hash: PasswordHash) -> bool {
        let Ok(turn) = self.turn.clone().acquire_owned().await else { return false };
        let work = tokio::task::spawn_blocking(move || {
            let verdict = bcrypt::verify(password, &hash.0).unwrap_or(false);
            drop(turn);
            verdict
        });
        work.await.unwrap_or(false)
    }

    /// A full cache loses a tenth, chosen by the map's random order.
    fn remember(&self, key: [u8; 32], verdict: bool) {
        let mut verdicts = self.verdicts();
        if verdicts.len() >= CACHED {
            let mut kept = 0..CACHED - CACHED / 10;
            verdicts.retain(|_, _| kept.next().is_some());
        }
        verdicts.insert(key, verdict);
    }

    fn verdicts(&self) -> std::sync::MutexGuard<'_, HashMap<[u8; 32], bool>> {
        self.verdicts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// User and password, if the request has them. A password may hold colons, a name may not.
fn credentials(request: &HeaderMap) -> Option<(String, Vec<u8>)> {
    let (scheme, encoded) = request.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = STANDARD.decode(encoded.trim()).ok()?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    let (user, password) = decoded.split_at(colon);
    Some((String::from_utf8(user.to_vec()).ok()?, password.get(1..)?.to_vec()))
}

/// Each part with its length, so that no two lists of parts read the same.
fn digest(parts: &[&[u8]]) -> [u8; 32] {
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
                assert_eq!(users.admit(&basic(pair)).await, expect, "{pair}");
            }
        }
        for text in ["", "Basic", "Basic !!", "Bearer YTpi", "basic"] {
            assert!(!users.admit(&headers(text)).await, "{text}");
        }
        assert!(!users.admit(&HeaderMap::new()).await);
        assert!(users.admit(&headers(&format!("bAsIc {}", STANDARD.encode("bob:b")))).await, "any case");
    }

    #[tokio::test]
    async fn the_cache_stays_small_and_right() {
        let users = users();
        for number in 0..CACHED + 30 {
            assert!(!users.admit(&basic(&format!("bob:{number}"))).await);
        }
        assert!(users.verdicts().len() <= CACHED);
        assert!(users.admit(&basic("bob:b")).await);
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
