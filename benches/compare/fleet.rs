//! Simulated clusters in separate processes, and an exporter that polls them.

use std::{
    fmt::Write,
    fs,
    io::Read,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use flate2::read::GzDecoder;
use qumulo_encryption_exporter::limits;
use qumulo_simulator::{ClusterSpec, SimCluster};

use super::{load, server::Server};

/// The first argument of a process that simulates clusters.
pub const ARGUMENT: &str = "simulate-clusters";

/// Limits the number of file descriptors per process. Each cluster needs two.
const PER_PROCESS: usize = 4_000;

pub const TOKEN: &str = "access-v1:benchmark";

/// How the certificates of the clusters are verified.
#[derive(Clone, Copy)]
pub enum Verify {
    /// One CA file with all certificates. All clusters share one TLS configuration.
    OneFile,
    /// A CA file per cluster.
    FileEach,
    /// A pin per cluster.
    PinEach,
}

#[derive(Clone, Copy, Eq, PartialEq)]
pub enum Fault {
    None,
    Hangs,
    Refuses,
}

/// Clusters with a KMS, which have the most series.
pub struct Fleet {
    children: Vec<Child>,
    pub clusters: Vec<Cluster>,
    folder: PathBuf,
}

pub struct Cluster {
    pub fingerprint: String,
    name: String,
    pub url: String,
}

impl Fleet {
    pub async fn start(count: usize, folder: &Path) -> Self {
        Self::with_faults(count, 0, folder).await
    }

    /// The last `bad` clusters hang or refuse connections, in turn.
    pub async fn with_faults(count: usize, bad: usize, folder: &Path) -> Self {
        let mut fleet = Self { children: Vec::new(), clusters: Vec::new(), folder: folder.to_owned() };
        for from in (0..count).step_by(PER_PROCESS) {
            let (to, file) = ((from + PER_PROCESS).min(count), folder.join("simulated"));
            let _ = fs::remove_file(&file);
            let child = Command::new(std::env::current_exe().unwrap())
                .args([ARGUMENT, &format!("{from}"), &format!("{to}"), &format!("{}", count - bad)])
                .arg(folder)
                .stdin(Stdio::piped())
                .spawn();
            fleet.children.push(child.unwrap());
            while !file.exists() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            fleet.clusters.extend(fs::read_to_string(&file).unwrap().lines().map(|line| {
                let [name, url, fingerprint] = <[&str; 3]>::try_from(line.split(' ').collect::<Vec<_>>()).unwrap();
                Cluster { fingerprint: fingerprint.to_owned(), name: name.to_owned(), url: url.to_owned() }
            }));
        }
        fleet
    }

    /// Starts an exporter. Does not wait for polls.
    pub async fn start_exporter(&self, interval_seconds: u64, verify: Verify) -> Server {
        let config = self.configure(interval_seconds, verify);
        let server = Server::start(env!("CARGO_BIN_EXE_qumulo-encryption-exporter"), |port| {
            let (config, listen) = (config.display().to_string(), format!("127.0.0.1:{port}"));
            ["--config.file", &config, "--web.listen-address", &listen].map(str::to_owned).to_vec()
        });
        server.await.unwrap()
    }

    /// Starts an exporter, and waits until it has polled every cluster.
    pub async fn watch(&self, interval_seconds: u64, verify: Verify) -> Server {
        let server = self.start_exporter(interval_seconds, verify).await;
        while polls(&server).await < self.clusters.len() as u64 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        // The requests for details follow the first poll.
        tokio::time::sleep(Duration::from_secs(1)).await;
        server
    }

    fn configure(&self, interval_seconds: u64, verify: Verify) -> PathBuf {
        let pem = |cluster: &Cluster| fs::read_to_string(self.folder.join(format!("{}.pem", cluster.name))).unwrap();
        fs::write(self.folder.join("ca.pem"), self.clusters.iter().map(pem).collect::<String>()).unwrap();
        fs::write(self.folder.join("token"), TOKEN).unwrap();
        let timeout = interval_seconds.min(10);
        let mut text = format!("global: {{poll_interval: {interval_seconds}s, poll_timeout: {timeout}s}}\nclusters:\n");
        for Cluster { fingerprint, name, url } in &self.clusters {
            let tls = match verify {
                Verify::OneFile => "ca_file: ca.pem".to_owned(),
                Verify::FileEach => format!("ca_file: {name}.pem"),
                Verify::PinEach => format!("pin_sha256: ['{fingerprint}']"),
            };
            let token = "authorization: {credentials_file: token}";
            writeln!(text, "- {{name: {name}, url: '{url}', {token}, tls_config: {{{tls}}}}}").unwrap();
        }
        let config = self.folder.join("exporter.yml");
        fs::write(&config, text).unwrap();
        config
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The number of polls of all clusters.
pub async fn polls(server: &Server) -> u64 {
    values(&scrape(server).await, "qumulo_encryption_polls_total").map(|(_, polls)| polls as u64).sum()
}

/// One scrape with gzip, as by Prometheus. Without gzip, megabytes of text would count as memory of the clusters.
pub async fn scrape(server: &Server) -> Vec<u8> {
    let mut text = Vec::new();
    GzDecoder::new(&*load::body(server.port, true).await).read_to_end(&mut text).unwrap();
    text
}

/// Labels and value of each series of a metric.
pub fn values<'a>(body: &'a [u8], metric: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
    let lines = std::str::from_utf8(body).unwrap().lines();
    lines
        .filter_map(move |line| line.strip_prefix(metric)?.strip_prefix('{')?.split_once("} "))
        .map(|(labels, value)| (labels, value.parse().unwrap()))
}

/// Simulates clusters until the parent process ends. The arguments are the first number, the number after the last, the number of
/// the first cluster with a fault, and a folder. Writes the certificates and then a file with a line per cluster to the folder.
pub fn simulate(arguments: &[String]) {
    let [from, to, bad_from] = [0, 1, 2].map(|index| arguments[index].parse::<usize>().unwrap());
    let folder = Path::new(&arguments[3]);
    limits::raise_descriptors();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let start = async {
        let mut clusters = Vec::new();
        for number in from..to {
            let fault = match number {
                _ if number < bad_from => Fault::None,
                _ if number % 2 == 0 => Fault::Hangs,
                _ => Fault::Refuses,
            };
            clusters.push(SimCluster::start(spec(number, fault)).await.unwrap());
        }
        clusters
    };
    let clusters = runtime.block_on(start);
    let mut lines = String::new();
    for cluster in &clusters {
        let (name, url, fingerprint) = (cluster.name(), cluster.url(), cluster.fingerprint());
        fs::write(folder.join(format!("{name}.pem")), cluster.certificate_pem()).unwrap();
        writeln!(lines, "{name} {url} {fingerprint}").unwrap();
    }
    fs::write(folder.join("new"), lines).unwrap();
    fs::rename(folder.join("new"), folder.join("simulated")).unwrap();
    std::thread::spawn(|| {
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(0);
    });
    runtime.block_on(std::future::pending::<()>());
}

fn spec(number: usize, fault: Fault) -> ClusterSpec {
    let mut spec = ClusterSpec::named(format!("cluster-{number:05}"));
    spec.key_store_type = "KMS".into();
    spec.status = "KMS Available".into();
    spec.ca_cert_expiry = "+900d".into();
    spec.client_cert_expiry = "+300d".into();
    spec.last_key_rotation_time = "-30d".into();
    spec.last_status_update_time = "-5m".into();
    spec.fraction_digits = 9;
    spec.auth.token = Some(TOKEN.to_owned());
    (spec.faults.hang, spec.faults.down) = (fault == Fault::Hangs, fault == Fault::Refuses);
    spec
}
