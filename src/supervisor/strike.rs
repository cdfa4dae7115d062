//! Faults for tests: a turn that panics or hangs at one of the points where it waits.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Poll;

use tokio::time::Instant;

use super::Supervisor;

/// What happens to a turn where it waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blow {
    /// It panics.
    Panic,
    /// It never goes on.
    Hang,
}

/// When a turn was struck, once it was.
pub(crate) type Struck = Arc<OnceLock<Instant>>;

impl Supervisor {
    /// The `wait`th time from now on that a turn of this task waits, it is struck; of
    /// any task whose name begins so, if that ends with `/`.
    pub(crate) fn strike(&self, task: &str, wait: usize, blow: Blow) -> Struck {
        self.0.faults.arm(task, wait, blow)
    }

    /// The watchdog panics at its next look.
    pub(super) fn strike_watchdog(&self) {
        self.0.faults.watchdog.store(true, Ordering::Release);
    }
}

/// Faults that wait for their tasks.
#[derive(Debug, Default)]
pub(super) struct Faults {
    armed: Mutex<Vec<Fault>>,
    watchdog: AtomicBool,
}

#[derive(Debug)]
struct Fault {
    task: String,
    /// Waits until then.
    left: usize,
    blow: Blow,
    struck: Struck,
}

impl Faults {
    fn arm(&self, task: &str, wait: usize, blow: Blow) -> Struck {
        let struck = Struck::default();
        let fault = Fault {
            task: task.to_owned(),
            left: wait,
            blow,
            struck: Arc::clone(&struck),
        };
        self.armed().push(fault);
        struck
    }

    fn armed(&self) -> MutexGuard<'_, Vec<Fault>> {
        self.armed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The watchdog looks.
    pub(super) fn look(&self) {
        let panics = self.watchdog.load(Ordering::Acquire);
        assert!(!panics, "struck as it looks");
    }

    /// A turn of this task waits.
    fn wait(&self, task: &str) -> Option<Blow> {
        let mut faults = self.armed();
        let is_it = |fault: &Fault| {
            let begins = fault.task.ends_with('/') && task.starts_with(&fault.task);
            begins || fault.task == task
        };
        let place = faults.iter().position(is_it)?;
        faults[place].left -= 1;
        if faults[place].left > 0 {
            return None;
        }
        let Fault { blow, struck, .. } = faults.remove(place);
        struck.get_or_init(Instant::now);
        Some(blow)
    }

    /// Runs a turn of this task, and strikes it if a fault waits for that.
    pub(super) async fn through<T>(&self, task: String, turn: impl Future<Output = T>) -> T {
        let (mut turn, mut hangs) = (pin!(turn), false);
        poll_fn(|cx| {
            if hangs {
                return Poll::Pending;
            }
            let poll = turn.as_mut().poll(cx);
            if poll.is_pending() {
                match self.wait(&task) {
                    None => {}
                    Some(Blow::Hang) => hangs = true,
                    Some(Blow::Panic) => panic!("struck where it waits"),
                }
            }
            poll
        })
        .await
    }
}
