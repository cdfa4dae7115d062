//! Reads that begin where nothing was stored: what is deleted before they come.

use super::driver::{Driver, settings};
use super::live::hands_on_every_line_once;
use super::log::{Log, Store};
use super::op::Op;
use super::reading::lines;
use super::written;
use crate::docker::{Stream, Tail};
use crate::tail::{
    Delivery, Dialect, Event, From, History, Next, Position, Skips, Until, Verified,
};

const TEN: Op = Op::Burst(Stream::Stdout, 10);

fn gaps(delivered: &[Delivery]) -> usize {
    let gaps = delivered.iter();
    gaps.filter(|delivery| matches!(delivery, Delivery::Gap(_)))
        .count()
}

#[test]
fn what_is_deleted_before_a_lease_brought_anything_is_told() {
    let mut driver = Driver::new(written(Store::Files, &[]), 0);
    driver.settle();
    driver.apply(&TEN);
    driver.log.delete(5);
    driver.apply(&Op::Break);
    driver.finish();
    assert_eq!(gaps(&driver.delivered), 1);
    hands_on_every_line_once(&driver).unwrap();
}

/// What is handed on behind a log's beginning, of which the first records are deleted:
/// lines and gaps. The engine deletes nothing before so many bytes are stored.
fn resumed(deleted: usize, kept: u64) -> (usize, usize) {
    resumed_behind(Position::default(), deleted, kept, &mut |_| {})
}

/// The same behind any position. `meanwhile`: happens before each read but the first.
fn resumed_behind(
    position: Position,
    deleted: usize,
    kept: u64,
    meanwhile: &mut dyn FnMut(&mut Log),
) -> (usize, usize) {
    let mut log = written(Store::Files, &[TEN]);
    log.delete(deleted);
    let settings = crate::tail::Settings {
        kept,
        skips: Skips::Files(kept),
        ..settings(0, Dialect::default())
    };
    let from = From::After(position);
    let (mut history, mut next) = History::new(from, Until::End, &settings);
    let mut delivered = Vec::new();
    while next == Next::Snapshot(Tail::All) {
        for at in log.window(Tail::All) {
            next = history.on(Event::Record(log.records[at].clone()), &mut delivered);
            if next != Next::More {
                break;
            }
        }
        if next == Next::More {
            next = history.on(Event::End, &mut delivered);
        }
        meanwhile(&mut log);
    }
    assert_eq!(next, Next::Done);
    (lines(&delivered).len(), gaps(&delivered))
}

#[test]
fn a_log_too_short_to_have_lost_anything_is_whole() {
    assert_eq!(resumed(0, 1 << 20), (10, 0));
    assert_eq!(resumed(5, 1_000), (5, 1));
    assert_eq!(resumed(5, 0), (5, 1));
}

/// Behind the fourth record, of which so many were delivered from the log's beginning
/// on and none is verified.
fn unverified(delivered: u32) -> Position {
    let log = written(Store::Files, &[TEN]);
    Position {
        verified: Some(Verified {
            anchor: None,
            count: delivered,
        }),
        ..log.position(3)
    }
}

#[test]
fn a_resume_before_the_first_check_tells_no_gap_where_the_log_is_too_short_to_have_lost_any() {
    let quiet = |_: &mut Log| {};
    let resumed = |deleted, delivered, kept| {
        resumed_behind(unverified(delivered), deleted, kept, &mut { quiet })
    };
    assert_eq!(resumed(0, 4, 1 << 20), (6, 0));
    // A skip is still told.
    assert_eq!(resumed(0, 3, 1 << 20), (6, 1));
    // As many were skipped as are deleted.
    assert_eq!(resumed(1, 3, 1_000), (6, 1));
    assert_eq!(resumed(0, 4, 1_000), (6, 1));
    assert_eq!(resumed(0, 4, 0), (6, 1));
}

#[test]
fn a_beginning_that_is_deleted_while_it_is_looked_at_proves_nothing() {
    let mut delete = |log: &mut Log| log.delete(1);
    let resumed = resumed_behind(unverified(3), 0, 1 << 20, &mut delete);
    assert_eq!(resumed, (6, 1));
}
