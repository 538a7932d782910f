//! All connections of a server: how many there may be, how much they may keep in memory, and who has to go.
//!
//! A connection that does nothing costs a peer nothing, so it is given up for one that comes: a listener that is full of
//! silent connections would otherwise shut everybody out.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    task::AbortHandle,
    time::{Duration, Instant},
};
use tracing::debug;

use crate::web::request_clock::{RequestClock, Stage};

/// What answers may take that have been made and not been read yet, in bytes: ten times the metrics of 1,000 clusters.
const MAX_UNSENT: usize = 32 * 1024 * 1024;

/// An answer that the kernel takes at once is not worth a look at all connections.
const WORTH_A_LOOK: usize = 64 * 1024;

/// What a connection that has been answered before is ahead of one that has not: a scrape interval.
const KEPT: Duration = Duration::from_secs(60);

/// The connections of one server.
#[derive(Debug)]
pub(super) struct Crowd {
    max: usize,
    max_unsent: usize,
    members: Mutex<Members>,
}

#[derive(Debug, Default)]
struct Members {
    by_id: BTreeMap<u64, Member>,
    next: u64,
}

#[derive(Debug)]
struct Member {
    /// Ends it; unknown for a moment at its beginning.
    abort: Option<AbortHandle>,
    network: Network,
    clock: RequestClock,
}

/// Whom a connection is from: one address, or the 64 bits of IPv6 that one host has.
type Network = [u8; 16];

/// A connection's place; dropping it leaves.
#[derive(Debug)]
pub(super) struct Seat {
    crowd: Arc<Crowd>,
    id: u64,
}

// === impl Crowd ===

