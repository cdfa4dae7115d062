//! What was told of a container's runs, and what is left to tell whoever missed
//! some of it.

use super::unit::{Change, Content};

/// Why a log will bring nothing more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// The engine removed the container.
    Removed,
    /// The container's log driver cannot be read; the engine's words.
    Unreadable(String),
}

/// What was told so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Lifecycle {
    /// Whether the container runs.
    pub(crate) running: bool,
    /// Whether nothing more will come before it runs again.
    pub(crate) settled: bool,
    /// Beginnings and ends of runs, and the last of them.
    changes: u64,
    last: Option<Change>,
}

impl Lifecycle {
    /// Of a container of which nothing was told yet.
    pub(crate) fn of(running: bool) -> Self {
        Self {
            running,
            ..Self::default()
        }
    }

    pub(crate) fn note(&mut self, content: &Content) {
        match content {
            Content::Changed(change) => {
                self.running = change.is_start();
                self.settled &= !self.running;
                self.changes += 1;
                self.last = Some(*change);
            }
            Content::Settled => self.settled = true,
            _ => {}
        }
    }

    /// The same for whom nothing was told of but whether the container runs.
    pub(crate) fn told(self, running: bool) -> Self {
        Self {
            running,
            settled: false,
            ..self
        }
    }

    /// What leads from here to `now`: the last change, and one before it of which
    /// nothing is known any more where it needs that.
    pub(crate) fn missed(&self, now: &Self) -> Vec<Content> {
        let mut missed = Vec::new();
        let has_changed = now.changes > self.changes;
        if !has_changed && now.running != self.running {
            let known = now.last.filter(|last| last.is_start() == now.running);
            missed.push(Content::Changed(known.unwrap_or(match now.running {
                true => Change::Started(None),
                false => Change::Exited(None, None),
            })));
        }
        if let Some(last) = now.last.filter(|_| has_changed) {
            if last.is_start() == self.running {
                let between = match last {
                    Change::Started(_) => Change::Exited(None, None),
                    Change::Exited(..) => Change::Started(None),
                };
                missed.push(Content::Changed(between));
            }
            missed.push(Content::Changed(last));
        }
        let rests_again = has_changed || !self.settled;
        missed.extend((now.settled && rests_again).then_some(Content::Settled));
        missed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STARTED: Content = Content::Changed(Change::Started(Some(1)));
    const EXITED: Content = Content::Changed(Change::Exited(Some(2), Some(0)));

    fn after(contents: &[Content]) -> Lifecycle {
        let mut lifecycle = Lifecycle::of(true);
        contents.iter().for_each(|content| lifecycle.note(content));
        lifecycle
    }

    #[test]
    fn what_was_missed_leads_to_what_is() {
        let here = after(&[]);
        assert_eq!(here.missed(&here), []);
        let exited = after(&[EXITED, Content::Settled]);
        assert_eq!(here.missed(&exited), [EXITED, Content::Settled]);
        assert_eq!(exited.missed(&exited), []);
        let unknown = Content::Changed(Change::Exited(None, None));
        let again = after(&[EXITED, Content::Settled, STARTED]);
        assert_eq!(here.missed(&again), [unknown, STARTED]);
        assert_eq!(exited.missed(&again), [STARTED]);
        let unknown = Content::Changed(Change::Started(None));
        let over = after(&[EXITED, Content::Settled, STARTED, EXITED, Content::Settled]);
        assert_eq!(exited.missed(&over), [unknown, EXITED, Content::Settled]);
    }

    #[test]
    fn who_was_told_otherwise_as_it_joined_is_told_what_is() {
        let exited = after(&[EXITED, Content::Settled]);
        let running = after(&[EXITED, STARTED]);
        assert_eq!(
            exited.told(true).missed(&exited),
            [EXITED, Content::Settled]
        );
        assert_eq!(exited.told(false).missed(&exited), [Content::Settled]);
        assert_eq!(running.told(false).missed(&running), [STARTED]);
        assert_eq!(running.told(true).missed(&running), []);
        let unknown = Content::Changed(Change::Exited(None, None));
        let stopped = Lifecycle::of(false);
        assert_eq!(stopped.told(true).missed(&stopped), [unknown]);
    }
}
