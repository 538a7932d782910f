//! The encryption endpoints, in each form that they had.
//!
//! Values that do not apply are null, and not omitted: the SDK reads the keys without a check (`qumulo/rest/encryption.py`), so an
//! omitted key would break the vendor's client.

use bytes::Bytes;
use hyper::Response;
use serde_json::{Value, json};

use super::{Context, ok, raw};
use crate::{
    spec::{ClusterSpec, Profile},
    time,
};

/// Statuses of version 2 that are `Encrypted` in version 1.
const ENCRYPTED_IN_V1: [&str; 6] = [
    "Configuration Corrupted",
    "KMS Available",
    "KMS Authentication Error",
    "Cannot connect to KMS server.",
    "KMS Key Not Found",
    "KMS Key Inactive",
];

/// `GET /v1/encryption/status`, documented in the REST guide as `encryption_status`.
pub fn status_v1(context: &Context) -> Response<Bytes> {
    let ClusterSpec { status, last_key_rotation_time, .. } = &*context.spec;
    let is_encrypted = ENCRYPTED_IN_V1.iter().any(|text| status == text);
    let status = if is_encrypted { &Value::from("Encrypted") } else { status };
    context.status(json!({ "status": status, "last_key_rotation_time": context.time(last_key_rotation_time) }))
}

/// `GET /v2/encryption/key-store/status`, documented as `v2_encryption_key-store_status`.
pub fn status_v2(context: &Context) -> Response<Bytes> {
    let spec = &context.spec;
    if spec.profile == Profile::Core621 && spec.body.is_none() {
        return unreleased_status(context);
    }
    context.status(json!({
        "type": spec.key_store_type,
        "status": spec.status,
        "ca_cert_expiry": context.time(&spec.ca_cert_expiry),
        "client_cert_expiry": context.time(&spec.client_cert_expiry),
        "last_key_rotation_time": context.time(&spec.last_key_rotation_time),
        "last_status_update_time": time::resolve(&spec.last_status_update_time, context.now, spec.fraction_digits),
    }))
}

/// `GET /v2/encryption/key-store`. The store that does not apply is null: the SDK reads only the one of `type`.
pub fn key_store(context: &Context) -> Response<Bytes> {
    let ClusterSpec { key_store_type, status, kms, .. } = &*context.spec;
    let (local_store, kms_store) = if key_store_type == "KMS" {
        let kms_store = json!({
            "hostname": kms.hostname,
            "port": kms.port,
            "key_id": kms.key_id,
            "config_creation_time": context.time(&kms.config_creation_time),
        });
        (Value::Null, kms_store)
    } else {
        (json!({ "status": status }), Value::Null)
    };
    ok(json!({ "type": key_store_type, "local_store": local_store, "kms_store": kms_store }))
}

/// Version 2 as in 6.2.1, according to the SDK of that release. With a KMS it has dates, but no status.
fn unreleased_status(context: &Context) -> Response<Bytes> {
    let ClusterSpec { key_store_type, status, kms, client_cert_expiry, last_key_rotation_time, .. } = &*context.spec;
    ok(if key_store_type == "KMS" {
        json!({ "type": "ENCRYPTION_TYPE_KMIP", "value": {
            "hostname": kms.hostname,
            "key_id": kms.key_id,
            "certificate_expiry": context.time(client_cert_expiry),
            "key_expiry": null,
        }})
    } else {
        json!({ "type": "ENCRYPTION_TYPE_LOCAL", "value": {
            "status": status,
            "last_key_rotation_time": context.time(last_key_rotation_time),
        }})
    })
}

impl Context {
    /// Applies `body` and `absent`.
    fn status(&self, mut status: Value) -> Response<Bytes> {
        if let Some(body) = &self.spec.body {
            return raw(body);
        }
        if let Some(keys) = status.as_object_mut() {
            keys.retain(|key, _| !self.spec.absent.iter().any(|absent| json!(absent) == *key));
        }
        ok(status)
    }
}
