use std::time::Instant;

use chrono::TimeDelta;

use super::*;
use crate::{
    model::{
        AccessToken, Account, ClusterId, ClusterMetadata, ClusterName, CoreVersion, Date, Dates, Details,
        FailureReason, ForeignText, Identity, KmsProbe, Policy, PollFailure, Privileges, Require, ServerClock,
    },
    store::{Publisher, Store},
};

const GOLDEN: &str = "tests/golden/clusters.json";

pub fn clock_time(origin: Instant, seconds: u64) -> ClockTime {
    let wall = DateTime::UNIX_EPOCH + TimeDelta::seconds(1_795_000_000 + i64::try_from(seconds).unwrap());
    ClockTime { mono: origin + Duration::from_secs(seconds), wall }
}

/// `days` left for the KMS CA and the KMS client certificate at the origin.
pub fn kms(status: Status, days: [i64; 2]) -> PollResult {
    let at = |seconds: i64| {
        Date::At(Timestamp::new(DateTime::UNIX_EPOCH + TimeDelta::seconds(1_795_000_000 + seconds)).unwrap())
    };
    PollResult {
        dates: Dates::from_fn(|field| match field {
            DateField::CaCertExpiry => at(days[0] * 86_400),
            DateField::ClientCertExpiry => at(days[1] * 86_400),
            DateField::LastKeyRotationTime => at(-400 * 86_400),
            DateField::LastStatusUpdateTime => at(-90),
        }),
        details: Arc::new(Details {
            identity: Identity {
                cluster_id: ClusterId::parse("f8a2c1d4-0b3e-4c5d-9e8f-001122334455"),
                version: CoreVersion::parse("7.2.3.1"),
            },
            kms: Some(KmsServer::new("kms.example.com", Some(5696), "8f2c1f7e-qumulo-master", None)),
            ..Details::default()
        }),
        key_store: KeyStore::Kms,
        ..PollResult::local(status)
    }
}

/// One cluster for each kind of state.
pub fn fleet(store: &Store, origin: Instant) -> Vec<Publisher> {
    let add = |name: &str| {
        let publisher = store.publisher(ClusterName::new(name).unwrap(), Duration::from_secs(300));
        let url = format!("https://{name}.example.com:8000").into();
        store.set_metadata(publisher.name(), &ClusterMetadata { url, ..ClusterMetadata::default() });
        publisher
    };
    let ok = |name: &str, result: PollResult| {
        let mut publisher = add(name);
        publisher.record(clock_time(origin, 660), Duration::from_millis(12), Ok(result));
        publisher
    };
    let fail = |mut publisher: Publisher, reason: FailureReason| {
        publisher.record(clock_time(origin, 665), Duration::ZERO, Err(PollFailure::new(reason, "refused <by> it")));
        publisher
    };
    vec![
        ok("local", PollResult::local(Status::Encrypted)),
        ok("fine", kms(Status::KmsAvailable, [900, 800])),
        ok("soon", kms(Status::KmsAvailable, [20, 800])),
        ok("very-soon", kms(Status::KmsAvailable, [900, 3])),
        ok("expired", kms(Status::KmsAvailable, [-2, 800])),
        ok("lost", kms(Status::KmsKeyNotFound, [900, 800])),
        ok("new", PollResult::local(Status::Unknown(ForeignText::new("KMS Quorum Lost")))),
        fail(ok("failing", kms(Status::KmsAvailable, [900, 800])), FailureReason::Timeout),
        fail(add("never"), FailureReason::Dns),
        add("not-polled"),
    ]
}

#[test]
fn json_of_a_fixed_fleet_is_the_golden_file() {
    let (store, origin) = (Store::default(), Instant::now());
    let _publishers = fleet(&store, origin);
    let got =
        String::from_utf8(json::render(&report(&store.view(), &clock_time(origin, 670)), Some("metrics"))).unwrap();
    // Without a repository the revision is "unknown", a word that occurs elsewhere too.
    let revision = concat!("\"revision\": \"", env!("QUMULO_ENCRYPTION_EXPORTER_REVISION"), "\"");
    let got = got.replace(revision, "\"revision\": \"REVISION\"");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(GOLDEN, &got).unwrap();
    }
    assert_eq!(got, std::fs::read_to_string(GOLDEN).unwrap(), "to accept it: UPDATE_GOLDEN=1 cargo test");
}

