//! Whatever ends a task, its work goes on: nothing is lost, repeated or silent.

use std::time::Duration;

use pulsetail::proto::NoticeKind;
use pulsetail::supervisor::{Reason, State, Status};
use pulsetail_sim::Container;
use tokio::time::sleep;

use crate::harness::{Server, all, engine, followed, until};

fn reader_of(web: &Container) -> String {
    format!("container/{}", web.id())
}

fn task(server: &Server, name: &str) -> Status {
    let all = server.supervisor.statuses();
    let found = all.into_iter().find(|status| status.spec.name == name);
    found.expect("it was started")
}

/// Kills a task and waits until its next generation makes progress.
async fn replaced(server: &Server, name: &str) {
    let before = task(server, name).generation;
    assert!(server.supervisor.condemn(name), "{name} runs");
    until(|| {
        let now = task(server, name);
        now.generation > before && now.state == State::Running
    })
    .await;
}

#[tokio::test]
async fn a_reader_that_is_replaced_costs_no_line_and_repeats_none() {
    let sim = engine();
    let web = sim.container("web").run();
    let server = Server::start(&sim).await;
    let (mut from_start, mut from_now) = (
        server.open(all("web")).await,
        server.open(followed("web")).await,
    );
    let (mut written, name) = (0, reader_of(&web));
    // Once or twice more, and it is quarantined.
    for _ in 0..4 {
        for _ in 0..100 {
            web.stdout(format!("{written}\n"));
            written += 1;
        }
        let write_on = async {
            for _ in 0..50 {
                web.stdout(format!("{written}\n"));
                written += 1;
                sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::join!(write_on, replaced(&server, &name));
    }
    let expected: Vec<_> = (0..written).map(|n| n.to_string()).collect();
    for subscriber in [&mut from_start, &mut from_now] {
        subscriber.entries(written).await;
        assert_eq!(subscriber.texts(), expected);
        assert!(subscriber.gaps().is_empty());
        let notices = subscriber.notices();
        assert!(notices.contains(&NoticeKind::LeaseReplaced), "{notices:?}");
    }
    let status = task(&server, &name);
    let ends = status.terminations.iter().map(|end| end.reason);
    assert_eq!(ends.collect::<Vec<_>>(), [Reason::Stalled; 4], "{status:?}");
    server.stop().await;
}

#[tokio::test]
async fn runs_that_ended_and_began_while_nobody_read_are_told() {
    let sim = engine();
    let web = sim.container("web").run();
    let server = Server::start(&sim).await;
    let mut subscriber = server.open(all("web")).await;
    web.stdout("first\n");
    subscriber.entries(1).await;
    let name = reader_of(&web);
    assert!(server.supervisor.condemn(&name));
    web.restart();
    web.stdout("second\n");
    subscriber.entries(2).await;
    subscriber.until(|heard| heard.changes().len() == 2).await;
    assert!(server.supervisor.condemn(&name));
    web.exit(3);
    subscriber.until(|heard| heard.changes().len() == 3).await;
    assert_eq!(subscriber.texts(), ["first", "second"]);
    assert!(subscriber.gaps().is_empty());
    server.stop().await;
}

#[tokio::test]
async fn the_list_goes_on_behind_the_end_of_whoever_keeps_it() {
    let sim = engine();
    let server = Server::start(&sim).await;
    for name in ["inventory", "event-feed", "engine-probe"] {
        replaced(&server, name).await;
        let container = format!("after-{name}");
        sim.container(container.clone()).run();
        server.until_listed(&container).await;
    }
    server.until_ready().await;
    server.stop().await;
}
