//! Does to the model what `Live` asks, between mishaps.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;

use super::log::{Log, MS};
use super::op::Op;
use super::paths::Paths;
use crate::docker::{RecordRef, Tail};
use crate::tail::{Delivery, Dialect, Entry, Event, Live, Next, Position, Settings, Skips};

/// What the engine says.
pub(super) const WORDS: &str = "Error grabbing logs";
pub(super) const MAX_LINE: usize = 1 << 20;
/// Requests that suffice to get over the last mishap.
const SETTLING: usize = 60;

/// What the machine reads.
#[derive(Debug)]
pub(super) enum Reading {
    /// `base..end`: what was stored when it was asked for.
    Snapshot {
        base: usize,
        at: usize,
        end: usize,
    },
    /// `base..stored`: what was retained when it was opened; it comes once and in
    /// order. `limit`: end of the run it follows, once that is over.
    Lease {
        base: usize,
        stored: usize,
        at: usize,
        limit: Option<usize>,
        stalled: bool,
    },
    /// For the log's end, which is not found.
    Spin,
    Ask,
    Rest,
}

/// What was delivered between two gaps.
#[derive(Debug)]
pub(super) struct Segment {
    /// Lines begin here at the earliest.
    pub(super) start: usize,
    /// Those ended before it are not wanted.
    pub(super) wanted: usize,
    /// Behind the last record read; `None`: the segment goes on.
    pub(super) end: Option<usize>,
}

/// The machine, the model and what has come of them.
pub(super) struct Driver {
    pub(super) log: Log,
    pub(super) live: Live,
    pub(super) delivered: Vec<Delivery>,
    pub(super) segments: Vec<Segment>,
    pub(super) paths: Paths,
    pub(super) requests: usize,
    /// Records that were read and not delivered.
    pub(super) again: u64,
    /// The engine said that it cannot read the log, since the last lease.
    pub(super) reported: bool,
    /// Records that leases left out.
    pub(super) skipped: HashSet<usize>,
    pub(super) reading: Reading,
    probing: bool,
    /// A run began since the container was last asked about.
    started: bool,
    away: usize,
    now: Duration,
}

/// How the model's logs are read.
pub(super) fn settings(seed: u64, dialect: Dialect) -> Settings {
    Settings {
        // Wide: the model's quiet streams are known, too.
        orientation: 4_096,
        rotation: Duration::from_secs(30),
        max_line: MAX_LINE,
        dialect,
        skips: Skips::Anywhere,
        kept: 0,
        seed,
    }
}

impl Driver {
    pub(super) fn new(log: Log, seed: u64) -> Self {
        let (live, next) = Live::new(settings(seed, log.dialect()));
        let mut driver = Self {
            log,
            live,
            delivered: Vec::new(),
            segments: Vec::new(),
            paths: Paths::default(),
            requests: 0,
            again: 0,
            reported: false,
            skipped: HashSet::new(),
            reading: Reading::Rest,
            probing: false,
            started: false,
            away: 0,
            now: Duration::ZERO,
        };
        driver.follow(next);
        driver
    }

    pub(super) fn apply(&mut self, op: &Op) {
        match op {
            Op::Write(_) | Op::Burst(..) | Op::Fat(_) | Op::Span(..) => op.write_to(&mut self.log),
            Op::Deliver(records) => self.deliver(*records),
            Op::Elapse => self.elapse(),
            Op::Exit => self.exit(),
            Op::Start => {
                self.started |= !self.log.running;
                self.log.running = true;
            }
            Op::Break => self.fail(Event::Broken),
            Op::Report => self.fail(Event::Failed(WORDS.to_owned())),
            Op::EndClean => self.end_clean(),
            Op::Stall => self.stall(),
            Op::GoBack(to) => self.go_back(&|records| to.index(records), false),
            Op::Repeat(of) => self.go_back(&|records| of.index(records), true),
            Op::Skip(to) => self.skip_stamps(&|records| to.index(records)),
            Op::Delete(until) => self.delete(*until),
            Op::Away(requests) => {
                self.away = *requests;
                self.fail(Event::Broken);
            }
            Op::Empty => self.empty(),
            Op::Rotate => self.log.spins = false,
            Op::Step => self.log.step_back(3_600_000 * MS),
        }
    }

