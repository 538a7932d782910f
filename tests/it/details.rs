//! Details: requested rarely, only with GET, and without affecting the status.

use std::time::{Duration, Instant};

use qumulo_encryption_exporter::{
    client::TlsSettings,
    model::{Details, FailureReason, Identity},
};
use qumulo_simulator::{ClusterSpec, Counts, EndpointFault, Profile};
use serde_json::json;

use crate::lab::Lab;

fn kms(spec: &mut ClusterSpec) {
    (spec.key_store_type, spec.status) = (json!("KMS"), json!("KMS Available"));
}

fn requests(counts: &Counts) -> [u64; 3] {
    [counts.key_store, counts.who_am_i, counts.tokens]
}

async fn details(change: impl FnOnce(&mut ClusterSpec)) -> (Details, [u64; 3]) {
    let lab = Lab::new(change).await;
    let result = lab.poll().await.unwrap();
    let counts = lab.cluster.counts();
    assert_eq!(counts.connections, 1, "all on one connection");
    ((*result.details).clone(), requests(&counts))
}

#[tokio::test]
async fn the_kms_is_reported_if_there_is_one() {
    let (known, requests) = details(|spec| {
        kms(spec);
        (spec.kms.hostname, spec.kms.port) = ("KMS-1.example.com".to_owned(), 5697);
        (spec.kms.key_id, spec.kms.config_creation_time) = ("key".to_owned(), json!("2026-05-01T10:00:00Z"));
    })
    .await;
    let server = known.kms.unwrap();
    assert_eq!((server.address().as_str(), server.key_id()), ("kms-1.example.com:5697", "key"));
    assert_eq!(server.configured.unwrap().unix_seconds(), 1_777_629_600.0);
    assert_eq!(requests, [1, 1, 1]);
    let (known, requests) = details(|_| {}).await;
    assert_eq!((known.kms, requests), (None, [0, 1, 1]), "a local key store has no KMS");
    let (known, requests) = details(|spec| {
        kms(spec);
        spec.profile = Profile::Core621;
    })
    .await;
    assert_eq!((known.kms, requests[0]), (None, 1), "a missing endpoint does not fail the poll");
}

#[tokio::test]
async fn account_details_depend_on_its_privileges() {
    let tokens = |details: &Details| {
        let tokens = details.account.tokens.as_ref()?;
        Some(tokens.iter().map(|token| (token.id().to_owned(), token.expires.is_some())).collect::<Vec<_>>())
    };
    let id = "1234567890123456789012".to_owned();
    let (known, _) = details(|spec| {
        (spec.auth.token_expiry, spec.auth.own_tokens_visible) = (Some("+20d".to_owned()), true);
        spec.auth.privileges.push("PRIVILEGE_FS_READ".to_owned());
    })
    .await;
    assert_eq!(tokens(&known), Some(vec![(id.clone(), true)]));
    let privileges = known.account.privileges.unwrap();
    assert_eq!((privileges.can_read, privileges.excess), (true, vec!["PRIVILEGE_FS_READ".into()]));
    let (known, _) = details(|spec| spec.auth.own_tokens_visible = true).await;
    assert_eq!(tokens(&known), Some(vec![(id, false)]), "a token that never expires");
    let (known, _) = details(|spec| spec.auth.token_expiry = Some("+20d".to_owned())).await;
    assert_eq!(tokens(&known), None, "tokens that the account may not list");
    assert!(known.account.privileges.is_some());
}

#[tokio::test]
async fn details_are_requested_rarely() {
    let lab = Lab::new(|spec| {
        kms(spec);
        spec.auth.token_expiry = Some("+20d".to_owned());
    })
    .await;
    let mut probe = lab.probe();
    let now = Instant::now();
    let after = |seconds| now + Duration::from_secs(seconds);
    for (second, expect) in [(0, [1, 1, 1]), (60, [1, 1, 1]), (599, [1, 1, 1]), (600, [2, 2, 2]), (660, [2, 2, 2])] {
        probe.poll_at(after(second)).await.unwrap();
        assert_eq!(requests(&lab.cluster.counts()), expect, "{second}");
    }
    // Details are requested at once when the key store changes.
    lab.cluster.update(|spec| (spec.key_store_type, spec.status) = (json!("Local"), json!("Encrypted")));
    assert_eq!(probe.poll_at(after(661)).await.unwrap().details.kms, None);
    lab.cluster.update(kms);
    assert!(probe.poll_at(after(662)).await.unwrap().details.kms.is_some());
    // Another server.
    lab.cluster.update(|spec| spec.kms.hostname = "other.example.com".to_owned());
    assert_eq!(probe.poll_at(after(900)).await.unwrap().details.kms.as_ref().unwrap().host(), "kms.example.com");
    assert_eq!(probe.poll_at(after(1_300)).await.unwrap().details.kms.as_ref().unwrap().host(), "other.example.com");
}

#[tokio::test]
async fn a_session_has_privileges_and_no_access_tokens() {
    let mut lab = Lab::new(|_| {}).await;
    lab.log_in();
    let account = lab.poll().await.unwrap().details.account.clone();
    assert!(account.privileges.is_some() && account.tokens.is_none());
    assert_eq!(requests(&lab.cluster.counts()), [0, 1, 0]);
}

