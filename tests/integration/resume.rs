//! A cursor resumes exactly behind itself: wherever it was cut, after a restart, and also when its place is gone.

use prost::Message;
use pulsetail::proto::server_service_client::ServerServiceClient;
use pulsetail::proto::{
    GapCause, GetServerInfoRequest, StreamLogsRequest, stream_logs_request::Start,
    stream_logs_response::Event,
};
use pulsetail_sim::{Container, Driver, Engine, Sim};
use tonic::Code;
use tonic_types::StatusExt;

use crate::harness::{Server, all, engine, engine_of, followed, stored, until};
use crate::subscriber::{Line, Subscriber, cursors_after, lines_of};

pub(crate) fn resuming(cursors: Vec<String>) -> StreamLogsRequest {
    StreamLogsRequest {
        cursors,
        ..StreamLogsRequest::default()
    }
}

/// Short and long lines of both streams, some of them open while others are written.
fn write(web: &Container, round: usize) {
    web.stdout(format!("out {round}\n"));
    let long = "l".repeat(18_000 + round);
    web.stdout(&long);
    web.stderr(format!("err {round}\n"));
    if round.is_multiple_of(2) {
        web.stdout(&long);
        web.stderr(format!("more err {round}\n"));
    }
    web.stdout("\n");
}

/// A stream that was cut nowhere: its container wrote while it was read, then ended in the middle of a line.
async fn uncut(server: &Server, web: &Container) -> Subscriber {
    let mut subscriber = server.open(all("web")).await;
    for round in 0..12 {
        write(web, round);
        let written = lines_of(web).len();
        subscriber.entries(written).await;
    }
    web.stdout("last words");
    web.exit(0);
    let written = lines_of(web).len() + 1;
    subscriber.entries(written).await;
    subscriber
}

/// The lines of a stream that a client handled up to a message, and the cursors it then holds.
fn cut(whole: &Subscriber, at: usize) -> (Vec<Line>, Vec<String>) {
    let count = |event: &Event| match event {
        Event::Batch(batch) => batch.entries.len(),
        _ => 0,
    };
    let handled = whole.events[..at].iter().map(count).sum();
    (
        whole.lines()[..handled].to_vec(),
        cursors_after(&whole.events[..at]),
    )
}

pub(crate) async fn resume_everywhere(server: &Server, whole: &Subscriber, least: usize) {
    resume_from(server, whole, 1, least).await;
}

/// The same, but for the first messages.
pub(crate) async fn resume_from(server: &Server, whole: &Subscriber, first: usize, least: usize) {
    let lines = whole.lines();
    assert!(whole.events.len() > least, "too few places to cut");
    for at in first..=whole.events.len() {
        let (mut joined, cursors) = cut(whole, at);
        let rest = server.read(resuming(cursors)).await;
        assert!(rest.gaps().is_empty() && rest.first().unmatched.is_empty());
        let waited = |event: &Event| matches!(event, Event::Progress(_));
        assert!(!rest.events.iter().any(waited), "it did not end at once");
        joined.extend(rest.lines());
        assert!(joined == lines, "cut behind message {at}");
    }
}

#[tokio::test]
async fn wherever_a_stream_is_cut_its_two_halves_are_the_whole() {
    let sim = engine();
    let web = sim.container("web").run();
    let server = Server::start(&sim).await;
    let whole = uncut(&server, &web).await;
    resume_everywhere(&server, &whole, 10).await;
    server.stop().await;
}

#[tokio::test]
async fn a_cursor_outlives_the_server_that_gave_it() {
    let sim = engine_of(Engine::docker_20_10());
    let web = sim.container("web").run();
    let server = Server::start(&sim).await;
    let whole = uncut(&server, &web).await;
    server.stop().await;
    let server = Server::start(&sim).await;
    resume_everywhere(&server, &whole, 10).await;
    server.stop().await;
}

#[tokio::test]
async fn history_cut_between_its_batches_goes_on_there() {
    let sim = engine();
    let web = sim.container("web").driver(Driver::local()).run();
    (0..40).for_each(|round| write(&web, round));
    let server = Server::start(&sim).await;
    let whole = server.read(stored("web")).await;
    assert!(whole.lines() == lines_of(&web));
    resume_everywhere(&server, &whole, 10).await;
    server.stop().await;
}