    fn deliver(&mut self, records: usize) {
        // The probe's answer may overtake the lease, or the other way round.
        let answer_first = records % 2 == 1;
        if self.probing && answer_first {
            self.answer();
        }
        let _left = (0..records).find(|_| !self.pump());
        if self.probing && !answer_first {
            self.answer();
        }
    }

    fn answer(&mut self) {
        self.probing = false;
        if self.log.spins {
            return self.feed(Event::Silent);
        }
        let last = self.log.window(Tail::Last(1)).next();
        self.feed(Event::Probed(last.map(|at| self.log.records[at].clone())));
    }

    /// One event of what is being read; `false`: nothing comes.
    fn pump(&mut self) -> bool {
        let event = match &mut self.reading {
            Reading::Rest if !self.started => return false,
            // A short run may be over by now.
            Reading::Rest => Event::Running,
            _ if self.away > 0 => {
                self.away -= 1;
                Event::Broken
            }
            Reading::Spin => Event::Silent,
            Reading::Ask if self.log.running => Event::Running,
            Reading::Ask => Event::Stopped,
            Reading::Snapshot { at, end, .. } if at == end => Event::End,
            Reading::Lease {
                limit: Some(_),
                stalled: true,
                ..
            } => Event::End,
            Reading::Lease { stalled: true, .. } => return false,
            Reading::Lease {
                at,
                limit: Some(limit),
                ..
            } if at == limit => Event::End,
            Reading::Lease { at, .. } if *at == self.log.end() => return false,
            Reading::Snapshot { at, .. } | Reading::Lease { at, .. } => {
                *at += 1;
                Event::Record(self.log.records[*at - 1].clone())
            }
        };
        self.feed(event);
        true
    }

    pub(super) fn elapse(&mut self) {
        if let Some(deadline) = self.live.deadline() {
            self.now = self.now.max(deadline);
            self.feed(Event::Elapsed);
        }
    }

    fn exit(&mut self) {
        self.log.exit();
        let end = self.log.end();
        if let Reading::Lease { limit, .. } = &mut self.reading {
            limit.get_or_insert(end);
        }
    }

    /// Breaks what is being read; an engine that is asked nothing cannot fail.
    fn fail(&mut self, event: Event) {
        if !matches!(self.reading, Reading::Rest) {
            self.reported |= event != Event::Broken;
            self.feed(event);
        }
    }

    fn end_clean(&mut self) {
        if matches!(self.reading, Reading::Lease { .. }) {
            self.feed(Event::End);
        }
    }

    pub(super) fn stall(&mut self) {
        if let Reading::Lease { stalled, .. } = &mut self.reading {
            *stalled = true;
        }
    }

    pub(super) fn feed(&mut self, event: Event) {
        self.started &= !matches!(event, Event::Running | Event::Stopped);
        let (before, oriented) = (self.live.position(), self.live.is_oriented());
        self.paths.runs_over += u64::from(event == Event::Stopped);
        let (is_record, taken) = (matches!(event, Event::Record(_)), self.live.taken());
        let by_lease = is_record && matches!(self.reading, Reading::Lease { .. });
        let mut out = Vec::new();
        let next = self.tell(event, &mut out);
        self.again += u64::from(is_record && oriented && self.live.taken() == taken);
        if !oriented && self.live.is_oriented() {
            self.oriented();
        }
        for delivery in out {
            let replaced = delivery == Delivery::Replaced;
            self.paths.replaced += u64::from(replaced);
            self.paths.guarded += u64::from(replaced && is_record);
            match &delivery {
                Delivery::Gap(gap) if gap.place.is_some() => self.paths.skip_gaps += 1,
                Delivery::Gap(gap) => self.gap(gap, before),
                Delivery::Late(..) => {
                    self.paths.late += 1;
                    self.paths.late_by_lease += u64::from(by_lease);
                }
                _ => {}
            }
            self.delivered.push(delivery);
        }
        self.follow(next);
    }

