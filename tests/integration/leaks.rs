//! Nothing is left of a client that is gone.

use std::time::{Duration, Instant};

use pulsetail::proto::log_service_client::LogServiceClient;
use pulsetail_sim::{Fault, Sim};

use crate::churn::counted;
use crate::harness::{Server, all, alone, engine, followed, stored, until, within};

/// Five times what is promised. An engine's own silence would be given up after ten.
const BOUND: Duration = Duration::from_secs(5);

async fn assert_closes(sim: &Sim, what: &str) {
    let gone = Instant::now();
    within(sim.wait_until(|stats| stats.log_streams == 0)).await;
    assert!(gone.elapsed() < BOUND, "{what}: after {:?}", gone.elapsed());
}

#[tokio::test]
async fn dropping_a_client_closes_its_engine_connection() {
    let sim = engine();
    let web = sim.container("web").run();
    web.stdout("line\n");
    // Without newlines enough to be read for long.
    let busy = sim.container("busy").run();
    (0..20_000).for_each(|n| busy.stdout(format!("{n:01000}\n")));
    let server = Server::start_with(&sim, &["--rotation=10m"]).await;

    let mut follower = server.open(followed("web")).await;
    follower.caught_up().await;
    within(sim.wait_until(|stats| stats.log_streams == 1)).await;
    drop(follower);
    assert_closes(&sim, "a follow").await;

    let reader = server.open(stored("busy")).await;
    assert!(sim.stats().log_streams > 0, "it was read at once");
    drop(reader);
    assert_closes(&sim, "a read of history").await;

    busy.fault(Fault::stall().after(200).on_snapshot());
    let reader = server.open(stored("busy")).await;
    within(sim.wait_until(|stats| stats.faults == 1)).await;
    drop(reader);
    assert_closes(&sim, "a read of a silent engine").await;

    let mut client = LogServiceClient::new(server.dial());
    let stream = client.stream_logs(all("web")).await.expect("it is served");
    within(sim.wait_until(|stats| stats.log_streams == 1)).await;
    drop((stream, client));
    assert_closes(&sim, "a connection").await;
    server.stop().await;
}

#[tokio::test]
async fn a_stopped_server_leaves_nothing_at_the_engine() {
    let sim = engine();
    sim.container("web").run();
    let server = Server::start(&sim).await;
    let subscriber = server.open(followed("web")).await;
    let tasks = server.engine_tasks.clone();
    server.stop().await;
    let left = within(sim.wait_until(|stats| stats.connections == 0)).await;
    assert_eq!(
        (left.log_streams, left.event_streams, tasks.len()),
        (0, 0, 0)
    );
    drop(subscriber);
}

#[test]
fn a_thousand_subscriptions_leave_tasks_connections_and_descriptors_as_they_were() {
    alone("leaks::a_thousand_rounds");
}

#[tokio::test]
#[ignore = "run by the test above, alone in its process"]
async fn a_thousand_rounds() {
    let sim = engine();
    let web = sim.container("web").run();
    (0..100).for_each(|n| web.stdout(format!("{n}\n")));
    let server = Server::start_with(&sim, &["--rotation=100ms", "--linger=0s"]).await;
    round(&server, 0).await;
    settled(&server, &sim).await;
    let before = counted(&server, &sim);
    for number in 0..1_000 {
        round(&server, number).await;
    }
    settled(&server, &sim).await;
    until(|| counted(&server, &sim) == before).await;
    server.stop().await;
}

/// One subscription, given up at some point; each tenth has a connection of its own.
async fn round(server: &Server, number: usize) {
    let mut client = match number % 10 {
        0 => LogServiceClient::new(server.dial()),
        _ => server.logs(),
    };
    let request = match number % 7 % 3 {
        0 => followed("web"),
        1 => all("web"),
        _ => stored("web"),
    };
    let mut stream = client
        .stream_logs(request)
        .await
        .expect("it is served")
        .into_inner();
    for _ in 0..number % 3 {
        within(stream.message()).await.expect("it is open");
    }
}

async fn settled(server: &Server, sim: &Sim) {
    // The event feed alone; pings and probes come and go.
    let idle = || server.engine_tasks.len() == 7 && sim.stats().log_streams == 0;
    until(|| idle() && sim.stats().connections == 1).await;
}
