//! A page of a log, read backwards from an edge.
//!
//! The engine counts from a log's end only, so a page is looked for in windows:
//! the last N records, N wide enough to reach from the end over the page. What a
//! page is bounded by is a place in file order, so later pages are the same
//! whatever is stored meanwhile.

mod window;

use super::anchor::{Anchor, Finder};
use super::filter::{Filter, Levels};
use super::line::{Dialect, Entry, Joiner, OpenLines};
use super::{Event, Next, Position};
use crate::docker::{Record, Stream, Tail};
use window::{Start, Window};

/// Records read beyond the page: the line before it, which shows that there is
/// one, and what was stored since its edge was given out.
const SLACK: u32 = 32;
/// The least that is read for a first page, however few entries it shall have: a
/// line that is open at the log's end is known from its parts, and its stream may
/// have been silent since.
const LEAST: u32 = 64;
/// A window that was too small is followed by one this many times as large.
const GROW: u32 = 4;
/// Records that a page searches at most, or as many as lie behind it if those are
/// more: so a search costs no more than twice the page's distance from the end,
/// and going on with it page by page costs the same as in one go.
const SEARCH: u32 = 16 * 1024;
/// The end of a run in place of a stream's next record.
const RUN_ENDED: i64 = i64::MAX;
/// A window from here on is the whole log.
const WHOLE: u32 = 1 << 30;

/// A place between two entries of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edge {
    /// The last record before it.
    pub anchor: Anchor,
    /// Streams whose line is open at the anchor and ended there without `\n`, per
    /// slot of [`OpenLines`]: the end of a run, which is no record.
    pub ended: [bool; 3],
}

/// An edge, and what makes it quick to find. Both counts are hints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Border {
    /// Where.
    pub edge: Edge,
    /// Records behind it when it was read.
    pub distance: u32,
    /// Records that the page behind it took.
    pub width: u32,
    /// Per stream, the stamp of the oldest record read behind it, if that may have
    /// ended a line which no page has: then one that is open here with another
    /// stamp is over. The largest: there is no record behind it.
    pub next: OpenLines,
}

/// Which entries a page is made of.
#[derive(Debug, Clone)]
pub struct Query {
    /// Most entries.
    pub size: usize,
    /// Most bytes; an entry larger than this is a page of its own.
    pub bytes: usize,
    /// Begins at the first entry, in file order, stamped at or after this.
    pub since: Option<i64>,
    /// Leaves out entries stamped after this.
    pub until: Option<i64>,
    /// Streams to take; empty: all.
    pub streams: Vec<Stream>,
    /// What the lines must say; `None`: anything.
    pub filter: Option<Filter>,
    /// Whether the container is known to have stopped.
    pub stopped: bool,
}

impl Query {
    fn wants(&self, stream: Stream) -> bool {
        self.streams.is_empty() || self.streams.contains(&stream)
    }

    /// `levels`: of the lines before it in the window.
    fn passes(&self, entry: &Entry, levels: &mut Levels) -> bool {
        let says = |filter: &Filter| filter.passes(entry.stream, &entry.line, levels);
        self.wants(entry.stream)
            && self.filter.as_ref().is_none_or(says)
            && self.until.is_none_or(|until| entry.time <= until)
    }
}

/// A page.
#[derive(Debug)]
pub struct Page {
    /// In file order.
    pub entries: Vec<Entry>,
    /// Where the page before it ends; `None`: there is none.
    pub older: Option<Border>,
    /// Behind all that the page has read.
    pub position: Position,
    /// The edge it was to end at is not in the log any more.
    pub lost: bool,
}

/// The machine that reads one page. Events are those of a snapshot, and whether
/// the container runs when [`Next::Ask`] asks for it.
#[derive(Debug)]
pub struct Paging {
    query: Query,
    /// Where the page ends; `None`: at the log's end.
    upper: Option<Border>,
    max_line: usize,
    dialect: Dialect,
    window: Window,
    /// The lines that are over, once it is known whether the container runs.
    asked: Option<OpenLines>,
    page: Option<Page>,
}

impl Paging {
    /// A machine for the page that ends at `upper`, or at the log's end, and its
    /// first request.
    pub fn new(
        query: Query,
        upper: Option<Border>,
        max_line: usize,
        dialect: Dialect,
    ) -> (Self, Next) {
        let size = u32::try_from(query.size).unwrap_or(u32::MAX);
        let first = match upper {
            // As many records as the page behind it took, and a bit.
            Some(border) => border
                .distance
                .saturating_add(border.width)
                .saturating_add(border.width / 4),
            None => size.max(LEAST),
        };
        let joiner = Joiner::new(max_line, dialect);
        let mut paging = Self {
            window: Window::new(Tail::All, None, joiner, dialect),
            query,
            upper,
            max_line,
            dialect,
            asked: None,
            page: None,
        };
        let next = paging.read(last(first.saturating_add(SLACK)));
        (paging, next)
    }

    /// Takes an event.
    pub fn on(&mut self, event: Event) -> Next {
        match event {
            Event::Record(record) => self.on_record(record),
            Event::End => self.on_end(),
            Event::Broken => self.read(self.window.tail),
            Event::Silent => self.read(Tail::All),
            Event::Running => self.answered(OpenLines::default()),
            // What was written until it stopped is read again, and then is over.
            Event::Stopped => self.answered(self.window.open_lines()),
            _ => Next::More,
        }
    }

    /// The page, once [`Next::Done`] was answered.
    pub fn page(self) -> Option<Page> {
        self.page
    }

