//! Keeping up with a log through short leases.
//!
//! open (a lease that overlaps what was read) → find (the anchor in it) → read →
//! rotate. Whatever else happens leads to a resync: snapshots, each wider than
//! the one before, until the anchor is inside; everything behind it is new.

use std::time::Duration;

use super::anchor::{Anchor, Finder, Tracker, index};
use super::doubt::{Doubt, Skips, Walk, anchor_of};
use super::line::{Dialect, Joiner};
use super::{Cause, Delivery, Event, Gap, Next, Position, WIDEN, WINDOW, flush};
use crate::docker::{Record, Stream, Tail};

/// Widest overlap a lease is opened with.
const MAX_OVERLAP: u32 = 4_096;
/// A lease silent for so long before its anchor came will not bring it.
const SEEK_SILENCE: Duration = Duration::from_millis(250);
const MAX_SEEK_SILENCE: Duration = Duration::from_secs(4);
/// A probe saw a record that the lease has not brought: it gets so much longer.
const STALL: Duration = Duration::from_secs(1);
/// Records read to learn about lines open where a log is joined.
const MAX_ORIENTATION: u32 = 4_096;

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
    /// The last lease stood still.
    stalled: bool,
    /// The last lease was read to its end.
    drained: bool,
    overlap: u32,
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
    /// A lease whose records are known until the anchor has come.
    Seek {
        finder: Finder,
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
    Asking,
    Resting,
}

#[derive(Debug)]
enum Pass {
    /// Looking for the last verified record; `at` looks for the last one read.
    Find {
        /// `None`: that is the log's beginning.
        finder: Option<Finder>,
        at: Finder,
        at_seen: bool,
        /// The first record of the snapshot.
        oldest: Option<Anchor>,
    },
    /// What was brought since is compared with what is stored.
    Compare(Box<Walk>),
    /// The same, where the verified record is gone: from the oldest record on,
    /// if that has not been deleted meanwhile.
    CompareAll(Option<Anchor>),
    Deliver,
    /// The anchor is gone: all that is left is new.
    Gap,
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
            stalled: false,
            drained: false,
            overlap: WINDOW,
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
            verified: self.doubt.verified(),
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
            Event::Record(record) => self.on_record(record, now, out),
            Event::End => self.on_end(now, out),
            Event::Broken => self.on_broken(),
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

    fn on_record(&mut self, record: Record, now: Duration, out: &mut Vec<Delivery>) -> Next {
        match &mut self.phase {
            Phase::Orient { seen, starts, .. } => {
                *seen += 1;
                let last = self.tracker.last_of(record.stream);
                starts[index(record.stream)] |= last.is_some_and(|last| last.time != record.time);
                self.doubt.count(&record);
                self.tracker.push(&record);
                self.joiner.push(record, &mut |_| ());
                Next::More
            }
            Phase::Seek { finder, left } => {
                *left -= 1;
                if finder.is_at(&record) {
                    let left = Some(*left);
                    self.read(left, now);
                } else if *left == 0 {
                    return self.missed();
                } else {
                    self.deadline = Some(now + self.seek_silence);
                }
                Next::More
            }
            Phase::Read { .. } => self.on_new_record(record, out),
            Phase::Resync { .. } => self.on_stored(record, out),
            Phase::Asking | Phase::Resting => Next::More,
        }
    }

    /// A record of a snapshot.
    fn on_stored(&mut self, record: Record, out: &mut Vec<Delivery>) -> Next {
        let Phase::Resync { seen, pass, .. } = &mut self.phase else {
            return Next::More;
        };
        *seen = seen.saturating_add(1);
        match pass {
            Pass::Find {
                finder,
                at,
                at_seen,
                oldest,
            } => {
                oldest.get_or_insert_with(|| Tracker::default().push(&record));
                *at_seen |= at.is_at(&record);
                if finder.as_mut().is_some_and(|finder| finder.is_at(&record)) {
                    *pass = match self.doubt.walk(*at) {
                        Some(walk) => Pass::Compare(Box::new(walk)),
                        None => Pass::Deliver,
                    };
                }
            }
            Pass::Compare(walk) => {
                walk.step(record, &mut self.doubt, self.taken, out);
                self.compared();
            }
            Pass::CompareAll(oldest) => {
                if oldest.is_none_or(|oldest| !oldest.is_like(&record)) {
                    return self.find(Tail::All);
                }
                let after = self.doubt.verified().and_then(|verified| verified.anchor);
                let after = after.map(|anchor| anchor.time);
                if after.is_some() || !self.doubt.is_next(&record) {
                    let mut gap = Gap::possible(Cause::EngineSkip, after, Some(record.time));
                    gap.place = Some((self.taken + 1).saturating_sub(self.doubt.pending() as u64));
                    out.push(Delivery::Gap(gap));
                }
                let joiner = Joiner::new(self.settings.max_line, self.settings.dialect);
                let Some(at) = self.tracker.anchor() else {
                    return Next::More;
                };
                let mut walk = Box::new(self.doubt.walk_from_start(joiner, at));
                walk.step(record, &mut self.doubt, self.taken, out);
                *pass = Pass::Compare(walk);
                self.compared();
            }
            Pass::Deliver => self.deliver(record, out),
            Pass::Gap => {
                *pass = Pass::Deliver;
                self.gap(Some(record.time), out);
                self.deliver(record, out);
            }
        }
        Next::More
    }

