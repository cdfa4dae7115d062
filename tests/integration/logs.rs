//! What is asked for is what comes: where a stream starts and what it holds.

use std::time::Duration;

use prost_types::Duration as Ago;
use pulsetail::proto::{self, Selector, StreamLogsRequest, stream_logs_request::Start};
use pulsetail_sim::Stream;

use crate::harness::{Server, all, engine, followed, instant, stored, until_so};
use crate::subscriber::lines_of;

const SECOND: Duration = Duration::from_secs(1);

pub(crate) fn starting(start: Start, request: StreamLogsRequest) -> StreamLogsRequest {
    StreamLogsRequest {
        start: Some(start),
        ..request
    }
}

#[tokio::test]
async fn what_a_container_writes_comes_at_once_and_as_text() {
    let sim = engine();
    let web = sim.container("web").run();
    web.stdout("before anybody asked\n");
    let server = Server::start(&sim).await;
    let mut subscriber = server.open(followed("web")).await;
    subscriber.caught_up().await;
    for n in 0..3 {
        web.stdout(format!("line {n}, with ü\n"));
        subscriber.entries(n + 1).await;
    }
    web.stderr("\n");
    subscriber.entries(4).await;
    let texts = ["line 0, with ü", "line 1, with ü", "line 2, with ü", ""];
    assert_eq!(subscriber.texts(), texts);
    assert_eq!(subscriber.lines(), lines_of(&web)[1..]);
    server.stop().await;
}

#[tokio::test]
async fn tail_lines_are_whole_lines_however_many_parts_they_have() {
    let sim = engine();
    let web = sim.container("web").run();
    for n in 0..300 {
        let long = "x".repeat(if n % 4 == 0 { 40_000 } else { 10 });
        web.stdout(format!("{n} {long}\n"));
    }
    let server = Server::start(&sim).await;
    let lines = lines_of(&web);
    for wanted in [1, 7, 100, 299, 300, 1_000] {
        let request = starting(Start::TailLines(wanted), stored("web"));
        let subscriber = server.read(request).await;
        let from = 300_usize.saturating_sub(usize::try_from(wanted).unwrap());
        assert!(subscriber.lines() == lines[from..], "the last {wanted}");
    }
    let none = server
        .read(starting(Start::TailLines(0), stored("web")))
        .await;
    assert_eq!(none.count, 0);
    server.stop().await;
}

