//! Pulsetail beside a follower that resumes by `since`, as most clients of the Docker API do: on the same engines, under
//! the same writers, in one run. Prints the table of the README.

#![allow(
    clippy::disallowed_methods,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "it measures, prints and panics like the tests whose harness it uses"
)]

#[allow(dead_code, reason = "shared with the tests, which use all of it")]
#[path = "../../tests/real_engine/client.rs"]
mod client;
#[path = "../../tests/real_engine/daemon.rs"]
mod daemon;
#[allow(dead_code, reason = "shared with the tests, which use all of it")]
#[path = "../../tests/real_engine/engine.rs"]
mod engine;
mod follower;
#[allow(dead_code, reason = "shared with the tests, which use all of it")]
#[path = "../../tests/real_engine/kind.rs"]
mod kind;
#[allow(dead_code, reason = "shared with the tests, which use all of it")]
#[path = "../../tests/real_engine/server.rs"]
mod server;
#[allow(dead_code, reason = "shared with the tests, which use all of it")]
#[path = "../../tests/real_engine/truth.rs"]
mod truth;
#[allow(dead_code, reason = "shared with the tests, which use all of it")]
#[path = "../../tests/real_engine/writer.rs"]
mod writer;

use std::thread;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::task::block_in_place;

use client::{Client, Pace, until_exit};
use engine::{Dockerd, Options, RunOptions, until};
use follower::{Follower, Older};
use kind::Kind;
use server::Server;
use truth::History;
use writer::{Gates, Script};

/// What a log is like, and who reads it.
struct Row {
    title: &'static str,
    /// Lines that stand in the log already.
    prefill: u32,
    rotation: Option<(&'static str, u32)>,
    script: Script,
    pace: Pace,
    /// How long each reader keeps a stream.
    lease: Duration,
}

const ROWS: [Row; 4] = [
    Row {
        title: "2,000,000 lines stored, 40 lines/s",
        prefill: 2_000_000,
        rotation: None,
        script: steady(300, 30, 1, 50_000),
        pace: Pace::Fast,
        lease: Duration::from_secs(5),
    },
    Row {
        title: "`1m` x 5, 8,000 lines/s, client pauses 6 s",
        prefill: 0,
        rotation: Some(("1m", 5)),
        script: steady(30_000, 40, 40, 10_000),
        pace: Pace::Slow,
        lease: Duration::from_secs(2),
    },
    Row {
        title: "`100k` x 3, 50 lines/s",
        prefill: 0,
        rotation: Some(("100k", 3)),
        script: steady(500, 200, 1, 40_000),
        pace: Pace::Fast,
        lease: Duration::from_secs(2),
    },
    Row {
        title: "`100k` x 3, 400 lines/s",
        prefill: 0,
        rotation: Some(("100k", 3)),
        script: steady(3_000, 60, 10, 50_000),
        pace: Pace::Fast,
        lease: Duration::from_secs(2),
    },
];

const fn steady(pairs: u32, width: usize, batch: u32, pause: u32) -> Script {
    Script {
        pairs,
        width,
        pace: Some((batch, pause)),
    }
}

/// Who reads while the container writes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reader {
    /// Nobody: what the engine spends on the writer alone.
    Nobody,
    Pulsetail,
    Since(Older),
}

const READERS: [(&str, Reader); 3] = [
    ("Pulsetail", Reader::Pulsetail),
    ("`since`", Reader::Since(Older::Kept)),
    ("`since`, newer lines only", Reader::Since(Older::Dropped)),
];

struct Reading {
    history: Option<History>,
    streams: usize,
    cpu: Duration,
}

/// A container that has filled its log and waits to go on.
fn fill(engine: &Dockerd, gates: &Gates, row: &Row) -> String {
    let options = RunOptions {
        driver: Some("json-file"),
        max_size: row.rotation.map(|(size, _)| size),
        max_file: row.rotation.map(|(_, files)| files),
        ..RunOptions::default()
    };
    let writer = row.script.text("1");
    if row.prefill == 0 {
        return gates.run(engine, "read", &options, &writer);
    }
    let script = format!("seq {}; cat /gate/read; {writer}", row.prefill);
    let id = gates.run(engine, "read", &options, &script);
    gates.open("read");
    let last = row.prefill.to_string();
    until("the log is filled", || {
        engine::text(&engine.docker(&["logs", "--tail", "1", "read"])) == last
    });
    // A second of such a writer is more than a lease can bring: who starts in it with `since` never leaves it.
    thread::sleep(Duration::from_secs(2));
    id
}

