//! A Pulsetail in this process, its simulated engine, and clients of it.

use std::env;
use std::net::SocketAddr;
use std::ops::Range;
use std::process;
use std::sync::Arc;
use std::time::Duration;

use clap::Command;
use futures_util::FutureExt;
use pulsetail::app::App;
use pulsetail::config::{self, Config};
use pulsetail::docker::Connector;
use pulsetail::grpc::Address;
use pulsetail::proto::container_service_client::ContainerServiceClient;
use pulsetail::proto::log_service_client::LogServiceClient;
use pulsetail::proto::task_service_client::TaskServiceClient;
use pulsetail::proto::{GetContainerRequest, Selector, StreamLogsRequest, stream_logs_request};
use pulsetail::supervisor::Supervisor;
use pulsetail_sim::{Container, Endpoint, Engine, Sim, Timestamp};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;
use tonic::Status;
use tonic::transport::{self, Channel};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};

use crate::judge::Judge;
use crate::subscriber::Subscriber;

/// What should happen happens at once; who waits so long waits for ever.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);
/// How often a condition that cannot be awaited is looked at.
const LOOK: Duration = Duration::from_millis(2);

/// A running server.
pub(crate) struct Server {
    pub(crate) sim: Sim,
    pub(crate) admin: SocketAddr,
    pub(crate) engine_tasks: TaskTracker,
    pub(crate) supervisor: Supervisor,
    pub(crate) channel: Channel,
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    running: JoinSet<Result<(), String>>,
}

/// A current engine whose clock is right.
pub(crate) fn engine() -> Sim {
    engine_of(Engine::current())
}

pub(crate) fn engine_of(engine: Engine) -> Sim {
    Sim::starting_at(engine, Timestamp::now())
}

impl Server {
    /// Starts a server with short rotations and waits until it is ready.
    pub(crate) async fn start(sim: &Sim) -> Self {
        Self::start_with(sim, &["--rotation=300ms"]).await
    }

    pub(crate) async fn start_with(sim: &Sim, flags: &[&str]) -> Self {
        let server = Self::launch(sim, flags).await;
        server.until_ready().await;
        server
    }

    /// Starts a server and waits for nothing.
    pub(crate) async fn launch(sim: &Sim, flags: &[&str]) -> Self {
        Self::launch_on(sim, &config_of(flags), Handle::current()).await
    }

    /// The same, with a runtime of its own for what talks to the engine.
    pub(crate) async fn launch_on(sim: &Sim, config: &Config, engine_runtime: Handle) -> Self {
        let dialled = sim.clone();
        let dial = move || std::future::ready(dialled.connect()).boxed();
        let connector = Connector::Memory(Arc::new(dial));
        let app = App::build(config, connector, engine_runtime)
            .await
            .expect("ports are free");
        let addresses = app.addresses().expect("it is bound");
        let Some(&Address::Tcp(address)) = addresses.first() else {
            panic!("it listens on {addresses:?}");
        };
        let admin = app.admin_address().expect("it is bound");
        let (engine_tasks, supervisor) = (app.engine_tasks(), app.supervisor());
        let (stop, stopped) = oneshot::channel::<()>();
        let mut running = JoinSet::new();
        running.spawn(async move {
            let stopped = stopped.map(|_asked_or_dropped| ());
            app.run(stopped).await.map_err(|error| error.to_string())
        });
        Self {
            sim: sim.clone(),
            admin,
            engine_tasks,
            supervisor,
            channel: dial_server(address),
            address,
            stop,
            running,
        }
    }

