//! Tokens and sessions that expire and are replaced, and clusters that are upgraded.

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use qumulo_encryption_exporter::{
    client::{Credential, SecretSource},
    model::{ApiVersion, CredentialRejection, FailureReason, PollFailure, PollResult},
};
use qumulo_simulator::{ClusterSpec, Profile};

use crate::{
    lab::{Lab, login},
    leak::{self, PASSWORD, TOKEN},
    raw_server::{RawServer, healthy, reply},
};

const NEXT_TOKEN: &str = "access-v1:hunter2next==";

/// Rotates the cluster's access token; the old one is rejected afterwards.
fn rotate(spec: &mut ClusterSpec) {
    spec.auth.token = Some(NEXT_TOKEN.to_owned());
}

#[track_caller]
fn assert_fails(outcome: Result<PollResult, PollFailure>, reason: FailureReason, words: &str) {
    let failure = outcome.unwrap_err();
    assert!(failure.reason == reason && failure.message.contains(words), "{words:?}: {failure:?}");
}

#[tokio::test]
async fn a_rotated_token_is_read_before_it_is_needed() {
    let lab = Lab::new(|_| {}).await;
    let mut probe = lab.probe();
    probe.poll().await.unwrap();
    lab.cluster.update(rotate);
    lab.write("token", &format!("{{\"bearer_token\": \"{NEXT_TOKEN}\", \"version\": 1}}\n"));
    assert!(probe.client.credential_changed().await);
    probe.poll().await.unwrap();
    assert!(!probe.client.credential_changed().await);
    assert_eq!(lab.cluster.counts().unauthorized, 0);
}

#[tokio::test]
async fn a_token_that_is_rotated_by_symlink_is_read() {
    let mut lab = Lab::new(|_| {}).await;
    // As Kubernetes mounts secrets: mounted -> ..data/mounted, ..data -> a directory, and the latter link is swapped.
    let [data, mounted] = ["..data", "mounted"].map(|name| lab.folder.path().join(name));
    let mount = |lab: &Lab, folder: &str, token: &str| {
        let [folder, link] = [folder, "..data_tmp"].map(|name| lab.folder.path().join(name));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("mounted"), token).unwrap();
        symlink(folder, &link).unwrap();
        fs::rename(link, &data).unwrap();
    };
    mount(&lab, "first", TOKEN);
    symlink("..data/mounted", &mounted).unwrap();
    lab.settings.credential = Credential::Token(SecretSource::File(mounted.into()));
    let mut probe = lab.probe();
    probe.poll().await.unwrap();
    lab.cluster.update(rotate);
    mount(&lab, "second", NEXT_TOKEN);
    probe.poll().await.unwrap();
    assert_eq!(lab.cluster.counts().unauthorized, 0);
}

/// The file is replaced while the request with the old token is in flight.
#[tokio::test]
async fn the_poll_that_meets_the_401_reads_the_file_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    fs::write(&path, TOKEN).unwrap();
    let file = path.clone();
    let server = RawServer::http(move |request| {
        if request.authorization != format!("Bearer {TOKEN}") {
            return Some(healthy());
        }
        fs::write(&file, NEXT_TOKEN).unwrap();
        Some(reply("401 Unauthorized", ""))
    })
    .await;
    server.probe_with(Credential::Token(SecretSource::File(path.into()))).poll().await.unwrap();
}

#[tokio::test]
async fn a_refused_token_is_sent_once_per_poll() {
    let lab = Lab::new(rotate).await;
    let mut probe = lab.probe();
    for polls in 1..=3 {
        assert_fails(probe.poll().await, FailureReason::Authentication, "refused the credential (401");
        assert_eq!(lab.cluster.counts().unauthorized, polls);
    }
    lab.write("token", NEXT_TOKEN);
    probe.poll().await.unwrap();
}

#[tokio::test]
async fn files_without_a_secret_are_named_and_nothing_is_sent() {
    let mut lab = Lab::new(|_| {}).await;
    let check = async |lab: &Lab, path: &Path, problem: &str| {
        assert_fails(lab.poll().await, FailureReason::Authentication, &format!("{}: {problem}", path.display()));
    };
    for log_in in [false, true] {
        if log_in {
            lab.log_in();
        }
        let name = if log_in { "password" } else { "token" };
        let path = lab.write(name, "");
        check(&lab, &path, "the file is empty").await;
        fs::remove_file(&path).unwrap();
        check(&lab, &path, "no such file").await;
        fs::create_dir(&path).unwrap();
        check(&lab, &path, "is not a regular file").await;
        fs::remove_dir(&path).unwrap();
        fs::write(&path, [0xff, b'h', b'u', b'n', b't', b'e', b'r', b'2']).unwrap();
        check(&lab, &path, "is not UTF-8").await;
    }
    lab.settings.credential = Credential::Token(SecretSource::File(lab.write("token", "hunter2 and more").into()));
    assert_fails(lab.poll().await, FailureReason::Authentication, "token: not an access token");
    assert_eq!(lab.cluster.counts().connections, 0);
}

