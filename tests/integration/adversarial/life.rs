//! Cases 20 to 24: what becomes of containers and of the engine.

use std::time::Duration;

use pulsetail::proto::{
    self, ContainerChangeKind as Change, GapCause, GetContainerRequest, ListContainersRequest,
};
use pulsetail_sim::{Container, Driver, Endpoint, Fault};
use tonic::Code;

use super::{assert_exact, write_until_rotated};
use crate::harness::{Server, all, engine, followed, stored, until, until_so, write};
use crate::requests::{refusal, told};
use crate::resume::resuming;
use crate::subscriber::lines_of;

/// A list may be wrong for so long.
const RELIST: Duration = Duration::from_secs(30);

#[tokio::test]
async fn case_20_many_fast_restarts() {
    let sim = engine();
    let web = sim.container("web").run();
    let server = Server::start(&sim).await;
    let mut subscriber = server.open(followed("web")).await;
    for run in 0..20 {
        write(&web, 50 * run..50 * run + 50);
        web.restart();
    }
    subscriber.entries(1_000).await;
    web.stdout("end\n");
    subscriber.entries(1_001).await;
    assert_exact(&subscriber, &web);
    assert!(subscriber.changes().contains(&Change::Started));
    server.stop().await;
}

#[tokio::test]
async fn case_20_exit_right_after_5000_lines() {
    let sim = engine();
    for (name, driver) in [
        ("one-file", Driver::json_file()),
        ("files", Driver::json_file().max_size(20_000).max_file(100)),
        ("local", Driver::local()),
    ] {
        let web = sim.container(name).driver(driver).run();
        let server = Server::start(&sim).await;
        let mut subscriber = server.open(all(name)).await;
        write(&web, 0..5_000);
        web.exit(0);
        subscriber.change(Change::Exited).await;
        assert_exact(&subscriber, &web);
        server.stop().await;
    }
}

#[tokio::test]
async fn case_20_a_container_that_is_removed_as_it_exits() {
    let sim = engine();
    let web = sim.container("web").auto_remove().run();
    // A lease that is replaced as it exits has nothing left to read.
    let server = Server::start_with(&sim, &["--rotation=10m"]).await;
    let mut subscriber = server.open(all("web")).await;
    subscriber.caught_up().await;
    write(&web, 0..3_000);
    web.exit(0);
    subscriber.change(Change::Removed).await;
    let expected: Vec<_> = (0..3_000).map(|n| n.to_string()).collect();
    assert_eq!(subscriber.texts(), expected);
    assert!(subscriber.gaps().is_empty(), "{:?}", subscriber.gaps());
    assert_eq!(subscriber.changes().last(), Some(&Change::Removed));
    server.stop().await;
}

/// Whether all runs but the one going on are told, each once.
fn told_runs(changes: &[Change], runs: usize) -> bool {
    let pairs = [Change::Exited, Change::Started].repeat(runs);
    changes == pairs
}

#[tokio::test]
async fn case_21_events_that_are_lost_are_made_up_for_by_the_list() {
    let sim = engine();
    let web = sim.container("web").run();
    let server = Server::start(&sim).await;
    let mut subscriber = server.open(all("web")).await;
    web.stdout("one\n");
    web.exit(0);
    subscriber.change(Change::Exited).await;
    until(|| sim.stats().event_streams == 1).await;
    // All that is told of the next run, and of what comes with it.
    sim.fault(Fault::skip(3).on(Endpoint::Events));
    web.start();
    web.stdout("two\n");
    sim.container("other").run();
    subscriber.until_within(2 * RELIST, |s| s.count == 2).await;
    assert_exact(&subscriber, &web);
    assert!(told_runs(&subscriber.changes(), 1));
    server.until_listed("other").await;
    server.stop().await;
}

#[tokio::test]
async fn case_21_events_that_come_again_or_in_another_order_change_nothing() {
    let sim = engine();
    let web = sim.container("web").run();
    let server = Server::start(&sim).await;
    let mut subscriber = server.open(all("web")).await;
    until(|| sim.stats().event_streams == 1).await;
    for run in 1..=5 {
        web.stdout(format!("{run}\n"));
        // Deaths behind the start that followed them.
        web.emit("die");
        web.restart();
        sim.fault(Fault::repeat(4 * run).on(Endpoint::Events));
        web.emit("die");
        subscriber.until(|s| s.changes().len() == 2 * run).await;
    }
    web.stdout("end\n");
    subscriber.entries(6).await;
    assert_exact(&subscriber, &web);
    assert!(told_runs(&subscriber.changes(), 5));
    server.stop().await;
}

#[tokio::test]
async fn case_21_more_events_in_an_outage_than_the_engine_remembers() {
    let sim = engine();
    let web = sim.container("web").run();
    let server = Server::start(&sim).await;
    let mut subscriber = server.open(all("web")).await;
    write(&web, 0..10);
    subscriber.entries(10).await;
    sim.stop();
    write(&web, 10..20);
    web.restart();
    write(&web, 20..30);
    let gone: Vec<_> = (0..100)
        .map(|n| sim.container(format!("gone-{n}")).run())
        .collect();
    gone.iter().for_each(Container::remove);
    sim.container("new").run();
    sim.start();
    subscriber.entries(30).await;
    subscriber.until(|s| s.changes().len() == 2).await;
    assert_exact(&subscriber, &web);
    assert!(told_runs(&subscriber.changes(), 1));
    server.until_listed("new").await;
    let mut containers = server.containers();
    let listed = containers.list_containers(ListContainersRequest::default());
    let listed = listed.await.expect("it answers").into_inner().containers;
    let names = listed
        .into_iter()
        .map(|c| c.container.unwrap_or_default().name);
    assert_eq!(names.collect::<Vec<_>>(), ["new", "web"]);
    server.stop().await;
}

