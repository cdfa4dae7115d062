//! `ListLogEntries` serves what is stored, newest page first, each line on one page.

use std::time::Duration;

use prost::Message;
use prost_types::Timestamp;
use pulsetail::proto::server_service_client::ServerServiceClient;
use pulsetail::proto::{
    GetServerInfoRequest, ListLogEntriesRequest, ListLogEntriesResponse, LogEntry, Stream,
    StreamLogsRequest,
};
use pulsetail_sim::{Container, Driver, Engine, Sim};
use tonic::Status;

use crate::harness::{Server, engine, engine_of, followed, stored, within};
use crate::subscriber::{Line, line, lines_of, text};

const SECOND: Duration = Duration::from_secs(1);

/// A request for the newest page.
pub(crate) fn paged(name: &str, page_size: u32) -> ListLogEntriesRequest {
    ListLogEntriesRequest {
        container: name.to_owned(),
        page_size,
        ..ListLogEntriesRequest::default()
    }
}

/// The request for the page before `page`.
pub(crate) fn before(
    request: &ListLogEntriesRequest,
    page: &ListLogEntriesResponse,
) -> ListLogEntriesRequest {
    ListLogEntriesRequest {
        page_token: page.next_page_token.clone(),
        ..request.clone()
    }
}

impl Server {
    pub(crate) async fn try_page(
        &self,
        request: &ListLogEntriesRequest,
    ) -> Result<ListLogEntriesResponse, Status> {
        let mut client = self.logs();
        let page = within(client.list_log_entries(request.clone())).await?;
        Ok(page.into_inner())
    }

    /// One page, held against what the contract says of all.
    pub(crate) async fn page(&self, request: &ListLogEntriesRequest) -> ListLogEntriesResponse {
        let page = self.try_page(request).await.expect("the request is served");
        let most = match request.page_size {
            0 => 100,
            size => size.min(1_000),
        };
        assert!(page.entries.len() <= most as usize);
        assert!((1..=160).contains(&page.cursor.len()), "{}", page.cursor);
        assert!(page.gaps.iter().all(|gap| gap.cursor.is_empty()));
        page
    }

    /// This page and all before it, in the order they came.
    pub(crate) async fn walk(
        &self,
        request: &ListLogEntriesRequest,
    ) -> Vec<ListLogEntriesResponse> {
        let mut pages = vec![self.page(request).await];
        while let Some(last) = pages.last().filter(|page| !page.next_page_token.is_empty()) {
            assert!(pages.len() < 10_000, "it has no end");
            let next = self.page(&before(request, last)).await;
            pages.push(next);
        }
        pages
    }

    /// What comes of a log behind a cursor.
    pub(crate) async fn rest(&self, cursor: &str) -> Vec<Line> {
        let request = StreamLogsRequest {
            cursors: vec![cursor.to_owned()],
            ..StreamLogsRequest::default()
        };
        let rest = self.read(request).await;
        assert!(rest.gaps().is_empty());
        rest.lines()
    }
}

pub(crate) fn texts(page: &ListLogEntriesResponse) -> Vec<&str> {
    page.entries.iter().map(text).collect()
}

/// All entries of pages, oldest first.
pub(crate) fn joined(pages: &[ListLogEntriesResponse]) -> Vec<LogEntry> {
    let entries = pages.iter().rev().flat_map(|page| &page.entries);
    entries.cloned().collect()
}

fn lines(entries: &[LogEntry]) -> Vec<Line> {
    entries.iter().map(line).collect()
}

fn instant(time: pulsetail_sim::Timestamp) -> Timestamp {
    Timestamp {
        seconds: time.secs(),
        nanos: i32::try_from(time.nanos().rem_euclid(1_000_000_000)).unwrap(),
    }
}