#[tokio::test]
async fn tail_lines_never_begin_inside_a_line() {
    let sim = engine();
    let web = sim.container("web").run();
    web.stdout("a".repeat(20_000));
    (0..500).for_each(|n| web.stderr(format!("{n}\n")));
    web.stdout("b\n");
    let server = Server::start(&sim).await;
    let lines = lines_of(&web);
    for wanted in [1, 10, 400] {
        let request = starting(Start::TailLines(wanted), stored("web"));
        let subscriber = server.read(request).await;
        let from = 501 - usize::try_from(wanted).unwrap();
        assert!(subscriber.lines() == lines[from..], "the last {wanted}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_few_lines_of_a_long_log_cost_a_few_records() {
    let sim = engine();
    let web = sim.container("web").run();
    let now = sim.now();
    for n in 0..20_000 {
        let stream = if n == 19_995 {
            Stream::Stderr
        } else {
            Stream::Stdout
        };
        web.record(stream, now - (20_000 - n) * SECOND / 10, format!("{n}\n"));
    }
    let server = Server::start(&sim).await;
    let request = starting(Start::TailLines(10), stored("web"));
    assert_eq!(server.read(request).await.texts()[0], "19990");
    for request in sim.requests() {
        if let Some((_, tail)) = request.target.split_once("tail=") {
            assert!(tail.parse::<u32>().is_ok_and(|t| t < 100), "{tail}");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn tail_lines_with_follow_go_on_live() {
    let sim = engine();
    let web = sim.container("web").run();
    (0..10).for_each(|n| web.stdout(format!("{n}\n")));
    let server = Server::start(&sim).await;
    let request = starting(Start::TailLines(2), followed("web"));
    let mut subscriber = server.open(request).await;
    subscriber.caught_up().await;
    assert_eq!(subscriber.texts(), ["8", "9"]);
    web.stdout("10\n");
    subscriber.entries(3).await;
    assert_eq!(subscriber.texts(), ["8", "9", "10"]);
    server.stop().await;
}

#[tokio::test]
async fn since_is_inclusive_to_the_nanosecond_and_what_follows_comes_whatever_its_stamp() {
    let sim = engine();
    let web = sim.container("web").run();
    let at = |ms: u64| sim_time(&sim) + Duration::from_millis(ms);
    let times: Vec<_> = (0..1_000).map(|n| at(10_000 + n)).collect();
    for (n, time) in times.iter().enumerate() {
        web.record(Stream::Stdout, *time, format!("{n}\n"));
    }
    // Stamped before the instant, stored behind it.
    web.record(Stream::Stderr, times[990], "late\n");
    let server = Server::start(&sim).await;
    let since = starting(Start::Since(instant(times[995])), stored("web"));
    let subscriber = server.read(since).await;
    assert_eq!(
        subscriber.texts(),
        ["995", "996", "997", "998", "999", "late"]
    );
    let from_all = starting(Start::Since(instant(times[0])), stored("web"));
    assert_eq!(server.read(from_all).await.count, 1_001);
    let after_all = starting(Start::Since(instant(times[999] + SECOND)), stored("web"));
    assert_eq!(server.read(after_all).await.count, 0);
    server.stop().await;
}

fn sim_time(sim: &pulsetail_sim::Sim) -> pulsetail_sim::Timestamp {
    // One reading for a whole test would do as well; they differ by nanoseconds.
    sim.now()
}

#[tokio::test]
async fn since_ago_counts_back_from_the_servers_clock() {
    let sim = engine();
    let web = sim.container("web").run();
    let now = pulsetail_sim::Timestamp::now();
    web.record(Stream::Stdout, now - 7_200 * SECOND, "two hours\n");
    web.record(Stream::Stdout, now - 1_800 * SECOND, "half an hour\n");
    let server = Server::start(&sim).await;
    let ago = |seconds| Ago { seconds, nanos: 0 };
    let hour = starting(Start::SinceAgo(ago(3_600)), stored("web"));
    assert_eq!(server.read(hour).await.texts(), ["half an hour"]);
    let day = starting(Start::SinceAgo(ago(86_400)), stored("web"));
    assert_eq!(server.read(day).await.count, 2);
    server.stop().await;
}

#[tokio::test]
async fn from_now_without_follow_is_a_way_to_get_cursors() {
    let sim = engine();
    let web = sim.container("web").run();
    web.stdout("old\n");
    let server = Server::start(&sim).await;
    let now = starting(Start::FromNow(true), stored("web"));
    let subscriber = server.read(now).await;
    assert_eq!(subscriber.count, 0);
    let cursors = subscriber.cursors();
    assert_eq!(cursors.len(), 1);
    web.stdout("new\n");
    let resumed = StreamLogsRequest {
        cursors,
        ..StreamLogsRequest::default()
    };
    assert_eq!(server.read(resumed).await.texts(), ["new"]);
    server.stop().await;
}

#[tokio::test]
async fn only_the_streams_asked_for_come_and_cursors_pass_the_others() {
    let sim = engine();
    let web = sim.container("web").run();
    for n in 0..100 {
        web.stdout(format!("out {n}\n"));
        web.stderr(format!("err {n}\n"));
    }
    let server = Server::start(&sim).await;
    let only = |stream: proto::Stream| StreamLogsRequest {
        streams: vec![stream.into()],
        ..stored("web")
    };
    let errors = server.read(only(proto::Stream::Stderr)).await;
    assert_eq!(errors.count, 100);
    assert!(errors.texts().iter().all(|text| text.starts_with("err")));
    assert_eq!(server.read(only(proto::Stream::Tty)).await.count, 0);
    let outs = server.read(only(proto::Stream::Stdout)).await;
    let resumed = StreamLogsRequest {
        cursors: outs.cursors(),
        ..stored("web")
    };
    // The last record is of stderr, and was passed over.
    assert_eq!(server.read(resumed).await.count, 0);
    server.stop().await;
}

#[tokio::test]
async fn several_members_come_each_in_its_own_order_and_with_its_own_cursor() {
    let sim = engine();
    let names = ["api", "web", "job"];
    let containers = names.map(|name| sim.container(name).run());
    let server = Server::start(&sim).await;
    let prefix = containers[2].id()[..12].to_owned();
    let selector = Selector {
        // The same container by name and by prefix is one member.
        names: vec!["api".into(), "web".into(), "job".into(), prefix],
        ..Selector::default()
    };
    let mut subscriber = server
        .open(StreamLogsRequest {
            selector: Some(selector),
            ..all("")
        })
        .await;
    assert_eq!(subscriber.first().members.len(), 3);
    for n in 0..200 {
        let container = &containers[n % 3];
        container.stdout(format!("{n}\n"));
    }
    subscriber.entries(200).await;
    for (place, name) in names.iter().enumerate() {
        let expected: Vec<_> = (0..200).filter(|n| n % 3 == place).collect();
        let expected: Vec<_> = expected.iter().map(usize::to_string).collect();
        assert_eq!(subscriber.texts_of(name), expected, "{name}");
    }
    assert_eq!(subscriber.cursors().len(), 3);
    server.stop().await;
}

#[tokio::test]
async fn the_stream_of_one_engine_lists_who_follows_a_container() {
    let sim = engine();
    sim.container("web").run();
    let server = Server::start(&sim).await;
    let subscriber = server.open(followed("web")).await;
    let shown = async || {
        let name = "web".to_owned();
        let request = proto::GetContainerRequest { name };
        let answer = server.containers().get_container(request).await;
        answer.unwrap().into_inner().container.unwrap().subscribers
    };
    assert_eq!(shown().await, 1);
    drop(subscriber);
    until_so(async || shown().await == 0).await;
    server.stop().await;
}
