//! The command line: dotted flags as in Prometheus exporters, each with an environment variable (see [`command`]).

mod environment;

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use url::Url;

pub use self::environment::{UsageError, command, parse};
use crate::{
    address,
    config::{SingleCluster, duration},
    logging::options::{LogFormat, LogLevel},
    routes,
    web::listen::ListenAddress,
};

/// The output of `--version`.
const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (revision ",
    env!("QUMULO_ENCRYPTION_EXPORTER_REVISION"),
    ", rustc ",
    env!("QUMULO_ENCRYPTION_EXPORTER_RUSTC"),
    ")"
);

/// The end of `--help`, and a section of the manual.
pub const EXAMPLES: &str = "\
Examples:
  Show simulated clusters in every state:
    qumulo-encryption-exporter demo
  Check a configuration, poll its clusters once, then run:
    qumulo-encryption-exporter check-config qumulo-encryption-exporter.yml
    qumulo-encryption-exporter status --config.file qumulo-encryption-exporter.yml
    qumulo-encryption-exporter --config.file qumulo-encryption-exporter.yml
  Watch one cluster without a file:
    qumulo-encryption-exporter --cluster.url https://prod --cluster.token-file prod.token
  Report all clusters of a running exporter as a monitoring plugin:
    qumulo-encryption-exporter status --exporter.url http://127.0.0.1:10979 --output plugin";

/// Prometheus exporter for the at-rest encryption of Qumulo clusters.
///
/// Without a subcommand: polls the clusters of the configuration and serves /metrics. Exit status: 0 after SIGTERM or
/// SIGINT, 1 if it cannot start or the configuration has errors, 2 for errors on the command line, 128 plus the
/// signal's number after a second signal.
#[derive(Debug, Parser)]
#[command(
    name = "qumulo-encryption-exporter",
    version = VERSION,
    args_conflicts_with_subcommands = true,
    after_help = EXAMPLES
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub daemon: DaemonArgs,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check a configuration file and the files named in it; print every error.
    CheckConfig(CheckConfigArgs),
    /// Poll every cluster once and print its status.
    ///
    /// Exit status, as for monitoring plugins: 0 all good, 1 warning, 2 critical, 3 unknown (a cluster could not be
    /// polled, or errors in configuration or command line).
    Status(StatusArgs),
    /// Run the exporter with simulated clusters in every state.
    Demo(DemoArgs),
    /// Simulate clusters that speak Qumulo's REST API on loopback; write and print a configuration for them.
    Simulate(SimulateArgs),
    /// Create an entry for `basic_auth_users` of the web configuration; the password is read from the terminal or from
    /// standard input.
    HashPassword(HashPasswordArgs),
    /// Print shell completions.
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// Print the manual page.
    Man,
}

#[derive(Args, Debug)]
pub struct DaemonArgs {
    #[command(flatten)]
    pub clusters: ClustersArgs,
    #[command(flatten)]
    pub log: LogArgs,
    #[command(flatten)]
    pub reload: ReloadArgs,
    #[command(flatten)]
    pub web: WebArgs,
}

/// Besides SIGHUP.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Reload")]
pub struct ReloadArgs {
    /// Check the configuration file periodically, and reload it when it has changed
    #[arg(long = "config.enable-auto-reload")]
    pub enable_auto_reload: bool,
    /// How often to check the configuration file
    #[arg(
        long = "config.auto-reload-interval",
        value_name = "DURATION",
        default_value = "30s",
        value_parser = interval
    )]
    pub auto_reload_interval: Duration,
}

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Clusters")]
pub struct ClustersArgs {
    /// Configuration file [default: qumulo-encryption-exporter.yml]
    #[arg(long = "config.file", value_name = "FILE")]
    pub config_file: Option<PathBuf>,
    /// Watch this one cluster, without a configuration file
    #[arg(
        long = "cluster.url",
        env = "QUMULO_URL",
        value_name = "URL",
        conflicts_with = "config_file",
        requires = "token_file"
    )]
    pub url: Option<String>,
    /// Its name, the value of the label `cluster` [default: the host]
    #[arg(long = "cluster.name", env = "QUMULO_CLUSTER_NAME", value_name = "NAME", requires = "url")]
    pub name: Option<String>,
    /// The file that contains its access token
    #[arg(long = "cluster.token-file", env = "QUMULO_TOKEN_FILE", value_name = "FILE", requires = "url")]
    pub token_file: Option<PathBuf>,
    /// PEM file with CA certificates to trust instead of the system's
    #[arg(long = "cluster.ca-file", env = "QUMULO_CA_FILE", value_name = "FILE", requires = "url")]
    pub ca_file: Option<PathBuf>,
    /// SHA-256 fingerprint of its certificate, which replaces all other checks; repeatable
    #[arg(
        long = "cluster.pin-sha256",
        env = "QUMULO_PIN_SHA256",
        value_name = "HEX",
        requires = "url",
        value_delimiter = ','
    )]
    pub pin_sha256: Vec<String>,
}