#[test]
fn schema_of_the_json_is_in_step_with_the_types_and_every_field_is_documented() {
    const SCHEMA: &str = "deploy/clusters.schema.json";
    let generator = schemars::generate::SchemaSettings::draft2020_12().for_serialize().into_generator();
    let mut schema = generator.into_root_schema_for::<json::Document<'_>>();
    schema.insert("$id".to_owned(), "urn:qumulo-encryption-exporter:clusters".into());
    let mut got = serde_json::to_string_pretty(&schema).unwrap();
    got.push('\n');
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(SCHEMA, &got).unwrap();
    }
    assert_eq!(got, std::fs::read_to_string(SCHEMA).unwrap(), "to accept it: UPDATE_GOLDEN=1 cargo test");
    let documented = std::fs::read_to_string("docs/status.md").unwrap();
    let definitions = schema.get("$defs").unwrap().as_object().unwrap().values();
    let fields = definitions.chain([schema.as_value()]).flat_map(|each| each["properties"].as_object().unwrap().keys());
    let missing: Vec<&String> = fields.filter(|field| !documented.contains(&format!("`{field}`"))).collect();
    assert_eq!(missing, [""; 0], "not in docs/status.md");
    for kind in Kind::ALL {
        let severities: Vec<&str> = kind.severities().iter().map(|severity| severity.label()).collect();
        let row = documented.lines().find(|line| line.starts_with(&format!("| `{}` | {} |", kind.id(), kind.rank())));
        let cells: Vec<&str> = row.unwrap_or_else(|| panic!("{kind:?} has no row")).split('|').collect();
        assert!(severities.iter().all(|severity| cells[3..].concat().contains(severity)), "{kind:?}: {cells:?}");
    }
}

#[test]
fn worst_comes_first() {
    let (store, origin) = (Store::default(), Instant::now());
    let _publishers = fleet(&store, origin);
    let report = report(&store.view(), &clock_time(origin, 670));
    let order: Vec<(&str, Severity)> =
        report.clusters.iter().map(|cluster| (cluster.name.as_str(), cluster.severity())).collect();
    let expect = [
        ("lost", Severity::Critical),
        ("expired", Severity::Critical),
        ("very-soon", Severity::Critical),
        ("failing", Severity::Unknown),
        ("never", Severity::Unknown),
        ("not-polled", Severity::Unknown),
        ("new", Severity::Warning),
        ("soon", Severity::Warning),
        ("fine", Severity::Warning),
        ("local", Severity::Good),
    ];
    assert_eq!(order, expect);
    assert_eq!(Severity::ALL.map(|severity| report.count(severity)), [3, 3, 3, 1]);
}

#[test]
fn certificates_are_judged_at_the_boundaries() {
    let check = |seconds: f64, expect: Option<Severity>| {
        let expires = Timestamp::new(DateTime::UNIX_EPOCH).unwrap();
        let certificate = Certificate { kind: KmsCertificate::Ca, expires, seconds_left: seconds };
        let finding = findings::certificate(&certificate, &Policy::default());
        assert_eq!(finding.map(|finding| finding.severity), expect, "{seconds}");
    };
    check(30.0 * 86_400.0, None);
    check(30.0 * 86_400.0 - 1.0, Some(Severity::Warning));
    check(7.0 * 86_400.0, Some(Severity::Warning));
    check(7.0 * 86_400.0 - 1.0, Some(Severity::Critical));
    check(0.0, Some(Severity::Critical));
    check(-1e9, Some(Severity::Critical));
}

/// The findings of a cluster with these results, one per minute, after a further pause without polls.
fn findings_after(answers: &[PollResult], policy: Policy, then: u64) -> Vec<(&'static str, Severity)> {
    let (store, origin) = (Store::default(), Instant::now());
    let mut publisher = store.publisher(ClusterName::new("one").unwrap(), Duration::from_secs(300));
    store.set_metadata(publisher.name(), &ClusterMetadata { policy, ..ClusterMetadata::default() });
    let mut second = 0;
    for answer in answers {
        publisher.record(clock_time(origin, second), Duration::ZERO, Ok(answer.clone()));
        second += 60;
    }
    let report = report(&store.view(), &clock_time(origin, second + then));
    report.clusters[0].findings.iter().map(|finding| (finding.kind.id(), finding.severity)).collect()
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
        let (store, origin) = (Store::default(), Instant::now());
        let mut publisher = store.publisher(ClusterName::new("one").unwrap(), Duration::from_secs(300));
        publisher.record(clock_time(origin, 0), Duration::ZERO, Ok(kms(status.clone(), [900, 900])));
        let report = report(&store.view(), &clock_time(origin, 1));
        let cluster = &report.clusters[0];
        assert!(cluster.findings[0].instructions().starts_with("Do not reboot"), "{status:?}");
        assert_eq!(cluster.restart_forbidden_by(), cluster.findings.first());
    }
    let good = Policy { key_max_age: None, ..Policy::default() };
    assert_eq!(findings_after(&[kms(Status::KmsAvailable, [900, 900])], good, 0), []);
    assert_eq!(findings_after(&[PollResult::local(Status::Encrypted)], good, 0), []);
}

