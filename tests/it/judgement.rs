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
        About, AccessToken, Account, ApiVersion, ClusterName, Date, DateField, Dates, Details, FailureReason,
        ForeignText, KeyStore, KmsProbe, KmsServer, Moment, Policy, PollFailure, Privileges, Reading, Require,
        ServerClock, Status, Timestamp,
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
    surroundings: Surroundings,
}

/// What is judged beside the status: at the end, in seconds.
#[derive(Clone, Copy, Debug, Default)]
struct Surroundings {
    /// Until the certificate of the REST API expires.
    api: Option<i64>,
    /// How many privileges are too many.
    excess: usize,
    /// Until the certificate of the KMS itself expires.
    server: Option<i64>,
    /// By how much the cluster's clock is ahead.
    skew: Option<i64>,
    /// Until an access token expires.
    token: Option<i64>,
    /// Whether the policy has no limits for certificates.
    unlimited: bool,
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
                    let surroundings = Surroundings::default();
                    cases.push(Case { days, key_days, key_store, readable, require, status, surroundings });
                }
            }
        }
    }
    let healthy = |readable, surroundings| Case {
        days: [Some(900), Some(900)],
        key_days: 10,
        key_store: KeyStore::Kms,
        readable,
        require: None,
        status: 3,
        surroundings,
    };
    let nothing = Surroundings::default();
    // An hour from each limit: the alerts wait for a quarter of one.
    const HOUR: i64 = 3_600;
    let near = |limit: i64| [limit + HOUR, limit - HOUR];
    for left in [near(30 * DAY), near(7 * DAY), near(0), [40 * DAY, -3 * DAY]].concat() {
        for readable in [true, false] {
            cases.push(healthy(readable, Surroundings { api: Some(left), ..nothing }));
            cases.push(healthy(readable, Surroundings { server: Some(left), ..nothing }));
            cases.push(healthy(readable, Surroundings { token: Some(left), ..nothing }));
        }
    }
    for left in [3 * DAY, -3 * DAY] {
        cases.push(healthy(true, Surroundings { api: Some(left), unlimited: true, ..nothing }));
        cases.push(healthy(true, Surroundings { server: Some(left), unlimited: true, ..nothing }));
    }
    // It is not one of the two that the cluster reports.
    let third = Surroundings { server: Some(40 * DAY), ..nothing };
    cases.push(Case { days: [Some(900), None], ..healthy(true, third) });
    for skew in [-7_200, -400, -200, 0, 200, 400, 7_200] {
        for readable in [true, false] {
            cases.push(healthy(readable, Surroundings { skew: Some(skew), ..nothing }));
        }
    }
    for readable in [true, false] {
        cases.push(healthy(readable, Surroundings { excess: 3, ..nothing }));
    }
    cases
}

fn moment(origin: Instant, seconds: u64) -> Moment {
    let wall = DateTime::UNIX_EPOCH + TimeDelta::seconds(1_800_000_000 + i64::try_from(seconds).unwrap());
    Moment { mono: origin + Duration::from_secs(seconds), wall }
}

/// The answer of a moment.
fn reading(case: &Case, now: &Moment) -> Reading {
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
        clock: case.surroundings.skew.map(|skew| {
            let date = Timestamp::new(now.wall + TimeDelta::seconds(skew)).unwrap();
            ServerClock { at: now.mono, date }
        }),
        details: Arc::new(details(&case.surroundings, end)),
        key_store: case.key_store,
        kms_probe: case.surroundings.server.map(|left| KmsProbe::Shown(at(left).timestamp().unwrap())),
        status: statuses()[case.status].clone(),
    }
}

fn details(surroundings: &Surroundings, end: i64) -> Details {
    let token = |left: i64| {
        let expires = Timestamp::new(DateTime::UNIX_EPOCH + TimeDelta::seconds(end + left)).unwrap();
        AccessToken::new("17", expires).unwrap()
    };
    let names = std::iter::repeat_n("PRIVILEGE_FS_READ", surroundings.excess).chain([Privileges::NEEDED]);
    let account = Account {
        privileges: Some(Privileges::new(names)),
        tokens: surroundings.token.map(token).into_iter().collect(),
    };
    let kms = Some(KmsServer::new("kms.example.com", Some(5696), "key", None));
    Details { account, kms, ..Details::default() }
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
        let mut policy = Policy { require: case.require, ..Policy::default() };
        if case.surroundings.unlimited {
            (policy.certificate_warning, policy.certificate_critical) = (None, None);
        }
        store.describe(publisher.name(), &About { policy, ..About::default() });
        let certificate = |left: i64| {
            let end = 1_800_000_000 + i64::try_from(END).unwrap();
            Timestamp::new(DateTime::UNIX_EPOCH + TimeDelta::seconds(end + left)).unwrap()
        };
        publisher.saw_certificate(case.surroundings.api.map(certificate));
        let now = moment(origin, 0);
        publisher.record(now, Duration::ZERO, Ok(reading(&case, &now)));
        publishers.push((publisher, case));
    }
    std::fs::write(folder.join("before"), samples(&store, &moment(origin, 1))).unwrap();
    for (publisher, case) in &mut publishers {
        let (seen, last) = (moment(origin, LAST_SEEN), moment(origin, END - 1));
        publisher.record(seen, Duration::ZERO, Ok(reading(case, &seen)));
        let failure = || PollFailure::new(FailureReason::Timeout, "scripted");
        let answer = if case.readable { Ok(reading(case, &last)) } else { Err(failure()) };
        publisher.record(last, Duration::ZERO, answer);
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
