//! Cases 1 to 7: stamps and parts that deceive.

use std::time::Duration;

use pulsetail::proto::{self, ContainerChangeKind as Change};
use pulsetail_sim::{Container, Driver, Engine, Stream};

use super::assert_exact;
use crate::harness::{Server, all, engine, engine_of, stored, until};
use crate::resume::resume_everywhere;
use crate::subscriber::{Line, Subscriber, lines_of};

const PART: usize = 16 * 1024;

/// Stores these lines, stamped in ms, one at a time, and follows and resumes behind each.
async fn cut_behind_each(lines: &[(Stream, u64, &str)]) {
    let sim = engine();
    let web = sim.container("web").run();
    let server = Server::start_with(&sim, &["--rotation=100ms"]).await;
    let mut whole = server.open(all("web")).await;
    let begin = sim.now();
    for (count, (stream, ms, bytes)) in (1..).zip(lines) {
        web.record(*stream, begin + Duration::from_millis(*ms), bytes);
        whole.entries(count).await;
    }
    assert_exact(&whole, &web);
    resume_everywhere(&server, &whole, lines.len()).await;
    server.stop().await;
}

#[tokio::test]
async fn case_01_stdout_and_stderr_inverted_at_the_cursor() {
    cut_behind_each(&[
        (Stream::Stdout, 100, "out\n"),
        (Stream::Stderr, 80, "stamped before the cursor\n"),
        (Stream::Stderr, 81, "and again\n"),
        (Stream::Stdout, 120, "out\n"),
        (Stream::Stderr, 119, "err\n"),
        (Stream::Stdout, 121, "out\n"),
        (Stream::Stderr, 120, "err\n"),
    ])
    .await;
}

#[tokio::test]
async fn case_02_equal_stamps_in_both_streams() {
    cut_behind_each(&[
        (Stream::Stdout, 10, "same\n"),
        (Stream::Stderr, 10, "same\n"),
        (Stream::Stderr, 11, "same\n"),
        (Stream::Stdout, 11, "same\n"),
        (Stream::Stdout, 12, "same\n"),
        (Stream::Stderr, 12, "same\n"),
    ])
    .await;
}

#[tokio::test]
async fn case_03_three_equal_parts_with_the_cursor_between_them() {
    let sim = engine();
    let web = sim.container("web").run();
    let server = Server::start_with(&sim, &["--rotation=100ms"]).await;
    let mut whole = server.open(all("web")).await;
    web.stdout("first\n");
    for n in 0..3 {
        web.stdout([b'a'; PART]);
        web.stderr(format!("behind part {n}\n"));
        whole.entries(n + 2).await;
    }
    let parts = web.records();
    assert!(parts[1] == parts[3] && parts[1] == parts[5], "void");
    web.stdout("\n");
    whole.entries(5).await;
    assert_exact(&whole, &web);
    resume_everywhere(&server, &whole, 4).await;
    server.stop().await;
}

#[tokio::test]
async fn case_04_a_line_is_held_over_rotations_while_the_other_stream_writes() {
    let sim = engine();
    let web = sim.container("web").run();
    let server = Server::start_with(&sim, &["--rotation=100ms"]).await;
    let mut subscriber = server.open(all("web")).await;
    web.stdout("a".repeat(50_000));
    let before = server.leases();
    let mut written = 0;
    until(|| {
        web.stderr(format!("{written}\n"));
        written += 1;
        server.leases() > before + 3
    })
    .await;
    web.stdout("b\n");
    subscriber.entries(written + 1).await;
    let lines = subscriber.lines();
    let (out, err): (Vec<&Line>, Vec<_>) = lines
        .iter()
        .partition(|line| line.stream == proto::Stream::Stdout);
    assert_eq!((out.len(), err.len()), (1, written));
    assert!(out[0].bytes.len() == 50_001 && out[0].bytes.ends_with(b"ab"));
    assert_exact(&subscriber, &web);
    server.stop().await;
}

