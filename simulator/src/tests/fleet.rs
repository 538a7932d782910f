//! Fleets and their files.

use std::{error::Error, time::Duration};

use serde_json::json;

use crate::{ClusterSpec, Fleet, FleetError, FleetFile, FleetSpec, Profile, SimCluster, fleet::Changes};

/// A cluster with these keys after its name.
fn one(yaml: &str) -> ClusterSpec {
    let fleet = FleetSpec::parse(&format!("clusters:\n  - name: a\n{yaml}")).unwrap();
    fleet.clusters.into_iter().next().unwrap()
}

/// Names and statuses of clusters.
fn fleet(clusters: &[(&str, &str)]) -> FleetSpec {
    let clusters =
        clusters.iter().map(|(name, status)| ClusterSpec { status: json!(status), ..ClusterSpec::named(*name) });
    FleetSpec { clusters: clusters.collect() }
}

/// Checks that the error is one line with these parts.
fn check_refused(yaml: &str, parts: &[&str]) {
    let error = FleetSpec::parse(yaml).unwrap_err().to_string();
    assert!(parts.iter().all(|part| error.contains(part)) && !error.contains('\n'), "{error}");
}

#[test]
fn yaml_keeps_raw_values() {
    assert_eq!(one(""), ClusterSpec::named("a"));
    let spec = one("    type: null\n    status: 3\n    ca_cert_expiry: \"7\"\n    client_cert_expiry: +25d\n");
    assert_eq!((spec.key_store_type, spec.status), (json!(null), json!(3)));
    assert_eq!((spec.ca_cert_expiry, spec.client_cert_expiry), (json!("7"), json!("+25d")));
    let spec = one("    profile: core-6.2.1\n    port: 18001\n    faults: { latency: 200ms, identity_fault: hang }\n");
    assert_eq!(
        (spec.profile, spec.port, spec.faults.latency),
        (Profile::Core621, 18001, Some(Duration::from_millis(200)))
    );
}

#[test]
fn bad_yaml_is_refused_with_its_place() {
    check_refused("clusters:\n  - name: a\n    prot: 1\n", &["unknown field `prot`", "line 3, column 5"]);
    check_refused("clusters:\n  - name: a\n    faults: { latency: soon }\n", &["`soon` is not a duration", "line 3"]);
    check_refused(
        "clusters:\n  - name: a\n    faults: { identity_fault: maybe }\n",
        &["\"maybe\" is neither", "line 3"],
    );
    check_refused("clusters:\n  - name: a\n    absent: [typ]\n", &["`typ`", "line 3"]);
    check_refused("clusters: [", &["line 1"]);
    check_refused("clusters:\n  - port: 1\n", &["cluster number 1 has no `name`"]);
    check_refused("clusters:\n  - name: a\n  - name: a\n", &["two clusters have the name `a`"]);
    check_refused(
        "clusters: [{name: a, port: 1}, {name: b, port: 1}]",
        &["cluster `b`: another cluster has the same host and port"],
    );
}

#[tokio::test]
async fn the_demonstration_fleet_starts() {
    FleetSpec::parse(FleetSpec::DEMO).unwrap();
    let fleet = Fleet::start(FleetSpec::demo()).await.unwrap();
    assert_eq!(fleet.iter().count(), 15);
    assert_eq!(fleet.cluster("archive").unwrap().spec().status, "Not Encrypted");
}

#[tokio::test]
async fn a_fleet_becomes_what_it_is_told() {
    let mut running = Fleet::start(fleet(&[("a", "1"), ("b", "1"), ("c", "1")])).await.unwrap();
    let addr = running.cluster("a").unwrap().addr();
    let changes = running.apply(fleet(&[("a", "2"), ("b", "1"), ("d", "1")])).await.unwrap();
    let [added, changed, removed] = ["d", "a", "c"].map(|name| vec![String::from(name)]);
    assert_eq!(changes, Changes { added, changed, removed });
    assert_eq!(running.cluster("a").unwrap().spec().status, "2");
    assert_eq!(running.cluster("a").unwrap().addr(), addr);
    assert!(running.cluster("c").is_none());
    let mut moved = fleet(&[("a", "2")]);
    moved.clusters[0].host = "127.0.0.2".parse().unwrap();
    assert_eq!(running.apply(moved).await.unwrap().changed, ["a"]);
    assert!(running.cluster("a").unwrap().url().starts_with("https://127.0.0.2:"));
}

