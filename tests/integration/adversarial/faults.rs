//! Cases 13 to 18: streams that stand still, end, break off or cannot be decoded.

use pulsetail::proto::{GapCause, NoticeKind};
use pulsetail_sim::{Driver, Ending, Engine, Fault};

use super::{assert_exact, until_quiet, write_until_rotated};
use crate::harness::{Server, all, engine, engine_of, followed, stored, until, write};
use crate::pages::paged;
use crate::resume::{forgetful, resuming};

#[tokio::test]
async fn case_13_the_stream_stands_still_in_silence() {
    let sim = engine();
    let web = sim.container("web").run();
    let server = Server::start_with(&sim, &["--rotation=200ms"]).await;
    let mut subscriber = server.open(all("web")).await;
    write(&web, 0..10);
    subscriber.entries(10).await;
    until_quiet(&sim, &web).await;
    web.fault(Fault::stall().on_follow());
    until(|| sim.stats().faults == 1).await;
    write(&web, 10..20);
    subscriber.entries(20).await;
    assert_exact(&subscriber, &web);
    assert_eq!(subscriber.notices(), [NoticeKind::LeaseReplaced]);
    server.stop().await;
}

#[tokio::test]
async fn case_13_what_is_deleted_while_the_stream_stands_still_is_a_gap() {
    let sim = engine();
    let driver = Driver::json_file().max_size(4_000).max_file(2);
    let web = sim.container("web").driver(driver).run();
    let server = Server::start_with(&sim, &["--rotation=200ms"]).await;
    let mut subscriber = server.open(all("web")).await;
    write(&web, 0..10);
    subscriber.entries(10).await;
    until_quiet(&sim, &web).await;
    web.fault(Fault::stall().on_follow());
    until(|| sim.stats().faults == 1).await;
    write(&web, 10..500);
    subscriber.until(|s| s.texts().contains(&"499")).await;
    let [gap] = subscriber.gaps()[..] else {
        panic!("one gap: {:?}", subscriber.gaps());
    };
    assert_eq!(gap.cause(), GapCause::Stall);
    server.stop().await;
}

#[tokio::test]
async fn case_14_a_clean_end_while_the_container_runs() {
    let sim = engine();
    let web = sim.container("web").run();
    let server = Server::start_with(&sim, &["--rotation=10m"]).await;
    let mut subscriber = server.open(all("web")).await;
    for round in 0..4 {
        let struck = sim.stats().faults;
        web.fault(Fault::end(Ending::Clean).on_follow());
        until(|| sim.stats().faults > struck).await;
        write(&web, 5 * round..5 * round + 5);
        subscriber.entries(5 * round + 5).await;
    }
    assert_exact(&subscriber, &web);
    assert!(subscriber.changes().is_empty(), "it never exited");
    server.stop().await;
}

#[tokio::test]
async fn case_15_a_frame_of_type_3() {
    let sim = engine();
    let web = sim.container("web").run();
    let server = Server::start_with(&sim, &["--rotation=10m"]).await;
    let mut subscriber = server.open(all("web")).await;
    for round in 0..3 {
        let struck = sim.stats().faults;
        let words = "Error grabbing logs: open /var/lib/x-json.log.1: no such file";
        web.fault(Fault::daemon_error(words).on_follow());
        until(|| sim.stats().faults > struck).await;
        write(&web, 5 * round..5 * round + 5);
        subscriber.entries(5 * round + 5).await;
    }
    assert_exact(&subscriber, &web);
    // Its words are nobody's line.
    web.fault(Fault::daemon_error("Error grabbing logs: EOF").on_snapshot());
    assert_exact(&server.read(stored("web")).await, &web);
    assert_eq!(sim.stats().faults, 4, "void");
    server.stop().await;
}

#[tokio::test]
async fn case_15_what_is_deleted_behind_a_frame_of_type_3_is_a_gap_with_the_engines_words() {
    let sim = engine();
    let driver = Driver::json_file().max_size(4_000).max_file(2);
    let web = sim.container("web").driver(driver).run();
    let server = Server::start_with(&sim, &["--rotation=10m"]).await;
    let mut subscriber = server.open(all("web")).await;
    write(&web, 0..10);
    subscriber.entries(10).await;
    let words = "Error grabbing logs: open /var/lib/x-json.log.1: no such file";
    web.fault(Fault::daemon_error(words).on_follow());
    // Before the stream goes on.
    write(&web, 10..500);
    subscriber.until(|s| s.texts().contains(&"499")).await;
    let [gap] = subscriber.gaps()[..] else {
        panic!("one gap: {:?}", subscriber.gaps());
    };
    assert_eq!(gap.cause(), GapCause::EngineError);
    assert_eq!(gap.message, words);
    assert!(!gap.certain && gap.after_time.is_some() && gap.before_time.is_some());
    server.stop().await;
}

