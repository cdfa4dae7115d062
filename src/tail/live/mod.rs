//! Keeping up with a log through short leases.
//!
//! open (a lease that overlaps what was read) → find (the anchor in it) → read →
//! rotate. Whatever else happens leads to a resync: snapshots, each wider than
//! the one before, until the anchor is inside; everything behind it is new. Where
//! leases may have skipped records, the anchor is the last verified one, and what
//! they brought since is compared on the way.

mod lease;
mod resync;
mod spin;

use std::time::Duration;

use super::anchor::{Anchor, Tracker, index};
use super::doubt::{Doubt, Skips, Walk};
use super::line::{Dialect, Joiner};
use super::{
    Delivery, Event, Gap, GapCause, MAX_ORIENTATION, Next, Position, WIDEN, WINDOW, flush, is_whole,
};
use crate::docker::{Record, Stream, Tail};
use resync::{Pass, Search};

/// A lease silent for so long before its anchor came will not bring it.
const SEEK_SILENCE: Duration = Duration::from_millis(250);

/// How a log is read.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// How long a lease lives; each one ± 10 %.
    pub rotation: Duration,
    /// Bytes of a line that are kept.
    pub max_line: usize,
    /// How the driver stores lines.
    pub dialect: Dialect,
    /// Where the engine's live stream may skip records.
    pub skips: Skips,
    /// Bytes stored at least where the engine has deleted any; 0: not known.
    pub kept: u64,
    /// Records read at most, as a log is joined, to learn of a line open on a
    /// stream that wrote none of the last ones. Each costs the engine about
    /// 10 µs; a line that began before them comes without its beginning.
    pub orientation: u32,
    /// Seed of the jitter.
    pub seed: u64,
}

/// The machine. Times are measured from any fixed instant.
#[derive(Debug)]
pub struct Live {
    settings: Settings,
    joiner: Joiner,
    tracker: Tracker,
    phase: Phase,
    deadline: Option<Duration>,
    /// The lease ended by itself: the container may have stopped.
    ended: bool,
    /// The container was found stopped, and nothing new has come since.
    stopped: bool,
    /// What leases brought is not proven yet to be all there is.
    doubt: Doubt,
    /// Records delivered so far.
    taken: u64,
    /// Hashes of the parts of each stream's open line.
    parts: [Vec<u64>; 3],
    /// A record of a short log whose place the whole of it alone shows.
    unplaced: Option<Anchor>,
    /// The last lease stood still.
    stalled: bool,
    /// What the engine said of a log that it could not read, since the last lease
    /// was opened.
    words: Option<String>,
    /// The engine does not find the log's end: so many more times all is read.
    spins: u32,
    /// The last lease was read to its end.
    drained: bool,
    overlap: u32,
    /// Records that came between two reads, where those were more than expected.
    between: u32,
    seek_silence: Duration,
    rng: fastrand::Rng,
}

#[derive(Debug)]
enum Phase {
    /// Where is the log's end, and which lines are open there?
    Orient {
        want: u32,
        seen: u32,
        starts: [bool; 3],
    },
    /// A lease whose records are known until the last verified one has come.
    Seek {
        search: Search,
        left: u32,
    },
    /// A lease that brings again what was not verified.
    Compare {
        walk: Box<Walk>,
        left: u32,
    },
    /// A lease whose records are new.
    Read {
        fresh: bool,
        suspect: bool,
        /// Records of the lease that may have been stored before it was opened;
        /// `None`: all of them were delivered.
        left: Option<u32>,
    },
    /// A snapshot whose records are new once the anchor has come.
    Resync {
        tail: Tail,
        seen: u32,
        pass: Pass,
    },
    /// A lease that brings nothing to be relied on: all is read in its place.
    Bell,
    Asking,
    Resting,
}

