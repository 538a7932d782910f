use proptest::prelude::*;
use serde_json::json;

use super::*;

fn v2(answer: &Value) -> DecodedStatus {
    match status_v2(answer.to_string().as_bytes()).unwrap() {
        V2Response::Status(decoded) => decoded,
        V2Response::PreRelease(_) => panic!("taken for the pre-release shape: {answer}"),
    }
}

#[test]
fn every_status_of_the_api_is_known() {
    let check =
        |text: &str, expect: &str| assert_eq!(v2(&json!({ "status": text })).status.label(), expect, "{text:?}");
    check("Not Encrypted", "not_encrypted");
    check("Encrypted", "encrypted");
    check("Configuration Corrupted", "configuration_corrupted");
    check("KMS Available", "kms_available");
    check("KMS Authentication Error", "kms_authentication_error");
    check("Cannot connect to KMS server.", "kms_cannot_connect");
    check("KMS Key Not Found", "kms_key_not_found");
    check("KMS Key Inactive", "kms_key_inactive");
    check("Cannot connect to KMS server", "kms_cannot_connect");
    check(" cannot  connect to\u{a0}KMS Server. ", "kms_cannot_connect");
    check("KMS KEY NOT FOUND.", "kms_key_not_found");
    check("encrypted", "encrypted");
    check("", "unknown");
    check("Encrypted?", "unknown");
    check("KMSAvailable", "unknown");
    check("KMS Quorum Lost", "unknown");
}

#[test]
fn unknown_status_keeps_its_text() {
    let status = v2(&json!({ "status": "KMS Quorum Lost" })).status;
    assert_eq!(status, Status::Unknown(ForeignText::new("KMS Quorum Lost")));
}

#[test]
fn type_is_known_or_unknown() {
    let check = |answer: Value, expect: KeyStore| assert_eq!(v2(&answer).key_store, expect, "{answer}");
    check(json!({ "status": "Encrypted", "type": "Local" }), KeyStore::Local);
    check(json!({ "status": "Encrypted", "type": "KMS" }), KeyStore::Kms);
    check(json!({ "status": "Encrypted", "type": "kms" }), KeyStore::Unknown);
    check(json!({ "status": "Encrypted", "type": null }), KeyStore::Unknown);
    check(json!({ "status": "Encrypted", "type": 7 }), KeyStore::Unknown);
    check(json!({ "status": "Encrypted" }), KeyStore::Unknown);
}

#[test]
fn dates_are_read_or_named_unreadable() {
    let check = |value: Value, expect: Result<f64, bool>| {
        for field in DateField::ALL {
            let answer = json!({ "status": "Encrypted", field.label(): value });
            let got = match v2(&answer).dates.get(field) {
                Date::At(at) => Ok(at.unix_seconds()),
                Date::NotReported => Err(false),
                Date::Unreadable(_) => Err(true),
            };
            assert_eq!(got, expect, "{answer}");
        }
    };
    let (not_reported, unreadable) = (Err(false), Err(true));
    check(json!("2027-04-18T19:55:17Z"), Ok(1_808_078_117.0));
    check(json!("2027-04-18T19:55:17.5Z"), Ok(1_808_078_117.5));
    check(json!("2023-09-05T20:15:40.06864014Z"), Ok("1693944940.06864014".parse().unwrap()));
    check(json!("2022-11-20T12:15:25.683207795Z"), Ok(1_668_946_525.683_207_8));
    check(json!("2027-04-18T21:55:17+02:00"), Ok(1_808_078_117.0));
    check(json!("2027-04-18T19:55:17+00:00"), Ok(1_808_078_117.0));
    check(json!("1970-01-01T00:00:00Z"), Ok(0.0));
    check(json!("9999-12-31T23:59:59Z"), Ok(253_402_300_799.0));
    check(json!("2028-02-29T00:00:00Z"), Ok(1_835_395_200.0));
    check(json!(null), not_reported);
    check(json!(""), not_reported);
    check(json!("1969-12-31T23:59:59Z"), unreadable);
    check(json!("1970-01-01T00:00:00+05:00"), unreadable);
    check(json!("9999-12-31T23:59:59-05:00"), unreadable);
    check(json!("2027-02-29T00:00:00Z"), unreadable);
    check(json!("2027-04-18"), unreadable);
    check(json!("2027-04-18T19:55:17"), unreadable);
    check(json!("soon"), unreadable);
    check(json!(" "), unreadable);
    check(json!(1_808_078_117), unreadable);
    check(json!({ "at": "2027-04-18T19:55:17Z" }), unreadable);
    check(json!(false), unreadable);
}

#[test]
fn every_number_of_fractional_digits_is_read() {
    for digits in 1..=9 {
        let text = format!("2027-04-18T19:55:17.{}Z", "123456789".get(..digits).unwrap());
        let answer = v2(&json!({ "status": "Encrypted", "ca_cert_expiry": text }));
        let at = answer.dates.get(DateField::CaCertExpiry).timestamp().unwrap();
        assert_eq!(
            at.utc().timestamp_subsec_nanos(),
            123_456_789 / 10_u32.pow(9 - digits as u32) * 10_u32.pow(9 - digits as u32)
        );
    }
}

