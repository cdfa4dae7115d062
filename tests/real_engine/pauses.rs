//! A machine that stands still: the whole of Pulsetail is stopped for longer than any task may hang, and goes on as if
//! nothing had been. And a thread that alone stands still: the process ends, and another one goes on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use pulsetail::proto::TaskType;
use tokio::task::{block_in_place, spawn_blocking};
use tokio::time::{sleep, timeout};
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::client::{Client, stored, until_exit};
use crate::engine::{Dockerd, RunOptions};
use crate::kind::{Kind, on_each};
use crate::process::Process;
use crate::truth::History;
use crate::writer::{Gates, Script};

/// Some 60 s of it.
const SCRIPT: Script = Script {
    pairs: 2_000,
    width: 30,
    pace: Some((1, 30_000)),
};
/// A turn may take 30 s, and a runtime may show nothing for 40 s before the process ends itself.
const PAUSE: Duration = Duration::from_secs(45);
/// What health says by then it says.
const DEADLINE: Duration = Duration::from_secs(20);

/// Generations by name of what never ends, and how often one of all tasks was replaced. The containers of other tests
/// come and go.
async fn generations(server: &Process, id: &str) -> (BTreeMap<String, u64>, u64) {
    let tasks = server.tasks().await;
    let restarts = tasks.iter().map(|task| task.restarts).sum();
    let lasts = tasks.into_iter().filter(|task| match task.r#type() {
        TaskType::Container => task.container.as_ref().is_some_and(|of| of.id == id),
        kind => kind != TaskType::CatchUp,
    });
    let named = lasts.map(|task| (task.name, task.generation));
    (named.collect(), restarts)
}

/// Waits for what health says of all and of the process.
async fn until_health(server: &Process, wanted: ServingStatus) {
    let channel = Channel::from_shared(server.address().to_owned()).unwrap();
    let mut health = HealthClient::new(channel.connect_lazy());
    let said = async {
        for service in ["liveness", "pulsetail.v1.TaskService"] {
            loop {
                let service = service.to_owned();
                let answer = health.check(HealthCheckRequest { service }).await;
                if answer.unwrap().into_inner().status() == wanted {
                    break;
                }
                sleep(Duration::from_millis(50)).await;
            }
        }
    };
    timeout(DEADLINE, said).await.expect("health says so");
}

/// Fault row 42.
async fn paused(kind: Kind) {
    let Some(engine) = Dockerd::shared(kind) else {
        return;
    };
    let gates = Arc::new(block_in_place(Gates::new));
    let run = || gates.run(engine, "slept", &RunOptions::default(), &SCRIPT.text("1"));
    let id = block_in_place(run);
    let server = block_in_place(|| Process::start(engine, &[]));
    let client = Client::of(server.address(), until_exit("slept"), History::new(SCRIPT)).await;
    let mut client = client.caught_up().await;
    spawn_blocking(move || gates.open("slept")).await.unwrap();
    assert!(client.read_until(200).await);
    let before = generations(&server, &id).await;
    server.signal("STOP");
    sleep(PAUSE).await;
    server.signal("CONT");
    until_health(&server, ServingStatus::Serving).await;
    // Time for whoever would be killed to be replaced.
    assert!(client.read_until(2_000).await);
    assert_eq!(generations(&server, &id).await, before, "{kind:?}");
    let history = client.finish().await;
    let kept = stored(engine, &id).await;
    block_in_place(|| engine.remove("slept"));
    history.assert_whole(kind, SCRIPT.pairs, &kept);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_longer_than_any_task_may_hang_costs_no_task_and_no_line() {
    on_each(paused).await;
}

/// Fault row 33, of the thread that reads the engine, with the times of every day.
async fn stuck(kind: Kind) {
    let Some(engine) = Dockerd::shared(kind) else {
        return;
    };
    let gates = Arc::new(block_in_place(Gates::new));
    let run = || gates.run(engine, "stuck", &RunOptions::default(), &SCRIPT.text("1"));
    let id = block_in_place(run);
    let mut server = block_in_place(|| Process::start(engine, &[]));
    let client = Client::of(server.address(), until_exit("stuck"), History::new(SCRIPT)).await;
    let mut client = client.caught_up().await;
    spawn_blocking(move || gates.open("stuck")).await.unwrap();
    assert!(client.read_until(200).await);
    let _held = block_in_place(|| server.hold("engine"));
    until_health(&server, ServingStatus::NotServing).await;
    assert_eq!(server.exited(), None, "{kind:?}: it is given time");
    let history = client.history;
    let ended = async {
        loop {
            match server.exited() {
                Some(status) => return status,
                None => sleep(Duration::from_millis(50)).await,
            }
        }
    };
    let ended = timeout(PAUSE, ended).await;
    assert_eq!(ended.expect("it ends itself"), 70, "{kind:?}");
    let server = block_in_place(|| Process::start(engine, &[]));
    let client = Client::of(server.address(), until_exit("stuck"), history).await;
    let history = client.finish().await;
    let kept = stored(engine, &id).await;
    block_in_place(|| engine.remove("stuck"));
    history.assert_whole(kind, SCRIPT.pairs, &kept);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_thread_that_is_stuck_ends_the_process_with_70_and_clients_go_on() {
    on_each(stuck).await;
}
