//! A record that the engine cannot decode hides what is behind it: the reader gets on, and says so.

use prost_types::Timestamp;
use pulsetail::proto::{Gap, GapCause};
use pulsetail_sim::{Container, Endpoint, Engine, Sim};

use crate::harness::{Server, engine_of, followed};
use crate::subscriber::Subscriber;

/// Requests for logs that suffice to get over one bad record, with the lease that met it and the next one.
const ENOUGH: usize = 32;

fn engines() -> [Engine; 2] {
    [Engine::docker_20_10(), Engine::current()]
}

fn write(web: &Container, lines: std::ops::Range<usize>) {
    lines.for_each(|n| web.stdout(format!("{n}\n")));
}

/// A container with lines that a subscriber has heard.
async fn heard(sim: &Sim, lines: usize) -> (Server, Container, Subscriber) {
    let web = sim.container("web").run();
    let server = Server::start_with(sim, &["--rotation=20s"]).await;
    let mut subscriber = server.open(followed("web")).await;
    write(&web, 0..lines);
    subscriber.entries(lines).await;
    (server, web, subscriber)
}

fn requests(sim: &Sim) -> usize {
    let requests = sim.requests();
    let logs = requests.iter().filter(|r| r.endpoint == Endpoint::Logs);
    logs.count()
}

/// Each bad record is one gap, between the lines around it.
fn assert_told(gaps: &[&Gap], bad: usize) {
    assert_eq!(gaps.len(), bad, "{gaps:?}");
    for gap in gaps {
        assert_eq!(gap.cause(), GapCause::LogCorrupt);
        assert!(!gap.certain && gap.missing_entries.is_none(), "{gap:?}");
        let nanos = |time: Option<Timestamp>| time.map(|t| (t.seconds, t.nanos));
        let (after, before) = (nanos(gap.after_time), nanos(gap.before_time));
        assert!(after.is_some() && after < before, "{gap:?}");
    }
}

fn all_lines(upto: usize) -> Vec<String> {
    (0..upto).map(|n| n.to_string()).collect()
}

#[tokio::test]
async fn what_stands_behind_a_corrupt_record_comes_behind_a_gap() {
    // Both sides of a window, and of several.
    for (before, behind) in [(3, 5), (100, 5), (100, 100), (10, 3_000)] {
        for engine in engines() {
            let sim = engine_of(engine);
            let (server, web, mut subscriber) = heard(&sim, before).await;
            let asked = requests(&sim);
            web.corrupt_log();
            write(&web, before..before + behind);
            subscriber.entries(before + behind).await;
            assert_eq!(subscriber.texts(), all_lines(before + behind));
            assert_told(&subscriber.gaps(), 1);
            let asked = requests(&sim) - asked;
            assert!(asked <= ENOUGH, "{asked} requests");
            server.stop().await;
        }
    }
}

#[tokio::test]
async fn a_second_corrupt_record_further_on_is_another_gap() {
    for engine in engines() {
        let sim = engine_of(engine);
        let (server, web, mut subscriber) = heard(&sim, 30).await;
        for round in 1..=3 {
            web.corrupt_log();
            write(&web, 30 * round..30 * (round + 1));
            subscriber.entries(30 * (round + 1)).await;
        }
        assert_eq!(subscriber.texts(), all_lines(120));
        assert_told(&subscriber.gaps(), 3);
        server.stop().await;
    }
}

#[tokio::test]
async fn the_last_words_of_a_container_come_although_a_corrupt_record_hides_them() {
    for engine in engines() {
        let sim = engine_of(engine);
        let (server, web, mut subscriber) = heard(&sim, 10).await;
        web.corrupt_log();
        write(&web, 10..13);
        web.exit(0);
        subscriber.entries(13).await;
        assert_eq!(subscriber.texts(), all_lines(13));
        assert_told(&subscriber.gaps(), 1);
        server.stop().await;
    }
}
