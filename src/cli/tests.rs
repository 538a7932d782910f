use clap::CommandFactory;

use super::*;

#[test]
fn definitions_are_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn every_flag_of_the_daemon_has_an_environment_variable() {
    let command = command();
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
    for level in ["INFO", "Warn", "debug"] {
        check(&format!("exporter --log.level={level} --log.format=JSON"), true);
    }
    check("exporter --web.external-url https://monitoring.example.com/qumulo", true);
    for url in
        ["https://0177.0.0.1/q", "https://${HOST}", "https://a..b", "https://a:0", "ftp://a", "https://me:hush@a", "a"]
    {
        check(&format!("exporter --web.external-url {url}"), false);
        check(&format!("exporter status --exporter.url {url}"), false);
    }
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
    check("exporter status --record a.json --record-names prod-east", true);
    check("exporter status --record a.json --exporter.url http://a", false);
    check("exporter status --record-names", false);
    check("exporter simulate --replay a.json --directory b", true);
    check("exporter simulate --replay a.json --fleet a.yml", false);
    check("exporter simulate --replay a.json --print-fleet", false);
    check("exporter nonsense", false);
}

#[test]
fn help_begins_with_what_people_come_for_and_its_examples_work() {
    let mut command = Cli::command();
    let names: Vec<_> = command.get_subcommands().map(|each| each.get_name().to_owned()).collect();
    assert_eq!(names, ["check-config", "status", "demo", "simulate", "hash-password", "completions", "man"]);
    assert!(command.render_help().to_string().contains("\nExamples:\n"));
    let lines = EXAMPLES.lines().filter_map(|line| line.trim().strip_prefix("qumulo-encryption-exporter "));
    let examples: Vec<_> = lines.collect();
    assert!(examples.len() >= 6 && EXAMPLES.lines().all(|line| line.len() < 100), "{examples:?}");
    for example in examples {
        let parsed = Cli::try_parse_from(format!("exporter {example}").split_whitespace());
        assert!(parsed.is_ok(), "{example}: {parsed:?}");
    }
}