/// Makes a container, lets it write before one reader, and removes it.
async fn read(engine: &Dockerd, row: &Row, reader: Reader) -> Reading {
    let gates = block_in_place(Gates::new);
    let id = block_in_place(|| fill(engine, &gates, row));
    let lease = format!("--rotation={}s", row.lease.as_secs());
    let server = Server::start(engine, &[&lease]).await;
    let reading = match reader {
        Reader::Nobody => {
            let before = engine.cpu();
            block_in_place(|| {
                gates.open("read");
                engine.wait("read");
            });
            Reading {
                history: None,
                streams: 0,
                cpu: engine.cpu() - before,
            }
        }
        Reader::Pulsetail => {
            let mut asked = until_exit("read");
            if row.prefill > 0 {
                asked.start = None;
            }
            let history = History::new(row.script);
            let client = Client::of(server.address(), asked, history).await;
            let client = client.paced(row.pace).caught_up().await;
            let before = engine.cpu();
            block_in_place(|| gates.open("read"));
            let history = client.finish().await;
            Reading {
                history: Some(history),
                streams: server.requests(&format!("/containers/{id}/logs?follow=true")),
                cpu: engine.cpu() - before,
            }
        }
        Reader::Since(older) => {
            let follower = Follower::new(engine.socket(), &id, row.lease, row.pace, older);
            let before = engine.cpu();
            let opened = async { block_in_place(|| gates.open("read")) };
            let (history, streams) = follower.read(History::new(row.script), opened).await;
            Reading {
                history: Some(history),
                streams,
                cpu: engine.cpu() - before,
            }
        }
    };
    server.stop().await;
    block_in_place(|| engine.remove("read"));
    reading
}

/// Processor time that a reader cost the engine beyond the writer: all of it, and for each stream it opened.
fn cost(reading: &Reading, alone: &Reading) -> String {
    let all = reading.cpu.saturating_sub(alone.cpu).as_secs_f64() * 1e3;
    let streams = u32::try_from(reading.streams).unwrap_or(u32::MAX).max(1);
    format!("{all:.0} ms | {:.0} ms", all / f64::from(streams))
}

fn title(kind: Kind) -> &'static str {
    match kind {
        Kind::Old => "Docker 20.10.24",
        Kind::New => "Docker, API 1.56",
    }
}

async fn table(engine: Dockerd) -> String {
    let mut table = String::new();
    for row in &ROWS {
        let alone = read(&engine, row, Reader::Nobody).await;
        for (name, reader) in READERS {
            let reading = read(&engine, row, reader).await;
            let history = reading.history.as_ref().unwrap();
            let verdict = history.judge(row.script.pairs);
            let (lost, all) = (verdict.lost, 2 * row.script.pairs);
            let end = if history.ended { "" } else { " (did not end)" };
            let line = format!(
                "| {} | {} | {name}{end} | {lost} of {all} | {} | {} | {} | {} | {} |\n",
                title(engine.kind()),
                row.title,
                verdict.silent.len(),
                verdict.repeated.len(),
                verdict.gaps,
                reading.streams,
                cost(&reading, &alone)
            );
            // It takes minutes: whoever waits sees it come.
            eprint!("{line}");
            table += &line;
        }
    }
    table
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    // `cargo test --benches` runs it too, and wants no table.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    // Each a task of its own: what blocks one must not keep the other's client from reading.
    let start = |kind| block_in_place(|| Dockerd::start(kind, Options::default()));
    let tables = Kind::present().map(|kind| tokio::spawn(table(start(kind))));
    let tables = join_all(tables).await.into_iter().map(Result::unwrap);
    println!(
        "| engine | log | reader | lost | unsaid | repeated | gaps | streams | dockerd CPU | per stream |\n\
         |---|---|---|---|---|---|---|---|---|---|"
    );
    print!("{}", tables.collect::<String>());
}
