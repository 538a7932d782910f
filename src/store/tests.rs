use std::time::Instant;

use chrono::{DateTime, TimeDelta};

use super::*;
use crate::model::{Account, ApiVersion, Dates, Details, ForeignText, KeyStore, KmsProbe, KmsServer, Privileges};

const STALE_AFTER: Duration = Duration::from_secs(300);

struct Clock(ClockTime);

impl Clock {
    fn new() -> Self {
        Self(ClockTime { mono: Instant::now(), wall: DateTime::UNIX_EPOCH + TimeDelta::days(20_000) })
    }

    fn at(&self, seconds: u64) -> ClockTime {
        let wall = self.0.wall + TimeDelta::seconds(i64::try_from(seconds).unwrap());
        ClockTime { mono: self.0.mono + Duration::from_secs(seconds), wall }
    }
}

fn name(name: &str) -> ClusterName {
    ClusterName::new(name).unwrap()
}

fn failure(reason: FailureReason) -> PollFailure {
    PollFailure::new(reason, "failed")
}

fn only(store: &Store) -> Arc<Snapshot> {
    let view = store.view();
    assert_eq!(view.clusters.len(), 1);
    view.clusters[0].clone()
}

#[test]
fn status_is_served_until_it_is_stale() {
    let (store, clock) = (Store::default(), Clock::new());
    let mut publisher = store.publisher(name("one"), STALE_AFTER);
    assert_eq!(only(&store).up(&clock.at(0)), None);
    publisher.record(clock.at(0), Duration::ZERO, Ok(PollResult::local(Status::Encrypted)));
    publisher.record(clock.at(60), Duration::ZERO, Err(failure(FailureReason::Connect)));
    let check = |seconds: u64, fresh: bool| {
        let (snapshot, now) = (only(&store), clock.at(seconds));
        assert_eq!(snapshot.fresh(&now).is_some(), fresh, "after {seconds} s");
        assert_eq!(snapshot.up(&now), Some(false), "after {seconds} s");
    };
    check(60, true);
    check(299, true);
    check(300, false);
    check(100_000, false);
    publisher.record(clock.at(400), Duration::ZERO, Ok(PollResult::local(Status::Encrypted)));
    assert_eq!(only(&store).up(&clock.at(400)), Some(true));
}

#[test]
fn a_status_can_be_fresh_for_longer() {
    let (store, clock) = (Store::default(), Clock::new());
    let mut publisher = store.publisher(name("one"), STALE_AFTER);
    publisher.set_min_fresh(2 * STALE_AFTER);
    publisher.record(clock.at(0), Duration::ZERO, Ok(PollResult::local(Status::Encrypted)));
    let fresh_at = |seconds| only(&store).up(&clock.at(seconds));
    assert_eq!((fresh_at(599), fresh_at(600)), (Some(true), Some(false)));
    assert_eq!(only(&store).stale_after(), STALE_AFTER);
}

#[test]
fn a_stuck_poller_shows_as_not_up() {
    let (store, clock) = (Store::default(), Clock::new());
    let mut publisher = store.publisher(name("one"), STALE_AFTER);
    publisher.record(clock.at(0), Duration::ZERO, Ok(PollResult::local(Status::Encrypted)));
    assert_eq!(only(&store).up(&clock.at(299)), Some(true));
    assert_eq!(only(&store).up(&clock.at(300)), Some(false));
}

#[test]
fn a_crash_shows_as_not_up_and_counts_no_poll() {
    let (store, clock) = (Store::default(), Clock::new());
    let mut publisher = store.publisher(name("one"), STALE_AFTER);
    publisher.record(clock.at(0), Duration::ZERO, Ok(PollResult::local(Status::Encrypted)));
    publisher.record_crash(clock.at(1));
    let snapshot = only(&store);
    assert_eq!((snapshot.up(&clock.at(1)), snapshot.counters().polls), (Some(false), 1));
    assert!(snapshot.fresh(&clock.at(1)).is_some(), "the last status is served on");
}

#[test]
fn changes_are_counted_across_outages_and_the_first_status_is_none() {
    let (store, clock) = (Store::default(), Clock::new());
    let mut publisher = store.publisher(name("one"), STALE_AFTER);
    let mut check = |result: Result<Status, FailureReason>, changes: u64| {
        let result = result.map(PollResult::local).map_err(failure);
        publisher.record(clock.at(0), Duration::ZERO, result);
        assert_eq!(only(&store).counters().status_changes, changes);
    };
    check(Ok(Status::KmsAvailable), 0);
    check(Ok(Status::KmsAvailable), 0);
    check(Err(FailureReason::Timeout), 0);
    check(Ok(Status::KmsKeyNotFound), 1);
    check(Err(FailureReason::Timeout), 1);
    check(Ok(Status::KmsKeyNotFound), 1);
    check(Ok(Status::Unknown(ForeignText::new("a"))), 2);
    check(Ok(Status::Unknown(ForeignText::new("b"))), 3);
}

