//! Poller, store and metrics with several clusters.

use std::{path::PathBuf, sync::atomic::Ordering};

use qumulo_encryption_exporter::{
    client::TlsSettings,
    clock,
    model::ClockTime,
    poll::{Changes, Poller},
    store::Store,
};
use qumulo_simulator::{ClusterSpec, Profile};

use crate::{
    fleet::{Fleet, STALE_AFTER},
    lab::{Lab, PATIENT, until},
    leak,
};

const ENCRYPTED: &str = ",status=\"encrypted\"";

#[tokio::test]
async fn a_cluster_that_dies_is_down_at_the_next_poll_and_keeps_its_status_while_it_is_fresh() {
    let mut fleet = Fleet::new();
    for name in ["one", "two"] {
        fleet.add(name, |_| {}).await;
    }
    until(|| fleet.up("one") == Some(1.0) && fleet.up("two") == Some(1.0)).await;
    fleet.lab("one").cluster.update(|spec| spec.faults.down = true);
    fleet.polls("one", 2.0).await;
    assert_eq!((fleet.up("one"), fleet.up("two")), (Some(0.0), Some(1.0)));
    assert_eq!(fleet.value("status", "one", ENCRYPTED), Some(1.0));
    assert_eq!(fleet.value("last_poll_failure", "one", ",reason=\"connect\""), Some(1.0));
    let now = clock::now();
    let later = ClockTime { wall: now.wall + STALE_AFTER, ..now };
    assert_eq!(fleet.value_at(&later, "status", "one", ENCRYPTED), None, "stale");
    assert_eq!(fleet.value_at(&later, "up", "one", ""), Some(0.0));
    fleet.lab("one").cluster.update(|spec| spec.faults.down = false);
    fleet.polls("one", 2.0).await;
    assert_eq!((fleet.up("one"), fleet.value("status", "one", ENCRYPTED)), (Some(1.0), Some(1.0)));
    assert!(fleet.value("poll_failures_total", "one", ",reason=\"connect\"") >= Some(1.0));
    assert_eq!(fleet.value("poll_failures_total", "two", ",reason=\"connect\""), Some(0.0));
}

#[tokio::test]
async fn a_hanging_cluster_delays_no_other() {
    let mut fleet = Fleet::new();
    fleet.add("hanging", |spec| spec.faults.hang = true).await;
    fleet.add("handshake", |spec| spec.faults.hang_handshake = true).await;
    fleet.add("healthy", |_| {}).await;
    let mut counts = fleet.lab("healthy").cluster.watch_counts();
    let seen = counts.wait_for(|counts| counts.status_v2 >= 10);
    tokio::time::timeout(PATIENT, seen).await.unwrap().unwrap();
    assert_eq!((fleet.up("hanging"), fleet.up("handshake"), fleet.up("healthy")), (None, None, Some(1.0)));
    assert_eq!(fleet.lab("hanging").cluster.counts().requests, 1, "one poll in flight at most");
}

#[tokio::test]
async fn a_change_of_status_is_served_and_counted() {
    let mut fleet = Fleet::new();
    let kms = |status: &str| {
        let status = status.into();
        move |spec: &mut ClusterSpec| (spec.key_store_type, spec.status) = ("KMS".into(), status)
    };
    fleet.add("one", kms("KMS Available")).await;
    until(|| fleet.value("status", "one", ",status=\"kms_available\"") == Some(1.0)).await;
    fleet.lab("one").cluster.update(kms("Cannot connect to KMS server."));
    fleet.polls("one", 2.0).await;
    assert_eq!(fleet.value("status", "one", ",status=\"kms_cannot_connect\""), Some(1.0));
    assert_eq!(fleet.value("status", "one", ",status=\"kms_available\""), Some(0.0));
    assert_eq!(fleet.value("status_changes_total", "one", ""), Some(1.0));
    assert_eq!(fleet.up("one"), Some(1.0), "a poll that returns a bad status has succeeded");
}

#[tokio::test]
async fn other_changes_are_logged_once() {
    let mut fleet = Fleet::new();
    let prepare = |spec: &mut ClusterSpec| {
        spec.profile = Profile::Core60;
        spec.auth.privileges = ["PRIVILEGE_ENCRYPTION_READ", "PRIVILEGE_FS_READ"].map(str::to_owned).to_vec();
    };
    fleet.add("beside", prepare).await;
    until(|| fleet.up("beside") == Some(1.0)).await;
    fleet.lab("beside").cluster.update(|spec| (spec.profile, spec.faults.down) = (Profile::Core7, true));
    until(|| fleet.up("beside") == Some(0.0)).await;
    fleet.lab("beside").cluster.update(|spec| spec.faults.down = false);
    until(|| fleet.up("beside") == Some(1.0)).await;
    fleet.polls("beside", 2.0).await;
    let lines = leak::logged("cluster=beside ");
    for words in
        ["the API version changed\" cluster=beside from=v1 to=v2", "the account has more privileges than it needs"]
    {
        assert_eq!(lines.iter().filter(|line| line.contains(words)).count(), 1, "{words:?} in {lines:#?}");
    }
}

