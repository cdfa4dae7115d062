//! What the engine's live stream leaves out is found, or said to be missing.

use std::collections::BTreeSet;

use pulsetail::proto::{GapCause, StreamLogsRequest};
use pulsetail_sim::{Container, Driver, Engine, Fault, Sim};

use crate::harness::{Server, all, engine, engine_of, followed, until, write};
use crate::subscriber::{Subscriber, text};

const SKIPPED: usize = 5;

/// A container whose lease skips lines 11 to 15 of those written.
fn skipping(sim: &Sim) -> Container {
    let driver = Driver::json_file().max_size(200).max_file(100);
    let web = sim.container("web").driver(driver).run();
    web.fault(Fault::skip(SKIPPED).on_follow().after(10));
    web
}

fn resumed(cursors: Vec<String>) -> StreamLogsRequest {
    StreamLogsRequest {
        cursors,
        ..followed("web")
    }
}

/// Another server, and a subscriber that resumes there and gets what is written
/// from line 30 on.
async fn resumed_behind(sim: &Sim, web: &Container, cursors: Vec<String>) -> (Server, Subscriber) {
    let server = Server::start(sim).await;
    let mut subscriber = server.open(resumed(cursors)).await;
    write(web, 30..33);
    subscriber.entries(3).await;
    assert_eq!(subscriber.texts(), ["30", "31", "32"]);
    (server, subscriber)
}

fn numbers(range: std::ops::Range<usize>) -> BTreeSet<String> {
    range.map(|n| n.to_string()).collect()
}

#[tokio::test]
async fn lines_that_the_stream_skipped_come_late_and_once() {
    let sim = engine();
    let web = skipping(&sim);
    let server = Server::start_with(&sim, &["--rotation=300ms"]).await;
    let mut subscriber = server.open(all("web")).await;
    write(&web, 0..30);
    subscriber.entries(30).await;
    let late = subscriber.all_entries().filter(|entry| entry.late);
    assert_eq!(
        late.map(text).collect::<Vec<_>>(),
        ["10", "11", "12", "13", "14"]
    );
    let came: BTreeSet<_> = subscriber.texts().into_iter().map(str::to_owned).collect();
    assert_eq!(came, numbers(0..30));
    assert!(subscriber.gaps().is_empty(), "{:?}", subscriber.gaps());
    server.stop().await;
}

#[tokio::test]
async fn a_resume_before_the_check_reports_what_was_skipped() {
    let sim = engine();
    let web = skipping(&sim);
    // Killed before the rotation that would have found it.
    let server = Server::start_with(&sim, &["--rotation=20s"]).await;
    let mut subscriber = server.open(all("web")).await;
    write(&web, 0..30);
    subscriber.entries(30 - SKIPPED).await;
    let cursors = subscriber.cursors();
    drop(subscriber);
    server.stop().await;

    let (server, subscriber) = resumed_behind(&sim, &web, cursors).await;
    let [gap] = subscriber.gaps()[..] else {
        panic!("{:?}", subscriber.gaps());
    };
    assert_eq!(gap.cause(), GapCause::EngineSkip);
    assert_eq!(gap.missing_entries, Some(SKIPPED as u64));
    assert!(gap.certain);
    server.stop().await;
}

#[tokio::test]
async fn a_cursor_given_with_late_lines_reports_nothing_again() {
    let sim = engine();
    let web = skipping(&sim);
    let server = Server::start_with(&sim, &["--rotation=300ms"]).await;
    let mut subscriber = server.open(all("web")).await;
    write(&web, 0..30);
    subscriber.entries(30).await;
    let cursors = subscriber.cursors();
    drop(subscriber);
    server.stop().await;

    let (server, subscriber) = resumed_behind(&sim, &web, cursors).await;
    assert!(subscriber.gaps().is_empty(), "{:?}", subscriber.gaps());
    server.stop().await;
}

