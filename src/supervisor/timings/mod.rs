//! The service's times and sizes, in orders that make sense, or not at all.
//!
//! The ancestor's watchdog lost to wrong orders: a heartbeat expected sooner than
//! an honest turn could end, a kill that came before a deadline. Here every order
//! that anything relies on stands in one table, and [`Timings`] exist only where
//! all of them hold.

mod orders;

use std::fmt;
use std::time::Duration;

use orders::{Order, all_hold, part};

/// Times and sizes as they are wished for. Every one is what the code that is
/// named by it really does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wishes {
    /// Longest wait for what proves that a log was read to its end.
    pub verify: Duration,
    /// Longest wait for the head of the engine's answer.
    pub open: Duration,
    /// Longest wait of one turn for records.
    pub read: Duration,
    /// Life of an engine stream.
    pub rotation: Duration,
    /// How much longer one may live, in percent.
    pub jitter: u32,
    /// Longest rest between two probes of a log that nobody reads.
    pub rest: Duration,
    /// Deadline of one turn. It passes only when our own code hangs.
    pub turn: Duration,
    /// A task in order shows progress at least so often.
    pub heartbeat: Duration,
    /// Without progress for so long a task is replaced.
    pub heartbeat_timeout: Duration,
    /// How many expected heartbeats the timeout holds at least.
    pub margin: u32,
    /// The watchdog looks at deadlines at least so often; if it comes twice as
    /// late, the machine stood still.
    pub look: Duration,
    /// The watchdog looks at every task at least so often.
    pub sweep: Duration,
    /// How often each runtime shows that it runs.
    pub canary: Duration,
    /// Watchdog and runtimes may be silent for less than this.
    pub silence: Duration,
    /// A runtime that is stuck for so long ends the process: whoever started it
    /// starts it again.
    pub stuck: Duration,
    /// How long a cancelled task may take to end before it is aborted.
    pub cancel_grace: Duration,
    /// How long an aborted task may take to end before it is a zombie.
    pub abort_grace: Duration,
    /// Bound of the first delay before a restart; it doubles.
    pub backoff: Duration,
    /// Bound of all of them.
    pub backoff_cap: Duration,
    /// After so long in order a task's failures are forgotten.
    pub stable: Duration,
    /// Failures in so long a time count together.
    pub window: Duration,
    /// How often a quarantined task is tried.
    pub quarantine_retry: Duration,
    /// How long streams take to end in a drain.
    pub stream_end: Duration,
    /// How long a drain takes at most.
    pub drain: Duration,
    /// How long the service manager must wait between SIGTERM and SIGKILL.
    pub stop_grace: Duration,
    /// Longest silence of a stream.
    pub bookmark: Duration,
    /// Silence after which load balancers cut a stream.
    pub balancer_idle: Duration,
    /// Interval of HTTP/2 pings.
    pub keepalive: Duration,
    /// Wait for the answer to one.
    pub keepalive_timeout: Duration,
    /// A client that takes nothing for so long is cut.
    pub write: Duration,
    /// Interval of the engine's pings.
    pub probe: Duration,
    /// Wait for the answer to one.
    pub probe_timeout: Duration,
    /// Pings that fail in a row before the engine counts as away.
    pub probe_failures: u32,
    /// How old what health says may be.
    pub staleness: Duration,
    /// Bytes of a line that are kept.
    pub max_line: u64,
    /// Bytes of a message beside its longest line.
    pub overhead: u64,
    /// Bytes of the largest message.
    pub max_message: u64,
    /// Bytes of lines at which a batch closes.
    pub batch: u64,
}

/// Times and sizes whose orders all hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timings(Wishes);

/// An order that does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Violation(Order);

impl Wishes {
    /// The longest honest time between two heartbeats of a container that writes
    /// nothing: a stream, and the proof that it missed nothing.
    pub const fn quiet(&self) -> Duration {
        let percent = self
            .rotation
            .saturating_mul(self.jitter.saturating_add(100));
        let rotation = part(percent, 100);
        rotation
            .saturating_add(self.open)
            .saturating_add(self.verify)
    }
}

impl Timings {
    /// Checks every order that anything relies on.
    ///
    /// # Errors
    /// Every order that does not hold, with its values.
    pub fn try_new(wishes: Wishes) -> Result<Self, Vec<Violation>> {
        let orders = wishes.of_tasks().into_iter().chain(wishes.of_service());
        let violated: Vec<_> = orders.filter(|order| !order.holds()).collect();
        match violated.is_empty() {
            true => Ok(Self(wishes)),
            false => Err(violated.into_iter().map(Violation).collect()),
        }
    }

    /// The same while compiling, where no list can be made.
    ///
    /// # Panics
    /// An order does not hold: the build fails.
    pub const fn checked(wishes: Wishes) -> Self {
        assert!(all_hold(&wishes.of_tasks()), "the tasks' times");
        assert!(all_hold(&wishes.of_service()), "the service's times");
        Self(wishes)
    }

    /// The longest time that a task without progress is left alone.
    pub fn detection(&self) -> Duration {
        self.heartbeat_timeout + self.sweep
    }

    /// The same for a task that rests on purpose, as between two rare probes.
    pub fn resting_detection(&self) -> Duration {
        self.rest + self.detection()
    }

    /// The longest time that a turn which hangs is left alone.
    pub fn stall_detection(&self) -> Duration {
        self.turn + self.sweep
    }

    /// The longest time from a fault's end to the next entry.
    pub fn recovery(&self) -> Duration {
        self.open + self.verify + self.backoff_cap
    }
}

impl std::ops::Deref for Timings {
    type Target = Wishes;

    fn deref(&self) -> &Wishes {
        &self.0
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
pub(crate) mod tests;