#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Log")]
pub struct LogArgs {
    /// Lowest level of messages to log
    #[arg(long = "log.level", value_name = "LEVEL", default_value_t, ignore_case = true, value_enum)]
    pub level: LogLevel,
    /// Format of log lines
    #[arg(long = "log.format", value_name = "FORMAT", default_value_t, ignore_case = true, value_enum)]
    pub format: LogFormat,
}

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Listener")]
pub struct WebArgs {
    /// Address to listen on: `:PORT`, `HOST:PORT` or `[IPv6]:PORT`; repeatable [default: :10979; demo: 127.0.0.1:10979]
    #[arg(long = "web.listen-address", value_name = "ADDRESS", value_delimiter = ',')]
    pub listen_address: Vec<ListenAddress>,
    /// Address on which only /-/healthy and /-/ready are served, without TLS, for probes without a client certificate; repeatable
    #[arg(long = "web.health-listen-address", value_name = "ADDRESS", value_delimiter = ',')]
    pub health_listen_address: Vec<ListenAddress>,
    /// Web configuration file: TLS, client certificates, basic authentication, headers, rate limit
    #[arg(long = "web.config.file", value_name = "FILE")]
    pub web_config_file: Option<PathBuf>,
    /// Listen on the sockets that systemd passes, instead of addresses
    #[arg(long = "web.systemd-socket", conflicts_with = "listen_address")]
    pub systemd_socket: bool,
    /// Reload the configuration on POST /-/reload
    #[arg(long = "web.enable-lifecycle")]
    pub enable_lifecycle: bool,
    /// The path of the metrics
    #[arg(
        long = "web.telemetry-path",
        value_name = "PATH",
        default_value = "/metrics",
        value_parser = telemetry_path
    )]
    pub telemetry_path: String,
    /// URL of the exporter behind a reverse proxy, for /sd; its path is the default of --web.route-prefix
    #[arg(
        long = "web.external-url",
        value_name = "URL",
        value_parser = external_url
    )]
    pub external_url: Option<Url>,
    /// Prefix for all paths [default: the path of --web.external-url]
    #[arg(
        long = "web.route-prefix",
        value_name = "PATH",
        value_parser = plain_path
    )]
    pub route_prefix: Option<String>,
    /// Limit of concurrent requests; others get 503. 0 is no limit
    #[arg(long = "web.max-requests", value_name = "N", default_value_t = 40)]
    pub max_requests: usize,
    /// Leave out the metrics of the process and of HTTP requests
    #[arg(long = "web.disable-exporter-metrics")]
    pub disable_exporter_metrics: bool,
}

#[derive(Args, Debug)]
pub struct CheckConfigArgs {
    /// The configuration file [default: that of --config.file, or qumulo-encryption-exporter.yml]
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// The same, as a flag
    #[arg(long = "config.file", value_name = "FILE")]
    pub config_file: Option<PathBuf>,
    /// A web configuration file to check as well
    #[arg(long = "web.config.file", value_name = "WEB_FILE")]
    pub web_config_file: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub struct HashPasswordArgs {
    /// The user's name
    #[arg(value_name = "USER")]
    pub user: String,
    /// bcrypt's cost: each step doubles the time to check the password
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(4..=17))]
    pub cost: u32,
}