#[tokio::test]
async fn a_resume_while_the_log_is_still_read_misses_no_skip() {
    let sim = engine();
    let web = skipping(&sim);
    let server = Server::start_with(&sim, &["--rotation=2s"]).await;
    let mut stays = server.open(all("web")).await;
    let mut goes = server.open(followed("web")).await;
    write(&web, 0..30);
    goes.entries(30 - SKIPPED).await;
    let cursors = goes.cursors();
    drop(goes);
    let mut back = server.open(resumed(cursors)).await;
    stays.entries(30).await;
    web.stdout("end\n");
    back.until(|s| s.texts().contains(&"end")).await;
    let told = back
        .gaps()
        .iter()
        .any(|gap| gap.cause() == GapCause::EngineSkip);
    let late = back.all_entries().filter(|entry| entry.late).count();
    assert!(told || late == SKIPPED, "{:?}", back.texts());
    server.stop().await;
}

#[tokio::test]
async fn who_joins_behind_a_skip_does_not_get_its_lines_twice() {
    let sim = engine();
    let web = skipping(&sim);
    let server = Server::start_with(&sim, &["--rotation=1s"]).await;
    let mut first = server.open(all("web")).await;
    write(&web, 0..30);
    first.entries(30 - SKIPPED).await;
    let mut second = server.open(all("web")).await;
    second.entries(30).await;
    first.entries(30).await;
    web.stdout("end\n");
    second.until(|s| s.texts().contains(&"end")).await;
    let came = second.texts();
    assert_eq!(came.len(), 31, "{came:?}");
    assert!(second.all_entries().all(|entry| !entry.late));
    server.stop().await;
}

#[tokio::test]
async fn progress_says_up_to_when_all_is_delivered() {
    let sim = engine();
    let web = sim.container("web").run();
    web.stdout("one\n");
    let server = Server::start_with(&sim, &["--rotation=100ms"]).await;
    let mut subscriber = server.open(all("web")).await;
    subscriber.entries(1).await;
    let leases = server.leases();
    until(|| {
        web.stdout("more\n");
        server.leases() > leases + 1
    })
    .await;
    let end = server.drain();
    let ended = subscriber.end().await;
    assert!(ended.is_err(), "a drain is no good end");
    let progress = subscriber.closing().progress.as_ref().unwrap();
    let (verified, now) = (
        progress.verified_time.unwrap(),
        progress.server_time.unwrap(),
    );
    assert!(verified.seconds > 0 && verified.seconds <= now.seconds);
    drop(end);
}

/// What a subscriber is told that was there before the first line, where the
/// engine's stream can skip anything and brings only the last `brought` lines.
async fn joined_empty(driver: Driver, brought: usize) -> Subscriber {
    let sim = engine_of(Engine::docker_20_10());
    let web = sim.container("web").driver(driver).run();
    web.fault(Fault::skip(100 - brought).on_follow());
    let server = Server::start_with(&sim, &["--rotation=300ms"]).await;
    let mut subscriber = server.open(all("web")).await;
    subscriber.caught_up().await;
    write(&web, 0..100);
    subscriber.entries(brought).await;
    tokio::time::sleep(std::time::Duration::from_millis(400)).await;
    web.stdout("end\n");
    subscriber.until(|s| s.texts().contains(&"end")).await;
    server.stop().await;
    subscriber
}

#[tokio::test]
async fn a_skip_of_a_logs_very_first_records_that_are_deleted_is_told() {
    let driver = Driver::json_file().max_size(1_000).max_file(1);
    let probe = engine().container("probe").driver(driver.clone()).run();
    write(&probe, 0..100);
    let kept = probe.records().len();
    assert!((1..100).contains(&kept));
    let subscriber = joined_empty(driver, kept).await;
    let causes: Vec<_> = subscriber.gaps().iter().map(|gap| gap.cause()).collect();
    assert_eq!(causes, [GapCause::EngineSkip]);
}

#[tokio::test]
async fn a_skip_of_a_logs_very_first_records_that_are_kept_is_mended_without_a_gap() {
    let driver = Driver::json_file().max_size(100_000).max_file(3);
    let subscriber = joined_empty(driver, 40).await;
    let came: BTreeSet<_> = subscriber.texts().into_iter().map(str::to_owned).collect();
    assert_eq!(came.len(), 101);
    assert!(subscriber.gaps().is_empty());
}
