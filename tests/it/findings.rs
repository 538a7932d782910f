//! The metric `qumulo_encryption_finding` (1, 0 or absent), also after restarts of the exporter, and its agreement with the JSON.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::{DateTime, TimeDelta};
use qumulo_encryption_exporter::{
    metrics,
    model::{
        AccessToken, Account, ApiVersion, ClockTime, ClusterMetadata, ClusterName, Date, DateField, Dates, Details,
        FailureReason, ForeignText, KeyStore, KmsProbe, Policy, PollFailure, PollResult, Privileges, Require,
        ServerClock, Status, Timestamp,
    },
    report,
    store::{Publisher, Store},
};
use serde_json::Value;

const BEGIN: i64 = 1_800_000_000;
const MINUTE: i64 = 60;
const HOUR: i64 = 3_600;
const DAY: i64 = 86_400;
const STALE_AFTER: i64 = 300;

/// Every pair of finding and severity.
const PAIRS: [(&str, &[&str]); 20] = [
    ("key_not_found", &["critical"]),
    ("configuration_corrupted", &["critical"]),
    ("key_inactive", &["critical"]),
    ("certificate_expired", &["critical"]),
    ("kms_authentication_error", &["critical"]),
    ("kms_cannot_connect", &["critical", "warning"]),
    ("certificate_critical", &["critical"]),
    ("not_readable", &["unknown"]),
    ("policy_violated", &["critical", "warning"]),
    ("unknown_status", &["warning"]),
    ("certificate_warning", &["warning"]),
    ("expiry_unknown", &["warning"]),
    ("key_too_old", &["warning"]),
    ("api_certificate_expiring", &["critical", "warning"]),
    ("access_token_expiring", &["critical", "warning"]),
    ("clock_skew", &["warning"]),
    ("status_not_refreshed", &["info"]),
    ("unreadable_date", &["info"]),
    ("excess_privileges", &["info"]),
    ("key_age_unknown", &["info"]),
];

/// One cluster and the exporter process. The time is advanced explicitly.
struct Watch {
    metadata: ClusterMetadata,
    certificate: Option<Timestamp>,
    now: i64,
    origin: Instant,
    publisher: Publisher,
    store: Store,
}

/// The result of a poll.
#[derive(Clone, Debug)]
struct Answer {
    clock: Option<i64>,
    /// Seconds left: KMS CA certificate, KMS client certificate.
    certificates: [Option<i64>; 2],
    key_age: Option<i64>,
    key_store: KeyStore,
    privileges: Option<Vec<&'static str>>,
    refreshed: Option<i64>,
    server: Option<i64>,
    status: Status,
    /// Seconds left; `None` never expires.
    tokens: Option<Vec<Option<i64>>>,
    unreadable: bool,
}

#[derive(Clone, Debug)]
enum Step {
    /// Seconds left of the REST API certificate.
    Certificate(i64),
    Fails,
    Reads(Answer),
    Restarts,
    /// From now on, certificate dates are not verified.
    Unverified,
    Waits(i64),
}

use Step::{Certificate, Fails, Reads, Restarts, Unverified, Waits};

fn timestamp(seconds: i64) -> Timestamp {
    Timestamp::new(DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds)).unwrap()
}

