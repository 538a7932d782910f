//! The open connections of a server, and which of them to close when there are too many or clients leave too much unread.
//!
//! A connection counts until its socket is closed, and a response until its last byte has been handed to the kernel, so the
//! limits hold however fast clients connect.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Duration, Instant, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::lock::lock;

/// How long to wait for an evicted connection, which takes microseconds to close, before another one is evicted.
const RETRY: Duration = Duration::from_millis(1);

#[derive(Debug)]
pub(super) struct ConnectionRegistry {
    connections: Mutex<BTreeMap<u64, Connection>>,
    max_connections: usize,
    max_unread: u32,
    next_id: AtomicU64,
    slots: Arc<Semaphore>,
    /// One permit for each byte.
    unread: Arc<Semaphore>,
}

#[derive(Debug)]
struct Connection {
    /// A request is being handled: the client waits for the server.
    busy: bool,
    client: IpAddr,
    evicted: CancellationToken,
    /// At least one request was answered.
    served: bool,
    /// Bytes of responses that have not been sent.
    unread: usize,
    /// Since when the server has been waiting for the client.
    waiting_since: Instant,
}

/// Keeps a connection in the registry until it is dropped.
#[derive(Debug)]
pub(super) struct ConnectionGuard {
    /// Cancelled when the connection has to be closed at once.
    pub(super) evicted: CancellationToken,
    id: u64,
    registry: Arc<ConnectionRegistry>,
    _slot: OwnedSemaphorePermit,
}

/// The body of a response. It counts as unread until it is dropped.
struct UnreadBody {
    body: Bytes,
    id: u64,
    registry: Arc<ConnectionRegistry>,
    _room: OwnedSemaphorePermit,
}

// === impl ConnectionRegistry ===

impl ConnectionRegistry {
    pub(super) fn new(max_connections: usize, max_unread: u32) -> Arc<Self> {
        let max_connections = max_connections.max(1);
        Arc::new(Self {
            connections: Mutex::default(),
            max_connections,
            max_unread,
            next_id: AtomicU64::default(),
            slots: Arc::new(Semaphore::new(max_connections)),
            unread: Arc::new(Semaphore::new(max_unread as usize)),
        })
    }

    /// Registers a connection. When the registry is full, another one is evicted; when all are busy, it waits.
    pub(super) async fn register(self: &Arc<Self>, client: IpAddr) -> ConnectionGuard {
        let slot = self.acquire(&self.slots, 1, |connection| !connection.busy).await;
        let (id, evicted) = (self.next_id.fetch_add(1, Ordering::Relaxed), CancellationToken::new());
        let connection = Connection {
            busy: false,
            client: network(client),
            evicted: evicted.clone(),
            served: false,
            unread: 0,
            waiting_since: Instant::now(),
        };
        lock(&self.connections).insert(id, connection);
        ConnectionGuard { evicted, id, registry: self.clone(), _slot: slot }
    }

    pub(super) fn evict_all(&self) {
        lock(&self.connections).values().for_each(|connection| connection.evicted.cancel());
    }

    /// Evicts `evictable` connections until there are enough permits.
    async fn acquire(
        &self,
        semaphore: &Arc<Semaphore>,
        permits: u32,
        evictable: impl Fn(&Connection) -> bool,
    ) -> OwnedSemaphorePermit {
        loop {
            if let Ok(permit) = semaphore.clone().try_acquire_many_owned(permits) {
                return permit;
            }
            self.evict_one(&evictable);
            if let Ok(Ok(permit)) = timeout(RETRY, semaphore.clone().acquire_many_owned(permits)).await {
                return permit;
            }
        }
    }

    /// Evicts the connection that has kept the server waiting for longest, and first those that were never served. If a
    /// client has more than an eighth of the connections, one of the client with most of them. Does nothing while an eviction
    /// is under way.
    fn evict_one(&self, evictable: impl Fn(&Connection) -> bool) {
        let connections = lock(&self.connections);
        let candidates = || connections.values().filter(|connection| evictable(connection));
        if candidates().any(|connection| connection.evicted.is_cancelled()) {
            return;
        }
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        candidates().for_each(|connection| *counts.entry(connection.client).or_default() += 1);
        let busiest = counts.into_iter().max_by_key(|(_, count)| *count);
        let busiest = busiest.filter(|(_, count)| *count > self.max_connections / 8).map(|(client, _)| client);
        let candidates = candidates().filter(|connection| busiest.is_none_or(|client| client == connection.client));
        if let Some(connection) = candidates.min_by_key(|connection| (connection.served, connection.waiting_since)) {
            debug!(peer = %connection.client, unread = connection.unread, "closing a connection to make room");
            connection.evicted.cancel();
        }
    }

    fn update(&self, id: u64, change: impl FnOnce(&mut Connection)) {
        if let Some(connection) = lock(&self.connections).get_mut(&id) {
            change(connection);
        }
    }
}

/// The network that one client controls: an IPv4 address, or an IPv6 network of 64 bits.
fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6((u128::from(ip) >> 64 << 64).into()),
        ip => ip,
    }
}

// === impl ConnectionGuard ===

impl ConnectionGuard {
    /// Marks the connection as busy until its response is passed to [`Self::track_body`].
    pub(super) fn start_request(&self) {
        self.registry.update(self.id, |connection| connection.busy = true);
    }

