//! What of a set of things changed since when.
//!
//! One revision counts for all watchers of a kind. A thing holds the revision of
//! its last change alone, so a watcher that comes late finds the newest state and
//! skips those in between. Of what is gone the last few names are kept.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

/// Names kept of what is gone.
const GONE: usize = 1_024;

/// A thing: its key, the mark whose change is a change, and itself.
pub(crate) type Thing<K, M, V> = (K, M, V);

#[derive(Debug)]
pub(crate) struct Versions<K, M>(Mutex<State<K, M>>);

#[derive(Debug)]
struct State<K, M> {
    revision: u64,
    known: BTreeMap<K, (M, u64)>,
    gone: VecDeque<(K, u64)>,
    /// What was gone up to here is no longer known.
    forgotten: u64,
}

/// What a look shows.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Look<K, V> {
    pub(crate) revision: u64,
    /// Everything; what is known from before is to be forgotten.
    pub(crate) whole: bool,
    pub(crate) changed: Vec<(K, V)>,
    pub(crate) gone: Vec<K>,
}

impl<K: Ord + Clone, M: PartialEq> Default for Versions<K, M> {
    fn default() -> Self {
        Self(Mutex::new(State {
            revision: 1,
            known: BTreeMap::new(),
            gone: VecDeque::new(),
            forgotten: 0,
        }))
    }
}

impl<K: Ord + Clone, M: PartialEq> Versions<K, M> {
    /// Reads the things and says what changed behind revision `since`; all of them
    /// if that is unset, too old, or not of this process.
    pub(crate) fn look<V>(
        &self,
        since: Option<u64>,
        read: impl FnOnce() -> Vec<Thing<K, M, V>>,
    ) -> Look<K, V> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock: an older reading must not follow a newer one.
        let things = state.note(read());
        let since = since.filter(|since| (state.forgotten..=state.revision).contains(since));
        let behind = since.unwrap_or(0);
        let gone = state.gone.iter().filter(|(_, at)| *at > behind);
        let gone = gone.filter(|_| since.is_some()).map(|(key, _)| key.clone());
        let changed = things.into_iter().filter(|(_, at, _)| *at > behind);
        Look {
            revision: state.revision,
            whole: since.is_none(),
            gone: gone.collect(),
            changed: changed.map(|(key, _, thing)| (key, thing)).collect(),
        }
    }
}

impl<K: Ord + Clone, M: PartialEq> State<K, M> {
    /// Stamps what changed; each thing with the revision of its last change.
    fn note<V>(&mut self, things: Vec<Thing<K, M, V>>) -> Vec<(K, u64, V)> {
        let (next, mut before) = (self.revision + 1, std::mem::take(&mut self.known));
        let mut stamped = Vec::with_capacity(things.len());
        for (key, mark, thing) in things {
            let same = before.remove(&key).filter(|(known, _)| *known == mark);
            let at = same.map_or(next, |(_, at)| at);
            self.known.insert(key.clone(), (mark, at));
            stamped.push((key, at, thing));
        }
        let is_new = |(_, at, _): &(K, u64, V)| *at == next;
        if stamped.iter().any(is_new) || !before.is_empty() {
            self.revision = next;
        }
        // What is back is not gone.
        let known = &self.known;
        self.gone.retain(|(key, _)| !known.contains_key(key));
        self.gone.extend(before.into_keys().map(|key| (key, next)));
        while self.gone.len() > GONE {
            let oldest = self.gone.pop_front();
            self.forgotten = oldest.map_or(self.forgotten, |(_, at)| at);
        }
        stamped
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn looked(
        versions: &Versions<u16, u8>,
        since: Option<u64>,
        now: &BTreeMap<u16, u8>,
    ) -> Look<u16, u8> {
        let things = now.iter().map(|(key, mark)| (*key, *mark, *mark));
        versions.look(since, || things.collect())
    }

    fn apply(held: &mut BTreeMap<u16, u8>, look: Look<u16, u8>) -> u64 {
        if look.whole {
            held.clear();
        }
        held.retain(|key, _| !look.gone.contains(key));
        held.extend(look.changed);
        look.revision
    }

    proptest! {
        /// However rarely a watcher looks, it then holds what there is.
        #[test]
        fn whoever_looks_holds_what_there_is(
            steps in prop::collection::vec((0..6_u16, prop::option::of(0..3_u8), 0..4_u8), 1..60),
        ) {
            let (versions, mut now) = (Versions::default(), BTreeMap::new());
            let mut watchers = [(BTreeMap::new(), None), (BTreeMap::new(), None)];
            for (key, mark, who) in steps {
                match mark {
                    Some(mark) => now.insert(key, mark),
                    None => now.remove(&key),
                };
                if let Some((held, since)) = watchers.get_mut(usize::from(who)) {
                    let look = looked(&versions, *since, &now);
                    prop_assert_eq!(look.whole, since.is_none());
                    *since = Some(apply(held, look));
                    prop_assert_eq!(&*held, &now);
                }
            }
        }
    }

    #[test]
    fn a_revision_moves_with_changes_alone_and_an_unknown_one_brings_all() {
        let versions = Versions::default();
        let now = BTreeMap::from([(1, 1), (2, 1)]);
        let first = looked(&versions, None, &now).revision;
        let same = looked(&versions, Some(first), &now);
        assert_eq!(
            (same.revision, same.changed, same.gone),
            (first, vec![], vec![])
        );
        assert!(
            looked(&versions, Some(first + 1), &now).whole,
            "of the future"
        );
        // More are gone than are remembered.
        let many = (0..3_000).map(|key| (key, 1)).collect();
        let then = looked(&versions, Some(first), &many).revision;
        let last = looked(&versions, Some(then), &now);
        assert_eq!((last.whole, last.gone.len()), (true, 0));
    }
}
