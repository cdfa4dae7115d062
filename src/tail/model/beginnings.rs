//! Reads that begin where nothing was stored: what is deleted before they come.

use super::driver::{Driver, settings};
use super::live::hands_on_every_line_once;
use super::log::Store;
use super::op::Op;
use super::reading::lines;
use super::written;
use crate::docker::{Stream, Tail};
use crate::tail::{Delivery, Dialect, Event, From, History, Next, Position, Skips, Until};

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
    let mut log = written(Store::Files, &[TEN]);
    log.delete(deleted);
    let settings = crate::tail::Settings {
        kept,
        skips: Skips::Files(kept),
        ..settings(0, Dialect::default())
    };
    let from = From::After(Position::default());
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
