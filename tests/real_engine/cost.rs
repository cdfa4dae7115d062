//! What reading costs the engine, in processor time of dockerd.

use std::time::Duration;

use futures_util::StreamExt;
use pulsetail::docker::{Connector, ContainerId, Engine, Tail};
use pulsetail::proto::stream_logs_request::Start;
use pulsetail::proto::stream_logs_response::Event;
use tokio::task::block_in_place;
use tokio::time::sleep;

use crate::client::{Client, Pace};
use crate::engine::{Dockerd, RunOptions};
use crate::kind::{Kind, on_each};
use crate::server::{Server, request};
use crate::writer::{Gates, Script};

/// Enough rounds for the 10 ms ticks that processor time is counted in.
const ROUNDS: u32 = 200;
const ROTATION: Duration = Duration::from_millis(100);
const PACED: u32 = 60;
const OPENINGS: u32 = 50;
/// What a lease overlaps, and what a check reads to find the last verified record.
const OVERLAP: u32 = 64;
/// 2 M lines, then one line on stderr alone: the anchor of every rotation has no
/// other record of its stream near. A line a second keeps the log in motion.
const WRITER: &str = "seq 2000000; echo full >&2; while :; do echo tick >&2; usleep 50000; done";

/// dockerd's processor time while something happens.
async fn cost(engine: &Dockerd, what: impl Future<Output = ()>) -> Duration {
    let before = engine.cpu();
    what.await;
    engine.cpu() - before
}

/// The same, the least of a few: dockerd collects its garbage whenever it likes, and that
/// adds as much as dozens of openings.
async fn least<F: Future<Output = ()>>(engine: &Dockerd, what: impl Fn() -> F) -> Duration {
    let mut least = Duration::MAX;
    for _ in 0..3 {
        least = least.min(cost(engine, what()).await);
    }
    least
}

async fn tails(engine: &Dockerd, id: &str) {
    let client = Engine::new(Connector::Unix(engine.socket())).unwrap();
    let id = ContainerId::parse(id).unwrap();
    for _ in 0..ROUNDS {
        let records = client.snapshot(&id, false, Tail::Last(OVERLAP));
        assert_eq!(records.count().await, 64);
    }
}

/// The same at the pace of the rotations: a lone request costs dockerd more than
/// one of many.
async fn paced(engine: &Dockerd, id: &str) {
    let client = Engine::new(Connector::Unix(engine.socket())).unwrap();
    let id = ContainerId::parse(id).unwrap();
    let mut pace = tokio::time::interval(ROTATION);
    for _ in 0..PACED {
        pace.tick().await;
        let records = client.snapshot(&id, false, Tail::Last(OVERLAP));
        assert_eq!(records.count().await, 64);
    }
}

/// Opens a follow with its last lines; a reader of its own each time.
async fn openings(server: &Server, lease: &str) {
    for _ in 0..OPENINGS {
        let tail_lines = Some(Start::TailLines(10));
        let mut stream = server.stream(request(&["big"], tail_lines, true)).await;
        while !matches!(stream.message().await, Ok(Some(m)) if is_caught_up(&m)) {}
        drop(stream);
        while server.open(lease) > 0 {
            sleep(Duration::from_millis(5)).await;
        }
    }
}

