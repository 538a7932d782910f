//! The encryption endpoints, in each shape they have had.
//!
//! Whether optional values are null or missing is settled by the SDK: it indexes the keys
//! directly (`qumulo/rest/encryption.py`), so a missing one would break the vendor's own client.

use serde_json::{Value, json};

use crate::spec::{ClusterSpec, Profile};
use crate::timespec;

use super::{Answer, Context};

/// The statuses of version 2 that version 1, which knows two, can only show as `Encrypted`.
const ENCRYPTED_IN_V1: [&str; 6] = [
    "Configuration Corrupted",
    "KMS Available",
    "KMS Authentication Error",
    "Cannot connect to KMS server.",
    "KMS Key Not Found",
    "KMS Key Inactive",
];

/// `GET /v1/encryption/status`, documented in the REST guide as `encryption_status`.
pub(super) fn status_v1(context: &Context<'_>) -> Answer {
    let spec = context.spec;
    let status = match spec.status.as_str() {
        Some(text) if ENCRYPTED_IN_V1.contains(&text) => Value::from("Encrypted"),
        _ => spec.status.clone(),
    };
    context.status(json!({ "status": status, "last_key_rotation_time": context.time(&spec.last_key_rotation_time) }))
}

/// `GET /v2/encryption/key-store/status`, documented as `v2_encryption_key-store_status`.
pub(super) fn status_v2(context: &Context<'_>) -> Answer {
    let spec = context.spec;
    if spec.profile == Profile::Core621 && spec.body.is_none() {
        return unreleased_status(context);
    }
    // The cluster refreshes this one by itself.
    let updated = timespec::resolve(&spec.last_status_update_time, context.now, spec.fraction_digits);
    context.status(json!({
        "type": spec.key_store_type,
        "status": spec.status,
        "ca_cert_expiry": context.time(&spec.ca_cert_expiry),
        "client_cert_expiry": context.time(&spec.client_cert_expiry),
        "last_key_rotation_time": context.time(&spec.last_key_rotation_time),
        "last_status_update_time": updated,
    }))
}

/// `GET /v2/encryption/key-store`. The branch that does not apply is null: the SDK touches only
/// the one that `type` selects.
pub(super) fn key_store(context: &Context<'_>) -> Answer {
    let ClusterSpec { key_store_type, status, kms, .. } = context.spec;
    let (mut local_store, mut kms_store) = (Value::Null, Value::Null);
    if is_kms(context.spec) {
        kms_store = json!({
            "hostname": kms.hostname,
            "port": kms.port,
            "key_id": kms.key_id,
            "config_creation_time": context.time(&kms.config_creation_time),
        });
    } else {
        local_store = json!({ "status": status });
    }
    Answer::json(&json!({
        "type": key_store_type,
        "local_store": local_store,
        "kms_store": kms_store,
    }))
}

/// Version 2 as 6.2.1 had it, from the SDK of that release: it never knew status and dates of a
/// key manager together.
fn unreleased_status(context: &Context<'_>) -> Answer {
    let kms = &context.spec.kms;
    Answer::json(&if is_kms(context.spec) {
        json!({ "type": "ENCRYPTION_TYPE_KMIP", "value": {
            "hostname": kms.hostname,
            "key_id": kms.key_id,
            "certificate_expiry": context.time(&context.spec.client_cert_expiry),
            "key_expiry": Value::Null,
        }})
    } else {
        json!({ "type": "ENCRYPTION_TYPE_LOCAL", "value": {
            "status": context.spec.status,
            "last_key_rotation_time": context.time(&context.spec.last_key_rotation_time),
        }})
    })
}

fn is_kms(spec: &ClusterSpec) -> bool {
    spec.key_store_type == "KMS"
}

impl Context<'_> {
    /// A status without the keys that are to be left out, or the body that replaces it.
    fn status(&self, mut status: Value) -> Answer {
        if let Some(body) = &self.spec.body {
            return Answer::raw(body);
        }
        if let Some(keys) = status.as_object_mut() {
            keys.retain(|key, _| !self.spec.absent.iter().any(|absent| absent.key() == key));
        }
        Answer::json(&status)
    }

    /// A time as it is sent.
    fn time(&self, time: &Value) -> Value {
        timespec::resolve(time, self.applied, self.spec.fraction_digits)
    }
}
