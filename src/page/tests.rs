use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::*;
use crate::{
    model::{
        AccessToken, Account, ClockTime, ClusterMetadata, ClusterName, Details, FailureReason, ForeignText, Policy,
        PollFailure, PollResult, Status, Timestamp,
    },
    report::report,
    report::tests::{clock_time, fleet, kms},
    store::{Publisher, Store},
};

const GOLDEN: &str = "tests/golden/page.html";

const GOOD: Exporter<'_> = Exporter { config_is_good: true, config_warnings: &[], metrics: "metrics" };

/// A cluster that was polled once.
fn read(store: &Store, now: ClockTime, name: &str, result: PollResult) -> Publisher {
    let mut publisher = store.publisher(ClusterName::new(name).unwrap(), Duration::from_secs(60));
    let policy = Policy { key_max_age: None, ..Policy::default() };
    store.set_metadata(publisher.name(), &ClusterMetadata { policy, ..ClusterMetadata::default() });
    publisher.record(now, Duration::ZERO, Ok(result));
    publisher
}

fn selection(query: &str) -> Selection {
    Selection::new(url::form_urlencoded::parse(query.as_bytes()))
}

#[test]
fn page_of_a_fixed_fleet_is_the_golden_file() {
    let (store, origin) = (Store::default(), Instant::now());
    let _publishers = fleet(&store, origin);
    let page = render(&report(&store.view(), &clock_time(origin, 670)), &Selection::default(), GOOD);
    // Without a repository the revision is "unknown", a word that occurs elsewhere too.
    let got = page.replace(concat!("revision ", env!("QUMULO_ENCRYPTION_EXPORTER_REVISION")), "revision REVISION");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(GOLDEN, &got).unwrap();
    }
    assert_eq!(got, std::fs::read_to_string(GOLDEN).unwrap(), "to accept it: UPDATE_GOLDEN=1 cargo test");
    assert!(!page.contains("href=\"/"), "links are relative");
}

#[test]
fn an_invalid_configuration_and_its_warnings_are_shown() {
    let (store, now) = (Store::default(), clock_time(Instant::now(), 0));
    let page = |config_is_good| {
        let config_warnings = &["clusters.yml:2: cluster_files[0]: matches <no> file".to_owned()];
        let exporter = Exporter { config_is_good, config_warnings, ..GOOD };
        render(&report(&store.view(), &now), &Selection::default(), exporter)
    };
    assert!(page(false).contains("file is invalid") && !page(true).contains("file is invalid"));
    assert!(page(true).contains("<li>clusters.yml:2: cluster_files[0]: matches &lt;no&gt; file</li>"));
}

#[test]
fn what_clusters_say_is_text() {
    let (store, now) = (Store::default(), clock_time(Instant::now(), 0));
    let mut publisher = store.publisher(ClusterName::new("a").unwrap(), Duration::from_secs(60));
    let evil = "<script>alert(1)</script>\"'&\u{202e}gnp\u{0}\u{200b}\u{ad}\u{e0041}";
    publisher.record(now, Duration::ZERO, Ok(PollResult::local(Status::Unknown(ForeignText::new(evil)))));
    let mut other = store.publisher(ClusterName::new("b").unwrap(), Duration::from_secs(60));
    other.record(now, Duration::ZERO, Err(PollFailure::new(FailureReason::HttpError, evil)));
    let page = render(&report(&store.view(), &now), &selection("q=%3Cscript%3E"), GOOD);
    assert!(!page.contains("<script"), "{page}");
    let page = render(&report(&store.view(), &now), &Selection::default(), GOOD);
    assert!(!page.contains("<script") && page.matches("&lt;script&gt;").count() >= 3, "{page}");
    assert!(!page.chars().any(|each| each != '\n' && crate::model::is_hidden(each)));
    assert!(page.contains("\\u{202e}gnp\\u{0}\\u{200b}\\u{ad}\\u{e0041}"));
}

#[test]
fn the_query_string_is_parsed() {
    let check = |query: &str, page: usize, search: &str, state: Option<Severity>| {
        let expect = Selection { page, search: search.to_owned(), state, ..Selection::default() };
        assert_eq!(selection(query), expect, "{query}");
    };
    check("", 0, "", None);
    check("state=critical&q=Prod&page=3", 2, "Prod", Some(Severity::Critical));
    check("state=nonsense&page=x&other=1", 0, "", None);
    check("page=0", 0, "", None);
    check("state=Critical", 0, "", Some(Severity::Critical));
    check("refresh=1&refresh=never", 0, "", None);
    check("page=99999999999999999999", 0, "", None);
    check("q=a%20b&q=", 0, "", None);
    assert_eq!(selection("cluster=R%26D").cluster.as_deref(), Some("R&D"));
}