/// A lab with a login or an access token, and the name and content of the credential file.
async fn lab_with(log_in: bool) -> (Lab, &'static str, &'static str) {
    let mut lab = Lab::new(|_| {}).await;
    if log_in {
        lab.log_in();
    }
    let (name, secret) = if log_in { ("password", PASSWORD) } else { ("token", TOKEN) };
    (lab, name, secret)
}

/// A missing file means no credential, although the last one would still work.
#[tokio::test]
async fn a_removed_secret_is_not_used() {
    for log_in in [false, true] {
        let (lab, name, secret) = lab_with(log_in).await;
        let mut probe = lab.probe();
        probe.poll().await.unwrap();
        fs::remove_file(lab.folder.path().join(name)).unwrap();
        for _ in 0..2 {
            assert_fails(probe.poll().await, FailureReason::Authentication, "no such file");
        }
        lab.write(name, secret);
        probe.poll().await.unwrap();
    }
}

/// A lab with a session login.
async fn session(change: impl FnOnce(&mut ClusterSpec)) -> Lab {
    let mut lab = Lab::new(change).await;
    lab.log_in();
    lab
}

#[tokio::test]
async fn a_session_is_kept_and_renewed_when_it_ends() {
    let lab = session(|_| {}).await;
    let mut probe = lab.probe();
    let counts = |logins, unauthorized| {
        let counts = lab.cluster.counts();
        assert_eq!((counts.logins, counts.failed_logins, counts.unauthorized), (logins, 0, unauthorized));
    };
    for _ in 0..3 {
        probe.poll().await.unwrap();
    }
    counts(1, 0);
    lab.cluster.advance_clock(Duration::from_secs(11 * 3600));
    probe.poll().await.unwrap();
    counts(2, 1);
    lab.cluster.end_sessions();
    probe.poll().await.unwrap();
    counts(3, 2);
}

#[tokio::test]
async fn a_rotated_password_is_used_when_the_session_ends_or_its_file_changes() {
    let lab = session(|_| {}).await;
    let mut probe = lab.probe();
    probe.poll().await.unwrap();
    lab.cluster.update(|spec| spec.auth.password = "hunter2 renewed".to_owned());
    probe.poll().await.unwrap();
    assert_eq!(lab.cluster.counts().logins, 1, "the session continues");
    lab.write("password", "hunter2 renewed");
    probe.poll().await.unwrap();
    assert_eq!((lab.cluster.counts().logins, lab.cluster.counts().failed_logins), (2, 0));
}

#[tokio::test]
async fn a_wrong_password_is_sent_rarely_however_often_its_file_is_written() {
    let lab = session(|spec| spec.auth.password = "another".to_owned()).await;
    let (mut probe, now) = (lab.probe(), Instant::now());
    let after = |seconds| now + Duration::from_secs(seconds);
    let words = "refused the login of \"monitor\" (401, http_unauthorized_error)";
    for (second, logins) in [(0, 1), (1, 1), (60, 1), (299, 1), (300, 2), (899, 2), (900, 3)] {
        // The same content in a new file, as when another key of a Kubernetes Secret changes.
        lab.write("password", &format!("{}\n", leak::PASSWORD));
        let outcome = probe.poll_at(after(second)).await;
        assert_eq!(outcome.as_ref().unwrap_err().rejection, Some(CredentialRejection::LockoutRisk));
        assert_fails(outcome, FailureReason::Authentication, words);
        assert_eq!(lab.cluster.counts().failed_logins, logins, "after {second} s");
        assert!(!probe.client.credential_changed().await);
        // The pause also applies to a new client, as after a reload.
        if second == 60 {
            probe = lab.probe();
        }
    }
    lab.write("password", "another");
    assert!(probe.client.credential_changed().await);
    probe.poll_at(after(901)).await.unwrap();
    assert_eq!(lab.cluster.counts().status_v2, 1);
}

#[tokio::test]
async fn a_rewritten_file_with_the_same_password_keeps_the_session() {
    let lab = session(|_| {}).await;
    let mut probe = lab.probe();
    for _ in 0..3 {
        lab.write("password", &format!("{PASSWORD}\n"));
        probe.poll().await.unwrap();
    }
    assert_eq!(lab.cluster.counts().logins, 1);
}

/// The log lines about world-readable files of this lab.
fn exposed(lab: &Lab) -> usize {
    let folder = lab.folder.path().display().to_string();
    leak::logged("world-readable").iter().filter(|line| line.contains(&folder)).count()
}

#[tokio::test]
async fn a_world_readable_file_is_logged_once_per_change() {
    let lab = Lab::new(rotate).await;
    let mut probe = lab.probe();
    for _ in 0..3 {
        probe.poll().await.unwrap_err();
    }
    assert_eq!(exposed(&lab), 1);
    lab.write("token", NEXT_TOKEN);
    for _ in 0..3 {
        probe.poll().await.unwrap();
    }
    assert_eq!(exposed(&lab), 2);
}

/// As Windows editors write them.
#[tokio::test]
async fn byte_order_marks_are_not_part_of_a_secret() {
    for log_in in [false, true] {
        let (lab, name, secret) = lab_with(log_in).await;
        lab.write(name, &format!("\u{feff}{secret}\r\n"));
        lab.poll().await.unwrap();
    }
}

