//! From the engine's bytes to shared units, and from there to those who read them.

use std::process;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use clap::Command;
use futures_util::future::join_all;
use pulsetail::config;
use pulsetail::docker::{Connector, ContainerId, Engine, Ledger, Reach};
use pulsetail::hub::{Content, Item, Reading, Registry, Subscription, Tasks};
use pulsetail::supervisor::{Breaker, Supervisor};
use tokio::runtime::{Builder, Handle};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::process::Usage;
use crate::results::Results;
use crate::{LINES, Replay, each, paced};

const MANY: u64 = 101;
/// Rings of all the room there is: on a busy machine nobody falls behind.
const RING: usize = 64 << 20;

/// What one replay cost.
struct Cost {
    engine: Usage,
    subscribers: Usage,
    units: u64,
}

pub(crate) fn measure(results: &mut Results) {
    let (one, many) = (replayed(1), replayed(MANY));
    let (all, user) = each(one.engine, LINES);
    let case = "engine frame to shared unit";
    results.put(case, "Pulsetail", "ns/line", all);
    results.put(case, "Pulsetail", "user ns/line", user);
    results.put(
        case,
        "Pulsetail",
        "lines/unit",
        LINES as f64 / one.units as f64,
    );
    let (reads, _) = each(many.subscribers - one.subscribers, (MANY - 1) * many.units);
    results.put(
        "each further reader of the ring",
        "Pulsetail",
        "ns/unit",
        reads,
    );
    let lines = (MANY - 1) * LINES;
    results.put(
        "each further reader of the ring",
        "Pulsetail",
        "ns/line",
        each(many.subscribers - one.subscribers, lines).0,
    );
    let publishing = each(many.engine - one.engine, (MANY - 1) * many.units).0;
    results.put(
        "each further reader of the ring",
        "Pulsetail",
        "ns/unit of the engine's thread",
        publishing,
    );
}

/// A replay with so many subscribers, which read on this thread.
fn replayed(subscribers: u64) -> Cost {
    let replay = Replay::new();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let engine_runtime = engine_runtime();
    runtime.block_on(async {
        let engine = Engine::new(Connector::Unix(replay.socket())).unwrap();
        engine.identify().await.unwrap();
        let id = ContainerId::parse(&paced::id(0)).unwrap();
        let container = Arc::new(engine.inspect(&id).await.unwrap());
        let (_reach, reach) = watch::channel(Reach::Here);
        let registry = Arc::new(registry(engine, engine_runtime, reach));
        let mut opened = Vec::new();
        for _ in 0..subscribers {
            let latency = Duration::from_millis(20);
            opened.push(
                Subscription::follow(&registry, Arc::clone(&container), None, latency)
                    .await
                    .unwrap(),
            );
        }
        // The reader goes on to its lease.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let usage = || {
            (
                Usage::of_named(process::id(), "engine"),
                Usage::of_this_thread(),
            )
        };
        let before = usage();
        replay.start();
        let units = join_all(opened.into_iter().map(read)).await;
        let after = usage();
        Cost {
            engine: after.0 - before.0,
            subscribers: after.1 - before.1,
            units: units[0],
        }
    })
}

/// Reads all of it; in how many units it came.
async fn read(mut subscription: Subscription) -> u64 {
    let (mut lines, mut units) = (0, 0);
    while lines < LINES {
        match subscription.next().await {
            Item::Unit(unit) => {
                if let Content::Entries(batch) = &unit.content {
                    lines += batch.count() as u64;
                    units += 1;
                }
            }
            Item::CaughtUp => {}
            other => panic!("{other:?}"),
        }
    }
    units
}

fn registry(engine: Engine, runtime: Handle, reach: watch::Receiver<Reach>) -> Registry {
    let matches = Command::new("pulsetail")
        .args(config::args())
        .get_matches_from(["pulsetail"]);
    let timings = config::load(&matches).unwrap().timings;
    let tasks = Tasks {
        runtime,
        tracker: TaskTracker::new(),
        stop: CancellationToken::new(),
    };
    let supervisor = Supervisor::new(timings, tasks.tracker.clone());
    let reading = Reading {
        rotation: Duration::from_secs(20),
        linger: Duration::ZERO,
        max_line: RING / 2,
    };
    Registry::new(
        engine,
        reach,
        Ledger::default(),
        reading,
        tasks,
        (supervisor, Breaker::default()),
    )
}

/// A thread of its own for the engine, whose time is counted apart. It ends with the bench.
fn engine_runtime() -> Handle {
    let (sender, handle) = mpsc::channel();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let thread = thread::Builder::new().name("engine".to_owned());
    let run = move || {
        sender.send(runtime.handle().clone()).unwrap();
        runtime.block_on(std::future::pending::<()>());
    };
    thread.spawn(run).unwrap();
    handle.recv().unwrap()
}
