//! Cases 28, 29 and 32: many containers, long logs, fast writers.

use std::time::Duration;

use pulsetail::proto::{Selector, StreamLogsRequest};
use pulsetail_sim::{Container, Endpoint, Fault, Sim, Stats, Stream};
use tokio::time::{sleep, timeout};

use super::{assert_exact, tails, write_until_rotated};
use crate::harness::{Server, all, engine, followed, until, write};

#[tokio::test]
async fn case_28_a_thousand_idle_containers_are_probed_and_no_stream_is_cycled() {
    const MANY: usize = 1_000;
    // So many are work, also for the simulated engine.
    const PATIENCE: Duration = Duration::from_secs(120);
    let sim = engine();
    let name = |n: usize| format!("idle-{n}");
    let idle: Vec<_> = (0..MANY).map(|n| sim.container(name(n)).run()).collect();
    idle.iter().for_each(|container| write(container, 0..2));
    let server = Server::start_with(&sim, &["--rotation=5s"]).await;
    let mut subscribers = Vec::new();
    for first in (0..MANY).step_by(100) {
        let selector = Selector {
            names: (first..first + 100).map(name).collect(),
            ..Selector::default()
        };
        let request = StreamLogsRequest {
            selector: Some(selector),
            ..followed("")
        };
        let mut subscriber = server.open(request).await;
        subscriber.caught_up().await;
        subscribers.push(subscriber);
    }
    let all = timeout(PATIENCE, sim.wait_until(|stats| stats.follows == MANY));
    all.await.expect("each is followed");
    let asked = async |more: usize| {
        let count = |stats: &Stats| stats.requests(Endpoint::Logs);
        let enough = count(&sim.stats()) + more as u64;
        let asked = timeout(PATIENCE, sim.wait_until(|stats| count(stats) >= enough));
        asked.await.expect("each is probed once a rotation");
    };
    // On a busy machine a lease may have been opened again before it was aligned.
    asked(MANY).await;
    let leases = server.leases();
    asked(MANY + MANY / 2).await;
    assert_eq!(server.leases(), leases, "a quiet stream was cycled");
    // One connection each, the event feed, and the probes and pings of the moment.
    let open = sim.stats().connections;
    assert!((MANY..MANY + 200).contains(&open), "{open} connections");
    idle.iter().for_each(|container| write(container, 2..3));
    for subscriber in &mut subscribers {
        subscriber.entries(100).await;
        assert_eq!(subscriber.count, 100);
    }
    drop(subscribers);
    until(|| sim.stats().log_streams == 0).await;
    server.stop().await;
}

/// A log of two million lines, the last of which alone is on stderr.
fn two_million(sim: &Sim) -> Container {
    const LINES: u64 = 2_000_000;
    let web = sim.container("web").run();
    let begin = sim.now() - Duration::from_secs(3_600);
    for n in 1..LINES {
        web.record(Stream::Stdout, begin + Duration::from_micros(n), "\n");
    }
    web.stderr("last\n");
    web
}

/// What it costs a real engine, in CPU, is held in the tests on real engines; here it is what is asked for.
#[tokio::test]
async fn case_29_a_reopen_of_a_log_of_two_million_lines_asks_for_its_end_alone() {
    let sim = engine();
    let web = two_million(&sim);
    let server = Server::start_with(&sim, &["--rotation=100ms"]).await;
    let mut subscriber = server.open(followed("web")).await;
    let mut written = 0;
    for _ in 0..20 {
        written = write_until_rotated(&server, &web, written).await;
        subscriber.entries(written).await;
    }
    let expected: Vec<_> = (0..written).map(|n| n.to_string()).collect();
    assert_eq!(subscriber.texts(), expected);
    let leases = tails(&sim, web.id(), true);
    assert!(leases.len() > 20, "void: {leases:?}");
    for tail in leases.into_iter().chain(tails(&sim, web.id(), false)) {
        assert!(tail.is_some_and(|tail| tail <= 512), "{tail:?}");
    }
    server.stop().await;
}

#[tokio::test]
async fn case_32_an_overlap_too_small_for_what_was_written_meanwhile() {
    const BURST: usize = 6_000;
    let sim = engine();
    let web = sim.container("web").run();
    let server = Server::start_with(&sim, &["--rotation=200ms"]).await;
    let mut subscriber = server.open(all("web")).await;
    let mut written = 0;
    for _ in 0..4 {
        // More than the widest overlap, between the close of a lease and the next.
        let struck = sim.stats().faults;
        web.fault(Fault::late_head(Duration::from_millis(200)).on_follow());
        until(|| {
            write(&web, written..written + 1);
            written += 1;
            sim.stats().faults > struck
        })
        .await;
        write(&web, written..written + BURST);
        written += BURST;
        // And while leases look for their place.
        for _ in 0..20 {
            write(&web, written..written + 200);
            written += 200;
            sleep(Duration::from_millis(5)).await;
        }
        subscriber.entries(written).await;
    }
    assert_exact(&subscriber, &web);
    let widest = tails(&sim, web.id(), false).into_iter().flatten().max();
    assert!(widest > Some(6_000), "void: {widest:?}");
    server.stop().await;
}
