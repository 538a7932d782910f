//! Answers of clusters.
#![no_main]

use qumulo_encryption_exporter::client::fuzzing;

libfuzzer_sys::fuzz_target!(|body: &[u8]| fuzzing::decode(body));