    /// Waits until `body` fits the limit of unread bytes, and counts it until it is dropped. A body that is larger than the
    /// limit waits until it is the only one.
    pub(super) async fn track_body(&self, body: Bytes) -> Bytes {
        let (registry, length) = (self.registry.clone(), body.len());
        let permits = u32::try_from(length).unwrap_or(u32::MAX).min(registry.max_unread);
        let room = registry.acquire(&registry.unread, permits, |connection| connection.unread > 0).await;
        registry.update(self.id, |connection| {
            (connection.busy, connection.served, connection.waiting_since) = (false, true, Instant::now());
            connection.unread += length;
        });
        Bytes::from_owner(UnreadBody { body, id: self.id, registry, _room: room })
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        lock(&self.registry.connections).remove(&self.id);
    }
}

// === impl UnreadBody ===

impl AsRef<[u8]> for UnreadBody {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

impl Drop for UnreadBody {
    fn drop(&mut self) {
        self.registry.update(self.id, |connection| {
            connection.unread -= self.body.len();
            connection.waiting_since = Instant::now();
        });
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const KIB: u32 = 1024;

    async fn register(registry: &Arc<ConnectionRegistry>, ip: &str) -> ConnectionGuard {
        timeout(Duration::from_secs(60), registry.register(ip.parse().unwrap())).await.expect("room is made")
    }

    /// Registers one more connection while evicted ones are dropped. Returns the names of those.
    async fn register_over(
        registry: &Arc<ConnectionRegistry>,
        ip: &str,
        guards: &mut Vec<(&'static str, ConnectionGuard)>,
    ) -> (ConnectionGuard, Vec<&'static str>) {
        let registering = register(registry, ip);
        tokio::pin!(registering);
        let mut closed = Vec::new();
        loop {
            if let Ok(guard) = timeout(RETRY / 2, &mut registering).await {
                return (guard, closed);
            }
            let (gone, kept) =
                std::mem::take(guards).into_iter().partition::<Vec<_>, _>(|(_, guard)| guard.evicted.is_cancelled());
            closed.extend(gone.iter().map(|(name, _)| *name));
            *guards = kept;
        }
    }

    async fn serve(guard: &ConnectionGuard) {
        guard.start_request();
        drop(guard.track_body(Bytes::from_static(b"x")).await);
    }

    #[tokio::test(start_paused = true)]
    async fn the_client_that_keeps_the_server_waiting_for_longest_is_closed() {
        let registry = ConnectionRegistry::new(4, KIB);
        let mut guards = Vec::new();
        for name in ["served", "busy", "silent", "late"] {
            guards.push((name, register(&registry, "192.0.2.1").await));
            advance(Duration::from_secs(1)).await;
        }
        serve(&guards[0].1).await;
        guards[1].1.start_request();
        for expect in ["silent", "late", "new", "new"] {
            let (guard, closed) = register_over(&registry, "192.0.2.2", &mut guards).await;
            assert_eq!(closed, [expect]);
            guards.push(("new", guard));
            advance(Duration::from_secs(1)).await;
        }
        assert_eq!(guards.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["served", "busy", "new", "new"]);
    }

    #[tokio::test(start_paused = true)]
    async fn when_all_are_busy_the_next_one_waits() {
        let registry = ConnectionRegistry::new(1, KIB);
        let busy = register(&registry, "192.0.2.1").await;
        busy.start_request();
        assert!(timeout(Duration::from_secs(60), registry.register("192.0.2.2".parse().unwrap())).await.is_err());
        assert!(!busy.evicted.is_cancelled());
        drop(busy);
        register(&registry, "192.0.2.2").await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_many_makes_room_itself() {
        let registry = ConnectionRegistry::new(16, KIB);
        let mut guards = vec![("other", register(&registry, "192.0.2.1").await)];
        for number in 0..15 {
            advance(Duration::from_secs(1)).await;
            guards.push(("many", register(&registry, &format!("2001:db8::{number:x}")).await));
        }
        assert_eq!(register_over(&registry, "192.0.2.9", &mut guards).await.1, ["many"]);
    }

    #[tokio::test(start_paused = true)]
    async fn responses_that_are_not_read_are_bounded() {
        let registry = ConnectionRegistry::new(100, 10 * KIB);
        let mut unread = Vec::new();
        for _ in 0..5 {
            let guard = register(&registry, "192.0.2.1").await;
            guard.start_request();
            let body = guard.track_body(vec![b'x'; 2 * KIB as usize].into()).await;
            // The client has sent another request without reading the response.
            guard.start_request();
            unread.push((body, guard));
            advance(Duration::from_secs(1)).await;
        }
        let reader = register(&registry, "192.0.2.2").await;
        reader.start_request();
        let mut answering = Box::pin(reader.track_body(vec![b'x'; 3 * KIB as usize].into()));
        let mut closed = 0;
        while timeout(RETRY / 2, &mut answering).await.is_err() {
            let before = unread.len();
            unread.retain(|(_, guard)| !guard.evicted.is_cancelled());
            closed += before - unread.len();
        }
        assert_eq!(closed, 2, "as many as are needed");
        drop(answering);
        // A body that is larger than the limit is sent when it is the only one.
        unread.clear();
        let large = register(&registry, "192.0.2.3").await;
        large.start_request();
        assert_eq!(large.track_body(vec![b'x'; 20 * KIB as usize].into()).await.len(), 20 * KIB as usize);
        assert_eq!(registry.unread.available_permits(), 10 * KIB as usize);
        drop((large, reader));
        assert!(lock(&registry.connections).is_empty());
    }
}