#[test]
fn a_key_fault_remains_until_a_status_reveals_the_key_state() {
    let lost = ("key_not_found", Severity::Critical);
    let no_age = Policy { key_max_age: None, ..Policy::default() };
    let kms = |status| kms(status, [900, 900]);
    let first = |answers: &[PollResult], then| findings_after(answers, no_age, then).first().copied();
    assert_eq!(first(&[kms(Status::KmsKeyNotFound)], 0), Some(lost));
    assert_eq!(first(&[kms(Status::KmsKeyNotFound)], 86_400), Some(lost), "not readable for a day");
    assert_eq!(first(&[kms(Status::KmsKeyNotFound), kms(Status::KmsCannotConnect)], 0), Some(lost), "its KMS restarts");
    assert_eq!(
        first(&[kms(Status::KmsKeyNotFound), kms(Status::KmsCannotConnect), kms(Status::KmsAvailable)], 0),
        None
    );
}

#[test]
fn a_kms_that_is_of_no_use_for_an_hour_is_critical_over_both_states() {
    let (refused, gone) = (kms(Status::KmsAuthenticationError, [900, 900]), kms(Status::KmsCannotConnect, [900, 900]));
    let severity = |answers: &[PollResult]| {
        let findings = findings_after(answers, Policy::default(), 0);
        findings.iter().find(|(id, _)| *id == "kms_cannot_connect").map(|(_, severity)| *severity)
    };
    assert_eq!(severity(&vec![gone.clone(); 30]), Some(Severity::Warning));
    assert_eq!(severity(&vec![gone.clone(); 61]), Some(Severity::Critical));
    assert_eq!(severity(&[vec![refused; 40], vec![gone; 30]].concat()), Some(Severity::Critical));
}

#[test]
fn the_policy_decides() {
    let policy = |require| Policy { require, key_max_age: None, ..Policy::default() };
    let violated = |severity| Some(("policy_violated", severity));
    let check = |answer: PollResult, require: Option<Require>, expect: Option<(&'static str, Severity)>| {
        assert_eq!(
            findings_after(std::slice::from_ref(&answer), policy(require), 0).first().copied(),
            expect,
            "{require:?} {answer:?}"
        );
    };
    check(PollResult::local(Status::NotEncrypted), None, violated(Severity::Warning));
    check(PollResult::local(Status::NotEncrypted), Some(Require::Any), None);
    check(PollResult::local(Status::NotEncrypted), Some(Require::Encrypted), violated(Severity::Critical));
    check(PollResult::local(Status::NotEncrypted), Some(Require::Kms), violated(Severity::Critical));
    check(PollResult::local(Status::Encrypted), Some(Require::Encrypted), None);
    check(PollResult::local(Status::Encrypted), Some(Require::Kms), violated(Severity::Critical));
    check(
        PollResult { key_store: KeyStore::Unknown, ..PollResult::local(Status::Encrypted) },
        Some(Require::Kms),
        None,
    );
}

fn judge_one(result: PollResult, policy: Policy) -> (ClusterReport, Vec<(Kind, Severity, bool)>) {
    let (store, now) = (Store::default(), clock_time(Instant::now(), 0));
    let mut publisher = store.publisher(ClusterName::new("one").unwrap(), Duration::from_secs(300));
    store.set_metadata(publisher.name(), &ClusterMetadata { policy, ..ClusterMetadata::default() });
    publisher.record(now, Duration::ZERO, Ok(result));
    let view = store.view();
    (report(&view, &now).clusters.remove(0), findings::samples(&view.clusters[0], &now))
}

