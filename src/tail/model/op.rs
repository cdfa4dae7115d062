//! What happens to a container, its log and the reads of it.

use proptest::prelude::*;
use proptest::sample::Index;

use super::log::Log;
use super::write::{Write, writes};
use crate::docker::Stream;

/// What happens to a container, its log and the reads of it.
#[derive(Debug, Clone)]
pub(super) enum Op {
    Write(Vec<Write>),
    /// Many lines of one stream: more than a window.
    Burst(Stream, usize),
    /// As many long lines: more than a count holds.
    Fat(usize),
    /// A line that stays open on one stream while the other writes as many.
    Span(Stream, usize, bool),
    /// The read brings so many records.
    Deliver(usize),
    /// The deadline passes.
    Elapse,
    Exit,
    Start,
    /// The read is cut.
    Break,
    /// The same, and the engine says that it cannot read the log.
    Report,
    /// The lease ends as if the container had exited.
    EndClean,
    /// The lease brings nothing more.
    Stall,
    /// The lease goes on from an earlier record.
    GoBack(Index),
    /// The lease brings one earlier record again.
    Repeat(Index),
    /// The lease leaves out what follows, up to a later record.
    Skip(Index),
    /// Retention.
    Delete(Index),
    /// So many requests fail.
    Away(usize),
    /// The clock is set back.
    Step,
    /// Somebody else empties the file: its end is not found until it rotates.
    Empty,
    Rotate,
}

pub(super) fn op() -> impl Strategy<Value = Op> {
    let indices = any::<Index>;
    let stream = || prop_oneof![Just(Stream::Stdout), Just(Stream::Stderr)];
    prop_oneof![
        24 => prop::collection::vec(writes(), 1..8).prop_map(Op::Write),
        2 => (stream(), 20..160_usize).prop_map(|(stream, n)| Op::Burst(stream, n)),
        1 => span(),
        20 => prop_oneof![3 => 1..12_usize, 1 => Just(400)].prop_map(Op::Deliver),
        14 => Just(Op::Elapse),
        2 => Just(Op::Exit),
        3 => Just(Op::Start),
        3 => Just(Op::Break),
        3 => Just(Op::Report),
        2 => Just(Op::EndClean),
        4 => Just(Op::Stall),
        4 => indices().prop_map(Op::GoBack),
        4 => indices().prop_map(Op::Repeat),
        8 => indices().prop_map(Op::Skip),
        5 => indices().prop_map(Op::Delete),
        1 => (1..5_usize).prop_map(Op::Away),
        1 => Just(Op::Step),
        1 => Just(Op::Empty),
        2 => Just(Op::Rotate),
    ]
}

/// What was written before anybody read.
pub(super) fn past() -> impl Strategy<Value = Vec<Op>> {
    let burst = (any::<bool>(), 20..160_usize).prop_map(|(err, lines)| {
        Op::Burst(if err { Stream::Stderr } else { Stream::Stdout }, lines)
    });
    let written = prop_oneof![
        8 => prop::collection::vec(writes(), 1..12).prop_map(Op::Write),
        2 => burst,
        4 => span(),
        1 => Just(Op::Exit),
        1 => Just(Op::Start),
    ];
    prop::collection::vec(written, 0..12)
}

fn span() -> impl Strategy<Value = Op> {
    let stream = prop_oneof![Just(Stream::Stdout), Just(Stream::Stderr)];
    let span = (stream, 1..150_usize, any::<bool>());
    span.prop_map(|(stream, lines, newline)| Op::Span(stream, lines, newline))
}

impl Op {
    /// What it does to the log.
    pub(super) fn write_to(&self, log: &mut Log) {
        let mut write = |write: &Write| {
            if log.running {
                log.write(write);
            }
        };
        match self {
            Op::Write(writes) => writes.iter().for_each(write),
            Op::Burst(stream, lines) => (0..*lines).for_each(|_| write(&Write::line(*stream))),
            Op::Fat(lines) => {
                (0..*lines).for_each(|_| write(&Write::line(Stream::Stdout).long()));
            }
            Op::Span(stream, lines, newline) => {
                let other = match stream {
                    Stream::Stdout => Stream::Stderr,
                    _ => Stream::Stdout,
                };
                write(&Write::part(*stream));
                (0..*lines).for_each(|_| write(&Write::line(other)));
                match newline {
                    true => write(&Write::line(*stream)),
                    false => write(&Write::part(*stream)),
                }
            }
            Op::Exit => log.exit(),
            Op::Start => log.running = true,
            _ => {}
        }
    }
}
