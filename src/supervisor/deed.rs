//! What the watchdog's actions come to.

use futures_util::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use super::Run;

/// What is done without the lock: a runtime that has ended drops what is spawned on
/// it at once, and that wants the lock.
pub(super) enum Deed {
    Spawn(Handle, BoxFuture<'static, ()>, Run),
    Cancel(Run),
    Abort(Run),
}

impl Deed {
    pub(super) fn perform(self) {
        match self {
            Deed::Spawn(runtime, future, run) => {
                let task = runtime.spawn(future);
                // It is set here alone.
                let _first = run.0.abort.set(task.abort_handle());
            }
            Deed::Cancel(run) => {
                run.0.revoke.revoke();
                run.0.cancel.cancel();
            }
            Deed::Abort(run) => {
                run.0.abort.get().into_iter().for_each(AbortHandle::abort);
            }
        }
    }
}
