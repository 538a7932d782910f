use std::{fs, path::Path};

use super::*;
use crate::model::FailureReason;

#[test]
fn words_follow_the_sign() {
    let text = |skew| clock_skew(skew).text;
    let day = 86_400.0;
    assert_eq!(
        [expiry(day), expiry(0.0), expiry(-day)],
        ["expires in 1 day", "expired 0 seconds ago", "expired 1 day ago"]
    );
    assert_eq!(text(600.0), "The cluster's clock is 10 minutes ahead of the exporter's");
    assert_eq!(text(-600.0), "The cluster's clock is 10 minutes behind the exporter's");
    let excess = |count| super::excess(count).map(|finding| finding.text);
    assert_eq!(excess(0), None);
    assert_eq!(excess(1).as_deref(), Some("The exporter's account has a privilege that it does not need"));
    assert_eq!(excess(2).as_deref(), Some("The exporter's account has 2 privileges that it does not need"));
}

#[test]
fn identifiers_are_unique_and_ranks_are_in_order() {
    assert!(Kind::ALL.is_sorted_by_key(|kind| kind.rank()));
    let mut ids: Vec<_> = Kind::ALL.iter().map(|kind| kind.id()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), Kind::ALL.len());
    assert!(Kind::ALL.iter().all(|kind| !kind.severities().is_empty()));
}

#[test]
fn dangerous_advice_is_replaced() {
    use Kind::*;
    let check = |finding: Finding, beside: &[Kind], expect: &str| {
        let kind = finding.kind;
        let mut findings: Vec<_> = std::iter::once(finding).chain(beside.iter().map(|kind| plain(*kind))).collect();
        replace_dangerous_advice(&mut findings);
        assert_eq!(findings[0].advice, expect, "{kind:?} beside {beside:?}");
    };
    let key_faults = [KeyNotFound, ConfigurationCorrupted, KeyInactive];
    let kms_faults = [KmsAuthenticationError, KmsCannotConnect];
    for kind in [CertificateCritical, CertificateWarning] {
        check(plain(kind), &[CertificateExpired], kind.advice());
        for beside in key_faults.into_iter().chain(kms_faults) {
            check(plain(kind), &[beside], KEY_FIRST);
        }
    }
    for kind in [CertificateExpired, KmsAuthenticationError, PolicyViolated] {
        check(plain(kind), &kms_faults, kind.advice());
        for beside in key_faults {
            check(plain(kind), &[beside], KEY_FIRST);
        }
    }
    check(plain(CertificateWarning).with_advice(RENEW_ON_KMS), &key_faults, RENEW_ON_KMS);
    check(plain(KeyTooOld), &[CertificateWarning], KeyTooOld.advice());
    for beside in [UnknownStatus, NotReadable, CertificateCritical] {
        check(plain(KeyTooOld), &[beside], DO_NOT_ROTATE);
    }
    check(plain(ExpiryUnknown), &[KeyNotFound, KmsCannotConnect], ExpiryUnknown.advice());
}

fn plain(kind: Kind) -> Finding {
    Finding::new(kind, "")
}

/// Page, JSON and `status` show the advice, and the alert links the runbook.
#[test]
fn advice_and_runbook_agree() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/runbooks");
    let special = [
        (Kind::CertificateExpired, RENEW_ON_KMS),
        (Kind::CertificateWarning, RENEW_ON_KMS),
        (Kind::PolicyViolated, MOVE_KEY),
        (Kind::KeyTooOld, ROTATE_IN_KMS),
        (Kind::KeyTooOld, DO_NOT_ROTATE),
    ];
    let failures = FailureReason::ALL.map(|reason| (Kind::NotReadable, failure_advice(reason)));
    for (kind, advice) in Kind::ALL.iter().map(|kind| (*kind, kind.advice())).chain(special).chain(failures) {
        let runbook = fs::read_to_string(folder.join(format!("{}.md", kind.alert()))).unwrap();
        let forbids = runbook.contains("**Do not reboot, upgrade or power-cycle nodes");
        assert_eq!(kind.prohibition().is_some(), forbids, "{}", kind.alert());
        // Commands, privileges, keys of the configuration, and whom to call.
        let words = advice.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        for name in words.filter(|word| word.contains('_') || ["support", "KMS"].contains(word)) {
            assert!(runbook.contains(name), "the advice of {} mentions {name}, its runbook does not", kind.id());
        }
    }
}
