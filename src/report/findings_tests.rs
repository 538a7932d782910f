use super::*;
use crate::model::Privileges;

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
    let excess = |count: usize| {
        let names: Vec<String> = (0..count).map(|number| format!("PRIVILEGE_{number}")).collect();
        let privileges = Some(Privileges::new(names.iter().map(String::as_str)));
        let now = Moment { mono: std::time::Instant::now(), wall: chrono::DateTime::UNIX_EPOCH };
        let account = super::account(&Account { privileges, ..Account::default() }, &now, &Policy::default(), &now);
        account.into_iter().map(|finding| finding.text).collect::<Vec<_>>()
    };
    assert_eq!(excess(0), Vec::<String>::new());
    assert_eq!(excess(1), ["The exporter's account has a privilege that it does not need"]);
    assert_eq!(excess(2), ["The exporter's account has 2 privileges that it does not need"]);
}

#[test]
fn identifiers_are_unique_and_ranks_are_in_order() {
    assert!(KINDS.is_sorted_by_key(|kind| kind.rank));
    let mut ids: Vec<_> = KINDS.iter().map(|kind| kind.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), KINDS.len());
}
