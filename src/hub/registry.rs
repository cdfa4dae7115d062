//! The logs that are being read: one reader each, whatever the subscribers.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;

use super::budget::{ALL_RINGS_BYTES, Budget};
use super::catch_up::{CatchUp, Handed, Held, Piece, Stretch};
use super::container::{ContainerTask, Duty, Means};
use super::log::{Ended, Log, ring_bytes};
use super::slots::{Resyncs, Slot, Slots};
use super::source::Source;
use crate::docker::{Changes, Container, ContainerId, Engine, Inventory, Ledger, Reach};
use crate::supervisor::{Breaker, Fenced, Kind, Spec, Started, Supervisor};
use crate::tail::Settings;

/// How logs are read and kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// Life of a lease.
    pub rotation: Duration,
    /// How long a log is read on after its last subscriber has left.
    pub linger: Duration,
    /// Bytes of a line that are kept.
    pub max_line: usize,
}

/// Where tasks run, who counts them, and what stops them.
#[derive(Debug, Clone)]
pub struct Tasks {
    /// Runtime of everything that talks to the engine.
    pub runtime: Handle,
    /// Counts them.
    pub tracker: TaskTracker,
    /// Stops them.
    pub stop: CancellationToken,
}

impl Tasks {
    /// Runs a task until it ends or all are stopped.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        let stop = self.stop.clone();
        let task = async move {
            // Stopped or ended: both are fine here.
            let _stopped = stop.run_until_cancelled(task).await;
        };
        self.tracker.spawn_on(task, &self.runtime).abort_handle()
    }
}

/// Owner of all logs and of the tasks that read them.
#[derive(Debug)]
pub struct Registry {
    source: Source,
    ledger: Ledger,
    reading: Reading,
    tasks: Tasks,
    supervisor: Supervisor,
    breaker: Breaker,
    /// Longest wait of a reader's turn.
    patience: Duration,
    slots: Arc<Slots>,
    budget: Arc<Budget>,
    logs: Mutex<HashMap<ContainerId, Attended>>,
    /// How many catch-ups there were.
    catch_ups: AtomicU64,
}

/// A container that has a task.
#[derive(Debug)]
struct Attended {
    task: Started,
    duty: Arc<watch::Sender<Duty>>,
    /// Of the log that is read.
    subscribers: usize,
    /// When the last one left.
    left: Instant,
}

impl Attended {
    fn reads(&self, log: &Arc<Log>) -> bool {
        matches!(&*self.duty.borrow(), Duty::Read(read) if Arc::ptr_eq(read, log))
    }
}

/// A subscriber's hold on a log: while it lives, the log is read.
#[derive(Debug)]
pub(crate) struct Attendance {
    registry: Arc<Registry>,
    id: ContainerId,
    log: Arc<Log>,
    latency: Duration,
}

impl Attendance {
    pub(crate) fn log(&self) -> &Log {
        &self.log
    }
}

impl Drop for Attendance {
    fn drop(&mut self) {
        self.log.leave(self.latency);
        self.registry.leave(self.id, &self.log);
    }
}

impl Registry {
    /// A registry that reads through `engine`.
    pub fn new(
        engine: Engine,
        reach: watch::Receiver<Reach>,
        ledger: Ledger,
        reading: Reading,
        tasks: Tasks,
        (supervisor, breaker): (Supervisor, Breaker),
    ) -> Self {
        Self {
            source: Source {
                engine,
                reach,
                inventory: ledger.inventory(),
                resyncs: Resyncs::new(),
            },
            ledger,
            reading,
            tasks,
            patience: supervisor.timings().read,
            supervisor,
            breaker,
            slots: Slots::new(),
            budget: Arc::new(Budget::new(ALL_RINGS_BYTES)),
            logs: Mutex::default(),
            catch_ups: AtomicU64::new(0),
        }
    }

    /// The containers as last seen.
    pub fn inventory(&self) -> Arc<Inventory> {
        Arc::clone(&self.source.inventory.borrow())
    }