fn is_caught_up(message: &pulsetail::proto::StreamLogsResponse) -> bool {
    matches!(message.event, Some(Event::CaughtUp(_)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn opening_and_rotating_on_2_million_lines_cost_the_engine_no_more_than_a_tail() {
    for engine in
        Kind::present().map(|kind| Dockerd::start(kind, crate::engine::Options::default()))
    {
        let options = RunOptions {
            driver: Some("json-file"),
            ..RunOptions::default()
        };
        let id = block_in_place(|| engine.run("big", &options, WRITER));
        block_in_place(|| {
            crate::engine::until("2 M lines are stored", || {
                let tail = engine.docker(&["logs", "--tail", "1", "big"]);
                !tail.stderr.is_empty()
            });
        });
        let server = Server::start(&engine, &["--rotation=100ms", "--linger=0s"]).await;
        let tail = least(&engine, || tails(&engine, &id)).await;

        // What goes on anyway: the writer's lines, pings, events.
        let span = ROTATION * PACED;
        let idle = cost(&engine, sleep(span)).await;
        let paced = cost(&engine, paced(&engine, &id))
            .await
            .saturating_sub(idle);
        let lease = format!("/containers/{id}/logs?follow=true");
        let mut stream = server
            .stream(request(&["big"], Some(Start::TailLines(10)), true))
            .await;
        let before = server.requests(&lease);
        let reading = async {
            let lines = async { while let Ok(Some(_)) = stream.message().await {} };
            let _elapsed = tokio::time::timeout(span, lines).await;
        };
        let rotating = cost(&engine, reading).await.saturating_sub(idle);
        drop(stream);
        let leases = u32::try_from(server.requests(&lease) - before).unwrap();
        let resyncs = server.requests(&format!("/containers/{id}/logs?follow=false"));

        let opening = least(&engine, || openings(&server, &lease)).await;
        let per = |total: Duration, count: u32| total.as_secs_f64() * 1e3 / f64::from(count);
        let (tail, paced) = (per(tail, ROUNDS), per(paced, PACED));
        let rotation = per(rotating, leases);
        let opening = per(opening, OPENINGS);
        println!(
            "{:?}: dockerd ms per tail of {OVERLAP} {tail:.2}, per tail_lines: 10 {opening:.2}; \
             every 100 ms, per tail {paced:.2}, per rotation {rotation:.2} \
             ({leases} rotations, {resyncs} snapshots)",
            engine.kind()
        );
        assert!(leases > 40, "{leases} rotations only");
        // A whole read of this log costs seconds; the margin is for the ticks and
        // for what dockerd spends on each line that a lease delivers.
        assert!(
            rotation < 2.0 * paced + 2.0,
            "{rotation} ms against {paced} ms"
        );
        // It looks at the log's end three times, and at the container.
        assert!(opening < 3.0 * tail + 2.0, "{opening} ms against {tail} ms");
        server.stop().await;
    }
}

/// Rotations that an idle container is watched for.
const WATCHED: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_container_costs_one_probe_a_rotation_and_no_new_stream() {
    for engine in Kind::present().filter_map(Dockerd::shared) {
        for max_size in [None, Some("100k")] {
            let options = RunOptions {
                max_size,
                ..RunOptions::default()
            };
            let script = "seq 100; sleep 1000";
            let id = block_in_place(|| engine.run("idle", &options, script));
            let rotation = Duration::from_millis(500);
            let server = Server::start(engine, &["--rotation=500ms"]).await;
            let asked = request(&["idle"], Some(Start::FromBeginning(true)), true);
            let mut stream = server.stream(asked).await;
            while !matches!(stream.message().await, Ok(Some(m)) if is_caught_up(&m)) {}
            // The lease that brought the last lines is the last one that is cycled.
            sleep(rotation * 3).await;
            let log = format!("/containers/{id}/logs?");
            let (follows, reads) = (format!("{log}follow=true"), format!("{log}follow=false"));
            let before = (server.requests(&follows), server.requests(&reads));
            let started = std::time::Instant::now();
            let probes = || server.requests(&reads) - before.1;
            for _ in 0..600 {
                if probes() >= WATCHED {
                    break;
                }
                sleep(Duration::from_millis(50)).await;
            }
            // Rotations are 10 % shorter at times; the slower the machine, the more of them there were.
            let most = started.elapsed().as_secs_f64() / (0.9 * rotation.as_secs_f64());
            let (probes, what) = (probes(), engine.kind());
            println!("{what:?}: {probes} probes in {most:.1} rotations");
            assert!(probes >= WATCHED, "{what:?}: not watched over");
            assert!(probes as f64 <= most + 1.0, "{what:?}: {probes} probes");
            assert_eq!(server.requests(&follows), before.0, "{what:?}: new streams");
            assert_eq!(server.open(&follows), 1, "{what:?}");
            drop(stream);
            server.stop().await;
            block_in_place(|| engine.remove("idle"));
        }
    }
}

/// Some 1,000 records a second into files of 1 MiB: five or six of them.
const STEADY: Script = Script {
    pairs: 10_000,
    width: 200,
    pace: Some((25, 50_000)),
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verifying_a_rotating_log_reads_it_about_once_again() {
    on_each(verifying).await;
}

async fn verifying(kind: Kind) {
    let Some(engine) = Dockerd::shared(kind) else {
        return;
    };
    let options = RunOptions {
        max_size: Some("1m"),
        max_file: Some(5),
        ..RunOptions::default()
    };
    let gates = block_in_place(Gates::new);
    let run = || gates.run(engine, "verified", &options, &STEADY.text("1"));
    let id = block_in_place(run);
    let server = Server::start(engine, &["--rotation=2s"]).await;
    let client = Client::open(&server, "verified", STEADY, Pace::Fast).await;
    block_in_place(|| gates.open("verified"));
    let history = client.finish().await;
    block_in_place(|| engine.remove("verified"));
    let verdict = history.judge(STEADY.pairs);
    assert!(verdict.is_whole() && history.ended, "{verdict}");

    // A record on the wire: a chunk's frame, a header of 8 bytes, the time, the line.
    let line = STEADY.line(pulsetail::proto::Stream::Stdout, 1_000).len() as u64;
    let record = 6 + 8 + 31 + line + 1;
    let count = |follow: bool| {
        let log = format!("/containers/{id}/logs?follow={follow}");
        (server.requests(&log) as u64, server.answered(&log) / record)
    };
    let (leases, live) = count(true);
    let (snapshots, again) = count(false);
    let delivered = verdict.received as u64;
    let share = |records: u64| records as f64 / delivered as f64;
    println!(
        "{kind:?}: {delivered} records delivered, {:.2} times as many read by {leases} leases, \
         {:.2} by {snapshots} snapshots",
        share(live),
        share(again)
    );
    assert!(leases > 5, "void: {leases} leases");
    // Each lease brings again what the one before had brought, each read overlaps what is verified.
    let overlap = u64::from(OVERLAP) * (leases + snapshots);
    let again = (live + again).saturating_sub(delivered + overlap);
    println!(
        "{kind:?}: {:.2} times as many again beyond the overlap",
        share(again)
    );
    // What was on its way as a read was dropped counts as well: a machine of six busy loops saw 1.14, an idle one 0.93.
    let most = delivered + delivered / 5;
    assert!(again <= most, "{again} records for {delivered}");
    server.stop().await;
}
