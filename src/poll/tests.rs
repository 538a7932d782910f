mod schedules;

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use super::*;
use crate::model::{CredentialRejection, FailureReason, Labels, Status};

const INTERVAL: Duration = Duration::from_secs(60);
const STALE_AFTER: Duration = Duration::from_secs(300);

/// Outcome of one poll of a scripted cluster.
#[derive(Clone, Debug)]
enum Act {
    Fail(FailureReason),
    Refuse(CredentialRejection),
    Hang,
    Panic,
    Succeed,
}

/// Repeats its last act when the script has ended.
#[derive(Clone, Debug, Default)]
struct Script {
    acts: Arc<Mutex<VecDeque<Act>>>,
    new_credential: Arc<AtomicBool>,
    polls: Arc<AtomicUsize>,
}

impl Script {
    fn new(acts: impl IntoIterator<Item = Act>) -> Self {
        Self { acts: Arc::new(Mutex::new(acts.into_iter().collect())), ..Self::default() }
    }

    fn polls(&self) -> usize {
        self.polls.load(Ordering::SeqCst)
    }

    fn start(&self, poller: &mut Poller, name: &str) {
        let script = self.clone();
        let name = ClusterName::new(name).unwrap();
        let schedule = Schedule::new(&name, INTERVAL, STALE_AFTER, poller.origin);
        let publisher = poller.store.publisher(name, STALE_AFTER);
        poller.start(publisher, schedule, INTERVAL, move || script.clone());
    }
}

impl StatusSource for Script {
    async fn poll(&mut self, _now: Instant) -> Result<PollResult, PollFailure> {
        self.polls.fetch_add(1, Ordering::SeqCst);
        let act = {
            let mut acts = self.acts.lock().unwrap();
            if acts.len() > 1 { acts.pop_front() } else { acts.front().cloned() }
        };
        match act.expect("a script has an act") {
            Act::Fail(reason) => Err(PollFailure::new(reason, "scripted")),
            Act::Refuse(rejection) => {
                let failure = PollFailure::new(FailureReason::Authentication, "scripted");
                Err(PollFailure { rejection: Some(rejection), retry_after: Some(Duration::from_secs(300)), ..failure })
            }
            Act::Hang => std::future::pending().await,
            Act::Panic => panic!("scripted"),
            Act::Succeed => Ok(PollResult::local(Status::Encrypted)),
        }
    }

    async fn credential_changed(&self) -> bool {
        self.new_credential.swap(false, Ordering::SeqCst)
    }

    fn certificate(&self) -> Option<Timestamp> {
        None
    }
}

/// A cluster whose polls need much memory.
struct Large;

impl StatusSource for Large {
    async fn poll(&mut self, _now: Instant) -> Result<PollResult, PollFailure> {
        let room = [0_u8; 16 * 1024];
        std::future::pending::<()>().await;
        Err(PollFailure::new(FailureReason::HttpError, room.len().to_string()))
    }

    async fn credential_changed(&self) -> bool {
        let room = [0_u8; 16 * 1024];
        std::future::pending::<()>().await;
        room.is_empty()
    }

    fn certificate(&self) -> Option<Timestamp> {
        None
    }
}

#[tokio::test]
async fn what_a_poll_needs_is_not_held_between_polls() {
    let name = ClusterName::new("a").unwrap();
    let schedule = Schedule::new(&name, INTERVAL, STALE_AFTER, clock::now().mono);
    let publisher = Arc::new(Mutex::new(Store::default().publisher(name, STALE_AFTER)));
    let task = run(Large, publisher, schedule);
    assert!(size_of_val(&task) < 2 * 1024, "{}", size_of_val(&task));
}

fn up(store: &Store, name: &str) -> Option<bool> {
    let view = store.view();
    view.clusters.iter().find(|cluster| cluster.name().as_str() == name)?.up(&clock::now())
}

/// Advances the paused clock; tasks that become due run in order.
async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

