//! Evidence that the engine does its part.

/// Evidence of progress with the engine. It can be made nowhere but beside what
/// reads the engine's answers, so no task can look alive by itself: it stands for
/// whole records, a complete list, an event or an answer.
#[derive(Debug)]
pub struct Verified(());

impl Verified {
    /// To be called where such an answer was just read to its end.
    pub(super) fn seen() -> Self {
        Self(())
    }
}