    /// Behind the last record brought, what is stored is new.
    fn compared(&mut self) {
        if self.doubt.pending() > 0 {
            return;
        }
        if let Phase::Resync { pass, .. } = &mut self.phase
            && let Pass::Compare(walk) = std::mem::replace(pass, Pass::Deliver)
        {
            // Otherwise ours knows more: beginnings that are deleted meanwhile.
            if walk.mends_open_line() {
                (self.tracker, self.joiner) = (walk.tracker, walk.joiner);
            }
            self.doubt.clear();
        }
    }

    /// A record of a lease behind the anchor. A stream that goes back or repeats
    /// is not trusted: file order decides.
    fn on_new_record(&mut self, record: Record, out: &mut Vec<Delivery>) -> Next {
        let goes_back = match self.tracker.last_of(record.stream) {
            Some(last) => {
                let repeats = last.ends_line && !self.settings.dialect.stamps_repeat;
                record.time < last.time || (record.time == last.time && repeats)
            }
            // A stream without a record where the log was joined may have some
            // further back.
            None => self
                .tracker
                .anchor()
                .is_some_and(|newest| record.time <= newest.time),
        };
        // A line that another follows without its end: was the end skipped?
        let slot = index(record.stream);
        let open = self.joiner.open_lines()[slot];
        let breaks_line = open.is_some_and(|time| time != record.time);
        if goes_back {
            out.push(Delivery::Replaced);
            return self.resync();
        }
        if breaks_line && self.doubt.is_possible() {
            return self.resync();
        }
        self.doubt.take(&record, &self.tracker, &self.joiner);
        self.deliver(record, out);
        let left = match self.phase {
            Phase::Read { left, .. } => left,
            _ => None,
        };
        let left = left.and_then(|left| left.checked_sub(1));
        self.phase = Phase::Read {
            fresh: true,
            suspect: false,
            left,
        };
        match self.doubt.is_full() {
            true => self.resync(),
            false => Next::More,
        }
    }

