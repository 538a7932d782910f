//! Faults between the exporter and a cluster: the effect on metrics, log and page, that other clusters are not affected, and how
//! soon polling recovers. `docs/reliability.md` contains this table.
use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex},
    time::Duration,
};

use hyper::Request;
use qumulo_encryption_exporter::{
    client::{TlsSettings, TransportPool},
    clock,
    model::{FailureReason, Status},
    routes::{Routes, UrlPrefix},
    telemetry::Telemetry,
};
use qumulo_simulator::ClusterSpec;
use tokio::time::timeout;

use crate::{
    authority::{Authority, Issued},
    fleet::Fleet,
    lab::{Lab, Probe, until},
    leak,
    toxic::{Proxy, Toxic},
};

/// Poll timeout of the cluster with the fault. The other cluster has a much longer one.
const SHORT_TIMEOUT: Duration = Duration::from_secs(1);

/// Host name in the cluster's URL and certificate.
const HOST: &str = "cluster.example";

/// A replaced access token.
const RENEWED: &str = "access-v1:hunter2renewed==";

/// A cluster with the fault, called `faulty-…`, behind a TCP proxy, and a cluster without faults, called `other`.
struct Setup {
    authority: Authority,
    fleet: Fleet,
    leaf: Issued,
    name: &'static str,
    names: Arc<Names>,
    proxy: Proxy,
}

/// Resolution of the cluster's name.
#[derive(Default)]
struct Names(Mutex<Name>);

#[derive(Clone, Copy, Default)]
enum Name {
    #[default]
    Right,
    /// An address without a listener.
    Wrong,
    Unknown,
}

impl Names {
    fn set(&self, name: Name) {
        *self.0.lock().unwrap() = name;
    }

    fn lookup(&self) -> io::Result<Vec<IpAddr>> {
        match *self.0.lock().unwrap() {
            Name::Right => Ok(vec![Ipv4Addr::LOCALHOST.into()]),
            Name::Wrong => Ok(vec![Ipv4Addr::new(127, 77, 77, 77).into()]),
            Name::Unknown => Err(io::Error::other("Name or service not known")),
        }
    }
}

impl Setup {
    async fn new(name: &'static str, prepare: fn(&mut Lab)) -> Self {
        let (mut fleet, names) = (Fleet::new(), Arc::<Names>::default());
        let lookup = names.clone();
        fleet.pool = Arc::new(TransportPool::with_lookup(move |_| lookup.lookup()));
        let authority = Authority::new("Authority");
        let leaf = authority.issue(HOST, [2000, 4000]);
        let mut lab = Lab::new(|spec| leaf.install(spec)).await;
        let ca_file = Some(lab.write("ca.pem", &authority.pem()).into());
        lab.trust(TlsSettings { ca_file, ..TlsSettings::default() });
        prepare(&mut lab);
        let proxy = Proxy::start(lab.cluster.addr().port()).await;
        lab.settings.url = format!("https://{HOST}:{}", proxy.port()).parse().unwrap();
        lab.settings.timeout = SHORT_TIMEOUT;
        lab.settings.transport.connect_timeout = SHORT_TIMEOUT / 2;
        fleet.add_lab(name, lab);
        fleet.add("other", |_| {}).await;
        Self { authority, fleet, leaf, name, names, proxy }
    }

    fn lab(&self) -> &Lab {
        self.fleet.lab(self.name)
    }

    fn change(&self, change: impl FnOnce(&mut ClusterSpec)) {
        self.lab().cluster.update(change);
    }

    fn install(&self, issued: &Issued) {
        self.change(|spec| spec.certificate_pem = None);
        self.change(|spec| issued.install(spec));
    }

    fn up(&self) -> bool {
        self.fleet.up(self.name) == Some(1.0)
    }

    fn value(&self, metric: &str, label: &str) -> Option<f64> {
        self.fleet.value(metric, self.name, label)
    }

    async fn page(&self) -> String {
        let telemetry = Arc::new(Telemetry::new(&clock::now(), true).unwrap());
        let routes =
            Routes::new(self.fleet.store.clone(), telemetry, "/metrics".to_owned(), UrlPrefix::default(), None);
        let response = routes.respond(&Request::get("/").body(()).unwrap()).await;
        String::from_utf8(response.into_body().to_vec()).unwrap()
    }
}

