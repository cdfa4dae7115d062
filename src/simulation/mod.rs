//! The whole service but its sockets and its threads, in virtual time, on a
//! simulated engine: tasks as `app` wires them, readers, subscriptions.

mod faults;
mod quiet;

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use clap::Command;
use futures_util::FutureExt;
use pulsetail_sim::{Container, Engine, Sim, Timestamp};
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::app::App;
use crate::config;
use crate::docker::Connector;
use crate::hub::{Content, Item, OpenError, Registry, Subscription};
use crate::supervisor::{Reason, State, Status, Supervisor, Termination};
use crate::tail::From;

const SECOND: Duration = Duration::from_secs(1);
/// What should happen happens by then; who waits so long waits for ever.
const DEADLINE: Duration = Duration::from_secs(600);
/// How often a condition that cannot be awaited is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// A service on an engine. All that happens to it depends on the seed alone.
struct World {
    sim: Sim,
    registry: Arc<Registry>,
    supervisor: Supervisor,
    _watching: AbortOnDropHandle<()>,
}

impl World {
    /// Starts a service on this engine; `arm` comes before its tasks' first turns.
    async fn start(sim: &Sim, seed: u64, arm: impl FnOnce(&Supervisor)) -> Self {
        fastrand::seed(seed);
        let dialled = sim.clone();
        let dial = move || ready(dialled.connect()).boxed();
        let own = [
            "pulsetail",
            "--listen=127.0.0.1:0",
            "--admin-listen=127.0.0.1:0",
        ];
        let command = Command::new("pulsetail").args(config::args());
        let config = config::load(&command.get_matches_from(own)).expect("they are valid");
        let connector = Connector::Memory(Arc::new(dial));
        let app = App::build(&config, connector, Handle::current()).await;
        let app = app.expect("ports are free");
        arm(&app.supervisor());
        let (registry, supervisor) = app.start_tasks();
        let watched = supervisor.clone();
        let watching = TaskTracker::new().spawn(async move {
            loop {
                let idle = watched.look();
                sleep(idle.max(Duration::from_millis(5))).await;
            }
        });
        Self {
            sim: sim.clone(),
            registry,
            supervisor,
            _watching: AbortOnDropHandle::new(watching),
        }
    }

    /// Waits until the service knows of a container.
    async fn until_listed(&self, name: &str) {
        self.until(|| self.registry.inventory().find(name).is_ok())
            .await;
    }

    /// Follows a container's log from its beginning.
    async fn follow(&self, name: &str) -> Follower {
        self.until_listed(name).await;
        let inventory = self.registry.inventory();
        let container = Arc::clone(inventory.find(name).expect("it is listed"));
        let open = async || {
            let (container, from) = (Arc::clone(&container), Some(From::Beginning));
            let latency = Duration::from_millis(20);
            Subscription::follow(&self.registry, container, from, latency).await
        };
        // A client tries again while that says that it may.
        let mut opened = open().await;
        while let Err(OpenError::Unavailable(_)) = opened {
            sleep(LOOK).await;
            opened = open().await;
        }
        Follower {
            subscription: opened.expect("it can be read"),
            lines: Vec::new(),
            gaps: 0,
        }
    }

    /// Every task, by name.
    fn statuses(&self) -> Vec<Status> {
        let mut all = self.supervisor.statuses();
        all.sort_by(|a, b| a.spec.name.cmp(&b.spec.name));
        all
    }

    fn status(&self, name: &str) -> Status {
        let mut all = self.statuses().into_iter();
        let found = all.find(|status| status.spec.name == name);
        found.unwrap_or_else(|| panic!("{name} was not started"))
    }

    /// Names of the tasks that were ever replaced, or ended before their work was done.
    fn replaced(&self) -> Vec<String> {
        let done = |end: &Termination| end.reason == Reason::Completed;
        let ended = |status: &Status| status.restarts > 0 || !status.terminations.iter().all(done);
        let all = self.statuses().into_iter().filter(ended);
        all.map(|status| status.spec.name).collect()
    }

    /// Whether every task does what it is for.
    fn is_well(&self) -> bool {
        let well = |status: &Status| {
            let is_done = status.state == State::Completed;
            is_done || matches!(status.state, State::Running | State::Waiting)
        };
        self.statuses().iter().all(well) && self.supervisor.is_alive()
    }

    async fn until(&self, mut holds: impl FnMut() -> bool) {
        let wait = async {
            while !holds() {
                sleep(LOOK).await;
            }
        };
        let held = timeout(DEADLINE, wait).await;
        assert!(held.is_ok(), "{:#?}", self.statuses());
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.supervisor.stop_all();
    }
}

/// A subscriber, and what it got.
struct Follower {
    subscription: Subscription,
    lines: Vec<String>,
    gaps: usize,
}

impl Follower {
    /// Reads until it has so many lines.
    async fn until(&mut self, count: usize) {
        let read = async {
            while self.lines.len() < count {
                let item = self.subscription.next().await;
                self.take(&item);
            }
        };
        let read = timeout(DEADLINE, read).await;
        assert!(read.is_ok(), "of {count} lines {:?}", self.lines);
    }

    /// Reads what comes within a time.
    async fn hear(&mut self, time: Duration) {
        let read = async {
            loop {
                let item = self.subscription.next().await;
                self.take(&item);
            }
        };
        let _time_is_over = timeout(time, read).await;
    }

    fn take(&mut self, item: &Item) {
        match item {
            Item::Unit(unit) => match &unit.content {
                Content::Entries(batch) | Content::Late(batch, _) => {
                    let lines = batch.entries().map(|(_, line)| line);
                    let lines = lines.map(|line| String::from_utf8_lossy(line).into_owned());
                    self.lines.extend(lines);
                }
                Content::Gap(_) => self.gaps += 1,
                _ => {}
            },
            Item::CaughtUp | Item::FellBehind => {}
            Item::Complete | Item::Ended(_) => panic!("it ended: {item:?}"),
        }
    }

    /// Fails unless the lines 0 to `count` came once and in order, without a gap.
    fn assert_whole(&self, count: usize, what: &str) {
        let expected: Vec<_> = (0..count).map(|n| n.to_string()).collect();
        assert_eq!((&self.lines, self.gaps), (&expected, 0), "{what}");
    }
}

/// An engine with these containers running.
fn engine(names: &[&str]) -> (Sim, Vec<Container>) {
    let sim = Sim::starting_at(Engine::current(), Timestamp::now());
    let containers = names.iter().map(|name| sim.container(*name).run());
    let containers = containers.collect();
    (sim, containers)
}

/// Worlds that a test of many goes through; `tests/long.sh` asks for 1,000.
fn seeds() -> u64 {
    let asked = std::env::var("PULSETAIL_SEEDS");
    asked.map_or(100, |text| text.parse().expect("it is a number"))
}

/// Hours that a test of time alone lasts: a day in `tests/long.sh`.
fn hours() -> u32 {
    if seeds() < 1_000 { 2 } else { 24 }
}
