use std::time::{Duration, Instant};

use super::*;
use crate::{
    model::{ClusterName, FailureReason, ForeignText, PollFailure, Reading, Status},
    report::report,
    report::tests::{fleet, moment},
    store::Store,
};

const GOLDEN: &str = "tests/golden/page.html";

const GOOD: Exporter<'_> = Exporter { config_is_good: true, metrics: "metrics" };

fn selection(query: &str) -> Selection {
    Selection::new(url::form_urlencoded::parse(query.as_bytes()))
}

#[test]
fn page_of_a_fixed_fleet_is_the_golden_file() {
    let (store, origin) = (Store::default(), Instant::now());
    let _publishers = fleet(&store, origin);
    let page = render(&report(&store.view(), &moment(origin, 670)), &Selection::default(), GOOD);
    let got = page.replace(env!("QUMULO_ENCRYPTION_EXPORTER_REVISION"), "REVISION");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(GOLDEN, &got).unwrap();
    }
    assert_eq!(got, std::fs::read_to_string(GOLDEN).unwrap(), "to accept it: UPDATE_GOLDEN=1 cargo test");
    assert!(!page.contains("href=\"/"), "links are relative");
}

#[test]
fn a_configuration_that_cannot_be_used_is_told() {
    let (store, now) = (Store::default(), moment(Instant::now(), 0));
    let page = |config_is_good| {
        render(&report(&store.view(), &now), &Selection::default(), Exporter { config_is_good, ..GOOD })
    };
    assert!(page(false).contains("cannot be used") && !page(true).contains("cannot be used"));
}

#[test]
fn what_clusters_say_is_text() {
    let (store, now) = (Store::default(), moment(Instant::now(), 0));
    let mut publisher = store.publisher(ClusterName::new("a").unwrap(), Duration::from_secs(60));
    let evil = "<script>alert(1)</script>\"'&\u{202e}gnp\u{0}\u{200b}\u{ad}\u{e0041}";
    publisher.record(now, Duration::ZERO, Ok(Reading::local(Status::Unknown(ForeignText::new(evil)))));
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
fn a_selection_is_what_the_query_says() {
    let check = |query: &str, page: usize, search: &str, state: Option<Severity>| {
        let expect = Selection { page, refresh: None, search: search.to_owned(), state };
        assert_eq!(selection(query), expect, "{query}");
    };
    check("", 0, "", None);
    check("state=critical&q=Prod&page=3", 2, "Prod", Some(Severity::Critical));
    check("state=nonsense&page=x&other=1", 0, "", None);
    check("page=0", 0, "", None);
    check("state=Critical", 0, "", Some(Severity::Critical));
    check("refresh=1&refresh=never", 0, "", None);
    assert_eq!(selection("refresh=30").refresh, Some(30));
    check("page=99999999999999999999", 0, "", None);
    check("q=a%20b&q=", 0, "", None);
}

#[test]
fn a_thousand_clusters_are_shown_in_pages() {
    let (store, now) = (Store::default(), moment(Instant::now(), 0));
    let publish = |number: usize| {
        let name = ClusterName::new(&format!("cluster-{number:04}")).unwrap();
        let mut publisher = store.publisher(name, Duration::from_secs(60));
        let status = if number == 777 { Status::KmsKeyNotFound } else { Status::Encrypted };
        publisher.record(now, Duration::ZERO, Ok(Reading::local(status)));
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
    check("page=11", 0, "beyond the last");
    check(&format!("page={}", usize::MAX), 0, "beyond the last");
    check("state=critical", 1, "1 cluster.");
    check("state=good&q=CLUSTER-000", 10, "10 clusters");
    check("q=nothing", 0, "No cluster matches.");
}
