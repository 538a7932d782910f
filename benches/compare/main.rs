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

use std::{path::Path, process::ExitCode};

use fleet::Fleet;
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
        "| server | body, gzip (bytes) | CPU per scrape, plain (us) | CPU per scrape, gzip (us) | idle (MB) | under load (MB) |"
    );
    println!("|---|---|---|---|---|---|");
    let one = Fleet::start(1, folder.path()).await;
    let ours = measure("this exporter", one.watch(60).await).await;
    let peer = peer(folder.path()).await;
    limit(folder.path(), &ours.body).await;
    println!();
    target("CPU of a gzip scrape", ours.gzip_us, 60.0, "us");
    target("resident when idle", ours.idle_mb, 6.0, "MB");
    target("resident under load", ours.loaded_mb, 8.0, "MB");
    drop(one);

    println!("\n## Many clusters\n");
    many(folder.path(), ours.idle_mb).await;
    if peer || std::env::var_os("CI").is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

struct Figures {
    body: Vec<u8>,
    gzip_us: f64,
    idle_mb: f64,
    loaded_mb: f64,
}

/// Measures one server and prints its row.
async fn measure(name: &str, server: Server) -> Figures {
    let idle_mb = server.resident_mb("VmRSS");
    let body = load::body(server.port, false).await;
    let gzip = load::body(server.port, true).await.len();
    let mut us = [0.0; 2];
    for (us, compressed) in us.iter_mut().zip([false, true]) {
        load::run(server.port, compressed, REQUESTS / 10).await;
        let before = server.cpu();
        load::run(server.port, compressed, REQUESTS).await;
        *us = (server.cpu() - before).as_secs_f64() * 1e6 / REQUESTS as f64;
    }
    let loaded_mb = server.resident_mb("VmHWM");
    let [plain_us, gzip_us] = us;
    println!("| {name} | {}, {gzip} | {plain_us:.1} | {gzip_us:.1} | {idle_mb:.1} | {loaded_mb:.1} |", body.len());
    Figures { body, gzip_us, idle_mb, loaded_mb }
}

/// Whether the peer is there.
async fn peer(folder: &Path) -> bool {
    let config = folder.join("blackbox.yml");
    std::fs::write(&config, "modules: {http: {prober: http}}\n").unwrap();
    let server = Server::start(PEER, |port| {
        vec![format!("--config.file={}", config.display()), format!("--web.listen-address=127.0.0.1:{port}")]
    });
    match server.await {
        Ok(server) => {
            measure("blackbox_exporter (Debian)", server).await;
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
}

async fn many(folder: &Path, one_mb: f64) {
    const CLUSTERS: usize = 1_000;
    const SCRAPES: usize = 40;
    let fleet = Fleet::start(CLUSTERS, folder).await;
    let server = fleet.watch(600).await;
    let before = server.cpu();
    load::run(server.port, true, SCRAPES).await;
    let scrape = (server.cpu() - before).as_secs_f64() * 1e3 / SCRAPES as f64;
    drop(server);
    target("CPU of a gzip scrape of 1,000 clusters", scrape, 15.0, "ms");

    let server = fleet.watch(5).await;
    // A round of warm polls for everyone before anything is counted.
    tokio::time::sleep(std::time::Duration::from_secs(6)).await;
    let (polls, cpu) = (fleet.polls(), server.cpu());
    tokio::time::sleep(std::time::Duration::from_secs(10)).await;
    let (polls, cpu) = (fleet.polls() - polls, server.cpu() - cpu);
    let spread = cpu.as_secs_f64() * 1e6 / polls as f64;
    let kib = (server.resident_mb("VmRSS") - one_mb) * 1e6 / 1024.0 / CLUSTERS as f64;
    drop((server, fleet));
    target("memory for each cluster, connection kept", kib, 40.0, "KiB");
    target("CPU of a warm poll, one after the other", poll::warm(folder).await, 40.0, "us");
    println!("* CPU of a warm poll, {polls} of them spread over 10 s, each after a sleep: {spread:.1} us");
}

fn target(what: &str, value: f64, limit: f64, unit: &str) {
    let verdict = if value <= limit { "met" } else { "MISSED" };
    println!("* {what}: {value:.1} {unit}; target {limit} {unit}: {verdict}");
}
