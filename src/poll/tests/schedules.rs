//! Model-based test of poller, store and reloads: proptest generates schedules, and a simple model predicts the store. Time is
//! paused, so schedules are fast and repeatable; a failure prints the shortest one.
//!
//! Times come from a short list, so that the end of a poll, a reload, a check of the store and the end of freshness often
//! coincide.

use std::collections::VecDeque;

use proptest::{collection::vec, prelude::*, sample::select};

use super::super::*;
use crate::{
    client::{ClientSettings, Credential, ProxySettings, SecretSource, TransportSettings},
    model::{CredentialRejection, FailureReason, Status},
    secret::Secret,
    store::{Failure, Snapshot},
};

const INTERVAL: Duration = Duration::from_secs(60);
const TIMEOUT: Duration = Duration::from_secs(10);
const NAMES: [&str; 3] = ["a", "b", "c"];

/// Duration and outcome of a poll.
type Act = (Duration, End);

#[derive(Clone, Copy, Debug)]
enum End {
    Fail(FailureReason),
    Panic,
    Refuse(CredentialRejection),
    Succeed(&'static Status),
}

#[derive(Clone, Debug)]
enum Step {
    /// A new configuration: for each name `None`, or a port and `stale_after` in minutes.
    Apply([Option<(u16, u64)>; NAMES.len()]),
    /// The file of a rejected credential changes.
    NewCredential,
    Pass(Duration),
}

/// Expected state of one cluster.
#[derive(Clone, Debug, Default)]
struct Expected {
    address: u16,
    /// Number of the current task with this name.
    task: u64,
    stale_after: Duration,
    good: Option<(Instant, PollResult)>,
    last: Option<(Instant, Option<Failure>)>,
    polls: u64,
    failures: [u64; FailureReason::ALL.len()],
    status_changes: u64,
    /// Start of the poll in flight.
    since: Option<Instant>,
    /// Latest start of the next poll.
    due: Option<Instant>,
}

#[derive(Debug)]
struct World {
    acts: VecDeque<Act>,
    known: BTreeMap<&'static str, Expected>,
    new_credential: bool,
    /// Polls in flight of all tasks, including replaced ones.
    running: usize,
    tasks: u64,
}

struct ScriptedCluster {
    name: &'static str,
    task: u64,
    world: Arc<Mutex<World>>,
}

/// Counts a poll until it ends or is dropped.
struct Running(Arc<Mutex<World>>);

impl Drop for Running {
    fn drop(&mut self) {
        lock(&self.0).running -= 1;
    }
}

fn now() -> Instant {
    clock::now().mono
}

fn failure(reason: FailureReason, rejection: Option<CredentialRejection>) -> PollFailure {
    PollFailure { rejection, ..PollFailure::new(reason, "made up") }
}

impl World {
    /// The expected state of this task's cluster, unless the task was replaced.
    fn of(&mut self, cluster: &ScriptedCluster) -> Option<&mut Expected> {
        self.known.get_mut(cluster.name).filter(|known| known.task == cluster.task)
    }
}

impl Expected {
    fn ended(&mut self, end: End) {
        self.since = None;
        let before = self.good.as_ref().map(|(_, result)| result.status.clone());
        // Allows the longest pause; the tests of `schedule` check the exact one.
        let pause = if let End::Refuse(_) = end { Duration::from_secs(1800) } else { Duration::ZERO };
        self.due = Some(now() + INTERVAL + pause);
        let failure = match end {
            End::Panic => Some(Failure::Crash),
            End::Fail(reason) => Some(Failure::Poll(failure(reason, None))),
            End::Refuse(rejection) => Some(Failure::Poll(failure(FailureReason::Authentication, Some(rejection)))),
            End::Succeed(status) => {
                self.status_changes += u64::from(before.is_some_and(|before| before != *status));
                self.good = Some((now(), PollResult::local(status.clone())));
                None
            }
        };
        if !matches!(end, End::Panic) {
            self.polls += 1;
        }
        if let Some(Failure::Poll(failure)) = &failure {
            let index = FailureReason::ALL.iter().position(|reason| *reason == failure.reason).unwrap();
            self.failures[index] += 1;
        }
        self.last = Some((now(), failure));
    }

    fn check(&self, snapshot: &Snapshot) {
        let at = clock::now();
        let fresh = self.good.as_ref().filter(|(good, _)| at.mono < *good + self.stale_after).map(|(_, result)| result);
        assert_eq!(snapshot.fresh(&at), fresh);
        let up = self.last.as_ref().map(|(_, failure)| failure.is_none() && fresh.is_some());
        assert_eq!(snapshot.up(&at), up);
        let last = snapshot.last_poll().map(|last| (last.at.mono, last.failure.clone()));
        assert_eq!(last, self.last);
        let counters = snapshot.counters();
        assert_eq!((counters.polls, counters.status_changes), (self.polls, self.status_changes));
        assert_eq!(FailureReason::ALL.map(|reason| counters.failures(reason)), self.failures);
        match (self.since, self.due) {
            (Some(since), _) => assert!(at.mono <= since + TIMEOUT, "a poll that does not end"),
            (None, due) => assert!(due.is_none_or(|due| at.mono <= due), "no poll"),
        }
    }
}

impl StatusSource for ScriptedCluster {
    async fn poll(&mut self, _now: Instant) -> Result<PollResult, PollFailure> {
        let (running, (time, end)) = {
            let mut world = lock(&self.world);
            world.running += 1;
            let running = Running(self.world.clone());
            let act = world.acts.pop_front().unwrap();
            world.acts.push_back(act);
            if let Some(known) = world.of(self) {
                assert_eq!(known.since, None, "one poll at a time");
                known.since = Some(now());
            }
            (running, act)
        };
        tokio::time::sleep(time).await;
        drop(running);
        if let Some(known) = lock(&self.world).of(self) {
            known.ended(end);
        }
        match end {
            End::Fail(reason) => Err(failure(reason, None)),
            End::Panic => panic!("made up"),
            End::Refuse(rejection) => Err(failure(FailureReason::Authentication, Some(rejection))),
            End::Succeed(status) => Ok(PollResult::local(status.clone())),
        }
    }

