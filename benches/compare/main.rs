//! The exporter beside a peer and beside the limit, in one run: `cargo bench`.
//!
//! Figures are CPU time of the server's process and its memory, as the kernel counts them; wall-clock time on a shared
//! machine says little. Every scrape of the exporter is rendered and compressed anew: its output changes with each
//! request, if only by the request counter. Nothing is asserted; `met` and `MISSED` stand beside each target.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod fleet;
mod limit;
mod load;
mod poll;
mod server;

use std::{
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use fleet::{Fleet, Verify};
use server::Server;

/// Debian's package of the peer, and its program.
const PEER: &str = "prometheus-blackbox-exporter";

/// Requests for each figure of a small body.
const REQUESTS: usize = 6_000;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.get(1).is_some_and(|argument| argument == limit::ARGUMENT) {
        limit::serve(&arguments[2], &arguments[3]);
        return ExitCode::SUCCESS;
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
    let peer = peer(folder.path()).await;
    limit(folder.path(), &ours.body).await;
    println!();
    target("CPU of a gzip scrape", ours.gzip_us, 30.0, "us");
    target("the process' own memory when idle", ours.own_mb, 1.0, "MB");
    target("the process' own memory after the load", ours.own_loaded_mb, 2.0, "MB");
    target("cold start to the first served scrape", started, 4.0, "ms");
    drop(one);

    println!("\n## Many clusters\n");
    let more: Vec<usize> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    many(folder.path(), ours.own_mb, &more).await;
    if peer || std::env::var_os("CI").is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The headings of what [`measure`] says of memory: what is the process' own (`RssAnon`: the kernel cannot take it back),
/// and what is resident, cached pages of the program's file included.
const MEMORY: &str = "| own memory, idle (MB) | after the load (MB) | resident, idle (MB) | most under load (MB)";

struct Figures {
    body: Vec<u8>,
    gzip_us: f64,
    own_mb: f64,
    own_loaded_mb: f64,
}

/// Measures one server and prints its row, but for the last cell.
async fn measure(name: &str, server: Server) -> Figures {
    let (own_mb, idle_mb) = (server.memory_mb("RssAnon"), server.memory_mb("VmRSS"));
    let body = load::body(server.port, false).await;
    let gzip = load::body(server.port, true).await.len();
    let mut us = [0.0; 2];
    for (us, compressed) in us.iter_mut().zip([false, true]) {
        load::run(server.port, compressed, REQUESTS / 10).await;
        let before = server.cpu();
        load::run(server.port, compressed, REQUESTS).await;
        *us = (server.cpu() - before).as_secs_f64() * 1e6 / REQUESTS as f64;
    }
    let (own_loaded_mb, loaded_mb) = (server.memory_mb("RssAnon"), server.memory_mb("VmHWM"));
    let [plain_us, gzip_us] = us;
    print!(
        "| {name} | {}, {gzip} | {plain_us:.1} | {gzip_us:.1} | {own_mb:.2} | {own_loaded_mb:.2} | {idle_mb:.1} | \
         {loaded_mb:.1} |",
        body.len()
    );
    Figures { body, gzip_us, own_mb, own_loaded_mb }
}

/// Milliseconds from the start of a process to the end of its first scrape: the median of many.
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

/// Whether the peer is there.
async fn peer(folder: &Path) -> bool {
    let config = folder.join("blackbox.yml");
    std::fs::write(&config, "modules: {http: {prober: http}}\n").unwrap();
    let start = async || {
        Server::start(PEER, |port| {
            vec![format!("--config.file={}", config.display()), format!("--web.listen-address=127.0.0.1:{port}")]
        })
        .await
    };
    match start().await {
        Ok(server) => {
            measure("blackbox_exporter (Debian)", server).await;
            println!(" {:.1} |", cold_start(async || start().await.unwrap()).await);
            true
        }
        Err(err) => {
            println!("\n**{PEER} is missing: {err}** (apt-get install {PEER})\n");
            false
        }
    }
}

/// hyper with our body, fixed and compressed once.
async fn limit(folder: &Path, body: &[u8]) {
    let file = folder.join("body");
    std::fs::write(&file, body).unwrap();
    let program = std::env::current_exe().unwrap();
    let arguments = |port| vec![limit::ARGUMENT.to_owned(), format!("{port}"), file.display().to_string()];
    measure("the limit: hyper, a fixed body", Server::start(program, arguments).await.unwrap()).await;
    println!(" |");
}

/// What each cluster costs, by the size of the fleet; `more` are further sizes.
async fn many(folder: &Path, one_mb: f64, more: &[usize]) {
    const SCRAPES: usize = 40;
    const LARGE: usize = 1_000;
    println!("| clusters | CPU of a gzip scrape (ms) | own memory for each, connection kept (KiB) |");
    println!("|---|---|---|");
    let mut large = f64::NAN;
    for count in [10, 100, LARGE].into_iter().chain(more.iter().copied()) {
        let fleet = Fleet::start(count, folder).await;
        let server = fleet.watch(600, Verify::OneFile).await;
        let kib = kib_each(&server, one_mb, count);
        let before = server.cpu();
        load::run(server.port, true, SCRAPES).await;
        let scrape = (server.cpu() - before).as_secs_f64() * 1e3 / SCRAPES as f64;
        println!("| {count} | {scrape:.2} | {kib:.1} |");
        if count == LARGE {
            large = scrape;
        }
    }
    println!();
    target("CPU of a gzip scrape of 1,000 clusters", large, 8.0, "ms");

    let fleet = Fleet::start(LARGE, folder).await;
    let mut spread = None;
    for (verify, words) in [
        (Verify::OneFile, "one file of authorities"),
        (Verify::FileEach, "a file for each"),
        (Verify::PinEach, "a fingerprint for each"),
    ] {
        let server = fleet.watch(5, verify).await;
        // A round of warm polls for everyone before anything is counted.
        tokio::time::sleep(Duration::from_secs(6)).await;
        let (polls, cpu) = (fleet.polls(), server.cpu());
        tokio::time::sleep(Duration::from_secs(10)).await;
        let (polls, cpu) = (fleet.polls() - polls, server.cpu() - cpu);
        spread.get_or_insert((polls, cpu.as_secs_f64() * 1e6 / polls as f64));
        let what = format!("own memory for each of 1,000 polled clusters, {words}");
        target(&what, kib_each(&server, one_mb, LARGE), 36.0, "KiB");
    }
    drop(fleet);
    target("CPU of a warm poll, one after the other", poll::warm(folder).await, 35.0, "us");
    if let Some((polls, us)) = spread {
        println!("* CPU of a warm poll, {polls} of them spread over 10 s, each after a sleep: {us:.1} us");
    }
}

fn kib_each(server: &Server, one_mb: f64, count: usize) -> f64 {
    (server.memory_mb("RssAnon") - one_mb) * 1e6 / 1024.0 / count as f64
}

fn target(what: &str, value: f64, limit: f64, unit: &str) {
    let verdict = if value <= limit { "met" } else { "MISSED" };
    println!("* {what}: {value:.1} {unit}; target {limit} {unit}: {verdict}");
}