impl Answer {
    fn result(&self, now: i64, mono: Instant) -> PollResult {
        let date = |at: Option<i64>| at.map_or(Date::NotReported, |at| Date::At(timestamp(at)));
        let dates = Dates::from_fn(|field| match field {
            DateField::CaCertExpiry => date(self.certificates[0].map(|left| now + left)),
            DateField::ClientCertExpiry if self.unreadable => Date::Unreadable(ForeignText::new("soon")),
            DateField::ClientCertExpiry => date(self.certificates[1].map(|left| now + left)),
            DateField::LastKeyRotationTime => date(self.key_age.map(|age| now - age)),
            DateField::LastStatusUpdateTime => date(self.refreshed.map(|age| now - age)),
        });
        let token = |left: &Option<i64>| AccessToken::new("17", left.map(|left| timestamp(now + left))).unwrap();
        let account = Account {
            privileges: self.privileges.as_ref().map(|names| Privileges::new(names.iter().copied())),
            tokens: self.tokens.as_ref().map(|tokens| tokens.iter().map(token).collect()),
        };
        PollResult {
            api: ApiVersion::V2,
            clock: self.clock.map(|ahead| ServerClock { at: mono, date: timestamp(now + ahead) }),
            dates,
            details: Arc::new(Details { account, ..Details::default() }),
            key_store: self.key_store,
            kms_probe: self.server.map(|left| KmsProbe::Shown(timestamp(now + left))),
            status: self.status.clone(),
        }
    }
}

impl Watch {
    fn new(policy: Policy) -> Self {
        let (store, metadata) = (Store::default(), ClusterMetadata { policy, ..ClusterMetadata::default() });
        let publisher = publisher(&store, &metadata);
        Self { metadata, certificate: None, now: BEGIN, origin: Instant::now(), publisher, store }
    }

    fn clock_time(&self) -> ClockTime {
        let passed = Duration::from_secs(u64::try_from(self.now - BEGIN).unwrap());
        ClockTime { mono: self.origin + passed, wall: timestamp(self.now).utc() }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Certificate(left) => self.certificate = Some(timestamp(self.now + left)),
            Reads(_) | Fails => {
                let now = self.clock_time();
                let failed = || PollFailure::new(FailureReason::Timeout, "too slow");
                let result =
                    if let Reads(answer) = step { Ok(answer.result(self.now, now.mono)) } else { Err(failed()) };
                self.publisher.set_api_certificate(self.certificate);
                self.publisher.record(now, Duration::ZERO, result);
                self.now += 1;
            }
            Restarts => {
                self.certificate = None;
                self.store = Store::default();
                self.publisher = publisher(&self.store, &self.metadata);
            }
            Unverified => {
                self.metadata.dates_unverified = true;
                self.store.set_metadata(self.publisher.name(), &self.metadata);
            }
            Waits(seconds) => self.now += seconds,
        }
    }

    /// The samples of a metric by the labels after `cluster`.
    fn samples(&self, metric: &str) -> BTreeMap<String, String> {
        let mut text = metrics::Text::default();
        metrics::render(&self.store.view(), &self.clock_time(), &mut text);
        let text = text.into_string();
        let head = format!("{metric}{{cluster=\"one\"");
        let lines = text.lines().filter_map(|line| line.strip_prefix(&head));
        lines
            .map(|line| {
                let (labels, value) = line.rsplit_once(' ').unwrap();
                (labels.trim_start_matches(',').trim_end_matches('}').to_owned(), value.to_owned())
            })
            .collect()
    }

    /// `critical=1 warning=0`; empty if the finding is absent.
    fn finding(&self, name: &str) -> String {
        let head = format!("finding=\"{name}\",severity=\"");
        let samples = self.samples("qumulo_encryption_finding");
        let found = samples.iter().filter_map(|(labels, value)| {
            Some(format!("{}={value}", labels.strip_prefix(&head)?.trim_end_matches('"')))
        });
        found.collect::<Vec<_>>().join(" ")
    }

    fn json(&self) -> Value {
        let json = report::json::render(&report::report(&self.store.view(), &self.clock_time()), None);
        serde_json::from_slice::<Value>(&json).unwrap()["clusters"][0].clone()
    }
}

fn publisher(store: &Store, metadata: &ClusterMetadata) -> Publisher {
    let stale_after = Duration::from_secs(STALE_AFTER.unsigned_abs());
    let publisher = store.publisher(ClusterName::new("one").unwrap(), stale_after);
    store.set_metadata(publisher.name(), metadata);
    publisher
}