#[test]
fn the_overview_refreshes_and_the_view_of_one_cluster_does_not() {
    for (query, expect) in [
        ("", Some(60)),
        ("state=critical", Some(60)),
        ("refresh=0", None),
        ("refresh=30", Some(30)),
        ("refresh=1", Some(60)),
        ("cluster=a", None),
        ("cluster=a&refresh=30", Some(30)),
    ] {
        assert_eq!(selection(query).refresh_seconds(), expect, "{query}");
    }
    let (store, now) = (Store::default(), clock_time(Instant::now(), 0));
    let _publisher = read(&store, now, "a", PollResult::local(Status::Encrypted));
    let refreshes = |query| {
        let page = render(&report(&store.view(), &now), &selection(query), GOOD);
        page.contains("http-equiv=\"refresh\"")
    };
    assert_eq!([refreshes(""), refreshes("refresh=0"), refreshes("cluster=a")], [true, false, false]);
}

#[test]
fn a_link_to_a_cluster_shows_only_that_cluster() {
    let (store, now) = (Store::default(), clock_time(Instant::now(), 0));
    let names = ["a-1", "a-10", "A-1"];
    let _publishers = names.map(|name| read(&store, now, name, kms(Status::KmsKeyNotFound, [900, 900])));
    let page = |query: &str| render(&report(&store.view(), &now), &selection(query), GOOD);
    let overview = page("");
    for name in names {
        assert!(overview.contains(&format!("href=\"?cluster={name}\"")), "{name}");
        let one = page(&format!("cluster={name}"));
        assert_eq!(one.matches("<article").count(), 1, "{name}");
        assert!(one.contains(&format!("<h2>{name}</h2>")), "{name}");
    }
    assert_eq!(page("q=a-1").matches("<article").count(), 3);
    assert!(page("cluster=a-100").contains("Cluster a-100 is not configured."));
}

#[test]
fn the_warning_shows_reason_time_and_runbook() {
    let (store, origin) = (Store::default(), Instant::now());
    let _lost = read(&store, clock_time(origin, 0), "lost", kms(Status::KmsKeyNotFound, [900, 900]));
    let page = |store: &Store| render(&report(&store.view(), &clock_time(origin, 30)), &Selection::default(), GOOD);
    let text = page(&store);
    let (_, warning) = text.split_once("warning-box").unwrap();
    let (warning, _) = warning.split_once("</section>").unwrap();
    for part in [
        "Do not reboot, upgrade or power-cycle nodes of lost",
        "KMS Key Not Found, since <time datetime=\"2026-11-18",
        "href=\"runbooks/QumuloEncryptionKeyNotFound\">Runbook KeyNotFound</a>",
    ] {
        assert!(warning.contains(part), "{part} is not in {warning}");
    }
    assert!(!warning.contains("status is not known"), "{warning}");
    let _odd = read(&store, clock_time(origin, 0), "odd", PollResult::local(Status::Unknown(ForeignText::new("odd"))));
    let text = page(&store);
    assert!(text.contains("The status is not known: <a href=\"?cluster=odd\">"), "{text}");
}

#[test]
fn nothing_next_to_a_lost_key_looks_like_a_grace_period() {
    let (store, now) = (Store::default(), clock_time(Instant::now(), 0));
    let _publisher = read(&store, now, "lost", kms(Status::KmsKeyNotFound, [900, 199]));
    let page = render(&report(&store.view(), &now), &selection("cluster=lost"), GOOD);
    let (_, page) = page.split_once("<body>").unwrap();
    for soothing in ["199 days", "900 days", " left", "next expiry"] {
        assert!(!page.contains(soothing), "{soothing}: {page}");
    }
    assert!(page.contains("read <time") && page.contains("since <time"), "each time has a label: {page}");
}