    /// Whether logs can be read: the engine answers and was listed.
    pub fn is_ready(&self) -> bool {
        let listed = self.source.inventory.borrow().engine.is_some();
        listed && self.source.reach.borrow().is_here()
    }

    /// The containers, now and later.
    pub fn inventory_changes(&self) -> watch::Receiver<Arc<Inventory>> {
        self.source.inventory.clone()
    }

    /// Every change of a container from now on.
    pub fn container_changes(&self) -> Changes {
        self.ledger.changes()
    }

    /// Whether the engine answers, now and later.
    pub fn reach(&self) -> watch::Receiver<Reach> {
        self.source.reach.clone()
    }

    /// How many subscriptions follow a container.
    pub fn subscribers(&self, id: &ContainerId) -> usize {
        let logs = self.logs();
        logs.get(id).map_or(0, |attended| attended.subscribers)
    }

    /// How many logs are being read.
    pub fn open_logs(&self) -> usize {
        let logs = self.logs();
        let read = |attended: &&Attended| attended.duty.borrow().log().is_some();
        logs.values().filter(read).count()
    }

    /// The longest line kept, in bytes.
    pub fn max_line(&self) -> usize {
        self.reading.max_line
    }

    pub(crate) fn source(&self) -> Source {
        self.source.clone()
    }

