//! Additions to the generated JSON Schemas: the checks of [`super::resolve`], as far as a schema can express them, for editors.
//! Patterns avoid look-ahead and `\u`, which some validators (those written in Go) do not support.

use schemars::Schema;
use serde_json::{Map, Value, json};

use crate::model::Labels;

/// No control characters, no leading or trailing white space.
pub const NAME: &str = r"^[^\s\x00-\x1f\x7f]([^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f])?$";

/// https, or http to this host; no user, path or query.
pub const CLUSTER_URL: &str =
    r"^(https://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])|http://(localhost|127\.[0-9.]+|\[::1\]))(:[0-9]+)?/?$";

/// http or https; no user.
pub const PROXY_URL: &str = r"^https?://[^/?#@]+/?$";

pub const DURATION: &str = r"^(0|([0-9]+y)?([0-9]+w)?([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?)$";

const LABEL: &str = "^[a-zA-Z_][a-zA-Z0-9_]*$";

/// A network in CIDR notation, or an IP address.
pub const NETWORK: &str = "^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$";

/// 32 bytes in hexadecimal, optionally with the prefix that OpenSSL prints.
pub const PIN: &str = "^([Ss][Hh][Aa]256 [Ff]ingerprint=)?[0-9A-Fa-f]{2}(:?[0-9A-Fa-f]{2}){31}$";

/// Adds `$id` and the rules that involve several keys.
pub fn finish(schema: &mut Schema) {
    let name = match schema.get("title").and_then(Value::as_str) {
        Some("qumulo-encryption-exporter") => "config",
        _ => "cluster-file",
    };
    let object = schema.ensure_object();
    add(object, json!({"$id": format!("urn:qumulo-encryption-exporter:{name}"), "additionalProperties": false}));
    if name == "config" {
        let has_credential = json!({"anyOf": [{"required": ["authorization"]}, {"required": ["login"]}]});
        add(
            object,
            json!({
                "anyOf": [
                    {"required": ["clusters"], "properties": {"clusters": {"type": "array"}}},
                    {"required": ["cluster_files"], "properties": {"cluster_files": {"type": "array"}}},
                ],
                "if": {"not": {"required": ["global"], "properties": {"global": has_credential}}},
                "then": {"properties": {"clusters": {"items": has_credential}}},
            }),
        );
    }
    let Some(definitions) = object.get_mut("$defs").and_then(Value::as_object_mut) else { return };
    let shared = json!({
        "additionalProperties": false,
        "not": {"required": ["authorization", "login"]},
        "dependentRequired": {"no_proxy": ["proxy_url"], "proxy_authorization": ["proxy_url"]},
        "if": {"properties": {"proxy_from_environment": {"const": true}}, "required": ["proxy_from_environment"]},
        "then": {"properties": {"proxy_url": {"type": "null"}}},
    });
    let alone = |keys: &[&str]| {
        let keys: Vec<Value> = keys.iter().map(|key| json!({"required": [key]})).collect();
        json!({"not": {"anyOf": keys}})
    };
    let tls = json!({
        "dependentRequired": {"cert_file": ["key_file"], "key_file": ["cert_file"]},
        "allOf": [
            {"if": {"required": ["pin_sha256"]}, "then": alone(&["ca_file", "server_name"])},
            {
                "if": {"properties": {"insecure_skip_verify": {"const": true}}, "required": ["insecure_skip_verify"]},
                "then": alone(&["ca_file", "server_name", "pin_sha256"]),
            },
        ],
    });
    for (section, keywords) in [("RawCluster", shared.clone()), ("RawShared", shared), ("RawTls", tls)] {
        if let Some(section) = definitions.get_mut(section).and_then(Value::as_object_mut) {
            add(section, keywords);
        }
    }
    // YAML parses some label values as numbers or booleans.
    if let Some(labels) =
        definitions.get_mut("RawCluster").and_then(|cluster| cluster.pointer_mut("/properties/labels"))
    {
        labels["additionalProperties"] = json!({"type": ["string", "number", "boolean"]});
        let reserved = format!("^(__.*|{})$", Labels::RESERVED.join("|"));
        labels["propertyNames"] = json!({"pattern": LABEL, "not": {"pattern": reserved}});
    }
}

fn add(object: &mut Map<String, Value>, keywords: Value) {
    if let Value::Object(keywords) = keywords {
        object.extend(keywords);
    }
}