/// A healthy cluster with a KMS, with this status.
fn kms(status: Status) -> Answer {
    Answer {
        clock: Some(0),
        certificates: [Some(900 * DAY), Some(800 * DAY)],
        key_age: Some(100 * DAY),
        key_store: KeyStore::Kms,
        privileges: Some(vec!["PRIVILEGE_ENCRYPTION_READ"]),
        refreshed: Some(90),
        server: None,
        status,
        tokens: Some(vec![Some(300 * DAY)]),
        unreadable: false,
    }
}

fn local(status: Status) -> Answer {
    Answer { certificates: [None, None], key_store: KeyStore::Local, ..kms(status) }
}

fn unrecognised() -> Status {
    Status::Unknown(ForeignText::new("KMS Quorum Lost"))
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
        unrecognised(),
    ]
}

fn check_with(policy: Policy, finding: &str, steps: &[Step], expect: &str) {
    let mut watch = Watch::new(policy);
    steps.iter().for_each(|step| watch.step(step));
    assert_eq!(watch.finding(finding), expect, "{finding} after {steps:#?}");
}

fn check(finding: &str, steps: &[Step], expect: &str) {
    check_with(Policy::default(), finding, steps, expect);
}

fn reads(status: Status) -> Step {
    Reads(kms(status))
}

#[test]
fn key_findings_are_1_0_or_absent() {
    use Status::{
        ConfigurationCorrupted, Encrypted, KmsAuthenticationError, KmsAvailable, KmsCannotConnect, KmsKeyInactive,
        KmsKeyNotFound, NotEncrypted,
    };
    for (finding, status, other) in
        [("key_not_found", KmsKeyNotFound, KmsKeyInactive), ("key_inactive", KmsKeyInactive, KmsKeyNotFound)]
    {
        let found = || reads(status.clone());
        check(finding, &[], "");
        check(finding, &[Fails], "");
        check(finding, &[found()], "critical=1");
        check(finding, &[found(), Fails], "critical=1");
        for inconclusive in [KmsCannotConnect, KmsAuthenticationError, ConfigurationCorrupted, unrecognised()] {
            check(finding, &[found(), reads(inconclusive.clone())], "critical=1");
            check(finding, &[reads(KmsAvailable), reads(inconclusive.clone())], "");
            check(finding, &[found(), Restarts, reads(inconclusive.clone())], "");
            check(finding, &[found(), reads(KmsAvailable), reads(inconclusive.clone())], "");
            check(finding, &[found(), reads(other.clone()), reads(inconclusive)], "");
        }
        for conclusive in [KmsAvailable, Encrypted, NotEncrypted, other] {
            check(finding, &[reads(conclusive.clone())], "critical=0");
            check(finding, &[found(), reads(conclusive.clone())], "critical=0");
            check(finding, &[found(), Restarts, reads(conclusive)], "critical=0");
        }
        check(finding, &[found(), Restarts], "");
        check(finding, &[found(), Restarts, Fails], "");
        check(finding, &[found(), Restarts, found()], "critical=1");
        // There is no metric of a stale status.
        check(finding, &[found(), Waits(STALE_AFTER)], "");
        check(finding, &[found(), Waits(STALE_AFTER), reads(KmsCannotConnect)], "critical=1");
    }
}

#[test]
fn findings_of_one_status_are_1_0_or_absent() {
    for (finding, status) in [
        ("configuration_corrupted", Status::ConfigurationCorrupted),
        ("kms_authentication_error", Status::KmsAuthenticationError),
    ] {
        check(finding, &[reads(status.clone())], "critical=1");
        check(finding, &[reads(status.clone()), Fails], "critical=1");
        check(finding, &[reads(status.clone()), Restarts], "");
        check(finding, &[reads(status.clone()), Waits(STALE_AFTER)], "");
        check(finding, &[reads(status.clone()), reads(unrecognised())], "");
        check(finding, &[reads(Status::KmsAvailable)], "critical=0");
        check(finding, &[reads(Status::KmsKeyNotFound)], "critical=0");
        check(finding, &[reads(status), Restarts, reads(Status::KmsAvailable)], "critical=0");
    }
    check("unknown_status", &[reads(unrecognised())], "warning=1");
    check("unknown_status", &[reads(Status::KmsAvailable)], "warning=0");
    check("unknown_status", &[reads(unrecognised()), Restarts], "");
    check("unknown_status", &[reads(unrecognised()), Waits(STALE_AFTER)], "");
}