#[test]
fn texts_say_what_is_missing_or_violated() {
    let check = |result: PollResult, require: Option<Require>, expect: &str| {
        let (cluster, _) = judge_one(result, Policy { require, key_max_age: None, ..Policy::default() });
        let texts: Vec<&str> = cluster.findings.iter().map(|finding| finding.text.as_str()).collect();
        assert_eq!(texts, [expect]);
    };
    check(PollResult::local(Status::NotEncrypted), None, "Not Encrypted");
    let required = "Not Encrypted, but the policy requires encryption";
    check(PollResult::local(Status::NotEncrypted), Some(Require::Encrypted), required);
    check(PollResult::local(Status::NotEncrypted), Some(Require::Kms), required);
    let on_nodes = "The master key is stored on the nodes, but the policy requires a KMS";
    check(PollResult::local(Status::Encrypted), Some(Require::Kms), on_nodes);
    let without = |missing: &[DateField]| {
        let kms = kms(Status::KmsAvailable, [900, 900]);
        let date = |field| if missing.contains(&field) { Date::NotReported } else { kms.dates.get(field).clone() };
        PollResult { dates: Dates::from_fn(date), ..kms }
    };
    let (ca, client) = (DateField::CaCertExpiry, DateField::ClientCertExpiry);
    check(without(&[ca]), None, "The cluster does not report when its KMS CA certificate expires");
    check(without(&[client]), None, "The cluster does not report when its KMS client certificate expires");
    check(without(&[ca, client]), None, "The cluster does not report when its KMS certificates expire");
}

#[test]
fn only_a_key_that_exists_and_has_a_limit_can_be_too_old() {
    let limit = Some(Duration::from_secs(86_400));
    for (status, key_max_age, finding, is_known) in [
        (Status::Encrypted, limit, Some(Kind::KeyAgeUnknown), false),
        (Status::Encrypted, None, None, true),
        (Status::NotEncrypted, limit, None, true),
    ] {
        let policy = Policy { key_max_age, require: Some(Require::Any), ..Policy::default() };
        let (cluster, samples) = judge_one(PollResult::local(status.clone()), policy);
        assert_eq!(cluster.findings.first().map(|finding| finding.kind), finding, "{status:?} {key_max_age:?}");
        let sample = samples.iter().find(|(kind, ..)| *kind == Kind::KeyTooOld).map(|(_, _, applies)| *applies);
        assert_eq!(sample, is_known.then_some(false), "{status:?} {key_max_age:?}");
    }
}

#[test]
fn each_access_token_has_its_own_severity() {
    let day = Duration::from_secs(86_400);
    let check = |days: &[i64], warning: Option<Duration>, expect: &[(i64, Severity)]| {
        let at = |days: i64| {
            Timestamp::new(DateTime::UNIX_EPOCH + TimeDelta::seconds(1_795_000_000 + days * 86_400)).unwrap()
        };
        let tokens = days.iter().map(|days| AccessToken::new("17", Some(at(*days))).unwrap()).collect();
        let account = Account { tokens: Some(tokens), ..Account::default() };
        let details = Arc::new(Details { account, ..Details::default() });
        let policy = Policy {
            certificate_warning: warning,
            certificate_critical: Some(7 * day),
            key_max_age: None,
            ..Policy::default()
        };
        let (cluster, _) = judge_one(PollResult { details, ..PollResult::local(Status::Encrypted) }, policy);
        let found: Vec<_> = cluster.findings.iter().map(|each| (each.expires.unwrap(), each.severity)).collect();
        let expect: Vec<_> = expect.iter().map(|(days, severity)| (at(*days), *severity)).collect();
        assert_eq!(found, expect, "{days:?}");
    };
    check(&[3, 400], Some(30 * day), &[(3, Severity::Warning)]);
    check(&[3, 5], Some(30 * day), &[(5, Severity::Critical), (3, Severity::Warning)]);
    check(&[3, 5], None, &[(5, Severity::Critical)]);
    check(&[400, 500], Some(30 * day), &[]);
}

