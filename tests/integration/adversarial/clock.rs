//! Cases 8 and 9: clocks that are set, and an engine's `since`, which changed its meaning.

use std::time::Duration;

use prost_types::Timestamp;
use pulsetail::proto::{NoticeKind, StreamLogsRequest, stream_logs_request::Start};
use pulsetail_sim::{Endpoint, Engine, Stream};

use super::assert_exact;
use crate::harness::{Server, all, engine, engine_of, stored, write};
use crate::resume::resume_everywhere;
use crate::subscriber::lines_of;

const HOUR: Duration = Duration::from_secs(3_600);

#[tokio::test]
async fn case_08_the_clock_is_set_back_and_forward() {
    let sim = engine();
    let web = sim.container("web").run();
    write(&web, 0..100);
    let server = Server::start(&sim).await;
    let mut whole = server.open(all("web")).await;
    whole.judge.clock_is_set();
    whole.entries(100).await;
    let mut written = 100;
    for hours in [1, 3, 2] {
        sim.step_clock_back(hours * HOUR);
        for n in 0..50 {
            web.stdout(format!("out {n}\n"));
            web.stderr(format!("err {n}\n"));
        }
        written += 100;
        whole.entries(written).await;
    }
    sim.step_clock_forward(10 * HOUR);
    web.stdout("after\n");
    whole.entries(written + 1).await;
    assert_exact(&whole, &web);
    let told = whole.notices();
    assert!(told.contains(&NoticeKind::LeaseReplaced));
    assert!(told.contains(&NoticeKind::ClockStep));
    let mut read = server.open(stored("web")).await;
    read.judge.clock_is_set();
    read.end().await.expect("a read ends with OK");
    assert_eq!(read.lines(), lines_of(&web));
    // Three steps in one moment are worth one notice.
    assert_eq!(read.notices(), [NoticeKind::ClockStep]);
    resume_everywhere(&server, &whole, 5).await;
    server.stop().await;
}

/// What each `since` brings of a log whose clock went back, on one engine.
async fn since_on(engine: Engine) -> Vec<Vec<String>> {
    let sim = engine_of(engine);
    let web = sim.container("web").run();
    let begin = sim.now();
    let at = |seconds: u64| begin + Duration::from_secs(seconds);
    for seconds in [100, 101, 50, 51, 52, 102] {
        web.record(Stream::Stdout, at(seconds), format!("{seconds}\n"));
    }
    let server = Server::start(&sim).await;
    let mut brought = Vec::new();
    for seconds in [51, 101, 102, 103] {
        let since = at(seconds);
        let nanos = i32::try_from(since.nanos().rem_euclid(1_000_000_000)).unwrap();
        let since = Start::Since(Timestamp {
            seconds: since.secs(),
            nanos,
        });
        let request = StreamLogsRequest {
            start: Some(since),
            ..stored("web")
        };
        let mut read = server.open(request).await;
        read.judge.clock_is_set();
        read.end().await.expect("a read ends with OK");
        brought.push(read.texts().into_iter().map(str::to_owned).collect());
    }
    server.stop().await;
    let of_logs = sim.requests().into_iter();
    for request in of_logs.filter(|request| request.endpoint == Endpoint::Logs) {
        assert!(request.target.contains("since=0"), "{}", request.target);
    }
    brought
}

#[tokio::test]
async fn case_09_since_means_the_same_on_engines_before_and_from_24() {
    let expected = vec![
        vec!["100", "101", "50", "51", "52", "102"],
        vec!["101", "50", "51", "52", "102"],
        vec!["102"],
        vec![],
    ];
    for engine in [
        Engine::docker_20_10(),
        Engine::docker_23(),
        Engine::docker_24(),
        Engine::current(),
    ] {
        assert_eq!(since_on(engine).await, expected);
    }
}
