//! Histories at random, tampered with at random: always told.

use std::cell::RefCell;

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, RngSeed, TestRunner};

use super::script::{Script, Step, is_violated, judged, line, truth};

/// What a server does next.
#[derive(Debug, Clone)]
enum Act {
    Deliver(usize),
    Delete(usize),
    Repair(usize, usize),
    Confess(usize, usize),
    Resume(Index),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let few = || 1..6_usize;
    let act = prop_oneof![
        6 => (1..30_usize).prop_map(Act::Deliver),
        1 => few().prop_map(Act::Delete),
        1 => (few(), 6..9_usize).prop_map(|(lines, behind)| Act::Repair(lines, behind)),
        1 => (few(), 6..9_usize).prop_map(|(lines, behind)| Act::Confess(lines, behind)),
        3 => any::<Index>().prop_map(Act::Resume),
    ];
    prop::collection::vec(act, 1..25)
}

fn played(acts: &[Act]) -> Script {
    let mut script = Script::default();
    // So that a gap has something before it.
    script.deliver(7);
    for act in acts {
        match act {
            Act::Deliver(lines) => script.deliver(*lines),
            Act::Delete(lines) => script.delete(*lines),
            Act::Repair(lines, behind) => script.repair(*lines, *behind),
            Act::Confess(lines, behind) => script.confess(*lines, *behind),
            Act::Resume(at) => script.resume(|given| at.index(given)),
        }
    }
    script.deliver(7);
    script
}

/// The steps that the client is left with: a resume undoes those behind its cursor.
fn kept(steps: &[Step]) -> Vec<usize> {
    let mut kept: Vec<usize> = Vec::new();
    for (at, step) in steps.iter().enumerate() {
        if let Step::Resume(cursor) = step {
            let given = |at: &usize| matches!(&steps[*at], Step::Cursor(c) if c == cursor);
            let place = kept.iter().position(given).expect("it was kept");
            kept.truncate(place + 1);
        } else {
            kept.push(at);
        }
    }
    kept
}

#[derive(Debug, Clone, Copy)]
enum Tampering {
    Swap,
    Duplicate,
    Drop,
    DropGap,
    Miscount,
    Cut,
    Part,
    OtherBytes,
    OtherStream,
    OtherTime,
    NotLate,
    SkippingCursor,
    RepeatingCursor,
}

const ALL: [Tampering; 13] = [
    Tampering::Swap,
    Tampering::Duplicate,
    Tampering::Drop,
    Tampering::DropGap,
    Tampering::Miscount,
    Tampering::Cut,
    Tampering::Part,
    Tampering::OtherBytes,
    Tampering::OtherStream,
    Tampering::OtherTime,
    Tampering::NotLate,
    Tampering::SkippingCursor,
    Tampering::RepeatingCursor,
];

/// Tampers with one of the steps, if there is one to tamper with so.
fn tamper(steps: &mut Vec<Step>, how: Tampering, pick: Index) -> Option<()> {
    let kept = kept(steps);
    let entry = |at: &usize| matches!(&steps[*at], Step::Entry(_));
    let in_time = |at: &usize| matches!(&steps[*at], Step::Entry(entry) if !entry.late);
    let places: Vec<usize> = match how {
        Tampering::DropGap | Tampering::Miscount => {
            let gap = |at: &usize| matches!(&steps[*at], Step::Gap(_));
            kept.into_iter().filter(gap).collect()
        }
        Tampering::Swap => {
            let both = |at: &usize| in_time(at) && kept.contains(&(at + 1)) && in_time(&(at + 1));
            kept.iter().copied().filter(both).collect()
        }
        Tampering::SkippingCursor | Tampering::RepeatingCursor => {
            let resumed = |at: &usize| *at > 0 && matches!(steps[at - 1], Step::Resume(_));
            kept.into_iter()
                .filter(|at| resumed(at) && in_time(at))
                .collect()
        }
        Tampering::NotLate => {
            let late = |at: &usize| entry(at) && !in_time(at);
            kept.into_iter().filter(late).collect()
        }
        _ => kept.into_iter().filter(entry).collect(),
    };
    if places.is_empty() {
        return None;
    }
    let at = places[pick.index(places.len())];
    match how {
        Tampering::Swap => steps.swap(at, at + 1),
        Tampering::Duplicate => steps.insert(at + 1, steps[at].clone()),
        Tampering::Drop | Tampering::DropGap | Tampering::SkippingCursor => {
            steps.remove(at);
        }
        Tampering::RepeatingCursor => {
            let Step::Entry(next) = &steps[at] else {
                return None;
            };
            let nth = (0..).find(|nth| line(*nth).bytes == next.bytes)?;
            let came = |step: &Step| *step == Step::Entry(line(nth - 1));
            steps[..at].iter().any(came).then_some(())?;
            steps.insert(at, Step::Entry(line(nth - 1)));
        }
        _ => falsify(&mut steps[at], how),
    }
    Some(())
}

fn falsify(step: &mut Step, how: Tampering) {
    match (step, how) {
        (Step::Gap(gap), _) => gap.missing_entries = gap.missing_entries.map(|n| n + 1),
        (Step::Entry(entry), Tampering::Cut) => entry.truncated_bytes = 1,
        (Step::Entry(entry), Tampering::Part) => drop(entry.bytes.pop()),
        (Step::Entry(entry), Tampering::OtherBytes) => entry.bytes[1] ^= 1,
        (Step::Entry(entry), Tampering::OtherStream) => {
            entry.stream = match entry.stream {
                crate::proto::Stream::Stdout => crate::proto::Stream::Stderr,
                _ => crate::proto::Stream::Stdout,
            };
        }
        (Step::Entry(entry), Tampering::OtherTime) => entry.time += 1,
        (Step::Entry(entry), _) => entry.late = false,
        _ => {}
    }
}

/// The same cases in every run; `PROPTEST_CASES` asks for more.
#[test]
fn whoever_tampers_with_a_history_is_told() {
    let asked_for = std::env::var_os("PROPTEST_CASES").map(|_| Config::default().cases);
    let mut runner = TestRunner::new(Config {
        cases: asked_for.unwrap_or(4_000),
        rng_seed: RngSeed::Fixed(0x7075_6c73),
        failure_persistence: None,
        ..Config::default()
    });
    let tampered = RefCell::new([0; ALL.len()]);
    let cases = (acts(), 0..ALL.len(), any::<Index>());
    let tested = runner.run(&cases, |(acts, how, pick)| {
        let script = played(&acts);
        let truth = truth(script.next());
        for truth in [None, Some(&truth)] {
            let report = judged(&script.steps, truth);
            prop_assert!(!is_violated(&report), "{}", report);
        }
        let mut steps = script.steps;
        if tamper(&mut steps, ALL[how], pick).is_some() {
            tampered.borrow_mut()[how] += 1;
            prop_assert!(is_violated(&judged(&steps, Some(&truth))), "{:?}", ALL[how]);
        }
        Ok(())
    });
    if let Err(error) = tested {
        panic!("{error}");
    }
    let least = tampered.borrow().iter().min().copied();
    assert!(least >= Some(50), "{tampered:?}");
}
