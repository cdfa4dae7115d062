//! A selector is resumed with a cursor per container, whatever became of them meanwhile.

use std::collections::BTreeMap;

use pulsetail::proto::{ContainerChangeKind as Change, GapCause, StreamLogsRequest};
use pulsetail_sim::{Container, Sim};

use super::{every, following, kinds_of, named};
use crate::harness::{Server, engine, until_so};
use crate::subscriber::Subscriber;

fn name(n: usize) -> String {
    format!("c{n:02}")
}

fn resuming(cursors: Vec<String>) -> StreamLogsRequest {
    StreamLogsRequest {
        cursors,
        ..following(every())
    }
}

fn say(containers: &BTreeMap<usize, Container>, what: &str) {
    for (n, container) in containers {
        container.stdout(format!("{what} {n}\n"));
    }
}

async fn until_known(server: &Server, sim: &Sim, absent: &[&Container], present: &[&Container]) {
    let _sim = sim;
    let known = async |id: &str| {
        let name = id.to_owned();
        let get = pulsetail::proto::GetContainerRequest { name };
        server.containers().get_container(get).await.is_ok()
    };
    for container in absent {
        until_so(async || !known(container.id()).await).await;
    }
    for container in present {
        until_so(async || known(container.id()).await).await;
    }
}

#[tokio::test]
async fn fifty_containers_some_recreated_removed_and_new_are_resumed_without_loss() {
    let sim = engine();
    let mut containers: BTreeMap<_, _> =
        (0..50).map(|n| (n, sim.container(name(n)).run())).collect();
    let server = Server::start(&sim).await;
    let mut first = server.open(following(every())).await;
    assert_eq!(first.first().members.len(), 50);
    say(&containers, "first");
    first.entries(50).await;
    let cursors = first.cursors();
    assert_eq!(cursors.len(), 50);
    drop(first);
    say(&containers, "away");
    let removed: Vec<_> = (0..5).filter_map(|n| containers.remove(&n)).collect();
    removed.iter().for_each(Container::remove);
    for n in [0, 1, 2, 50, 51] {
        let new = sim.container(name(n)).run();
        new.stdout(format!("new {n}\n"));
        containers.insert(n, new);
    }
    let absent: Vec<_> = removed.iter().collect();
    until_known(&server, &sim, &absent, &[&containers[&51]]).await;
    let mut second = server.open(resuming(cursors)).await;
    say(&containers, "last");
    // 45 were there all the time, five are new.
    second.entries(45 + 5 + 50).await;
    for n in containers.keys() {
        let before = match n {
            0..=2 | 50.. => format!("new {n}"),
            _ => format!("away {n}"),
        };
        assert_eq!(second.texts_of(&name(*n)), [before, format!("last {n}")]);
    }
    let gaps = second.gaps();
    let mut gone: Vec<_> = gaps
        .iter()
        .map(|gap| gap.container.clone().unwrap().id)
        .collect();
    gone.sort();
    let mut expected: Vec<_> = removed.iter().map(|c| c.id().to_owned()).collect();
    expected.sort();
    assert_eq!(gone, expected);
    assert!(
        gaps.iter()
            .all(|gap| gap.cause() == GapCause::ContainerRemoved)
    );
    assert_eq!(second.first().unmatched.len(), 5);
    server.stop().await;
}

async fn closed(server: Server, mut heard: Subscriber) -> Subscriber {
    let _drained = server.drain();
    let _unavailable = heard.end().await;
    heard
}

#[tokio::test]
async fn closing_tells_where_every_member_stands() {
    let sim = engine();
    let containers: BTreeMap<_, _> = (0..5).map(|n| (n, sim.container(name(n)).run())).collect();
    let server = Server::start(&sim).await;
    let mut first = server.open(following(every())).await;
    let late = sim.container("late").run();
    late.stdout("late\n");
    first.entries(1).await;
    let first = closed(server, first).await;
    let positions = &first.closing().progress.as_ref().unwrap().positions;
    let mut ids: Vec<_> = positions.iter().map(|p| p.container_id.clone()).collect();
    ids.sort();
    let all = containers.values().chain([&late]);
    let mut expected: Vec<_> = all.map(|c| c.id().to_owned()).collect();
    expected.sort();
    assert_eq!(ids, expected);
}

#[tokio::test]
async fn between_removal_and_creation_of_a_name_nothing_ends_or_fails() {
    let sim = engine();
    let web = sim.container("web").run();
    let server = Server::start(&sim).await;
    let mut first = server.open(following(named(&["web"]))).await;
    web.stdout("one\n");
    first.entries(1).await;
    let cursors = first.cursors();
    web.remove();
    first.change(Change::Removed).await;
    drop(first);
    until_known(&server, &sim, &[&web], &[]).await;
    let request = StreamLogsRequest {
        cursors: cursors.clone(),
        ..following(named(&["web"]))
    };
    let mut second = server.open(request).await;
    assert_eq!(
        second.first().unmatched,
        ["web".to_owned(), cursors[0].clone()]
    );
    let web = sim.container("web").run();
    web.stdout("two\n");
    second.entries(1).await;
    assert_eq!(second.texts(), ["two"]);
    assert_eq!(kinds_of(&second, web.id()), [Change::Joined]);
    server.stop().await;
}

#[tokio::test]
async fn what_ran_and_ended_while_the_client_was_away_is_read() {
    let sim = engine();
    let web = sim.container("web").run();
    let server = Server::start(&sim).await;
    let mut first = server.open(following(every())).await;
    web.stdout("one\n");
    first.entries(1).await;
    let cursors = first.cursors();
    drop(first);
    let short = sim.container("short").run();
    short.stdout("short\n");
    short.exit(0);
    until_known(&server, &sim, &[], &[&short]).await;
    let over = async || {
        let name = "short".to_owned();
        let get = pulsetail::proto::GetContainerRequest { name };
        let found = server.containers().get_container(get).await;
        found.is_ok_and(|found| found.into_inner().container.unwrap().finish_time.is_some())
    };
    until_so(over).await;
    let mut second = server.open(resuming(cursors)).await;
    second.entries(1).await;
    assert_eq!(second.texts_of("short"), ["short"]);
    server.stop().await;
}
