//! Proxies: the one that is configured, and none other.

use std::{
    process::Command,
    sync::{Arc, Mutex},
};

use qumulo_encryption_exporter::{
    client::{ProxyAccount, ProxySettings},
    model::{FailureReason, PollFailure, Reading, Refusal},
};
use tokio::{
    io::{AsyncWriteExt, BufReader, copy_bidirectional},
    net::TcpStream,
};

use crate::{
    bare::{Bare, head, header, healthy, reply},
    lab::{Lab, Probe},
    leak::{self, PROXY_PASSWORD},
};

/// A proxy that answers CONNECT, and remembers what it was asked.
struct Proxy {
    heads: Arc<Mutex<Vec<String>>>,
    server: Bare,
}

impl Proxy {
    /// Lets everybody through, or answers with this.
    async fn start(refusal: Option<&'static str>) -> Self {
        let heads = Arc::new(Mutex::new(Vec::new()));
        let seen = heads.clone();
        let server = Bare::serve(move |stream, _| tunnel(stream, refusal, seen.clone())).await;
        Self { heads, server }
    }

    /// With an account whose password is in a file of the lab.
    fn settings(&self, lab: &Lab, no_proxy: &str) -> ProxySettings {
        let password_file = lab.write("proxy-password", &format!("{PROXY_PASSWORD}\n")).into();
        let account = Some(ProxyAccount { password_file, username: "monitor".to_owned() });
        let url = format!("http://127.0.0.1:{}", self.server.port).parse().unwrap();
        ProxySettings::Url { account, no_proxy: no_proxy.to_owned(), url }
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

async fn tunnel(stream: TcpStream, refusal: Option<&'static str>, heads: Arc<Mutex<Vec<String>>>) {
    let mut stream = BufReader::new(stream);
    let head = head(&mut stream).await;
    let target = head.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next()).unwrap_or_default().to_owned();
    heads.lock().unwrap().push(head);
    if let Some(refusal) = refusal {
        return stream.write_all(reply(refusal, "").as_bytes()).await.unwrap();
    }
    let mut onward = TcpStream::connect(target).await.unwrap();
    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
    // Ends when either side does.
    let _ = copy_bidirectional(&mut stream, &mut onward).await;
}

/// One poll of a healthy cluster through a proxy, and what the proxy was asked.
async fn poll(refusal: Option<&'static str>, no_proxy: &str) -> (Result<Reading, PollFailure>, Vec<String>) {
    let proxy = Proxy::start(refusal).await;
    let mut lab = Lab::new(|_| {}).await;
    lab.settings.transport.proxy = proxy.settings(&lab, no_proxy);
    (lab.poll().await, proxy.heads())
}

#[tokio::test]
async fn a_configured_proxy_is_used_with_its_password() {
    let (outcome, heads) = poll(None, "").await;
    outcome.unwrap();
    assert_eq!(heads.len(), 1);
    assert!(heads[0].starts_with("CONNECT 127.0.0.1:"), "{heads:?}");
    let password = header(&heads[0], "Proxy-Authorization");
    assert!(leak::shows_secret(&password), "the watch over secrets knows base64: {password}");
    assert_eq!(header(&heads[0], "Authorization"), "", "the token is for the cluster only");
}

#[tokio::test]
async fn exceptions_are_reached_without_the_proxy() {
    for no_proxy in ["127.0.0.1", "example.com, 127.0.0.0/8", "*"] {
        let (outcome, heads) = poll(None, no_proxy).await;
        outcome.unwrap();
        assert_eq!(heads, [""; 0], "{no_proxy}");
    }
    let (outcome, heads) = poll(None, "example.com,10.0.0.0/8").await;
    outcome.unwrap();
    assert_eq!(heads.len(), 1);
}

#[tokio::test]
async fn a_proxy_that_refuses_is_named_and_not_taken_for_the_cluster() {
    for (refusal, words, locks) in [
        ("407 Proxy Authentication Required", "refused the user and password of proxy_authorization (407)", true),
        ("403 Forbidden", "it answered CONNECT with something else than 200", false),
        ("502 Bad Gateway", "it answered CONNECT with something else than 200", false),
    ] {
        let failure = poll(Some(refusal), "").await.0.unwrap_err();
        assert_eq!(failure.reason, FailureReason::Proxy, "{failure:?}");
        assert!(failure.message.starts_with("the proxy 127.0.0.1:") && failure.message.contains(words), "{failure:?}");
        assert_eq!(failure.refusal, locks.then_some(Refusal::Locks), "{failure:?}");
    }
}

/// What the failure of a proxy without an account is called.
async fn check_proxy(url: &str, words: &[&str]) {
    let mut lab = Lab::new(|_| {}).await;
    lab.settings.transport.proxy =
        ProxySettings::Url { account: None, no_proxy: String::new(), url: url.parse().unwrap() };
    let failure = lab.poll().await.unwrap_err();
    assert_eq!(failure.reason, FailureReason::Proxy, "{failure:?}");
    assert!(words.iter().all(|words| failure.message.contains(words)), "{words:?} in {failure:?}");
    assert_eq!(failure.refusal, None, "{failure:?}");
}

#[tokio::test]
async fn a_proxy_that_is_not_there_is_named() {
    let asks = Proxy::start(Some("407 Proxy Authentication Required")).await;
    check_proxy(&format!("http://127.0.0.1:{}", asks.server.port), &["wants a user and password (407)"]).await;
    let closes = Bare::serve(|stream, _| async move { drop(stream) }).await;
    check_proxy(&format!("http://127.0.0.1:{}", closes.port), &["the proxy 127.0.0.1:", "before it connected to"])
        .await;
    let gone = {
        let server = Bare::serve(|_, _| async {}).await;
        server.port
    };
    // The port of a server that has ended; accepting is over when its task is.
    tokio::task::yield_now().await;
    check_proxy(&format!("http://127.0.0.1:{gone}"), &["the proxy cannot be used", "127.0.0.1"]).await;
    let nowhere = format!("http://{}.invalid:3128", "x".repeat(64));
    check_proxy(&nowhere, &["the proxy cannot be used: cannot resolve xxx"]).await;
}

#[tokio::test]
async fn a_renewed_password_of_a_proxy_is_used_by_the_next_poll() {
    let proxy = Proxy::start(None).await;
    let mut lab = Lab::new(|_| {}).await;
    lab.settings.transport.proxy = proxy.settings(&lab, "");
    let mut probe = lab.probe();
    probe.poll().await.unwrap();
    assert!(!probe.client.credential_changed().await);
    lab.write("proxy-password", "hunter2 renewed");
    assert!(probe.client.credential_changed().await, "a refused one is tried again at once");
    probe.poll().await.unwrap();
    let sent: Vec<_> = proxy.heads().iter().map(|head| header(head, "Proxy-Authorization")).collect();
    assert!(sent.len() == 2 && sent[0] != sent[1], "{}", sent.len());
}

/// Of reqwest, which makes no name for TLS of such an address behind a proxy.
#[tokio::test]
async fn an_ipv6_address_behind_a_proxy_is_refused_in_our_words() {
    let proxy = Proxy::start(None).await;
    let mut lab = Lab::new(|_| {}).await;
    lab.settings.transport.proxy = proxy.settings(&lab, "");
    lab.settings.url = "https://[::1]:8000".parse().unwrap();
    let failure = lab.poll().await.unwrap_err();
    assert!(failure.reason == FailureReason::Proxy && failure.message.contains("set url to a name"), "{failure:?}");
    assert_eq!(proxy.heads(), [""; 0]);
}

/// As of a cluster without a proxy in between.
#[tokio::test]
async fn the_certificate_is_seen_through_a_proxy() {
    let proxy = Proxy::start(None).await;
    let mut lab = Lab::new(|_| {}).await;
    lab.settings.transport.proxy = proxy.settings(&lab, "");
    let mut probe = lab.probe();
    assert!(probe.client.certificate().is_none());
    probe.poll().await.unwrap();
    assert!(probe.client.certificate().is_some());
}

#[tokio::test]
async fn plain_http_never_takes_a_proxy() {
    let proxy = Proxy::start(None).await;
    let server = Bare::http(|_| Some(healthy())).await;
    let mut lab = Lab::new(|_| {}).await;
    lab.settings.url = format!("http://localhost:{}", server.port).parse().unwrap();
    (lab.settings.transport.proxy, lab.settings.transport.tls) = (proxy.settings(&lab, ""), None);
    Probe::new(&lab.settings, &lab.pool).unwrap().poll().await.unwrap();
    assert_eq!(proxy.heads(), [""; 0]);
}

/// Runs a test of this file, which is ignored otherwise, with a proxy in the environment: that cannot be changed safely in
/// this process.
async fn with_proxy_in_environment(test: &str, url: &str) {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", &format!("proxy::{test}"), "--ignored"]);
    child.env_remove("NO_PROXY").env_remove("no_proxy");
    for name in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        child.env(name, url);
    }
    let output = tokio::task::spawn_blocking(move || child.output().unwrap()).await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[tokio::test]
async fn proxies_of_the_environment_are_used_only_when_asked() {
    let proxy = Proxy::start(None).await;
    let url = format!("http://127.0.0.1:{}", proxy.server.port);
    with_proxy_in_environment("polls_directly_and_as_the_environment_says", &url).await;
    assert_eq!(proxy.heads().len(), 1, "{:?}", proxy.heads());
}

#[tokio::test]
async fn a_proxy_of_another_kind_is_named_and_not_passed_by() {
    with_proxy_in_environment("polls_through_socks", "socks5://127.0.0.1:1080").await;
}

#[tokio::test]
#[ignore = "started with proxies in the environment by a test above"]
async fn polls_through_socks() {
    let mut lab = Lab::new(|_| {}).await;
    lab.settings.transport.proxy = ProxySettings::FromEnvironment;
    let failure = lab.poll().await.unwrap_err();
    assert_eq!(failure.reason, FailureReason::Proxy, "{failure:?}");
    assert!(failure.message.contains("is no HTTP proxy by its URL"), "{failure:?}");
    assert_eq!(lab.cluster.counts().connections, 0);
}

#[tokio::test]
#[ignore = "started with proxies in the environment by the test above"]
async fn polls_directly_and_as_the_environment_says() {
    for proxy in [ProxySettings::Direct, ProxySettings::FromEnvironment] {
        let mut lab = Lab::new(|_| {}).await;
        lab.settings.transport.proxy = proxy;
        lab.poll().await.unwrap();
    }
}