#[test]
fn good_clusters_are_collapsed_and_have_no_warning() {
    let (store, now) = (Store::default(), clock_time(Instant::now(), 0));
    let _one = read(&store, now, "one", kms(Status::KmsAvailable, [900, 900]));
    let page = |store: &Store, query| render(&report(&store.view(), &now), &selection(query), GOOD);
    let text = page(&store, "");
    assert!(text.contains("The cluster is good."), "{text}");
    for clutter in ["<form", "critical</a>", "warning-box\"", "worst first"] {
        assert!(!text.split_once("<body>").unwrap().1.contains(clutter), "{clutter}: {text}");
    }
    let many: Vec<_> = (0..20)
        .map(|number| read(&store, now, &format!("good-{number}"), kms(Status::KmsAvailable, [900, 900])))
        .collect();
    let text = page(&store, "");
    assert!(text.contains("All 21 clusters are good.") && text.contains("<li class=\"none\">"), "{text}");
    assert!(text.contains("<details class=\"fold\"><summary><span class=\"state good\">21 good clusters"), "{text}");
    let _lost = read(&store, now, "lost", kms(Status::KmsKeyNotFound, [900, 900]));
    let text = page(&store, "");
    let (before, folded) = text.split_once("class=\"fold\"").unwrap();
    assert_eq!([before.matches("<article").count(), folded.matches("<article").count()], [1, 21]);
    assert!(!page(&store, "state=good").contains("class=\"fold\""), "selected clusters are not collapsed");
    drop(many);
}

#[test]
fn expiries_are_a_table_with_dates() {
    let (store, now) = (Store::default(), clock_time(Instant::now(), 0));
    let _publishers = [("soon", [20, 900]), ("gone", [900, -2]), ("far", [900, 900])]
        .map(|(name, days)| read(&store, now, name, kms(Status::KmsAvailable, days)));
    let text = render(&report(&store.view(), &now), &Selection::default(), GOOD);
    let (_, table) = text.split_once("<tbody>").unwrap();
    let rows: Vec<&str> = table.split("</tbody>").next().unwrap().split("<tr ").skip(1).collect();
    assert_eq!(rows.len(), 2, "{rows:?}");
    assert!(rows[0].contains("expired 2 days ago") && rows[0].contains("KMS client certificate"), "{rows:?}");
    assert!(
        rows[1].contains("2026-12-0") && rows[1].contains("in 20 days") && rows[1].contains(">soon</a>"),
        "{rows:?}"
    );
}

#[test]
fn each_access_token_has_the_colour_of_its_own_finding() {
    let (store, now) = (Store::default(), clock_time(Instant::now(), 0));
    let token = |id: &str, days: i64| {
        let expires = Timestamp::new(now.wall + chrono::TimeDelta::days(days)).unwrap();
        AccessToken::new(id, Some(expires)).unwrap()
    };
    let account = Account { tokens: Some(vec![token("3", 80), token("4", 5)]), ..Account::default() };
    let details = Arc::new(Details { account, ..Details::default() });
    let _publisher = read(&store, now, "one", PollResult { details, ..PollResult::local(Status::Encrypted) });
    let text = render(&report(&store.view(), &now), &Selection::default(), GOOD);
    let class = |id: &str| {
        let (before, _) = text.split_once(&format!("Access token {id} of the exporter</td>")).unwrap();
        before.rsplit_once("<tr class=\"").unwrap().1.split('"').next().unwrap().to_owned()
    };
    assert_eq!((class("3").as_str(), class("4").as_str()), ("good", "warning"));
}

#[test]
fn a_thousand_clusters_are_shown_in_pages() {
    let (store, now) = (Store::default(), clock_time(Instant::now(), 0));
    let publish = |number: usize| {
        let name = ClusterName::new(&format!("cluster-{number:04}")).unwrap();
        let mut publisher = store.publisher(name, Duration::from_secs(60));
        let status = if number == 777 { Status::KmsKeyNotFound } else { Status::Encrypted };
        publisher.record(now, Duration::ZERO, Ok(PollResult::local(status)));
        publisher
    };
    let _publishers: Vec<_> = (0..1000).map(publish).collect();
    let view = store.view();
    let check = |query: &str, articles: usize, words: &str| {
        let page = render(&report(&view, &now), &selection(query), GOOD);
        assert_eq!(page.matches("<article").count(), articles, "{query}");
        assert!(page.contains(words), "{query}: {words}");
        page
    };
    let first = check("", 100, "Clusters 1 to 100 of 1000, worst first.");
    assert!(first.find("cluster-0777") < first.find("cluster-0000"), "worst first");
    check("page=10", 100, "Clusters 901 to 1000 of 1000");
    check("page=11", 0, "This page does not exist.");
    check(&format!("page={}", usize::MAX), 0, "This page does not exist.");
    check("state=critical", 1, "1 cluster.");
    check("state=good&q=CLUSTER-000", 10, "10 clusters");
    check("q=nothing", 0, "No cluster matches.");
}