#[test]
fn what_surrounds_the_status_is_judged_at_the_boundaries() {
    const DAY: f64 = 86_400.0;
    let origin = Instant::now();
    let at = |seconds: f64| {
        Timestamp::new(DateTime::UNIX_EPOCH + TimeDelta::milliseconds(((1_795_000_000.0 + seconds) * 1e3) as i64))
            .unwrap()
    };
    // After 100 seconds. `certificate` and `token` are the seconds left then; `skew` is the clock skew.
    let judge = |certificate: Option<f64>, token: Option<f64>, skew: Option<f64>, privileges: &[&str]| {
        let (store, mut answer) = (Store::default(), PollResult::local(Status::Encrypted));
        let tokens = token.map(|left| vec![AccessToken::new("17", Some(at(100.0 + left))).unwrap()]);
        let account = Account { privileges: Some(Privileges::new(privileges.iter().copied())), tokens };
        answer.details = Arc::new(Details { account, ..Details::default() });
        answer.clock = skew.map(|skew| ServerClock { at: origin, date: at(skew) });
        let mut publisher = store.publisher(ClusterName::new("one").unwrap(), Duration::from_secs(300));
        let policy = Policy { key_max_age: None, ..Policy::default() };
        store.set_metadata(publisher.name(), &ClusterMetadata { policy, ..ClusterMetadata::default() });
        publisher.set_api_certificate(certificate.map(|left| at(100.0 + left)));
        publisher.record(clock_time(origin, 0), Duration::ZERO, Ok(answer));
        let report = report(&store.view(), &clock_time(origin, 100));
        let cluster = &report.clusters[0];
        let found: Vec<_> = cluster.findings.iter().map(|finding| (finding.kind.id(), finding.severity)).collect();
        assert!(found.len() <= 1, "{found:?}");
        found.first().copied()
    };
    let certificate = |severity| Some(("api_certificate_expiring", severity));
    let check = |left: f64, expect| assert_eq!(judge(Some(left), None, None, &[]), expect, "{left}");
    check(30.0 * DAY, None);
    check(30.0 * DAY - 1.0, certificate(Severity::Warning));
    check(7.0 * DAY, certificate(Severity::Warning));
    check(7.0 * DAY - 1.0, certificate(Severity::Warning));
    check(1.0, certificate(Severity::Warning));
    check(0.0, certificate(Severity::Critical));
    check(-3.0 * DAY, certificate(Severity::Critical));
    let token = |severity| Some(("access_token_expiring", severity));
    let check = |left: f64, expect| assert_eq!(judge(None, Some(left), None, &[]), expect, "{left}");
    check(30.0 * DAY, None);
    check(30.0 * DAY - 1.0, token(Severity::Warning));
    check(7.0 * DAY - 1.0, token(Severity::Critical));
    check(1.0, token(Severity::Critical));
    // It expired after the last poll, so it may be the token that the exporter uses.
    check(0.0, token(Severity::Critical));
    check(-99.0, token(Severity::Critical));
    // It had expired before the last poll.
    check(-100.0, None);
    let check = |skew: f64, expect: bool| {
        let found = judge(None, None, Some(skew), &[]);
        assert_eq!(found, expect.then_some(("clock_skew", Severity::Warning)), "{skew}");
    };
    // `Date` has whole seconds, so half a second is added.
    check(299.5, false);
    check(300.0, true);
    check(-300.5, false);
    check(-301.0, true);
    let excess = Some(("excess_privileges", Severity::Info));
    assert_eq!(judge(None, None, None, &["PRIVILEGE_ENCRYPTION_READ"]), None);
    assert_eq!(judge(None, None, None, &["PRIVILEGE_ENCRYPTION_READ", "PRIVILEGE_FS_READ"]), excess);
}

#[test]
fn what_is_only_worth_knowing_leaves_a_cluster_good() {
    let good = Policy { key_max_age: None, ..Policy::default() };
    let answer = |refreshed: i64, ca_expiry: Option<Date>| {
        let kms = kms(Status::KmsAvailable, [900, 900]);
        let updated = DateTime::UNIX_EPOCH + TimeDelta::seconds(1_795_000_000 - refreshed);
        let dates = Dates::from_fn(|field| match field {
            DateField::LastStatusUpdateTime => Date::At(Timestamp::new(updated).unwrap()),
            DateField::LastKeyRotationTime => ca_expiry.clone().unwrap_or_default(),
            other => kms.dates.get(other).clone(),
        });
        PollResult { dates, ..kms }
    };
    let (not_refreshed, unreadable) = (("status_not_refreshed", Severity::Info), ("unreadable_date", Severity::Info));
    let garbage = Some(Date::Unreadable(ForeignText::new("soon")));
    for (refreshed, date, expect) in [
        (86_400, None, &[][..]),
        (86_401, None, &[not_refreshed]),
        (-3_600, None, &[]),
        (90, garbage.clone(), &[unreadable]),
        (90_000, garbage, &[not_refreshed, unreadable]),
    ] {
        let answer = answer(refreshed, date);
        assert_eq!(findings_after(std::slice::from_ref(&answer), good, 0), expect, "{refreshed}");
        let (store, origin) = (Store::default(), Instant::now());
        let mut publisher = store.publisher(ClusterName::new("one").unwrap(), Duration::from_secs(300));
        store.set_metadata(publisher.name(), &ClusterMetadata { policy: good, ..ClusterMetadata::default() });
        publisher.record(clock_time(origin, 0), Duration::ZERO, Ok(answer));
        assert_eq!(report(&store.view(), &clock_time(origin, 0)).clusters[0].severity(), Severity::Good, "{refreshed}");
    }
}

