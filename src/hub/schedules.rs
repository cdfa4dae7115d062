//! What readers, subscribers and rings share, in orders that chance or care chose.

use std::sync::Arc;

use futures_util::FutureExt;
use shuttle::{future, thread};

use super::budget::Budget;
use super::log::{Ended, Log, Read};
use super::slots::{Slot, Slots};
use super::unit::tests::batch_of;
use crate::supervisor::Permit;
use crate::supervisor::sync::in_any_order;
use crate::tail::Position;

const UNITS: u64 = 4;

fn publish(log: &Log, permit: &Permit, taken: u64) {
    log.publish(permit, vec![batch_of(100)], Position::default(), taken);
}

/// Reads from `seq` on until the log ends: how many units came, and whether it was
/// left behind or its reader replaced.
fn read_to_end(log: &Log, mut seq: u64) -> (u64, bool) {
    let (mut changes, mut read, mut lost) = (log.changes(), 0, false);
    future::block_on(async {
        loop {
            match log.next(&mut changes, seq).await {
                Read::Units(units) => {
                    seq += units.len() as u64;
                    read += units.len() as u64;
                }
                Read::Behind | Read::Restarted => {
                    lost = true;
                    seq = log.head().expect("it was published").seq;
                }
                Read::Empty => unreachable!("it waits for something"),
                Read::Ended(_) => return (read, lost),
            }
        }
    })
}

#[test]
fn a_waiting_subscriber_is_woken_by_each_unit_and_by_the_end() {
    in_any_order(|| {
        let log = Log::new(usize::MAX, &Arc::new(Budget::new(usize::MAX)));
        let subscribers = [(); 2].map(|()| {
            let log = Arc::clone(&log);
            thread::spawn(move || read_to_end(&log, 0))
        });
        let permit = Permit::granted(1);
        (1..=UNITS).for_each(|n| publish(&log, &permit, n));
        log.end(&permit, Ended::Removed);
        // Whoever is not woken waits for ever, which ends the test.
        for subscriber in subscribers {
            assert_eq!(
                subscriber.join().expect("it does not panic"),
                (UNITS, false)
            );
        }
    });
}

#[test]
fn what_a_ring_gives_up_is_told_and_never_skipped() {
    in_any_order(|| {
        let room = batch_of(100).cost() * 2;
        let log = Log::new(room, &Arc::new(Budget::new(usize::MAX)));
        let read = Arc::clone(&log);
        let subscriber = thread::spawn(move || read_to_end(&read, 0));
        let permit = Permit::granted(1);
        (1..=UNITS).for_each(|n| publish(&log, &permit, n));
        log.end(&permit, Ended::Removed);
        let (count, lost) = subscriber.join().expect("it does not panic");
        assert!(
            count == UNITS || lost,
            "{count} of {UNITS}, and nothing was said"
        );
        assert!(log.bytes() <= room);
    });
}

#[test]
fn a_reader_that_was_replaced_publishes_nothing_more() {
    in_any_order(|| {
        let log = Log::new(usize::MAX, &Arc::new(Budget::new(usize::MAX)));
        let (old, revoke) = Permit::revocable(1);
        let dying = Arc::clone(&log);
        let dying = thread::spawn(move || {
            (0..3).for_each(|_| publish(&dying, &old, 1));
            dying.end(&old, Ended::Removed);
        });
        let read = Arc::clone(&log);
        let subscriber = thread::spawn(move || read_to_end(&read, 0));
        revoke();
        let before = log.head().map(|head| head.taken);
        let new = Permit::granted(2);
        publish(&log, &new, 2);
        assert_eq!(log.head().expect("it was published").taken, 2);
        dying.join().expect("it does not panic");
        let head = log.head().expect("it was published");
        assert_eq!(head.taken, 2, "the dead one moved it, from {before:?}");
        log.end(&new, Ended::Removed);
        let _came = subscriber.join().expect("it does not panic");
    });
}

#[test]
fn rings_that_grow_and_go_at_once_keep_to_their_common_bound() {
    in_any_order(|| {
        let limit = batch_of(100).cost() * 3;
        let budget = Arc::new(Budget::new(limit));
        let writers = [1, 2].map(|generation| {
            let budget = Arc::clone(&budget);
            thread::spawn(move || {
                let log = Log::new(usize::MAX, &budget);
                let permit = Permit::granted(generation);
                (1..=3).for_each(|n| publish(&log, &permit, n));
                log
            })
        });
        let short = Arc::clone(&budget);
        let short = thread::spawn(move || {
            publish(&Log::new(usize::MAX, &short), &Permit::granted(3), 1);
        });
        let logs = writers.map(|writer| writer.join().expect("it does not panic"));
        short.join().expect("it does not panic");
        let held: usize = logs.iter().map(|log| log.bytes()).sum();
        assert_eq!(budget.used(), held);
        assert!(held <= limit, "{held} of {limit}");
        drop(logs);
        assert_eq!(budget.used(), 0);
    });
}

#[test]
fn who_waits_for_a_read_is_counted_for_as_long_as_it_waits() {
    in_any_order(|| {
        let slots = Slots::of(2, 1);
        let readers = [(); 3].map(|()| {
            let slots = Arc::clone(&slots);
            thread::spawn(move || {
                let mut slot = Slot::new(slots);
                // Once it gives up, once it is patient.
                let _taken = slot.take().now_or_never();
                slot.give_up();
                future::block_on(slot.take());
                slot.spend(usize::MAX / 2);
                future::block_on(slot.take());
            })
        });
        readers
            .into_iter()
            .for_each(|reader| reader.join().expect("it does not panic"));
        assert!(!Slot::new(slots).is_wanted());
    });
}
