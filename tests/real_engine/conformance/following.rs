//! Follow streams of containers that are running when they are asked and end while they are read.

use std::io;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::task::block_in_place;
use tokio::time;

use super::http::{Address, Answer, Response};
use super::logs::{DRIVERS, Script};
use super::shape::{Shape, Stamps};
use super::{Pair, create, differences, queries};

/// 20.10 takes the position of a stream after its head is sent; by then it has.
const SETTLING: Duration = Duration::from_millis(300);
const POLL: Duration = Duration::from_millis(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follow_stream_delivers_and_ends_alike() {
    let mut found = Vec::new();
    for pair in Pair::all() {
        for driver in DRIVERS {
            for tty in [false, true] {
                let script = Script::live(driver, tty);
                let real = follow_real(pair, &script).await.unwrap();
                let simulated = follow_simulated(pair, &script).await.unwrap();
                for (query, (real, simulated)) in
                    queries::LIVE.iter().zip(real.iter().zip(&simulated))
                {
                    found.extend(pair.difference(
                        &format!("{} {query}", script.name),
                        real,
                        simulated,
                    ));
                }
            }
        }
    }
    assert!(found.is_empty(), "{}", differences(&found));
}

async fn follow_real(pair: &Pair, script: &Script) -> io::Result<Vec<Shape>> {
    let [real, _] = pair.addresses();
    block_in_place(|| {
        create(&pair.real, script, &[], &script.live_shell());
        pair.real.docker(&["start", &script.name]);
    });
    let streams = open(&real, script).await?;
    time::sleep(SETTLING).await;
    block_in_place(|| pair.real.exec_wait(&script.name, "touch /go"));
    let shapes = shapes(&real, script, streams).await;
    block_in_place(|| pair.real.wait(&script.name));
    shapes
}

async fn follow_simulated(pair: &Pair, script: &Script) -> io::Result<Vec<Shape>> {
    let [_, simulated] = pair.addresses();
    let container = script.create(&pair.sim);
    container.start();
    script.play_run(0, &container);
    let streams = open(&simulated, script).await?;
    script.play_run(1, &container);
    container.exit(script.exit_code());
    shapes(&simulated, script, streams).await
}

/// Waits for what is written first, and opens a stream for each query.
async fn open(address: &Address, script: &Script) -> io::Result<Vec<Response>> {
    let mut known = Stamps::default();
    while known.len() < 3 {
        time::sleep(POLL).await;
        known = Stamps::of(&everything(address, script).await?, script.is_tty());
    }
    let mut streams = Vec::new();
    for query in queries::LIVE {
        let query = queries::fill(query, &known.nanos()).unwrap_or_default();
        streams.push(
            address
                .open(&format!("/containers/{}/logs?{query}", script.name))
                .await?,
        );
    }
    Ok(streams)
}

async fn shapes(
    address: &Address,
    script: &Script,
    streams: Vec<Response>,
) -> io::Result<Vec<Shape>> {
    let answers = join_all(streams.into_iter().map(Response::whole)).await;
    let stamps = Stamps::of(&everything(address, script).await?, script.is_tty());
    Ok(answers
        .iter()
        .map(|answer| Shape::of(answer, script.is_tty(), &stamps))
        .collect())
}

async fn everything(address: &Address, script: &Script) -> io::Result<Answer> {
    address
        .get(&format!(
            "/containers/{}/logs?{}",
            script.name,
            queries::EVERYTHING
        ))
        .await
}