#[test]
fn absent_dates_are_not_reported() {
    assert_eq!(v2(&json!({ "status": "Encrypted" })).dates, Dates::default());
}

#[test]
fn one_unreadable_date_costs_nothing_else() {
    let answer = v2(&json!({
        "type": "KMS", "status": "KMS Available", "ca_cert_expiry": "never", "client_cert_expiry": "2027-04-18T19:55:17Z",
    }));
    assert_eq!(answer.status, Status::KmsAvailable);
    assert_eq!(answer.dates.get(DateField::CaCertExpiry), &Date::Unreadable(ForeignText::new("never")));
    assert!(answer.dates.get(DateField::ClientCertExpiry).timestamp().is_some());
}

#[test]
fn answer_without_a_status_is_an_error() {
    let check = |body: &str, expect: DecodeError| {
        assert_eq!(status_v2(body.as_bytes()), Err(expect.clone()), "v2 of {body:?}");
        assert_eq!(status_v1(body.as_bytes(), KeyStore::Local), Err(expect), "v1 of {body:?}");
    };
    check("", DecodeError::Syntax { line: 1, column: 0 });
    check("<html>503</html>", DecodeError::Syntax { line: 1, column: 1 });
    check(r#"{"status": "Encr"#, DecodeError::Syntax { line: 1, column: 16 });
    check("[]", DecodeError::NoObject);
    check("null", DecodeError::NoObject);
    check("{}", DecodeError::NoStatus);
    check(r#"{"status": null}"#, DecodeError::NoStatus);
    check(r#"{"status": 3}"#, DecodeError::NoStatus);
    check(r#"{"status": ["Encrypted"]}"#, DecodeError::NoStatus);
}

#[test]
fn pre_release_shape_is_recognised() {
    let check = |answer: Value, expect: KeyStore| {
        assert_eq!(status_v2(answer.to_string().as_bytes()), Ok(V2Response::PreRelease(expect)), "{answer}");
    };
    check(json!({ "type": "ENCRYPTION_TYPE_LOCAL", "value": { "status": "Encrypted" } }), KeyStore::Local);
    check(json!({ "type": "ENCRYPTION_TYPE_KMIP", "value": { "hostname": "kms" } }), KeyStore::Kms);
    check(json!({ "type": "ENCRYPTION_TYPE_NEW", "value": {} }), KeyStore::Unknown);
}

#[test]
fn v1_tells_status_and_rotation_only() {
    let body = br#"{"status":"Encrypted","last_key_rotation_time":"2022-11-20T12:15:25Z","ca_cert_expiry":"2027-04-18T19:55:17Z"}"#;
    let answer = status_v1(body, KeyStore::Local).unwrap();
    assert_eq!((answer.status, answer.key_store), (Status::Encrypted, KeyStore::Local));
    assert!(answer.dates.get(DateField::LastKeyRotationTime).timestamp().is_some());
    assert_eq!(answer.dates.get(DateField::CaCertExpiry), &Date::NotReported);
}

#[test]
fn identity_is_a_uuid_and_a_version_or_nothing() {
    let id = |body: &str| cluster_id(body.as_bytes()).map(|id| id.as_str().to_owned());
    assert_eq!(
        id(r#"{"node_id":1,"state":"ACTIVE","cluster_id":"f8a2c1d4-0b3e-4c5d-9e8f-001122334455"}"#).as_deref(),
        Some("f8a2c1d4-0b3e-4c5d-9e8f-001122334455")
    );
    assert_eq!(id(r#"{"cluster_id":""}"#), None);
    assert_eq!(id("nonsense"), None);
    let number = |body: &str| version(body.as_bytes()).map(|version| version.as_str().to_owned());
    assert_eq!(number(r#"{"revision_id":"Qumulo Core 7.2.3.1"}"#).as_deref(), Some("7.2.3.1"));
    assert_eq!(number(r#"{"revision_id":"7.2.3.1"}"#).as_deref(), Some("7.2.3.1"));
    assert_eq!(number(r#"{"revision_id":"Qumulo Core <b>"}"#), None);
    assert_eq!(number(r#"{"revision_id":7}"#), None);
}

#[test]
fn tokens_must_fit_a_header() {
    let check = |body: &str, expect: bool| assert_eq!(bearer_token(body.as_bytes()).is_ok(), expect, "{body}");
    check(r#"{"bearer_token":"session-v1:abc=="}"#, true);
    check(r#"{"bearer_token":""}"#, false);
    check(r#"{"bearer_token":"a\r\nb"}"#, false);
    check(r#"{"bearer_token":null}"#, false);
    check("[]", false);
}

#[test]
fn error_class_is_an_identifier() {
    let class = |body: &str| error_class(body.as_bytes());
    assert_eq!(class(r#"{"error_class":"http_not_found_error"}"#).as_deref(), Some("http_not_found_error"));
    assert_eq!(class(r#"{"error_class":"<script>"}"#), None);
    assert_eq!(class(r#"{"error_class":""}"#), None);
}

#[test]
fn details_are_decoded_or_not_known() {
    let server = |answer: Value| kms_server(answer.to_string().as_bytes());
    let whole = json!({"type": "KMS", "local_store": null, "kms_store": {
        "hostname": "kms", "port": 5696, "key_id": "k", "config_creation_time": "2026-05-01T10:00:00Z"}});
    let known = server(whole.clone()).unwrap();
    assert_eq!((known.address().as_str(), known.key_id(), known.configured.is_some()), ("kms:5696", "k", true));
    for port in [json!("5696"), json!(0), json!(70_000), json!(null), json!("x")] {
        let mut answer = whole.clone();
        answer["kms_store"]["port"] = port.clone();
        assert_eq!(server(answer).unwrap().port, (port == "5696").then_some(5696), "{port}");
    }
    assert_eq!(server(json!({"kms_store": {}})).unwrap().address(), "");
    for answer in [json!({"kms_store": null}), json!({}), json!([]), json!({"kms_store": "x"})] {
        assert_eq!(server(answer.clone()), None, "{answer}");
    }
    let account =
        |answer: Value| who_am_i(answer.to_string().as_bytes()).map(|(id, privileges)| (id, privileges.can_read));
    let read = json!(["PRIVILEGE_ENCRYPTION_READ", 7]);
    assert_eq!(account(json!({"id": "1001", "privileges": read})), Some(("1001".to_owned(), true)));
    for answer in [
        json!({"id": "1&user=2", "privileges": read}),
        json!({"id": "1"}),
        json!({"id": "", "privileges": read}),
        json!({"privileges": read}),
        json!({"id": 1, "privileges": read}),
    ] {
        assert_eq!(account(answer.clone()), None, "{answer}");
    }
    let expires = |entry: Value| -> Vec<bool> {
        let tokens = access_tokens(json!({"entries": [entry]}).to_string().as_bytes());
        tokens.iter().map(|token| token.expires.is_some()).collect()
    };
    for (entry, expect) in [
        (json!({"id": "1", "expiration_time": "2027-01-01T00:00:00Z", "enabled": true}), &[true][..]),
        // Before Core 5.3.3.
        (json!({"id": "1", "expiration_time": "2027-01-01T00:00:00Z"}), &[true]),
        (json!({"id": "1", "expiration_time": null}), &[false]),
        (json!({"id": "1"}), &[false]),
        (json!({"id": "1", "expiration_time": "never"}), &[false]),
        (json!({"id": "1", "expiration_time": "2027-01-01T00:00:00Z", "enabled": false}), &[]),
        (json!({"id": "<1>", "expiration_time": "2027-01-01T00:00:00Z"}), &[]),
        (json!("x"), &[]),
    ] {
        assert_eq!(expires(entry.clone()), expect, "{entry}");
    }
    assert_eq!(access_tokens(b"[]").len(), 0);
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(|number| json!(number)),
        any::<i64>().prop_map(Value::from),
        ".*".prop_map(Value::from),
        "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{0,12})?(Z|[+-][0-9]{2}:[0-9]{2})"
            .prop_map(Value::from),
    ];
    let key = prop_oneof![
        Just("status".to_owned()),
        Just("type".to_owned()),
        Just("value".to_owned()),
        proptest::sample::select(DateField::ALL.to_vec()).prop_map(|field| field.label().to_owned()),
        ".*",
    ];
    leaf.prop_recursive(3, 32, 8, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::btree_map(key.clone(), inner, 0..8)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

fn decode_everything(body: &[u8]) {
    let _ = status_v2(body);
    let _ = status_v1(body, KeyStore::Local);
    let _ = cluster_id(body);
    let _ = version(body);
    let _ = bearer_token(body);
    let _ = error_class(body);
    let _ = kms_server(body);
    let _ = who_am_i(body);
    let _ = access_tokens(body);
}

proptest! {
    #[test]
    fn any_bytes_are_decoded_without_panic(body in proptest::collection::vec(any::<u8>(), 0..512)) {
        decode_everything(&body);
    }

    #[test]
    fn any_json_is_decoded_without_panic(answer in any_json()) {
        decode_everything(answer.to_string().as_bytes());
    }

    #[test]
    fn a_string_status_always_gives_an_answer(answer in any_json(), status in ".*") {
        let mut answer = answer.as_object().cloned().unwrap_or_default();
        answer.insert("status".to_owned(), Value::from(status));
        let decoded = v2(&Value::Object(answer));
        for field in DateField::ALL {
            if let Some(at) = decoded.dates.get(field).timestamp() {
                prop_assert!((0.0..253_402_300_800.0).contains(&at.unix_seconds()));
            }
        }
    }
}
