//! The wiring: which parts there are, where they run, and how they end.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::admin;
use crate::config::Config;
use crate::docker::{self, Connector, Engine, Feed, Keeper, Ledger, Own, Probe, Reach, Seen};
use crate::grpc::{self, Address, Compression, Health, Listener, Server};
use crate::hub::{Registry, Roster, Tasks};
use crate::supervisor::{Breaker, Kind, Spec, Supervisor, Timings};

/// What is left to be done after the streams have ended.
const REST: Duration = Duration::from_secs(1);

/// A server that is bound and not yet running.
#[derive(Debug)]
pub struct App {
    registry: Arc<Registry>,
    listeners: Vec<Listener>,
    admin: TcpListener,
    engine_tasks: Tasks,
    supervisor: Supervisor,
    keepers: Keepers,
    compression: Compression,
    own: Own,
    timings: Timings,
}

#[derive(Debug)]
struct Keepers {
    engine: Engine,
    endpoint: String,
    reach: watch::Sender<Reach>,
    ledger: Ledger,
    breaker: Breaker,
}

impl Keepers {
    /// Starts what keeps up with the engine as a whole, and what shows that it and
    /// the service run.
    fn start(self, supervisor: &Supervisor, runtime: &Handle, registry: &Arc<Registry>) {
        let spec = |name: &str, kind| Spec {
            name: name.to_owned(),
            kind,
            container: None,
        };
        let Self {
            engine,
            endpoint,
            reach,
            ledger,
            breaker,
        } = self;
        let (asked, gate) = (engine.clone(), breaker.clone());
        let probe = spec("engine-probe", Kind::EngineProbe);
        // The one that is asked for turns whatever the breaker says.
        supervisor.start(probe, runtime, None, move |_permit| {
            Probe::new(asked.clone(), endpoint.clone(), reach.clone(), gate.clone())
        });
        let (seen, listed) = (Seen::default(), ledger.inventory());
        let (followed, hints) = (engine.clone(), seen.clone());
        let feed = spec("event-feed", Kind::EventFeed);
        supervisor.start(feed, runtime, Some(breaker.clone()), move |_permit| {
            Feed::new(followed.clone(), listed.clone(), hints.clone())
        });
        let (roster, registry) = (spec("roster", Kind::Inventory), Arc::clone(registry));
        supervisor.start(roster, runtime, None, move |_permit| {
            Roster::new(Arc::clone(&registry))
        });
        let keeper = spec("inventory", Kind::Inventory);
        supervisor.start(keeper, runtime, Some(breaker), move |permit| {
            Keeper::new(engine.clone(), ledger.clone(), seen.clone(), permit)
        });
        supervisor.keep_canary("engine", runtime);
        supervisor.keep_canary("service", &Handle::current());
    }
}

/// A supervisor that is watched, until this is dropped.
struct Watched(Supervisor);