    /// As the reader does: lines by reference.
    fn tell(&mut self, event: Event, out: &mut Vec<Delivery>) -> Next {
        let Event::Record(record) = &event else {
            return self.live.on(event, self.now, out);
        };
        let record = RecordRef {
            stream: record.stream,
            time: record.time,
            payload: &record.payload[..],
        };
        if !self.live.takes_line(&record) {
            return self.live.on(event, self.now, out);
        }
        let mut behind = Vec::new();
        let (line, next) = self.live.take_line(&record, self.now, &mut behind);
        out.extend(line.map(|line| {
            Delivery::Entry(Entry {
                stream: line.stream,
                time: line.time,
                ordinal: line.ordinal,
                line: Bytes::copy_from_slice(line.line),
                unterminated: line.unterminated,
                truncated_bytes: line.truncated_bytes,
            })
        }));
        out.append(&mut behind);
        next
    }

    fn oriented(&mut self) {
        let Reading::Snapshot { base, end, .. } = self.reading else {
            panic!("oriented without a snapshot");
        };
        self.segments.push(Segment {
            start: base,
            wanted: end,
            end: None,
        });
    }

    /// Index of the last record read.
    pub(super) fn at(&self, position: Position) -> Option<usize> {
        let start = self.segments.last().map_or(0, |segment| segment.start);
        Some(self.log.find(position.anchor?, start))
    }

    fn follow(&mut self, next: Next) {
        let oriented = self.live.is_oriented();
        self.requests += usize::from(!matches!(next, Next::More | Next::Rest));
        match next {
            Next::More => return,
            Next::Probe => {
                self.paths.probes += 1;
                self.probing = true;
                return;
            }
            Next::Lease(tail) => {
                self.paths.rotations += 1;
                self.reported = false;
                let open = self.live.position().open != [None; 3];
                self.paths.rotations_in_a_line += u64::from(open);
                let (at, end) = (self.log.window(tail).start, self.log.end());
                let limit = Some(end).filter(|_| !self.log.running);
                self.reading = Reading::Lease {
                    base: self.log.base,
                    stored: end,
                    at,
                    limit,
                    stalled: self.log.spins && tail != Tail::All,
                };
            }
            Next::Snapshot(tail) if self.log.spins && tail != Tail::All => {
                self.paths.spins += 1;
                self.reading = Reading::Spin;
            }
            Next::Snapshot(tail) => {
                let wide = u64::from(tail != Tail::Last(64));
                self.paths.resyncs += u64::from(oriented);
                self.paths.widened += u64::from(oriented) * wide;
                self.paths.orientations_widened += u64::from(!oriented) * wide;
                let window = self.log.window(tail);
                self.reading = Reading::Snapshot {
                    base: self.log.base,
                    at: window.start,
                    end: window.end,
                };
            }
            Next::Ask => self.reading = Reading::Ask,
            Next::Rest => self.reading = Reading::Rest,
            Next::Done => panic!("there is no end to a live log"),
        }
        self.probing = false;
    }

    /// No more mishaps: everything stored must come, with few requests.
    pub(super) fn settle(&mut self) {
        self.away = 0;
        let last = self.requests + SETTLING;
        loop {
            assert!(self.requests < last, "asks and asks: {:?}", self.live);
            if self.pump() {
                continue;
            }
            if self.probing {
                self.answer();
            } else if self.is_settled() {
                return;
            } else {
                self.elapse();
            }
        }
    }

    fn is_settled(&self) -> bool {
        // An equal part behind the last one is late: a probe cannot tell them
        // apart, and no line ends with it.
        let last = self.log.window(Tail::Last(1)).next();
        let all_read = match (self.live.position().anchor, last) {
            (Some(anchor), Some(last)) => anchor.is_like(&self.log.records[last]),
            (anchor, None) => anchor.is_none(),
            (None, Some(_)) => false,
        };
        match self.reading {
            Reading::Rest => true,
            Reading::Lease { .. } => all_read,
            _ => false,
        }
    }

    /// The container exits; what is open then is over.
    pub(super) fn finish(&mut self) {
        self.settle();
        self.exit();
        self.settle();
    }
}
