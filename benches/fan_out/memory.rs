//! What is resident: subscriptions without lines, subscribers that take nothing, containers that nobody reads.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep, sleep_until};
use tonic::transport::Endpoint;

use crate::crowd::{Crowd, SHARED, followed, opened};
use crate::paced::{self, Script};
use crate::process::{Usage, resident};
use crate::results::Results;
use crate::roles::{Engine, Kind, Server};

const MIB: f64 = 1024.0 * 1024.0;
const SETTLE: Duration = Duration::from_secs(1);
/// What is written meanwhile is more than a log's ring keeps.
const FILLS: Duration = Duration::from_secs(40);
const OBSERVED: Duration = Duration::from_secs(5);
/// A stream's window of clients that take nothing: what they are sent is soon felt.
const NARROW: u32 = 65_535;
/// Their streams on a connection, whose window leaves room for the answer to each.
const BESIDE: usize = 100;

fn script(containers: usize, rate: u64) -> Script {
    Script {
        containers,
        stored: 64,
        lines: u64::MAX,
        rate,
        width: 64,
    }
}

/// Subscriptions without lines, on one connection and on their own.
pub(crate) async fn idle_subscriptions(results: &mut Results) {
    const MANY: usize = 900;
    for (case, together) in [
        ("idle subscription on a shared connection", SHARED),
        ("idle subscription on its own connection", 1),
    ] {
        let engine = Engine::start(script(1, 1));
        let server = Server::start(Kind::Pulsetail, &engine.socket());
        let asked = followed(&[paced::id(0)]);
        let _first = Crowd::open(&server.address, 10, together, &asked).await;
        sleep(SETTLE).await;
        let before = resident(server.pid());
        let _more = Crowd::open(&server.address, MANY, together, &asked).await;
        sleep(SETTLE).await;
        let each = (resident(server.pid()) - before) / MANY as f64 / 1024.0;
        results.put(case, "Pulsetail", "KiB", each);
    }
}

/// 1,000 subscribers that take nothing beside ten that do. What a log's ring keeps is
/// kept already: it fills the same without them.
pub(crate) async fn stalled(results: &mut Results) {
    const RATE: u64 = 2_000;
    const STALLED: usize = 1_000;
    let engine = Engine::start(script(1, RATE));
    let server = Server::start(Kind::Pulsetail, &engine.socket());
    let asked = followed(&[paced::id(0)]);
    let narrow = Endpoint::from_shared(server.address.clone()).unwrap();
    let narrow = narrow
        .initial_stream_window_size(NARROW)
        .initial_connection_window_size(NARROW * (BESIDE as u32 + 1));
    let mut channels = Vec::new();
    for _ in 0..STALLED / BESIDE {
        channels.push(narrow.connect().await.unwrap());
    }
    let case = "1000 stalled subscribers";
    let memory = || resident(server.pid());
    let readers = Crowd::open(&server.address, 10, 1, &asked).await;
    engine.go();
    let empty = memory();
    sleep(FILLS).await;
    let full = memory();
    readers.tally.restart();
    sleep(OBSERVED).await;
    let alone = readers.tally.quantile(0.99);
    results.put(case, "nobody else", "MiB of a ring", (full - empty) / MIB);
    results.put(
        case,
        "nobody else",
        "MiB of growth",
        (memory() - full) / MIB,
    );
    let opening = (0..STALLED).map(|place| opened(channels[place / BESIDE].clone(), asked.clone()));
    let stalled = join_all(opening).await;
    let opened = Instant::now();
    sleep(SETTLE).await;
    readers.tally.restart();
    // What may be on the way to each is on the way by now, and the first are not yet closed.
    sleep_until(opened + OBSERVED).await;
    let before = memory();
    sleep(OBSERVED).await;
    let after = memory();
    let delay = readers.tally.quantile(0.99);
    results.put(case, "Pulsetail", "MiB of growth", (after - before) / MIB);
    results.put(case, "Pulsetail", "MiB", after / MIB);
    // They are closed by then, and do not take that either.
    for seconds in [20, 60] {
        sleep_until(opened + Duration::from_secs(seconds)).await;
        let grown = (memory() - before) / MIB;
        let metric = format!("MiB of growth in {seconds} s");
        results.put(case, "Pulsetail", &metric, grown);
    }
    results.put(
        case,
        "Pulsetail",
        "others’ delay p99 ms without them",
        alone,
    );
    results.put(case, "Pulsetail", "others’ delay p99 ms", delay);
    drop(stalled);
}

/// 100 containers that run, write nothing and are read by nobody.
pub(crate) async fn idle_containers(results: &mut Results) {
    let watched = Duration::from_secs(20);
    let engine = Engine::start(script(100, 1));
    let server = Server::start(Kind::Pulsetail, &engine.socket());
    sleep(SETTLE * 2).await;
    let (before, requests) = (Usage::of(server.pid()), engine.counts().1);
    sleep(watched).await;
    let used = Usage::of(server.pid()) - before;
    let case = "100 idle containers (paced engine)";
    results.put(case, "Pulsetail", "MiB", resident(server.pid()) / MIB);
    results.put(
        case,
        "Pulsetail",
        "% of a core",
        used.cpu / watched.as_secs_f64() / 1e7,
    );
    results.put(
        case,
        "Pulsetail",
        "requests/s",
        (engine.counts().1 - requests) / watched.as_secs_f64(),
    );
}