impl Watched {
    fn begin(supervisor: &Supervisor) -> io::Result<Self> {
        supervisor.watch()?;
        Ok(Self(supervisor.clone()))
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.0.stop_all();
    }
}

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be bound.
    #[error("cannot listen on {0}")]
    Listen(String, #[source] io::Error),
    /// The engine's client cannot be made.
    #[error(transparent)]
    Engine(#[from] docker::EngineError),
}

impl App {
    /// Binds every address. What talks to the engine will run on
    /// `engine_runtime`, the rest where this is called.
    ///
    /// # Errors
    /// An address that cannot be bound.
    pub async fn build(
        config: &Config,
        connector: Connector,
        engine_runtime: Handle,
    ) -> Result<Self, StartError> {
        let endpoint = connector.to_string();
        let engine = Engine::new(connector)?;
        let unknown = Reach::Away("it has not been asked yet".to_owned());
        let reach = watch::Sender::new(unknown);
        let ledger = Ledger::default();
        let engine_tasks = Tasks {
            runtime: engine_runtime,
            tracker: TaskTracker::new(),
            stop: CancellationToken::new(),
        };
        let supervisor = Supervisor::new(config.timings, engine_tasks.tracker.clone());
        let breaker = Breaker::default();
        let registry = Arc::new(Registry::new(
            engine.clone(),
            reach.subscribe(),
            ledger.clone(),
            config.reading,
            engine_tasks.clone(),
            (supervisor.clone(), breaker.clone()),
        ));
        let mut listeners = Vec::new();
        for address in &config.listen {
            let listener = Listener::bind(address).await;
            listeners.push(listener.map_err(|e| StartError::Listen(address.to_string(), e))?);
        }
        let admin = TcpListener::bind(config.admin_listen).await;
        Ok(Self {
            registry,
            listeners,
            admin: admin.map_err(|e| StartError::Listen(config.admin_listen.to_string(), e))?,
            engine_tasks,
            supervisor,
            keepers: Keepers {
                engine,
                endpoint,
                reach,
                ledger,
                breaker,
            },
            compression: config.compression,
            own: match config.include_self {
                true => Own::default(),
                false => Own::of_process(),
            },
            timings: config.timings,
        })
    }

    /// The gRPC addresses, with the ports that were taken.
    ///
    /// # Errors
    /// The operating system's.
    pub fn addresses(&self) -> io::Result<Vec<Address>> {
        self.listeners.iter().map(Listener::address).collect()
    }

    /// The admin address, with the port that was taken.
    ///
    /// # Errors
    /// The operating system's.
    pub fn admin_address(&self) -> io::Result<SocketAddr> {
        self.admin.local_addr()
    }

    /// Says where it listens, and one line to try.
    ///
    /// # Errors
    /// The operating system's.
    #[allow(
        clippy::print_stdout,
        reason = "for whoever started it, apart from the log"
    )]
    pub fn greet(&self) -> io::Result<()> {
        let addresses = self.addresses()?;
        for address in &addresses {
            println!("gRPC   {address}");
        }
        println!("admin  http://{}/health", self.admin_address()?);
        let target = match addresses.first() {
            Some(Address::Unix(path)) => format!("-unix {}", path.display()),
            Some(Address::Tcp(address)) => address.to_string(),
            None => return Ok(()),
        };
        println!("try    grpcurl -plaintext {target} pulsetail.v1.ContainerService/ListContainers");
        Ok(())
    }

    /// Counts the tasks that talk to the engine, for those who watch over leaks.
    pub fn engine_tasks(&self) -> TaskTracker {
        self.engine_tasks.tracker.clone()
    }

    /// Starts its tasks alone, without listeners and without a watchdog of another
    /// thread: for tests in virtual time.
    #[cfg(test)]
    pub(crate) fn start_tasks(self) -> (Arc<Registry>, Supervisor) {
        let runtime = &self.engine_tasks.runtime;
        self.keepers
            .start(&self.supervisor, runtime, &self.registry);
        (self.registry, self.supervisor)
    }

    /// What runs its tasks, for those who test what survives their ends.
    pub fn supervisor(&self) -> Supervisor {
        self.supervisor.clone()
    }

    /// Serves until `shutdown` resolves, then drains: health first, then every
    /// stream with its cursors, then the rest, within the drain deadline.
    ///
    /// # Errors
    /// The gRPC server's.
    pub async fn run(
        self,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        tell_bounds(&self.timings);
        let (draining, stop) = (CancellationToken::new(), self.engine_tasks.stop.clone());
        let tasks = TaskTracker::new();
        let _watched = Watched::begin(&self.supervisor)?;
        self.keepers
            .start(&self.supervisor, &self.engine_tasks.runtime, &self.registry);
        let admin = admin::serve(
            self.admin,
            Arc::clone(&self.registry),
            self.supervisor.clone(),
            draining.clone(),
            stop.clone(),
        );
        tasks.spawn(async move {
            if let Err(error) = admin.await {
                warn!(%error, "admin listener failed");
            }
        });
        let server = Server::new(
            Arc::clone(&self.registry),
            (self.compression, self.own),
            draining.clone(),
            tasks.clone(),
            self.supervisor.clone(),
        );
        let health = Health::new(
            self.registry,
            draining.clone(),
            tasks.clone(),
            self.supervisor.clone(),
        );
        let serving = (draining.clone(), tasks.clone());
        let mut served = std::pin::pin!(grpc::serve(server, health, self.listeners, serving));
        let outcome = tokio::select! {
            outcome = &mut served => outcome,
            () = shutdown => {
                draining.cancel();
                timeout(self.timings.drain, served).await.unwrap_or_else(|_late| {
                    warn!("drain deadline passed, cutting what is left");
                    Ok(())
                })
            }
        };
        stop.cancel();
        self.supervisor.stop_all();
        tasks.close();
        self.engine_tasks.tracker.close();
        let rest = async { tokio::join!(tasks.wait(), self.engine_tasks.tracker.wait()) };
        let clean = timeout(REST, rest).await.is_ok();
        info!(clean, "stopped");
        outcome
    }
}

/// What the times come to, for whoever runs it.
fn tell_bounds(timings: &Timings) {
    info!(
        detection = ?timings.detection(),
        resting_detection = ?timings.resting_detection(),
        stall_detection = ?timings.stall_detection(),
        recovery = ?timings.recovery(),
        stop_grace = ?timings.stop_grace,
        "bounds"
    );
}
