//! The contract's messages: their order and their counts.

use prost_types::Timestamp;

use super::super::{History, Least, Report, Rules};
use super::script::is_violated;
use crate::proto::stream_logs_response::Event;
use crate::proto::{
    Closing, ContainerRef, Gap, LogBatch, LogEntry, Member, Opened, Progress, StreamLogsResponse,
    log_entry,
};

pub(super) const ID: &str = "c0ffee";

pub(super) fn container() -> Option<ContainerRef> {
    Some(ContainerRef {
        id: ID.into(),
        name: "web".into(),
    })
}

pub(super) fn opened(cursor: &str) -> Event {
    Event::Opened(Opened {
        members: vec![Member {
            container: container(),
            cursor: cursor.into(),
            ..Member::default()
        }],
        ..Opened::default()
    })
}

pub(super) fn batch(lines: std::ops::Range<i64>, cursor: &str) -> Event {
    let entry = |n: i64| LogEntry {
        time: Some(Timestamp {
            seconds: n,
            nanos: 0,
        }),
        stream: 1,
        line: Some(log_entry::Line::Text(format!("line {n}"))),
        ..LogEntry::default()
    };
    Event::Batch(LogBatch {
        container: container(),
        entries: lines.map(entry).collect(),
        cursor: cursor.into(),
    })
}

pub(super) fn progress(entries_sent: u64, messages_sent: u64, verified: i64) -> Progress {
    Progress {
        entries_sent,
        messages_sent,
        verified_time: Some(Timestamp {
            seconds: verified,
            nanos: 0,
        }),
        ..Progress::default()
    }
}

pub(super) fn closing(progress: Progress) -> Event {
    Event::Closing(Closing {
        progress: Some(progress),
        ..Closing::default()
    })
}

pub(super) fn stream() -> Vec<Event> {
    vec![
        opened("a"),
        batch(0..3, "b"),
        Event::Progress(progress(3, 2, 1)),
        batch(3..5, "c"),
        closing(progress(5, 4, 4)),
    ]
}

pub(super) fn feed(history: &mut History, events: Vec<Event>) {
    for event in events {
        history.message(&StreamLogsResponse { event: Some(event) });
    }
}

fn judged(events: Vec<Event>) -> Report {
    let mut history = History::new(Rules::default());
    history.begin([]);
    feed(&mut history, events);
    history.judge()
}

#[test]
fn a_stream_as_the_contract_wants_it_is_valid_with_its_resume() {
    let mut history = History::new(Rules::default());
    history.begin([]);
    feed(&mut history, stream());
    history.begin(["b"]);
    feed(
        &mut history,
        vec![opened("b"), batch(3..9, "d"), closing(progress(6, 2, 8))],
    );
    history.completed();
    let least = Least {
        entries: 11,
        resumes: 1,
        ..Least::default()
    };
    history.judge().assert_valid(&least);
}

#[test]
fn a_resume_that_skips_is_told() {
    let mut history = History::new(Rules::default());
    history.begin([]);
    feed(&mut history, stream());
    history.begin(["b"]);
    feed(
        &mut history,
        vec![opened("b"), batch(4..9, "d"), closing(progress(5, 2, 8))],
    );
    assert!(is_violated(&history.judge()));
}

#[test]
fn a_member_that_is_not_resumed_begins_again() {
    let mut history = History::new(Rules::default());
    history.begin([]);
    feed(&mut history, stream());
    history.begin([]);
    feed(&mut history, stream());
    history.judge().assert_valid(&Least {
        entries: 10,
        ..Least::default()
    });
}

#[test]
fn lost_repeated_and_misplaced_messages_are_told() {
    for at in 0..5 {
        let mut lost = stream();
        lost.remove(at);
        // Behind `closing` nobody counts any more.
        assert_eq!(is_violated(&judged(lost)), at < 4, "without message {at}");
        let mut repeated = stream();
        repeated.insert(at, repeated[at].clone());
        assert!(is_violated(&judged(repeated)), "message {at} twice");
    }
    let mut swapped = stream();
    swapped.swap(1, 3);
    assert!(is_violated(&judged(swapped)));
}

#[test]
fn odd_messages_are_told() {
    let removed = Gap {
        container: container(),
        ..Gap::default()
    };
    let odd = [
        vec![opened("")],
        vec![opened("a"), batch(0..0, "b")],
        vec![opened("a"), batch(0..1, "")],
        vec![opened("a"), batch(0..1, &"c".repeat(161))],
        vec![
            opened("a"),
            Event::Progress(progress(0, 1, 5)),
            Event::Progress(progress(0, 2, 4)),
        ],
        vec![opened("a"), Event::Closing(Closing::default())],
        vec![Event::Opened(Opened::default()), batch(0..1, "b")],
        vec![Event::Opened(Opened::default()), Event::Gap(removed)],
    ];
    for events in odd {
        assert!(is_violated(&judged(events.clone())), "{events:?}");
    }
    let Event::Batch(mut lineless) = batch(0..1, "b") else {
        panic!("a batch");
    };
    lineless.entries[0].line = None;
    assert!(is_violated(&judged(vec![
        opened("a"),
        Event::Batch(lineless)
    ])));
}

#[test]
fn a_good_end_without_closing_is_told() {
    let mut history = History::new(Rules::default());
    history.begin([]);
    feed(&mut history, vec![opened("a"), batch(0..3, "b")]);
    assert!(!is_violated(&history.judge()));
    history.completed();
    assert!(is_violated(&history.judge()));
}
