//! Cases 10 to 12 and 19: files that rotate under a reader.

use std::collections::BTreeSet;
use std::time::Duration;

use pulsetail::proto::{NoticeKind, StreamLogsRequest, stream_logs_response::Event};
use pulsetail_sim::{Driver, Engine, Fault};

use super::assert_exact;
use crate::harness::{Server, all, engine, engine_of, stored, until, write};
use crate::resume::{assert_gap_then_the_rest, forgetful, resuming};
use crate::subscriber::cursors_after;

const PART: usize = 16 * 1024;

#[tokio::test]
async fn case_10_rotation_between_close_and_reopen() {
    for release in [Engine::docker_20_10(), Engine::current()] {
        let sim = engine_of(release);
        let driver = Driver::json_file().max_size(1_000).max_file(500);
        let web = sim.container("web").driver(driver).run();
        let server = Server::start_with(&sim, &["--rotation=100ms"]).await;
        let mut subscriber = server.open(all("web")).await;
        let mut written = 0;
        let mut more = |lines| {
            write(&web, written..written + lines);
            written += lines;
            written
        };
        for _ in 0..5 {
            let struck = sim.stats().faults;
            web.fault(Fault::late_head(Duration::from_millis(100)).on_follow());
            until(|| more(1) > 0 && sim.stats().faults > struck).await;
            // The old lease is closed, and the new one will open behind all this.
            for _ in 0..3 {
                more(3);
                web.rotate_log();
            }
            let written = more(3);
            subscriber.entries(written).await;
        }
        assert_exact(&subscriber, &web);
        server.stop().await;
    }
}

#[tokio::test]
async fn case_11_two_rotations_while_the_reader_is_slow() {
    let sim = engine();
    let driver = Driver::json_file().max_size(2_000).max_file(100);
    let web = sim.container("web").driver(driver).run();
    web.fault(Fault::skip_rotated_files().on_follow().sticky());
    web.fault(
        Fault::pause(Duration::from_millis(300))
            .on_follow()
            .after(10),
    );
    let server = Server::start_with(&sim, &["--rotation=1s"]).await;
    let mut subscriber = server.open(all("web")).await;
    write(&web, 0..10);
    subscriber.entries(10).await;
    until(|| sim.stats().faults >= 2).await;
    write(&web, 10..200);
    subscriber.entries(200).await;
    let late = subscriber.all_entries().filter(|entry| entry.late).count();
    assert!(late > 20, "void: {late} lines were skipped");
    let came: BTreeSet<_> = subscriber.texts().into_iter().map(str::to_owned).collect();
    let expected: BTreeSet<_> = (0..200).map(|n| n.to_string()).collect();
    assert!(came == expected, "{came:?}");
    assert!(subscriber.gaps().is_empty(), "{:?}", subscriber.gaps());
    server.stop().await;
}

#[tokio::test]
async fn case_12_a_line_comes_again_in_the_stream() {
    let sim = engine();
    let web = sim.container("web").run();
    let server = Server::start_with(&sim, &["--rotation=10m"]).await;
    let mut subscriber = server.open(all("web")).await;
    for round in 0..3 {
        write(&web, 4 * round..4 * round + 4);
        subscriber.entries(4 * round + 4).await;
        web.fault(Fault::repeat(1 + round).on_follow());
        until(|| server.leases() == round + 2).await;
    }
    write(&web, 12..15);
    subscriber.entries(15).await;
    assert_exact(&subscriber, &web);
    assert!(subscriber.notices().contains(&NoticeKind::LeaseReplaced));
    server.stop().await;
}

#[tokio::test]
async fn case_12_a_group_of_parts_comes_again_in_the_stream() {
    let sim = engine();
    let driver = Driver::json_file().max_size(1_000_000).max_file(5);
    let web = sim.container("web").driver(driver).run();
    let server = Server::start_with(&sim, &["--rotation=10m"]).await;
    let mut subscriber = server.open(all("web")).await;
    let part = |letter: u8| vec![letter; PART];
    let struck = || sim.stats().faults;
    // Of a line that has ended,
    web.stdout([part(b'a'), part(b'b'), b"end\n".to_vec()].concat());
    subscriber.entries(1).await;
    web.fault(Fault::repeat(3).on_follow());
    until(|| struck() == 1).await;
    // and of one that is still open.
    web.stdout([part(b'c'), part(b'd')].concat());
    web.stderr("behind the second part\n");
    subscriber.entries(2).await;
    web.fault(Fault::repeat(3).on_follow());
    until(|| struck() == 2).await;
    web.stdout([part(b'e'), b"end\n".to_vec()].concat());
    subscriber.entries(3).await;
    web.stdout("after\n");
    subscriber.entries(4).await;
    assert_exact(&subscriber, &web);
    assert!(subscriber.notices().contains(&NoticeKind::LeaseReplaced));
    server.stop().await;
}

#[tokio::test]
async fn case_19_retention_passed_the_cursor_which_is_exactly_one_gap() {
    let sim = engine();
    let web = forgetful(&sim);
    let server = Server::start(&sim).await;
    let cursors = server.read(stored("web")).await.cursors();
    write(&web, 20..500);
    let read = server.read(resuming(cursors.clone())).await;
    assert!(
        matches!(read.events[1], Event::Gap(_)),
        "{:?}",
        read.events[1]
    );
    assert_gap_then_the_rest(&read, &web);
    let again = server.read(resuming(read.cursors())).await;
    assert_eq!((again.count, again.gaps().len()), (0, 0));
    let from_gap = cursors_after(&read.events[..2]);
    assert_gap_then_the_rest(&server.read(resuming(from_gap)).await, &web);
    let follow = StreamLogsRequest {
        follow: true,
        ..resuming(cursors)
    };
    let mut follow = server.open(follow).await;
    web.stdout("500\n");
    follow.until(|heard| heard.texts().contains(&"500")).await;
    assert!(matches!(follow.events[1], Event::Gap(_)));
    assert_gap_then_the_rest(&follow, &web);
    server.stop().await;
}