    /// Where it listens.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A connection of its own.
    pub(crate) fn dial(&self) -> Channel {
        dial_server(self.address)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn endpoint(&self) -> transport::Endpoint {
        endpoint_of(self.address)
    }

    pub(crate) fn logs(&self) -> LogServiceClient<Channel> {
        LogServiceClient::new(self.channel.clone())
    }

    pub(crate) fn containers(&self) -> ContainerServiceClient<Channel> {
        ContainerServiceClient::new(self.channel.clone())
    }

    pub(crate) fn tasks(&self) -> TaskServiceClient<Channel> {
        TaskServiceClient::new(self.channel.clone())
    }

    pub(crate) fn health(&self) -> HealthClient<Channel> {
        HealthClient::new(self.channel.clone())
    }

    pub(crate) async fn until_ready(&self) {
        let service = String::new();
        let watched = self.health().watch(HealthCheckRequest { service }).await;
        let mut statuses = watched.expect("it listens").into_inner();
        within(async {
            while let Some(answer) = statuses.message().await.expect("it watches") {
                if answer.status() == ServingStatus::Serving {
                    return;
                }
            }
        })
        .await;
    }

    /// Waits until the server knows of a container.
    pub(crate) async fn until_listed(&self, name: &str) {
        until_so(async || {
            let name = name.to_owned();
            let mut client = self.containers();
            let known = client.get_container(GetContainerRequest { name });
            known.await.is_ok()
        })
        .await;
    }

    /// Opens a subscription and waits for its first message.
    pub(crate) async fn open(&self, request: StreamLogsRequest) -> Subscriber {
        let opened = self.try_open(request).await;
        opened.expect("the request is served")
    }

    pub(crate) async fn try_open(&self, request: StreamLogsRequest) -> Result<Subscriber, Status> {
        let mut client = self.logs();
        let judge = Judge::of(&request.cursors);
        let opening = client.stream_logs(request);
        Subscriber::judged_by(judge, within(opening).await?.into_inner()).await
    }

    /// Everything stored, read to its end.
    pub(crate) async fn read(&self, request: StreamLogsRequest) -> Subscriber {
        let mut subscriber = self.open(request).await;
        subscriber.end().await.expect("a read ends with OK");
        subscriber
    }

    /// How often the engine was asked for logs to follow.
    pub(crate) fn leases(&self) -> usize {
        let requests = self.sim.requests();
        let of_logs = requests.iter().filter(|r| r.endpoint == Endpoint::Logs);
        of_logs.filter(|r| r.target.contains("follow=true")).count()
    }

    /// What `GET path` of the admin listener answers: status and body.
    pub(crate) async fn admin_get(&self, path: &str) -> (u16, String) {
        let answer = within(async {
            let mut tcp = TcpStream::connect(self.admin).await?;
            let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
            tcp.write_all(request.as_bytes()).await?;
            let mut answer = String::new();
            tcp.read_to_string(&mut answer).await?;
            std::io::Result::Ok(answer)
        });
        let answer = answer.await.expect("it listens");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head ends");
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        (status.expect("a status line"), body.to_owned())
    }

    /// Asks it to stop; what becomes of its streams is seen by their clients.
    pub(crate) fn drain(self) -> JoinSet<Result<(), String>> {
        // It may have failed by itself, which the set tells.
        let _asked = self.stop.send(());
        self.running
    }

    /// Stops it; it must have served well to the end.
    pub(crate) async fn stop(self) {
        let mut running = self.drain();
        let served = within(running.join_next()).await;
        let served = served.expect("one task").expect("it does not panic");
        served.expect("it serves until it is told to stop");
    }
}

fn dial_server(address: SocketAddr) -> Channel {
    endpoint_of(address).connect_lazy()
}

fn endpoint_of(address: SocketAddr) -> transport::Endpoint {
    let target = format!("http://{address}");
    Channel::from_shared(target).expect("an address is a URI")
}

pub(crate) fn config_of(flags: &[&str]) -> Config {
    let command = Command::new("pulsetail").args(config::args());
    let own = [
        "pulsetail",
        "--listen=127.0.0.1:0",
        "--admin-listen=127.0.0.1:0",
    ];
    let matches = command.get_matches_from([&own, flags].concat());
    config::load(&matches).expect("the flags are valid")
}

/// A request for the whole stored log of one container.
pub(crate) fn stored(name: &str) -> StreamLogsRequest {
    let selector = Selector {
        names: vec![name.to_owned()],
        ..Selector::default()
    };
    StreamLogsRequest {
        selector: Some(selector),
        ..StreamLogsRequest::default()
    }
}

/// A request for what one container writes from now on.
pub(crate) fn followed(name: &str) -> StreamLogsRequest {
    StreamLogsRequest {
        follow: true,
        ..stored(name)
    }
}

/// A request for all one container wrote and will write.
pub(crate) fn all(name: &str) -> StreamLogsRequest {
    StreamLogsRequest {
        start: Some(stream_logs_request::Start::FromBeginning(true)),
        ..followed(name)
    }
}

/// Runs an ignored test in a process of its own: what it counts or measures, other tests have too.
pub(crate) fn alone(test: &str) {
    let this = env::current_exe().expect("it runs");
    let arguments = ["--ignored", "--exact", test, "--nocapture"];
    let run = process::Command::new(this).args(arguments).output();
    let run = run.expect("it runs again");
    let said = String::from_utf8_lossy(&run.stdout);
    let failed = String::from_utf8_lossy(&run.stderr);
    assert!(
        run.status.success() && said.contains("1 passed"),
        "{said}\n{failed}"
    );
}

/// The engine's time as the contract has it.
pub(crate) fn instant(time: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: time.secs(),
        nanos: i32::try_from(time.nanos().rem_euclid(1_000_000_000)).expect("it is a rest"),
    }
}

/// Writes each number as a line.
pub(crate) fn write(container: &Container, numbers: Range<usize>) {
    numbers.for_each(|n| container.stdout(format!("{n}\n")));
}

/// Waits for what must happen.
pub(crate) async fn within<T>(event: impl Future<Output = T>) -> T {
    let happened = timeout(DEADLINE, event).await;
    happened.expect("it did not happen before the deadline")
}

/// Waits until a condition holds.
pub(crate) async fn until(mut holds: impl FnMut() -> bool) {
    within(async {
        while !holds() {
            sleep(LOOK).await;
        }
    })
    .await;
}

/// Waits until the answer to a question is yes.
pub(crate) async fn until_so(holds: impl AsyncFn() -> bool) {
    within(async {
        while !holds().await {
            sleep(LOOK).await;
        }
    })
    .await;
}
