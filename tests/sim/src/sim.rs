//! The simulated engine's switchboard: make containers, connect to it, break it, watch what it was asked.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::DuplexStream;
use tokio::task::JoinSet;

use crate::connection::{Connection, Mode, Socket};
use crate::container::NewContainer;
use crate::world::World;
use crate::{Engine, Fault, Request, Stats, Timestamp};

/// What fits into a connection in memory before its writer waits.
const PIPE: usize = 64 * 1024;
/// The first of January 2026.
const EPOCH: Timestamp = Timestamp::from_secs(1_767_225_600);

/// A simulated engine. Clones are handles to the same one; when the last is dropped, its connections are.
#[derive(Clone)]
pub struct Sim {
    world: Arc<World>,
    tasks: Arc<Mutex<JoinSet<()>>>,
}

impl Sim {
    /// An engine without containers, whose clock starts at the beginning of 2026 and moves with Tokio's.
    #[must_use]
    pub fn new(engine: Engine) -> Self {
        Self::starting_at(engine, EPOCH)
    }

    /// An engine whose clock starts at that time; [`Timestamp::now`] makes it look real.
    #[must_use]
    pub fn starting_at(engine: Engine, time: Timestamp) -> Self {
        Self {
            world: Arc::new(World::new(engine, time)),
            tasks: Arc::default(),
        }
    }

    /// Begins a container of that name.
    pub fn container(&self, name: impl Into<String>) -> NewContainer {
        NewContainer::named(Arc::clone(&self.world), name.into())
    }

    /// A connection in memory. Must be called within a Tokio runtime, which then serves it.
    ///
    /// # Errors
    /// Refused while the engine is stopped.
    pub fn connect(&self) -> io::Result<DuplexStream> {
        let connection = Connection::accept(&self.world).ok_or(io::ErrorKind::ConnectionRefused)?;
        let (client, server) = tokio::io::duplex(PIPE);
        self.spawn(connection.serve(server));
        Ok(client)
    }

    /// Takes connections on a unix socket, which is removed in the end. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// If the socket cannot be made, or something is at its path.
    pub fn listen_unix(&self, path: impl AsRef<Path>) -> io::Result<()> {
        let socket = Socket::bind(&self.world, path.as_ref())?;
        self.spawn(socket.accept());
        Ok(())
    }

    /// What the engine's clock says. Every reading is later than the one before.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.world.state().clock.now()
    }

    /// Sets the wall clock forward.
    pub fn step_clock_forward(&self, by: Duration) {
        self.world.state().clock.step_forward(by);
    }

    /// Sets the wall clock back.
    pub fn step_clock_back(&self, by: Duration) {
        self.world.state().clock.step_back(by);
    }

    /// Stops the engine: connections are torn down and connects refused. Containers go on, as under `live-restore`,
    /// and what they write meanwhile is stored at once.
    pub fn stop(&self) {
        self.world.power.send_modify(|power| power.mode = Mode::Off);
    }

    /// Starts a stopped engine, which has forgotten its events. One that runs is restarted: its connections are torn down.
    pub fn start(&self) {
        self.world.state().events.forget();
        self.world.power.send_modify(|power| {
            power.boot += 1;
            power.mode = Mode::On;
        });
    }

    /// Freezes the engine, as SIGSTOP does: connects succeed, nothing is answered, open streams are silent. What containers
    /// write meanwhile is stored at once. A stopped engine stays stopped.
    pub fn freeze(&self) {
        self.switch(Mode::On, Mode::Frozen);
    }

    /// Lets a frozen engine go on where it was.
    pub fn thaw(&self) {
        self.switch(Mode::Frozen, Mode::On);
    }

    /// Publishes an event that is about no container, such as an image's `pull`.
    pub fn emit(&self, kind: &str, action: &str, actor: &str) {
        let attributes = BTreeMap::from([("name".to_owned(), actor.to_owned())]);
        self.world
            .state()
            .publish(kind, action, actor.to_owned(), attributes);
    }

    /// Arms a fault against every request, or those to the endpoint it names, and against open streams.
    pub fn fault(&self, fault: Fault) {
        self.world.arm(None, fault);
    }

    /// Disarms the engine's faults; those of containers stay.
    pub fn clear_faults(&self) {
        self.world.clear_faults(None);
    }

    /// Every request in the order of coming; of very many, the newest 65,536.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.world.requests()
    }

    /// Gives up the requests remembered so far, and the memory they take; counts stay.
    pub fn forget_requests(&self) {
        self.world.forget_requests();
    }

    /// What was counted so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.world.stats.borrow().clone()
    }

    /// Counts from now on what was most.
    pub fn forget_most(&self) {
        let forget = |stats: &mut Stats| stats.most_snapshots = stats.snapshots;
        self.world.stats.send_modify(forget);
    }

    /// Waits until the counts are as wanted, and returns them. It has no deadline of its own.
    pub async fn wait_until(&self, mut wanted: impl FnMut(&Stats) -> bool) -> Stats {
        let mut counted = self.world.stats.subscribe();
        loop {
            // Judged as a copy: `wanted` may look at the engine, which counts under its lock.
            let stats = counted.borrow_and_update().clone();
            if wanted(&stats) {
                return stats;
            }
            counted
                .changed()
                .await
                .expect("the sender lives as long as this handle");
        }
    }

    fn switch(&self, from: Mode, to: Mode) {
        self.world.power.send_if_modified(|power| {
            let applies = power.mode == from;
            if applies {
                power.mode = to;
            }
            applies
        });
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }
}