    fn read(&mut self, tail: Tail) -> Next {
        let whole = tail == Tail::All;
        let target = self
            .upper
            .map(|b| Finder::new(b.edge.anchor, whole).among(self.dialect));
        let joiner = Joiner::new(self.max_line, self.dialect);
        self.window = Window::new(tail, target, joiner, self.dialect);
        Next::Snapshot(tail)
    }

    fn answered(&mut self, over: OpenLines) -> Next {
        self.asked = Some(over);
        if over != OpenLines::default() {
            return self.read(self.window.tail);
        }
        match self.outcome() {
            Some(start) => self.deliver(start),
            None => self.widen(),
        }
    }

    fn on_record(&mut self, record: Record) -> Next {
        let is_last = self.window.take(record, &self.query);
        let Some(border) = self.upper.filter(|_| is_last) else {
            return Next::More;
        };
        self.end_lines(border.edge.ended, border.next);
        match (self.window.tail, self.outcome()) {
            (Tail::Last(_), Some(start)) => self.deliver(start),
            // What is behind it still tells how large the window is.
            _ => Next::More,
        }
    }

    fn on_end(&mut self) -> Next {
        self.window.close();
        if self.upper.is_none() {
            let over = self.asked.unwrap_or_default();
            let now = self.window.open_lines();
            // A run that began meanwhile goes on with lines of its own.
            let ended = [0, 1, 2].map(|slot| now[slot].is_some() && now[slot] == over[slot]);
            self.end_lines(ended, OpenLines::default());
        } else if !self.window.is_over {
            return match (self.window.is_whole, self.window.tail) {
                (_, Tail::All) => self.lost(),
                (true, _) => self.read(Tail::All),
                (false, Tail::Last(want)) => self.read(last(want.saturating_mul(GROW))),
            };
        }
        match (self.outcome(), self.window.tail) {
            (None, Tail::Last(want)) if self.window.is_short() => {
                self.read(last(want.saturating_mul(2)))
            }
            (None, _) => self.widen(),
            (Some(_), _) if self.is_unanswered() => Next::Ask,
            (Some(start), _) => self.deliver(start),
        }
    }

    /// Ends the lines that are over at the page's end.
    fn end_lines(&mut self, ended: [bool; 3], next: OpenLines) {
        let open = self.window.open_lines();
        // A later record may be the next part of a line where stamps are loose.
        let tells = |next: i64| next == RUN_ENDED || !self.dialect.stamps_are_loose;
        let is_over = |slot: usize| {
            let both = open[slot].zip(next[slot]);
            both.is_some_and(|(open, next)| open != next && tells(next))
        };
        let ended = [0, 1, 2].map(|slot| ended[slot] || is_over(slot));
        self.window.end_lines(ended, &self.query);
    }

    /// What was read of each stream, for a page that ends where this one begins:
    /// the window does not show what its first record of a stream met.
    fn next(&self, begins: u32) -> OpenLines {
        let stopped = match self.asked {
            Some(over) => over != OpenLines::default(),
            None => self.query.stopped,
        };
        let behind = match self.upper {
            Some(border) => border.next,
            // A line that a running container has not ended is on no page.
            None => [stopped.then_some(RUN_ENDED); 3],
        };
        [0, 1, 2].map(|slot| match self.window.first[slot] {
            None => behind[slot],
            Some((index, time)) => (index > begins).then_some(time),
        })
    }

    /// Whether the page ends with a line that may be over: only the container's
    /// state tells.
    fn is_unanswered(&self) -> bool {
        let open = self.window.open_lines() != OpenLines::default();
        self.upper.is_none() && self.asked.is_none() && open
    }

    /// Where the page begins, if the window shows that.
    fn outcome(&self) -> Option<Start> {
        // A cursor is made of the log's last record: its place must be known.
        let known = self.upper.is_some() || self.window.is_placed() || self.window.is_whole;
        let bound = SEARCH.max(self.window.behind());
        known.then(|| self.window.start(bound, self.query.since.is_some()))?
    }

    /// The page's end is in the window, its beginning is not.
    fn widen(&mut self) -> Next {
        let (behind, searched) = (self.window.behind(), self.window.index);
        let size = u32::try_from(self.query.size).unwrap_or(u32::MAX);
        let bound = SEARCH.max(behind);
        let more = searched.saturating_mul(GROW).max(size).max(SLACK);
        // At the bound, what cannot be delivered is a line that began before it.
        let more = match searched < bound {
            true => more.min(bound.max(searched.saturating_add(SLACK))),
            false => more,
        };
        self.read(last(behind.saturating_add(more)))
    }

    fn deliver(&mut self, start: Start) -> Next {
        let next = start.older.map(|end| self.next(end.index));
        let window = &mut self.window;
        let (behind, index) = (window.behind(), window.index);
        let older = start.older.map(|end| Border {
            edge: end.edge,
            distance: behind.saturating_add(index - end.index),
            width: index - end.index,
            next: next.unwrap_or_default(),
        });
        self.page = Some(Page {
            entries: window.entries_from(start.from),
            older,
            position: match self.upper {
                Some(border) => Position {
                    anchor: Some(border.edge.anchor),
                    ..window.position()
                },
                None => window.position(),
            },
            lost: false,
        });
        Next::Done
    }

    fn lost(&mut self) -> Next {
        let anchor = self.upper.map(|border| border.edge.anchor);
        self.page = Some(Page {
            entries: Vec::new(),
            older: None,
            position: Position {
                anchor,
                ..Position::default()
            },
            lost: true,
        });
        Next::Done
    }
}

fn last(records: u32) -> Tail {
    match records < WHOLE {
        true => Tail::Last(records),
        false => Tail::All,
    }
}
