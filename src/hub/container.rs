//! A container's task: it reads the log while somebody subscribes, and probes it
//! otherwise.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::log::Log;
use super::probe::{Probed, Prober};
use super::reader::Reader;
use super::registry::Reading;
use super::source::Source;
use crate::docker::{Container, Verified};
use crate::supervisor::{Failure, Permit, Task, Turn, Work};

/// What a container's task is there for. It outlives its generations.
#[derive(Debug, Clone)]
pub(super) enum Duty {
    /// Shows now and then that the log can be read.
    Probe,
    /// Reads it for who subscribes.
    Read(Arc<Log>),
    /// A probe has found that the log cannot be read; the engine's words.
    GivenUp(String),
    /// The container does not run and nobody subscribes.
    End,
}

impl Duty {
    /// What is read, if it can still bring something.
    pub(super) fn log(&self) -> Option<&Arc<Log>> {
        match self {
            Duty::Read(log) if log.ended().is_none() => Some(log),
            _ => None,
        }
    }
}

/// What a generation is made of.
#[derive(Debug, Clone)]
pub(super) struct Means {
    pub(super) source: Source,
    pub(super) container: Arc<Container>,
    pub(super) reading: Reading,
    /// Longest wait of a turn.
    pub(super) patience: Duration,
    pub(super) duty: Arc<watch::Sender<Duty>>,
}

/// One generation of a container's task.
pub(super) struct ContainerTask {
    means: Means,
    permit: Arc<Permit>,
    duties: watch::Receiver<Duty>,
    at: At,
}

/// What it is at.
enum At {
    Nothing,
    Probing(Box<Prober>),
    Reading(Arc<Log>, Box<Reader>),
}

impl ContainerTask {
    pub(super) fn new(means: Means, permit: Permit) -> Self {
        Self {
            duties: means.duty.subscribe(),
            means,
            permit: Arc::new(permit),
            at: At::Nothing,
        }
    }

    /// Takes up its duty, unless it is at it; how the task ends, if that is it. What
    /// it was at is dropped, and with it its connection.
    fn take_up(&mut self) -> Option<Result<Turn<Verified>, Failure>> {
        let duty = self.duties.borrow_and_update().clone();
        match (duty, &self.at) {
            (Duty::Probe, At::Probing(_)) => {}
            (Duty::Read(log), At::Reading(read, _)) if Arc::ptr_eq(&log, read) => {}
            (Duty::Probe, _) => self.at = At::Probing(Box::new(self.prober())),
            (Duty::Read(log), _) => {
                let reader = Box::new(self.reader(&log));
                self.at = At::Reading(log, reader);
            }
            (Duty::GivenUp(words), _) => return Some(Err(unreadable(words))),
            (Duty::End, _) => return Some(Ok(Turn::Done)),
        }
        None
    }

    fn prober(&self) -> Prober {
        let Means {
            source,
            container,
            reading,
            patience,
            ..
        } = &self.means;
        let engine = source.engine.clone();
        Prober::new(engine, Arc::clone(container), reading.rotation, *patience)
    }

    fn reader(&self, log: &Arc<Log>) -> Reader {
        let Means {
            source,
            container,
            reading,
            patience,
            ..
        } = &self.means;
        let settings = source.settings_for(container, reading);
        let log = (Arc::clone(log), Arc::clone(&self.permit));
        let container = Arc::clone(container);
        Reader::new(source.clone(), container, log, settings, *patience)
    }

    /// Unless somebody came meanwhile, who is to hear it from a reader.
    fn give_up(&self, words: String) -> Result<Turn<Verified>, Failure> {
        let given_up = self.means.duty.send_if_modified(|duty| {
            // Looked at under the lock, as with what is fenced.
            let is_up = matches!(duty, Duty::Probe) && !self.permit.is_revoked();
            if is_up {
                *duty = Duty::GivenUp(words.clone());
            }
            is_up
        });
        match given_up {
            true => Err(unreadable(words)),
            false => Ok(Turn::Idle),
        }
    }
}

fn unreadable(message: String) -> Failure {
    Failure {
        message,
        lasting: true,
    }
}

impl Task for ContainerTask {
    type Proof = Verified;

    async fn turn(&mut self) -> Result<Turn<Verified>, Failure> {
        if let Some(end) = self.take_up() {
            return end;
        }
        let turn = async {
            match &mut self.at {
                At::Nothing => Ok(Probed::Turn(Turn::Idle)),
                At::Probing(prober) => Ok(prober.turn().await),
                At::Reading(_, reader) => reader.turn().await.map(Probed::Turn),
            }
        };
        tokio::select! {
            // First, as a busy reader is never without something to do.
            biased;
            // The next turn takes it up. The sender lives in `self`.
            _changed = self.duties.changed() => Ok(Turn::Idle),
            turn = turn => match turn? {
                Probed::Turn(turn) => Ok(turn),
                Probed::Unreadable(words) => self.give_up(words),
            },
        }
    }

    fn work(&mut self) -> Work {
        match &mut self.at {
            At::Reading(_, reader) => reader.work(),
            At::Nothing | At::Probing(_) => Work::default(),
        }
    }

    /// Between two probes, which may be rarer than heartbeats are expected.
    fn rest(&self) -> Duration {
        match &self.at {
            At::Probing(prober) => prober.rest(),
            At::Nothing | At::Reading(..) => Duration::ZERO,
        }
    }

    /// Somebody subscribes: whatever failed before may be over.
    async fn urged(&mut self) {
        let changed = self.duties.changed().await;
        if changed.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