/// Lines of these lengths, each of a letter of its own, in history and live.
async fn lengths_come_whole(engine: Engine, driver: Driver, lengths: &[usize]) {
    let sim = engine_of(engine);
    let web = sim.container("web").driver(driver).run();
    let letters = b'a'..=b'z';
    let lines = letters
        .zip(lengths)
        .map(|(letter, len)| vec![letter; *len])
        .collect::<Vec<_>>();
    let write_all = |web: &Container| {
        for line in &lines {
            web.stdout([line, &b"\n"[..]].concat());
        }
    };
    write_all(&web);
    let server = Server::start(&sim).await;
    let mut whole = server.open(all("web")).await;
    whole.entries(lines.len()).await;
    write_all(&web);
    whole.entries(2 * lines.len()).await;
    let came = whole.lines().into_iter().map(|line| line.bytes);
    let expected = [&lines[..], &lines[..]].concat();
    assert!(came.collect::<Vec<_>>() == expected, "not what was written");
    assert!(whole.all_entries().all(|entry| !entry.unterminated));
    assert!(whole.gaps().is_empty(), "{:?}", whole.gaps());
    resume_everywhere(&server, &whole, 2).await;
    server.stop().await;
}

#[tokio::test]
async fn case_05_exactly_16384_bytes() {
    let lengths = [PART, PART - 1, PART, PART + 1, 2 * PART, PART, PART];
    for (engine, driver) in [
        (Engine::current(), Driver::json_file()),
        (Engine::current(), Driver::local()),
        (Engine::docker_20_10(), Driver::json_file()),
        (Engine::docker_20_10(), Driver::local()),
    ] {
        lengths_come_whole(engine, driver, &lengths).await;
    }
}

#[tokio::test]
async fn case_06_local_before_23_ends_long_lines_with_an_empty_or_unended_record() {
    let sim = engine_of(Engine::docker_20_10());
    let web = sim.container("web").driver(Driver::local()).run();
    let server = Server::start_with(&sim, &["--rotation=100ms"]).await;
    let mut whole = server.open(all("web")).await;
    let lengths = [3, 20_000, PART, 0, 2 * PART, 0, 20_000, 20_000];
    for (count, len) in (1..).zip(lengths) {
        web.stdout(format!("{}\n", "x".repeat(len)));
        whole.entries(count).await;
    }
    let records = web.records();
    let is_empty = |record: &pulsetail_sim::Record| record.bytes.is_empty();
    assert_eq!(records.iter().filter(|r| is_empty(r)).count(), 2, "void");
    let came = whole.lines().into_iter().map(|line| line.bytes.len());
    assert_eq!(came.collect::<Vec<_>>(), lengths);
    assert!(whole.all_entries().all(|entry| !entry.unterminated));
    resume_everywhere(&server, &whole, lengths.len()).await;
    server.stop().await;
}

#[tokio::test]
async fn case_07_unterminated_last_line_then_restart() {
    let sim = engine();
    let web = sim.container("web").run();
    let server = Server::start(&sim).await;
    let mut whole = server.open(all("web")).await;
    web.stdout("whole\n");
    whole.entries(1).await;
    web.stdout("last words");
    web.exit(1);
    whole.change(Change::Exited).await;
    web.start();
    web.stdout("first words\n");
    whole.entries(3).await;
    let told = |heard: &Subscriber| {
        let entries = heard.all_entries();
        let told = entries.map(|e| (crate::subscriber::text(e).to_owned(), e.unterminated));
        told.collect::<Vec<_>>()
    };
    let expected = [
        ("whole", false),
        ("last words", true),
        ("first words", false),
    ];
    let expected = expected.map(|(text, open)| (text.to_owned(), open));
    assert_eq!(told(&whole), expected);
    assert_eq!(told(&server.read(stored("web")).await), expected);
    resume_everywhere(&server, &whole, 5).await;
    // It was no part of the line that the next run wrote.
    assert_eq!(lines_of(&web).len(), 2);
    server.stop().await;
}

#[tokio::test]
async fn case_07_last_words_reach_who_joins_while_the_next_run_is_within_a_line() {
    let sim = engine();
    let web = sim.container("web").run();
    let server = Server::start(&sim).await;
    let mut first = server.open(all("web")).await;
    web.stdout("whole\n");
    web.stderr("last words");
    first.entries(1).await;
    web.exit(1);
    first.change(Change::Exited).await;
    web.start();
    web.stdout("a".repeat(PART + 1));
    first.entries(2).await;
    first.change(Change::Started).await;
    until(|| server.leases() > 1).await;
    let mut second = server.open(all("web")).await;
    second.entries(2).await;
    web.stdout("b\n");
    first.entries(3).await;
    second.entries(3).await;
    assert_eq!(second.lines(), first.lines());
    let told = second.all_entries().map(|entry| entry.unterminated);
    assert_eq!(told.collect::<Vec<_>>(), [false, true, false]);
    server.stop().await;
}
