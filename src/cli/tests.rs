use clap::CommandFactory;

use super::*;

#[test]
fn definitions_are_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn every_flag_of_the_daemon_has_an_environment_variable() {
    let command = Cli::command();
    let flags: Vec<_> = command.get_arguments().filter(|arg| arg.get_long().is_some()).collect();
    assert!(flags.len() > 10);
    for arg in flags {
        let (long, env) = (arg.get_long().unwrap(), arg.get_env().and_then(|env| env.to_str()));
        let expect = match long {
            "cluster.name" => "QUMULO_CLUSTER_NAME".to_owned(),
            _ => match long.strip_prefix("cluster.") {
                Some(rest) => format!("QUMULO_{}", rest.replace('-', "_").to_uppercase()),
                None => format!("QUMULO_ENCRYPTION_EXPORTER_{}", long.replace(['.', '-'], "_").to_uppercase()),
            },
        };
        assert_eq!(env, Some(expect.as_str()), "--{long}");
    }
}

#[test]
fn command_lines_are_understood_or_refused() {
    let check = |line: &str, good: bool| {
        let parsed = Cli::try_parse_from(line.split(' '));
        assert_eq!(parsed.is_ok(), good, "{line}: {parsed:?}");
    };
    check("exporter", true);
    check("exporter --config.file a.yml --log.level debug --log.format json", true);
    check("exporter --web.listen-address :1 --web.listen-address [::1]:2", true);
    check("exporter --cluster.url https://a --cluster.token-file t", true);
    check("exporter --cluster.url https://a", false);
    check("exporter --cluster.url https://a --cluster.token-file t --config.file a.yml", false);
    check("exporter --cluster.name a", false);
    check("exporter --web.listen-address 10979", false);
    check("exporter --web.telemetry-path metrics", false);
    for taken in
        ["/", "/sd", "/probe", "/api", "/api/v1/clusters", "/api/v2", "/-/x", "/runbooks", "/runbooks/", "/runbooks/x"]
    {
        check(&format!("exporter --web.telemetry-path {taken}"), false);
    }
    for free in ["/metrics", "/sdk", "/apiary", "/qumulo/metrics", "/metrics/runbooks"] {
        check(&format!("exporter --web.telemetry-path {free}"), true);
    }
    check("exporter --web.max-requests -1", false);
    check("exporter --web.systemd-socket --web.enable-lifecycle", true);
    check("exporter --web.systemd-socket --web.listen-address :1", false);
    check("exporter --config.enable-auto-reload --config.auto-reload-interval 1m30s", true);
    check("exporter --config.auto-reload-interval 500ms", false);
    check("exporter --config.auto-reload-interval 30", false);
    check("exporter --log.level trace", false);
    check("exporter demo --web.listen-address 127.0.0.1:0 --log.level error", true);
    check("exporter demo --config.file a.yml", false);
    check("exporter check-config a.yml", true);
    check("exporter check-config --config.file a.yml --web.config.file b.yml", true);
    check("exporter simulate --print-fleet", true);
    check("exporter completions bash", true);
    check("exporter completions cmd.exe", false);
    check("exporter man", true);
    check("exporter status --config.file a.yml --output json", true);
    check("exporter status --output xml", false);
    check("exporter status --output plugin prod-east prod-west", true);
    check("exporter nonsense", false);
}
