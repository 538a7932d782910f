//! All connections of a server: how many there are, what their clients have not read, and which one is closed when that is
//! too much.
//!
//! A connection counts until its socket is closed, and a response until its last byte has been handed to the kernel, so the
//! limits hold however fast clients come.

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

/// How long room is waited for before another connection is closed. A closed one is gone in microseconds.
const RETRY: Duration = Duration::from_millis(1);

/// The unit in which unread bytes are counted.
const UNIT: usize = 1024;

#[derive(Debug)]
pub(super) struct ConnectionRegistry {
    connections: Mutex<BTreeMap<u64, Connection>>,
    max_connections: usize,
    max_unread: u32,
    next_id: AtomicU64,
    slots: Arc<Semaphore>,
    unread: Arc<Semaphore>,
}

#[derive(Debug)]
struct Connection {
    /// Whether a request is being handled: then it is the client that waits.
    busy: bool,
    /// Cancelled when the connection has to be closed.
    closing: CancellationToken,
    peer: IpAddr,
    served: bool,
    /// Since when the server has been waiting for the client.
    since: Instant,
    /// Bytes of responses that have not been sent.
    unread: usize,
}

/// A connection's place in the registry, until it is dropped.
#[derive(Debug)]
pub(super) struct ConnectionGuard {
    closing: CancellationToken,
    id: u64,
    registry: Arc<ConnectionRegistry>,
    _slot: OwnedSemaphorePermit,
}

/// A response's body, which counts as unread until it is dropped.
struct Unread {
    body: Bytes,
    id: u64,
    registry: Arc<ConnectionRegistry>,
    _room: Option<OwnedSemaphorePermit>,
}

// === impl ConnectionRegistry ===

impl ConnectionRegistry {
    pub(super) fn new(max_connections: usize, max_unread: usize) -> Arc<Self> {
        let max_connections = max_connections.clamp(1, Semaphore::MAX_PERMITS);
        let max_unread = u32::try_from(max_unread / UNIT).unwrap_or(u32::MAX).max(1);
        Arc::new(Self {
            connections: Mutex::default(),
            max_connections,
            max_unread,
            next_id: AtomicU64::new(0),
            slots: Arc::new(Semaphore::new(max_connections)),
            unread: Arc::new(Semaphore::new(max_unread as usize)),
        })
    }

    /// Waits for room, which is made by closing another connection if need be.
    pub(super) async fn admit(self: &Arc<Self>, peer: IpAddr) -> ConnectionGuard {
        let slot = self.room(&self.slots, 1, |connection| !connection.busy).await;
        let closing = CancellationToken::new();
        let connection = Connection {
            busy: false,
            closing: closing.clone(),
            peer: host(peer),
            served: false,
            since: Instant::now(),
            unread: 0,
        };
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        lock(&self.connections).insert(id, connection);
        ConnectionGuard { closing, id, registry: self.clone(), _slot: slot }
    }

    pub(super) fn close_all(&self) {
        lock(&self.connections).values().for_each(|connection| connection.closing.cancel());
    }

    async fn room(
        &self,
        semaphore: &Arc<Semaphore>,
        permits: u32,
        frees: impl Fn(&Connection) -> bool,
    ) -> OwnedSemaphorePermit {
        loop {
            if let Ok(permit) = semaphore.clone().try_acquire_many_owned(permits) {
                return permit;
            }
            self.close_one(&frees);
            if let Ok(Ok(permit)) = timeout(RETRY, semaphore.clone().acquire_many_owned(permits)).await {
                return permit;
            }
        }
    }

    /// Closes the connection whose client has kept the server waiting for longest, unless one is closing already: of the
    /// peer with most connections if it has many, and first of those that were never served.
    fn close_one(&self, frees: impl Fn(&Connection) -> bool) {
        let connections = lock(&self.connections);
        if connections.values().any(|connection| connection.closing.is_cancelled() && frees(connection)) {
            return;
        }
        let waiting = || connections.values().filter(|connection| frees(connection));
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        waiting().for_each(|connection| *counts.entry(connection.peer).or_default() += 1);
        let busiest = counts.into_iter().max_by_key(|(_, count)| *count);
        let busiest = busiest.filter(|(_, count)| *count > self.max_connections / 8).map(|(peer, _)| peer);
        let candidates = waiting().filter(|connection| busiest.is_none_or(|peer| peer == connection.peer));
        if let Some(connection) = candidates.min_by_key(|connection| (connection.served, connection.since)) {
            debug!(peer = %connection.peer, unread = connection.unread, "closing a connection: others need the room");
            connection.closing.cancel();
        }
    }

    fn update(&self, id: u64, change: impl FnOnce(&mut Connection)) {
        if let Some(connection) = lock(&self.connections).get_mut(&id) {
            change(connection);
        }
    }
}

/// One host: an IPv4 address, or the 64 bits of IPv6 that one host has.
fn host(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6((u128::from(ip) >> 64 << 64).into()),
        ip => ip,
    }
}

// === impl ConnectionGuard ===

impl ConnectionGuard {
    /// Waits until the connection has to be closed.
    pub(super) async fn closing(&self) {
        self.closing.cancelled().await;
    }

    /// A request is being handled from here on.
    pub(super) fn begin(&self) {
        self.registry.update(self.id, |connection| connection.busy = true);
    }

