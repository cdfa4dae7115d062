//! What a task is, to those who write one.

use std::future::Future;
use std::time::Duration;

/// A unit of supervised work, made of turns. The supervisor owns the loop: a task
/// is asked for one turn after the other, and can only answer.
pub trait Task: Send {
    /// Evidence of progress. For tasks that talk to the engine nobody but the
    /// stage that talks to it can make one.
    type Proof: Send;

    /// One bounded step. It may be dropped wherever it waits; what must be kept is
    /// in the task before it returns.
    ///
    /// # Errors
    /// This generation cannot go on.
    fn turn(&mut self) -> impl Future<Output = Result<Turn<Self::Proof>, Failure>> + Send;

    /// What was done since it was last asked.
    fn work(&mut self) -> Work {
        Work::default()
    }

    /// How long it rests on purpose behind this turn: the heartbeat's clock runs from
    /// then. A turn without progress can only shorten what was announced.
    fn rest(&self) -> Duration {
        Duration::ZERO
    }

    /// Resolves when a task that is blocked should try again at once. Cancel safe.
    fn urged(&mut self) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }
}

/// How a turn ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Turn<P> {
    /// With evidence of progress: the only heartbeat there is.
    Progress(P),
    /// As it should, and without evidence.
    Idle,
    /// The engine did not do its part in time: the same generation tries again
    /// after a delay. The cause, for people.
    Blocked(String),
    /// For something that is not its fault, such as a client that takes nothing.
    /// The heartbeat's clock stands; the turn's deadline holds for each turn.
    Waiting,
    /// The work is done.
    Done,
}

/// Why a generation cannot go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// For people; never bytes of a log.
    pub message: String,
    /// Whether another attempt would fail alike.
    pub lasting: bool,
}

/// Work done, for status. Counts never go back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Work {
    /// Whether new data came.
    pub data: bool,
    /// Reads of the engine replaced on schedule.
    pub rotations: u64,
    /// Lines.
    pub entries: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Work {
    pub(super) fn add(&mut self, more: Work) {
        self.data |= more.data;
        self.rotations += more.rotations;
        self.entries += more.entries;
        self.bytes += more.bytes;
    }
}

/// What a task works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The list of containers.
    Inventory,
    /// The engine's events.
    EventFeed,
    /// Whether the engine answers.
    EngineProbe,
    /// One container's log.
    Container,
    /// Stored entries, for one subscriber.
    CatchUp,
    /// Whether a runtime runs.
    Canary,
}

/// A task's name, and what it works on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// Unique, and the same over restarts.
    pub name: String,
    /// What it works on.
    pub kind: Kind,
    /// The id of its container, if it has one.
    pub container: Option<String>,
}
