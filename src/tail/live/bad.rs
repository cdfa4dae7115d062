//! What a live reader knows of records that the engine cannot decode.

use super::super::anchor::Anchor;
use super::super::ends::Brought;
use super::super::windows::Windows;
use crate::docker::Record;

/// What is known of bad records.
#[derive(Debug, Default)]
pub(super) struct Bad {
    /// By the snapshot at hand.
    pub(super) brought: Brought,
    /// So many records up to the last one read come in full.
    pub(super) reach: u32,
    /// The one before them may be one that cannot be decoded.
    pub(super) is_near: bool,
    /// The one behind the last one read cannot be decoded, and nothing is stored
    /// behind it yet.
    pub(super) hole: bool,
    /// Where the log was joined, if all from there on is known.
    pub(super) joined_at: Option<Anchor>,
    /// It was joined by reading the whole of it.
    pub(super) is_whole: bool,
    /// What was read last, and how many records were, before a snapshot that may have
    /// left some out.
    pub(super) before: Option<(Anchor, u64)>,
    /// That one was brought again.
    pub(super) is_covered: bool,
    pub(super) rounds: u32,
    /// The largest number that the last one found.
    pub(super) believed: u32,
    pub(super) windows: Windows,
    /// The first record of the largest of them.
    pub(super) first: Option<u64>,
    /// The largest number of last records that come in full.
    pub(super) most: Option<u32>,
}

impl Bad {
    /// A window that came in full ended here.
    pub(super) fn orients(&mut self, at: Option<Anchor>) {
        self.joined_at = at;
    }

    pub(super) fn is_oriented_at(&self, at: Option<Anchor>) -> bool {
        at.is_some() && self.joined_at == at
    }

    /// `overlap` last records, or fewer, so that no bad one is known among them; and
    /// `least` if they are known not to be.
    pub(super) fn within(&self, overlap: u32, least: u32) -> u32 {
        match self.is_near {
            true => overlap.max(least).min(self.reach.max(1)),
            false => overlap.min(self.reach).max(least),
        }
    }

    /// Nothing is read of what is stored.
    pub(super) fn forget(&mut self) {
        *self = Self {
            brought: std::mem::take(&mut self.brought),
            ..Self::default()
        };
    }

    /// Another look at what is stored.
    pub(super) fn begin(&mut self) {
        (self.most, self.rounds, self.believed) = (None, 0, 0);
    }

    /// A record on the way to the last one read.
    pub(super) fn pass_over(&mut self, record: &Record) {
        let is_it = |(before, _): (Anchor, u64)| before.is_like(record);
        self.is_covered |= self.before.is_some_and(is_it);
    }

    /// Whether nothing can be read behind the last record read, although the log goes
    /// on.
    pub(super) fn has_hole(&self) -> bool {
        self.hole
    }
}
