//! Compares the exporter with other exporters, and with a server that has a fixed body, in one run: `cargo bench`.
//!
//! It measures CPU time and memory of the server processes, because wall-clock time varies on shared hosts. Nothing is asserted.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod fleet;
mod limit;
mod load;
mod poll;
mod rules;
mod server;

use std::{
    collections::HashMap,
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use fleet::{Fleet, Verify};
use server::Server;

/// Other exporters: programs and arguments. The first one is Debian's package. The others are measured if they are in the `PATH`.
const PEERS: [(&str, &[&str]); 4] = [
    ("prometheus-blackbox-exporter", BLACKBOX),
    ("blackbox_exporter", BLACKBOX),
    ("node_exporter", &["--collector.disable-defaults", "--web.listen-address=ADDRESS"]),
    ("x509-certificate-exporter", &["--watch-file=CERTIFICATE", "--listen-address=ADDRESS"]),
];
const BLACKBOX: &[&str] = &["--config.file=BLACKBOX", "--web.listen-address=ADDRESS"];

/// This argument skips the measurements that take minutes.
const SHORT: &str = "short";

/// Number of requests per measurement of a small body.
const REQUESTS: usize = 3_000;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some(limit::ARGUMENT) => {
            limit::serve(&arguments[2], &arguments[3]);
            return ExitCode::SUCCESS;
        }
        Some(fleet::ARGUMENT) => {
            fleet::simulate(&arguments[2..]);
            return ExitCode::SUCCESS;
        }
        _ => {}
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(compare())
}