    /// Waits until the body has room among what is unread. It is counted until it is dropped.
    pub(super) async fn answer(&self, body: Bytes) -> Bytes {
        let (registry, unread) = (self.registry.clone(), body.len());
        let permits = u32::try_from(unread.div_ceil(UNIT)).unwrap_or(u32::MAX).min(registry.max_unread);
        let room = registry.room(&registry.unread, permits, |connection| connection.unread > 0).await;
        registry.update(self.id, |connection| {
            (connection.busy, connection.served, connection.since) = (false, true, Instant::now());
            connection.unread += unread;
        });
        Bytes::from_owner(Unread { body, id: self.id, registry, _room: Some(room) })
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        lock(&self.registry.connections).remove(&self.id);
    }
}

// === impl Unread ===

impl AsRef<[u8]> for Unread {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        let unread = self.body.len();
        self.registry.update(self.id, |connection| {
            connection.unread -= unread;
            connection.since = Instant::now();
        });
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const KIB: usize = 1024;

    async fn admit(registry: &Arc<ConnectionRegistry>, ip: &str) -> ConnectionGuard {
        timeout(Duration::from_secs(60), registry.admit(ip.parse().unwrap())).await.expect("room is made")
    }

    /// Admits one more while those that have to close do so; says which they were.
    async fn admit_over(
        registry: &Arc<ConnectionRegistry>,
        ip: &str,
        guards: &mut Vec<(&'static str, ConnectionGuard)>,
    ) -> (ConnectionGuard, Vec<&'static str>) {
        let admitting = admit(registry, ip);
        tokio::pin!(admitting);
        let mut closed = Vec::new();
        loop {
            if let Ok(guard) = timeout(RETRY / 2, &mut admitting).await {
                return (guard, closed);
            }
            let (gone, kept) =
                std::mem::take(guards).into_iter().partition::<Vec<_>, _>(|(_, guard)| guard.closing.is_cancelled());
            closed.extend(gone.iter().map(|(name, _)| *name));
            *guards = kept;
        }
    }

    async fn serve(guard: &ConnectionGuard) {
        guard.begin();
        drop(guard.answer(Bytes::from_static(b"x")).await);
    }

    #[tokio::test(start_paused = true)]
    async fn the_client_that_keeps_the_server_waiting_for_longest_is_closed() {
        let registry = ConnectionRegistry::new(4, KIB);
        let mut guards = Vec::new();
        for name in ["served", "busy", "silent", "late"] {
            guards.push((name, admit(&registry, "192.0.2.1").await));
            advance(Duration::from_secs(1)).await;
        }
        serve(&guards[0].1).await;
        guards[1].1.begin();
        for expect in ["silent", "late", "new", "new"] {
            let (guard, closed) = admit_over(&registry, "192.0.2.2", &mut guards).await;
            assert_eq!(closed, [expect]);
            guards.push(("new", guard));
            advance(Duration::from_secs(1)).await;
        }
        assert_eq!(guards.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["served", "busy", "new", "new"]);
    }

    #[tokio::test(start_paused = true)]
    async fn when_all_are_busy_the_next_one_waits() {
        let registry = ConnectionRegistry::new(1, KIB);
        let busy = admit(&registry, "192.0.2.1").await;
        busy.begin();
        assert!(timeout(Duration::from_secs(60), registry.admit("192.0.2.2".parse().unwrap())).await.is_err());
        assert!(!busy.closing.is_cancelled());
        drop(busy);
        admit(&registry, "192.0.2.2").await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_many_makes_room_itself() {
        let registry = ConnectionRegistry::new(16, KIB);
        let mut guards = vec![("other", admit(&registry, "192.0.2.1").await)];
        for number in 0..15 {
            advance(Duration::from_secs(1)).await;
            guards.push(("many", admit(&registry, &format!("2001:db8::{number:x}")).await));
        }
        assert_eq!(admit_over(&registry, "192.0.2.9", &mut guards).await.1, ["many"]);
    }

    #[tokio::test(start_paused = true)]
    async fn responses_that_are_not_read_are_bounded() {
        let registry = ConnectionRegistry::new(100, 10 * KIB);
        let mut unread = Vec::new();
        for _ in 0..5 {
            let guard = admit(&registry, "192.0.2.1").await;
            guard.begin();
            let body = guard.answer(vec![b'x'; 2 * KIB].into()).await;
            // It has sent another request, without reading.
            guard.begin();
            unread.push((body, guard));
            advance(Duration::from_secs(1)).await;
        }
        let reader = admit(&registry, "192.0.2.2").await;
        reader.begin();
        let mut answering = Box::pin(reader.answer(vec![b'x'; 3 * KIB].into()));
        let mut closed = 0;
        while timeout(RETRY / 2, &mut answering).await.is_err() {
            let before = unread.len();
            unread.retain(|(_, guard)| !guard.closing.is_cancelled());
            closed += before - unread.len();
        }
        assert_eq!(closed, 2, "as many as are needed");
        drop(answering);
        // One that is larger than the limit is sent when it is alone.
        unread.clear();
        let large = admit(&registry, "192.0.2.3").await;
        large.begin();
        assert_eq!(large.answer(vec![b'x'; 20 * KIB].into()).await.len(), 20 * KIB);
        assert_eq!(registry.unread.available_permits(), 10);
        drop((large, reader));
        assert!(lock(&registry.connections).is_empty());
    }
}
