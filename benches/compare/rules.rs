//! Measures how long Prometheus takes to evaluate all rules for a fleet.

use std::{io, path::Path, time::Duration};

use super::{fleet::values, load, server::Server};

/// Seconds for one evaluation of all groups, from Prometheus' own metrics.
pub async fn evaluation(exporter: &Server, folder: &Path) -> io::Result<f64> {
    const INTERVAL: u64 = 5;
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/prometheus/alerts.yml");
    let (config, data, rules) = (folder.join("prometheus.yml"), folder.join("tsdb"), folder.join("alerts.yml"));
    // Without the interval of the groups, so that the global one applies.
    std::fs::write(&rules, std::fs::read_to_string(shipped)?.replace("    interval: 1m\n", ""))?;
    let text = format!(
        "global: {{scrape_interval: {INTERVAL}s, evaluation_interval: {INTERVAL}s}}\nrule_files: ['{}']\nscrape_configs: \
         [{{job_name: qumulo-encryption, static_configs: [{{targets: ['127.0.0.1:{}']}}]}}]\n",
        rules.display(),
        exporter.port
    );
    std::fs::write(&config, text)?;
    let prometheus = Server::start("prometheus", |port| {
        let (config, data) = (config.display(), data.display());
        vec![
            format!("--config.file={config}"),
            format!("--storage.tsdb.path={data}"),
            format!("--web.listen-address=127.0.0.1:{port}"),
        ]
    })
    .await?;
    tokio::time::sleep(Duration::from_secs(6 * INTERVAL)).await;
    // Fails if Prometheus has exited, for example for lack of memory.
    drop(tokio::net::TcpStream::connect(("127.0.0.1", prometheus.port)).await?);
    let body = load::body(prometheus.port, false).await;
    let seconds = values(&body, "prometheus_rule_group_last_duration_seconds").map(|(_, seconds)| seconds).sum();
    drop(prometheus);
    std::fs::remove_dir_all(data)?;
    Ok(seconds)
}
