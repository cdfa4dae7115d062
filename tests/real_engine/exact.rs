//! What a client receives is what the containers wrote, line by line.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use futures_util::StreamExt;
use pulsetail::docker::{Connector, ContainerId, Engine, Record, Tail};
use pulsetail::proto::stream_logs_response::Event;
use pulsetail::proto::{self, stream_logs_request::Start};
use pulsetail_client::history::Least;
use tokio::task::block_in_place;

use crate::engine::{Dockerd, RunOptions};
use crate::judge;
use crate::kind::Kind;
use crate::server::{Server, entries, events, request};

const LINES: usize = 300;
const WRITER: &str =
    "n=0; while [ $n -lt 300 ]; do echo out $n; echo err $n >&2; n=$((n+1)); usleep 20000; done";
const CASES: [(&str, &str, bool); 4] = [
    ("json-plain", "json-file", false),
    ("json-tty", "json-file", true),
    ("local-plain", "local", false),
    ("local-tty", "local", true),
];

/// The engine's own file order of records, by one snapshot.
async fn file_order(engine: &Dockerd, id: &str, tty: bool) -> Vec<Record> {
    let client = Engine::new(Connector::Unix(engine.socket())).unwrap();
    client.identify().await.unwrap();
    let records = client.snapshot(&ContainerId::parse(id).unwrap(), tty, Tail::All);
    records.map(Result::unwrap).collect().await
}

