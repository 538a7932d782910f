//! Simulated clusters in this process, and the exporter that watches them in its own.

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use qumulo_encryption_exporter::sim::{ClusterSpec, SimCluster};

use super::server::Server;

/// How the certificates of the clusters are verified.
#[derive(Clone, Copy)]
pub enum Verify {
    /// By one file, which holds all of them, so that all clusters share one client.
    OneFile,
    /// By a file for each.
    FileEach,
    /// By a fingerprint for each.
    PinEach,
}

/// Clusters with a key management server, which have the most series.
pub struct Fleet {
    clusters: Vec<SimCluster>,
    folder: PathBuf,
}

impl Fleet {
    pub async fn start(count: usize, folder: &Path) -> Self {
        let mut clusters = Vec::new();
        for number in 0..count {
            let mut spec = ClusterSpec::named(format!("cluster-{number:04}"));
            spec.key_store_type = "KMS".into();
            spec.status = "KMS Available".into();
            spec.ca_cert_expiry = "+900d".into();
            spec.client_cert_expiry = "+300d".into();
            spec.last_key_rotation_time = "-30d".into();
            spec.last_status_update_time = "-5m".into();
            spec.fraction_digits = 9;
            spec.auth.token = Some("access-v1:benchmark".to_owned());
            clusters.push(SimCluster::start(spec).await.unwrap());
        }
        Self { clusters, folder: folder.to_owned() }
    }

    /// An exporter that has just been started.
    pub async fn start_exporter(&self, interval_seconds: u64, verify: Verify) -> Server {
        let config = self.configure(interval_seconds, verify);
        let server = Server::start(env!("CARGO_BIN_EXE_qumulo-encryption-exporter"), |port| {
            let (config, listen) = (config.display().to_string(), format!("127.0.0.1:{port}"));
            ["--config.file", &config, "--web.listen-address", &listen].map(str::to_owned).to_vec()
        });
        server.await.unwrap()
    }

    /// An exporter that has polled every cluster.
    pub async fn watch(&self, interval_seconds: u64, verify: Verify) -> Server {
        let before = self.polls();
        let server = self.start_exporter(interval_seconds, verify).await;
        while self.polls() < before + self.clusters.len() as u64 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // The identity's two requests follow.
        tokio::time::sleep(Duration::from_secs(1)).await;
        server
    }

    /// Status requests answered so far.
    pub fn polls(&self) -> u64 {
        self.clusters.iter().map(|cluster| cluster.counts().status_v2).sum()
    }

    fn configure(&self, interval_seconds: u64, verify: Verify) -> PathBuf {
        let authorities: String = self.clusters.iter().map(SimCluster::certificate_pem).collect();
        fs::write(self.folder.join("ca.pem"), authorities).unwrap();
        fs::write(self.folder.join("token"), "access-v1:benchmark").unwrap();
        let timeout = interval_seconds.min(10);
        let mut text = format!("global: {{poll_interval: {interval_seconds}s, poll_timeout: {timeout}s}}\nclusters:\n");
        for cluster in &self.clusters {
            let (name, url) = (cluster.name(), cluster.url());
            let tls = match verify {
                Verify::OneFile => "ca_file: ca.pem".to_owned(),
                Verify::FileEach => {
                    fs::write(self.folder.join(format!("{name}.pem")), cluster.certificate_pem()).unwrap();
                    format!("ca_file: {name}.pem")
                }
                Verify::PinEach => format!("pin_sha256: ['{}']", cluster.fingerprint()),
            };
            let token = "authorization: {credentials_file: token}";
            writeln!(text, "- {{name: {name}, url: '{url}', {token}, tls_config: {{{tls}}}}}").unwrap();
        }
        let config = self.folder.join("exporter.yml");
        fs::write(&config, text).unwrap();
        config
    }
}
