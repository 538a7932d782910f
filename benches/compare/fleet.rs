//! Simulated clusters in this process, and the exporter that watches them in its own.

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use qumulo_encryption_exporter::sim::{ClusterSpec, SimCluster};

use super::server::Server;

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

    /// An exporter that has polled every cluster. All clusters' certificates are in one file, so they share one client.
    pub async fn watch(&self, interval_seconds: u64) -> Server {
        let config = self.configure(interval_seconds);
        let server = Server::start(env!("CARGO_BIN_EXE_qumulo-encryption-exporter"), |port| {
            let (config, listen) = (config.display().to_string(), format!("127.0.0.1:{port}"));
            ["--config.file", &config, "--web.listen-address", &listen].map(str::to_owned).to_vec()
        });
        let (before, server) = (self.polls(), server.await.unwrap());
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

    fn configure(&self, interval_seconds: u64) -> PathBuf {
        let authorities: String = self.clusters.iter().map(SimCluster::certificate_pem).collect();
        fs::write(self.folder.join("ca.pem"), authorities).unwrap();
        fs::write(self.folder.join("token"), "access-v1:benchmark").unwrap();
        let timeout = interval_seconds.min(10);
        let mut text = format!("global: {{poll_interval: {interval_seconds}s, poll_timeout: {timeout}s}}\nclusters:\n");
        for cluster in &self.clusters {
            writeln!(
                text,
                "- {{name: {}, url: '{}', authorization: {{credentials_file: token}}, tls_config: {{ca_file: ca.pem}}}}",
                cluster.name(),
                cluster.url()
            )
            .unwrap();
        }
        let config = self.folder.join("exporter.yml");
        fs::write(&config, text).unwrap();
        config
    }
}
