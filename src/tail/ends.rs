//! Whether a read brought all that is stored, up to the log's end.
//!
//! A record that the engine cannot decode hides others behind it in its file from
//! every read that begins before it, and the read says nothing of it. But a tail of
//! N records counts it and what it hides: a read that brings N hides nothing. One
//! that brings fewer is the whole log, or hides something. So as many as it brought
//! are asked for: if these are the same ones, that was the whole log.

use super::doubt::id;
use super::{MAX_ORIENTATION, WINDOW};
use crate::docker::{Record, Tail};

/// First records of a read that are remembered: as many may be stored between it
/// and the next.
const HEAD: usize = 64;

/// What a read brought.
#[derive(Debug, Clone, Default)]
pub(crate) struct Brought {
    /// `None`: all that was stored was asked for.
    want: Option<u32>,
    seen: u32,
    head: Vec<u64>,
    end: Option<Record>,
}

impl Brought {
    pub(crate) fn by(tail: Tail) -> Self {
        let want = match tail {
            Tail::Last(want) => Some(want),
            Tail::All => None,
        };
        Self {
            want,
            ..Self::default()
        }
    }

    pub(crate) fn take(&mut self, record: &Record) {
        self.seen = self.seen.saturating_add(1);
        if self.head.len() < HEAD {
            self.head.push(id(record));
        }
        self.end = Some(record.clone());
    }

    /// Whether it brought as many records as it was asked for.
    pub(crate) fn is_full(&self) -> bool {
        self.want.is_some_and(|want| self.seen >= want)
    }

    pub(crate) fn seen(&self) -> u32 {
        self.seen
    }

    /// What tells its first record from others.
    pub(crate) fn first(&self) -> Option<u64> {
        self.head.first().copied()
    }

    /// How many records stand behind the one that cannot be decoded, if there is one
    /// and nothing was stored since; 0: nothing is known of that.
    pub(crate) fn hidden(&self) -> u32 {
        let left = self.want.map_or(0, |want| want.saturating_sub(self.seen));
        left.saturating_sub(1)
    }
}

/// A read of as many records as another has brought.
#[derive(Debug, Clone)]
pub(crate) struct Proof {
    of: Brought,
    want: u32,
    seen: u32,
    first: Option<u64>,
    /// How many came up to the other's last one.
    end_at: Option<u32>,
}

impl Proof {
    pub(crate) fn new(of: Brought) -> (Self, Tail) {
        // Of a large one its end must do.
        let want = match of.seen {
            MAX_ORIENTATION.. => WINDOW,
            seen => seen.max(1),
        };
        let proof = Self {
            of,
            want,
            seen: 0,
            first: None,
            end_at: None,
        };
        (proof, Tail::Last(want))
    }

    pub(crate) fn take(&mut self, record: &Record) {
        self.seen = self.seen.saturating_add(1);
        self.first.get_or_insert_with(|| id(record));
        if self.of.end.as_ref() == Some(record) {
            self.end_at = Some(self.seen);
        }
    }

    /// How many records were stored since the other read; `None`: that one may have
    /// hidden some, or too many were.
    pub(crate) fn stored_since(&self) -> Option<u32> {
        if self.of.seen == 0 {
            return (self.seen == 0).then_some(0);
        }
        let since = self.want.checked_sub(self.end_at?)?;
        let is_shifted = || self.first.as_ref() == self.of.head.get(since as usize);
        let is_same = self.want < self.of.seen || is_shifted();
        (self.seen == self.want && is_same).then_some(since)
    }

    pub(crate) fn want(&self) -> u32 {
        self.want
    }

    /// What it is held against.
    pub(crate) fn of(&self) -> &Brought {
        &self.of
    }
}