#[test]
fn a_kms_that_cannot_be_used_is_critical_after_an_hour() {
    let (gone, refused) = (|| reads(Status::KmsCannotConnect), || reads(Status::KmsAuthenticationError));
    let finding = "kms_cannot_connect";
    check(finding, &[reads(Status::KmsAvailable)], "critical=0 warning=0");
    check(finding, &[reads(unrecognised())], "");
    check(finding, &[gone()], "critical=0 warning=1");
    check(finding, &[gone(), Waits(59 * MINUTE), gone()], "critical=0 warning=1");
    check(finding, &[gone(), Waits(HOUR), gone()], "critical=1 warning=0");
    check(finding, &[refused(), Waits(HOUR), gone()], "critical=1 warning=0");
    check(finding, &[refused(), Waits(HOUR), refused()], "critical=0 warning=0");
    check(finding, &[gone(), Waits(HOUR), reads(Status::KmsAvailable), gone()], "critical=0 warning=1");
    check(finding, &[gone(), Waits(HOUR), Restarts, gone()], "critical=0 warning=1");
    check(finding, &[gone(), Waits(HOUR)], "");
    // An expired certificate has no effect while the KMS is available.
    let expired = || Reads(Answer { certificates: [Some(-DAY), Some(DAY)], ..kms(Status::KmsAvailable) });
    check(finding, &[expired(), Waits(2 * HOUR), expired()], "critical=0 warning=0");
    check(finding, &[expired(), Waits(2 * HOUR), gone()], "critical=0 warning=1");
    check("certificate_expired", &[expired()], "critical=1");
}

#[test]
fn certificate_findings_need_known_dates() {
    let all = |days: [Option<i64>; 2], expect: [&str; 3]| {
        let certificates = days.map(|days| days.map(|days| days * DAY - HOUR));
        let answer = || Reads(Answer { certificates, ..kms(Status::KmsAvailable) });
        for (finding, expect) in
            ["certificate_expired", "certificate_critical", "certificate_warning"].into_iter().zip(expect)
        {
            check(finding, &[answer()], expect);
            check(finding, &[answer(), Restarts, answer()], expect);
            check(finding, &[answer(), Restarts], "");
            check(finding, &[answer(), Waits(STALE_AFTER)], "");
        }
    };
    all([Some(900), Some(900)], ["critical=0", "critical=0", "warning=0"]);
    all([Some(30), Some(900)], ["critical=0", "critical=0", "warning=1"]);
    all([Some(900), Some(7)], ["critical=0", "critical=1", "warning=0"]);
    all([Some(0), Some(7)], ["critical=1", "critical=1", "warning=0"]);
    all([None, Some(7)], ["", "critical=1", ""]);
    all([Some(-1), None], ["critical=1", "", ""]);
    all([None, Some(900)], ["", "", ""]);
    all([None, None], ["", "", ""]);
    for finding in ["certificate_expired", "certificate_critical", "certificate_warning", "expiry_unknown"] {
        let zero =
            if finding.ends_with("expired") || finding.ends_with("critical") { "critical=0" } else { "warning=0" };
        check(finding, &[Reads(local(Status::Encrypted))], zero);
        // Dates of a KMS that was used before.
        let certificates = [Some(-DAY), Some(DAY)];
        check(finding, &[Reads(Answer { certificates, ..local(Status::Encrypted) })], zero);
    }
    let server = Answer { server: Some(-DAY), ..kms(Status::KmsAvailable) };
    check("certificate_expired", &[Reads(server)], "critical=1");
    let none = Policy { certificate_critical: None, certificate_warning: None, ..Policy::default() };
    let soon = || Reads(Answer { certificates: [Some(DAY), Some(DAY)], ..kms(Status::KmsAvailable) });
    check_with(none, "certificate_critical", &[soon()], "critical=0");
    check_with(none, "certificate_warning", &[soon()], "warning=0");
    check_with(none, "certificate_expired", &[soon(), Waits(DAY), Fails], "");
    let missing = |certificates| Reads(Answer { certificates, ..kms(Status::KmsAvailable) });
    check("expiry_unknown", &[missing([None, Some(DAY)])], "warning=1");
    check("expiry_unknown", &[missing([Some(DAY), Some(DAY)])], "warning=0");
    let unknown = Answer { key_store: KeyStore::Unknown, ..local(Status::Encrypted) };
    check("expiry_unknown", &[Reads(unknown.clone())], "");
    check("certificate_expired", &[Reads(unknown)], "");
}

