//! Names to addresses, with an error of its own type so that it can be told from a refused connection.

use std::{
    collections::HashMap,
    fmt, io,
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    sync::{Arc, Mutex},
};

use crate::{blocking::KeyedBlockingPool, lock::lock};

/// The host's name has no address.
#[derive(Debug, thiserror::Error)]
#[error("cannot resolve {host}: {problem}")]
pub struct DnsError {
    /// The name.
    pub host: String,
    /// Why not, in words of ours.
    pub problem: &'static str,
}

/// Lookups under way at the same time. One that hangs keeps its thread until the system gives it up.
const LOOKUPS: usize = 256;

/// Asks for a name's addresses; can hang.
type Lookup = dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync;

/// The addresses of all clusters.
pub struct DnsResolver {
    /// One lookup for each host at a time, shared by all clusters.
    pool: KeyedBlockingPool,
    lookup: Arc<Lookup>,
    /// How often a host's first address was of no use: so many places the list is turned on.
    turns: Mutex<HashMap<Box<str>, usize>>,
}

// === impl DnsResolver ===

impl DnsResolver {
    /// Answers of `lookup`.
    pub fn new(lookup: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static) -> Self {
        Self { pool: KeyedBlockingPool::new(LOOKUPS), lookup: Arc::new(lookup), turns: Mutex::default() }
    }

    /// Begins with another address of `host` from now on. TCP tries all of them, but an address that takes the connection
    /// and then hangs would be the first one for ever.
    pub fn turn(&self, host: &str) {
        // Only for clusters, so that hosts which clusters name take no room.
        let mut turns = lock(&self.turns);
        let turn = turns.entry(host.into()).or_default();
        *turn = turn.wrapping_add(1);
    }

    /// The addresses of a host that is not a cluster.
    ///
    /// # Errors
    ///
    /// When there are none.
    pub async fn of(&self, host: &str) -> Result<Vec<IpAddr>, DnsError> {
        let found = self.ask(host, false).await.map_err(|problem| DnsError { host: host.to_owned(), problem })?;
        Ok(found.into_iter().map(|address| address.ip()).collect())
    }

    /// The addresses of a cluster, with port 0.
    pub async fn ask(&self, host: &str, only_loopback: bool) -> Result<Vec<SocketAddr>, &'static str> {
        let (name, lookup) = (host.to_owned(), self.lookup.clone());
        let answer = self.pool.run(host, move || lookup(&name)).await.ok_or("the lookup was given up")?;
        let mut addresses = answer.map_err(|err| words(&err))?;
        addresses.retain(|address| !only_loopback || address.is_loopback());
        if addresses.is_empty() {
            return Err(if only_loopback { "it has no loopback address" } else { "it has no address" });
        }
        let turn = lock(&self.turns).get(host).copied().unwrap_or_default();
        let places = turn % addresses.len();
        addresses.rotate_left(places);
        // Port 0 stands for the URL's port.
        Ok(addresses.into_iter().map(|address| SocketAddr::new(address, 0)).collect())
    }
}

/// The system's resolver.
pub fn system(host: &str) -> io::Result<Vec<IpAddr>> {
    Ok((host, 0).to_socket_addrs()?.map(|address| address.ip()).collect())
}

/// `getaddrinfo` has codes of its own, which the standard library gives as text only (of glibc or musl).
fn words(err: &io::Error) -> &'static str {
    let text = err.to_string();
    let has = |parts: &[&str]| parts.iter().any(|part| text.contains(part));
    if has(&["Temporary failure", "Try again"]) {
        "no name server answers"
    } else if has(&["not known", "No address", "not resolve", "Name has no usable"]) {
        "no such name"
    } else if err.kind() == io::ErrorKind::InvalidInput {
        "it cannot be a name"
    } else {
        "the resolver of this machine fails"
    }
}

impl fmt::Debug for DnsResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DnsResolver").finish_non_exhaustive()
    }
}
