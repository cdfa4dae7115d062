//! Deliveries of a machine, packed into units.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::batch::Writer;
use super::unit::{Content, UNIT_BYTES, Unit};
use crate::docker::{Container, ContainerId, Inventory};
use crate::tail::{Cursor, Delivery, Entry, GapCause, Place, Position};

/// Notices of one kind come at least so long apart.
const NOTICE_PAUSE: Duration = Duration::from_secs(1);

/// A cursor as text. `engine`: its tag; `issued`: up to when whoever gives it out
/// knows every container.
pub(crate) fn cursor(engine: u64, container: ContainerId, issued: i64, place: Place) -> String {
    Cursor {
        engine,
        container,
        issued,
        place,
    }
    .encode()
}

/// Up to when containers are known to whoever gets what is packed.
#[derive(Debug, Clone)]
pub(crate) enum Issue {
    /// As long as they are told of new ones: up to the last list.
    Listed(watch::Receiver<Arc<Inventory>>),
    /// Up to when their subscription was opened.
    At(i64),
}

impl Issue {
    fn instant(&self) -> i64 {
        match self {
            Issue::Listed(inventory) => inventory.borrow().listed,
            Issue::At(instant) => *instant,
        }
    }
}

/// Collects deliveries until they make a unit.
#[derive(Debug)]
pub(crate) struct Packer {
    container: ContainerId,
    /// Tag of the engine, for cursors.
    engine: u64,
    issue: Issue,
    cause: GapCause,
    /// When the engine was asked for what comes in, ns since the Unix epoch.
    asked: i64,
    entries: Writer,
    /// Whether all of them stand before `at`.
    is_told: bool,
    /// What the entries stand before, if they are late.
    late: Option<u64>,
    units: Vec<Unit>,
    /// The machine's position as last told.
    at: Position,
    /// Stamps of each stream's last line in file order.
    stamps: [Option<i64>; 3],
    /// One of them went back, and that is to be told.
    stepped: bool,
    /// When it was told last that the clock was set, and a lease replaced.
    told_step: Option<Instant>,
    told_lease: Option<Instant>,
}

impl Packer {
    /// `engine`: its tag in cursors. `cause`: what deletion before this read means.
    pub(crate) fn new(container: &Container, engine: u64, issue: Issue, cause: GapCause) -> Self {
        let mut packer = Self {
            container: container.id,
            engine,
            issue,
            cause,
            asked: 0,
            entries: Writer::default(),
            is_told: true,
            late: None,
            units: Vec::new(),
            at: Position::default(),
            stamps: [None; 3],
            stepped: false,
            told_step: None,
            told_lease: None,
        };
        packer.label(container);
        packer
    }

    /// What the container is called from here on. Told between events.
    pub(crate) fn label(&mut self, container: &Container) {
        // What waits for others bears the name that it came under.
        self.close(self.at);
        self.entries
            .label(&container.id.to_string(), &container.name);
    }

    /// Takes what one event brought; `after` is the machine's position then.
    pub(crate) fn push(&mut self, deliveries: &mut Vec<Delivery>, after: Position) {
        // By reference: lines cost as much to be moved as to be written.
        for delivery in &*deliveries {
            match delivery {
                Delivery::Entry(entry) => self.entry(entry, None),
                Delivery::Late(entry, place) => self.entry(entry, Some(*place)),
                // What is left behind a gap came with the same event, and is
                // not read by whoever resumes at its end.
                Delivery::Gap(gap) => {
                    let mut gap = gap.clone();
                    if gap.cause == GapCause::RotatedOut {
                        gap.cause = self.cause;
                    }
                    self.content(Content::Gap(gap), self.at);
                }
                Delivery::Verified => self.verified(after),
                Delivery::Replaced => {
                    if is_due(&mut self.told_lease) {
                        self.content(Content::LeaseReplaced, after);
                    }
                }
                Delivery::At(position) => self.reached(**position),
            }
        }
        deliveries.clear();
        self.reached(after);
    }

    /// The engine is being asked, now.
    pub(crate) fn asked_at(&mut self, now: i64) {
        self.asked = now;
    }

    /// All that was stored when the engine was last asked is among what came.
    pub(crate) fn verified(&mut self, after: Position) {
        self.content(Content::Verified(self.asked), after);
    }