/// Last lines are counted before any goes out, so they all come of one event.
#[tokio::test]
async fn last_lines_come_in_batches_of_the_promised_size_each_with_its_own_cursor() {
    let sim = engine();
    let web = sim.container("web").run();
    (0..2_000).for_each(|n| web.stdout(format!("{n:0100}\n")));
    let server = Server::start(&sim).await;
    let mut request = stored("web");
    request.start = Some(Start::TailLines(1_200));
    let whole = server.read(request).await;
    assert_eq!(whole.lines(), lines_of(&web)[800..]);
    let sizes = whole.events.iter().filter_map(|event| match event {
        Event::Batch(batch) => Some(batch.encoded_len()),
        _ => None,
    });
    let sizes: Vec<_> = sizes.collect();
    assert!(sizes.iter().all(|size| *size <= 65 * 1024), "{sizes:?}");
    resume_everywhere(&server, &whole, 4).await;
    server.stop().await;
}

#[tokio::test]
async fn two_long_last_words_are_no_message_over_the_limit() {
    let sim = engine();
    let web = sim.container("web").run();
    web.stdout("o".repeat(1_000_000));
    web.stderr("e".repeat(1_000_000));
    web.exit(1);
    let server = Server::start(&sim).await;
    let mut client = ServerServiceClient::new(server.channel.clone());
    let info = client
        .get_server_info(GetServerInfoRequest {})
        .await
        .unwrap();
    let limits = info.into_inner().limits.expect("always set");
    let limit = limits.max_response_bytes as usize;
    let mut follow = all("web");
    follow.until_exit = true;
    for request in [stored("web"), follow] {
        let whole = server.read(request).await;
        assert_eq!(whole.lines().len(), 2);
        let largest = whole.events.iter().filter_map(|event| match event {
            Event::Batch(batch) => Some(batch.encoded_len()),
            _ => None,
        });
        let largest = largest.max().expect("there are lines");
        assert!(largest <= limit, "{largest} bytes against {limit}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_resumed_follow_catches_up_and_goes_on_live() {
    let sim = engine();
    let web = sim.container("web").run();
    let server = Server::start(&sim).await;
    let mut first = server.open(all("web")).await;
    (0..50).for_each(|n| web.stdout(format!("{n}\n")));
    first.entries(50).await;
    let cursors = first.cursors();
    drop(first);
    (50..3_000).for_each(|n| web.stdout(format!("{n}\n")));
    let request = StreamLogsRequest {
        follow: true,
        ..resuming(cursors)
    };
    let mut second = server.open(request).await;
    second.caught_up().await;
    web.stdout("3000\n");
    second.entries(2_951).await;
    let expected: Vec<_> = (50..=3_000).map(|n| n.to_string()).collect();
    assert_eq!(second.texts(), expected);
    server.stop().await;
}

async fn cursor_of(server: &Server, name: &str) -> String {
    let read = server.read(stored(name)).await;
    read.cursors().pop().expect("it has one member")
}

async fn refused(server: &Server, cursors: Vec<String>) -> (Code, String) {
    let opened = server.try_open(resuming(cursors)).await;
    let status = opened.err().expect("it is refused");
    let details = status.get_error_details();
    (status.code(), details.error_info().unwrap().reason.clone())
}

#[tokio::test]
async fn a_cursor_that_was_changed_anywhere_is_refused() {
    let sim = engine();
    sim.container("web").run().stdout("line\n");
    let server = Server::start(&sim).await;
    let cursor = cursor_of(&server, "web").await;
    for at in 0..cursor.len() {
        let other = if &cursor[at..=at] == "A" { "B" } else { "A" };
        let changed = [&cursor[..at], other, &cursor[at + 1..]].concat();
        let cut = cursor[..at].to_owned();
        for garbled in [changed, cut] {
            let told = refused(&server, vec![garbled]).await;
            assert_eq!(
                told,
                (Code::InvalidArgument, "CURSOR_INVALID".into()),
                "at {at}"
            );
        }
    }
    let twice = refused(&server, vec![cursor.clone(), cursor]).await;
    assert_eq!(twice, (Code::InvalidArgument, "CURSOR_DUPLICATE".into()));
    server.stop().await;
}

#[tokio::test]
async fn a_cursor_of_another_engine_is_refused() {
    let elsewhere = engine_of(Engine::current().named("elsewhere"));
    elsewhere.container("web").run().stdout("line\n");
    let server = Server::start(&elsewhere).await;
    let cursor = cursor_of(&server, "web").await;
    server.stop().await;
    let sim = engine();
    sim.container("web").run();
    let server = Server::start(&sim).await;
    let told = refused(&server, vec![cursor]).await;
    assert_eq!(told, (Code::InvalidArgument, "CURSOR_WRONG_HOST".into()));
    server.stop().await;
}

#[tokio::test]
async fn a_cursor_of_a_removed_container_is_unmatched_behind_a_gap() {
    let sim = engine();
    let [web, api] = ["web", "api"].map(|name| sim.container(name).run());
    web.stdout("web\n");
    let server = Server::start(&sim).await;
    let (gone, kept) = (
        cursor_of(&server, "web").await,
        cursor_of(&server, "api").await,
    );
    web.remove();
    let absent = async || server.try_open(stored("web")).await.is_err();
    crate::harness::until_so(absent).await;
    api.stdout("api\n");
    let read = server.read(resuming(vec![gone.clone(), kept])).await;
    assert_eq!(read.first().unmatched, [gone]);
    let [gap] = read.gaps()[..] else {
        panic!("one gap: {:?}", read.gaps());
    };
    assert_eq!(gap.cause(), GapCause::ContainerRemoved);
    assert_eq!(gap.container.as_ref().unwrap().id, web.id());
    assert_eq!(read.texts(), ["api"]);
    server.stop().await;
}

#[tokio::test]
async fn a_cursor_outside_the_selector_and_a_name_that_is_gone_are_unmatched() {
    let sim = engine();
    sim.container("web").run().stdout("web\n");
    let api = sim.container("api").run();
    let server = Server::start(&sim).await;
    let (other, kept) = (
        cursor_of(&server, "web").await,
        cursor_of(&server, "api").await,
    );
    api.stdout("api\n");
    let mut request = stored("api");
    request.selector.as_mut().unwrap().names.push("gone".into());
    request.cursors = vec![other.clone(), kept];
    let read = server.read(request).await;
    let mut unmatched = read.first().unmatched.clone();
    unmatched.sort();
    let mut expected = vec![other, "gone".to_owned()];
    expected.sort();
    assert_eq!(unmatched, expected);
    assert_eq!((read.texts(), read.gaps().len()), (vec!["api"], 0));
    server.stop().await;
}

#[tokio::test]
async fn members_without_a_cursor_start_where_start_says_or_at_the_cursors_issue() {
    let sim = engine();
    let [web, api] = ["web", "api"].map(|name| sim.container(name).run());
    web.stdout("web old\n");
    api.stdout("api old\n");
    let server = Server::start(&sim).await;
    let cursors = vec![cursor_of(&server, "web").await];
    web.stdout("web new\n");
    api.stdout("api new\n");
    let mut request = stored("web");
    request.selector.as_mut().unwrap().names.push("api".into());
    request.cursors = cursors;
    let read = server.read(request.clone()).await;
    assert_eq!(
        (read.texts_of("web"), read.texts_of("api")),
        (vec!["web new"], vec!["api new"])
    );
    request.start = Some(Start::FromBeginning(true));
    let read = server.read(request).await;
    assert_eq!(read.texts_of("web"), ["web new"]);
    assert_eq!(read.texts_of("api"), ["api old", "api new"]);
    server.stop().await;
}

/// A container that keeps about a hundred lines.
pub(crate) fn forgetful(sim: &Sim) -> Container {
    let driver = Driver::json_file().max_size(4_000).max_file(2);
    let web = sim.container("web").driver(driver).run();
    (0..20).for_each(|n| web.stdout(format!("{n}\n")));
    web
}

pub(crate) fn assert_gap_then_the_rest(read: &Subscriber, web: &Container) {
    let [gap] = read.gaps()[..] else {
        panic!("one gap: {:?}", read.gaps());
    };
    assert_eq!(gap.cause(), GapCause::RotatedOut);
    assert!(gap.after_time.is_some() && gap.before_time.is_some());
    let last = read.lines().len().checked_sub(lines_of(web).len());
    let last = last.expect("all that is left came");
    assert_eq!(read.lines()[last..], lines_of(web));
}

#[tokio::test]
async fn what_is_deleted_while_the_engine_is_away_is_a_gap_in_a_live_stream() {
    let sim = engine();
    let web = forgetful(&sim);
    let server = Server::start(&sim).await;
    let mut subscriber = server.open(followed("web")).await;
    web.stdout("20\n");
    subscriber.entries(1).await;
    sim.stop();
    (21..500).for_each(|n| web.stdout(format!("{n}\n")));
    sim.start();
    subscriber
        .until(|heard| heard.texts().contains(&"499"))
        .await;
    assert_gap_then_the_rest(&subscriber, &web);
    assert_eq!(subscriber.texts()[0], "20");
    server.stop().await;
}

#[tokio::test]
async fn an_engine_that_restarts_loses_and_repeats_nothing() {
    let sim = engine();
    let web = sim.container("web").run();
    let server = Server::start(&sim).await;
    let mut subscriber = server.open(followed("web")).await;
    for round in 0..3 {
        (0..100).for_each(|n| web.stdout(format!("{round} {n}\n")));
        sim.start();
        web.stdout(format!("{round} behind the restart\n"));
    }
    let stats = sim.stats();
    until(|| sim.stats().all_requests() > stats.all_requests()).await;
    subscriber.entries(303).await;
    assert_eq!(subscriber.lines(), lines_of(&web));
    assert!(subscriber.gaps().is_empty());
    server.stop().await;
}