impl Live {
    /// A machine that delivers what is stored from now on, and its first request.
    pub fn new(settings: Settings) -> (Self, Next) {
        let mut live = Self {
            joiner: Joiner::new(settings.max_line, settings.dialect),
            tracker: Tracker::default(),
            phase: Phase::Resting,
            deadline: None,
            ended: false,
            stopped: false,
            doubt: Doubt::new(settings.skips),
            taken: 0,
            parts: [const { Vec::new() }; 3],
            unplaced: None,
            stalled: false,
            words: None,
            spins: 0,
            drained: false,
            overlap: WINDOW,
            between: 0,
            seek_silence: SEEK_SILENCE,
            rng: fastrand::Rng::with_seed(settings.seed),
            settings,
        };
        let first = live.orient(WINDOW);
        (live, first)
    }

    /// Behind the last record read. While [`Live::is_oriented`] is false it
    /// means nothing.
    pub fn position(&self) -> Position {
        Position {
            anchor: self.tracker.anchor(),
            open: self.joiner.open_lines(),
            verified: match &self.phase {
                Phase::Resync {
                    pass: Pass::Compare(walk),
                    ..
                }
                | Phase::Compare { walk, .. } => Some(walk.verified(&self.doubt)),
                _ => self.doubt.verified(),
            },
        }
    }

    /// How many records were delivered so far.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Whether the place is known from which on everything is delivered.
    pub fn is_oriented(&self) -> bool {
        !matches!(self.phase, Phase::Orient { .. })
    }

    /// Whether the last lease ended by itself, and why is still to be found out.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// When [`Event::Elapsed`] is due.
    pub fn deadline(&self) -> Option<Duration> {
        self.deadline
    }

    /// Takes an event, appends what it brings, says what to do next.
    pub fn on(&mut self, event: Event, now: Duration, out: &mut Vec<Delivery>) -> Next {
        match event {
            Event::Record(record) => self.take(record, now, out),
            Event::End => self.on_end(now, out),
            Event::Broken => self.on_broken(),
            Event::Failed(words) => {
                self.words = Some(words);
                self.on_broken()
            }
            Event::Silent => self.on_silent(),
            Event::Elapsed => self.on_elapsed(now, out),
            Event::Probed(last) => self.on_probed(last.as_ref(), now, out),
            Event::Running => self.open(now),
            // It may have written since the last snapshot: one taken after its
            // end that brings nothing new proves that all has been read.
            Event::Stopped if matches!(self.phase, Phase::Asking) => {
                self.stopped = true;
                self.resync()
            }
            Event::Stopped => self.rest(out),
            Event::Gone => self.gone(out),
        }
    }

    fn take(&mut self, record: Record, now: Duration, out: &mut Vec<Delivery>) -> Next {
        match &mut self.phase {
            Phase::Orient { seen, starts, .. } => {
                let dialect = self.settings.dialect;
                *seen += dialect.counted(&record);
                let last = self.tracker.last_of(record.stream);
                starts[index(record.stream)] |=
                    last.is_some_and(|last| dialect.begins_group(&last, &record));
                self.doubt.count(&record);
                self.tracker.push(&record);
                self.joiner.push(record, &mut |_| ());
                Next::More
            }
            Phase::Seek { .. } => self.on_known_record(&record, now, out),
            Phase::Compare { .. } => self.on_doubtful_record(record, now, out),
            Phase::Read { .. } => self.on_new_record(record, now, out),
            Phase::Resync { .. } => self.on_stored(record, out),
            Phase::Bell => self.on_bell(),
            Phase::Asking | Phase::Resting => Next::More,
        }
    }

    fn on_end(&mut self, now: Duration, out: &mut Vec<Delivery>) -> Next {
        match &self.phase {
            Phase::Orient { want, seen, starts } => {
                let whole = seen < want;
                if whole || *want >= self.orientation(*starts) {
                    if is_whole(*want, *seen) {
                        self.doubt.known_from_start();
                    }
                    out.push(Delivery::Verified);
                    return self.open(now);
                }
                let want = want * WIDEN;
                self.orient(want)
            }
            Phase::Seek { .. } | Phase::Compare { .. } | Phase::Read { .. } | Phase::Bell => {
                self.ended = true;
                self.drained = matches!(self.phase, Phase::Read { .. });
                self.resync()
            }
            Phase::Resync { .. } => self.on_stored_end(now, out),
            Phase::Asking | Phase::Resting => Next::More,
        }
    }