#[derive(Args, Debug)]
pub struct SimulateArgs {
    /// YAML file with the clusters to simulate; reloaded when it changes [default: the fleet of demo]
    #[arg(long, value_name = "FILE")]
    pub fleet: Option<PathBuf>,
    /// Simulate the clusters of a recording (`status --record`) instead of a fleet
    #[arg(long, value_name = "FILE", conflicts_with = "fleet")]
    pub replay: Option<PathBuf>,
    /// Folder for a configuration of the clusters, and for their ports, certificates and tokens
    #[arg(long, value_name = "DIR", default_value = "simulated-clusters")]
    pub directory: PathBuf,
    /// Print the fleet of demo as YAML, and exit
    #[arg(long, conflicts_with_all = ["fleet", "replay"])]
    pub print_fleet: bool,
    #[command(flatten)]
    pub log: LogArgs,
}

#[derive(Args, Debug)]
pub struct StatusArgs {
    /// Only these clusters [default: all]
    #[arg(value_name = "CLUSTER")]
    pub names: Vec<String>,
    /// Ask a running exporter at this URL instead of the clusters; needs no configuration
    #[arg(long = "exporter.url", value_name = "URL", conflicts_with_all = ["config_file", "url"], value_parser = exporter_url)]
    pub exporter_url: Option<Url>,
    /// Also write the responses of the clusters to this new file, to attach to a report: without secrets, with placeholders for
    /// names
    #[arg(long, value_name = "FILE", conflicts_with = "exporter_url")]
    pub record: Option<PathBuf>,
    /// Keep names and addresses in that file
    #[arg(long, requires = "record")]
    pub record_names: bool,
    /// The format of the output
    #[arg(long, value_name = "FORM", default_value_t, ignore_case = true, value_enum)]
    pub output: OutputForm,
    #[command(flatten)]
    pub clusters: ClustersArgs,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub enum OutputForm {
    /// The JSON of /api/v1/clusters
    Json,
    /// One line with performance data, for monitoring plugins
    Plugin,
    /// Prometheus' text format, for the textfile collector of node_exporter
    Prometheus,
    /// A table
    #[default]
    Table,
}

#[derive(Args, Debug)]
pub struct DemoArgs {
    /// YAML file with other clusters to simulate; reloaded when it changes
    #[arg(long, value_name = "FILE")]
    pub fleet: Option<PathBuf>,
    #[command(flatten)]
    pub log: LogArgs,
    #[command(flatten)]
    pub web: WebArgs,
}

pub const DEFAULT_CONFIG_FILE: &str = "qumulo-encryption-exporter.yml";

/// Ports 9100 to 9999 are allocated to other exporters.
pub const DEFAULT_PORT: u16 = 10979;

// === impl ClustersArgs ===

impl ClustersArgs {
    /// The cluster of `--cluster.url`.
    pub fn single(&self) -> Option<SingleCluster> {
        let Self { ca_file, name, pin_sha256, token_file, url, .. } = self.clone();
        Some(SingleCluster { ca_file, name, pin_sha256, token_file, url: url? })
    }
}

impl ReloadArgs {
    /// `None` without `--config.enable-auto-reload`.
    pub fn interval(self) -> Option<Duration> {
        self.enable_auto_reload.then_some(self.auto_reload_interval)
    }
}

/// A duration such as `30s`, one second at least.
fn interval(text: &str) -> Result<Duration, &'static str> {
    let interval = duration(text)?;
    if interval >= Duration::from_secs(1) { Ok(interval) } else { Err("must be at least 1s") }
}

fn external_url(text: &str) -> Result<Url, String> {
    http_url(text, "write it as https://monitoring.example.com/qumulo, with http or https, and a path if there is one")
}

fn exporter_url(text: &str) -> Result<Url, String> {
    http_url(text, "give http:// or https://, the host and the port, without a user or a password")
}

fn http_url(text: &str, form: &str) -> Result<Url, String> {
    let (url, _) = address::url(text).map_err(|err| format!("{err}; {form}"))?;
    let is_plain = url.query().is_none() && url.fragment().is_none();
    if ["http", "https"].contains(&url.scheme()) && is_plain { Ok(url) } else { Err(form.to_owned()) }
}

fn plain_path(path: &str) -> Result<String, &'static str> {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#');
    if path.bytes().all(is_plain) { Ok(path.to_owned()) } else { Err("a path has no spaces, ? or #") }
}

fn telemetry_path(path: &str) -> Result<String, &'static str> {
    if !path.starts_with('/') {
        Err("a path begins with /")
    } else if routes::is_taken(path) {
        Err("this path has another meaning; choose one such as /metrics")
    } else {
        plain_path(path)
    }
}

#[cfg(test)]
mod tests;
