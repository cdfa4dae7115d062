//! Drivers and engines that store lines in their own ways: the same lines come, each once and whole.

use std::time::Duration;

use pulsetail::proto::server_service_client::ServerServiceClient;
use pulsetail::proto::stream_logs_response::Event;
use pulsetail::proto::{self, GetServerInfoRequest, ListLogEntriesRequest};
use pulsetail::supervisor::{Kind, State};
use pulsetail_sim::{Container, Driver, Endpoint, Engine, Sim, Stats};

use crate::harness::{Server, all, engine_of, followed, stored, until, until_so, within};
use crate::live::twenty_rotations_of;
use crate::resume::{resume_from, resuming};
use crate::subscriber::{Subscriber, cursors_after};

const PART: usize = 16 * 1024;

/// A stream and what was written to it, less its newline.
type Written = (proto::Stream, Vec<u8>);

/// What a round writes: bursts of equal lines, long lines of equal parts, both streams.
fn write(web: &Container, round: usize, written: &mut Vec<Written>) {
    let burst = ["same"; 20].map(str::to_owned);
    let long = [
        format!("round {round}"),
        "p".repeat(3 * PART),
        "q".repeat(PART),
    ];
    for lines in [&burst[..], &long] {
        web.stdout(format!("{}\n", lines.join("\n")));
        let lines = lines.iter().map(|line| line.clone().into_bytes());
        written.extend(lines.map(|line| (proto::Stream::Stdout, line)));
    }
    web.stderr(format!("err {round}\n"));
    written.push((proto::Stream::Stderr, format!("err {round}").into_bytes()));
}

fn heard(subscriber: &Subscriber) -> Vec<Written> {
    let lines = subscriber.lines().into_iter();
    lines.map(|line| (line.stream, line.bytes)).collect()
}

fn of(stream: proto::Stream, lines: &[Written]) -> Vec<&Written> {
    lines.iter().filter(|(of, _)| *of == stream).collect()
}

/// All that was written came, each stream in its order.
fn assert_written(subscriber: &Subscriber, written: &[Written]) {
    let heard = heard(subscriber);
    for stream in [proto::Stream::Stdout, proto::Stream::Stderr] {
        let (came, expected) = (of(stream, &heard), of(stream, written));
        assert!(
            came == expected,
            "{stream:?}: {} of {}",
            came.len(),
            expected.len()
        );
    }
    assert!(subscriber.gaps().is_empty(), "{:?}", subscriber.gaps());
    assert!(
        subscriber
            .all_entries()
            .all(|entry| !entry.late && !entry.unterminated)
    );
}

/// Rounds written over many leases, then everything again in every other way.
async fn comes_whole(sim: &Sim, driver: Driver) {
    let web = sim.container("web").driver(driver).run();
    let mut written = Vec::new();
    (0..3).for_each(|round| write(&web, round, &mut written));
    let server = Server::start_with(sim, &["--rotation=100ms"]).await;
    let mut whole = server.open(all("web")).await;
    for round in 3..12 {
        let leases = server.leases();
        write(&web, round, &mut written);
        whole.entries(written.len()).await;
        until(|| server.leases() > leases).await;
    }
    assert_written(&whole, &written);
    assert_written(&server.read(stored("web")).await, &written);
    // How much of its beginning such a log keeps is not known.
    let begins = cursors_after(&whole.events[..1]);
    let rest = server.read(resuming(begins)).await;
    assert_eq!((rest.lines().len(), rest.gaps().len()), (whole.count, 1));
    let is_batch = |event: &Event| matches!(event, Event::Batch(_));
    let first = whole
        .events
        .iter()
        .position(is_batch)
        .expect("it has lines")
        + 1;
    resume_from(&server, &whole, first, 10).await;
    let request = ListLogEntriesRequest {
        container: "web".to_owned(),
        page_size: 70,
        ..ListLogEntriesRequest::default()
    };
    let page = server
        .logs()
        .list_log_entries(request)
        .await
        .expect("it answers");
    let texts = page.into_inner().entries;
    let texts: Vec<_> = texts.iter().map(crate::subscriber::text).collect();
    assert_eq!(texts, whole.texts()[whole.count - 70..]);
    server.stop().await;
}

