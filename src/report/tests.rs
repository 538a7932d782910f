use std::time::Instant;

use chrono::TimeDelta;

use super::*;
use crate::{
    model::{ClusterId, ClusterName, CoreVersion, Date, Dates, FailureReason, ForeignText, Identity, PollFailure},
    store::{Publisher, Store},
};

const GOLDEN: &str = "tests/golden/clusters.json";

pub fn moment(origin: Instant, seconds: u64) -> Moment {
    let wall = DateTime::UNIX_EPOCH + TimeDelta::seconds(1_795_000_000 + i64::try_from(seconds).unwrap());
    Moment { mono: origin + Duration::from_secs(seconds), wall }
}

/// With a local key store.
pub fn reading(status: Status) -> Reading {
    Reading {
        api: ApiVersion::V2,
        dates: Dates::default(),
        identity: Identity::default(),
        key_store: KeyStore::Local,
        status,
    }
}

/// With a KMS whose certificates have so many days left at the origin.
fn kms(status: Status, days: [i64; 2]) -> Reading {
    let at = |seconds: i64| {
        Date::At(Timestamp::new(DateTime::UNIX_EPOCH + TimeDelta::seconds(1_795_000_000 + seconds)).unwrap())
    };
    Reading {
        dates: Dates::from_fn(|field| match field {
            DateField::CaCertExpiry => at(days[0] * 86_400),
            DateField::ClientCertExpiry => at(days[1] * 86_400),
            DateField::LastKeyRotationTime => at(-400 * 86_400),
            DateField::LastStatusUpdateTime => at(-90),
        }),
        identity: Identity {
            cluster_id: ClusterId::parse("f8a2c1d4-0b3e-4c5d-9e8f-001122334455"),
            version: CoreVersion::parse("7.2.3.1"),
        },
        key_store: KeyStore::Kms,
        ..reading(status)
    }
}

/// A cluster of each kind.
pub fn fleet(store: &Store, origin: Instant) -> Vec<Publisher> {
    let add = |name: &str| store.publisher(ClusterName::new(name).unwrap(), Duration::from_secs(300));
    let ok = |name: &str, reading: Reading| {
        let mut publisher = add(name);
        publisher.record(moment(origin, 660), Duration::from_millis(12), Ok(reading));
        publisher
    };
    let fail = |mut publisher: Publisher, reason: FailureReason| {
        publisher.record(moment(origin, 665), Duration::ZERO, Err(PollFailure::new(reason, "refused <by> it")));
        publisher
    };
    vec![
        ok("local", reading(Status::Encrypted)),
        ok("fine", kms(Status::KmsAvailable, [900, 800])),
        ok("soon", kms(Status::KmsAvailable, [20, 800])),
        ok("very-soon", kms(Status::KmsAvailable, [900, 3])),
        ok("expired", kms(Status::KmsAvailable, [-2, 800])),
        ok("lost", kms(Status::KmsKeyNotFound, [900, 800])),
        ok("new", reading(Status::Unknown(ForeignText::new("KMS Quorum Lost")))),
        fail(ok("failing", kms(Status::KmsAvailable, [900, 800])), FailureReason::Timeout),
        fail(add("never"), FailureReason::Dns),
        add("not-polled"),
    ]
}

#[test]
fn json_of_a_fixed_fleet_is_the_golden_file() {
    let (store, origin) = (Store::default(), Instant::now());
    let _publishers = fleet(&store, origin);
    let got = String::from_utf8(json::render(&report(&store.view(), &moment(origin, 670)))).unwrap();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(GOLDEN, &got).unwrap();
    }
    assert_eq!(got, std::fs::read_to_string(GOLDEN).unwrap(), "to accept it: UPDATE_GOLDEN=1 cargo test");
}

#[test]
fn worst_comes_first() {
    let (store, origin) = (Store::default(), Instant::now());
    let _publishers = fleet(&store, origin);
    let report = report(&store.view(), &moment(origin, 670));
    let order: Vec<(&str, Severity)> =
        report.clusters.iter().map(|cluster| (cluster.name.as_str(), cluster.severity())).collect();
    let expect = [
        ("expired", Severity::Critical),
        ("very-soon", Severity::Critical),
        ("lost", Severity::Critical),
        ("failing", Severity::Unknown),
        ("never", Severity::Unknown),
        ("not-polled", Severity::Unknown),
        ("soon", Severity::Warning),
        ("new", Severity::Warning),
        ("fine", Severity::Good),
        ("local", Severity::Good),
    ];
    assert_eq!(order, expect);
    assert_eq!(report.severity(), Severity::Critical);
    assert_eq!(Severity::ALL.map(|severity| report.count(severity)), [3, 3, 2, 2]);
}

#[test]
fn certificates_are_judged_at_the_boundaries() {
    let check = |seconds: f64, expect: Option<Severity>| {
        let expires = Timestamp::new(DateTime::UNIX_EPOCH).unwrap();
        let finding = advice::certificate(&Certificate { kind: KmsCertificate::Ca, expires, seconds_left: seconds });
        assert_eq!(finding.map(|finding| finding.severity), expect, "{seconds}");
    };
    check(30.0 * 86_400.0, None);
    check(30.0 * 86_400.0 - 1.0, Some(Severity::Warning));
    check(7.0 * 86_400.0, Some(Severity::Warning));
    check(7.0 * 86_400.0 - 1.0, Some(Severity::Critical));
    check(0.0, Some(Severity::Critical));
    check(-1e9, Some(Severity::Critical));
}

#[test]
fn every_state_of_the_kms_says_what_not_to_do() {
    for status in [
        Status::ConfigurationCorrupted,
        Status::KmsAuthenticationError,
        Status::KmsCannotConnect,
        Status::KmsKeyInactive,
        Status::KmsKeyNotFound,
    ] {
        let finding = advice::status(&status).unwrap();
        assert!(finding.advice.starts_with("Do not reboot, upgrade or power-cycle nodes"), "{status:?}");
    }
    assert_eq!(advice::status(&Status::Encrypted), None);
    assert_eq!(advice::status(&Status::KmsAvailable), None);
}

#[test]
fn an_outdated_status_is_not_reported() {
    let (store, origin) = (Store::default(), Instant::now());
    let _publishers = fleet(&store, origin);
    for cluster in report(&store.view(), &moment(origin, 660 + 300)).clusters {
        assert!(cluster.reading.is_none() && cluster.certificates.is_empty(), "{}", cluster.name);
        assert_eq!(cluster.severity(), Severity::Unknown, "{}", cluster.name);
    }
}

#[test]
fn spans_are_said_in_their_largest_unit() {
    let check = |seconds: f64, expect: &str| assert_eq!(span(seconds), expect);
    check(0.4, "0 seconds");
    check(1.0, "1 second");
    check(119.0, "1 minute");
    check(7200.0, "2 hours");
    check(-86_400.0, "1 day");
    check(86_400.0 * 900.5, "900 days");
}