#[test]
fn failures_and_unreadable_dates_are_counted_separately() {
    let (store, clock) = (Store::default(), Clock::new());
    let mut publisher = store.publisher(name("one"), STALE_AFTER);
    publisher.record(clock.at(0), Duration::ZERO, Err(failure(FailureReason::Dns)));
    publisher.record(clock.at(0), Duration::ZERO, Err(failure(FailureReason::Malformed)));
    publisher.record(clock.at(0), Duration::ZERO, Err(failure(FailureReason::Malformed)));
    let mut bad_date = PollResult::local(Status::Encrypted);
    bad_date.dates = Dates::from_fn(|field| match field {
        DateField::ClientCertExpiry => Date::Unreadable(ForeignText::new("never")),
        _ => Date::NotReported,
    });
    publisher.record(clock.at(0), Duration::ZERO, Ok(bad_date));
    let snapshot = only(&store);
    let failures = FailureReason::ALL.map(|reason| snapshot.counters().failures(reason));
    assert_eq!(failures, [1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0]);
    assert_eq!(DateField::ALL.map(|field| snapshot.counters().unreadable(field)), [0, 1, 0, 0]);
    assert_eq!(snapshot.counters().polls, 4);
}

#[test]
fn a_dropped_publisher_removes_its_cluster_and_no_successor() {
    let store = Store::default();
    let first = store.publisher(name("one"), STALE_AFTER);
    let second = store.publisher(name("one"), STALE_AFTER);
    drop(first);
    assert_eq!(store.view().clusters.len(), 1);
    drop(second);
    assert!(store.view().clusters.is_empty());
}

#[test]
fn a_publisher_that_takes_anothers_place_keeps_what_is_still_true() {
    let (store, clock) = (Store::default(), Clock::new());
    let mut first = store.publisher(name("one"), STALE_AFTER);
    first.record(clock.at(0), Duration::ZERO, Ok(PollResult::local(Status::Encrypted)));
    let second = store.successor(name("one"), 2 * STALE_AFTER);
    drop(first);
    let snapshot = only(&store);
    assert_eq!(snapshot.up(&clock.at(599)), Some(true), "the same cluster, with a longer time limit");
    assert_eq!(snapshot.counters().polls, 1);
    let certificate = Timestamp::new(DateTime::UNIX_EPOCH).unwrap();
    let mut second = second;
    second.set_api_certificate(Some(certificate));
    second.record(clock.at(1), Duration::ZERO, Ok(PollResult::local(Status::KmsKeyNotFound)));
    let snapshot = only(&store);
    assert_eq!(snapshot.api_certificate(), Some(certificate));
    assert_ne!(*snapshot.history(), History::default(), "its key is lost since then");
    let _third = store.publisher(name("one"), STALE_AFTER);
    drop(second);
    let snapshot = only(&store);
    assert!(snapshot.last_known().is_none() && snapshot.last_poll().is_none() && snapshot.api_certificate().is_none());
    assert_eq!(*snapshot.history(), History::default());
    assert_eq!(snapshot.up(&clock.at(0)), None, "another cluster: its status is not known yet");
    assert_eq!(snapshot.counters().polls, 2, "a counter does not fall");
}

#[test]
fn the_view_is_sorted_and_knows_who_was_polled() {
    let (store, clock) = (Store::default(), Clock::new());
    let mut late = store.publisher(name("z"), STALE_AFTER);
    let mut early = store.publisher(name("a"), STALE_AFTER);
    assert!(!store.view().all_polled());
    late.record(clock.at(0), Duration::ZERO, Err(failure(FailureReason::Dns)));
    assert!(!store.view().all_polled());
    early.record(clock.at(0), Duration::ZERO, Ok(PollResult::local(Status::Encrypted)));
    assert!(store.view().all_polled());
    let names: Vec<String> = store.view().clusters.iter().map(|cluster| cluster.name().to_string()).collect();
    assert_eq!(names, ["a", "z"]);
}

