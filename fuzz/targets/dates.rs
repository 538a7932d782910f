//! Dates in responses and in HTTP headers.
#![no_main]

use qumulo_encryption_exporter::{
    client::fuzzing::{http_date, pause, timestamp},
    model::Timestamp,
};

/// Years of four digits. A leap second has a fraction of up to two seconds, and the largest fractions round up in a double.
fn check(at: Timestamp) {
    let (whole, seconds) = (at.utc().timestamp(), at.unix_seconds());
    assert!((0..253_402_300_800).contains(&whole), "{whole}");
    assert!((0.0..=2.0).contains(&(seconds - whole as f64)), "{seconds}");
}

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Some(at) = timestamp(text) {
        check(at);
        assert_eq!(timestamp(&at.utc().to_rfc3339()), Some(at), "what was decoded can be written and read");
    }
    if let Some(at) = http_date(text).and_then(Timestamp::new) {
        check(at);
    }
    assert!(pause(text, Some("Sun, 06 Nov 1994 08:49:37 GMT")).is_none_or(|pause| pause.as_secs() <= 3600));
});
