//! Health tells the truth, within a bound, and draining says good-bye.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use pulsetail::proto::ClosingReason;
use pulsetail::supervisor::{Timings, Wishes};
use pulsetail_sim::{Endpoint, Fault, Sim};
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::time::timeout;
use tonic::{Code, Streaming};
use tonic_health::pb::health_check_response::ServingStatus::{
    self, NotServing, ServiceUnknown, Serving,
};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_types::StatusExt;

use crate::harness::{Server, all, config_of, engine, followed, stored, until_so, within};

const READINESS: [&str; 3] = [
    "",
    "pulsetail.v1.LogService",
    "pulsetail.v1.ContainerService",
];
const LIVENESS: [&str; 3] = [
    "liveness",
    "pulsetail.v1.ServerService",
    "pulsetail.v1.TaskService",
];
/// Promised is 5 s.
const BOUND: Duration = Duration::from_secs(5);

type Step = fn(&Sim);

fn named(service: &str) -> HealthCheckRequest {
    let service = service.to_owned();
    HealthCheckRequest { service }
}

async fn check(server: &Server, service: &str) -> ServingStatus {
    let answer = server.health().check(named(service)).await;
    answer
        .expect("it answers from memory")
        .into_inner()
        .status()
}

async fn assert_all(server: &Server, readiness: ServingStatus) {
    for service in READINESS {
        assert_eq!(check(server, service).await, readiness, "{service:?}");
    }
    for service in LIVENESS {
        assert_eq!(check(server, service).await, Serving, "{service:?}");
    }
    let code = if readiness == Serving { 200 } else { 503 };
    assert_eq!(server.admin_get("/readyz").await.0, code);
    assert_eq!(server.admin_get("/livez").await.0, 200);
    let (status, body) = server.admin_get("/health").await;
    let body: serde_json::Value = serde_json::from_str(&body).expect("it is JSON");
    assert_eq!(
        (status, body["status"] == "ready"),
        (code, readiness == Serving),
        "{body}"
    );
}

async fn watch(server: &Server, service: &str) -> Streaming<HealthCheckResponse> {
    let watched = server.health().watch(named(service)).await;
    watched.expect("every name can be watched").into_inner()
}

async fn next(statuses: &mut Streaming<HealthCheckResponse>) -> ServingStatus {
    let answer = within(statuses.message()).await.expect("it is open");
    answer.expect("it is open").status()
}

#[tokio::test]
async fn nothing_is_serving_before_the_engine_was_pinged_and_listed() {
    let sim = engine();
    sim.stop();
    let server = Server::launch(&sim, &[]).await;
    assert_all(&server, NotServing).await;
    // It answers pings, but has not been listed yet.
    sim.fault(Fault::refuse(500, "not yet").on(Endpoint::List).sticky());
    sim.start();
    within(sim.wait_until(|stats| stats.requests(Endpoint::List) >= 2)).await;
    assert_all(&server, NotServing).await;
    sim.clear_faults();
    server.until_ready().await;
    assert_all(&server, Serving).await;
    server.stop().await;
}

