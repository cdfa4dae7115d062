//! A selector is resumed with a cursor per container, whatever became of them meanwhile.

use std::collections::BTreeMap;

use pulsetail::proto::{
    ContainerChangeKind as Change, GapCause, Selector, StreamLogsRequest,
    stream_logs_request::Start, stream_logs_response::Event,
};
use pulsetail_sim::Container;

use super::{every, following, kinds_of, named};
use crate::harness::{Server, engine, until_so};
use crate::subscriber::{Subscriber, cursors_after, entries_of, lines_of};

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

async fn until_known(server: &Server, absent: &[&Container], present: &[&Container]) {
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
    until_known(&server, &absent, &[&containers[&51]]).await;
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
    until_known(&server, &[&web], &[]).await;
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
    until_known(&server, &[], &[&short]).await;
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

#[tokio::test]
async fn a_container_that_was_over_before_its_cursor_is_read_on() {
    let sim = engine();
    let web = sim.container("web").run();
    let pad = "p".repeat(1_000);
    (0..200).for_each(|n| web.stdout(format!("{n} {pad}\n")));
    web.exit(0);
    let server = Server::start(&sim).await;
    let stopped = StreamLogsRequest {
        start: Some(Start::FromBeginning(true)),
        ..following(named(&["web"]))
    };
    let mut whole = server.open(stopped).await;
    whole.entries(200).await;
    let batch = |event: &Event| matches!(event, Event::Batch(_));
    let first = whole.events.iter().position(batch).unwrap();
    let cursors = cursors_after(&whole.events[..=first]);
    let mut rest = server.open(resuming(cursors)).await;
    assert!(rest.first().unmatched.is_empty());
    let come = entries_of(&whole.events[first]).len();
    assert!(come < 200, "void: all came at once");
    rest.entries(200 - come).await;
    assert!(rest.lines() == lines_of(&web)[come..], "a seam");
    server.stop().await;
}

#[tokio::test]
async fn with_cursors_a_name_that_is_awaited_holds_up_no_end() {
    let sim = engine();
    let web = sim.container("web").run();
    let server = Server::start(&sim).await;
    let first = server.open(following(named(&["web"]))).await;
    let cursors = first.cursors();
    drop(first);
    web.stdout("one\n");
    web.exit(0);
    let until_exit = StreamLogsRequest {
        until_exit: true,
        ..following(Selector {
            allow_missing: true,
            ..named(&["web", "api"])
        })
    };
    let mut second = server
        .open(StreamLogsRequest {
            cursors,
            ..until_exit
        })
        .await;
    second.end().await.expect("nobody else is waited for");
    assert_eq!(second.texts(), ["one"]);
    server.stop().await;
}
