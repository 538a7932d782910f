//! The encryption endpoints, in each shape they have had.
//!
//! Whether optional values are null or missing is settled by the SDK: it indexes the keys
//! directly (`qumulo/rest/encryption.py`), so a missing one would break the vendor's own client.

use serde::Serialize;
use serde_json::{Value, json};

use crate::spec::{ClusterSpec, Profile, StatusField};
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

/// Version 1, documented in the REST guide as `encryption_status`.
#[derive(Serialize)]
struct StatusV1 {
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_key_rotation_time: Option<Value>,
}

/// Version 2, documented as `v2_encryption_key-store_status`. `None` is a key left out.
#[derive(Serialize)]
struct StatusV2 {
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    key_store_type: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ca_cert_expiry: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_cert_expiry: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_key_rotation_time: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_status_update_time: Option<Value>,
}

/// `GET /v1/encryption/status`.
pub(super) fn status_v1(context: &Context<'_>) -> Answer {
    let spec = context.spec;
    if let Some(body) = &spec.body {
        return Answer::raw(body);
    }
    let status = match spec.status.as_str() {
        Some(text) if ENCRYPTED_IN_V1.contains(&text) => Value::from("Encrypted"),
        _ => spec.status.clone(),
    };
    Answer::json(&StatusV1 {
        status: context.field(StatusField::Status, status),
        last_key_rotation_time: context.time(StatusField::LastKeyRotationTime),
    })
}

/// `GET /v2/encryption/key-store/status`.
pub(super) fn status_v2(context: &Context<'_>) -> Answer {
    let spec = context.spec;
    if let Some(body) = &spec.body {
        return Answer::raw(body);
    }
    if spec.profile == Profile::Core621 {
        return unreleased_status(context);
    }
    Answer::json(&StatusV2 {
        key_store_type: context.field(StatusField::Type, spec.key_store_type.clone()),
        status: context.field(StatusField::Status, spec.status.clone()),
        ca_cert_expiry: context.time(StatusField::CaCertExpiry),
        client_cert_expiry: context.time(StatusField::ClientCertExpiry),
        last_key_rotation_time: context.time(StatusField::LastKeyRotationTime),
        last_status_update_time: context.time(StatusField::LastStatusUpdateTime),
    })
}

/// `GET /v2/encryption/key-store`. The branch that does not apply is null: the SDK touches only
/// the one that `type` selects.
pub(super) fn key_store(context: &Context<'_>) -> Answer {
    let ClusterSpec { key_store_type, status, kms, fraction_digits, .. } = context.spec;
    let (mut local_store, mut kms_store) = (Value::Null, Value::Null);
    if is_kms(context.spec) {
        let created = &kms.config_creation_time;
        kms_store = json!({
            "hostname": kms.hostname,
            "port": kms.port,
            "key_id": kms.key_id,
            "config_creation_time": timespec::resolve(created, context.applied, *fraction_digits),
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
            "certificate_expiry": context.time(StatusField::ClientCertExpiry),
            "key_expiry": Value::Null,
        }})
    } else {
        json!({ "type": "ENCRYPTION_TYPE_LOCAL", "value": {
            "status": context.spec.status,
            "last_key_rotation_time": context.time(StatusField::LastKeyRotationTime),
        }})
    })
}

fn is_kms(spec: &ClusterSpec) -> bool {
    spec.key_store_type == "KMS"
}

impl Context<'_> {
    /// `value`, unless its key is to be left out.
    fn field(&self, field: StatusField, value: Value) -> Option<Value> {
        (!self.spec.absent.contains(&field)).then_some(value)
    }

    /// A time as it is sent, unless its key is to be left out.
    fn time(&self, field: StatusField) -> Option<Value> {
        let spec = self.spec;
        let (value, anchor) = match field {
            StatusField::CaCertExpiry => (&spec.ca_cert_expiry, self.applied),
            StatusField::ClientCertExpiry => (&spec.client_cert_expiry, self.applied),
            StatusField::LastKeyRotationTime => (&spec.last_key_rotation_time, self.applied),
            // The cluster refreshes this one by itself.
            StatusField::LastStatusUpdateTime => (&spec.last_status_update_time, self.now),
            StatusField::Type | StatusField::Status => return None,
        };
        self.field(field, timespec::resolve(value, anchor, spec.fraction_digits))
    }
}