/// Holds all pages of all these sizes against what a stream reads.
async fn assert_pages_are_the_log(server: &Server, name: &str, sizes: &[u32]) {
    let streamed = server.read(stored(name)).await;
    let whole: Vec<LogEntry> = streamed.all_entries().cloned().collect();
    assert!(!whole.is_empty());
    for size in sizes {
        let pages = server.walk(&paged(name, *size)).await;
        assert!(
            joined(&pages) == whole,
            "pages of {size}: {} entries",
            joined(&pages).len()
        );
        assert!(pages.iter().all(|page| page.gaps.is_empty()));
        assert!(pages.iter().all(|page| !page.entries.is_empty()));
    }
}

fn numbers(container: &Container, range: std::ops::Range<u32>) {
    range.for_each(|n| container.stdout(format!("{n}\n")));
}

#[tokio::test]
async fn the_newest_page_comes_first_and_reads_downwards() {
    let sim = engine();
    let web = sim.container("web").run();
    numbers(&web, 0..10);
    let server = Server::start(&sim).await;
    let request = paged("web", 4);
    let first = server.page(&request).await;
    assert_eq!(texts(&first), ["6", "7", "8", "9"]);
    assert_eq!(first.container.as_ref().unwrap().id, web.id());
    assert_eq!(first.container.as_ref().unwrap().name, "web");
    let second = server.page(&before(&request, &first)).await;
    assert_eq!(texts(&second), ["2", "3", "4", "5"]);
    let third = server.page(&before(&request, &second)).await;
    assert_eq!(texts(&third), ["0", "1"]);
    assert_eq!(third.next_page_token, "");
    server.stop().await;
}

#[tokio::test]
async fn a_page_that_holds_the_oldest_entry_leads_nowhere() {
    let sim = engine();
    let web = sim.container("web").run();
    numbers(&web, 0..200);
    sim.container("empty").run();
    let server = Server::start(&sim).await;
    for (size, pages) in [(100, 2), (199, 2), (200, 1), (201, 1)] {
        assert_eq!(
            server.walk(&paged("web", size)).await.len(),
            pages,
            "{size}"
        );
    }
    let empty = server.page(&paged("empty", 5)).await;
    assert!(empty.entries.is_empty() && empty.next_page_token.is_empty());
    server.stop().await;
}

#[tokio::test]
async fn a_page_has_100_entries_unless_told_and_never_more_than_1000() {
    let sim = engine();
    let web = sim.container("web").run();
    numbers(&web, 0..2_500);
    let server = Server::start(&sim).await;
    for (asked, comes) in [
        (0, 100),
        (1, 1),
        (1_000, 1_000),
        (1_001, 1_000),
        (u32::MAX, 1_000),
    ] {
        let page = server.page(&paged("web", asked)).await;
        assert_eq!(page.entries.len(), comes, "{asked}");
        assert_eq!(texts(&page)[comes - 1], "2499");
    }
    server.stop().await;
}

#[tokio::test]
async fn all_pages_together_are_the_log_from_its_beginning() {
    let sim = engine_of(Engine::docker_20_10());
    let web = sim.container("web").driver(Driver::local()).run();
    for n in 0..700 {
        web.stdout(format!("out {n}\n"));
        if n % 3 == 0 {
            web.stderr(format!("err {n}\n"));
        }
    }
    let server = Server::start(&sim).await;
    assert_pages_are_the_log(&server, "web", &[7, 100, 932, 933, 1_000]).await;
    server.stop().await;
}

#[tokio::test]
async fn the_pages_of_a_terminal_are_its_log() {
    let sim = engine();
    let shell = sim.container("shell").tty().run();
    for n in 0..150 {
        let long = "t".repeat(if n % 9 == 0 { 40_000 } else { 3 });
        shell.stdout(format!("{n} {long}\r\n"));
    }
    let server = Server::start(&sim).await;
    assert_pages_are_the_log(&server, "shell", &[1, 9, 64, 100]).await;
    server.stop().await;
}

#[tokio::test]
async fn a_line_of_several_parts_is_whole_wherever_a_page_begins() {
    let sim = engine();
    let web = sim.container("web").run();
    for n in 0..60 {
        let part = "p".repeat(16_384);
        web.stdout(format!("{n}{part}{part}"));
        web.stderr(format!("between {n}\n"));
        web.stdout("end\n");
        // Equal parts that follow each other.
        web.stdout(format!("{part}{part}{part}\n"));
    }
    let server = Server::start(&sim).await;
    assert_pages_are_the_log(&server, "web", &[1, 2, 3, 5, 50, 180]).await;
    server.stop().await;
}