/// What the writer wrote, per stream, in order.
fn written(tty: bool) -> [Vec<Vec<u8>>; 2] {
    let end = if tty { "\r" } else { "" };
    let lines = |word: &str| {
        let lines = (0..LINES).map(|n| format!("{word} {n}{end}").into_bytes());
        lines.collect()
    };
    [lines("out"), lines("err")]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_line_arrives_once_in_file_order_over_more_than_20_rotations() {
    for engine in Kind::present().filter_map(Dockerd::shared) {
        let server = Server::start(engine, &["--rotation=200ms"]).await;
        let ids = CASES.map(|(name, driver, tty)| {
            let options = RunOptions {
                driver: Some(driver),
                tty,
                ..RunOptions::default()
            };
            block_in_place(|| engine.run(name, &options, WRITER))
        });
        let names = CASES.map(|(name, ..)| name);
        let mut all = request(&names, Some(Start::FromBeginning(true)), true);
        all.until_exit = true;
        let received = events(server.stream(all).await).await;
        assert!(matches!(received.first(), Some(Event::Opened(_))));
        assert!(matches!(received.last(), Some(Event::Closing(_))));
        assert!(!received.iter().any(|event| matches!(event, Event::Gap(_))));
        let mut truths = BTreeMap::new();
        for ((name, _, tty), id) in CASES.iter().zip(&ids) {
            let what = format!("{name} on {:?}", engine.kind());
            let lines = entries(&received, name);
            for (word, want) in ["out", "err"].iter().zip(written(*tty)) {
                let got = lines.iter().map(|(_, line)| line.clone());
                let got: Vec<_> = got
                    .filter(|line| line.starts_with(word.as_bytes()))
                    .collect();
                let lost: Vec<_> = want
                    .iter()
                    .filter(|line| !got.contains(line))
                    .map(|l| String::from_utf8_lossy(l))
                    .collect();
                assert!(
                    lost.is_empty(),
                    "{word} of {what}: lost {lost:?}; {:?}",
                    &lines[lines.len() - 5..]
                        .iter()
                        .map(|l| String::from_utf8_lossy(&l.1))
                        .collect::<Vec<_>>()
                );
                assert!(got == want, "{word} of {what} is not in order");
            }
            let records = file_order(engine, id, *tty).await;
            truths.insert(id.clone(), judge::truth(&records));
            let leases = server.requests(&format!("/containers/{id}/logs?follow=true"));
            assert!(leases > 20, "{what}: {leases} leases only");
            block_in_place(|| engine.remove(name));
        }
        let lines = (CASES.len() * 2 * LINES) as u64;
        let least = Least {
            entries: lines,
            compared: lines,
            ..Least::default()
        };
        judge::judged(&received, &truths).assert_valid(&least);
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_empty_and_unterminated_lines_come_whole_from_every_driver() {
    let script = "head -c 40000 /dev/zero | tr '\\0' a; echo; echo; \
                  head -c 16384 /dev/zero | tr '\\0' b; echo; printf 'last words'";
    let want = [
        vec![b'a'; 40_000],
        Vec::new(),
        vec![b'b'; 16_384],
        b"last words".to_vec(),
    ];
    for engine in Kind::present().filter_map(Dockerd::shared) {
        let server = Server::start(engine, &[]).await;
        for driver in ["json-file", "local"] {
            let name = format!("long-{driver}");
            let options = RunOptions {
                driver: Some(driver),
                ..RunOptions::default()
            };
            block_in_place(|| {
                engine.run(&name, &options, script);
                engine.wait(&name);
            });
            for follow in [false, true] {
                let mut asked = request(&[&name], Some(Start::FromBeginning(true)), follow);
                asked.until_exit = follow;
                let received = events(server.stream(asked).await).await;
                let lines: Vec<_> = entries(&received, &name).into_iter().map(|e| e.1).collect();
                let lengths: Vec<_> = lines.iter().map(Vec::len).collect();
                assert!(
                    lines == want,
                    "{driver} on {:?}: {lengths:?}",
                    engine.kind()
                );
            }
            block_in_place(|| engine.remove(&name));
        }
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_container_goes_on_in_the_same_stream() {
    for engine in Kind::present().filter_map(Dockerd::shared) {
        let server = Server::start(engine, &["--rotation=300ms"]).await;
        let script = "echo run; trap 'exit 0' TERM; sleep 1000 & wait";
        block_in_place(|| engine.run("again", &RunOptions::default(), script));
        let mut stream = server
            .stream(request(&["again"], Some(Start::FromBeginning(true)), true))
            .await;
        let (mut runs, mut exits, mut starts) = (0, 0, 0);
        while runs < 4 {
            match stream.message().await.unwrap().unwrap().event {
                Some(Event::Batch(batch)) => {
                    runs += batch.entries.len();
                    if runs < 4 {
                        block_in_place(|| engine.docker(&["restart", "-t", "5", "again"]));
                    }
                }
                Some(Event::ContainerChange(change)) => match change.kind() {
                    proto::ContainerChangeKind::Exited => exits += 1,
                    proto::ContainerChangeKind::Started => starts += 1,
                    other => panic!("{other:?}"),
                },
                Some(Event::Gap(gap)) => panic!("{gap:?}"),
                _ => {}
            }
        }
        assert_eq!((runs, exits, starts), (4, 3, 3), "on {:?}", engine.kind());
        block_in_place(|| engine.remove("again"));
        server.stop().await;
    }
}

/// The figure is 100 ms; ten times that is a failure, whatever else the machine does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_is_words_in_the_clients_hands_soon_after_it_was_written() {
    for engine in Kind::present().filter_map(Dockerd::shared) {
        let server = Server::start(engine, &[]).await;
        let script = "while :; do echo tick; sleep 1; done";
        block_in_place(|| engine.run("soon", &RunOptions::default(), script));
        let mut stream = server.stream(request(&["soon"], None, true)).await;
        let mut delays = Vec::new();
        while delays.len() < 4 {
            if let Some(Event::Batch(batch)) = stream.message().await.unwrap().unwrap().event {
                let text = Some(proto::log_entry::Line::Text("tick".to_owned()));
                assert_eq!(batch.entries[0].line, text);
                // Both stamps are of this machine's clock.
                let written = SystemTime::try_from(batch.entries[0].time.unwrap()).unwrap();
                delays.push(written.elapsed().unwrap_or_default());
            }
        }
        delays.sort();
        println!(
            "{:?}: from the engine's stamp to the client {delays:?}",
            engine.kind()
        );
        assert!(delays[1] < Duration::from_secs(1), "{delays:?}");
        block_in_place(|| engine.remove("soon"));
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_goes_away_closes_its_engine_connection() {
    for engine in Kind::present().filter_map(Dockerd::shared) {
        let server = Server::start(engine, &[]).await;
        let script = "while :; do echo tick; usleep 100000; done";
        let id = block_in_place(|| engine.run("dropped", &RunOptions::default(), script));
        let stream = server.stream(request(&["dropped"], None, true)).await;
        let follows = format!("/containers/{id}/logs?follow=true");
        eventually("a lease is open", || server.open(&follows) == 1).await;
        drop(stream);
        eventually("the lease is closed", || server.open(&follows) == 0).await;
        block_in_place(|| engine.remove("dropped"));
        server.stop().await;
    }
}

/// Waits for a condition; ten times the second promised is a failure.
async fn eventually(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..500 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("waited in vain: {what}");
}
