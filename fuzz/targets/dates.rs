//! Dates in answers and in HTTP headers.
#![no_main]

use qumulo_encryption_exporter::client::fuzzing;

libfuzzer_sys::fuzz_target!(|text: &str| fuzzing::dates(text));