    /// How many records are worth reading to know of every open line: many where
    /// one is seen open and not its start, fewer where a stream was not seen at
    /// all. Only a terminal has no other stream.
    fn orientation(&self, starts: [bool; 3]) -> u32 {
        let streams = match self.tracker.last_of(Stream::Tty) {
            Some(_) => &[Stream::Tty][..],
            None => &[Stream::Stdout, Stream::Stderr],
        };
        let loose = self.settings.dialect.stamps_are_loose;
        let worth = |stream: &Stream| match self.tracker.last_of(*stream) {
            Some(last) if starts[index(*stream)] || last.ends_line && !loose => WINDOW,
            Some(_) => MAX_ORIENTATION,
            None => self.settings.orientation,
        };
        streams.iter().map(worth).max().unwrap_or(WINDOW)
    }

    fn on_broken(&mut self) -> Next {
        match self.phase {
            Phase::Orient { .. } => self.orient(WINDOW),
            Phase::Resting => Next::Rest,
            // A lease that breaks may have ended with its container.
            Phase::Seek { .. }
            | Phase::Compare { .. }
            | Phase::Read { .. }
            | Phase::Bell
            | Phase::Asking => {
                self.ended = true;
                self.drained = matches!(self.phase, Phase::Asking) && self.drained;
                self.resync()
            }
            Phase::Resync { .. } => self.resync(),
        }
    }

    /// The container is gone, and with it what was not read.
    fn gone(&mut self, out: &mut Vec<Delivery>) -> Next {
        let read = match self.phase {
            Phase::Resting => true,
            Phase::Orient { .. } => false,
            _ => self.drained && self.doubt.is_empty(),
        };
        let next = self.rest(out);
        if !read {
            let after = self.tracker.anchor().map(|anchor| anchor.time);
            out.push(Delivery::Gap(Gap::possible(
                GapCause::ContainerRemoved,
                after,
                None,
            )));
        }
        next
    }

    fn on_elapsed(&mut self, now: Duration, out: &mut Vec<Delivery>) -> Next {
        match self.phase {
            Phase::Seek { .. } | Phase::Compare { .. } => self.missed(),
            Phase::Bell => self.resync(),
            Phase::Read {
                fresh: true,
                left: None,
                ..
            } => {
                if self.doubt.is_empty() {
                    out.push(Delivery::Verified);
                }
                self.rotate(now)
            }
            Phase::Read { fresh: true, .. } => self.resync(),
            Phase::Read { suspect: true, .. } => {
                out.push(Delivery::Replaced);
                self.stalled = true;
                self.resync()
            }
            // Cycling idle leases leaks memory in newer engines.
            Phase::Read { .. } => {
                self.deadline = Some(now + self.lifetime());
                Next::Probe
            }
            _ => {
                self.deadline = None;
                Next::More
            }
        }
    }

    fn enter(&mut self, phase: Phase, deadline: Option<Duration>) {
        self.phase = phase;
        self.deadline = deadline;
    }

    fn orient(&mut self, want: u32) -> Next {
        self.tracker = Tracker::default();
        self.joiner = Joiner::new(self.settings.max_line, self.settings.dialect);
        self.doubt = Doubt::new(self.settings.skips);
        let phase = Phase::Orient {
            want,
            seen: 0,
            starts: [false; 3],
        };
        self.enter(phase, None);
        Next::Snapshot(match want {
            u32::MAX => Tail::All,
            want => Tail::Last(want),
        })
    }

    fn synced(&mut self, now: Duration, out: &mut Vec<Delivery>) -> Next {
        out.push(Delivery::Verified);
        if self.stopped {
            return self.rest(out);
        }
        if self.ended {
            self.enter(Phase::Asking, None);
            return Next::Ask;
        }
        self.open(now)
    }

    fn rest(&mut self, out: &mut Vec<Delivery>) -> Next {
        flush(&mut self.joiner, self.tracker.anchor(), out);
        self.enter(Phase::Resting, None);
        Next::Rest
    }

    fn deliver(&mut self, record: Record, out: &mut Vec<Delivery>) {
        self.note(&record);
        self.joiner
            .push(record, &mut |entry| out.push(Delivery::Entry(entry)));
    }
}
