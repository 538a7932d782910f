use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::{DateTime, TimeDelta, Utc};
use prometheus::{
    Encoder, TextEncoder,
    proto::{Counter, Gauge, LabelPair, MetricFamily, MetricType},
};
use proptest::prelude::*;

use super::{
    catalog::{Kind, Metric},
    domain::SampleSink,
    *,
};
use crate::{
    model::{
        AccessToken, Account, ApiVersion, ClockTime, ClusterId, ClusterMetadata, ClusterName, CoreVersion, Date,
        DateField, Dates, Details, FailureReason, ForeignText, Identity, KeyStore, KmsProbe, KmsServer, Labels, Policy,
        PollFailure, PollResult, Privileges, Require, ServerClock, Status, Timestamp,
    },
    store::{Publisher, Store, View},
};

const GOLDEN: &str = "tests/golden/metrics.txt";

/// The samples in the data model of the `prometheus` crate, as the oracle.
#[derive(Default)]
struct Families(Vec<MetricFamily>);

impl SampleSink for Families {
    fn labelled(&mut self, metric: &'static Metric, cluster: &str, labels: &[&str], own: &Labels, value: f64) {
        if self.0.last().is_none_or(|family| family.name() != metric.name) {
            let mut family = MetricFamily::default();
            family.set_name(metric.name.to_owned());
            family.set_help(metric.help.to_owned());
            family.set_field_type(match metric.kind {
                Kind::Counter => MetricType::COUNTER,
                Kind::Gauge => MetricType::GAUGE,
            });
            self.0.push(family);
        }
        let values = std::iter::once(cluster).chain(labels.iter().copied());
        let pairs = metric.labels.iter().copied().zip(values).chain(own.iter()).map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name(name.to_owned());
            pair.set_value(value.to_owned());
            pair
        });
        let mut sample = prometheus::proto::Metric::from_label(pairs.collect());
        match metric.kind {
            Kind::Counter => {
                let mut counter = Counter::default();
                counter.set_value(value);
                sample.set_counter(counter);
            }
            Kind::Gauge => {
                let mut gauge = Gauge::default();
                gauge.set_value(value);
                sample.set_gauge(gauge);
            }
        }
        self.0.last_mut().unwrap().mut_metric().push(sample);
    }
}

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::seconds(1_795_000_000 + seconds)
}

fn clock_time(origin: Instant, seconds: u64) -> ClockTime {
    ClockTime { mono: origin + Duration::from_secs(seconds), wall: at(i64::try_from(seconds).unwrap()) }
}

fn date(text: &str) -> Date {
    let at = DateTime::parse_from_rfc3339(text).unwrap().with_timezone(&Utc);
    Date::At(Timestamp::new(at).unwrap())
}

fn text(view: &View, now: &ClockTime) -> String {
    let mut text = Text::default();
    render(view, now, &mut text);
    text.into_string()
}

/// A fleet that covers every metric and every case of freshness. Times are in seconds since the first poll.
fn fleet(store: &Store, origin: Instant) -> Vec<Publisher> {
    let add = |name: &str| store.publisher(ClusterName::new(name).unwrap(), Duration::from_secs(300));
    let (mut kms, mut local, mut failing) = (add("kms"), add("local \"a\\b\""), add("failing"));
    let (mut stale, mut old, never) = (add("stale"), add("old-version"), add("never-polled"));
    let took = Duration::from_millis(12);
    let policy = Policy { require: Some(Require::Kms), ..Policy::default() };
    store.set_metadata(kms.name(), &ClusterMetadata { policy, ..ClusterMetadata::default() });
    kms.record(clock_time(origin, 600), took, Ok(kms_result(Status::KmsAvailable)));
    let clock = ServerClock { at: origin + Duration::from_millis(659_900), date: Timestamp::new(at(720)).unwrap() };
    kms.set_api_certificate(Timestamp::new(at(86_400)));
    kms.record(
        clock_time(origin, 660),
        took,
        Ok(PollResult { clock: Some(clock), ..kms_result(Status::KmsKeyNotFound) }),
    );
    local.record(clock_time(origin, 650), took, Ok(local_result(ApiVersion::V2)));
    failing.record(clock_time(origin, 600), took, Ok(kms_result(Status::Unknown(ForeignText::new("KMS Quorum Lost")))));
    failing.record(clock_time(origin, 660), took, Err(PollFailure::new(FailureReason::Timeout, "too slow")));
    stale.record(clock_time(origin, 300), took, Ok(kms_result(Status::KmsAvailable)));
    stale.record(clock_time(origin, 660), took, Err(PollFailure::new(FailureReason::Authentication, "refused")));
    old.record(clock_time(origin, 655), took, Ok(local_result(ApiVersion::V1)));
    vec![kms, local, failing, stale, old, never]
}

