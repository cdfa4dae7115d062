//! Who is a member, and whose chain goes on.

use super::super::{Chain, History, Least, Rule, Rules, Verdict};
use super::messages::{ID, batch, container, feed, opened, progress};
use super::script::{broken, is_violated};
use crate::proto::stream_logs_response::Event;
use crate::proto::{ContainerChange, ContainerChangeKind, Gap, GapCause, Member, Opened};

fn change(kind: ContainerChangeKind, cursor: &str) -> Event {
    let member = Member {
        container: container(),
        cursor: cursor.into(),
        ..Member::default()
    };
    Event::ContainerChange(ContainerChange {
        container: container(),
        kind: kind.into(),
        cursor: cursor.into(),
        member: Some(member).filter(|_| kind == ContainerChangeKind::Joined),
        ..ContainerChange::default()
    })
}

/// Five lines in two batches, and then this.
fn followed(then: Vec<Event>) -> History {
    let mut history = History::new(Rules::default());
    history.begin([]);
    feed(
        &mut history,
        vec![opened("a"), batch(0..3, "b"), batch(3..5, "c")],
    );
    feed(&mut history, then);
    history
}

#[test]
fn one_that_left_and_joins_again_goes_on_where_it_was() {
    let left = || change(ContainerChangeKind::Deselected, "c");
    let joined = |cursor| change(ContainerChangeKind::Joined, cursor);
    let history = followed(vec![left(), joined("d"), batch(5..9, "e")]);
    history.judge().assert_valid(&Least {
        entries: 9,
        ..Least::default()
    });
    let repeated = followed(vec![left(), joined("d"), batch(4..9, "e")]);
    broken(&repeated.judge(), Rule::Unique);
    // The same over a resume that does not find it selected.
    let mut history = followed(vec![left()]);
    history.begin(["c"]);
    let events = vec![Event::Opened(Opened::default()), joined("d")];
    feed(&mut history, events);
    assert_eq!(history.chain(ID).map(Chain::beginning), Some("a"));
    feed(&mut history, vec![batch(4..9, "e")]);
    broken(&history.judge(), Rule::Unique);
}

#[test]
fn nothing_comes_of_one_that_left() {
    for kind in [
        ContainerChangeKind::Deselected,
        ContainerChangeKind::Removed,
    ] {
        let history = followed(vec![change(kind, "c")]);
        assert!(!is_violated(&history.judge()));
        assert!(history.members().is_empty());
        let history = followed(vec![change(kind, "c"), batch(5..6, "d")]);
        broken(&history.judge(), Rule::Counted);
    }
}

#[test]
fn one_that_is_no_member_any_more_owes_nothing() {
    let verified = || Event::Progress(progress(0, 1, 100));
    for (opening, owes) in [
        (opened("b"), true),
        (Event::Opened(Opened::default()), false),
    ] {
        let mut history = followed(Vec::new());
        history.begin(["b"]);
        feed(&mut history, vec![opening, verified()]);
        assert_eq!(is_violated(&history.judge()), owes, "{:?}", history.judge());
    }
}

#[test]
fn one_that_was_removed_meanwhile_ends_with_a_gap() {
    let mut history = followed(Vec::new());
    history.begin(["b"]);
    let gap = Gap {
        container: container(),
        cause: GapCause::ContainerRemoved.into(),
        ..Gap::default()
    };
    let events = vec![Event::Opened(Opened::default()), Event::Gap(gap)];
    feed(&mut history, events);
    history.judge().assert_valid(&Least {
        gaps: 1,
        ..Least::default()
    });
}

#[test]
fn one_that_does_not_go_on_begins_where_it_joins() {
    let mut history = followed(Vec::new());
    let beginning = |history: &History| history.chain(ID).map(|chain| chain.beginning().to_owned());
    assert_eq!(beginning(&history).as_deref(), Some("a"));
    history.begin([]);
    feed(&mut history, vec![opened("x"), batch(0..3, "y")]);
    assert_eq!(beginning(&history).as_deref(), Some("x"));
    assert!(!is_violated(&history.judge()));
}

#[test]
fn one_that_was_left_out_is_not_covered() {
    let mut history = followed(Vec::new());
    history.left_out("beef");
    let report = history.judge();
    broken(&report, Rule::Covered);
    assert_eq!(report.violations[0].container, "beef");
    assert_eq!(report.verdict(&Least::default()), Verdict::Violated);
}