#[test]
fn the_policy_is_violated_met_or_unknown() {
    let policy = |require| Policy { require, ..Policy::default() };
    let (violated, warned, met) = ("critical=1 warning=0", "critical=0 warning=1", "critical=0 warning=0");
    for (answer, expect) in [
        (local(Status::NotEncrypted), [warned, met, violated, violated]),
        (local(Status::Encrypted), [met, met, met, violated]),
        (kms(Status::KmsAvailable), [met, met, met, met]),
        (kms(Status::KmsCannotConnect), [met, met, met, met]),
        (kms(unrecognised()), ["", met, "", ""]),
        // The key store alone decides.
        (local(unrecognised()), ["", met, "", violated]),
        (Answer { key_store: KeyStore::Unknown, ..local(Status::Encrypted) }, [met, met, met, ""]),
    ] {
        let requirements = [None, Some(Require::Any), Some(Require::Encrypted), Some(Require::Kms)];
        for (require, expect) in requirements.into_iter().zip(expect) {
            let answer = || Reads(answer.clone());
            check_with(policy(require), "policy_violated", &[answer()], expect);
            check_with(policy(require), "policy_violated", &[answer(), Restarts, answer()], expect);
            check_with(policy(require), "policy_violated", &[answer(), Restarts, Fails], "");
            check_with(policy(require), "policy_violated", &[answer(), Waits(STALE_AFTER)], "");
            let mut watch = Watch::new(policy(require));
            watch.step(&answer());
            let served = watch.samples("qumulo_encryption_policy_info");
            let expect = require.map(|require| (format!("require=\"{}\"", require.label()), "1".to_owned()));
            assert_eq!(served, expect.into_iter().collect());
        }
    }
}

#[test]
fn an_unreadable_cluster_is_reported_after_the_first_poll() {
    let good = || reads(Status::KmsAvailable);
    check("not_readable", &[], "");
    check("not_readable", &[good()], "unknown=0");
    check("not_readable", &[Fails], "unknown=1");
    check("not_readable", &[good(), Fails], "unknown=1");
    check("not_readable", &[good(), Waits(STALE_AFTER)], "unknown=1");
    check("not_readable", &[Fails, good()], "unknown=0");
    check("not_readable", &[Fails, Restarts], "");
}

