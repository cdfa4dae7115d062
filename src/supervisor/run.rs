//! One generation of a task: the loop that asks it for turns.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::Shared;
use super::backoff::Backoff;
use super::breaker::Breaker;
use super::panics;
use super::permit::Permit;
use super::task::{Failure, Task, Turn};
use super::watchdog::{Ended, Outcome, TaskId};

/// How one generation speaks of itself.
pub(super) struct Voice {
    shared: Arc<Shared>,
    id: TaskId,
    generation: u64,
    cancel: CancellationToken,
    /// How it ended, once it has.
    outcome: Option<Outcome>,
}

/// Makes and runs a generation; the task's own type is gone here.
pub(super) type Body = Arc<dyn Fn(Permit, Voice) -> BoxFuture<'static, ()> + Send + Sync>;

/// What runs the tasks that `make` makes. With a breaker, one that is blocked is not
/// asked again while that is open.
pub(super) fn body<T: Task + 'static>(
    breaker: Option<Breaker>,
    make: impl Fn(Permit) -> T + Send + Sync + 'static,
) -> Body {
    let make = Arc::new(make);
    Arc::new(move |permit, voice| {
        let (make, breaker) = (Arc::clone(&make), breaker.clone());
        async move {
            let mut voice = voice;
            let turns = async { drive(make(permit), breaker.as_ref(), &voice).await };
            // What it shares with others is fenced by its permit.
            let caught = AssertUnwindSafe(turns).catch_unwind();
            // A cancelled turn is dropped wherever it waits.
            let outcome = match voice.cancel.run_until_cancelled(caught).await {
                None => Outcome::Aborted,
                Some(Ok(Ok(()))) => Outcome::Completed,
                Some(Ok(Err(failure))) => Outcome::Failed(failure),
                Some(Err(payload)) => Outcome::Panicked(panics::describe(&*payload)),
            };
            voice.outcome = Some(outcome);
        }
        .boxed()
    })
}

async fn drive<T: Task>(
    mut task: T,
    breaker: Option<&Breaker>,
    voice: &Voice,
) -> Result<(), Failure> {
    let mut backoff = Backoff::default();
    loop {
        if !voice.turn_begins() {
            // Replaced meanwhile: the token is cancelled, and ends this.
            std::future::pending::<()>().await;
        }
        let turn = task.turn();
        #[cfg(test)]
        let turn = voice.shared.faults.through(voice.name(), turn);
        let turn = turn.await?;
        let answered = match &turn {
            Turn::Progress(_) => Some(true),
            Turn::Blocked(_) => Some(false),
            Turn::Idle | Turn::Waiting | Turn::Done => None,
        };
        if let (Some(breaker), Some(answered)) = (breaker, answered) {
            breaker.note(voice.id, answered, Instant::now());
        }
        match turn {
            Turn::Progress(_) => {
                backoff.reset();
                voice.turn_ends(Ended::Progress, &mut task);
            }
            // Nobody shows progress while the engine is away.
            Turn::Idle if breaker.is_some_and(|breaker| !breaker.is_closed()) => {
                voice.turn_ends(Ended::Waiting, &mut task);
            }
            Turn::Idle => voice.turn_ends(Ended::Idle, &mut task),
            Turn::Waiting => voice.turn_ends(Ended::Waiting, &mut task),
            Turn::Blocked(cause) => {
                voice.turn_ends(Ended::Idle, &mut task);
                debug!(generation = voice.generation, %cause, "turn blocked");
                tokio::select! {
                    () = sleep(backoff.next_delay()) => {}
                    () = task.urged() => {}
                }
                if let Some(breaker) = breaker.filter(|breaker| !breaker.is_closed()) {
                    voice.turn_ends(Ended::Waiting, &mut task);
                    breaker.closed().await;
                    // Everybody is woken at once.
                    sleep(Backoff::default().next_delay()).await;
                }
            }
            Turn::Done => {
                voice.turn_ends(Ended::Idle, &mut task);
                return Ok(());
            }
        }
        // Turns that never wait must not keep others from theirs.
        tokio::task::consume_budget().await;
    }
}

impl Voice {
    pub(super) fn new(
        shared: Arc<Shared>,
        id: TaskId,
        generation: u64,
        cancel: CancellationToken,
    ) -> Self {
        Self {
            shared,
            id,
            generation,
            cancel,
            outcome: None,
        }
    }

    #[cfg(test)]
    fn name(&self) -> String {
        self.shared.inner().watchdog.name(self.id)
    }

    fn turn_begins(&self) -> bool {
        self.shared
            .tell(|watchdog, now| watchdog.turn_begins(self.id, self.generation, now))
    }

    fn turn_ends<T: Task>(&self, ended: Ended, task: &mut T) {
        let (work, rest) = (task.work(), task.rest());
        self.shared.tell(|watchdog, now| {
            watchdog.turn_ends(self.id, self.generation, (ended, rest), work, now);
        });
    }
}

impl Drop for Voice {
    /// However it ends, aborted or with its runtime: that is told.
    fn drop(&mut self) {
        let outcome = self.outcome.take().unwrap_or(Outcome::Aborted);
        self.shared.ended(self.id, self.generation, outcome);
    }
}
