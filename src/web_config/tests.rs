use std::{collections::BTreeSet, fs};

use super::*;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/web-config").join(name)
}

/// The files of a folder with this ending; at least one.
fn files(name: &str, ending: &str) -> BTreeSet<PathBuf> {
    let entries = fs::read_dir(folder(name)).unwrap().map(|entry| entry.unwrap().path());
    let files: BTreeSet<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|extension| extension == ending)).collect();
    assert!(!files.is_empty(), "no .{ending} files in {name}");
    files
}

#[test]
fn every_good_file_is_understood() {
    for path in files("good", "yml") {
        load(&path).unwrap_or_else(|refusal| panic!("{refusal}"));
    }
}

#[test]
fn every_bad_file_gives_its_message() {
    for path in files("bad", "yml") {
        let expect_path = path.with_extension("txt");
        let got = format!("{}\n", load(&path).unwrap_err()).replace(&format!("{}/", folder("bad").display()), "");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&expect_path, &got).unwrap();
        }
        assert_eq!(got, fs::read_to_string(&expect_path).unwrap_or_default(), "{}", path.display());
        assert!(!got.contains("hunter2"), "a secret in the message for {}", path.display());
    }
    assert_eq!(files("bad", "yml").len(), files("bad", "txt").len());
}

#[test]
fn schema_is_in_step_with_the_types() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/web-config.schema.json");
    let mut schema = serde_json::to_string_pretty(&schemars::schema_for!(Raw)).unwrap();
    schema.push('\n');
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &schema).unwrap();
    }
    assert_eq!(schema, fs::read_to_string(&path).unwrap(), "UPDATE_GOLDEN=1 cargo test accepts the difference");
}

/// The file system does not respond.
#[tokio::test(start_paused = true)]
async fn a_file_that_hangs_is_named_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("web.yml");
    fs::write(&path, "").unwrap();
    let outcomes = Arc::new(std::sync::Mutex::new(Vec::new()));
    let observer = {
        let outcomes = outcomes.clone();
        move |outcome: Result<&ListenerPolicy, &ConfigErrors>, good: bool| {
            outcomes.lock().unwrap().push((outcome.is_ok(), good))
        }
    };
    let config = WebConfig::open(&path, Box::new(observer)).unwrap();
    let before = config.policy().borrow().clone();
    let (release, gate) = std::sync::mpsc::channel::<()>();
    let hanging = config.files.run("", move || gate.recv().is_ok());
    let reload = async {
        let reload = config.reload();
        tokio::pin!(reload);
        assert!(timeout(Duration::ZERO, &mut reload).await.is_err());
        tokio::time::advance(LOAD_TIMEOUT).await;
        let refusal = reload.await.unwrap_err().to_string();
        assert!(refusal.contains("web.yml") && refusal.contains("does not answer"), "{refusal}");
        release.send(()).unwrap();
    };
    let (_, ()) = tokio::join!(hanging, reload);
    assert_eq!(*outcomes.lock().unwrap(), [(true, true), (false, false)]);
    assert!(Arc::ptr_eq(&before, &config.policy().borrow()));
    config.reload().await.unwrap();
    assert_eq!(outcomes.lock().unwrap().last(), Some(&(true, true)));
}
