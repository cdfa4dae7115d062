//! What the gaps that a live reader tells of have to be.

use super::driver::{Driver, Reading, Segment, WORDS};
use crate::tail::{Gap, GapCause, Position};

impl Driver {
    /// A gap is told only of an anchor that is not retained whole.
    pub(super) fn gap(&mut self, gap: &Gap, before: Position) {
        // What the engine says counts until another lease is opened.
        let words = self.reported.then(|| WORDS.to_owned());
        assert_eq!(gap.words, words);
        assert_eq!(gap.cause == GapCause::EngineError, self.reported);
        self.paths.reported += u64::from(self.reported);
        let Reading::Snapshot { base: start, .. } = self.reading else {
            panic!("a gap outside a snapshot");
        };
        self.paths.gaps += 1;
        let at = self.at(before);
        // Before the first record is known, nothing proves that it is retained.
        if let Some(at) = at {
            let first = self.log.first_of(at);
            assert!(
                first < start,
                "a gap at {at} ({first}), but all from {start} on is retained"
            );
        }
        let segment = self.segments.last_mut().expect("oriented");
        segment.end = Some(at.map_or(segment.start, |at| at + 1));
        self.segments.push(Segment {
            start,
            wanted: start,
            end: None,
        });
    }
}