    pub(crate) fn slot(&self) -> Slot {
        Slot::new(Arc::clone(&self.slots))
    }

    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        self.tasks.spawn(task)
    }

    pub(crate) fn settings_for(&self, container: &Container) -> Settings {
        self.source.settings_for(container, &self.reading)
    }

    /// Longest wait of a turn.
    pub(super) fn patience(&self) -> Duration {
        self.patience
    }

    /// Takes hold of a container's log; the first to do so has it read.
    /// `latency`: how long its entries may wait for others.
    pub(crate) fn attend(
        self: &Arc<Self>,
        container: &Arc<Container>,
        latency: Duration,
    ) -> Attendance {
        let id = container.id;
        let mut logs = self.logs();
        let attended = logs
            .entry(id)
            .or_insert_with(|| self.take_on(container, Duty::Probe));
        let read = attended.duty.borrow().log().map(Arc::clone);
        let log = read.unwrap_or_else(|| self.open(container, attended));
        attended.subscribers += 1;
        log.join(latency);
        Attendance {
            registry: Arc::clone(self),
            id,
            log,
            latency,
        }
    }

    /// Has a log read that was not, or whose reader has ended.
    fn open(&self, container: &Arc<Container>, attended: &mut Attended) -> Arc<Log> {
        let log = Log::new(ring_bytes(self.reading.max_line), &self.budget);
        let before = attended.duty.send_replace(Duty::Read(Arc::clone(&log)));
        debug!(container = %container.id, "log opened");
        attended.subscribers = 0;
        match before {
            // Whoever comes is worth another attempt.
            Duty::Probe => self.supervisor.hurry(attended.task),
            // It ends, or has ended.
            Duty::Read(_) | Duty::GivenUp(_) | Duty::End => {
                attended.task = self.start(container, &attended.duty);
            }
        }
        log
    }

    /// Reads a stretch into `pieces`, for as long as what this gives lives.
    pub(super) fn catch_up(&self, stretch: Stretch, pieces: mpsc::Sender<Piece>) -> Held {
        let id = stretch.container.id;
        let number = self.catch_ups.fetch_add(1, Ordering::Relaxed) + 1;
        let spec = Spec {
            name: format!("catch-up/{id}/{number}"),
            kind: Kind::CatchUp,
            container: Some(id.to_string()),
        };
        let handed = Arc::new(Fenced::new(Handed::nothing(stretch.from)));
        let (source, slots, patience) = (self.source(), Arc::clone(&self.slots), self.patience);
        let make = move |permit| {
            let (handed, pieces) = ((Arc::clone(&handed), permit), pieces.clone());
            let slot = Slot::new(Arc::clone(&slots));
            let (source, stretch) = (source.clone(), stretch.clone());
            CatchUp::new(source, stretch, handed, (pieces, slot), patience)
        };
        let (runtime, breaker) = (&self.tasks.runtime, Some(self.breaker.clone()));
        let task = self.supervisor.start(spec, runtime, breaker, make);
        Held::new(self.supervisor.clone(), task)
    }

    fn take_on(&self, container: &Arc<Container>, duty: Duty) -> Attended {
        let duty = Arc::new(watch::Sender::new(duty));
        Attended {
            task: self.start(container, &duty),
            duty,
            subscribers: 0,
            left: Instant::now(),
        }
    }

    fn start(&self, container: &Arc<Container>, duty: &Arc<watch::Sender<Duty>>) -> Started {
        let spec = Spec {
            name: format!("container/{}", container.id),
            kind: Kind::Container,
            container: Some(container.id.to_string()),
        };
        let means = Means {
            source: self.source(),
            container: Arc::clone(container),
            reading: self.reading,
            patience: self.patience,
            duty: Arc::clone(duty),
        };
        let (runtime, breaker) = (&self.tasks.runtime, Some(self.breaker.clone()));
        let make = move |permit| ContainerTask::new(means.clone(), permit);
        self.supervisor.start(spec, runtime, breaker, make)
    }

    /// Holds the tasks against the list: each running container has one, and others
    /// only while somebody subscribes.
    pub(super) fn attend_to(&self, inventory: &Inventory) {
        let mut logs = self.logs();
        for (id, container) in &inventory.containers {
            if container.is_running() && !logs.contains_key(id) {
                logs.insert(*id, self.take_on(container, Duty::Probe));
            }
        }
        let runs = |id: &ContainerId| inventory.containers.get(id).is_some_and(|c| c.is_running());
        logs.retain(|id, attended| {
            // What is read is let go behind its last subscriber.
            let stays = runs(id) || matches!(*attended.duty.borrow(), Duty::Read(_));
            if !stays {
                self.dismiss(attended);
            }
            stays
        });
    }

    /// Lets a task end.
    fn dismiss(&self, attended: &Attended) {
        attended.duty.send_replace(Duty::End);
        self.supervisor.release(attended.task);
    }

    /// A subscriber left. Without any a log is read on for a little.
    fn leave(self: &Arc<Self>, id: ContainerId, log: &Arc<Log>) {
        let mut logs = self.logs();
        let is_its = |attended: &&mut Attended| attended.reads(log);
        let Some(attended) = logs.get_mut(&id).filter(is_its) else {
            return;
        };
        attended.subscribers -= 1;
        attended.left = Instant::now();
        if attended.subscribers == 0 {
            let registry = Arc::clone(self);
            self.tasks.spawn(async move {
                sleep(registry.reading.linger).await;
                registry.close(id);
            });
        }
    }

    /// Ends the reading of a log that nobody has wanted for so long.
    fn close(&self, id: ContainerId) {
        // Under the lock nobody can take hold of it meanwhile.
        let mut logs = self.logs();
        let linger = self.reading.linger;
        let Entry::Occupied(entry) = logs.entry(id) else {
            return;
        };
        let attended = entry.get();
        let Duty::Read(log) = attended.duty.borrow().clone() else {
            return;
        };
        if attended.subscribers > 0 || attended.left.elapsed() < linger {
            return;
        }
        let inventory = self.source.inventory.borrow();
        let known = inventory.containers.get(&id);
        let runs = known.is_some_and(|container| container.is_running());
        match log.ended() {
            Some(Ended::Unreadable(words)) if runs => {
                attended.duty.send_replace(Duty::GivenUp(words));
            }
            None if runs => drop(attended.duty.send_replace(Duty::Probe)),
            // One that is started again is taken on then.
            _ => self.dismiss(&entry.remove()),
        }
        debug!(container = %id, "log closed");
    }

    fn logs(&self) -> MutexGuard<'_, HashMap<ContainerId, Attended>> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