#[test]
fn the_age_of_the_key_is_judged_at_the_boundary() {
    let too_old = ("key_too_old", Severity::Warning);
    // 400 days old at the origin, one minute earlier.
    for (limit, then, expect) in [
        (Some(400 * 86_400 + 60), 0, None),
        (Some(400 * 86_400 + 60), 1, Some(too_old)),
        (Some(399 * 86_400), 0, Some(too_old)),
        (None, 0, None),
    ] {
        let policy = Policy { key_max_age: limit.map(Duration::from_secs), ..Policy::default() };
        let found = findings_after(&[kms(Status::KmsAvailable, [900, 900])], policy, then);
        assert_eq!(found.first().copied(), expect, "{limit:?} {then}");
    }
}

#[test]
fn a_poller_that_broke_down_says_so() {
    let (store, origin) = (Store::default(), Instant::now());
    let mut publisher = store.publisher(ClusterName::new("one").unwrap(), Duration::from_secs(300));
    publisher.record_crash(clock_time(origin, 0));
    let report = report(&store.view(), &clock_time(origin, 1));
    let finding = &report.clusters[0].findings[0];
    assert_eq!(
        (finding.kind.id(), &*finding.text),
        ("not_readable", "The polling task panicked and will be restarted")
    );
}

#[test]
fn whether_the_kms_was_reached_is_told_only_if_it_was_tried() {
    let expires = Timestamp::new(DateTime::UNIX_EPOCH).unwrap();
    for (probe, expect) in [
        (None, None),
        (Some(KmsProbe::NotAllowed), None),
        (Some(KmsProbe::Shown(expires)), Some(true)),
        (Some(KmsProbe::Unreachable), Some(false)),
    ] {
        let (store, origin) = (Store::default(), Instant::now());
        let mut publisher = store.publisher(ClusterName::new("one").unwrap(), Duration::from_secs(300));
        let answer = PollResult { kms_probe: probe, ..kms(Status::KmsAvailable, [900, 900]) };
        publisher.record(clock_time(origin, 0), Duration::ZERO, Ok(answer));
        let report = report(&store.view(), &clock_time(origin, 1));
        assert_eq!(report.clusters[0].kms_reachable(), expect, "{probe:?}");
    }
}

#[test]
fn what_was_seen_last_stays_in_sight_with_its_age() {
    let (store, origin) = (Store::default(), Instant::now());
    let _publishers = fleet(&store, origin);
    for cluster in report(&store.view(), &clock_time(origin, 660 + 300)).clusters {
        assert!(cluster.fresh.is_none(), "{}: it is no present status", cluster.name);
        assert!(cluster.severity() >= Severity::Unknown, "{}", cluster.name);
        if cluster.name == "lost" {
            assert_eq!(cluster.headline(), "KMS Key Not Found, 5 minutes ago");
            let findings: Vec<_> = cluster.findings.iter().map(|finding| (finding.kind.id(), &*finding.text)).collect();
            assert_eq!(findings[0], ("key_not_found", "KMS Key Not Found (as of 5 minutes ago)"));
            assert_eq!(findings[1].0, "not_readable");
        }
    }
}

#[test]
fn spans_are_said_in_their_largest_unit() {
    let check = |seconds: f64, expect: &str| assert_eq!(format_duration(seconds), expect);
    check(0.4, "0 seconds");
    check(1.0, "1 second");
    check(119.0, "1 minute");
    check(7200.0, "2 hours");
    check(-86_400.0, "1 day");
    check(86_400.0 * 900.5, "900 days");
}
