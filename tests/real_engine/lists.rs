//! What the engines' lists say of containers is enough to leave in peace those that nothing happened to.

use std::time::Duration;

use tokio::task::block_in_place;
use tokio::time::{sleep, timeout};

use crate::engine::{Dockerd, RunOptions};
use crate::kind::{Kind, on_each};
use crate::server::Server;

/// Two lists, and some time for what comes of the second.
const DEADLINE: Duration = Duration::from_secs(90);

async fn until(what: &str, holds: impl Fn() -> bool) {
    let held = async {
        while !holds() {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(DEADLINE, held).await.expect(what);
}

async fn listed(kind: Kind) {
    let Some(engine) = Dockerd::shared(kind) else {
        return;
    };
    let run = |name: &str, script: &str| {
        block_in_place(|| engine.run(name, &RunOptions::default(), script))
    };
    let up = run("listed-up", "sleep 1000");
    let paused = run("listed-paused", "sleep 1000");
    let over = run("listed-over", "exit 3");
    block_in_place(|| {
        engine.wait("listed-over");
        engine.docker(&["pause", "listed-paused"])
    });
    let ids = [&up, &paused, &over];
    let server = Server::start(engine, &[]).await;
    let lists = || server.requests("/containers/json");
    let looks = |id: &String| server.requests(&format!("/containers/{id}/json"));
    // One at the start, one as events begin, one 30 s later: by then they may be too young still.
    until("three lists", || lists() >= 3).await;
    sleep(Duration::from_secs(3)).await;
    let before = ids.map(looks);
    assert!(before.iter().all(|looks| *looks > 0), "void: {before:?}");
    until("one more list", || lists() >= 4).await;
    sleep(Duration::from_secs(3)).await;
    assert_eq!(ids.map(looks), before, "{kind:?}: nothing happened to them");
    block_in_place(|| engine.docker(&["unpause", "listed-paused"]));
    until("an event", || looks(&paused) > before[1]).await;
    server.stop().await;
    block_in_place(|| {
        ["listed-up", "listed-paused", "listed-over"].map(|name| engine.remove(name))
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn containers_that_nothing_happened_to_are_listed_and_not_looked_at() {
    on_each(listed).await;
}