#[tokio::test]
async fn a_session_that_is_refused_at_once_is_renewed_once() {
    let lab = session(|spec| spec.auth.session_hours = 0).await;
    let mut probe = lab.probe();
    assert_fails(probe.poll().await, FailureReason::Authentication, "refused the credential");
    assert_eq!((lab.cluster.counts().logins, lab.cluster.counts().status_v2), (2, 2));
    assert_fails(probe.poll().await, FailureReason::Authentication, "refused the credential");
    assert_eq!((lab.cluster.counts().logins, lab.cluster.counts().status_v2), (3, 4));
    lab.cluster.update(|spec| spec.auth.session_hours = 10);
    probe.poll().await.unwrap();
    assert_eq!(lab.cluster.counts().logins, 3, "the last session is used");
}

#[tokio::test]
async fn failed_logins_have_the_right_reason() {
    for (code, reason) in [
        (403, FailureReason::Authentication),
        (404, FailureReason::Unsupported),
        (429, FailureReason::RateLimited),
        (503, FailureReason::HttpError),
    ] {
        let lab = session(|spec| spec.faults.login_status = Some(code)).await;
        assert_fails(lab.poll().await, reason, &code.to_string());
        assert_eq!((lab.cluster.counts().failed_logins, lab.cluster.counts().status_v2), (1, 0));
    }
    let server = RawServer::http(|_| Some(reply("200 OK", "{\"bearer_token\": \"hunter2 \\n\"}"))).await;
    assert_fails(server.probe_with(login(PASSWORD)).poll().await, FailureReason::Malformed, "no usable `bearer_token`");
}

/// The results of two polls with an upgrade of the cluster in between, the second one `later`.
async fn check_upgrade(from: Profile, to: Profile, later: u64, outage: bool, expect: Result<ApiVersion, &str>) {
    let lab = Lab::new(|spec| spec.profile = from).await;
    let (mut probe, now) = (lab.probe(), Instant::now());
    probe.poll_at(now).await.unwrap();
    if outage {
        lab.cluster.update(|spec| spec.faults.down = true);
        assert_fails(probe.poll_at(now).await, FailureReason::Connect, "");
    }
    lab.cluster.update(|spec| (spec.profile, spec.faults.down) = (to, false));
    let v1 = lab.cluster.counts().status_v1;
    match (probe.poll_at(now + Duration::from_secs(later)).await, expect) {
        (Ok(result), Ok(api)) => assert_eq!(result.api, api),
        (outcome, Err(words)) => {
            assert_fails(outcome, FailureReason::Unsupported, words);
            assert_eq!(lab.cluster.counts().status_v1, v1, "v1 is not requested");
        }
        (Err(failure), Ok(_)) => panic!("{failure:?}"),
    }
}

#[tokio::test]
async fn upgrades_are_detected_and_sudden_downgrades_are_rejected() {
    use Profile::{Core7, Core60, Core621, Core622};
    // Falling back to the older API after an accidental 404 would hide KMS problems: it reports every KMS status as encrypted.
    check_upgrade(Core60, Core7, 1, false, Ok(ApiVersion::V2)).await;
    check_upgrade(Core60, Core7, 1, true, Ok(ApiVersion::V2)).await;
    check_upgrade(Core60, Core60, 601, false, Ok(ApiVersion::V1)).await;
    check_upgrade(Core60, Core621, 601, false, Ok(ApiVersion::V1)).await;
    check_upgrade(Core621, Core621, 601, false, Ok(ApiVersion::V1)).await;
    check_upgrade(Core621, Core622, 601, false, Ok(ApiVersion::V2)).await;
    check_upgrade(Core622, Core7, 1, false, Ok(ApiVersion::V2)).await;
    check_upgrade(Core7, Core60, 1, false, Err("is the cluster starting?")).await;
    check_upgrade(Core7, Core60, 3590, true, Err("is gone (404)")).await;
    check_upgrade(Core7, Core60, 3601, false, Ok(ApiVersion::V1)).await;
}

/// A failed check for a newer API must not discard the status of the old one.
#[tokio::test]
async fn an_error_of_the_newer_api_does_not_discard_the_status_of_the_old_one() {
    let broken = Arc::new(AtomicBool::new(false));
    let now_broken = broken.clone();
    let server = RawServer::http(move |request| {
        Some(match request.head.split(' ').nth(1) {
            Some("/v1/encryption/status") => reply("200 OK", r#"{"status": "Encrypted"}"#),
            Some("/v2/encryption/key-store/status") if now_broken.load(Ordering::SeqCst) => reply("500 Oh", "{}"),
            _ => reply("404 Not Found", "{}"),
        })
    })
    .await;
    let (mut probe, now) = (server.probe(), Instant::now());
    for (later, is_broken) in [(0, false), (60, true), (120, false)] {
        broken.store(is_broken, Ordering::SeqCst);
        let result = probe.poll_at(now + Duration::from_secs(later)).await.unwrap();
        assert_eq!(result.api, ApiVersion::V1, "after {later} s");
    }
}
