//! What ended the ancestor, done to Pulsetail.

use std::time::Duration;

use pulsetail::supervisor::{Kind, State, Status};
use pulsetail_sim::{Endpoint, Fault};
use tokio::time::sleep;

use crate::harness::{Server, all, engine, followed, until, until_so, within};

fn readers(server: &Server) -> Vec<Status> {
    let all = server.supervisor.statuses().into_iter();
    all.filter(|status| status.spec.kind == Kind::Container)
        .collect()
}

/// It detached every container at an outage of 5 s, and nothing brought them back.
#[tokio::test]
async fn an_engine_that_hangs_or_restarts_costs_no_task_its_budget() {
    let sim = engine();
    let webs: Vec<_> = (0..20)
        .map(|n| sim.container(format!("c{n}")).run())
        .collect();
    let server = Server::start(&sim).await;
    let mut subscribers = Vec::new();
    for n in 0..webs.len() {
        subscribers.push(server.open(followed(&format!("c{n}"))).await);
    }
    let generations = |server: &Server| {
        let all = server.supervisor.statuses().into_iter();
        let mut all: Vec<_> = all
            .map(|status| (status.spec.name, status.generation))
            .collect();
        all.sort();
        all
    };
    let before = generations(&server);
    for round in 1..=3 {
        match round {
            2 => sim.freeze(),
            _ => sim.stop(),
        }
        until_so(async || server.admin_get("/readyz").await.0 == 503).await;
        assert_eq!(server.admin_get("/livez").await.0, 200);
        webs.iter().for_each(|web| web.stdout(format!("{round}\n")));
        match round {
            2 => sim.thaw(),
            _ => sim.start(),
        }
        until_so(async || server.admin_get("/readyz").await.0 == 200).await;
        for subscriber in &mut subscribers {
            subscriber.entries(round).await;
        }
    }
    for subscriber in &subscribers {
        assert_eq!(subscriber.texts(), ["1", "2", "3"]);
        assert!(subscriber.gaps().is_empty());
    }
    assert_eq!(generations(&server), before, "nobody was replaced");
    until(|| {
        readers(&server)
            .iter()
            .all(|status| status.state == State::Running)
    })
    .await;
    server.stop().await;
}

/// Its heartbeat came from a timer beside the reader: a frozen read looked alive.
#[tokio::test]
async fn a_frozen_read_shows_no_heartbeat() {
    let sim = engine();
    let web = sim.container("web").run();
    web.stdout("line\n");
    let server = Server::start(&sim).await;
    let mut subscriber = server.open(all("web")).await;
    subscriber.entries(1).await;
    let beat = || {
        let status = readers(&server).pop().expect("it is read");
        status.heartbeat_age.unwrap_or(Duration::MAX)
    };
    // Records are heartbeats,
    until(|| {
        web.stdout("more\n");
        beat() < Duration::from_millis(500)
    })
    .await;
    // and nothing else is: not the turns, which go on.
    web.fault(Fault::stall().sticky());
    sim.fault(Fault::stall().on(Endpoint::Logs).sticky());
    let seen = beat();
    sleep(Duration::from_secs(2)).await;
    let aged = beat();
    assert!(aged >= seen + Duration::from_secs(1), "{seen:?} {aged:?}");
    server.stop().await;
}

/// It could not interrupt a blocked read, and waited 10 s for each task.
#[tokio::test]
async fn a_blocked_read_ends_at_once_when_nobody_wants_it() {
    let sim = engine();
    let web = sim.container("web").run();
    let server = Server::start_with(&sim, &["--linger=0s", "--rotation=600s"]).await;
    let mut subscriber = server.open(followed("web")).await;
    subscriber.caught_up().await;
    sim.freeze();
    drop(subscriber);
    until(|| {
        readers(&server)
            .iter()
            .all(|status| status.state == State::Stopped)
    })
    .await;
    sim.thaw();
    // And at once again: its name is free, nothing waits for the old one's end.
    for _ in 0..5 {
        let mut again = server.open(all("web")).await;
        web.stdout("line\n");
        again.entries(1).await;
    }
    within(server.stop()).await;
}

/// It lost a container that was restarted soon after its start.
#[tokio::test]
async fn a_container_that_is_restarted_at_once_and_often_is_read_on() {
    let sim = engine();
    let web = sim.container("web").run();
    let server = Server::start(&sim).await;
    let mut subscriber = server.open(all("web")).await;
    let expected: Vec<_> = (0..20).map(|n| n.to_string()).collect();
    for line in &expected {
        web.stdout(format!("{line}\n"));
        web.restart();
    }
    subscriber.entries(expected.len()).await;
    assert_eq!(subscriber.texts(), expected);
    assert_eq!(readers(&server).len(), 1);
    assert_eq!(readers(&server)[0].restarts, 0);
    server.stop().await;
}
