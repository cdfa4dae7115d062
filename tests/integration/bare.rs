//! What reads logs, without anything that serves them: no socket, so time can be virtual.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use pulsetail::docker::{Connector, Container, Engine, Feed, Keeper, Ledger, Probe, Reach, Seen};
use pulsetail::hub::{Content, Item, Registry, Roster, Subscription, Tasks};
use pulsetail::supervisor::{Breaker, Kind, Spec, State, Status, Supervisor};
use pulsetail::tail::From;
use pulsetail_sim::Sim;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::harness::config_of;

/// How often a condition that cannot be awaited is looked at, in virtual time.
const LOOK: Duration = Duration::from_millis(10);

/// The tasks that the server runs, on this runtime.
pub(crate) struct Bare {
    pub(crate) registry: Arc<Registry>,
    pub(crate) supervisor: Supervisor,
    stop: CancellationToken,
}

impl Drop for Bare {
    fn drop(&mut self) {
        self.stop.cancel();
        self.supervisor.stop_all();
    }
}

fn spec(name: &str, kind: Kind) -> Spec {
    Spec {
        name: name.to_owned(),
        kind,
        container: None,
    }
}

impl Bare {
    pub(crate) fn start(sim: &Sim, flags: &[&str]) -> Self {
        let dialled = sim.clone();
        let dial = move || std::future::ready(dialled.connect()).boxed();
        let engine = Engine::new(Connector::Memory(Arc::new(dial))).expect("it can be made");
        let reach = watch::Sender::new(Reach::Away("not asked".to_owned()));
        let ledger = Ledger::default();
        let (config, tracker) = (config_of(flags), TaskTracker::new());
        let (supervisor, breaker) = (
            Supervisor::new(config.timings, tracker.clone()),
            Breaker::default(),
        );
        let stop = CancellationToken::new();
        let tasks = Tasks {
            runtime: Handle::current(),
            tracker,
            stop: stop.clone(),
        };
        let registry = Arc::new(Registry::new(
            engine.clone(),
            reach.subscribe(),
            ledger.clone(),
            config.reading,
            tasks,
            (supervisor.clone(), breaker.clone()),
        ));
        let bare = Self {
            registry,
            supervisor,
            stop,
        };
        bare.keep(engine, reach, ledger, breaker);
        bare.watch();
        bare
    }

    fn keep(&self, engine: Engine, reach: watch::Sender<Reach>, ledger: Ledger, breaker: Breaker) {
        let (here, supervisor, registry) = (Handle::current(), &self.supervisor, &self.registry);
        let (asked, gate) = (engine.clone(), breaker.clone());
        supervisor.start(
            spec("engine-probe", Kind::EngineProbe),
            &here,
            None,
            move |_| {
                let endpoint = "memory".to_owned();
                Probe::new(asked.clone(), endpoint, reach.clone(), gate.clone())
            },
        );
        let (seen, listed) = (Seen::default(), ledger.inventory());
        let (followed, hints, gate) = (engine.clone(), seen.clone(), Some(breaker.clone()));
        supervisor.start(
            spec("event-feed", Kind::EventFeed),
            &here,
            gate,
            move |_| Feed::new(followed.clone(), listed.clone(), hints.clone()),
        );
        let kept = Arc::clone(registry);
        supervisor.start(spec("roster", Kind::Inventory), &here, None, move |_| {
            Roster::new(Arc::clone(&kept))
        });
        let gate = Some(breaker);
        supervisor.start(
            spec("inventory", Kind::Inventory),
            &here,
            gate,
            move |permit| Keeper::new(engine.clone(), ledger.clone(), seen.clone(), permit),
        );
    }

    /// The watchdog, in this runtime's time.
    fn watch(&self) {
        let (watched, stop) = (self.supervisor.clone(), self.stop.clone());
        tokio::spawn(async move {
            while !stop.is_cancelled() {
                let idle = watched.look();
                sleep(idle.max(Duration::from_millis(5))).await;
            }
        });
    }

    /// Waits in virtual time for what must happen.
    pub(crate) async fn until(&self, holds: impl Fn(&Self) -> bool) {
        let held = async {
            while !holds(self) {
                sleep(LOOK).await;
            }
        };
        let held = timeout(Duration::from_secs(600), held).await;
        held.unwrap_or_else(|_| panic!("{:#?}", self.supervisor.statuses()));
    }

    pub(crate) fn find(&self, name: &str) -> Option<Arc<Container>> {
        self.registry.inventory().find(name).ok().map(Arc::clone)
    }

    pub(crate) fn status(&self, name: &str) -> Option<Status> {
        let mut all = self.supervisor.statuses().into_iter();
        all.find(|status| status.spec.name == name)
    }

    /// The task of a container.
    pub(crate) fn task(&self, container: &pulsetail_sim::Container) -> Option<Status> {
        self.status(&format!("container/{}", container.id()))
    }

    pub(crate) fn state(&self, container: &pulsetail_sim::Container) -> Option<State> {
        self.task(container).map(|status| status.state)
    }

    /// Follows a log from its beginning.
    pub(crate) async fn follow(&self, name: &str) -> Subscription {
        self.until(|bare| bare.find(name).is_some()).await;
        let container = self.find(name).expect("it is listed");
        let from = Some(From::Beginning);
        let opened = Subscription::follow(&self.registry, container, from, Duration::ZERO).await;
        opened.expect("it is read")
    }
}

/// The next lines of a subscription.
pub(crate) async fn lines(subscription: &mut Subscription, count: usize) -> Vec<String> {
    let mut lines = Vec::new();
    while lines.len() < count {
        let next = timeout(Duration::from_secs(600), subscription.next()).await;
        match next.expect("a line comes") {
            Item::Unit(unit) => match &unit.content {
                Content::Entries(batch) | Content::Late(batch, _) => {
                    let texts = batch
                        .entries()
                        .map(|(_, line)| String::from_utf8_lossy(line));
                    lines.extend(texts.map(std::borrow::Cow::into_owned));
                }
                Content::Gap(gap) => panic!("{gap:?} behind {lines:?}"),
                _ => {}
            },
            Item::Ended(ended) => panic!("{ended:?} behind {lines:?}"),
            Item::Complete => return lines,
            Item::CaughtUp | Item::FellBehind => {}
        }
    }
    lines
}