    fn on_end(&mut self, now: Duration, out: &mut Vec<Delivery>) -> Next {
        match &self.phase {
            Phase::Orient { want, seen, starts } => {
                let whole = seen < want;
                if whole || *want >= self.orientation(*starts) {
                    if whole {
                        self.doubt.known_from_start();
                    }
                    out.push(Delivery::Verified);
                    return self.open(now);
                }
                let want = want * WIDEN;
                self.orient(want)
            }
            Phase::Seek { .. } | Phase::Read { .. } => {
                self.ended = true;
                self.drained = matches!(self.phase, Phase::Read { .. });
                self.resync()
            }
            Phase::Resync { tail, seen, pass } => match pass {
                Pass::Deliver => self.synced(now, out),
                Pass::Gap => {
                    self.gap(None, out);
                    self.synced(now, out)
                }
                Pass::Find {
                    finder,
                    at,
                    at_seen,
                    oldest,
                } => {
                    let base = finder.is_some_and(|finder| finder.saw_likeness());
                    let alike = base || at.saw_likeness();
                    let (tail, seen, oldest) = (*tail, *seen, *oldest);
                    let at_seen = *at_seen;
                    self.not_found(tail, seen, alike, oldest.filter(|_| at_seen))
                }
                // Part of what was brought is not stored any more.
                Pass::Compare(_) | Pass::CompareAll(_) => {
                    self.doubt.clear();
                    self.synced(now, out)
                }
            },
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
        let worth = |stream: &Stream| match self.tracker.last_of(*stream) {
            Some(last) if last.ends_line || starts[index(*stream)] => WINDOW,
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
            Phase::Seek { .. } | Phase::Read { .. } | Phase::Asking => {
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
            out.push(Delivery::Gap(Gap::possible(Cause::Removed, after, None)));
        }
        next
    }

    fn on_elapsed(&mut self, now: Duration, out: &mut Vec<Delivery>) -> Next {
        match self.phase {
            Phase::Seek { .. } => self.missed(),
            Phase::Read {
                fresh: true, left, ..
            } => {
                if left.is_none() && self.doubt.is_empty() {
                    out.push(Delivery::Verified);
                    return self.open(now);
                }
                self.resync()
            }
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

    fn on_probed(&mut self, last: Option<&Record>, now: Duration, out: &mut Vec<Delivery>) -> Next {
        if let Phase::Read {
            fresh: false, left, ..
        } = self.phase
        {
            let healthy = match (last, self.tracker.anchor()) {
                (Some(last), Some(anchor)) => anchor.is_like(last),
                (None, None) => true,
                _ => false,
            };
            if healthy {
                out.push(Delivery::Verified);
            } else {
                self.enter(
                    Phase::Read {
                        fresh: false,
                        suspect: true,
                        left,
                    },
                    Some(now + STALL),
                );
            }
        }
        Next::More
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
        Next::Snapshot(Tail::Last(want))
    }

    /// Opens a lease that overlaps what was read.
    fn open(&mut self, now: Duration) -> Next {
        (self.ended, self.stopped) = (false, false);
        (self.stalled, self.drained) = (false, false);
        let Some(anchor) = self.tracker.anchor() else {
            // Nothing was stored when last looked at: all there is is new.
            self.read(None, now);
            return Next::Lease(Tail::All);
        };
        let phase = Phase::Seek {
            finder: Finder::new(anchor, false),
            left: self.overlap,
        };
        self.enter(phase, Some(now + self.seek_silence));
        Next::Lease(Tail::Last(self.overlap))
    }

    fn read(&mut self, left: Option<u32>, now: Duration) {
        let left = left.filter(|left| *left > 0);
        let phase = Phase::Read {
            fresh: false,
            suspect: false,
            left,
        };
        let until = now + self.lifetime();
        self.enter(phase, Some(until));
        self.overlap = (self.overlap / 2).max(WINDOW);
        self.seek_silence = SEEK_SILENCE;
    }

    fn lifetime(&mut self) -> Duration {
        self.settings.rotation.mul_f64(0.9 + 0.2 * self.rng.f64())
    }

    /// More was written than the lease overlaps, or the engine is slow.
    fn missed(&mut self) -> Next {
        self.overlap = (self.overlap * WIDEN).min(MAX_OVERLAP);
        self.seek_silence = (self.seek_silence * 2).min(MAX_SEEK_SILENCE);
        self.resync()
    }

    /// Looks at what is stored, from the last verified record on.
    fn resync(&mut self) -> Next {
        if let Phase::Resync { pass, .. } = &mut self.phase
            && let Pass::Compare(walk) = std::mem::replace(pass, Pass::Deliver)
        {
            self.doubt.interrupted(*walk);
        }
        let since = u32::try_from(self.doubt.pending()).unwrap_or(u32::MAX);
        self.find(Tail::Last(WINDOW.saturating_add(since)))
    }

    fn find(&mut self, tail: Tail) -> Next {
        let whole = tail == Tail::All;
        let Some(at) = self.tracker.anchor() else {
            return self.snapshot(Tail::All, Pass::Deliver);
        };
        let base = anchor_of(self.doubt.verified(), Some(at));
        let pass = Pass::Find {
            finder: base.map(|base| Finder::new(base, whole)),
            at: Finder::new(at, whole),
            at_seen: false,
            oldest: None,
        };
        self.snapshot(tail, pass)
    }

    fn snapshot(&mut self, tail: Tail, pass: Pass) -> Next {
        let phase = Phase::Resync {
            tail,
            seen: 0,
            pass,
        };
        self.enter(phase, None);
        Next::Snapshot(tail)
    }

    /// `at_in`: the oldest record of a snapshot that has the last one read.
    fn not_found(&mut self, tail: Tail, seen: u32, alike: bool, at_in: Option<Anchor>) -> Next {
        match tail {
            Tail::Last(want) if seen >= want => {
                // What was brought is in the window; only the skipped is missing.
                let by = if at_in.is_some() { 2 } else { WIDEN };
                self.find(Tail::Last(want.saturating_mul(by)))
            }
            Tail::Last(_) if alike => self.find(Tail::All),
            _ if at_in.is_some() => self.snapshot(Tail::All, Pass::CompareAll(at_in)),
            _ => self.snapshot(Tail::All, Pass::Gap),
        }
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

    fn gap(&mut self, before: Option<i64>, out: &mut Vec<Delivery>) {
        // A line whose beginning is known and whose end is gone.
        flush(&mut self.joiner, self.tracker.anchor(), out);
        let anchor = anchor_of(self.doubt.verified(), self.tracker.anchor());
        let after = anchor.map(|anchor| anchor.time);
        self.tracker = Tracker::default();
        self.doubt.clear();
        let cause = match self.settings.skips {
            // The engine never deletes anything of such a log.
            Skips::Never => Cause::LogTruncated,
            _ if self.stalled => Cause::Stall,
            _ => Cause::RotatedOut,
        };
        out.push(Delivery::Gap(Gap::possible(cause, after, before)));
    }

    fn deliver(&mut self, record: Record, out: &mut Vec<Delivery>) {
        self.stopped = false;
        self.taken += 1;
        self.doubt.count(&record);
        self.tracker.push(&record);
        self.joiner
            .push(record, &mut |entry| out.push(Delivery::Entry(entry)));
    }
}