#[test]
fn the_key_is_too_old_or_its_age_unknown() {
    let aged = |key_age| Reads(Answer { key_age, ..kms(Status::KmsAvailable) });
    let unlimited = Policy { key_max_age: None, ..Policy::default() };
    for (policy, age, too_old, unknown) in [
        (Policy::default(), Some(10), "warning=0", "info=0"),
        (Policy::default(), Some(366), "warning=1", "info=0"),
        (Policy::default(), None, "", "info=1"),
        (unlimited, Some(366), "warning=0", "info=0"),
        (unlimited, None, "warning=0", "info=0"),
    ] {
        let answer = || aged(age.map(|days| days * DAY));
        check_with(policy, "key_too_old", &[answer()], too_old);
        check_with(policy, "key_age_unknown", &[answer()], unknown);
        check_with(policy, "key_too_old", &[answer(), Restarts], "");
        check_with(policy, "key_age_unknown", &[answer(), Waits(STALE_AFTER)], "");
    }
    // A cluster that is not encrypted has no key.
    let plain = Answer { key_age: None, ..local(Status::NotEncrypted) };
    check("key_age_unknown", &[Reads(plain)], "info=0");
}

#[test]
fn api_certificate_findings_survive_failed_polls() {
    let good = || reads(Status::KmsAvailable);
    let finding = "api_certificate_expiring";
    let (none, warned, critical) = ("critical=0 warning=0", "critical=0 warning=1", "critical=1 warning=0");
    check(finding, &[good()], "");
    check(finding, &[Certificate(40 * DAY), good()], none);
    check(finding, &[Certificate(20 * DAY), good()], warned);
    check(finding, &[Certificate(DAY), good()], warned);
    check(finding, &[Certificate(-DAY), good()], critical);
    check(finding, &[Certificate(-DAY), Fails], critical);
    check(finding, &[Certificate(DAY), good(), Waits(2 * DAY)], critical);
    check(finding, &[Certificate(-DAY), good(), Restarts], "");
    check(finding, &[Certificate(-DAY), good(), Restarts, Fails], "");
    check(finding, &[Unverified, Certificate(-DAY), good()], warned);
    check(finding, &[Unverified, Certificate(40 * DAY), good()], none);
    let off = Policy { certificate_warning: None, certificate_critical: None, ..Policy::default() };
    check_with(off, finding, &[Certificate(DAY), good()], none);
    check_with(off, finding, &[Certificate(-DAY), good()], critical);
}

#[test]
fn access_tokens_are_critical_only_if_none_lasts_longer() {
    let tokens = |tokens: Option<Vec<Option<i64>>>| Reads(Answer { tokens, ..kms(Status::KmsAvailable) });
    let finding = "access_token_expiring";
    let (none, warned, critical) = ("critical=0 warning=0", "critical=0 warning=1", "critical=1 warning=0");
    check(finding, &[tokens(None)], "");
    check(finding, &[tokens(Some(vec![]))], none);
    check(finding, &[tokens(Some(vec![None]))], none);
    check(finding, &[tokens(Some(vec![Some(40 * DAY)]))], none);
    check(finding, &[tokens(Some(vec![Some(20 * DAY)]))], warned);
    check(finding, &[tokens(Some(vec![Some(5 * DAY)]))], critical);
    check(finding, &[tokens(Some(vec![Some(5 * DAY), Some(300 * DAY)]))], warned);
    check(finding, &[tokens(Some(vec![Some(5 * DAY), None]))], warned);
    check(finding, &[tokens(Some(vec![Some(5 * DAY), Some(6 * DAY)]))], critical);
    check(finding, &[tokens(Some(vec![Some(5 * DAY), Some(20 * DAY)]))], warned);
    // The exporter cannot be using an expired token.
    check(finding, &[tokens(Some(vec![Some(-DAY), Some(300 * DAY)]))], none);
    check(finding, &[tokens(Some(vec![Some(60)])), Waits(2 * MINUTE)], critical);
    check(finding, &[tokens(Some(vec![Some(5 * DAY)])), Restarts], "");
    check(finding, &[tokens(Some(vec![Some(5 * DAY)])), Waits(STALE_AFTER)], "");
}

