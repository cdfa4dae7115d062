//! Engines that stop, die and restart, containers that come and go, and Pulsetail killed in the middle of it: the
//! history stays one.

use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use pulsetail::proto::stream_logs_request::Start;
use pulsetail::proto::stream_logs_response::Event;
use tokio::sync::{Mutex, MutexGuard};
use tokio::task::block_in_place;

use crate::client::{Client, Pace, stored, until_exit};
use crate::engine::{Dockerd, Options, RunOptions, Signal};
use crate::kind::{Kind, on_each};
use crate::server::{Server, request};
use crate::truth::{History, Verdict, in_file_order, nanos};
use crate::writer::{Gates, Script};

/// A pair every 20 ms: what dockerd misses waits in the container's pipes, far from full.
const STEADY: Script = Script {
    pairs: 1_200,
    width: 30,
    pace: Some((1, 20_000)),
};
/// The same for long enough to be told how it stands five times.
const LONG: Script = Script {
    pairs: 2_600,
    ..STEADY
};
/// As fast as it goes.
const BURST: Script = Script {
    pairs: 1_500,
    width: 30,
    pace: None,
};
/// Entries before something happens.
const WARM: usize = 300;
const ROTATION: &str = "--rotation=300ms";

/// An engine that is stopped and killed, by one test at a time.
pub(crate) async fn fragile(kind: Kind) -> MutexGuard<'static, Dockerd> {
    static OLD: OnceLock<Mutex<Dockerd>> = OnceLock::new();
    static NEW: OnceLock<Mutex<Dockerd>> = OnceLock::new();
    let options = Options {
        live_restore: true,
        ..Options::default()
    };
    let engine = match kind {
        Kind::Old => &OLD,
        Kind::New => &NEW,
    };
    let start = || Mutex::new(Dockerd::start(kind, options));
    block_in_place(|| engine.get_or_init(start)).lock().await
}