#[tokio::test]
async fn a_cluster_that_cannot_start_does_not_stop_the_rest() {
    let mut running = Fleet::start(fleet(&[("a", "1")])).await.unwrap();
    let mut wanted = fleet(&[("a", "1"), ("b", "1"), ("c", "1")]);
    wanted.clusters[1].port = running.cluster("a").unwrap().addr().port();
    let error = running.apply(wanted).await.unwrap_err();
    assert!(error.source().is_none(), "the message has the cause already");
    assert!(matches!(error, FleetError::Start { name, .. } if name == "b"));
    assert_eq!(running.iter().map(SimCluster::name).collect::<Vec<_>>(), ["a", "c"]);
}

#[tokio::test(start_paused = true)]
async fn an_edited_file_is_followed_and_a_broken_one_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("fleet.yml");
    let write = |status: &str| std::fs::write(&path, format!("clusters: [{{name: a, status: {status}}}]"));
    write("one").unwrap();
    let (mut file, spec) =
        FleetFile::open(&path, |path| std::fs::read_to_string(path).map_err(|err| err.to_string())).unwrap();
    let mut running = Fleet::start(spec).await.unwrap();
    assert_eq!(file.refresh(&mut running).await.unwrap(), None);
    write("two").unwrap();
    assert_eq!(file.refresh(&mut running).await.unwrap().unwrap().changed, ["a"]);
    write("[").unwrap();
    assert!(matches!(file.refresh(&mut running).await, Err(FleetError::Invalid(_))));
    assert_eq!(file.refresh(&mut running).await.unwrap(), None, "reported once");
    assert_eq!(running.cluster("a").unwrap().spec().status, "two");
    write("three").unwrap();
    file.changed(&mut running).await;
    assert_eq!(running.cluster("a").unwrap().spec().status, "three");
}

#[tokio::test]
async fn what_is_kept_in_a_folder_stays_between_two_starts() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("new/simulated");
    let spec = |yaml: &str| FleetSpec::parse(yaml).unwrap();
    let facts = async |yaml: &str| {
        let fleet = Fleet::start_in(&folder, spec(yaml)).await.unwrap();
        let tokens =
            fleet.write_credentials().unwrap().into_iter().map(|(_, path)| std::fs::read_to_string(path).unwrap());
        let tokens: Vec<String> = tokens.collect();
        let facts = fleet.iter().zip(tokens).map(|(cluster, token)| (cluster.url(), cluster.fingerprint(), token));
        facts.collect::<Vec<_>>()
    };
    let fleet = "clusters: [{name: a}, {name: ../b/c}, {name: d, certificate_expiry: -1d}]";
    let first = facts(fleet).await;
    assert!(first[0].2.starts_with("access-v1:") && first[0].2.ends_with("==\n"), "{first:?}");
    assert_eq!(facts(fleet).await, first, "the same ports, certificates and tokens");
    let names: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 9, "three files each, none elsewhere: {names:?}");
    let fleet = &fleet.replace("{name: a}", "{name: a, certificate_expiry: +9d}");
    let other = facts(fleet).await;
    assert_eq!((&other[0].0, &other[1]), (&first[0].0, &first[1]));
    assert_ne!(other[0].1, first[0].1, "another certificate is wanted");
    // A saved certificate that has expired, but should not have, is replaced.
    let path = folder.join("a.pem");
    let text = std::fs::read_to_string(&path).unwrap();
    let (head, rest) = text.split_once("until: ").unwrap();
    std::fs::write(&path, format!("{head}until: 1\n{}", rest.split_once('\n').unwrap().1)).unwrap();
    assert_ne!(facts(fleet).await[0].1, other[0].1);
    // A file that was not written to its end is replaced.
    std::fs::write(&path, text.get(..text.len() / 2).unwrap()).unwrap();
    assert_eq!(facts(fleet).await.len(), 3);
    // The saved port is taken by another program.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    std::fs::write(folder.join("a.port"), taken.local_addr().unwrap().port().to_string()).unwrap();
    assert_eq!(facts(fleet).await.len(), 3);
    let file = folder.join("a.pem/x");
    assert!(matches!(Fleet::start_in(&file, spec(fleet)).await, Err(FleetError::Folder(_))));
}
