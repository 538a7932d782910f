//! Name resolution, with an error type of its own so that it can be told from a refused connection.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    sync::Arc,
};

use reqwest::dns;

use crate::blocking::KeyedBlockingPool;

#[derive(Debug, thiserror::Error)]
#[error("cannot resolve {host}: {problem}")]
pub struct DnsError {
    pub host: String,
    pub problem: &'static str,
}

/// Concurrent lookups. One that hangs keeps its thread until the system gives up.
const LOOKUPS: usize = 256;

/// Returns the addresses of a host name; can hang.
type Lookup = dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync;

pub struct DnsResolver {
    /// One lookup for each host at a time.
    pool: KeyedBlockingPool,
    lookup: Arc<Lookup>,
}

/// [`DnsResolver`] for the HTTP client of one poll.
#[derive(Clone, Debug)]
pub struct ClusterResolver {
    /// Whether to leave out other addresses than loopback, so that a token never crosses a network without TLS, not even if
    /// `localhost` resolves to another host.
    pub only_loopback: bool,
    pub resolver: Arc<DnsResolver>,
    /// How many addresses to move to the end of the list.
    pub skip: usize,
}

// === impl DnsResolver ===

impl DnsResolver {
    pub fn new(lookup: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static) -> Self {
        Self { pool: KeyedBlockingPool::new(LOOKUPS), lookup: Arc::new(lookup) }
    }

    /// The addresses of `host`: at least one.
    ///
    /// # Errors
    ///
    /// When there are none.
    pub async fn lookup(&self, host: &str) -> Result<Vec<IpAddr>, DnsError> {
        let (name, lookup) = (host.to_owned(), self.lookup.clone());
        let problem = match self.pool.run(host, move || lookup(&name)).await {
            Some(Ok(addresses)) if addresses.is_empty() => "it has no address",
            Some(Ok(addresses)) => return Ok(addresses),
            Some(Err(err)) => problem(&err),
            None => "the exporter is shutting down",
        };
        Err(DnsError { host: host.to_owned(), problem })
    }
}

impl dns::Resolve for ClusterResolver {
    fn resolve(&self, name: dns::Name) -> dns::Resolving {
        let Self { only_loopback, resolver, skip } = self.clone();
        Box::pin(async move {
            let mut found = resolver.lookup(name.as_str()).await?;
            found.retain(|address| !only_loopback || address.is_loopback());
            if found.is_empty() {
                let host = name.as_str().to_owned();
                return Err(DnsError { host, problem: "it has no loopback address" }.into());
            }
            let skip = skip % found.len();
            found.rotate_left(skip);
            // Port 0 stands for the URL's port.
            Ok(Box::new(found.into_iter().map(|address| SocketAddr::new(address, 0))) as dns::Addrs)
        })
    }
}

pub fn system(host: &str) -> io::Result<Vec<IpAddr>> {
    Ok((host, 0).to_socket_addrs()?.map(|address| address.ip()).collect())
}

/// `getaddrinfo` has codes of its own, which the standard library passes on only as text (of glibc or musl).
fn problem(err: &io::Error) -> &'static str {
    let text = err.to_string();
    let has = |parts: &[&str]| parts.iter().any(|part| text.contains(part));
    if has(&["Temporary failure", "Try again"]) {
        "no response from the name servers"
    } else if has(&["not known", "No address", "not resolve", "Name has no usable"]) {
        "no such name"
    } else if err.kind() == io::ErrorKind::InvalidInput {
        "not a valid host name"
    } else {
        "the resolver of this host failed"
    }
}

impl fmt::Debug for DnsResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DnsResolver").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Duration};

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn two_hundred_names_whose_lookups_hang_do_not_delay_another() {
        let (release, gate) = mpsc::channel::<()>();
        let gate = std::sync::Mutex::new(gate);
        let resolver = Arc::new(DnsResolver::new(move |host| {
            if host.starts_with("dead") {
                let _ = gate.lock().unwrap().recv();
            }
            Ok(vec![IpAddr::from([127, 0, 0, 1])])
        }));
        for index in 0..200 {
            let resolver = resolver.clone();
            tokio::spawn(async move { resolver.lookup(&format!("dead-{index}")).await });
        }
        while resolver.pool.free() > LOOKUPS.saturating_sub(200) {
            tokio::task::yield_now().await;
        }
        let found = timeout(Duration::from_secs(30), resolver.lookup("healthy")).await;
        assert!(found.unwrap().is_ok());
        drop(release);
    }
}
