//! A stream ends when all that was asked for has come, and says up to when that is all.

use std::time::Duration;

use pulsetail::proto::{
    ClosingReason, ContainerChangeKind, StreamLogsRequest, stream_logs_request::Start,
    stream_logs_response::Event,
};
use pulsetail_sim::{Fault, Stream};

use crate::harness::{Server, all, engine, instant, stored};
use crate::logs::starting;
use crate::subscriber::lines_of;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn without_follow_all_that_is_stored_comes_and_then_completed() {
    let sim = engine();
    let web = sim.container("web").run();
    for n in 0..5_000 {
        match n % 3 {
            0 => web.stderr(format!("err {n}\n")),
            _ => web.stdout(format!("out {n}\n")),
        }
    }
    let server = Server::start(&sim).await;
    let subscriber = server.read(stored("web")).await;
    assert_eq!(subscriber.lines(), lines_of(&web));
    assert_eq!(subscriber.closing().reason(), ClosingReason::Completed);
    let counted = subscriber.closing().progress.clone().unwrap();
    assert_eq!(counted.entries_sent, 5_000);
    let effective = subscriber.first().effective.clone().unwrap();
    assert_eq!(effective.start, Some(Start::FromBeginning(true)));
    server.stop().await;
}

#[tokio::test]
async fn until_leaves_out_what_is_stamped_later() {
    let sim = engine();
    let web = sim.container("web").run();
    let now = sim.now();
    for n in 0..10 {
        web.record(Stream::Stdout, now + n * SECOND, format!("{n}\n"));
    }
    let server = Server::start(&sim).await;
    let request = StreamLogsRequest {
        until: Some(instant(now + 4 * SECOND)),
        ..stored("web")
    };
    assert_eq!(
        server.read(request).await.texts(),
        ["0", "1", "2", "3", "4"]
    );
    server.stop().await;
}

#[tokio::test]
async fn a_follow_with_until_completes_once_that_instant_has_passed() {
    let sim = engine();
    let web = sim.container("web").run();
    let server = Server::start(&sim).await;
    let until = sim.now() + SECOND / 4;
    let request = StreamLogsRequest {
        until: Some(instant(until)),
        ..all("web")
    };
    let mut subscriber = server.open(request).await;
    web.stdout("in time\n");
    web.record(Stream::Stdout, until + SECOND, "too late\n");
    subscriber.end().await.expect("it completes");
    assert_eq!(subscriber.texts(), ["in time"]);
    assert_eq!(subscriber.closing().reason(), ClosingReason::Completed);
    server.stop().await;
}

#[tokio::test]
async fn until_exit_completes_behind_the_last_line() {
    let sim = engine();
    let web = sim.container("web").run();
    let server = Server::start(&sim).await;
    let request = StreamLogsRequest {
        until_exit: true,
        ..all("web")
    };
    let mut subscriber = server.open(request.clone()).await;
    web.stdout("working\n");
    subscriber.entries(1).await;
    (0..2_000).for_each(|n| web.stdout(format!("{n}\n")));
    web.stdout("no newline");
    web.exit(3);
    subscriber.end().await.expect("it completes");
    assert_eq!(subscriber.count, 2_002);
    let last = subscriber.all_entries().last().unwrap();
    assert!(last.unterminated, "{last:?}");
    assert_eq!(subscriber.changes(), [ContainerChangeKind::Exited]);
    assert_eq!(subscriber.closing().reason(), ClosingReason::Completed);
    // It has exited before: everything, and the end.
    let mut again = server.open(request).await;
    again.end().await.expect("it completes");
    assert_eq!(again.texts(), subscriber.texts());
    server.stop().await;
}

#[tokio::test]
async fn a_read_ends_with_its_last_line_and_waits_for_nothing() {
    let sim = engine();
    let web = sim.container("web").run();
    web.stdout("1\n");
    let server = Server::start(&sim).await;
    for lines in [1, 0] {
        let request = starting(Start::TailLines(lines), stored("web"));
        let read = server.read(request).await;
        let progress = |event: &&Event| matches!(event, Event::Progress(_));
        assert_eq!(read.events.iter().filter(progress).count(), 0);
    }
    server.stop().await;
}

#[tokio::test]
async fn a_read_says_up_to_when_all_that_was_stored_has_come_and_not_before() {
    let sim = engine();
    let [web, other] = ["web", "other"].map(|name| sim.container(name).run());
    (0..5_000).for_each(|n| web.stdout(format!("{n}\n")));
    let server = Server::start(&sim).await;
    let mut request = stored("web");
    request
        .selector
        .as_mut()
        .unwrap()
        .names
        .push("other".into());
    let before = pulsetail_sim::Timestamp::now();
    let read = server.read(request.clone()).await;
    let progress = read.closing().progress.clone().unwrap();
    let verified = progress.verified_time.expect("it is known");
    let verified = (verified.seconds, verified.nanos);
    let now = progress.server_time.unwrap();
    let before = instant(before);
    assert!((before.seconds, before.nanos) <= verified, "{verified:?}");
    assert!(verified <= (now.seconds, now.nanos), "{verified:?}");
    // One that was read does not speak for the other.
    web.fault(Fault::stall().after(4_900).on_snapshot());
    other.stdout("line\n");
    let mut cut = server.open(request).await;
    cut.until(|heard| heard.texts().contains(&"line")).await;
    let end = server.drain();
    cut.end().await.expect_err("a drain is no good end");
    let progress = cut.closing().progress.as_ref().unwrap();
    assert_eq!(progress.verified_time, None);
    drop(end);
}
