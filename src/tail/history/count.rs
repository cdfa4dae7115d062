//! The last lines of a log: counted in a window, then handed on.

use super::super::anchor::Finder;
use super::super::{Delivery, Next, WIDEN};
use super::pass::{HELD_BYTES, Stage};
use super::{From, History, SLACK};
use crate::docker::Tail;

impl History {
    /// A window was counted to its end: it holds the lines asked for, or is widened.
    pub(super) fn counted_to_end(&mut self, whole: bool, out: &mut Vec<Delivery>) -> Next {
        let (From::Lines(wanted), Stage::Count { lines, .. }) = (self.from, &self.pass.stage)
        else {
            return Next::Done;
        };
        if !whole && self.pass.target.is_some() && !self.pass.past_target {
            // The target is further back than the window, or gone.
            return self.widen(false);
        }
        if whole || self.pass.holds(wanted) {
            return self.counted(whole, out);
        }
        if let Tail::Last(want) = self.pass.tail
            && self.pass.seen < want
        {
            // It may be all there is: one twice as wide tells.
            return self.count(Tail::Last(want.saturating_mul(2)));
        }
        let (seen, lines) = (self.pass.seen, u32::try_from(*lines).unwrap_or(u32::MAX));
        let missing = wanted.saturating_sub(lines).saturating_add(1);
        let more = missing.saturating_mul(seen / lines.max(1) + 1);
        // What was read says little of what is before it: no crawl and no leap.
        let most = seen.saturating_mul(WIDEN - 1);
        let want = seen.saturating_add(more.clamp(seen / 2, most).saturating_add(SLACK));
        self.count(Tail::Last(want))
    }

    /// The window holds the lines asked for: those held go out, others are read
    /// again from a record whose place is known.
    pub(super) fn counted(&mut self, whole: bool, out: &mut Vec<Delivery>) -> Next {
        let (
            From::Lines(wanted),
            Stage::Count {
                first,
                proven,
                lines,
                held,
                ends,
                bytes,
                ..
            },
        ) = (self.from, &mut self.pass.stage)
        else {
            return Next::Done;
        };
        let wanted = u64::from(wanted);
        if *bytes <= HELD_BYTES {
            let skip = usize::try_from(lines.saturating_sub(wanted)).unwrap_or(usize::MAX);
            let last_skipped = skip.checked_sub(1).and_then(|last| ends.get(last));
            self.start = Some(last_skipped.copied().unwrap_or_default());
            for (entry, end) in held.drain(..).zip(ends.drain(..)).skip(skip) {
                out.extend([Delivery::Entry(entry), Delivery::At(Box::new(end))]);
            }
            self.pass.stage = Stage::Deliver;
            return Next::Done;
        }
        // The target may be far from the end, so what was seen is no measure.
        let window = match self.pass.tail {
            Tail::Last(want) => Tail::Last(want.saturating_mul(2)),
            Tail::All => Tail::All,
        };
        let lines = *lines;
        let from_proven = proven.filter(|(_, before)| lines - before >= wanted);
        let (tail, finder, before) = match (from_proven, *first) {
            (Some((anchor, before)), _) => {
                let finder = Finder::new(anchor, window == Tail::All);
                (window, finder.among(self.dialect), before)
            }
            (None, Some(first)) if whole => (Tail::All, Finder::new(first, true), 0),
            _ => return self.count(window),
        };
        let skip = (lines - before).saturating_sub(wanted);
        self.read(tail, Stage::Recount { finder, skip })
    }
}