#[tokio::test(start_paused = true)]
async fn first_polls_start_at_once_and_later_ones_keep_the_interval() {
    let store = Store::default();
    let mut poller = Poller::new(store.clone());
    let scripts: Vec<Script> = (0..20).map(|_| Script::new([Act::Succeed])).collect();
    for (number, script) in scripts.iter().enumerate() {
        script.start(&mut poller, &format!("cluster-{number}"));
    }
    pass(Duration::from_millis(1)).await;
    assert!(scripts.iter().all(|script| script.polls() == 1));
    assert!(store.view().all_polled());
    pass(10 * INTERVAL).await;
    assert!(scripts.iter().all(|script| (11..=12).contains(&script.polls())));
}

#[tokio::test(start_paused = true)]
async fn a_cluster_can_be_polled_once() {
    let (store, script) = (Store::default(), Script::new([Act::Succeed, Act::Panic]));
    let poll = || once(script.clone(), store.publisher(ClusterName::new("one").unwrap(), STALE_AFTER));
    let publisher = poll().await;
    pass(10 * INTERVAL).await;
    assert_eq!((script.polls(), store.view().clusters.len()), (1, 1));
    let _successor = poll().await;
    assert_eq!((script.polls(), up(&store, "one")), (2, Some(false)), "a panic is a failure");
    drop(publisher);
    assert!(store.view().all_polled());
}