async fn compare() -> ExitCode {
    let folder = tempfile::tempdir().unwrap();
    println!("## One cluster\n");
    println!(
        "| server | body, gzip (bytes) | CPU per scrape, plain (us) | CPU per scrape, gzip (us) {MEMORY} | cold start (ms) |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    let one = Fleet::start(1, folder.path()).await;
    let ours = measure("this exporter", one.watch(60, Verify::OneFile).await).await;
    let started = cold_start(async || one.start_exporter(60, Verify::OneFile).await).await;
    println!(" {started:.1} |");
    let peer = peers(folder.path()).await;
    limit(folder.path(), &ours.body).await;
    drop(one);

    println!("\n## Many clusters\n");
    many(folder.path(), ours.own_mb).await;
    if peer || std::env::var_os("CI").is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Headings of the memory columns of [`measure`]. Own memory is `RssAnon`, which the kernel cannot reclaim. Resident memory also
/// includes cached pages of the program file.
const MEMORY: &str = "| own memory, idle (MB) | after the load (MB) | resident, idle (MB) | most under load (MB)";

struct Figures {
    body: Vec<u8>,
    own_mb: f64,
}

/// Measures one server and prints its row, without the last cell.
async fn measure(name: &str, server: Server) -> Figures {
    let (own_mb, idle_mb) = (server.memory_mb("RssAnon"), server.memory_mb("VmRSS"));
    let body = load::body(server.port, false).await;
    let gzip = load::body(server.port, true).await.len();
    let mut us = [0.0; 2];
    for (us, compressed) in us.iter_mut().zip([false, true]) {
        load::client(server.port, "/metrics", compressed, REQUESTS / 10).await;
        let before = server.cpu();
        load::client(server.port, "/metrics", compressed, REQUESTS).await;
        *us = (server.cpu() - before).as_secs_f64() * 1e6 / REQUESTS as f64;
    }
    load::run(server.port, true, REQUESTS / 2).await;
    let (own_loaded_mb, loaded_mb) = (server.memory_mb("RssAnon"), server.memory_mb("VmHWM"));
    let [plain_us, gzip_us] = us;
    print!(
        "| {name} | {}, {gzip} | {plain_us:.1} | {gzip_us:.1} | {own_mb:.2} | {own_loaded_mb:.2} | {idle_mb:.1} | \
         {loaded_mb:.1} |",
        body.len()
    );
    Figures { body, own_mb }
}

/// The median time from the start of a process to the end of its first scrape, in milliseconds.
async fn cold_start(mut start: impl AsyncFnMut() -> Server) -> f64 {
    const STARTS: usize = 21;
    let mut all = Vec::new();
    for _ in 0..STARTS {
        let begin = Instant::now();
        let server = start().await;
        load::body(server.port, false).await;
        all.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    all.sort_by(f64::total_cmp);
    all[STARTS / 2]
}

async fn start_peer(folder: &Path, program: &str, arguments: &[&str]) -> std::io::Result<Server> {
    let (blackbox, certificate) = (folder.join("blackbox.yml"), folder.join("cluster-00000.pem"));
    let module = "tls: {prober: tcp, tcp: {tls: true, tls_config: {insecure_skip_verify: true}}}";
    std::fs::write(&blackbox, format!("modules: {{{module}}}\n"))?;
    let fill = |port| {
        let address = format!("127.0.0.1:{port}");
        let values = [
            ("ADDRESS", &*address),
            ("BLACKBOX", blackbox.to_str().unwrap()),
            ("CERTIFICATE", certificate.to_str().unwrap()),
        ];
        let filled =
            |word: &&str| values.iter().fold((*word).to_owned(), |word, (name, value)| word.replace(name, value));
        arguments.iter().map(filled).collect()
    };
    Server::start(program, fill).await
}

/// Measures the other exporters. Returns whether the first one is installed.
async fn peers(folder: &Path) -> bool {
    let mut first = false;
    for (index, (program, arguments)) in PEERS.into_iter().enumerate() {
        match start_peer(folder, program, arguments).await {
            Ok(server) => {
                measure(program, server).await;
                let start = async || start_peer(folder, program, arguments).await.unwrap();
                println!(" {:.1} |", cold_start(start).await);
                first |= index == 0;
            }
            Err(err) => println!("| {program}: not available, {err} |"),
        }
    }
    first
}

/// Measures hyper with the exporter's body, which is compressed once.
async fn limit(folder: &Path, body: &[u8]) {
    let file = folder.join("body");
    std::fs::write(&file, body).unwrap();
    let program = std::env::current_exe().unwrap();
    let arguments = |port| vec![limit::ARGUMENT.to_owned(), format!("{port}"), file.display().to_string()];
    measure("the limit: hyper, a fixed body", Server::start(program, arguments).await.unwrap()).await;
    println!(" |");
}

/// Measures fleets of several sizes.
async fn many(folder: &Path, one_mb: f64) {
    const LARGE: usize = 1_000;
    println!(
        "| clusters | all polled after (s) | CPU per scrape, gzip (ms) | CPU of the page, gzip (ms) | CPU of the JSON, gzip (ms) | \
         own memory for each (KiB) | CPU of a TLS probe of each by blackbox_exporter (ms) | polling every 60 s (% of a core) | \
         evaluation of all rules (s) |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    if std::env::args().any(|argument| argument == SHORT) {
        for count in [10, 50] {
            size(folder, one_mb, count, false).await;
        }
        return;
    }
    for count in [10, 50, LARGE] {
        size(folder, one_mb, count, count >= LARGE).await;
    }
    println!();
    let fleet = Fleet::start(LARGE, folder).await;
    for (verify, words) in [
        (Verify::OneFile, "one CA file"),
        (Verify::FileEach, "a CA file for each"),
        (Verify::PinEach, "a fingerprint for each"),
    ] {
        let server = fleet.watch(5, verify).await;
        tokio::time::sleep(Duration::from_secs(6)).await;
        println!(
            "* own memory for each of 1,000 polled clusters, {words}: {:.1} KiB",
            kib_each(&server, one_mb, LARGE)
        );
    }
    drop(fleet);
    println!("* CPU of a poll with its handshake: {:.0} us", poll::poll(folder).await);
    mostly_bad(folder, LARGE).await;
}

/// Measures a fleet of this size and prints its row.
async fn size(folder: &Path, one_mb: f64, count: usize, large: bool) {
    const REQUESTS: usize = 40;
    let fleet = Fleet::start(count, folder).await;
    let begin = Instant::now();
    let server = fleet.watch(60, Verify::PinEach).await;
    let started = begin.elapsed().as_secs_f64() - 1.0;
    let kib = kib_each(&server, one_mb, count);
    let mut each = [0.0; 3];
    for (each, path) in each.iter_mut().zip(["/metrics", "/", "/api/v1/clusters"]) {
        let before = server.cpu();
        load::client(server.port, path, true, REQUESTS).await;
        *each = (server.cpu() - before).as_secs_f64() * 1e3 / REQUESTS as f64;
    }
    let [scrape, page, json] = each;
    let probes = probe_each(folder, &fleet).await;
    print!("| {count} | {started:.1} | {scrape:.2} | {page:.2} | {json:.2} | {kib:.1} | {probes} |");
    if large {
        let (_, cpu) = polling(&server, Duration::from_secs(60)).await;
        print!(" {:.2} |", cpu / 60.0 * 100.0);
        match rules::evaluation(&server, folder).await {
            Ok(seconds) => println!(" {seconds:.2} |"),
            Err(err) => println!(" {err} |"),
        }
    } else {
        println!(" | |");
    }
}

/// Milliseconds of CPU time that blackbox_exporter takes to probe each cluster once.
async fn probe_each(folder: &Path, fleet: &Fleet) -> String {
    let (program, arguments) = PEERS[0];
    let peer = match start_peer(folder, program, arguments).await {
        Ok(peer) => peer,
        Err(err) => return err.to_string(),
    };
    let before = peer.cpu();
    for cluster in &fleet.clusters {
        let target = cluster.url.trim_start_matches("https://").trim_end_matches('/');
        load::client(peer.port, &format!("/probe?module=tls&target={target}"), true, 1).await;
    }
    format!("{:.1}", (peer.cpu() - before).as_secs_f64() * 1e3)
}

/// The number of polls during this time, and their CPU time in seconds.
async fn polling(server: &Server, time: Duration) -> (u64, f64) {
    let (polls, cpu) = (fleet::polls(server).await, server.cpu());
    tokio::time::sleep(time).await;
    let cpu = server.cpu() - cpu;
    (fleet::polls(server).await - polls, cpu.as_secs_f64())
}

/// Measures how late clusters are polled if nine of ten others hang or refuse connections.
async fn mostly_bad(folder: &Path, count: usize) {
    const INTERVAL: u64 = 15;
    const METRIC: &str = "qumulo_encryption_last_successful_poll_timestamp_seconds";
    let fleet = Fleet::with_faults(count, count / 10 * 9, folder).await;
    let server = fleet.watch(INTERVAL, Verify::PinEach).await;
    let (begin, cpu) = (Instant::now(), server.cpu());
    let (mut seen, mut gap) = (HashMap::<String, f64>::new(), 0.0_f64);
    while begin.elapsed() < Duration::from_secs(5 * INTERVAL) {
        let body = fleet::scrape(&server).await;
        for (labels, at) in fleet::values(&body, METRIC) {
            let before = seen.insert(labels.to_owned(), at).unwrap_or(at);
            gap = gap.max(at - before);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let busy = (server.cpu() - cpu).as_secs_f64() / begin.elapsed().as_secs_f64() * 100.0;
    let before = server.cpu();
    load::client(server.port, "/metrics", true, 40).await;
    let scrape = (server.cpu() - before).as_secs_f64() * 1e3 / 40.0;
    println!(
        "\n{} of {count} clusters hang or refuse connections, polled every {INTERVAL} s ({busy:.1} % of a core):\n",
        count / 10 * 9
    );
    println!("* largest lateness of the {} others: {:.1} ms", seen.len(), (gap - INTERVAL as f64) * 1e3);
    println!("* CPU of a gzip scrape meanwhile: {scrape:.1} ms");
}

fn kib_each(server: &Server, one_mb: f64, count: usize) -> f64 {
    (server.memory_mb("RssAnon") - one_mb) * 1e6 / 1024.0 / count as f64
}
