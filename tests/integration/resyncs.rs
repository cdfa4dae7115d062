//! When many streams break at once, few readers look at what is stored at a time, and none for ever.

use std::time::Duration;

use pulsetail::proto::{Selector, StreamLogsRequest};
use pulsetail::supervisor::State;
use pulsetail_sim::{Container, Ending, Fault, Sim};

use crate::harness::{Server, engine, followed, until};
use crate::subscriber::Subscriber;

/// Looks that may be under way at once.
const LIMIT: usize = 4;

/// Containers of these names with a line each, followed from now on by one that never rotates.
async fn followed_by_one(sim: &Sim, names: Vec<String>) -> (Vec<Container>, Server, Subscriber) {
    let run = |name: &String| sim.container(name).run();
    let containers: Vec<_> = names.iter().map(run).collect();
    containers.iter().for_each(|c| c.stdout("stored\n"));
    let server = Server::start_with(sim, &["--rotation=10m"]).await;
    let selector = Selector {
        names,
        ..Selector::default()
    };
    let request = StreamLogsRequest {
        selector: Some(selector),
        ..followed("")
    };
    let mut subscriber = server.open(request).await;
    subscriber.caught_up().await;
    until(|| sim.stats().follows == containers.len()).await;
    (containers, server, subscriber)
}

#[tokio::test]
async fn a_hundred_streams_that_break_at_once_are_mended_a_few_at_a_time() {
    let sim = engine();
    let name = |n: usize| format!("c{n}");
    let (all, server, mut subscriber) = followed_by_one(&sim, (0..100).map(name).collect()).await;
    // Long enough that all would overlap.
    sim.fault(
        Fault::pause(Duration::from_millis(20))
            .on_snapshot()
            .sticky(),
    );
    sim.forget_most();
    for container in &all {
        container.fault(Fault::end(Ending::Clean).on_follow());
        container.stdout("while it broke\n");
    }
    subscriber.entries(100).await;
    until(|| sim.stats().follows == 100).await;
    all.iter()
        .for_each(|container| container.stdout("behind\n"));
    subscriber.entries(200).await;
    assert_eq!(sim.stats().most_snapshots, LIMIT);
    for n in 0..all.len() {
        let came = subscriber.texts_of(&name(n));
        assert_eq!(came, ["while it broke", "behind"], "{n}");
    }
    assert!(subscriber.gaps().is_empty(), "{:?}", subscriber.gaps());
    server.stop().await;
}

#[tokio::test]
async fn a_look_that_hangs_gives_its_place_up_and_who_waits_for_one_is_seen_to_wait() {
    let sim = engine();
    let mut names: Vec<_> = (0..LIMIT).map(|n| format!("hanging-{n}")).collect();
    names.push("web".to_owned());
    let (all, server, mut subscriber) = followed_by_one(&sim, names).await;
    let (web, hanging) = all.split_last().expect("there are five");
    for container in hanging {
        container.fault(Fault::stall().after(1).on_snapshot());
        container.fault(Fault::end(Ending::Clean).on_follow());
    }
    until(|| sim.stats().faults == 2 * LIMIT as u64).await;
    web.fault(Fault::end(Ending::Clean).on_follow());
    web.stdout("line\n");
    until(|| {
        let mut tasks = server.supervisor.statuses().into_iter();
        let of_web = |id: &Option<String>| id.as_deref() == Some(web.id());
        let task = tasks.find(|task| of_web(&task.spec.container));
        task.is_some_and(|task| task.state == State::Waiting)
    })
    .await;
    subscriber.entries(1).await;
    assert_eq!(sim.stats().snapshots, LIMIT, "none has ended");
    hanging
        .iter()
        .for_each(|container| container.stdout("line\n"));
    let patience = Duration::from_secs(60);
    subscriber
        .until_within(patience, |s| s.count == 1 + LIMIT)
        .await;
    assert!(subscriber.gaps().is_empty(), "{:?}", subscriber.gaps());
    server.stop().await;
}
