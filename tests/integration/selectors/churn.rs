//! Containers that come and go while a stream lives.

use std::time::Duration;

use pulsetail::proto::{
    ContainerChangeKind as Change, GapCause, Selector, StreamLogsRequest,
    stream_logs_request::Start,
};
use pulsetail_sim::{Driver, Ending, Endpoint, Fault, Sim};
use tokio::task::yield_now;

use super::{changes_of, every, following, kinds_of, knows_no_further, named, until_changed};
use crate::harness::{Server, engine, until};
use crate::subscriber::{Subscriber, lines_of};

#[tokio::test]
async fn every_line_of_a_container_that_was_over_before_it_was_seen_comes() {
    let sim = engine();
    let server = Server::start(&sim).await;
    let mut heard = server.open(following(every())).await;
    let mut all = Vec::new();
    for n in 0..20 {
        // Nothing is awaited between its beginning and its end.
        let short = sim.container(format!("short-{n}")).run();
        (0..3).for_each(|line| short.stdout(format!("{n}.{line}\n")));
        short.exit(0);
        all.push(short);
    }
    heard.entries(60).await;
    for (n, short) in all.iter().enumerate() {
        let name = format!("short-{n}");
        let texts: Vec<_> = (0..3).map(|line| format!("{n}.{line}")).collect();
        assert_eq!(heard.texts_of(&name), texts);
        assert_eq!(kinds_of(&heard, short.id())[0], Change::Joined);
    }
    assert!(heard.gaps().is_empty());
    server.stop().await;
}

#[tokio::test]
async fn a_container_that_was_removed_before_it_was_read_joins_with_a_gap_and_leaves() {
    let sim = engine();
    let server = Server::start(&sim).await;
    let mut heard = server.open(following(named(&["short-*"]))).await;
    let other = sim.container("other").auto_remove().run();
    other.exit(0);
    let created = sim.container("short-created").create();
    created.remove();
    let short = sim.container("short-1").auto_remove().run();
    short.stdout("lost\n");
    short.exit(0);
    until_changed(&mut heard, &short, Change::Removed).await;
    assert_eq!(
        kinds_of(&heard, short.id()),
        [Change::Joined, Change::Removed]
    );
    let [gap] = heard.gaps()[..] else {
        panic!("one gap: {:?}", heard.gaps());
    };
    assert_eq!(gap.cause(), GapCause::ContainerRemoved);
    assert!(gap.cursor.is_empty() && !gap.certain);
    let joined = changes_of(&heard, short.id())[0];
    assert_eq!(joined.container.as_ref().unwrap().name, "short-1");
    assert!(changes_of(&heard, other.id()).is_empty());
    assert!(changes_of(&heard, created.id()).is_empty());
    server.stop().await;
}

/// It was seen first while the engine removed it, which refuses to read its log then.
#[tokio::test]
async fn a_container_whose_removal_has_begun_as_it_is_seen_joins_with_a_gap_and_leaves_once() {
    let sim = engine();
    let server = Server::start(&sim).await;
    let mut heard = server.open(following(every())).await;
    let short = sim.container("short").run();
    short.stdout("lost\n");
    short.mark_removing();
    until_changed(&mut heard, &short, Change::Removed).await;
    let [gap] = heard.gaps()[..] else {
        panic!("one gap: {:?}", heard.gaps());
    };
    assert_eq!(gap.cause(), GapCause::ContainerRemoved);
    short.remove();
    let web = sim.container("web").run();
    web.stdout("one\n");
    heard.entries(1).await;
    assert_eq!(heard.gaps().len(), 1);
    let kinds = [Change::Joined, Change::Removed];
    assert_eq!(kinds_of(&heard, short.id()), kinds);
    server.stop().await;
}

#[tokio::test]
async fn a_container_that_was_stopped_joins_as_it_starts_with_what_is_new() {
    let sim = engine();
    let web = sim.container("web").run();
    web.stdout("old\n");
    web.exit(0);
    let server = Server::start(&sim).await;
    let mut heard = server.open(following(every())).await;
    heard.caught_up().await;
    assert!(heard.first().members.is_empty());
    web.start();
    web.stdout("new\n");
    heard.entries(1).await;
    assert_eq!(heard.texts(), ["new"]);
    assert_eq!(kinds_of(&heard, web.id())[0], Change::Joined);
    web.exit(0);
    until_changed(&mut heard, &web, Change::Exited).await;
    web.start();
    web.stdout("again\n");
    heard.entries(2).await;
    let kinds = [Change::Joined, Change::Exited, Change::Started];
    assert_eq!(kinds_of(&heard, web.id()), kinds);
    server.stop().await;
}

