//! `ListLogEntries` serves what is stored, newest page first, each line on one page.

use std::time::Duration;

use pulsetail::proto::{
    ListLogEntriesRequest, ListLogEntriesResponse, LogEntry, StreamLogsRequest,
};
use pulsetail_sim::{Driver, Engine};
use tonic::Status;

use crate::harness::{Server, engine, engine_of, followed, stored, within, write};
use crate::subscriber::{Line, line, lines_of, text};

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
        assert!(rest.gaps().is_empty(), "{:?}", rest.gaps());
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

pub(crate) fn lines(entries: &[LogEntry]) -> Vec<Line> {
    entries.iter().map(line).collect()
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

#[tokio::test]
async fn the_newest_page_comes_first_and_reads_downwards() {
    let sim = engine();
    let web = sim.container("web").run();
    write(&web, 0..10);
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
    write(&web, 0..200);
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
    write(&web, 0..2_500);
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
        web.record(stream, now + (n / 2) * Duration::from_millis(1), "again\n");
    }
    let server = Server::start(&sim).await;
    assert_pages_are_the_log(&server, "web", &[1, 4, 99]).await;
    server.stop().await;
}

#[tokio::test]
async fn what_is_written_between_pages_moves_none_of_them() {
    let sim = engine();
    let web = sim.container("web").run();
    write(&web, 0..500);
    let server = Server::start(&sim).await;
    let whole = lines_of(&web);
    let request = paged("web", 30);
    let mut pages = vec![server.page(&request).await];
    for growth in [0, 1, 40, 500, 3_000].into_iter().cycle() {
        write(&web, 0..growth);
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
    write(&web, 0..50);
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
    write(&web, 50..80);
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
    write(&web, 0..3);
    assert_eq!(server.rest(&first.cursor).await, lines_of(&web));
    server.stop().await;
}

#[tokio::test]
async fn the_cursor_of_a_later_page_resumes_behind_that_page() {
    let sim = engine();
    let web = sim.container("web").run();
    write(&web, 0..90);
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
    write(&job, 0..5);
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
async fn a_line_open_at_a_cursor_is_whole_although_its_log_begins_with_it() {
    let sim = engine();
    let web = sim.container("web").run();
    web.stdout("x".repeat(20_000));
    web.stderr("whole\n");
    let server = Server::start(&sim).await;
    let page = server.page(&paged("web", 10)).await;
    web.stdout("\n");
    // Nothing is ever deleted of such a log.
    let rest = server.rest(&page.cursor).await;
    assert!(rest == lines_of(&web)[1..]);
    server.stop().await;
}
