//! Pulsetail is killed anywhere, and clients come back with their last cursors.

use std::cell::Cell;

use proptest::prelude::*;
use proptest::sample::Index;
use pulsetail_client::history::{Chain, Rules};

use super::driver::Driver;
use super::live::{OPS, scripts};
use super::log::{Log, MS};
use super::op::Op;
use super::reading::Reading;
use super::{check, took_each_path, validator, written};
use crate::docker::ContainerId;
use crate::tail::{Cursor, Delivery, From, GapCause, OpenLines, Place, Position, Until};

/// A position as clients keep it.
fn cursor(position: Position) -> String {
    let container = ContainerId::from_bytes([7; 32]);
    let cursor = Cursor {
        engine: 1,
        container,
        issued: 2,
        place: Place::At(position),
    };
    cursor.encode()
}

fn resumed(cursor: &str, log: &Log) -> Reading {
    let cursor = Cursor::decode(cursor).expect("it was given out");
    let Place::At(position) = cursor.place else {
        panic!("{cursor:?}");
    };
    Reading::new(From::After(position), Until::End, log)
}

/// What happens while nobody, or a read that is cut as well, is there.
fn meanwhile(log: &mut Log, ops: &[Op], back: &mut Reading, unread: bool) {
    for op in ops {
        match op {
            Op::Deliver(records) => {
                let _left = (0..*records).find(|_| !back.pump(log));
            }
            Op::Break => back.fail(log),
            Op::Delete(until) => {
                // An engine keeps what it stored last; nothing tells of what was before
                // in an empty log.
                let most = log.end() - log.base + usize::from(!unread);
                if most > 0 {
                    log.delete(log.base + until.index(most));
                }
            }
            Op::Step => log.step_back(3_600_000 * MS),
            _ => op.write_to(log),
        }
    }
}

/// How often a cursor was kept that is not verified, and a skip told at its resume.
#[derive(Debug, Default, Clone, Copy)]
struct Ways {
    unverified: u64,
    skips: u64,
    gone: u64,
}

impl Ways {
    fn note(&mut self, cause: GapCause) {
        match cause {
            GapCause::EngineSkip => self.skips += 1,
            _ => self.gone += 1,
        }
    }
}

#[test]
fn what_is_cut_anywhere_and_resumed_is_what_an_uncut_run_is() {
    let ways = Cell::new(Ways::default());
    let cuts = (scripts(), 0..OPS, any::<Index>(), any::<u64>());
    let histories = check(
        6_000,
        &cuts,
        |((store, before, mut script), kill, second, seed)| {
            let mut driver = Driver::new(written(store, &before), seed);
            let rest = script.split_off(kill.min(script.len()));
            script.iter().for_each(|op| driver.apply(op));
            if !driver.live.is_oriented() {
                return Ok(());
            }
            let mut reached = ways.get();
            let mut chain = Chain::new(Rules::default());
            let mut told = |chain: &mut Chain, deliveries: &[Delivery]| {
                for delivery in deliveries {
                    validator::tell(chain, delivery);
                    if let Delivery::Gap(gap) = delivery {
                        reached.note(gap.cause);
                    }
                }
            };
            driver
                .delivered
                .iter()
                .for_each(|d| validator::tell(&mut chain, d));
            let resume = |chain: &mut Chain, position: Position, log: &Log| {
                let cursor = cursor(position);
                chain.cursor(&cursor);
                chain.resume(&cursor).expect("it was just given out");
                resumed(&cursor, log)
            };
            let position = driver.live.position();
            let (first, rest) = rest.split_at(second.index(rest.len() + 1));
            let log = &mut driver.log;
            let mut back = Reading::new(From::Beginning, Until::End, log);
            let unread = position.anchor.is_none();
            meanwhile(log, first, &mut back, unread);
            let mut back = resume(&mut chain, position, log);
            meanwhile(log, rest, &mut back, unread);
            told(&mut chain, &back.delivered);
            log.exit();
            let mut back = resume(&mut chain, back.history.position(), log);
            back.run(log);
            back.history
                .flush(OpenLines::default(), &mut back.delivered);
            told(&mut chain, &back.delivered);
            reached.unverified += u64::from(position.verified.is_some());
            ways.set(reached);
            validator::covers(&chain, &driver)
        },
    );
    let reached = ways.get();
    let least = reached.unverified.min(reached.skips).min(reached.gone);
    took_each_path(histories, &reached, least);
}