#[test]
fn only_changes_are_returned() {
    let (store, clock) = (Store::default(), Clock::new());
    let mut publisher = store.publisher(name("one"), STALE_AFTER);
    let mut check = |result: Result<PollResult, PollFailure>, expect: &[Change]| {
        assert_eq!(publisher.record(clock.at(0), Duration::ZERO, result), expect);
    };
    let unreadable = |text: &str| {
        let dates = Dates::from_fn(|field| match field {
            DateField::CaCertExpiry => Date::Unreadable(ForeignText::new(text)),
            _ => Date::NotReported,
        });
        PollResult { dates, ..PollResult::local(Status::KmsAvailable) }
    };
    let change = |text: &str| Change::Unreadable { field: DateField::CaCertExpiry, text: ForeignText::new(text) };
    let (connect, timeout) = (failure(FailureReason::Connect), failure(FailureReason::Timeout));
    check(Err(connect.clone()), &[Change::Failing(connect.clone())]);
    check(Err(connect.clone()), &[]);
    check(Err(timeout.clone()), &[Change::Failing(timeout.clone())]);
    let first = Change::First { key_store: KeyStore::Local, status: Status::Encrypted };
    check(Ok(PollResult::local(Status::Encrypted)), &[Change::Recovered, first]);
    check(Ok(PollResult::local(Status::Encrypted)), &[]);
    check(Err(timeout.clone()), &[Change::Failing(timeout)]);
    let changed = Change::Status { from: Status::Encrypted, to: Status::KmsAvailable };
    check(Ok(unreadable("a")), &[Change::Recovered, changed, change("a")]);
    check(Ok(unreadable("a")), &[]);
    check(Ok(unreadable("b")), &[change("b")]);
    check(
        Ok(PollResult { api: ApiVersion::V1, key_store: KeyStore::Unknown, ..PollResult::local(Status::KmsAvailable) }),
        &[
            Change::KeyStore { from: KeyStore::Local, to: KeyStore::Unknown },
            Change::Api { from: ApiVersion::V2, to: ApiVersion::V1 },
        ],
    );
    assert_eq!(publisher.record_crash(clock.at(0)), [Change::Crashed]);
}

#[test]
fn changes_of_the_kms_and_of_the_account_are_returned_once() {
    let (store, clock) = (Store::default(), Clock::new());
    let mut publisher = store.publisher(name("one"), STALE_AFTER);
    let mut check = |details: Details, kms_probe: Option<KmsProbe>, expect: &[Change]| {
        let answer = PollResult { details: details.into(), kms_probe, ..PollResult::local(Status::KmsAvailable) };
        assert_eq!(publisher.record(clock.at(0), Duration::ZERO, Ok(answer)), expect);
    };
    let server = |host, port, key| KmsServer::new(host, Some(port), key, None);
    let with = |kms: &KmsServer| Details { kms: Some(kms.clone()), ..Details::default() };
    let [a, b, c, d] = [server("a", 1, "x"), server("b", 1, "x"), server("b", 2, "x"), server("b", 2, "y")];
    let moved = |from: &KmsServer, to: &KmsServer| Change::Kms { from: from.clone(), to: to.clone() };
    check(with(&a), None, &[Change::First { key_store: KeyStore::Local, status: Status::KmsAvailable }]);
    check(with(&a), None, &[]);
    check(with(&b), None, &[moved(&a, &b)]);
    check(with(&c), None, &[moved(&b, &c)]);
    check(with(&d), None, &[moved(&c, &d)]);
    check(Details::default(), None, &[]);
    let not_allowed = Some(KmsProbe::NotAllowed);
    check(Details::default(), not_allowed, &[]);
    check(with(&d), Some(KmsProbe::Unreachable), &[]);
    check(with(&d), not_allowed, &[Change::KmsNotAllowed(d.clone())]);
    check(with(&d), not_allowed, &[]);
    let account = |privileges: &[&str]| {
        let privileges = Some(Privileges::new(privileges.iter().copied()));
        Details { account: Account { privileges, ..Account::default() }, ..Details::default() }
    };
    let change = |privileges: &[&str]| Change::Privileges(Privileges::new(privileges.iter().copied()));
    let (needed, more) = (["PRIVILEGE_ENCRYPTION_READ"], ["PRIVILEGE_ENCRYPTION_READ", "PRIVILEGE_FS_READ"]);
    check(account(&needed), None, &[]);
    check(account(&more), None, &[change(&more)]);
    check(account(&more), None, &[]);
    check(account(&needed), None, &[]);
    check(account(&[]), None, &[change(&[])]);
}

#[test]
fn the_certificate_seen_last_stays() {
    let (store, clock) = (Store::default(), Clock::new());
    let mut publisher = store.publisher(name("one"), STALE_AFTER);
    let at = |days| Timestamp::new(DateTime::UNIX_EPOCH + TimeDelta::days(days));
    for (seen, expect) in [(None, None), (at(1), at(1)), (None, at(1)), (at(1), at(1)), (at(2), at(2)), (None, at(2))] {
        publisher.set_api_certificate(seen);
        publisher.record(clock.at(0), Duration::ZERO, Err(failure(FailureReason::Tls)));
        assert_eq!(only(&store).api_certificate(), expect, "{seen:?}");
    }
}