#[tokio::test]
async fn equal_lines_and_equal_stamps_come_as_often_as_they_were_written() {
    let sim = engine();
    let web = sim.container("web").run();
    let now = sim.now();
    for n in 0..300 {
        let stream = match n % 2 {
            0 => pulsetail_sim::Stream::Stdout,
            _ => pulsetail_sim::Stream::Stderr,
        };
        web.record(stream, now + (n / 2) * SECOND / 1_000, "again\n");
    }
    let server = Server::start(&sim).await;
    assert_pages_are_the_log(&server, "web", &[1, 4, 99]).await;
    server.stop().await;
}

#[tokio::test]
async fn what_is_written_between_pages_moves_none_of_them() {
    let sim = engine();
    let web = sim.container("web").run();
    numbers(&web, 0..500);
    let server = Server::start(&sim).await;
    let whole = lines_of(&web);
    let request = paged("web", 30);
    let mut pages = vec![server.page(&request).await];
    for growth in [0_u32, 1, 40, 500, 3_000].into_iter().cycle() {
        numbers(&web, 0..growth);
        let last = pages.last().unwrap();
        if last.next_page_token.is_empty() {
            break;
        }
        pages.push(server.page(&before(&request, last)).await);
    }
    assert_eq!(lines(&joined(&pages)), whole);
    assert!(pages[..16].iter().all(|page| page.entries.len() == 30));
    server.stop().await;
}

#[tokio::test]
async fn a_stream_from_the_first_pages_cursor_brings_each_later_line_once() {
    let sim = engine();
    let web = sim.container("web").run();
    numbers(&web, 0..50);
    // Open as the page is read, and longer than a part.
    web.stdout("begun ".repeat(3_000));
    web.stderr("last\n");
    let server = Server::start(&sim).await;
    let first = server.page(&paged("web", 10)).await;
    assert_eq!(*texts(&first).last().unwrap(), "last");
    let known = lines_of(&web).len();
    let mut live = server
        .open(StreamLogsRequest {
            cursors: vec![first.cursor.clone()],
            ..followed("web")
        })
        .await;
    web.stdout("ended\n");
    numbers(&web, 50..80);
    live.entries(31).await;
    assert_eq!(live.lines(), lines_of(&web)[known..]);
    assert_eq!(server.rest(&first.cursor).await, lines_of(&web)[known..]);
    server.stop().await;
}

#[tokio::test]
async fn an_empty_logs_cursor_brings_its_first_line() {
    let sim = engine();
    let web = sim.container("web").run();
    let server = Server::start(&sim).await;
    let first = server.page(&paged("web", 10)).await;
    numbers(&web, 0..3);
    assert_eq!(server.rest(&first.cursor).await, lines_of(&web));
    server.stop().await;
}

#[tokio::test]
async fn the_cursor_of_a_later_page_resumes_behind_that_page() {
    let sim = engine();
    let web = sim.container("web").run();
    numbers(&web, 0..90);
    let server = Server::start(&sim).await;
    let pages = server.walk(&paged("web", 20)).await;
    let mut behind = lines_of(&web);
    for page in pages.iter().rev() {
        behind.drain(..page.entries.len());
        assert_eq!(server.rest(&page.cursor).await, behind);
    }
    server.stop().await;
}