fn kms_result(status: Status) -> PollResult {
    PollResult {
        api: ApiVersion::V2,
        dates: Dates::from_fn(|field| match field {
            DateField::CaCertExpiry => date("2027-04-18T19:55:17Z"),
            DateField::ClientCertExpiry => Date::Unreadable(ForeignText::new("never")),
            DateField::LastKeyRotationTime => date("2023-09-05T20:15:40.06864014Z"),
            DateField::LastStatusUpdateTime => date("2026-11-18T20:28:58.108120131Z"),
        }),
        clock: None,
        details: Arc::new(details()),
        key_store: KeyStore::Kms,
        kms_probe: Some(KmsProbe::Shown(date("2027-08-01T00:00:00Z").timestamp().unwrap())),
        status,
    }
}

fn details() -> Details {
    let identity = Identity {
        cluster_id: ClusterId::parse("f8a2c1d4-0b3e-4c5d-9e8f-001122334455"),
        version: CoreVersion::parse("7.2.3.1"),
    };
    let at = |text| date(text).timestamp().unwrap();
    let privileges = Privileges::new(["PRIVILEGE_ENCRYPTION_READ", "PRIVILEGE_FS_READ"].into_iter());
    let tokens = Some(vec![AccessToken::new("1234567890123456789012", Some(at("2027-01-01T00:00:00Z"))).unwrap()]);
    let account = Account { privileges: Some(privileges), tokens };
    let configured = Some(at("2026-05-01T10:00:00Z"));
    Details { account, identity, kms: Some(KmsServer::new("kms.example.com", Some(5696), "key \"1\"", configured)) }
}

fn local_result(api: ApiVersion) -> PollResult {
    PollResult {
        api,
        dates: Dates::default(),
        clock: None,
        details: Arc::default(),
        key_store: KeyStore::Local,
        kms_probe: None,
        status: Status::Encrypted,
    }
}

#[test]
fn output_of_a_fixed_fleet_is_the_golden_file() {
    let (store, origin) = (Store::default(), Instant::now());
    let _publishers = fleet(&store, origin);
    let got = text(&store.view(), &clock_time(origin, 670));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(GOLDEN, &got).unwrap();
    }
    let expect = std::fs::read_to_string(GOLDEN).unwrap();
    assert_eq!(got, expect, "to accept the difference: UPDATE_GOLDEN=1 cargo test");
}

#[test]
fn no_series_is_written_twice_and_no_family_in_two_places() {
    let (store, origin) = (Store::default(), Instant::now());
    let _publishers = fleet(&store, origin);
    let got = text(&store.view(), &clock_time(origin, 670));
    let (mut series, mut families) = (HashSet::new(), HashSet::new());
    for line in got.lines() {
        match line.strip_prefix("# TYPE ") {
            Some(family) => assert!(families.insert(family), "{line}"),
            None => assert!(line.starts_with('#') || series.insert(line.rsplit_once(' ').unwrap().0), "{line}"),
        }
    }
    assert_eq!(families.len(), catalog::CLUSTERS.len(), "every metric of clusters shows in the fixed fleet");
}