    async fn credential_changed(&self) -> bool {
        lock(&self.world).new_credential
    }

    fn certificate(&self) -> Option<Timestamp> {
        None
    }
}

pub(super) fn settings(name: &str, address: u16, stale_after: Duration) -> ClusterSettings {
    let transport = TransportSettings { connect_timeout: TIMEOUT, proxy: ProxySettings::Direct, tls: None };
    let client = ClientSettings {
        credential: Credential::Token(SecretSource::Fixed(Secret::new("token"))),
        kms_probe: None,
        transport,
        timeout: TIMEOUT,
        url: format!("http://[::1]:{address}").parse().unwrap(),
    };
    let name = ClusterName::new(name).unwrap();
    ClusterSettings { client, interval: INTERVAL, metadata: ClusterMetadata::default(), name, stale_after }
}

/// Applies a configuration to the poller and to the model.
fn apply(poller: &mut Poller, world: &Arc<Mutex<World>>, next: &[Option<(u16, u64)>]) {
    let wanted: Vec<_> = NAMES.into_iter().zip(next).filter_map(|(name, next)| Some((name, (*next)?))).collect();
    {
        let mut world = lock(world);
        world.known.retain(|name, _| wanted.iter().any(|(wanted, _)| wanted == name));
        for (name, (address, minutes)) in &wanted {
            let (stale_after, tasks) = (Duration::from_secs(60 * minutes), world.tasks);
            let before = world.known.get(name).cloned();
            if before.as_ref().is_some_and(|before| (before.address, before.stale_after) == (*address, stale_after)) {
                continue;
            }
            let mut known = before.unwrap_or_default();
            if known.address != *address {
                (known.good, known.last) = (None, None);
            }
            // The first poll begins at once.
            known = Expected { address: *address, task: tasks, stale_after, since: None, due: Some(now()), ..known };
            world.known.insert(name, known);
            world.tasks += 1;
        }
    }
    let settings =
        wanted.iter().map(|(name, (address, minutes))| settings(name, *address, Duration::from_secs(60 * minutes)));
    poller.apply_with(settings.collect(), |settings| {
        let name = NAMES.into_iter().find(|name| *name == settings.name.as_str()).unwrap();
        let (task, world) = (lock(world).known[name].task, world.clone());
        move || ScriptedCluster { name, task, world: world.clone() }
    });
}

fn check_store(store: &Store, world: &Mutex<World>) {
    let (view, world) = (store.view(), lock(world));
    let names: Vec<_> = view.clusters.iter().map(|snapshot| snapshot.name().as_str()).collect();
    assert_eq!(names, world.known.keys().copied().collect::<Vec<_>>());
    for (snapshot, known) in view.clusters.iter().zip(world.known.values()) {
        known.check(snapshot);
    }
}

async fn run_steps(acts: Vec<Act>, steps: Vec<Step>) {
    let store = Store::default();
    let mut poller = Poller::new(store.clone());
    let (acts, known) = (acts.into(), BTreeMap::new());
    let world = Arc::new(Mutex::new(World { acts, known, new_credential: false, running: 0, tasks: 1 }));
    for step in steps {
        match step {
            Step::Apply(next) => apply(&mut poller, &world, &next),
            Step::NewCredential => {
                lock(&world).new_credential = true;
                tokio::time::sleep(2 * CREDENTIAL_CHECK_INTERVAL).await;
                lock(&world).new_credential = false;
            }
            Step::Pass(time) => tokio::time::sleep(time).await,
        }
        check_store(&store, &world);
        // Aborted tasks end when the runtime runs next.
        tokio::time::sleep(Duration::from_millis(1)).await;
        check_store(&store, &world);
        let world = lock(&world);
        let wanted = world.known.values().filter(|known| known.since.is_some()).count();
        assert_eq!(world.running, wanted, "no other polls are under way");
    }
    drop(poller);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert!(store.view().clusters.is_empty());
    assert_eq!((lock(&world).running, tokio::runtime::Handle::current().metrics().num_alive_tasks()), (0, 0));
}

fn any_act() -> impl Strategy<Value = Act> {
    let times = [0, 1, 100, 1_000, 9_000, 10_000].map(Duration::from_millis);
    let ends = vec![
        End::Succeed(&Status::Encrypted),
        End::Succeed(&Status::Encrypted),
        End::Succeed(&Status::KmsKeyNotFound),
        End::Fail(FailureReason::Timeout),
        End::Fail(FailureReason::Connect),
        End::Refuse(CredentialRejection::NoLockout),
        End::Refuse(CredentialRejection::LockoutRisk),
        End::Panic,
    ];
    (select(times.to_vec()), select(ends))
}

fn any_step() -> impl Strategy<Value = Step> {
    let times = [1, 1_000, 9_999, 10_000, 60_000, 300_000, 2_400_000].map(Duration::from_millis);
    let cluster = || proptest::option::weighted(0.8, (1_u16..3, select(vec![2_u64, 5])));
    prop_oneof![
        6 => select(times.to_vec()).prop_map(Step::Pass),
        3 => [cluster(), cluster(), cluster()].prop_map(Step::Apply),
        1 => Just(Step::NewCredential),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn after_any_schedule_the_store_holds_the_last_results(acts in vec(any_act(), 1..40), steps in vec(any_step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(run_steps(acts, steps));
    }
}
