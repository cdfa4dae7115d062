//! Pulsetail killed in the middle of it: whoever resumes from the last cursor gets the history that one uncut stream
//! would have brought.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pulsetail::proto::stream_logs_response::Event;
use tokio::task::{block_in_place, spawn_blocking};

use crate::client::{Client, stored, until_exit};
use crate::engine::{Dockerd, RunOptions};
use crate::kind::{Kind, on_each};
use crate::process::Process;
use crate::truth::History;
use crate::writer::{Gates, Script};

/// Margins as in the matrix: the log rotates all the while, and keeps 10 s.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_again_and_again_pulsetail_goes_on_from_the_last_cursor() {
    const SCRIPT: Script = Script {
        pairs: 1_300,
        width: 200,
        pace: Some((1, 30_000)),
    };
    on_each(|kind| async move {
        let Some(engine) = Dockerd::shared(kind) else {
            return;
        };
        let options = RunOptions::rotated(3);
        let gates = Arc::new(block_in_place(Gates::new));
        let run = || gates.run(engine, "survives", &options, &SCRIPT.text("1"));
        let id = block_in_place(run);
        let opened = Arc::clone(&gates);
        let mut opening = Some(move || opened.open("survives"));
        let (mut history, mut kills) = (History::new(SCRIPT), 0);
        loop {
            let process = block_in_place(|| Process::start(engine, &["--rotation=300ms"]));
            let mut client = Client::of(process.address(), until_exit("survives"), history).await;
            if let Some(open) = opening.take() {
                while !matches!(client.next().await, Some(Event::CaughtUp(_))) {}
                spawn_blocking(open).await.unwrap();
            }
            // Now early, now late in a lease.
            let more = client.history.len() + 40 + 7 * kills % 50;
            let goes_on = client.read_until(more).await;
            history = client.history;
            drop(process);
            if !goes_on {
                break;
            }
            kills += 1;
        }
        history.ended = true;
        let kept = stored(engine, &id).await;
        block_in_place(|| engine.remove("survives"));
        assert!(kills > 20, "void: {kills} kills");
        assert!(
            kept.len() < 2 * SCRIPT.pairs as usize,
            "void: nothing rotated out"
        );
        println!("{kind:?}: {kills} kills");
        history.assert_whole(kind, SCRIPT.pairs, &kept);
    })
    .await;
}

const BURST: u32 = 1_500;
const BURSTS: Script = Script {
    pairs: 24 * BURST,
    width: 30,
    pace: Some((BURST, 1_000_000)),
};
static UNFOUND: AtomicUsize = AtomicUsize::new(0);

async fn killed_between_bursts(kind: Kind) {
    let Some(engine) = Dockerd::shared(kind) else {
        return;
    };
    let gates = Arc::new(block_in_place(Gates::new));
    let options = RunOptions::rotated(120);
    let run = || gates.run(engine, "bursts", &options, &BURSTS.text("1"));
    let id = block_in_place(run);
    let opened = Arc::clone(&gates);
    let mut opening = Some(move || opened.open("bursts"));
    let (mut history, mut unfound) = (History::new(BURSTS), 0);
    loop {
        let process = block_in_place(|| Process::start(engine, &["--rotation=10m"]));
        let mut client = Client::of(process.address(), until_exit("bursts"), history).await;
        while !matches!(client.next().await, Some(Event::CaughtUp(_)) | None) {}
        if let Some(open) = opening.take() {
            spawn_blocking(open).await.unwrap();
        }
        // Somewhere in the next burst.
        let more = client.history.len() + 1_700;
        let goes_on = client.read_until(more).await;
        history = client.history;
        drop(process);
        if !goes_on {
            break;
        }
        unfound += usize::from(history.is_missing_some());
    }
    history.ended = true;
    let kept = stored(engine, &id).await;
    block_in_place(|| engine.remove("bursts"));
    let verdict = history.judge(BURSTS.pairs);
    let what = format!(
        "{kind:?}: {unfound} behind a skip; {verdict}; {:?}",
        history.causes
    );
    println!("{what}");
    assert!(kept.len() == 2 * BURSTS.pairs as usize, "void: rotated out");
    assert!(verdict.is_honest(), "{what}: {}", verdict.places());
    UNFOUND.fetch_add(unfound, Ordering::Relaxed);
}

/// Bursts in which the engine's stream loses its place, and no rotation that would find it out before the kill. Whether it
/// does is the engine's luck: a run without is made again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_before_a_skip_was_found_pulsetail_delivers_it_or_says_so() {
    for _attempt in 0..4 {
        on_each(killed_between_bursts).await;
        if UNFOUND.load(Ordering::Relaxed) > 0 {
            return;
        }
    }
    panic!("void: no skip was in doubt as it was killed");
}
