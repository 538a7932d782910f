//! The judgement in Rust and the alert rules say the same: the matrix that an end-to-end test holds against promtool.

use std::{
    fmt::Write,
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::{DateTime, TimeDelta};
use qumulo_encryption_exporter::{
    metrics,
    model::{
        About, ApiVersion, ClusterName, Date, DateField, Dates, FailureReason, ForeignText, KeyStore, Moment, Policy,
        PollFailure, Reading, Require, Status, Timestamp,
    },
    report::{self, Severity},
    store::Store,
};

/// When the judgement is made, in seconds from the beginning: after every wait.
const END: u64 = 5 * 3600;

/// When a cluster that is not readable was last seen.
const LAST_SEEN: u64 = 600;

const DAY: i64 = 86_400;

/// What a matrix has in one cell.
#[derive(Clone, Copy, Debug)]
struct Case {
    /// Days that the two certificates have left at the end; `None` is not reported.
    days: [Option<i64>; 2],
    key_days: i64,
    key_store: KeyStore,
    readable: bool,
    require: Option<Require>,
    status: usize,
}

fn statuses() -> [Status; 9] {
    [
        Status::NotEncrypted,
        Status::Encrypted,
        Status::ConfigurationCorrupted,
        Status::KmsAvailable,
        Status::KmsAuthenticationError,
        Status::KmsCannotConnect,
        Status::KmsKeyNotFound,
        Status::KmsKeyInactive,
        Status::Unknown(ForeignText::new("odd")),
    ]
}

fn cases() -> Vec<Case> {
    let stores = [
        (KeyStore::Local, [None, None]),
        (KeyStore::Kms, [Some(900), Some(900)]),
        (KeyStore::Kms, [Some(20), Some(900)]),
        (KeyStore::Kms, [Some(900), Some(3)]),
        (KeyStore::Kms, [Some(-2), Some(900)]),
        (KeyStore::Kms, [Some(900), None]),
        (KeyStore::Unknown, [None, None]),
    ];
    let mut cases = Vec::new();
    for status in 0..statuses().len() {
        for (key_store, days) in stores {
            for require in [None, Some(Require::Any), Some(Require::Encrypted), Some(Require::Kms)] {
                for readable in [true, false] {
                    let key_days = if cases.len() % 3 == 0 { 400 } else { 10 };
                    cases.push(Case { days, key_days, key_store, readable, require, status });
                }
            }
        }
    }
    cases
}

fn moment(origin: Instant, seconds: u64) -> Moment {
    let wall = DateTime::UNIX_EPOCH + TimeDelta::seconds(1_800_000_000 + i64::try_from(seconds).unwrap());
    Moment { mono: origin + Duration::from_secs(seconds), wall }
}

fn reading(case: &Case) -> Reading {
    let end = 1_800_000_000 + i64::try_from(END).unwrap();
    let at = |seconds: i64| Date::At(Timestamp::new(DateTime::UNIX_EPOCH + TimeDelta::seconds(end + seconds)).unwrap());
    let of = |days: Option<i64>| days.map_or(Date::NotReported, |days| at(days * DAY));
    Reading {
        api: ApiVersion::V2,
        dates: Dates::from_fn(|field| match field {
            DateField::CaCertExpiry => of(case.days[0]),
            DateField::ClientCertExpiry => of(case.days[1]),
            DateField::LastKeyRotationTime => at(-case.key_days * DAY),
            DateField::LastStatusUpdateTime => Date::NotReported,
        }),
        clock: None,
        details: Arc::default(),
        key_store: case.key_store,
        kms_probe: None,
        status: statuses()[case.status].clone(),
    }
}

/// The samples of every cluster at a time: those that are not 0, which is what the rules look at.
fn samples(store: &Store, now: &Moment) -> String {
    let mut text = metrics::Text::default();
    metrics::render(&store.view(), now, &mut text);
    let text = text.into_string();
    let mut kept = String::new();
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.contains("_total")) {
        if !line.ends_with(" 0") || line.starts_with("qumulo_encryption_up") {
            let _ = writeln!(kept, "{line}");
        }
    }
    kept
}

/// Writes what the exporter serves in two phases (until `LAST_SEEN`, and from then on) and what the report says at the end.
#[test]
#[ignore = "run by the end-to-end test of the alert rules, which names the folder"]
fn matrix_for_the_alert_rules() {
    let folder = std::path::PathBuf::from(std::env::var_os("JUDGEMENT").unwrap());
    let (store, origin) = (Store::default(), Instant::now());
    let mut publishers = Vec::new();
    for (number, case) in cases().into_iter().enumerate() {
        let name = ClusterName::new(&format!("case-{number}")).unwrap();
        let mut publisher = store.publisher(name, Duration::from_secs(300));
        let policy = Policy { require: case.require, ..Policy::default() };
        store.describe(publisher.name(), &About { policy, ..About::default() });
        publisher.record(moment(origin, 0), Duration::ZERO, Ok(reading(&case)));
        publishers.push((publisher, case));
    }
    std::fs::write(folder.join("before"), samples(&store, &moment(origin, 1))).unwrap();
    for (publisher, case) in &mut publishers {
        publisher.record(moment(origin, LAST_SEEN), Duration::ZERO, Ok(reading(case)));
        let last =
            if case.readable { Ok(reading(case)) } else { Err(PollFailure::new(FailureReason::Timeout, "scripted")) };
        publisher.record(moment(origin, END - 1), Duration::ZERO, last);
    }
    let now = moment(origin, END);
    std::fs::write(folder.join("after"), samples(&store, &now)).unwrap();
    let mut verdicts = String::new();
    for cluster in report::report(&store.view(), &now).clusters {
        let about_the_cluster = cluster.findings.iter().filter(|finding| finding.id != "not_readable");
        let worst = about_the_cluster.map(|finding| finding.severity).max().unwrap_or(Severity::Good);
        let readable = cluster.up == Some(true);
        let _ = writeln!(verdicts, "{} {} {readable}", cluster.name, worst.label());
    }
    std::fs::write(folder.join("verdicts"), verdicts).unwrap();
}

#[test]
fn the_matrix_has_every_severity() {
    assert!(cases().len() > 400);
}