    /// A line behind those so far, before the position that is told next.
    #[inline]
    pub(crate) fn entry<L: AsRef<[u8]>>(&mut self, entry: &Entry<L>, late: Option<u64>) {
        if self.late != late {
            self.close(self.at);
            self.late = late;
        }
        if late.is_none() {
            // Docker stamps a stream's lines one after the other.
            let last = self.stamps[entry.stream as usize].replace(entry.time);
            self.stepped |= last.is_some_and(|last| entry.time < last);
        }
        if entry.line.as_ref().len() >= UNIT_BYTES && self.is_told {
            self.close(self.at);
        }
        self.entries.push(entry, late.is_some());
        self.is_told = false;
    }

    /// Whether lines wait for their position.
    pub(crate) fn is_behind(&self) -> bool {
        !self.is_told
    }

    fn reached(&mut self, position: Position) {
        self.at = position;
        self.is_told = true;
        if std::mem::take(&mut self.stepped) && is_due(&mut self.told_step) {
            self.content(Content::ClockStep, position);
        } else if self.entries.len() >= UNIT_BYTES {
            self.close(position);
        }
    }

    /// Adds what is not an entry, behind the entries so far.
    pub(crate) fn content(&mut self, content: Content, after: Position) {
        self.close(after);
        self.units.push(Unit { content, after });
    }

    /// Everything so far; `after` is the machine's position now.
    pub(crate) fn take(&mut self, after: Position) -> Vec<Unit> {
        self.close(after);
        std::mem::take(&mut self.units)
    }

    /// Whether a whole unit is ready.
    pub(crate) fn is_full(&self) -> bool {
        !self.units.is_empty()
    }

    fn close(&mut self, after: Position) {
        if !self.entries.is_empty() {
            let issued = self.issue.instant();
            let cursor = cursor(self.engine, self.container, issued, Place::At(after));
            let entries = self.entries.finish(&cursor);
            let content = match self.late {
                Some(place) => Content::Late(entries, place),
                None => Content::Entries(entries),
            };
            self.units.push(Unit { content, after });
        }
    }
}

/// Whether a notice may come again, now.
fn is_due(last: &mut Option<Instant>) -> bool {
    let now = Instant::now();
    let due = last.is_none_or(|last| now.duration_since(last) >= NOTICE_PAUSE);
    if due {
        *last = Some(now);
    }
    due
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::docker::Stream;

    fn line(stream: Stream, time: i64) -> Delivery {
        Delivery::Entry(Entry {
            stream,
            time,
            ordinal: 0,
            line: "x".into(),
            unterminated: false,
            truncated_bytes: 0,
        })
    }

    fn packer() -> (Container, Packer) {
        let web = serde_json::json!({"Id": "a".repeat(64), "Name": "/web"});
        let web = Container::of_inspect(serde_json::from_value(web).unwrap()).unwrap();
        let packer = Packer::new(&web, 0, Issue::At(0), GapCause::RotatedOut);
        (web, packer)
    }

    fn steps(lines: impl IntoIterator<Item = Delivery>) -> usize {
        let (_, mut packer) = packer();
        for line in lines {
            packer.push(&mut vec![line], Position::default());
        }
        let units = packer.take(Position::default());
        let is_step = |unit: &&Unit| unit.content == Content::ClockStep;
        units.iter().filter(is_step).count()
    }

    #[test]
    fn a_stream_that_goes_back_in_time_is_told_once_a_moment() {
        let back = [9, 5, 4, 3].map(|time| line(Stream::Stdout, time));
        assert_eq!(steps(back), 1);
    }

    #[test]
    fn streams_that_cross_and_late_lines_are_no_step() {
        let crossing = [
            line(Stream::Stdout, 9),
            line(Stream::Stderr, 5),
            line(Stream::Stdout, 10),
        ];
        assert_eq!(steps(crossing), 0);
        let Delivery::Entry(late) = line(Stream::Stdout, 3) else {
            unreachable!("it is an entry");
        };
        let late = [line(Stream::Stdout, 9), Delivery::Late(late, 1)];
        assert_eq!(steps(late), 0);
    }

    #[test]
    fn what_waits_as_a_container_is_renamed_bears_its_old_name() {
        let (mut web, mut packer) = packer();
        packer.push(&mut vec![line(Stream::Stdout, 1)], Position::default());
        web.name = "db".to_owned();
        packer.label(&web);
        packer.push(&mut vec![line(Stream::Stdout, 2)], Position::default());
        let units = packer.take(Position::default());
        let names = units.iter().map(|unit| match &unit.content {
            Content::Entries(batch) => batch.framed().windows(2).any(|two| two == b"db"),
            other => panic!("{other:?}"),
        });
        assert_eq!(names.collect::<Vec<_>>(), [false, true]);
    }
}