async fn check(name: &'static str, row: &Row, prepare: fn(&mut Lab), begin: fn(&Setup), end: fn(&Setup)) {
    let setup = Setup::new(name, prepare).await;
    until(|| setup.up() && setup.fleet.up("other") == Some(1.0)).await;
    begin(&setup);
    let label = format!(",reason=\"{}\"", row.reason);
    if row.reason == "-" {
        setup.fleet.polls(name, 4.0).await;
        assert_eq!((setup.up(), setup.fleet.failures(name)), (true, 0.0), "no poll fails");
    } else {
        until(|| setup.value("last_poll_failure", &label) == Some(1.0)).await;
        assert_eq!(setup.value("up", ""), Some(0.0));
        // A poll in progress can fail for the same reason in other words, and the log has one line for each reason.
        let logged = leak::logged(&format!("cluster={name} "));
        let reason = format!("reason={}", row.reason);
        assert!(
            logged.iter().any(|line| line.contains("poll failed") && line.contains(&reason)),
            "{reason} in {logged:#?}"
        );
        let shown = async {
            while !setup.page().await.to_lowercase().contains(&row.words.to_lowercase()) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(Duration::from_secs(30), shown).await.expect(row.words);
    }
    assert_eq!(setup.value("status", ",status=\"encrypted\""), Some(1.0), "while it is fresh");
    setup.fleet.polls("other", 2.0).await;
    assert_eq!((setup.fleet.up("other"), setup.fleet.failures("other")), (Some(1.0), 0.0), "not affected");
    end(&setup);
    let failed = || setup.fleet.failures(name);
    let before = failed();
    until(|| setup.up()).await;
    assert!(failed() - before <= 1.0, "only a poll in progress fails");
}

struct Row {
    fault: &'static str,
    /// The label `reason`; a dash if no poll fails.
    reason: &'static str,
    /// Part of the message on the page.
    words: &'static str,
    /// When polling recovers.
    recovery: &'static str,
}

/// One test per row. The setup of the cluster is in parentheses.
macro_rules! rows {
    ($($test:ident $(($prepare:path))?: $fault:literal, $reason:literal, $words:literal, $recovery:literal, $begin:expr, $end:expr;)*) => {
        const ROWS: &[Row] = &[$(Row { fault: $fault, reason: $reason, words: $words, recovery: $recovery }),*];
        $(
            #[tokio::test]
            async fn $test() {
                let row = ROWS.iter().find(|row| row.fault == $fault).unwrap();
                let prepare: &[fn(&mut Lab)] = &[$($prepare,)? |_| {}];
                check(concat!("faulty-", stringify!($test)), row, prepare[0], $begin, $end).await;
            }
        )*
    };
}

rows! {
    unknown_name: "its name does not resolve", "dns", "no such name", "next poll",
        |g| { g.names.set(Name::Unknown); g.proxy.set(Toxic::Cut(0)); },
        |g| { g.names.set(Name::Right); g.proxy.set(Toxic::None); };
    refused: "its port refuses connections", "connect", "connection refused", "next poll",
        |g| { g.names.set(Name::Wrong); g.proxy.set(Toxic::Cut(0)); },
        |g| { g.names.set(Name::Right); g.proxy.set(Toxic::None); };
    reset: "connections are reset", "connect", "connection reset", "next poll",
        |g| g.proxy.set(Toxic::Reset(0)),
        |g| g.proxy.set(Toxic::None);
    half_open: "packets are silently dropped", "timeout", "within", "next poll",
        |g| g.proxy.set(Toxic::Stall(0)),
        |g| g.proxy.set(Toxic::None);
    handshake: "the TLS handshake hangs", "timeout", "no connection to", "next poll",
        |g| { g.change(|spec| spec.faults.hang_handshake = true); g.install(&g.leaf); },
        |g| g.change(|spec| spec.faults.hang_handshake = false);
    hang: "it accepts requests and never responds", "timeout", "no complete response from", "next poll",
        |g| g.change(|spec| spec.faults.hang = true),
        |g| g.change(|spec| spec.faults.hang = false);
    stall: "a response stops halfway", "timeout", "no complete response from", "next poll",
        |g| g.change(|spec| spec.faults.stall_body = true),
        |g| g.change(|spec| spec.faults.stall_body = false);
    trickle: "a response arrives too slowly, byte by byte", "timeout", "within", "next poll",
        |g| g.proxy.set(Toxic::Slow(Duration::from_millis(20))),
        |g| g.proxy.set(Toxic::None);
    cut: "connections are closed instead of a response", "connect", "closed before the response was complete", "next poll",
        |g| g.change(|spec| spec.faults.drop = true),
        |g| g.change(|spec| spec.faults.drop = false);
    altered: "a middlebox alters traffic", "tls", "does a middlebox alter the traffic", "next poll",
        |g| g.proxy.set(Toxic::Alter(100)),
        |g| g.proxy.set(Toxic::None);
    truncated: "the response is truncated", "malformed", "/v2/encryption/key-store/status", "next poll",
        |g| g.change(|spec| spec.faults.truncate = true),
        |g| g.change(|spec| spec.faults.truncate = false);
    oversize: "the response does not end", "malformed", "larger than 256 KiB", "next poll",
        |g| g.change(|spec| spec.faults.oversize = Some(1 << 40)),
        |g| g.change(|spec| spec.faults.oversize = None);
    redirect: "it redirects", "http_error", "does not follow", "next poll",
        |g| g.change(|spec| spec.faults.redirect = Some("https://elsewhere.example/".to_owned())),
        |g| g.change(|spec| spec.faults.redirect = None);
    server_error: "it responds with 500 or 503", "http_error", "HTTP 503", "next poll",
        |g| g.change(|spec| spec.faults.http_status = Some(503)),
        |g| g.change(|spec| spec.faults.http_status = None);
    rate_limit: "it responds with 429", "rate_limited", "limits the rate of requests", "next poll after the `Retry-After`",
        |g| g.change(|spec| (spec.faults.http_status, spec.faults.retry_after) = (Some(429), Some("1".to_owned()))),
        |g| g.change(|spec| (spec.faults.http_status, spec.faults.retry_after) = (None, None));
    another_certificate: "its certificate is not trusted", "tls", "is not signed by a trusted CA", "next poll with a trusted one",
        |g| g.lab().cluster.swap_certificate(),
        |g| g.install(&g.leaf);
    expired: "its certificate has expired", "tls", "has expired; renew it", "next poll after the renewal",
        |g| g.install(&g.authority.issue(HOST, [2000, 2001])),
        |g| g.install(&g.authority.issue(HOST, [2000, 4000]));
    renewed: "its certificate is renewed by the same CA", "-", "", "",
        |g| g.install(&g.authority.issue(HOST, [2001, 4000])),
        |_| {};
    no_privilege: "its account loses the privilege", "permission", "lacks PRIVILEGE_ENCRYPTION_READ", "next poll",
        |g| g.change(|spec| spec.faults.http_status = Some(403)),
        |g| g.change(|spec| spec.faults.http_status = None);
    revoked: "its access token is revoked", "authentication", "refused the credential", "second after the file has a new token",
        |g| g.change(|spec| spec.auth.token = Some(RENEWED.to_owned())),
        |g| { g.lab().write("token", RENEWED); };
    session (Lab::log_in): "its session ends", "-", "", "",
        |g| g.lab().cluster.end_sessions(),
        |_| {};
    no_file: "its credential file is missing or empty", "authentication", "no credential to send", "second after the file is restored",
        |g| { g.lab().write("token", "two words"); },
        |g| { g.lab().write("token", leak::TOKEN); };
    broken_file: "its CA file becomes invalid", "-", "", "",
        |g| { g.lab().write("ca.pem", "no certificate"); },
        |_| {};
    other_clock: "its clock is wrong", "-", "", "",
        |g| g.change(|spec| spec.faults.clock_skew = Some("-400d".to_owned())),
        |_| {};
}

#[test]
fn the_documentation_has_this_table() {
    let cell = |row: &Row| match row.reason {
        "-" => "| no poll fails | |".to_owned(),
        reason => format!("| `{reason}` | the {} |", row.recovery),
    };
    let lines: String = ROWS.iter().map(|row| format!("| {} {}\n", row.fault, cell(row))).collect();
    let document = include_str!("../../docs/reliability.md");
    assert!(document.contains(&lines), "docs/reliability.md should have:\n{lines}");
}

/// A connection that ends at any byte gives the correct status or a failure, and the next poll succeeds.
#[tokio::test]
async fn a_connection_cut_anywhere_never_gives_a_wrong_status() {
    let lab = Lab::new(|_| {}).await;
    let proxy = Proxy::start(lab.cluster.addr().port()).await;
    let mut settings = lab.settings.clone();
    settings.url = format!("https://127.0.0.1:{}", proxy.port()).parse().unwrap();
    // After a changed length, one side waits for the rest.
    (settings.timeout, settings.transport.connect_timeout) = (2 * SHORT_TIMEOUT, SHORT_TIMEOUT);
    for (step, toxic) in [(61, Toxic::Cut as fn(usize) -> Toxic), (67, Toxic::Reset), (71, Toxic::Alter)] {
        let mut failures = 0;
        for bytes in (0..3000).step_by(step) {
            let mut probe = Probe::new(&settings, &lab.pool).unwrap();
            proxy.set(toxic(bytes));
            match probe.poll().await {
                Ok(result) => assert_eq!(result.status, Status::Encrypted),
                Err(failure) => {
                    failures += 1;
                    let known =
                        [FailureReason::Connect, FailureReason::Tls, FailureReason::Timeout].contains(&failure.reason);
                    assert!(known, "{:?}: {failure:?}", toxic(bytes));
                }
            }
            proxy.set(Toxic::None);
            assert_eq!(probe.poll().await.unwrap().status, Status::Encrypted, "{:?}", toxic(bytes));
        }
        assert!(failures > 10, "{failures} of {:?}", toxic(0));
    }
}