#[tokio::test]
async fn journald_shares_stamps_among_lines_and_gives_each_part_its_own() {
    let sim = engine_of(Engine::current());
    let web = sim.container("probe").driver(Driver::journald()).run();
    write(&web, 0, &mut Vec::new());
    let records = web.records();
    let stamps = |pair: &[pulsetail_sim::Record]| pair[0].time == pair[1].time;
    assert!(
        records[..20].windows(2).any(stamps),
        "void: no equal stamps"
    );
    assert!(!records.windows(2).all(stamps), "void: all are equal");
    comes_whole(&sim, Driver::journald()).await;
}

#[tokio::test]
async fn a_drivers_local_copy_is_read_like_local() {
    let driver = || Driver::cached("syslog").max_size(20_000).max_file(200);
    twenty_rotations_of(driver(), Engine::current()).await;
    twenty_rotations_of(driver(), Engine::docker_20_10()).await;
    let sim = engine_of(Engine::current());
    let web = sim.container("web").driver(driver()).run();
    web.stdout("line\n");
    let server = Server::start(&sim).await;
    let name = "web".to_owned();
    let mut containers = server.containers();
    let shown = containers.get_container(proto::GetContainerRequest { name });
    let shown = shown.await.expect("it is listed").into_inner().container;
    assert_eq!(shown.unwrap_or_default().retention_bytes, 200 * 20_000);
    assert_eq!(server.read(stored("web")).await.texts(), ["line"]);
    server.stop().await;
}

#[tokio::test]
async fn podman_stamps_what_is_written_at_once_alike() {
    let sim = engine_of(Engine::podman());
    comes_whole(&sim, Driver::k8s_file()).await;
}

#[tokio::test]
async fn podmans_quiet_log_has_no_head_and_is_in_order() {
    let sim = engine_of(Engine::podman());
    let quiet = sim.container("quiet").driver(Driver::k8s_file()).run();
    let server = Server::start_with(&sim, &["--rotation=500ms"]).await;
    let mut info = ServerServiceClient::new(server.channel.clone());
    let info = info.get_server_info(GetServerInfoRequest {}).await.unwrap();
    assert_eq!(info.into_inner().engine.unwrap_or_default().kind, "podman");
    let mut subscriber = server.open(followed("quiet")).await;
    subscriber.caught_up().await;
    let begun = proto_time(pulsetail_sim::Timestamp::now());
    let logs = |stats: &Stats| stats.requests(Endpoint::Logs);
    // Longer than any other answer of the engine may take.
    let enough = logs(&sim.stats()) + 12;
    within(sim.wait_until(|stats| logs(stats) >= enough)).await;
    assert_eq!(server.leases(), 1, "it was opened again");
    let tasks = server.supervisor.statuses().into_iter();
    let mut readers = tasks.filter(|task| task.spec.kind == Kind::Container);
    let reader = readers.next().expect("it is read");
    assert_eq!(reader.state, State::Running);
    assert!(
        reader.heartbeat_age < Some(Duration::from_secs(5)),
        "{reader:?}"
    );
    let (status, _) = server.admin_get("/readyz").await;
    assert_eq!(status, 200);
    quiet.stdout("first\n");
    subscriber.entries(1).await;
    assert!(
        subscriber.notices().is_empty(),
        "{:?}",
        subscriber.notices()
    );
    let end = server.drain();
    until_so(async || sim.stats().log_streams == 0).await;
    subscriber.end().await.expect_err("a drain is no good end");
    let progress = subscriber.closing().progress.as_ref().unwrap();
    let verified = progress.verified_time.expect("probes move it");
    assert!((verified.seconds, verified.nanos) >= begun, "{verified:?}");
    drop(end);
}

fn proto_time(time: pulsetail_sim::Timestamp) -> (i64, i32) {
    let nanos = time.nanos().rem_euclid(1_000_000_000);
    (time.secs(), i32::try_from(nanos).unwrap())
}