impl Crowd {
    /// Room for `max` connections, one at least.
    pub(super) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max: max.max(1), max_unsent: MAX_UNSENT, members: Mutex::default() })
    }

    /// Takes a connection in. If there is no room the one that has been silent for longest goes: of the peer that has most
    /// of them if that is many, else of all. `None` if nobody can go, because everybody is being answered.
    pub(super) fn enter(self: &Arc<Self>, peer: SocketAddr, clock: &RequestClock) -> Option<Seat> {
        let mut members = self.lock();
        if members.by_id.len() >= self.max {
            let victim = members.silent(self.max / 8)?;
            members.evict(victim, "no room for another connection");
        }
        let id = members.next;
        members.next += 1;
        members.by_id.insert(id, Member { abort: None, network: network(peer.ip()), clock: clock.clone() });
        Some(Seat { crowd: self.clone(), id })
    }

    /// An answer of `length` bytes has been made: those that have not been read for longest go, if all together are too
    /// much.
    pub(super) fn answered(&self, length: usize) {
        if length < WORTH_A_LOOK {
            return;
        }
        let mut members = self.lock();
        loop {
            let unsent = members.by_id.iter().filter_map(|(id, member)| match member.clock.stage() {
                (Stage::Answer { unsent }, since) => Some((since, *id, unsent)),
                _ => None,
            });
            let unsent: Vec<(Instant, u64, usize)> = unsent.collect();
            let total: usize = unsent.iter().map(|(_, _, unsent)| unsent).sum();
            match unsent.iter().min() {
                Some((_, oldest, _)) if total > self.max_unsent && unsent.len() > 1 => {
                    members.evict(*oldest, "its answer has not been read, and others need the memory");
                }
                _ => return,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Members> {
        // No code panics while holding it.
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Members ===

impl Members {
    /// Who has been silent for longest; only connections of the largest peer count if it has more than `many`.
    fn silent(&self, many: usize) -> Option<u64> {
        let silent = self.by_id.iter().filter_map(|(id, member)| match member.clock.stage() {
            (Stage::Idle, since) => Some((since + KEPT, *id, member.network)),
            (Stage::Request, since) => Some((since, *id, member.network)),
            (Stage::Answer { .. } | Stage::Handling, _) => None,
        });
        let silent: Vec<(Instant, u64, Network)> = silent.collect();
        let mut counts: HashMap<Network, usize> = HashMap::new();
        for (_, _, network) in &silent {
            *counts.entry(*network).or_default() += 1;
        }
        let largest = counts.into_iter().max_by_key(|(_, count)| *count).filter(|(_, count)| *count > many);
        let of_largest = |network: &Network| largest.is_none_or(|(largest, _)| largest == *network);
        silent.iter().filter(|(_, _, network)| of_largest(network)).min().map(|(_, id, _)| *id)
    }

    fn evict(&mut self, id: u64, why: &str) {
        if let Some(Member { abort: Some(abort), .. }) = self.by_id.remove(&id) {
            debug!(why, "a connection was given up");
            abort.abort();
        }
    }
}

// === impl Seat ===

impl Seat {
    /// The crowd.
    pub(super) fn crowd(&self) -> &Crowd {
        &self.crowd
    }

    /// How to end the connection of the seat with this number.
    pub(super) fn can_be_ended(crowd: &Crowd, id: u64, abort: AbortHandle) {
        if let Some(member) = crowd.lock().by_id.get_mut(&id) {
            member.abort = Some(abort);
        } else {
            // It was given up, or has ended already.
            abort.abort();
        }
    }

    /// Its number.
    pub(super) fn id(&self) -> u64 {
        self.id
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.crowd.lock().by_id.remove(&self.id);
    }
}

fn network(ip: IpAddr) -> Network {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
            Some(_) => ip.octets(),
            None => (u128::from(ip) >> 64 << 64).to_be_bytes(),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::{task::JoinHandle, time::advance};

    use super::*;
    use crate::web::request_clock::TimeLimits;

    struct Guest {
        seat: Seat,
        task: JoinHandle<()>,
        clock: RequestClock,
    }

    fn enter(crowd: &Arc<Crowd>, ip: &str) -> Option<Guest> {
        let clock = RequestClock::new(TimeLimits::default());
        let seat = crowd.enter(SocketAddr::new(ip.parse().unwrap(), 1), &clock)?;
        let task = tokio::spawn(pending());
        Seat::can_be_ended(crowd, seat.id(), task.abort_handle());
        Some(Guest { seat, task, clock })
    }

    async fn gone(guests: &mut [Guest]) -> Vec<usize> {
        tokio::task::yield_now().await;
        (0..guests.len()).filter(|index| guests[*index].task.is_finished()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn the_one_that_has_been_silent_for_longest_goes() {
        let crowd = Crowd::new(3);
        let mut guests = Vec::new();
        for _ in 0..3 {
            guests.push(enter(&crowd, "192.0.2.1").unwrap());
            advance(Duration::from_secs(1)).await;
        }
        guests[0].clock.handling();
        guests.push(enter(&crowd, "192.0.2.2").unwrap());
        assert_eq!(gone(&mut guests).await, [1], "whoever is being answered stays");
        drop(guests.remove(1));
        for guest in &guests {
            guest.clock.handling();
        }
        assert!(enter(&crowd, "192.0.2.3").is_none(), "everybody is being answered");
        drop(guests.remove(0).seat);
        assert!(enter(&crowd, "192.0.2.3").is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_kept_connection_of_a_scraper_stays() {
        let crowd = Crowd::new(2);
        let mut guests = vec![enter(&crowd, "192.0.2.1").unwrap()];
        guests[0].clock.handling();
        guests[0].clock.answered(1);
        guests[0].clock.flushed();
        advance(Duration::from_secs(30)).await;
        guests.push(enter(&crowd, "192.0.2.1").unwrap());
        guests.push(enter(&crowd, "192.0.2.1").unwrap());
        assert_eq!(gone(&mut guests).await, [1]);
        advance(Duration::from_secs(31)).await;
        drop(guests.remove(1));
        drop(guests.remove(1));
        guests.push(enter(&crowd, "192.0.2.1").unwrap());
        advance(Duration::from_secs(1)).await;
        guests[1].clock.handling();
        guests.push(enter(&crowd, "192.0.2.1").unwrap());
        assert_eq!(gone(&mut guests).await, [0], "but not for ever");
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_many_makes_room_itself() {
        let crowd = Crowd::new(16);
        let mut guests = vec![enter(&crowd, "192.0.2.1").unwrap()];
        advance(Duration::from_secs(1)).await;
        for number in 0..15 {
            guests.push(enter(&crowd, &format!("2001:db8::{number:x}")).unwrap());
        }
        guests.push(enter(&crowd, "2001:db8::ff").unwrap());
        assert_eq!(gone(&mut guests).await, [1], "not the older one of somebody else");
    }

    #[tokio::test(start_paused = true)]
    async fn answers_that_nobody_reads_do_not_pile_up() {
        let mut crowd = Crowd::new(100);
        Arc::get_mut(&mut crowd).unwrap().max_unsent = 1_000_000;
        let mut guests = Vec::new();
        for _ in 0..12 {
            let guest = enter(&crowd, "192.0.2.1").unwrap();
            guest.clock.handling();
            guest.clock.answered(100_000);
            crowd.answered(100_000);
            guests.push(guest);
            advance(Duration::from_secs(1)).await;
        }
        assert_eq!(gone(&mut guests).await, [0, 1]);
    }
}