#[tokio::test]
async fn case_15_a_resume_whose_read_the_engine_failed_has_its_words_in_the_gap() {
    let sim = engine();
    let web = forgetful(&sim);
    let server = Server::start(&sim).await;
    let cursors = server.read(stored("web")).await.cursors();
    write(&web, 20..500);
    // A probe of the last record is none of its.
    let error = Fault::daemon_error("Error grabbing logs: EOF").after(5);
    web.fault(error.on_snapshot());
    let read = server.read(resuming(cursors)).await;
    let [gap] = read.gaps()[..] else {
        panic!("one gap: {:?}", read.gaps());
    };
    assert_eq!(gap.cause(), GapCause::EngineError);
    assert_eq!(gap.message, "Error grabbing logs: EOF");
    assert_eq!(read.texts().last(), Some(&"499"));
    server.stop().await;
}

#[tokio::test]
async fn case_16_cut_header_cut_payload_and_missing_last_chunk() {
    let faults = || {
        let cuts =
            [4, 20, 41].map(|keep| [Ending::Clean, Ending::Torn].map(|e| Fault::cut(keep, e)));
        let cuts = cuts.into_iter().flatten();
        cuts.chain([Fault::end(Ending::Torn)])
    };
    let sim = engine();
    let web = sim.container("web").run();
    let server = Server::start_with(&sim, &["--rotation=10m"]).await;
    let mut subscriber = server.open(all("web")).await;
    let mut written = 0;
    for fault in faults() {
        let struck = sim.stats().faults;
        web.fault(fault.on_follow());
        until(|| sim.stats().faults > struck).await;
        write(&web, written..written + 20);
        written += 20;
        subscriber.entries(written).await;
    }
    assert_exact(&subscriber, &web);
    for fault in faults() {
        web.fault(fault.on_snapshot().after(30));
        assert_exact(&server.read(stored("web")).await, &web);
    }
    assert_eq!(sim.stats().faults, 14, "void");
    server.stop().await;
}

#[tokio::test]
async fn case_17_a_corrupt_record_before_the_cursor() {
    let sim = engine();
    let web = sim.container("web").run();
    write(&web, 0..10);
    web.corrupt_log();
    write(&web, 10..200);
    let server = Server::start_with(&sim, &["--rotation=100ms"]).await;
    let mut subscriber = server.open(followed("web")).await;
    let written = write_until_rotated(&server, &web, 200).await;
    let written = write_until_rotated(&server, &web, written).await;
    subscriber.entries(written - 200).await;
    let resumed = server.read(resuming(subscriber.cursors())).await;
    assert_eq!((resumed.count, resumed.gaps().len()), (0, 0));
    let expected: Vec<_> = (200..written).map(|n| n.to_string()).collect();
    assert_eq!(subscriber.texts(), expected);
    assert!(subscriber.gaps().is_empty(), "{:?}", subscriber.gaps());
    server.stop().await;
}

#[tokio::test]
async fn case_18_copytruncate_on_an_engine_that_then_finds_no_end_of_the_log() {
    let sim = engine_of(Engine::current());
    let web = sim.container("web").run();
    write(&web, 0..10);
    let server = Server::start_with(&sim, &["--rotation=200ms"]).await;
    let mut subscriber = server.open(all("web")).await;
    subscriber.entries(10).await;
    let cursors = subscriber.cursors();
    web.truncate_log();
    write(&web, 10..20);
    subscriber.until(|s| s.texts().last() == Some(&"19")).await;
    write(&web, 20..25);
    subscriber.until(|s| s.texts().last() == Some(&"24")).await;
    let expected: Vec<_> = (0..25).map(|n| n.to_string()).collect();
    assert_eq!(subscriber.texts(), expected);
    let [gap] = subscriber.gaps()[..] else {
        panic!("one gap: {:?}", subscriber.gaps());
    };
    assert_eq!(gap.cause(), GapCause::LogTruncated);
    // A second one asks no more of the engine, and neither does who resumes.
    let mut second = server.open(all("web")).await;
    second.entries(15).await;
    let resumed = server.read(resuming(cursors)).await;
    assert_eq!((resumed.gaps().len(), resumed.texts().len()), (1, 15));
    assert_eq!(server.page(&paged("web", 5)).await.entries.len(), 5);
    server.stop().await;
}

#[tokio::test]
async fn case_18_copytruncate_on_an_engine_that_reads_on() {
    let sim = engine_of(Engine::docker_20_10());
    let web = sim.container("web").run();
    write(&web, 0..10);
    let server = Server::start_with(&sim, &["--rotation=200ms"]).await;
    let mut subscriber = server.open(all("web")).await;
    subscriber.entries(10).await;
    let cursors = subscriber.cursors();
    web.truncate_log();
    write(&web, 10..20);
    subscriber.until(|s| s.texts().last() == Some(&"19")).await;
    let expected: Vec<_> = (0..20).map(|n| n.to_string()).collect();
    assert_eq!(subscriber.texts(), expected);
    // A cursor from before knows that its place is gone.
    let resumed = server.read(resuming(cursors)).await;
    assert_eq!(resumed.gaps().len(), 1);
    assert_eq!(resumed.texts(), expected[10..]);
    server.stop().await;
}