#[tokio::test]
async fn dropping_the_poller_ends_the_polls() {
    let mut fleet = Fleet::new();
    fleet.add("one", |spec| spec.faults.hang = true).await;
    let mut counts = fleet.lab("one").cluster.watch_counts();
    counts.wait_for(|counts| counts.in_flight == 1).await.unwrap();
    fleet.poller = Poller::new(Store::default());
    let ended = counts.wait_for(|counts| counts.in_flight == 0);
    tokio::time::timeout(PATIENT, ended).await.unwrap().unwrap();
    assert!(fleet.store.view().clusters.is_empty());
}

#[tokio::test]
async fn a_change_of_the_clusters_touches_only_what_changed() {
    let mut fleet = Fleet::new();
    for name in ["kept", "changed", "moved", "removed"] {
        fleet.add(name, |_| {}).await;
    }
    until(|| ["kept", "changed", "moved", "removed"].iter().all(|name| fleet.up(name) == Some(1.0))).await;
    let counter = |fleet: &Fleet, name: &str| fleet.value("polls_total", name, "").unwrap();
    let before = ["kept", "changed", "moved"].map(|name| counter(&fleet, name));
    let new = Lab::new(|spec| spec.faults.hang = true).await;
    fleet.settings[1].stale_after *= 2;
    fleet.settings[2].client = new.settings.clone();
    fleet.settings.remove(3);
    assert_eq!(fleet.apply(), Changes { added: 0, changed: 2, removed: 1, unchanged: 1 });
    assert_eq!(fleet.up("removed"), None, "gone at the next scrape");
    assert_eq!(fleet.value("polls_total", "removed", ""), None);
    assert_eq!(fleet.up("changed"), Some(1.0), "the same cluster keeps its status");
    assert_eq!(fleet.value("stale_after_seconds", "changed", ""), Some(600.0));
    assert_eq!(fleet.up("moved"), None, "a new address discards the status");
    for (name, before) in ["kept", "changed", "moved"].into_iter().zip(before) {
        assert!(counter(&fleet, name) >= before, "counters of {name} are kept");
    }
    fleet.polls("kept", 3.0).await;
    fleet.polls("changed", 3.0).await;
    assert_eq!(fleet.apply(), Changes { unchanged: 3, ..Changes::default() });
}

#[tokio::test]
async fn invalid_files_fail_the_first_poll() {
    let mut fleet = Fleet::new();
    fleet.add("one", |_| {}).await;
    until(|| fleet.up("one") == Some(1.0)).await;
    fleet.settings[0].client.transport.tls =
        Some(TlsSettings { ca_file: Some(PathBuf::from("/nowhere/ca.pem").into()), ..TlsSettings::default() });
    assert_eq!(fleet.apply(), Changes { changed: 1, ..Changes::default() });
    until(|| fleet.up("one") == Some(0.0)).await;
    assert_eq!(fleet.value("last_poll_failure", "one", ",reason=\"tls\""), Some(1.0));
}

#[tokio::test]
async fn invalid_renewed_files_are_logged_once_and_not_used() {
    let mut fleet = Fleet::new();
    fleet.add("renewed-broken", |_| {}).await;
    let (lab, good) = (fleet.lab("renewed-broken"), fleet.pool.files_are_good());
    let ca_file = lab.write("ca.pem", &lab.cluster.certificate_pem());
    let tls = TlsSettings { ca_file: Some(ca_file.clone().into()), ..TlsSettings::default() };
    fleet.settings[0].client.transport.tls = Some(tls);
    fleet.apply();
    fleet.polls("renewed-broken", 2.0).await;
    let failures = || fleet.value("poll_failures_total", "renewed-broken", ",reason=\"tls\"");
    let lab = fleet.lab("renewed-broken");
    lab.write("ca.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n");
    until(|| !good.load(Ordering::Relaxed)).await;
    fleet.polls("renewed-broken", 3.0).await;
    assert_eq!((failures(), fleet.up("renewed-broken")), (Some(0.0), Some(1.0)), "the last good file stays in use");
    let lines = leak::logged(&ca_file.display().to_string());
    let lines: Vec<_> = lines.iter().filter(|line| line.contains("the last good one stays")).collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    lab.write("ca.pem", &lab.cluster.certificate_pem());
    until(|| good.load(Ordering::Relaxed)).await;
    fleet.polls("renewed-broken", 2.0).await;
    assert_eq!(failures(), Some(0.0));
}
