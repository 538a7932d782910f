//! Files with tokens and passwords.
#![no_main]

use qumulo_encryption_exporter::client::fuzzing;

libfuzzer_sys::fuzz_target!(|text: &str| fuzzing::credential(text));
