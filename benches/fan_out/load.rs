//! Servers under a paced engine that writes each line by itself.

use std::time::{Duration, Instant};

use pulsetail::proto::StreamLogsRequest;
use tokio::time::sleep;

use crate::crowd::{Crowd, followed};
use crate::paced::{self, Script};
use crate::process::Usage;
use crate::results::Results;
use crate::roles::{Engine, Kind, Server};

/// Bytes of a line's text.
const WIDTH: usize = 64;
/// Left to come to rest before it is measured.
const SETTLE: Duration = Duration::from_millis(500);

/// Who follows what, and for how long it is watched.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) case: &'static str,
    pub(crate) containers: usize,
    /// Lines a second of each.
    pub(crate) rate: u64,
    pub(crate) subscribers: usize,
    /// Subscribers on a connection.
    pub(crate) together: usize,
    pub(crate) watched: Duration,
}

/// A script without an end.
fn script(containers: usize, rate: u64) -> Script {
    Script {
        containers,
        stored: 64,
        lines: u64::MAX,
        rate,
        width: WIDTH,
    }
}

fn all(containers: usize) -> StreamLogsRequest {
    followed(&(0..containers).map(named).collect::<Vec<_>>())
}

/// The plain server passes names on to the engine, which knows ids as well.
fn named(place: usize) -> String {
    paced::id(place)
}

/// One load on one server.
pub(crate) async fn run(results: &mut Results, kind: Kind, load: &Load) {
    let engine = Engine::start(script(load.containers, load.rate));
    let server = Server::start(kind, &engine.socket());
    let crowd = Crowd::open(
        &server.address,
        load.subscribers,
        load.together,
        &all(load.containers),
    )
    .await;
    engine.go();
    sleep(SETTLE).await;
    crowd.tally.restart();
    let usage = || {
        (
            Usage::of(server.pid()),
            Usage::of_named(server.pid(), "engine"),
        )
    };
    let (before, lines, messages) = (usage(), crowd.tally.lines(), crowd.tally.messages());
    let started = Instant::now();
    sleep(load.watched).await;
    // A busy machine wakes nobody in time.
    let seconds = started.elapsed().as_secs_f64();
    let (after, lines, messages) = (
        usage(),
        crowd.tally.lines() - lines,
        crowd.tally.messages() - messages,
    );
    let (used, of_engine) = (after.0 - before.0, after.1 - before.1);
    let written = load.rate as f64 * load.containers as f64 * seconds;
    let mut put = |metric: &str, value: f64| results.put(load.case, kind.name(), metric, value);
    put("% of a core", used.cpu / seconds / 1e7);
    put("CPU ns/line delivered", used.cpu / lines);
    put("switches/1000 lines", used.switches / written * 1e3);
    put(
        "% delivered",
        100.0 * lines / (written * load.subscribers as f64),
    );
    put("delay p50 ms", crowd.tally.quantile(0.5));
    put("delay p99 ms", crowd.tally.quantile(0.99));
    put(
        "messages/s of a subscriber",
        messages / load.subscribers as f64 / seconds,
    );
    put("engine streams", engine.counts().0);
    if kind == Kind::Pulsetail {
        put("% of a core for reading", of_engine.cpu / seconds / 1e7);
    }
}

/// The loads that have a bar of their own.
pub(crate) async fn measure(results: &mut Results) {
    let seconds = Duration::from_secs;
    let loads = [
        Load {
            case: "10 containers of 2000 lines/s; 1 subscriber",
            containers: 10,
            rate: 2_000,
            subscribers: 1,
            together: 1,
            watched: seconds(5),
        },
        Load {
            case: "1 container of 10000 lines/s; 100 subscribers",
            containers: 1,
            rate: 10_000,
            subscribers: 100,
            together: 1,
            watched: seconds(6),
        },
        Load {
            case: "1 container of 5 lines/s; 100 subscribers",
            containers: 1,
            rate: 5,
            subscribers: 100,
            together: 1,
            watched: seconds(8),
        },
    ];
    for load in &loads {
        for kind in [Kind::Pulsetail, Kind::PlainShared] {
            run(results, kind, load).await;
        }
    }
}

/// The same work for more and more subscribers, then for more and more containers.
pub(crate) async fn scale(results: &mut Results) {
    for many in [1, 10, 100, 1_000] {
        let case = match many {
            1 => "1 subscriber at 1000 lines/s",
            10 => "10 subscribers at 1000 lines/s",
            100 => "100 subscribers at 1000 lines/s",
            _ => "1000 subscribers at 1000 lines/s",
        };
        let load = Load {
            case,
            containers: 1,
            rate: 1_000,
            subscribers: many,
            together: 100,
            watched: Duration::from_secs(4),
        };
        run(results, Kind::Pulsetail, &load).await;
        run(results, Kind::PlainShared, &load).await;
    }
    for many in [1, 10, 100, 1_000] {
        let case = match many {
            1 => "1 container at 10 lines/s",
            10 => "10 containers at 10 lines/s",
            100 => "100 containers at 10 lines/s",
            _ => "1000 containers at 10 lines/s",
        };
        let load = Load {
            case,
            containers: many,
            rate: 10,
            subscribers: 1,
            together: 1,
            watched: Duration::from_secs(4),
        };
        run(results, Kind::Pulsetail, &load).await;
        run(results, Kind::PlainShared, &load).await;
    }
}

/// What each further subscriber costs where lines come in bulk.
pub(crate) async fn bulk(results: &mut Results) {
    const RATE: u64 = 100_000;
    const MORE: usize = 20;
    let mut costs = Vec::new();
    for subscribers in [1, 1 + MORE] {
        let engine = Engine::start(script(1, RATE));
        let server = Server::start(Kind::Pulsetail, &engine.socket());
        let crowd = Crowd::open(&server.address, subscribers, 1, &all(1)).await;
        engine.go();
        sleep(SETTLE).await;
        let usage = || {
            (
                Usage::of(server.pid()) - Usage::of_named(server.pid(), "engine"),
                crowd.tally.lines(),
            )
        };
        let before = usage();
        sleep(Duration::from_secs(4)).await;
        let (used, lines) = usage();
        costs.push((used - before.0, lines - before.1));
    }
    let (used, lines) = (costs[1].0 - costs[0].0, costs[1].1 - costs[0].1);
    let case = "each further subscriber in bulk";
    results.put(case, "Pulsetail", "ns/line", used.cpu / lines);
    results.put(case, "Pulsetail", "user ns/line", used.user / lines);
}
