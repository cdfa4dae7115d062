//! What is known of a task.

use std::time::Duration;

use super::task::{Spec, Work};

/// State of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Waits for its turn to start.
    Pending,
    /// Started, without progress yet.
    Starting,
    /// Makes progress.
    Running,
    /// Waits for something that is not its fault.
    Waiting,
    /// Was told to stop.
    Stopping,
    /// Ended badly; starts again soon.
    BackingOff,
    /// Ended badly too often; is tried rarely.
    Quarantined,
    /// Its work is done.
    Completed,
    /// Ended because it was asked to.
    Stopped,
    /// Ended for good.
    Failed,
    /// Was asked to stop, and could not be aborted.
    Zombie,
}

/// Why a generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Its work was done.
    Completed,
    /// It was asked to stop.
    Stopped,
    /// It returned an error.
    Failed,
    /// It panicked.
    Panicked,
    /// It made no progress for the heartbeat timeout.
    HeartbeatMissed,
    /// One turn passed its deadline.
    Stalled,
}

/// How one generation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Termination {
    /// Why.
    pub reason: Reason,
    /// Details for people.
    pub message: String,
    /// When, ns since the Unix epoch, our clock.
    pub time: i64,
    /// Which.
    pub generation: u64,
}

/// A task at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Name, and what it works on.
    pub spec: Spec,
    /// What it is doing.
    pub state: State,
    /// Present or last generation; 0: none yet.
    pub generation: u64,
    /// Restarts since it last ran stably.
    pub attempts: u32,
    /// Restarts since it was first started.
    pub restarts: u64,
    /// When the generation began, ns since the Unix epoch, our clock.
    pub started: Option<i64>,
    /// Since the last proof of progress in this generation.
    pub heartbeat_age: Option<Duration>,
    /// Since the last data in this generation.
    pub data_age: Option<Duration>,
    /// Until the watchdog acts if no progress comes.
    pub deadline_in: Option<Duration>,
    /// Until the next start.
    pub retry_in: Option<Duration>,
    /// Work done since it was first started.
    pub work: Work,
    /// How past generations ended, newest first, at most [`TERMINATIONS`].
    pub terminations: Vec<Termination>,
}

/// Ends that are kept of each task.
pub const TERMINATIONS: usize = 8;