/// Waits until whatever has changed so far is told: containers are looked at side by side, so behind one that joins
/// another one may not be told yet, but behind the next.
async fn told_so_far(sim: &Sim, heard: &mut Subscriber, name: &str) {
    for n in 0..2 {
        let next = sim.container(format!("{name}-{n}")).run();
        until_changed(heard, &next, Change::Joined).await;
    }
}

#[tokio::test]
async fn a_container_that_does_not_run_joins_only_as_it_starts_wherever_the_clock_is_then() {
    let sim = engine();
    let old = sim.container("old").create();
    let server = Server::start(&sim).await;
    let mut heard = server.open(following(every())).await;
    heard.judge.clock_is_set();
    let new = sim.container("new").create();
    old.rename("older");
    told_so_far(&sim, &mut heard, "last").await;
    for one in [&old, &new] {
        assert!(kinds_of(&heard, one.id()).is_empty(), "{:?}", one.id());
    }
    sim.step_clock_back(Duration::from_secs(3_600));
    new.start();
    new.stdout("line\n");
    heard.entries(1).await;
    assert_eq!(heard.texts_of("new"), ["line"]);
    server.stop().await;
}

#[tokio::test]
async fn a_log_that_cannot_be_read_is_told_once_and_is_no_member() {
    let sim = engine();
    let quiet = sim.container("quiet").driver(Driver::none()).run();
    let server = Server::start(&sim).await;
    let mut heard = server.open(following(every())).await;
    let late = sim.container("late").driver(Driver::none()).run();
    let web = sim.container("web").run();
    web.stdout("one\n");
    heard.entries(1).await;
    until_changed(&mut heard, &late, Change::Unreadable).await;
    quiet.restart();
    late.pause();
    told_so_far(&sim, &mut heard, "last").await;
    for one in [&quiet, &late] {
        one.exit(0);
    }
    told_so_far(&sim, &mut heard, "exited").await;
    for one in [&quiet, &late] {
        // Its last run ends with it, before anybody looks. What is heard of first is that it began.
        one.start();
        one.remove();
    }
    told_so_far(&sim, &mut heard, "removed").await;
    for one in [&quiet, &late] {
        let told = changes_of(&heard, one.id());
        assert_eq!(kinds_of(&heard, one.id()), [Change::Unreadable]);
        assert!(told[0].cursor.is_empty() && told[0].message.contains("stores nothing"));
    }
    server.stop().await;
}

#[tokio::test]
async fn what_happened_while_the_engine_was_away_comes_as_changes() {
    let sim = engine();
    let [kept, gone, renamed] = ["kept", "gone", "renamed"].map(|name| sim.container(name).run());
    let server = Server::start(&sim).await;
    let mut heard = server.open(following(every())).await;
    kept.stdout("kept 1\n");
    heard.entries(1).await;
    sim.stop();
    gone.remove();
    renamed.rename("other");
    let new = sim.container("new").run();
    new.stdout("new 1\n");
    kept.stdout("kept 2\n");
    sim.start();
    heard.entries(3).await;
    until_changed(&mut heard, &gone, Change::Removed).await;
    until_changed(&mut heard, &renamed, Change::Renamed).await;
    assert_eq!(heard.texts_of("kept"), ["kept 1", "kept 2"]);
    assert_eq!(heard.texts_of("new"), ["new 1"]);
    assert_eq!(kinds_of(&heard, new.id()), [Change::Joined]);
    assert_eq!(changes_of(&heard, new.id())[0].time, None, "it was listed");
    server.stop().await;
}

#[tokio::test]
async fn a_busy_member_is_not_in_the_way_of_the_others() {
    let sim = engine();
    let busy = sim.container("busy").run();
    let quiet: Vec<_> = (0..20)
        .map(|n| sim.container(format!("quiet-{n}")).run())
        .collect();
    let server = Server::start(&sim).await;
    (0..30_000).for_each(|n| busy.stdout(format!("{n:0100}\n")));
    let mut request = following(every());
    request.start = Some(Start::FromBeginning(true));
    for one in &quiet {
        one.stdout("here\n");
    }
    let mut heard = server.open(request).await;
    heard
        .until(|heard| {
            quiet
                .iter()
                .enumerate()
                .all(|(n, _)| heard.texts_of(&format!("quiet-{n}")).len() == 1)
        })
        .await;
    assert!(heard.count < 20_000, "{} lines came first", heard.count);
    heard.entries(lines_of(&busy).len() + 20).await;
    server.stop().await;
}

