//! Pulsetail from end to end, beside what one would use instead: in the same run, under the same writers. Every process is
//! measured apart; servers and readers of the comparison stand in this folder.
//!
//! `cargo bench --bench fan_out [-- CASE…]` runs some of its parts or all.

#![allow(
    clippy::disallowed_methods,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "it measures, prints and panics"
)]

#[path = "../shared/blocking.rs"]
mod blocking;
mod crowd;
#[path = "../../tests/real_engine/daemon.rs"]
mod daemon;
#[allow(dead_code, reason = "shared with the tests, which use all of it")]
#[path = "../../tests/real_engine/engine.rs"]
mod engine;
mod history;
#[allow(dead_code, reason = "shared with the tests, which use all of it")]
#[path = "../../tests/real_engine/kind.rs"]
mod kind;
mod load;
mod memory;
mod naive;
#[path = "../shared/paced.rs"]
mod paced;
#[path = "../shared/plain.rs"]
mod plain;
#[allow(dead_code, reason = "shared with the other bench")]
#[path = "../shared/process.rs"]
mod process;
mod readers;
mod real;
#[path = "../shared/results.rs"]
mod results;
mod roles;
#[path = "../shared/wire.rs"]
mod wire;

use results::Results;
use tokio::runtime::Builder;

const PARTS: [&str; 10] = [
    "load",
    "bulk",
    "scale",
    "history",
    "idle",
    "stalled",
    "containers",
    "fan",
    "live",
    "quiet",
];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|first| first == "role") {
        roles::play(&args[1..]);
        return;
    }
    // `cargo test --benches` runs it too, and wants no figures.
    if !args.iter().any(|argument| argument == "--bench") {
        return;
    }
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(measure(&args));
}

async fn measure(args: &[String]) {
    let wanted: Vec<_> = args
        .iter()
        .filter(|argument| !argument.starts_with("--"))
        .collect();
    let mut results = Results::of("fan_out");
    for part in PARTS {
        if !wanted.is_empty() && !wanted.iter().any(|wanted| *wanted == part) {
            continue;
        }
        match part {
            "load" => load::measure(&mut results).await,
            "bulk" => load::bulk(&mut results).await,
            "scale" => load::scale(&mut results).await,
            "history" => history::measure(&mut results).await,
            "idle" => memory::idle_subscriptions(&mut results).await,
            "stalled" => memory::stalled(&mut results).await,
            "containers" => memory::idle_containers(&mut results).await,
            "quiet" => real::idle(&mut results).await,
            "fan" => real::fan(&mut results).await,
            _ => real::live(&mut results).await,
        }
    }
}