#[tokio::test]
async fn case_22_rename_during_follow() {
    let sim = engine();
    let web = sim.container("web").run();
    let server = Server::start_with(&sim, &["--rotation=100ms"]).await;
    let mut subscriber = server.open(all(web.id())).await;
    write(&web, 0..10);
    subscriber.entries(10).await;
    web.rename("shop");
    let mut written = 10;
    for _ in 0..3 {
        written = write_until_rotated(&server, &web, written).await;
    }
    subscriber.entries(written).await;
    assert_exact(&subscriber, &web);
    server.until_listed("shop").await;
    let name = "web".to_owned();
    let mut containers = server.containers();
    let old = containers.get_container(GetContainerRequest { name }).await;
    assert_eq!(old.unwrap_err().code(), Code::NotFound);
    // Its cursor knows it under any name.
    let cursors = subscriber.cursors();
    web.stdout("renamed\n");
    let resumed = server.read(resuming(cursors)).await;
    assert_eq!(resumed.texts(), ["renamed"]);
    server.stop().await;
}

#[tokio::test]
async fn case_23_recreated_name_with_a_new_id() {
    let sim = engine();
    let old = sim.container("web").run();
    write(&old, 0..10);
    let server = Server::start(&sim).await;
    let mut subscriber = server.open(all(old.id())).await;
    subscriber.entries(10).await;
    let cursors = subscriber.cursors();
    write(&old, 10..20);
    subscriber.entries(20).await;
    old.remove();
    let new = sim.container("web").run();
    write(&new, 100..103);
    subscriber.change(Change::Removed).await;
    let expected: Vec<_> = (0..20).map(|n| n.to_string()).collect();
    assert_eq!(subscriber.texts(), expected, "of the old one alone");
    until_so(async || {
        let name = "web".to_owned();
        let mut containers = server.containers();
        let found = containers.get_container(GetContainerRequest { name }).await;
        let found = found.map(|found| found.into_inner().container);
        let is_new = |c: proto::Container| c.container.is_some_and(|c| c.id == new.id());
        found.is_ok_and(|found| found.is_some_and(is_new))
    })
    .await;
    let read = server.read(stored("web")).await;
    assert_eq!(read.lines(), lines_of(&new));
    // The old one's cursor is no place in the new one's log.
    let resumed = server.read(resuming(cursors.clone())).await;
    assert_eq!(resumed.first().unmatched, cursors);
    let [gap] = resumed.gaps()[..] else {
        panic!("one gap: {:?}", resumed.gaps());
    };
    assert_eq!(gap.cause(), GapCause::ContainerRemoved);
    assert_eq!(gap.container.as_ref().unwrap().id, old.id());
    assert_eq!(resumed.count, 0);
    server.stop().await;
}

#[tokio::test]
async fn case_24_logs_are_refused_with_501_404_or_409() {
    let sim = engine();
    sim.container("mute").driver(Driver::none()).run();
    sim.container("dead").run().mark_dead();
    sim.container("going").run().mark_removing();
    let server = Server::start(&sim).await;
    for (name, code, reason) in [
        ("mute", Code::FailedPrecondition, "LOG_DRIVER_UNREADABLE"),
        ("dead", Code::FailedPrecondition, "CONTAINER_REMOVING"),
        ("going", Code::FailedPrecondition, "CONTAINER_REMOVING"),
        ("absent", Code::NotFound, "CONTAINER_NOT_FOUND"),
    ] {
        for request in [stored(name), followed(name)] {
            let (told, why, _) = told(&refusal(&server, request).await);
            assert_eq!((told, &*why), (code, reason), "{name}");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn case_24_a_stream_is_refused_with_501_404_or_409_while_it_is_followed() {
    let sim = engine();
    for (status, last) in [
        (501, Change::Unreadable),
        (404, Change::Removed),
        (409, Change::Removed),
    ] {
        let web = sim.container(format!("c{status}")).run();
        let server = Server::start_with(&sim, &["--rotation=100ms"]).await;
        let mut subscriber = server.open(all(&format!("c{status}"))).await;
        write(&web, 0..10);
        subscriber.entries(10).await;
        web.fault(Fault::refuse(status, "refused").on_follow());
        // A busy lease rotates.
        let mut written = 10;
        until(|| {
            write(&web, written..written + 1);
            written += 1;
            sim.stats().faults > 0
        })
        .await;
        subscriber.change(last).await;
        let texts = subscriber.texts();
        let expected: Vec<_> = (0..texts.len()).map(|n| n.to_string()).collect();
        assert_eq!(texts, expected, "{status}");
        let gaps: Vec<_> = subscriber.gaps().iter().map(|gap| gap.cause()).collect();
        match last {
            // Nobody knows what it wrote last.
            Change::Removed => assert_eq!(gaps, [GapCause::ContainerRemoved], "{status}"),
            _ => assert!(gaps.is_empty(), "{status}: {gaps:?}"),
        }
        server.stop().await;
        sim.clear_faults();
        web.remove();
    }
}
