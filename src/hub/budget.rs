//! The memory of all rings together.
//!
//! A ring may grow to its own bound while there is room. When all together pass
//! theirs, the largest gives up its oldest units first: a busy log pays for what
//! it holds, quiet ones keep theirs.

use std::sync::{Arc, PoisonError, Weak};

use super::log::Log;
use crate::supervisor::sync::Mutex;
use crate::supervisor::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of all rings together.
pub(crate) const ALL_RINGS_BYTES: usize = 64 * 1024 * 1024;
/// What is freed at least, as a part of the largest ring: looking for it costs.
const PART: usize = 8;

#[derive(Debug)]
pub(crate) struct Budget {
    limit: usize,
    used: AtomicUsize,
    rings: Mutex<Vec<Weak<Log>>>,
}

impl Budget {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            used: AtomicUsize::new(0),
            rings: Mutex::default(),
        }
    }

    /// Bytes of all rings.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, log: &Arc<Log>) {
        let mut rings = self.rings.lock().unwrap_or_else(PoisonError::into_inner);
        rings.retain(|ring| ring.strong_count() > 0);
        rings.push(Arc::downgrade(log));
    }

    pub(crate) fn take(&self, bytes: usize) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Frees what is used beyond the limit. No ring may be locked meanwhile.
    pub(crate) fn enforce(&self) {
        while self.used() > self.limit {
            let largest = {
                let rings = self.rings.lock().unwrap_or_else(PoisonError::into_inner);
                let rings = rings.iter().filter_map(Weak::upgrade);
                rings.max_by_key(|ring| ring.bytes())
            };
            let Some(largest) = largest else {
                return;
            };
            let beyond = self.used().saturating_sub(self.limit);
            let freed = largest.evict(beyond.min(largest.bytes() / 2).max(largest.bytes() / PART));
            if freed == 0 {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::log::Read;
    use crate::hub::unit::tests::batch_of;
    use crate::supervisor::Permit;
    use crate::tail::Position;

    const LIMIT: usize = 100_000;

    fn publish(log: &Arc<Log>, units: usize) {
        for _ in 0..units {
            log.publish(
                &Permit::granted(1),
                vec![batch_of(1_000)],
                Position::default(),
                0,
            );
        }
    }

    #[test]
    fn the_largest_ring_makes_room_and_quiet_ones_keep_theirs() {
        let budget = Arc::new(Budget::new(LIMIT));
        let [quiet, busy, loud] = [(); 3].map(|()| Log::new(usize::MAX, &budget));
        publish(&quiet, 3);
        for _ in 0..1_000 {
            publish(&busy, 1);
            publish(&loud, 2);
            assert!(budget.used() <= LIMIT);
        }
        assert!(budget.used() > LIMIT / 2, "more was freed than needed");
        assert!(matches!(quiet.read(0), Read::Units(units) if units.len() == 3));
        for log in [&busy, &loud] {
            let newest = log.head().unwrap().seq - 1;
            assert!(matches!(log.read(newest), Read::Units(_)));
            assert!(matches!(log.read(0), Read::Behind));
            assert!(log.bytes() > LIMIT / 4, "{}", log.bytes());
        }
    }

    #[test]
    fn a_ring_that_is_gone_uses_nothing() {
        let budget = Arc::new(Budget::new(LIMIT));
        let log = Log::new(usize::MAX, &budget);
        publish(&log, 10);
        assert_eq!(budget.used(), log.bytes());
        drop(log);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_unit_larger_than_all_rings_may_be_is_read_from_the_engine() {
        let budget = Arc::new(Budget::new(LIMIT));
        let log = Log::new(usize::MAX, &budget);
        log.publish(
            &Permit::granted(1),
            vec![batch_of(2 * LIMIT)],
            Position::default(),
            0,
        );
        assert!(matches!(log.read(0), Read::Behind));
        assert_eq!(budget.used(), 0);
    }
}
