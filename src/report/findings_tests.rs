use super::*;

#[test]
fn words_follow_the_sign() {
    let text = |skew| clock_skew(skew).text;
    let day = 86_400.0;
    assert_eq!(
        [expiry(day), expiry(0.0), expiry(-day)],
        ["expires in 1 day", "expired 0 seconds ago", "expired 1 day ago"]
    );
    assert_eq!(text(600.0), "The cluster's clock is 10 minutes ahead of the exporter's");
    assert_eq!(text(-600.0), "The cluster's clock is 10 minutes behind the exporter's");
    let excess = |count| super::excess(count).map(|finding| finding.text);
    assert_eq!(excess(0), None);
    assert_eq!(excess(1).as_deref(), Some("The exporter's account has a privilege that it does not need"));
    assert_eq!(excess(2).as_deref(), Some("The exporter's account has 2 privileges that it does not need"));
}

#[test]
fn identifiers_are_unique_and_ranks_are_in_order() {
    assert!(Kind::ALL.is_sorted_by_key(|kind| kind.rank()));
    let mut ids: Vec<_> = Kind::ALL.iter().map(|kind| kind.id()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), Kind::ALL.len());
    assert!(Kind::ALL.iter().all(|kind| !kind.severities().is_empty()));
}
