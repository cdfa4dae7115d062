//! Cases 25 to 27: heads and bytes that look like something else.

use pulsetail::proto::{self, StreamLogsRequest};
use pulsetail::supervisor::{Kind, State};
use pulsetail_sim::{Driver, Fault};
use tokio::time::Duration;

use super::{assert_exact, probes, tails, write_until_rotated};
use crate::harness::{Server, all, engine, stored, until, until_so, write};
use crate::resume::resume_everywhere;
use crate::subscriber::lines_of;

#[tokio::test]
async fn case_25_heads_withheld_until_the_first_byte() {
    let sim = engine();
    let quiet = sim.container("quiet").run();
    let web = sim.container("web").run();
    write(&web, 0..10);
    sim.fault(Fault::head_with_body().on_follow().sticky());
    let server = Server::start_with(&sim, &["--rotation=500ms"]).await;
    let mut idle = server.open(all("quiet")).await;
    let mut subscriber = server.open(all("web")).await;
    subscriber.entries(10).await;
    // Longer than any other answer of the engine may take.
    until(|| probes(&sim, quiet.id()) >= 12).await;
    assert_eq!(tails(&sim, quiet.id(), true), [None], "it was opened again");
    let task = server.supervisor.statuses().into_iter().find(|status| {
        status.spec.kind == Kind::Container && status.spec.container.as_deref() == Some(quiet.id())
    });
    let task = task.expect("it is read");
    assert_eq!(task.state, State::Running);
    assert!(
        task.heartbeat_age < Some(Duration::from_secs(5)),
        "{task:?}"
    );
    let mut written = 10;
    for _ in 0..3 {
        written = write_until_rotated(&server, &web, written).await;
        subscriber.entries(written).await;
    }
    write(&quiet, 0..3);
    idle.entries(3).await;
    assert_exact(&subscriber, &web);
    assert_exact(&idle, &quiet);
    assert!(idle.notices().is_empty(), "{:?}", idle.notices());
    let end = server.drain();
    until_so(async || sim.stats().log_streams == 0).await;
    idle.end().await.expect_err("a drain is no good end");
    let progress = idle.closing().progress.as_ref().unwrap();
    assert!(progress.verified_time.is_some());
    drop(end);
}

#[tokio::test]
async fn case_26_a_terminals_bytes_look_like_frames_and_stamps_stand_inside_lines() {
    let sim = engine();
    let shell = sim.container("shell").tty().run();
    let mut lines = Vec::new();
    for first in 0..=3_u8 {
        let mut line = vec![first, 0, 0, 0, 0x7f, 0x7f, 0x7f, 0x7f];
        line.extend_from_slice(b" output\r");
        lines.push(line);
    }
    // Over 16 KiB the engine stamps in the middle of a line, whose text may look like it.
    let stamp = format!("{} ", sim.now());
    lines.push(format!("{}\r", "y".repeat(50_000)).into_bytes());
    lines.push(format!("{stamp}{}\r", stamp.repeat(1_000)).into_bytes());
    let write_all = || {
        for line in &lines {
            shell.stdout([line, &b"\n"[..]].concat());
        }
    };
    write_all();
    let server = Server::start(&sim).await;
    let mut whole = server.open(all("shell")).await;
    whole.entries(lines.len()).await;
    write_all();
    whole.entries(2 * lines.len()).await;
    let came = whole.lines().into_iter().map(|line| line.bytes);
    assert!(
        came.eq([&lines[..], &lines].concat()),
        "not what was written"
    );
    let is_tty = |entry: &proto::LogEntry| entry.stream() == proto::Stream::Tty;
    assert!(whole.all_entries().all(is_tty));
    resume_everywhere(&server, &whole, 2).await;
    shell.fault(Fault::inject(&b"no stamp at all, and much longer than one\n"[..]).on_follow());
    shell.stdout("after\r\n");
    whole.entries(2 * lines.len() + 1).await;
    assert_eq!(whole.texts().last(), Some(&"after\r"));
    server.stop().await;
}

#[tokio::test]
async fn case_27_bytes_of_every_kind_come_as_they_were_stored() {
    let long = vec![b'm'; 1 << 20];
    let lines: [&[u8]; 8] = [
        b"\xff\xfe invalid \xe2\x82",
        b"nul \0 inside",
        b"carriage\rreturns\r",
        b"",
        b"\0",
        "line\u{2028}separator".as_bytes(),
        &long,
        b"\r",
    ];
    let sim = engine();
    for (name, driver) in [("json", Driver::json_file()), ("local", Driver::local())] {
        let web = sim.container(name).driver(driver).run();
        let server = Server::start(&sim).await;
        let mut whole = server.open(all(name)).await;
        for (count, line) in (1..).zip(lines) {
            web.stderr([line, b"\n"].concat());
            whole.entries(count).await;
        }
        assert_exact(&whole, &web);
        assert!(whole.all_entries().all(|entry| entry.truncated_bytes == 0));
        let came: Vec<_> = whole.lines().into_iter().map(|line| line.bytes).collect();
        // What json-file cannot store is replaced there, and nowhere else.
        let from = usize::from(name == "json");
        assert!(came[from..] == lines[from..], "{name}");
        resume_everywhere(&server, &whole, lines.len()).await;
        let read = server.read(stored(name)).await;
        assert!(read.lines() == lines_of(&web), "{name}");
        server.stop().await;
    }
    // One byte more is cut and counted.
    let web = sim.container("longer").run();
    web.stdout([&long, &b"!\n"[..]].concat());
    let server = Server::start(&sim).await;
    let read: StreamLogsRequest = stored("longer");
    let read = server.read(read).await;
    let cut = read.all_entries().map(|entry| entry.truncated_bytes);
    assert_eq!(cut.collect::<Vec<_>>(), [1]);
    server.stop().await;
}