#[tokio::test]
async fn a_stopped_container_shows_its_last_words_and_its_next_run_what_follows() {
    let sim = engine();
    let job = sim.container("job").run();
    numbers(&job, 0..5);
    job.stdout("last words");
    job.stderr("last tears");
    job.exit(1);
    let server = Server::start(&sim).await;
    for size in [1, 2, 3, 7] {
        let pages = server.walk(&paged("job", size)).await;
        let all = joined(&pages);
        let ends: Vec<_> = all.iter().map(|e| (text(e), e.unterminated)).collect();
        assert_eq!(ends[..5].iter().filter(|(_, torn)| *torn).count(), 0);
        assert_eq!(ends[5..], [("last words", true), ("last tears", true)]);
    }
    // What the next run writes parts neither the pages nor the cursor.
    let request = paged("job", 1);
    let mut pages = vec![server.page(&request).await];
    let cursor = pages[0].cursor.clone();
    job.start();
    job.stdout("again\n");
    let mut rest = server.walk(&before(&request, &pages[0])).await;
    pages.append(&mut rest);
    let all = joined(&pages);
    let all: Vec<_> = all.iter().map(text).collect();
    assert_eq!(all, ["0", "1", "2", "3", "4", "last words", "last tears"]);
    let followed = server.rest(&cursor).await;
    assert_eq!(followed.len(), 1);
    assert_eq!(followed[0].bytes, b"again");
    assert_pages_are_the_log(&server, "job", &[1, 2, 3]).await;
    server.stop().await;
}

#[tokio::test]
async fn a_line_that_is_not_whole_yet_is_on_no_page_of_a_running_container() {
    let sim = engine();
    let web = sim.container("web").run();
    web.stderr("whole\n");
    web.stdout("x".repeat(20_000));
    let server = Server::start(&sim).await;
    let first = server.page(&paged("web", 10)).await;
    assert_eq!(texts(&first), ["whole"]);
    web.stdout("\n");
    assert_eq!(server.page(&paged("web", 10)).await.entries.len(), 2);
    assert_eq!(server.rest(&first.cursor).await, lines_of(&web)[1..]);
    server.stop().await;
}

#[tokio::test]
async fn since_is_where_the_pages_end_and_until_leaves_out_what_is_later() {
    let sim = engine();
    let web = sim.container("web").run();
    let now = sim.now();
    for n in 0..400 {
        web.record(
            pulsetail_sim::Stream::Stdout,
            now + n * SECOND,
            format!("{n}\n"),
        );
        if n % 10 == 0 {
            let late = now + n * SECOND - SECOND / 2;
            web.record(pulsetail_sim::Stream::Stderr, late, format!("late {n}\n"));
        }
    }
    let server = Server::start(&sim).await;
    for (size, from, to) in [
        (7, 350, 380),
        (100, 10, 20),
        (40, 0, 399),
        (5, 200, 200),
        (9, 390, 999),
    ] {
        let since = now + from * SECOND;
        let request = ListLogEntriesRequest {
            since: Some(instant(since)),
            until: Some(instant(now + to * SECOND)),
            ..paged("web", size)
        };
        let pages = server.walk(&request).await;
        let all = lines_of(&web);
        let first = all.iter().position(|l| l.time >= since.nanos()).unwrap();
        let want: Vec<_> = all[first..]
            .iter()
            .filter(|l| l.time <= (now + to * SECOND).nanos())
            .cloned()
            .collect();
        assert_eq!(lines(&joined(&pages)), want, "{size} from {from} to {to}");
    }
    let request = ListLogEntriesRequest {
        since: Some(instant(now + 500 * SECOND)),
        ..paged("web", 10)
    };
    let pages = server.walk(&request).await;
    assert!(pages.len() == 1 && pages[0].entries.is_empty());
    assert_eq!(server.rest(&pages[0].cursor).await, []);
    server.stop().await;
}

#[tokio::test]
async fn only_the_streams_asked_for_come_and_an_empty_page_leads_on() {
    let sim = engine();
    let web = sim.container("web").run();
    let now = sim.now();
    let write = |n: u32, stream, line: &str| web.record(stream, now + n * SECOND / 1_000, line);
    write(0, pulsetail_sim::Stream::Stderr, "first\n");
    (1..60_000).for_each(|n| write(n, pulsetail_sim::Stream::Stdout, "out\n"));
    write(60_000, pulsetail_sim::Stream::Stderr, "last\n");
    let server = Server::start(&sim).await;
    let request = ListLogEntriesRequest {
        streams: vec![Stream::Stderr.into()],
        ..paged("web", 1)
    };
    let pages = server.walk(&request).await;
    let all = joined(&pages);
    assert_eq!(all.iter().map(text).collect::<Vec<_>>(), ["first", "last"]);
    // Searching is bounded: some pages bring nothing but a token.
    let empty = pages.iter().filter(|page| page.entries.is_empty()).count();
    assert!((1..8).contains(&empty), "{empty} empty pages");
    assert_eq!(server.rest(&pages[0].cursor).await, []);
    let none = ListLogEntriesRequest {
        streams: vec![Stream::Tty.into()],
        ..paged("web", 1)
    };
    assert!(joined(&server.walk(&none).await).is_empty());
    server.stop().await;
}

