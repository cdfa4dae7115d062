//! A log that goes on: rotations, restarts, removal, terminals, long lines.

use pulsetail::proto::{self, ContainerChangeKind as Change, StreamLogsRequest};
use pulsetail_sim::{Container, Driver, Engine};

use crate::harness::{Server, all, engine, engine_of, followed, stored, until};
use crate::subscriber::lines_of;

/// Writes lines on both streams until the server has opened one lease more, and a few behind it.
async fn write_through_a_rotation(server: &Server, web: &Container, written: &mut usize) {
    let before = server.leases();
    until(|| {
        for _ in 0..3 {
            web.stdout(format!("out {written}\n"));
            web.stderr(format!("err {written}\n"));
            *written += 1;
        }
        server.leases() > before
    })
    .await;
}

pub(crate) async fn twenty_rotations_of(driver: Driver, engine: Engine) {
    let sim = engine_of(engine);
    let web = sim.container("web").driver(driver).run();
    let server = Server::start_with(&sim, &["--rotation=100ms"]).await;
    let mut subscriber = server.open(all("web")).await;
    let mut written = 0;
    for _ in 0..22 {
        write_through_a_rotation(&server, &web, &mut written).await;
    }
    subscriber.entries(2 * written).await;
    assert!(server.leases() > 20, "{} leases", server.leases());
    assert!(subscriber.lines() == lines_of(&web), "not what was stored");
    assert!(subscriber.gaps().is_empty(), "{:?}", subscriber.gaps());
    assert!(
        subscriber.notices().is_empty(),
        "{:?}",
        subscriber.notices()
    );
    server.stop().await;
}

#[tokio::test]
async fn over_twenty_rotations_every_line_comes_once_and_in_order() {
    twenty_rotations_of(Driver::json_file(), Engine::current()).await;
}

#[tokio::test]
async fn over_twenty_rotations_of_an_old_engine_and_its_files_no_line_is_lost() {
    let driver = Driver::local().max_size(20_000).max_file(200);
    twenty_rotations_of(driver, Engine::docker_20_10()).await;
}

#[tokio::test]
async fn the_log_goes_on_over_a_restart_which_is_told_in_its_place() {
    let sim = engine();
    let web = sim.container("web").run();
    let server = Server::start(&sim).await;
    let mut subscriber = server.open(followed("web")).await;
    for run in 0..3 {
        web.stdout(format!("run {run} begins\n"));
        web.stderr(format!("run {run} ends\n"));
        web.exit(run);
        subscriber
            .until(|heard| ended(heard.changes()) == usize::try_from(run).unwrap() + 1)
            .await;
        web.start();
    }
    web.stdout("last\n");
    subscriber.entries(7).await;
    subscriber.until(|heard| heard.changes().len() == 6).await;
    let told = [Change::Exited, Change::Started].repeat(3);
    assert_eq!(subscriber.changes(), told);
    assert_eq!(subscriber.lines(), lines_of(&web));
    let order: Vec<_> = subscriber.events.iter().filter_map(run_of).collect();
    assert!(order.is_sorted(), "a line came in the wrong run: {order:?}");
    server.stop().await;
}

fn ended(changes: Vec<Change>) -> usize {
    changes.iter().filter(|c| **c == Change::Exited).count()
}

/// The run an event belongs to, twice: an exit stands behind its lines, a start before the next ones.
fn run_of(event: &proto::stream_logs_response::Event) -> Option<i32> {
    use proto::stream_logs_response::Event;
    match event {
        Event::Batch(batch) => {
            let text = batch
                .entries
                .iter()
                .map(crate::subscriber::text)
                .next_back()?;
            let run = text.split(' ').nth(1).and_then(|n| n.parse::<i32>().ok());
            Some(run.map_or(100, |run| run * 3))
        }
        Event::ContainerChange(change) if change.kind() == Change::Exited => {
            Some(change.exit_code.unwrap() * 3 + 1)
        }
        _ => None,
    }
}