#[test]
fn other_findings_are_1_0_or_absent() {
    let answer = |change: fn(&mut Answer)| {
        let mut answer = kms(Status::KmsAvailable);
        change(&mut answer);
        answer
    };
    for (finding, severity, holds, unknown) in [
        ("clock_skew", "warning", answer(|it| it.clock = Some(400)), Some(answer(|it| it.clock = None))),
        (
            "status_not_refreshed",
            "info",
            answer(|it| it.refreshed = Some(2 * DAY)),
            Some(answer(|it| it.refreshed = None)),
        ),
        ("unreadable_date", "info", answer(|it| it.unreadable = true), None),
        (
            "excess_privileges",
            "info",
            answer(|it| it.privileges = Some(vec!["PRIVILEGE_FS_READ"])),
            Some(answer(|it| it.privileges = None)),
        ),
    ] {
        let good = || reads(Status::KmsAvailable);
        check(finding, &[good()], &format!("{severity}=0"));
        check(finding, &[Reads(holds.clone())], &format!("{severity}=1"));
        check(finding, &[Reads(holds.clone()), good()], &format!("{severity}=0"));
        check(finding, &[Reads(holds.clone()), Restarts], "");
        check(finding, &[Reads(holds.clone()), Restarts, good()], &format!("{severity}=0"));
        check(finding, &[Reads(holds), Waits(STALE_AFTER)], "");
        if let Some(unknown) = unknown {
            check(finding, &[Reads(unknown)], "");
        }
    }
}

#[test]
fn restarts_are_forbidden_if_data_is_at_risk_or_the_status_is_unknown() {
    let forbidden = |steps: &[Step]| {
        let mut watch = Watch::new(Policy::default());
        steps.iter().for_each(|step| watch.step(step));
        let metric = watch.samples("qumulo_encryption_do_not_restart").into_values().next();
        if let Some(metric) = &metric {
            assert_eq!(watch.json()["do_not_restart"], *metric == "1", "{steps:#?}");
        }
        metric
    };
    let (yes, no) = (Some("1".to_owned()), Some("0".to_owned()));
    for status in statuses() {
        let good = [Status::NotEncrypted, Status::Encrypted, Status::KmsAvailable].contains(&status);
        assert_eq!(forbidden(&[reads(status.clone())]), if good { no.clone() } else { yes.clone() }, "{status:?}");
        assert_eq!(forbidden(&[reads(status.clone()), Fails]), yes, "{status:?}");
        assert_eq!(forbidden(&[reads(status.clone()), Waits(STALE_AFTER)]), yes, "{status:?}");
        assert_eq!(forbidden(&[reads(status), Restarts]), None);
    }
    assert_eq!(forbidden(&[]), None);
    assert_eq!(forbidden(&[Fails]), yes);
    let expired = || Reads(Answer { certificates: [Some(-DAY), Some(DAY)], ..kms(Status::KmsAvailable) });
    assert_eq!(forbidden(&[expired()]), yes);
    let soon = || Reads(Answer { certificates: [Some(DAY), Some(DAY)], ..kms(Status::KmsAvailable) });
    assert_eq!(forbidden(&[soon()]), no);
}