#[tokio::test]
async fn nothing_that_was_written_is_lost_where_the_engine_drops_its_events() {
    let sim = engine();
    let web = sim.container("web").run();
    let server = Server::start(&sim).await;
    let mut first = server.open(following(every())).await;
    // Nobody tells that it runs.
    sim.fault(Fault::skip(2).on(Endpoint::Events));
    let late = sim.container("late").run();
    late.stdout("late 1\n");
    web.stdout("web 1\n");
    first.entries(1).await;
    let cursors = first.cursors();
    drop(first);
    late.stdout("late 2\n");
    let request = StreamLogsRequest {
        cursors,
        ..following(every())
    };
    let mut second = server.open(request).await;
    // Its events end: all is listed.
    sim.fault(Fault::end(Ending::Clean).on(Endpoint::Events));
    second.entries(2).await;
    assert_eq!(second.texts_of("late"), ["late 1", "late 2"]);
    server.stop().await;
}

#[tokio::test]
async fn what_ids_alone_name_is_over_when_they_are_gone() {
    let sim = engine();
    let web = sim.container("web").run();
    let server = Server::start(&sim).await;
    let by_id = Selector {
        names: vec![web.id()[..12].to_owned()],
        ..Selector::default()
    };
    let mut heard = server.open(following(by_id)).await;
    web.remove();
    heard.end().await.expect("nothing can follow");
    assert_eq!(heard.changes().last(), Some(&Change::Removed));
    server.stop().await;
}

#[tokio::test]
async fn what_stands_in_the_ring_from_its_beginning_is_not_read_again() {
    let sim = engine();
    let server = Server::start(&sim).await;
    let mut first = server.open(following(every())).await;
    let short = sim.container("short").auto_remove().run();
    until_changed(&mut first, &short, Change::Joined).await;
    until(|| server.leases() == 1).await;
    (0..100).for_each(|n| short.stdout(format!("{n}\n")));
    first.entries(100).await;
    let mut request = following(every());
    request.start = Some(Start::FromBeginning(true));
    let mut second = server.open(request).await;
    second.entries(100).await;
    short.exit(0);
    until_changed(&mut first, &short, Change::Removed).await;
    assert_eq!(first.texts(), second.texts());
    let requests = sim.requests();
    let reads = requests.iter().filter(|r| r.endpoint == Endpoint::Logs);
    let again =
        reads.filter(|r| r.target.contains("tail=all") && !r.target.contains("follow=true"));
    assert_eq!(again.count(), 0, "it was all in the ring");
    server.stop().await;
}

#[tokio::test]
async fn a_log_that_is_gone_before_it_was_read_is_a_gap() {
    let sim = engine();
    let [web, api] = ["web", "api"].map(|name| sim.container(name).run());
    web.stdout("one\n");
    api.stdout("one\n");
    let server = Server::start(&sim).await;
    web.fault(
        Fault::refuse(404, "No such container")
            .on_snapshot()
            .sticky(),
    );
    let read = StreamLogsRequest {
        follow: false,
        ..following(every())
    };
    let read = server.read(read).await;
    assert_eq!(read.texts(), ["one"]);
    let [gap] = read.gaps()[..] else {
        panic!("one gap: {:?}", read.gaps());
    };
    assert_eq!(gap.container.as_ref().unwrap().id, web.id());
    assert_eq!(gap.cause(), GapCause::ContainerRemoved);
    assert_eq!(kinds_of(&read, web.id()), [Change::Removed]);
    server.stop().await;
}

/// The engine tells of more than can be looked at, and nobody knows what of it was gone before the list.
#[tokio::test]
async fn a_stream_ends_where_more_came_and_went_than_is_remembered() {
    let sim = engine();
    let web = sim.container("web").run();
    let server = Server::start(&sim).await;
    let mut heard = server.open(following(every())).await;
    web.stdout("one\n");
    heard.entries(1).await;
    sim.fault(Fault::no_head().on(Endpoint::Inspect).sticky());
    for n in 0..8_300 {
        sim.container(format!("flash-{n}"))
            .auto_remove()
            .run()
            .exit(0);
        if n % 20 == 0 {
            // Events are taken meanwhile, on however busy a machine.
            for _ in 0..200 {
                yield_now().await;
            }
        }
    }
    sim.clear_faults();
    knows_no_further(&mut heard).await;
    let request = StreamLogsRequest {
        cursors: heard.cursors(),
        ..following(every())
    };
    web.stdout("two\n");
    let mut next = server.open(request).await;
    next.entries(1).await;
    assert_eq!(next.texts(), ["two"]);
    server.stop().await;
}

#[tokio::test]
async fn a_stream_without_members_is_live_and_says_up_to_when_it_knows() {
    let sim = engine();
    let server = Server::start(&sim).await;
    let mut heard = server.open(following(every())).await;
    heard.caught_up().await;
    let _drained = server.drain();
    let _unavailable = heard.end().await;
    let progress = heard.closing().progress.clone().unwrap();
    assert!(progress.verified_time.is_some());
}