#[tokio::test]
async fn a_stopped_container_is_read_and_followed_into_its_next_run() {
    let sim = engine();
    let web = sim.container("web").run();
    web.stdout("first run\n");
    web.exit(0);
    let server = Server::start(&sim).await;
    let mut subscriber = server.open(all("web")).await;
    subscriber.entries(1).await;
    assert!(!subscriber.first().members[0].running);
    web.start();
    web.stdout("second run\n");
    subscriber.entries(2).await;
    subscriber.change(Change::Started).await;
    assert_eq!(subscriber.texts(), ["first run", "second run"]);
    server.stop().await;
}

#[tokio::test]
async fn a_removed_container_is_told_behind_its_last_line() {
    let sim = engine();
    let web = sim.container("web").run();
    let server = Server::start(&sim).await;
    let mut subscriber = server.open(all("web")).await;
    web.stdout("one\n");
    subscriber.entries(1).await;
    web.exit(0);
    subscriber.change(Change::Exited).await;
    web.remove();
    subscriber.change(Change::Removed).await;
    assert_eq!(subscriber.changes(), [Change::Exited, Change::Removed]);
    let gone = server.try_open(followed("web")).await;
    assert_eq!(gone.err().unwrap().code(), tonic::Code::NotFound);
    server.stop().await;
}

#[tokio::test]
async fn a_terminal_is_one_stream_and_keeps_its_carriage_returns() {
    let sim = engine();
    let shell = sim.container("shell").tty().run();
    shell.stdout("\x1b[32m$\x1b[0m ls\r\n");
    let server = Server::start(&sim).await;
    let mut subscriber = server.open(all("shell")).await;
    shell.stderr("error\r\n");
    shell.stdout("$ ");
    shell.stdout("exit\r\n");
    subscriber.entries(3).await;
    let texts = ["\x1b[32m$\x1b[0m ls\r", "error\r", "$ exit\r"];
    assert_eq!(subscriber.texts(), texts);
    assert!(
        subscriber
            .all_entries()
            .all(|e| e.stream() == proto::Stream::Tty)
    );
    server.stop().await;
}

/// Lines around the size of a part, with other records between the parts.
fn write_long_lines(web: &Container) {
    for size in [16_383, 16_384, 16_385, 32_768, 49_152, 100_000] {
        let (first, rest) = "z".repeat(size).split_at(size / 2).to_owned_pair();
        web.stdout(first);
        web.stderr(format!("between the halves of {size}\n"));
        web.stdout(rest);
        web.stdout("\n");
    }
}

trait OwnedPair {
    fn to_owned_pair(self) -> (String, String);
}

impl OwnedPair for (&str, &str) {
    fn to_owned_pair(self) -> (String, String) {
        (self.0.to_owned(), self.1.to_owned())
    }
}

#[tokio::test]
async fn parts_of_a_long_line_are_joined_in_history_and_live() {
    for (engine, driver) in [
        (Engine::current(), Driver::json_file()),
        (Engine::current(), Driver::local()),
    ] {
        let sim = engine_of(engine);
        let web = sim.container("web").driver(driver).run();
        write_long_lines(&web);
        let server = Server::start(&sim).await;
        let mut subscriber = server.open(all("web")).await;
        subscriber.entries(12).await;
        write_long_lines(&web);
        subscriber.entries(24).await;
        assert!(subscriber.lines() == lines_of(&web), "not what was stored");
        server.stop().await;
    }
}

#[tokio::test]
async fn a_read_in_the_middle_of_a_line_leaves_it_to_whoever_resumes() {
    let sim = engine();
    let web = sim.container("web").run();
    web.stdout(format!("whole\n{}", "c".repeat(20_000)));
    let server = Server::start(&sim).await;
    let subscriber = server.read(stored("web")).await;
    assert_eq!(subscriber.texts(), ["whole"]);
    web.stdout("d\n");
    let resumed = StreamLogsRequest {
        cursors: subscriber.cursors(),
        ..StreamLogsRequest::default()
    };
    let resumed = server.read(resumed).await;
    assert!(resumed.lines() == lines_of(&web)[1..], "not the whole line");
    server.stop().await;
}
