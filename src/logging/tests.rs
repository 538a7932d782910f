//! The subscriber as `tracing` drives it.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
    time::{Duration, UNIX_EPOCH},
};

use proptest::prelude::*;

use crate::logging::options::{LogFormat, LogLevel};

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        assert!(line.ends_with(b"\n"), "one write for the whole line");
        self.0.lock().unwrap().write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What `log` leads to.
fn logged(level: LogLevel, format: LogFormat, log: impl FnOnce()) -> String {
    let lines = Lines::default();
    let clock = || UNIX_EPOCH + Duration::from_micros(1_700_000_000_123_999);
    let writer = lines.clone();
    tracing::subscriber::with_default(super::subscriber(level, format, clock, move || writer.clone()), log);
    String::from_utf8(lines.0.lock().unwrap().clone()).unwrap()
}

#[track_caller]
fn check(log: impl Fn(), logfmt: &str, json: &str) {
    let time = "2023-11-14T22:13:20.123Z";
    assert_eq!(logged(LogLevel::Debug, LogFormat::Logfmt, &log), format!("time={time} {logfmt}\n"));
    assert_eq!(logged(LogLevel::Debug, LogFormat::Json, &log), format!("{{\"time\":\"{time}\",{json}}}\n"));
}

#[test]
fn forms() {
    check(|| tracing::info!("started"), "level=info msg=started", r#""level":"info","msg":"started""#);
    check(
        || tracing::warn!(cluster = "prod-east", err = "timed out", "poll failed"),
        r#"level=warn msg="poll failed" cluster=prod-east err="timed out""#,
        r#""level":"warn","msg":"poll failed","cluster":"prod-east","err":"timed out""#,
    );
    check(
        || tracing::error!(count = 3, delta = -1_i64, ratio = 0.5, ok = true, nan = f64::NAN, big = u128::MAX, "x"),
        "level=error msg=x count=3 delta=-1 ratio=0.5 ok=true nan=NaN big=340282366920938463463374607431768211455",
        r#""level":"error","msg":"x","count":3,"delta":-1,"ratio":0.5,"ok":true,"nan":"NaN","big":340282366920938463463374607431768211455"#,
    );
    check(|| tracing::info!(a = 1), r#"level=info msg="" a=1"#, r#""level":"info","msg":"","a":1"#);
    check(|| tracing::debug!("{}", ""), r#"level=debug msg="""#, r#""level":"debug","msg":"""#);
    check(|| tracing::trace!("t"), "level=debug msg=t", r#""level":"debug","msg":"t""#);
    check(
        || tracing::info!(err = %"a=\"b\"\n\u{1b}", list = ?["x"], "m"),
        r#"level=info msg=m err="a=\"b\"\n\u001b" list="[\"x\"]""#,
        r#""level":"info","msg":"m","err":"a=\"b\"\n\u001b","list":"[\"x\"]""#,
    );
    check(
        || tracing::info!(msg = "again", "odd key\u{2028}" = 1, r#type = "kms", "m"),
        r#"level=info msg=m msg_=again odd_key_=1 type=kms"#,
        r#""level":"info","msg":"m","msg_":"again","odd_key_":1,"type":"kms""#,
    );
    check(
        || tracing::info!(err = &std::io::Error::other("broken pipe") as &dyn std::error::Error, "m"),
        r#"level=info msg=m err="broken pipe""#,
        r#""level":"info","msg":"m","err":"broken pipe""#,
    );
}

#[test]
fn levels() {
    let all = || {
        tracing::debug!("1");
        tracing::info!("2");
        tracing::warn!("3");
        tracing::error!("4");
    };
    for (level, expect) in [(LogLevel::Debug, 4), (LogLevel::Info, 3), (LogLevel::Warn, 2), (LogLevel::Error, 1)] {
        assert_eq!(logged(level, LogFormat::Logfmt, all).lines().count(), expect, "{level:?}");
    }
}

#[test]
fn others_are_heard_from_warn_on() {
    let others = || {
        tracing::debug!(target: "hyper::proto", "authorization: Bearer");
        tracing::info!(target: "hyper_util", "connected");
        tracing::debug!(target: "qumulo_encryption_exporter_impostor", "no module of ours");
        tracing::warn!(target: "rustls", "warned");
        let _span = tracing::error_span!("span").entered();
    };
    let simulated = || tracing::debug!(target: "qumulo_simulator::cluster", "started");
    assert!(logged(LogLevel::Debug, LogFormat::Logfmt, simulated).ends_with("level=debug msg=started\n"));
    let heard = logged(LogLevel::Debug, LogFormat::Logfmt, others);
    assert!(heard.ends_with("level=warn msg=warned\n") && heard.lines().count() == 1, "{heard}");
    assert_eq!(logged(LogLevel::Error, LogFormat::Logfmt, others), "", "and not below the level either");
}

/// A logfmt line's pairs, by the rules of common parsers: quoted values are JSON strings.
fn parse_logfmt(line: &str) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    let mut rest = line;
    while !rest.is_empty() {
        let (key, after) = rest.split_once('=').unwrap();
        let (value, after) = if after.starts_with('"') {
            let mut values = serde_json::Deserializer::from_str(after).into_iter::<String>();
            let value = values.next().unwrap().unwrap();
            (value, &after[values.byte_offset()..])
        } else {
            let end = after.find(' ').unwrap_or(after.len());
            (after[..end].to_owned(), &after[end..])
        };
        pairs.push((key.to_owned(), value));
        rest = after.strip_prefix(' ').unwrap_or(after);
    }
    pairs
}

proptest! {
    #[test]
    fn hostile_values_stay_values(message in any::<String>(), value in any::<String>()) {
        let log = || tracing::warn!(cluster = "c", err = %value, "{message}");
        for format in [LogFormat::Logfmt, LogFormat::Json] {
            let line = logged(LogLevel::Info, format, log);
            let line = line.strip_suffix('\n').unwrap();
            prop_assert!(!line.chars().any(char::is_control), "{:?}", line);
            let expect = [("msg", &*message), ("cluster", "c"), ("err", &*value)];
            if format == LogFormat::Logfmt {
                let pairs = parse_logfmt(line);
                let pairs: Vec<_> = pairs.iter().map(|(key, value)| (&**key, &**value)).collect();
                prop_assert_eq!(&pairs[2..], expect);
            } else {
                let object: serde_json::Value = serde_json::from_str(line).unwrap();
                prop_assert_eq!(object.as_object().unwrap().len(), 5);
                for (key, value) in expect {
                    prop_assert_eq!(&object[key], value);
                }
            }
        }
    }
}