#[tokio::test]
async fn details_that_hang_or_fail_do_not_fail_the_poll() {
    for fault in [EndpointFault::Hang, EndpointFault::Status(500), EndpointFault::Status(404)] {
        let mut lab = Lab::new(|spec| {
            kms(spec);
            spec.faults.details_fault = Some(fault);
        })
        .await;
        lab.settings.timeout = Duration::from_secs(4);
        let started = Instant::now();
        let result = lab.poll().await.unwrap();
        assert!(started.elapsed() < lab.settings.timeout, "{fault:?}: {:?}", started.elapsed());
        assert_eq!((result.status.label(), &result.details.kms), ("kms_available", &None), "{fault:?}");
        assert_eq!(result.details.account, Default::default(), "{fault:?}");
        assert!(result.details.identity.version.is_some(), "{fault:?}");
    }
}

#[tokio::test]
async fn one_bad_response_does_not_discard_details() {
    let mut lab = Lab::new(kms).await;
    lab.settings.timeout = Duration::from_secs(4);
    let mut probe = lab.probe();
    let now = Instant::now();
    let after = |seconds| now + Duration::from_secs(seconds);
    probe.poll_at(now).await.unwrap();
    let known = |details: &Details| {
        let Identity { cluster_id, version } = &details.identity;
        [cluster_id.is_some(), version.is_some(), details.kms.is_some(), details.account.privileges.is_some()]
    };
    for fault in [EndpointFault::Status(500), EndpointFault::Hang] {
        lab.cluster.update(|spec| (spec.faults.details_fault, spec.faults.identity_fault) = (Some(fault), Some(fault)));
        let details = probe.poll_at(after(700)).await.unwrap().details;
        assert_eq!(known(&details), [true; 4], "{fault:?}");
    }
    // Known details expire after an hour.
    let details = probe.poll_at(after(3_700)).await.unwrap().details;
    assert_eq!(known(&details), [false; 4]);
    // They are requested again soon.
    lab.cluster.update(|spec| (spec.faults.details_fault, spec.faults.identity_fault) = (None, None));
    let details = probe.poll_at(after(3_770)).await.unwrap().details;
    assert_eq!(known(&details), [true; 4]);
    // A detail that the cluster rejects is discarded at once and requested again.
    for status in [403, 404] {
        lab.cluster.update(|spec| spec.faults.details_fault = Some(EndpointFault::Status(status)));
        let details = probe.poll_at(after(4_400 + 1_300 * u64::from(status - 403))).await.unwrap().details;
        assert!(details.kms.is_none() && details.account == Default::default(), "{status}");
        lab.cluster.update(|spec| spec.faults.details_fault = None);
        let details = probe.poll_at(after(5_050 + 1_300 * u64::from(status - 403))).await.unwrap().details;
        assert!(details.kms.is_some() && details.account.privileges.is_some(), "{status}");
    }
}

#[tokio::test]
async fn the_clock_of_the_cluster_is_compared() {
    for (skew, expect) in [(None, 0.0), (Some("+10m"), 600.0), (Some("-2h"), -7_200.0)] {
        let lab = Lab::new(|spec| spec.faults.clock_skew = skew.map(str::to_owned)).await;
        let result = lab.poll().await.unwrap();
        let skew = result.clock.unwrap().skew(&qumulo_encryption_exporter::clock::now());
        assert!((skew - expect).abs() < 2.0, "{skew} {expect}");
    }
}

/// Seconds until the certificate that a client saw expires.
fn seconds_left(client: &qumulo_encryption_exporter::client::Client) -> Option<f64> {
    Some(client.certificate()?.unix_seconds() - qumulo_encryption_exporter::clock::now().unix_seconds())
}

#[tokio::test]
async fn the_api_certificate_expiry_is_known_however_it_is_trusted() {
    let days = |left: f64| (left / 86_400.0).round();
    let mut lab = Lab::new(|spec| spec.certificate_expiry = "+20d".to_owned()).await;
    for tls in [lab.pinned(), TlsSettings { insecure_skip_verify: true, ..TlsSettings::default() }] {
        lab.trust(tls);
        let mut probe = lab.probe();
        assert_eq!(seconds_left(&probe.client), None);
        probe.poll().await.unwrap();
        assert_eq!(seconds_left(&probe.client).map(days), Some(20.0));
    }
}

#[tokio::test]
async fn the_expiry_of_an_expired_api_certificate_is_known() {
    let mut lab = Lab::new(|spec| spec.certificate_expiry = "-3d".to_owned()).await;
    let ca_file = lab.write("ca.pem", &lab.cluster.certificate_pem());
    lab.trust(TlsSettings { ca_file: Some(ca_file.into()), ..TlsSettings::default() });
    let mut probe = lab.probe();
    let failure = probe.poll().await.unwrap_err();
    assert!(failure.reason == FailureReason::Tls && failure.message.contains("has expired"), "{failure:?}");
    assert_eq!(seconds_left(&probe.client).map(|left| (left / 86_400.0).round()), Some(-3.0));
}