/// A container with a client that has heard its first lines.
async fn warm(engine: &Dockerd, server: &Server, name: &str, script: Script) -> (String, Client) {
    let gates = block_in_place(Gates::new);
    let run = || gates.run(engine, name, &RunOptions::rotated(9), &script.text("1"));
    let id = block_in_place(run);
    let mut client = Client::open(server, name, script, Pace::Fast).await;
    block_in_place(|| gates.open(name));
    assert!(client.read_until(WARM).await, "void: it has ended already");
    (id, client)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_stands_still_stops_the_verified_time_and_loses_nothing() {
    on_each(|kind| async move {
        let engine = fragile(kind).await;
        let server = Server::start(&engine, &[ROTATION]).await;
        let (id, mut client) = warm(&engine, &server, "stopped", LONG).await;
        let before = client.progress().await;
        block_in_place(|| engine.signal(Signal::Stop));
        let stopped = nanos(Some(&SystemTime::now().into()));
        // Progress is due every 10 s.
        let during = [client.progress().await, client.progress().await];
        block_in_place(|| engine.signal(Signal::Continue));
        // The first may have been on its way already.
        let after = [client.progress().await, client.progress().await];
        let history = client.finish().await;
        let kept = stored(&engine, &id).await;
        block_in_place(|| engine.remove("stopped"));
        server.stop().await;
        history.assert_whole(kind, LONG.pairs, &kept);

        let verified =
            |progress: &pulsetail::proto::Progress| nanos(progress.verified_time.as_ref());
        let told = |progress: &pulsetail::proto::Progress| nanos(progress.server_time.as_ref());
        assert!(told(&before) < told(&during[0]) && told(&during[0]) < told(&during[1]));
        assert!(verified(&before).is_some(), "{kind:?}: nothing is verified");
        assert!(verified(&during[1]) <= stopped, "{kind:?}: {during:?}");
        assert_eq!(verified(&during[0]), verified(&during[1]), "{kind:?}");
        assert!(verified(&after[1]) > stopped, "{kind:?}: {after:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_restarts_in_good_order_loses_and_repeats_nothing() {
    on_each(|kind| async move {
        let engine = fragile(kind).await;
        let server = Server::start(&engine, &[ROTATION]).await;
        let (id, mut client) = warm(&engine, &server, "restarted", STEADY).await;
        for restart in 1..=2 {
            block_in_place(|| engine.restart());
            assert!(client.read_until(WARM + 300 * restart).await, "void: ended");
        }
        let history = client.finish().await;
        let kept = stored(&engine, &id).await;
        block_in_place(|| engine.remove("restarted"));
        server.stop().await;
        history.assert_whole(kind, STEADY.pairs, &kept);
    })
    .await;
}

/// Lines that were in dockerd's memory are gone, and nobody can tell: no gap is promised for them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_a_killed_engine_stored_comes_once() {
    on_each(|kind| async move {
        let engine = fragile(kind).await;
        let server = Server::start(&engine, &[ROTATION]).await;
        let (id, mut client) = warm(&engine, &server, "killed", STEADY).await;
        for kill in 1..=2 {
            block_in_place(|| {
                engine.signal(Signal::Kill);
                engine.come_back();
            });
            assert!(client.read_until(WARM + 300 * kill).await, "void: ended");
        }
        let history = client.finish().await;
        let kept = stored(&engine, &id).await;
        block_in_place(|| engine.remove("killed"));
        server.stop().await;
        let verdict = history.judge(STEADY.pairs);
        let what = format!("{kind:?}: {verdict}; {:?}", history.causes);
        println!("{what}");
        assert!(history.ended, "{what}: the stream did not end");
        assert!(verdict.is_faithful(), "{what}: {}", verdict.places());
        assert!(in_file_order(&history.order(), &kept), "{what}: order");
        let received = history.keys();
        let unread = kept.iter().filter(|key| !received.contains(key));
        assert_eq!(unread.count(), 0, "{what}");
    })
    .await;
}

/// Containers that write, end and remove themselves: what a client saw of each, and in words.
async fn removed(kind: Kind, name: &str, flags: &[&str]) -> Vec<(Verdict, String)> {
    let Some(engine) = Dockerd::shared(kind) else {
        return Vec::new();
    };
    let server = Server::start(engine, flags).await;
    let gates = block_in_place(Gates::new);
    let options = RunOptions {
        auto_remove: true,
        ..RunOptions::default()
    };
    let mut verdicts = Vec::new();
    for round in 0..5 {
        let name = format!("{name}-{round}");
        block_in_place(|| gates.run(engine, &name, &options, &BURST.text("1")));
        let client = Client::open(&server, &name, BURST, Pace::Fast).await;
        block_in_place(|| gates.open(&name));
        let history = client.finish().await;
        let verdict = history.judge(BURST.pairs);
        let what = format!("{kind:?}, {round}: {verdict}; {:?}", history.causes);
        assert!(history.ended, "{what}: the stream did not end");
        verdicts.push((verdict, what));
    }
    server.stop().await;
    verdicts
}

/// An engine may end the stream with the file, whatever has been read of it: what is lost then lies in a gap.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_that_removes_itself_within_a_lease_is_read_to_its_end() {
    on_each(|kind| async move {
        let verdicts = removed(kind, "removed-within", &[]).await;
        for (verdict, what) in &verdicts {
            assert!(verdict.is_honest(), "{what}");
        }
        let whole = verdicts.iter().filter(|(verdict, _)| verdict.lost == 0);
        assert!(whole.count() > 0, "{kind:?}: none was read to its end");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_removal_takes_from_between_two_leases_lies_in_a_gap() {
    on_each(|kind| async move {
        for (verdict, what) in removed(kind, "removed-between", &["--rotation=100ms"]).await {
            assert!(verdict.is_honest(), "{what}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_runs_of_a_container_are_one_history() {
    const RUNS: u32 = 5;
    on_each(|kind| async move {
        let Some(engine) = Dockerd::shared(kind) else {
            return;
        };
        let server = Server::start(engine, &[ROTATION]).await;
        let gates = Arc::new(block_in_place(Gates::new));
        let run = || gates.run(engine, "runs", &RunOptions::rotated(20), &BURST.runs());
        let id = block_in_place(run);
        let asked = request(&["runs"], Some(Start::FromBeginning(true)), true);
        let mut client = Client::of(server.address(), asked, History::new(BURST)).await;
        let mut exits = 0;
        for run in 1..=RUNS {
            block_in_place(|| gates.open("runs"));
            while exits < run {
                if let Some(Event::ContainerChange(change)) = client.next().await {
                    let kind = change.kind().as_str_name();
                    exits += u32::from(kind == "CONTAINER_CHANGE_KIND_EXITED");
                }
            }
            if run < RUNS {
                block_in_place(|| engine.docker(&["start", "runs"]));
            }
        }
        let mut history = client.history;
        history.ended = true;
        let kept = stored(engine, &id).await;
        block_in_place(|| engine.remove("runs"));
        server.stop().await;
        history.assert_whole(kind, RUNS * BURST.pairs, &kept);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_made_again_under_its_name_is_another_history() {
    on_each(|kind| async move {
        let Some(engine) = Dockerd::shared(kind) else {
            return;
        };
        let server = Server::start(engine, &[ROTATION]).await;
        let run = || {
            let id = engine.run("made-again", &RunOptions::rotated(9), &BURST.text("1"));
            engine.wait("made-again");
            id
        };
        let first = block_in_place(run);
        let client = Client::of(
            server.address(),
            until_exit("made-again"),
            History::new(BURST),
        );
        let history = client.await.finish().await;
        let kept = stored(engine, &first).await;
        history.assert_whole(kind, BURST.pairs, &kept);
        let cursor = history.cursor.clone().expect("entries bring cursors");

        block_in_place(|| engine.remove("made-again"));
        let second = block_in_place(run);
        assert_ne!(first, second);
        // The new one may not be listed yet; a cursor makes its name one that may be missing.
        let mut again = until_exit("made-again");
        let known = Client::of(server.address(), again.clone(), History::new(BURST));
        drop(known.await);
        again.start = None;
        let mut old = History::new(BURST);
        old.cursor = Some(cursor.clone());
        let mut client = Client::of(server.address(), again, old).await;
        let Some(Event::Opened(opened)) = client.next().await else {
            panic!("opened comes first");
        };
        assert_eq!(opened.unmatched, [cursor], "{kind:?}");
        let history = client.finish().await;
        let kept = stored(engine, &second).await;
        block_in_place(|| engine.remove("made-again"));
        server.stop().await;
        // A gap may say of the old one that its end is not known to have been read.
        let verdict = history.judge(BURST.pairs);
        let what = format!("{kind:?}: {verdict}; {:?}", history.causes);
        assert!(verdict.is_honest() && verdict.lost == 0, "{what}");
        assert!(in_file_order(&history.order(), &kept), "{what}: order");
    })
    .await;
}
