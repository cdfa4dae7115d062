//! Millions of lines over a thousand rotations: `tests/long.sh` runs it, CI does not.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::task::{block_in_place, spawn_blocking};

use crate::client::{Client, Pace, stored};
use crate::engine::{Dockerd, RunOptions};
use crate::kind::Kind;
use crate::server::Server;
use crate::truth::in_file_order;
use crate::writer::{Gates, Script};

/// Some 4,000 lines a second for each container.
const SCRIPT: Script = Script {
    pairs: 425_000,
    width: 30,
    pace: Some((100, 50_000)),
};
const LINES: usize = 5_000_000;
const ROTATIONS: usize = 1_000;
/// What takes longer has failed.
const DEADLINE: Duration = Duration::from_secs(30 * 60);

/// A name, its driver, and the size and number of its files.
type Log = (&'static str, &'static str, Option<(&'static str, u32)>);

/// All of them keep all of it.
const LOGS: [Log; 3] = [
    ("plain", "json-file", None),
    ("rotated", "json-file", Some(("1m", 150))),
    ("compressed", "local", Some(("4m", 50))),
];

/// What one container's client got, and what it cost.
struct Read {
    lines: usize,
    rotations: usize,
    fault: Option<String>,
}

async fn read(
    engine: &'static Dockerd,
    server: &Server,
    gates: &Arc<Gates>,
    (name, driver, files): Log,
) -> Read {
    let name = format!("long-{name}");
    let options = RunOptions {
        driver: Some(driver),
        max_size: files.map(|(size, _)| size),
        max_file: files.map(|(_, count)| count),
        ..RunOptions::default()
    };
    let (running, named) = (Arc::clone(gates), name.clone());
    let run = move || running.run(engine, &named, &options, &SCRIPT.text("1"));
    let id = spawn_blocking(run).await.unwrap();
    let client = Client::open(server, &name, SCRIPT, Pace::Fast).await;
    let (opened, named) = (Arc::clone(gates), name.clone());
    spawn_blocking(move || opened.open(&named)).await.unwrap();
    let history = client.patient(DEADLINE).finish().await;
    let stored = stored(engine, &id).await;
    spawn_blocking(move || engine.remove(&name)).await.unwrap();

    let verdict = history.judge(SCRIPT.pairs);
    let rotations = server.requests(&format!("/containers/{id}/logs?follow=true"));
    let what = format!(
        "{:?} | {driver} {files:?}: {rotations} rotations, fell behind {}: {verdict}; {:?}",
        engine.kind(),
        history.fell_behind,
        history.causes
    );
    println!("{what}");
    let whole = verdict.is_whole() && history.ended && in_file_order(&history.order(), &stored);
    Read {
        lines: verdict.received,
        rotations,
        fault: (!whole).then(|| format!("{what}: {}", verdict.places())),
    }
}

async fn on(engine: &'static Dockerd) -> Vec<Read> {
    let server = Server::start(engine, &["--rotation=200ms"]).await;
    let gates = Arc::new(block_in_place(Gates::new));
    let logs = LOGS.map(|log| read(engine, &server, &gates, log));
    let reads = join_all(logs).await;
    server.stop().await;
    reads
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: run by tests/long.sh"]
async fn five_million_lines_over_a_thousand_rotations_come_once_and_in_order() {
    let started = Instant::now();
    let engines = Kind::present().filter_map(Dockerd::shared);
    let reads: Vec<_> = join_all(engines.map(on))
        .await
        .into_iter()
        .flatten()
        .collect();
    let lines: usize = reads.iter().map(|read| read.lines).sum();
    let rotations: usize = reads.iter().map(|read| read.rotations).sum();
    println!(
        "{lines} lines, {rotations} rotations, {:?}",
        started.elapsed()
    );
    let faults: Vec<_> = reads
        .iter()
        .filter_map(|read| read.fault.as_ref())
        .collect();
    assert!(faults.is_empty(), "{faults:#?}");
    assert!(lines >= LINES, "void: {lines} lines");
    assert!(rotations >= ROTATIONS, "void: {rotations} rotations");
}