#[tokio::test(start_paused = true)]
async fn a_new_configuration_restarts_only_what_differs() {
    let store = Store::default();
    let mut poller = Poller::new(store.clone());
    let started = Arc::new(Mutex::new(Vec::new()));
    let mut check = |next: &[ClusterSettings], expect: &[&str], [added, changed, removed, unchanged]: [usize; 4]| {
        let changes = poller.apply_with(next.to_vec(), |settings| {
            lock(&started).push(settings.name.as_str().to_owned());
            || Script::new([Act::Succeed])
        });
        assert_eq!(changes, Changes { added, changed, removed, unchanged });
        assert_eq!(std::mem::take(&mut *lock(&started)), expect);
        let view = store.view();
        let mut next: Vec<_> = next.iter().map(|settings| (&settings.name, &settings.metadata)).collect();
        next.sort_by_key(|(name, _)| *name);
        assert_eq!(view.clusters.iter().map(|each| (each.name(), each.metadata())).collect::<Vec<_>>(), next);
    };
    let (a, b) = (schedules::settings("a", 1, STALE_AFTER), schedules::settings("b", 2, STALE_AFTER));
    let labels = Labels::new([("site", "berlin")]).unwrap();
    let labelled = ClusterSettings { metadata: ClusterMetadata { labels, ..a.metadata.clone() }, ..a.clone() };
    let slower = ClusterSettings { interval: 2 * INTERVAL, ..a.clone() };
    let moved = schedules::settings("a", 3, STALE_AFTER);
    check(&[], &[], [0, 0, 0, 0]);
    check(&[a.clone(), b.clone()], &["a", "b"], [2, 0, 0, 0]);
    check(&[b.clone(), a.clone()], &[], [0, 0, 0, 2]);
    check(&[labelled, b.clone()], &[], [0, 1, 0, 1]);
    check(&[b.clone(), slower], &["a"], [0, 1, 0, 1]);
    check(&[b.clone(), moved], &["a"], [0, 1, 0, 1]);
    check(std::slice::from_ref(&b), &[], [0, 0, 1, 1]);
    check(&[a], &["a"], [1, 0, 1, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_hanging_cluster_delays_no_other() {
    let store = Store::default();
    let mut poller = Poller::new(store.clone());
    let (hanging, healthy) = (Script::new([Act::Hang]), Script::new([Act::Succeed]));
    hanging.start(&mut poller, "hanging");
    healthy.start(&mut poller, "healthy");
    pass(3 * INTERVAL).await;
    assert_eq!((up(&store, "hanging"), up(&store, "healthy")), (None, Some(true)));
    assert_eq!(hanging.polls(), 1, "at most one poll in flight");
    assert!(healthy.polls() >= 3);
}

/// The greatest delay of a healthy cluster among 1,000 clusters, of which 900 hang until their timeout.
async fn lateness(interval: Duration, timeout: Duration) -> Duration {
    let mut poller = Poller::new(Store::default());
    let worst = Arc::new(Mutex::new(Duration::ZERO));
    let start = clock::now().mono;
    for number in 0..1000 {
        let name = ClusterName::new(&format!("cluster-{number}")).unwrap();
        let schedule = Schedule::new(&name, interval, STALE_AFTER, start);
        let hangs = (number % 10 != 0).then_some(timeout);
        let punctual = Punctual { due: start, hangs, schedule: schedule.clone(), worst: worst.clone() };
        let publisher = poller.store.publisher(name, STALE_AFTER);
        poller.start(publisher, schedule, interval, move || punctual.clone());
    }
    pass(5 * interval).await;
    *worst.lock().unwrap()
}

/// Records how late it is polled.
#[derive(Clone)]
struct Punctual {
    due: Instant,
    hangs: Option<Duration>,
    schedule: Schedule,
    worst: Arc<Mutex<Duration>>,
}

impl StatusSource for Punctual {
    async fn poll(&mut self, now: Instant) -> Result<PollResult, PollFailure> {
        if let Some(timeout) = self.hangs {
            pass(timeout).await;
            return Err(PollFailure::new(FailureReason::Timeout, "scripted"));
        }
        let late = now.saturating_duration_since(self.due);
        {
            let mut worst = self.worst.lock().unwrap();
            *worst = (*worst).max(late);
        }
        self.due = self.schedule.next(now, None).at;
        Script::new([Act::Succeed]).poll(now).await
    }

    async fn credential_changed(&self) -> bool {
        false
    }

    fn certificate(&self) -> Option<Timestamp> {
        None
    }
}

#[tokio::test(start_paused = true)]
async fn nine_hundred_hanging_clusters_delay_a_hundred_healthy_ones_by_less_than_a_second() {
    for (interval, timeout) in [(60, 10), (10, 10)] {
        let late = lateness(Duration::from_secs(interval), Duration::from_secs(timeout)).await;
        assert!(late < Duration::from_secs(1), "{late:?} late at {interval}s/{timeout}s");
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_that_dies_shows_as_down_and_is_started_again() {
    let store = Store::default();
    let mut poller = Poller::new(store.clone());
    let script = Script::new([Act::Succeed, Act::Panic, Act::Succeed]);
    script.start(&mut poller, "one");
    pass(Duration::from_millis(1)).await;
    assert_eq!(up(&store, "one"), Some(true));
    pass(INTERVAL).await;
    assert_eq!((up(&store, "one"), script.polls()), (Some(false), 2));
    pass(INTERVAL).await;
    assert_eq!(up(&store, "one"), Some(true));
    assert!(store.view().clusters[0].counters().polls >= 2, "counters survive the task");
}

#[tokio::test(start_paused = true)]
async fn a_refused_credential_slows_down_until_its_file_changes() {
    let mut poller = Poller::new(Store::default());
    let script = Script::new([Act::Refuse(CredentialRejection::LockoutRisk)]);
    script.start(&mut poller, "one");
    pass(Duration::from_secs(590)).await;
    let before = script.polls();
    script.new_credential.store(true, Ordering::SeqCst);
    pass(2 * CREDENTIAL_CHECK_INTERVAL).await;
    assert_eq!((before, script.polls()), (2, 3));
}

#[tokio::test(start_paused = true)]
async fn other_failures_keep_the_interval() {
    let mut poller = Poller::new(Store::default());
    let script = Script::new([Act::Fail(FailureReason::Connect)]);
    script.start(&mut poller, "one");
    pass(10 * INTERVAL).await;
    assert!((10..=12).contains(&script.polls()));
}

#[tokio::test(start_paused = true)]
async fn dropping_the_poller_ends_everything() {
    let store = Store::default();
    let mut poller = Poller::new(store.clone());
    let script = Script::new([Act::Succeed]);
    script.start(&mut poller, "one");
    pass(Duration::from_millis(1)).await;
    drop(poller);
    pass(INTERVAL).await;
    assert!(store.view().clusters.is_empty());
    assert_eq!(script.polls(), 1);
}
