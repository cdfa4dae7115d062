//! The right of one generation to publish, and what it guards.

use std::sync::{Arc, PoisonError};

use super::sync::atomic::{AtomicBool, Ordering};
use super::sync::{Mutex, MutexGuard};

/// The right of one generation of a task to publish. The supervisor gives each
/// generation its own, and revokes it before the next one gets one. It can be
/// neither made nor copied elsewhere.
#[derive(Debug)]
pub struct Permit {
    generation: u64,
    revoked: Arc<AtomicBool>,
}

/// What revokes a permit.
#[derive(Debug)]
pub(super) struct Revoke(Arc<AtomicBool>);

impl Permit {
    pub(super) fn new(generation: u64) -> (Self, Revoke) {
        let revoked = Arc::new(AtomicBool::new(false));
        let revoke = Revoke(Arc::clone(&revoked));
        let permit = Self {
            generation,
            revoked,
        };
        (permit, revoke)
    }

    /// One that nobody can revoke.
    #[cfg(test)]
    pub(crate) fn granted(generation: u64) -> Self {
        Self::new(generation).0
    }

    /// One that is revoked by what comes with it.
    #[cfg(all(test, feature = "schedules"))]
    pub(crate) fn revocable(generation: u64) -> (Self, impl FnOnce()) {
        let (permit, revoke) = Self::new(generation);
        (permit, move || revoke.revoke())
    }

    /// Whose it is. No two runs of any task of this process have the same.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether it was revoked. False says nothing of the next moment: only
    /// [`Fenced`] does.
    pub fn is_revoked(&self) -> bool {
        self.revoked.load(Ordering::Acquire)
    }
}

impl Revoke {
    pub(super) fn revoke(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// What only the present generation may change.
///
/// The permit is looked at under the lock. A revoked one that was seen valid holds
/// the lock still, so its successor, which starts behind the revocation, sees what
/// it wrote; whatever it tries later is refused.
#[derive(Debug, Default)]
pub struct Fenced<T>(Mutex<T>);

impl<T> Fenced<T> {
    /// Guards `value`.
    pub fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    /// Access by right of `permit`; `None` if it was revoked.
    pub fn enter(&self, permit: &Permit) -> Option<MutexGuard<'_, T>> {
        let value = self.get();
        (!permit.is_revoked()).then_some(value)
    }

    /// Access that needs no right: to read, and to change what is no generation's.
    pub fn get(&self) -> MutexGuard<'_, T> {
        // Who holds it leaves it whole, so a panic poisons nothing.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