/// Every combination, including those that the tests above do not cover.
#[test]
fn metric_and_json_agree() {
    let pairs: BTreeMap<&str, &[&str]> = PAIRS.into();
    let mut seen: BTreeMap<(String, String), [bool; 2]> = BTreeMap::new();
    let stores = [KeyStore::Local, KeyStore::Kms, KeyStore::Unknown];
    let days = [[None, None], [Some(900), Some(900)], [Some(20), Some(900)], [Some(900), Some(3)], [Some(-2), None]];
    let after = [vec![], vec![Fails], vec![Waits(STALE_AFTER)], vec![Waits(2 * HOUR), Fails], vec![Restarts, Fails]];
    let pair = |one: Status| statuses().map(|two| (one.clone(), two));
    for (row, (first, second)) in statuses().into_iter().flat_map(pair).enumerate() {
        for (number, key_store) in stores.into_iter().enumerate() {
            for (case, days) in days.into_iter().enumerate() {
                let require = [None, Some(Require::Any), Some(Require::Encrypted), Some(Require::Kms)][case % 4];
                let certificates = days.map(|days| days.map(|days| days * DAY));
                let key_age = [Some(10 * DAY), None, Some(400 * DAY)][(case + number) % 3];
                let answer = |status| Reads(Answer { certificates, key_age, key_store, ..kms(status) });
                let steps = [
                    vec![answer(first.clone()), Waits(HOUR), answer(second.clone())],
                    after[(row + case) % after.len()].clone(),
                ]
                .concat();
                let mut watch = Watch::new(Policy { require, ..Policy::default() });
                steps.iter().for_each(|step| watch.step(step));
                agree(&watch, &pairs, &mut seen);
            }
        }
    }
    // API certificate, account and clock are the same in all combinations.
    let others = ["api_certificate_expiring", "access_token_expiring", "clock_skew", "status_not_refreshed"];
    let others = [&others[..], &["unreadable_date", "excess_privileges"]].concat();
    for (finding, severities) in PAIRS {
        for severity in severities.iter().filter(|_| !others.contains(&finding)) {
            let values = seen.get(&(finding.to_owned(), (*severity).to_owned()));
            assert_eq!(values, Some(&[true, true]), "{finding} {severity} was 0 and 1");
        }
    }
}

fn agree(watch: &Watch, pairs: &BTreeMap<&str, &[&str]>, seen: &mut BTreeMap<(String, String), [bool; 2]>) {
    let json = watch.json();
    let mut served: BTreeMap<String, Vec<(String, bool)>> = BTreeMap::new();
    for (labels, value) in watch.samples("qumulo_encryption_finding") {
        let names: Vec<&str> = labels.split('"').collect();
        served.entry(names[1].to_owned()).or_default().push((names[3].to_owned(), value == "1"));
        seen.entry((names[1].to_owned(), names[3].to_owned())).or_default()[usize::from(value == "1")] = true;
    }
    let findings = json["findings"].as_array().unwrap();
    for (finding, severities) in &served {
        let names: Vec<&str> = severities.iter().map(|(severity, _)| severity.as_str()).collect();
        assert_eq!(names, pairs[finding.as_str()], "{finding}: all of its severities or none");
        let worst = findings.iter().find(|each| each["id"] == **finding).map(|each| each["severity"].as_str().unwrap());
        for (severity, holds) in severities {
            assert_eq!(*holds, worst == Some(severity), "{finding} {severity}: {json:#}");
        }
    }
    let fresh = !json["status"].is_null();
    for finding in findings.iter().filter(|_| fresh) {
        assert!(served.contains_key(finding["id"].as_str().unwrap()), "{json:#}");
    }
    let order = ["critical", "unknown", "warning", "info"];
    let severity = |finding: &Value| order.iter().position(|each| finding["severity"] == **each).unwrap();
    assert!(findings.is_sorted_by_key(severity), "worst first: {json:#}");
    let served: Vec<_> = watch.samples("qumulo_encryption_do_not_restart").into_values().collect();
    let expect = if json["up"].is_null() { vec![] } else { vec![u8::from(json["do_not_restart"] == true).to_string()] };
    assert_eq!(served, expect, "{json:#}");
    // No advice that is dangerous in this state.
    let critical = json["severity"] == "critical" || json["do_not_restart"] == true;
    let unavailable = findings.iter().any(|finding| {
        let id = finding["id"].as_str().unwrap();
        ["key_not_found", "key_inactive", "configuration_corrupted"].contains(&id) || id.starts_with("kms_")
    });
    for finding in findings {
        let advice = finding["advice"].as_str().unwrap();
        assert!(!critical || !advice.contains("rotate_encryption_keys"), "{json:#}");
        assert!(!unavailable || !advice.contains("encryption_set_key_store"), "{json:#}");
        let forbids = advice.starts_with("Do not reboot, upgrade or power-cycle nodes");
        assert!(!forbids || json["do_not_restart"] == true, "{json:#}");
    }
}