#[test]
fn everything_that_must_be_fresh_vanishes_together() {
    let (store, origin) = (Store::default(), Instant::now());
    let mut publisher = store.publisher(ClusterName::new("one").unwrap(), Duration::from_secs(300));
    let clock = Some(ServerClock { at: origin, date: Timestamp::new(at(0)).unwrap() });
    publisher.set_api_certificate(Timestamp::new(at(86_400)));
    publisher.record(
        clock_time(origin, 0),
        Duration::ZERO,
        Ok(PollResult { clock, ..kms_result(Status::KmsAvailable) }),
    );
    let names = |seconds: u64| -> HashSet<String> {
        let got = text(&store.view(), &clock_time(origin, seconds));
        got.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next().map(str::to_owned)).collect()
    };
    let vanished: HashSet<String> = names(299).difference(&names(300)).cloned().collect();
    let expect = [
        &catalog::STATUS,
        &catalog::TYPE,
        &catalog::CERTIFICATE_EXPIRY,
        &catalog::LAST_KEY_ROTATION,
        &catalog::LAST_STATUS_UPDATE,
        &catalog::CLUSTER_INFO,
        &catalog::KEY_STORE_INFO,
        &catalog::KEY_STORE_CONFIGURED,
        &catalog::KMS_REACHABLE,
        &catalog::CLOCK_SKEW,
        &catalog::ACCESS_TOKEN_EXPIRY,
        &catalog::EXCESS_PRIVILEGES,
    ];
    assert_eq!(vanished, expect.map(|metric| metric.name.to_owned()).into());
}

#[test]
fn an_empty_view_gives_no_text() {
    assert_eq!(text(&View::default(), &clock_time(Instant::now(), 0)), "");
}

#[test]
fn catalog_keeps_the_conventions() {
    let mut names = HashSet::new();
    for metric in catalog::all() {
        assert!(names.insert(metric.name), "{} is there twice", metric.name);
        assert_eq!(metric.name.ends_with("_total"), metric.kind == Kind::Counter, "{}", metric.name);
        assert!(metric.help.ends_with('.') && !metric.help.contains('\n'), "{}", metric.name);
        assert!(!metric.labels.contains(&"type"), "{}", metric.name);
    }
    for metric in catalog::CLUSTERS {
        assert_eq!(metric.labels.first(), Some(&"cluster"), "{}", metric.name);
    }
}

fn any_result() -> impl Strategy<Value = PollResult> {
    let statuses = [Status::Encrypted, Status::KmsCannotConnect, Status::Unknown(ForeignText::new("\"\n\\"))];
    (proptest::sample::select(statuses.to_vec()), 0_i64..253_402_300_800, 0_u32..1_000_000_000).prop_map(
        |(status, seconds, nanos)| {
            let at = Timestamp::new(DateTime::from_timestamp(seconds, nanos).unwrap()).unwrap();
            PollResult { dates: Dates::from_fn(|_| Date::At(at)), ..kms_result(status) }
        },
    )
}

proptest! {
    #[test]
    fn text_is_what_the_prometheus_crate_writes(
        clusters in proptest::collection::btree_map("[^\\p{C}]{1,20}", proptest::option::of(any_result()), 0..5),
        seconds in 0_u64..600,
    ) {
        let (store, origin) = (Store::default(), Instant::now());
        let mut publishers = Vec::new();
        for (name, result) in clusters {
            let Ok(name) = ClusterName::new(&name) else { continue };
            let mut publisher = store.publisher(name, Duration::from_secs(300));
            let labels = [("site", "a\\b\"c"), ("rack", "7")];
            let labels = Labels::new(labels.into_iter().take(seconds as usize % 3)).unwrap();
            store.set_metadata(publisher.name(), &ClusterMetadata { labels, ..ClusterMetadata::default() });
            if let Some(result) = result {
                publisher.record(clock_time(origin, 0), Duration::from_micros(seconds), Ok(result));
            }
            publishers.push(publisher);
        }
        let (view, now) = (store.view(), clock_time(origin, seconds));
        let mut families = Families::default();
        render(&view, &now, &mut families);
        let mut expect = Vec::new();
        if !families.0.is_empty() {
            TextEncoder::new().encode(&families.0, &mut expect).unwrap();
        }
        prop_assert_eq!(text(&view, &now), String::from_utf8(expect).unwrap());
    }
}