async fn most_bytes(server: &Server) -> usize {
    let mut client = ServerServiceClient::new(server.channel.clone());
    let info = client.get_server_info(GetServerInfoRequest {}).await;
    let limits = info.unwrap().into_inner().limits.unwrap();
    usize::try_from(limits.max_response_bytes).unwrap()
}

#[tokio::test]
async fn a_page_of_long_lines_closes_early_and_is_no_message_over_the_limit() {
    let sim = engine();
    let web = sim.container("web").run();
    let mut lengths = vec![
        1_048_576, 2_000_000, 1_048_576, 500_000, 600_000, 10, 1_048_576,
    ];
    lengths.extend([50_000; 40]);
    for (n, length) in lengths.iter().enumerate() {
        web.stdout(format!("{n:03} {}\n", "l".repeat(length - 4)));
    }
    let server = Server::start(&sim).await;
    let most = most_bytes(&server).await;
    let pages = server.walk(&paged("web", 1_000)).await;
    let sizes: Vec<_> = pages.iter().map(Message::encoded_len).collect();
    assert!(sizes.iter().all(|size| *size <= most), "{sizes:?}");
    assert!(pages.len() >= 6 && pages.len() < 12, "{sizes:?}");
    assert!(pages.iter().all(|page| !page.entries.is_empty()));
    let all = joined(&pages);
    let starts: Vec<_> = all
        .iter()
        .map(|entry| text(entry)[..3].to_owned())
        .collect();
    let want: Vec<_> = (0..47).map(|n| format!("{n:03}")).collect();
    assert_eq!(starts, want);
    assert_eq!(all[1].truncated_bytes, 2_000_000 - 1_048_576);
    server.stop().await;
}

/// Tails that the engine was asked for since the last call of this.
pub(crate) fn tails(sim: &Sim, before: &mut usize) -> Vec<String> {
    let requests = sim.requests();
    let new = &requests[*before..];
    *before = requests.len();
    let tail = |target: &str| {
        let since = target.replace("since=0&", "");
        assert!(!since.contains("since="), "{target}");
        let (_, tail) = target.split_once("tail=")?;
        tail.split('&').next().map(str::to_owned)
    };
    new.iter().filter_map(|r| tail(&r.target)).collect()
}

#[tokio::test]
async fn a_page_costs_one_tail_as_long_as_its_distance_from_the_end() {
    let sim = engine();
    let web = sim.container("web").run();
    let now = sim.now();
    for n in 0..20_000 {
        let stream = match n % 1_000 {
            995 => pulsetail_sim::Stream::Stderr,
            _ => pulsetail_sim::Stream::Stdout,
        };
        let time = now - (20_000 - n) * SECOND;
        web.record(stream, time, format!("{n}\n"));
    }
    let server = Server::start(&sim).await;
    let mut asked = sim.requests().len();
    let request = paged("web", 100);
    let mut page = server.page(&request).await;
    let mut distance = 0;
    for _ in 0..20 {
        let tails = tails(&sim, &mut asked);
        assert_eq!(tails.len(), 1, "{tails:?}");
        let tail: usize = tails[0].parse().expect("never the whole log");
        assert!(tail <= distance + 200, "{tail} at {distance}");
        distance += page.entries.len();
        assert_eq!(distance % 100, 0);
        page = server.page(&before(&request, &page)).await;
    }
    server.stop().await;
}