#[tokio::test]
async fn a_watch_is_told_of_each_change_once() {
    let sim = engine();
    let web = sim.container("web").run();
    let server = Server::launch(&sim, &[]).await;
    let mut statuses = watch(&server, "").await;
    if next(&mut statuses).await == NotServing {
        assert_eq!(next(&mut statuses).await, Serving);
    }
    let (stop, start): (Step, Step) = (Sim::stop, Sim::start);
    for (fail, recover) in [(stop, start), (Sim::freeze, Sim::thaw)] {
        // What changes nothing is not told: events, and containers that come and go.
        web.restart();
        sim.container(format!("c{}", sim.stats().all_requests()))
            .run();
        let failed = Instant::now();
        fail(&sim);
        assert_eq!(next(&mut statuses).await, NotServing);
        let after = failed.elapsed();
        assert!(after < 2 * BOUND, "NOT_SERVING after {after:?}");
        assert_all(&server, NotServing).await;
        recover(&sim);
        assert_eq!(next(&mut statuses).await, Serving);
        assert_all(&server, Serving).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn an_unknown_name_is_told_so_and_its_watch_stays_open() {
    let sim = engine();
    let server = Server::start(&sim).await;
    let unknown = server.health().check(named("nobody")).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    let (mut nobody, mut known) = (watch(&server, "nobody").await, watch(&server, "").await);
    assert_eq!(next(&mut nobody).await, ServiceUnknown);
    assert_eq!(next(&mut known).await, Serving);
    sim.stop();
    assert_eq!(next(&mut known).await, NotServing);
    let more = timeout(Duration::from_millis(50), nobody.message()).await;
    assert!(more.is_err(), "nothing has changed for it: {more:?}");
    server.stop().await;
}

#[tokio::test]
async fn a_drain_ends_every_stream_with_its_cursors() {
    let sim = engine();
    let web = sim.container("web").run();
    let server = Server::start(&sim).await;
    let mut statuses = watch(&server, "").await;
    assert_eq!(next(&mut statuses).await, Serving);
    let (mut one, mut two) = (
        server.open(all("web")).await,
        server.open(followed("web")).await,
    );
    web.stdout("line\n");
    one.entries(1).await;
    two.entries(1).await;
    let mut running = server.drain();
    assert_eq!(next(&mut statuses).await, NotServing);
    for mut subscriber in [one, two] {
        let status = subscriber.end().await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
        let details = status.get_error_details();
        assert_eq!(details.error_info().unwrap().reason, "DRAINING");
        assert!(details.retry_info().is_some());
        let closing = subscriber.closing();
        assert_eq!(closing.reason(), ClosingReason::Drain);
        assert!(closing.retry_delay.is_some());
        assert_eq!(closing.progress.as_ref().unwrap().positions.len(), 1);
        assert_eq!(subscriber.cursors().len(), 1);
    }
    let served = within(running.join_next()).await.unwrap();
    assert_eq!(served.unwrap(), Ok(()));
    let left = within(sim.wait_until(|stats| stats.connections == 0)).await;
    assert_eq!(left.log_streams, 0);
}

#[tokio::test]
async fn a_client_that_does_not_read_delays_a_drain_by_its_deadline_alone() {
    let sim = engine();
    let web = sim.container("web").run();
    let line = format!("{}\n", "x".repeat(10_000));
    (0..2_000).for_each(|_| web.stdout(&line));
    let server = Server::start_with(&sim, &["--drain-deadline=15s"]).await;
    let (admin, readiness) = (server.admin, watch(&server, "").await);
    let mut stuck = server.logs();
    let unread = stuck
        .stream_logs(stored("web"))
        .await
        .expect("it is served");
    let began = Instant::now();
    let mut running = server.drain();
    let served = within(running.join_next()).await.unwrap();
    assert_eq!(served.unwrap(), Ok(()));
    assert!(
        began.elapsed() < Duration::from_secs(19),
        "{:?}",
        began.elapsed()
    );
    assert!(TcpStream::connect(admin).await.is_err(), "it listens still");
    drop((unread, readiness));
}

#[tokio::test]
async fn streams_outlast_an_engine_that_goes_away_and_say_so() {
    use pulsetail::proto::NoticeKind::{EngineLost, EngineRestored};
    let sim = engine();
    let web = sim.container("web").run();
    let server = Server::start(&sim).await;
    let mut subscriber = server.open(followed("web")).await;
    sim.freeze();
    web.stdout("while it was away\n");
    subscriber
        .until(|heard| heard.notices() == [EngineLost])
        .await;
    sim.thaw();
    subscriber.entries(1).await;
    subscriber
        .until(|heard| heard.notices().contains(&EngineRestored))
        .await;
    assert_eq!(subscriber.texts(), ["while it was away"]);
    assert!(subscriber.gaps().is_empty());
    until_so(async || check(&server, "").await == Serving).await;
    server.stop().await;
}

/// Fault row 33, as it is seen from outside.
#[tokio::test]
async fn an_engine_thread_that_is_stuck_fails_liveness_until_it_runs_again() {
    let sim = engine();
    let mut config = config_of(&[]);
    config.timings = Timings::try_new(Wishes {
        canary: Duration::from_millis(20),
        look: Duration::from_millis(100),
        silence: Duration::from_millis(500),
        stuck: Duration::from_secs(3_600),
        ..*config.timings
    })
    .expect("they are in order");
    let mut thread = Builder::new_multi_thread();
    let thread = thread.worker_threads(1).enable_all().build().unwrap();
    let server = Server::launch_on(&sim, &config, thread.handle().clone()).await;
    server.until_ready().await;
    until_so(async || check(&server, "liveness").await == Serving).await;
    let mut statuses = watch(&server, "liveness").await;
    assert_eq!(next(&mut statuses).await, Serving);
    let (free, held) = mpsc::channel::<()>();
    thread.spawn(async move { held.recv() });
    assert_eq!(next(&mut statuses).await, NotServing);
    for service in READINESS.iter().chain(&LIVENESS) {
        assert_eq!(check(&server, service).await, NotServing, "{service:?}");
    }
    assert_eq!(server.admin_get("/livez").await.0, 503);
    assert_eq!(server.admin_get("/readyz").await.0, 503);
    drop(free);
    assert_eq!(next(&mut statuses).await, Serving);
    until_so(async || server.admin_get("/readyz").await.0 == 200).await;
    server.stop().await;
    thread.shutdown_background();
}
