//! Pages of real logs: together they are the log, and a page near the end costs a short tail.

use pulsetail::proto::{
    ListLogEntriesRequest, ListLogEntriesResponse, LogEntry, StreamLogsRequest,
    stream_logs_request::Start,
};
use tokio::task::block_in_place;

use crate::engine::{Dockerd, RunOptions};
use crate::kind::Kind;
use crate::server::{Server, entries, events, line, request};

/// Short lines on both streams, some of several parts, and an end in the middle of a line.
const WRITER: &str = "n=0; while [ $n -lt 200 ]; do echo out $n; echo err $n >&2; \
                      case $n in *7) head -c 40000 /dev/zero | tr '\\0' a; echo;; esac; \
                      n=$((n+1)); done; printf 'last words'";
const CASES: [(&str, &str, bool); 3] = [
    ("pages-json", "json-file", false),
    ("pages-local", "local", false),
    ("pages-tty", "json-file", true),
];

fn paged(name: &str, page_size: u32) -> ListLogEntriesRequest {
    ListLogEntriesRequest {
        container: name.to_owned(),
        page_size,
        ..ListLogEntriesRequest::default()
    }
}

/// A page; `grow` runs before each one but the first.
async fn walk(
    server: &Server,
    mut asked: ListLogEntriesRequest,
    grow: impl Fn(),
) -> Vec<ListLogEntriesResponse> {
    let mut client = server.client().await;
    let mut pages = Vec::new();
    loop {
        let page = client.list_log_entries(asked.clone()).await.unwrap();
        let page = page.into_inner();
        assert!(page.gaps.is_empty(), "{:?}", page.gaps);
        asked.page_token.clone_from(&page.next_page_token);
        pages.push(page);
        if asked.page_token.is_empty() {
            return pages;
        }
        grow();
    }
}

fn joined(pages: &[ListLogEntriesResponse]) -> Vec<LogEntry> {
    let entries = pages.iter().rev().flat_map(|page| &page.entries);
    entries.cloned().collect()
}

/// What the server streams of a log.
async fn streamed(server: &Server, request: StreamLogsRequest, name: &str) -> Vec<Vec<u8>> {
    let received = events(server.stream(request).await).await;
    entries(&received, name).into_iter().map(|e| e.1).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_any_size_are_the_log_that_a_stream_reads() {
    for engine in Kind::present().filter_map(Dockerd::shared) {
        let server = Server::start(engine, &[]).await;
        for (name, driver, tty) in CASES {
            let options = RunOptions {
                driver: Some(driver),
                tty,
                ..RunOptions::default()
            };
            block_in_place(|| {
                engine.run(name, &options, WRITER);
                engine.wait(name);
            });
            let all = request(&[name], Some(Start::FromBeginning(true)), false);
            let whole = streamed(&server, all, name).await;
            assert!(whole.len() > 400 && whole.last().unwrap() == b"last words");
            for size in [1_000, 60, 7] {
                let pages = walk(&server, paged(name, size), || {}).await;
                let listed: Vec<_> = joined(&pages).iter().map(|e| line(e).to_vec()).collect();
                let what = format!("{name} on {:?}, pages of {size}", engine.kind());
                assert!(listed == whole, "{what}: {} lines", listed.len());
            }
            block_in_place(|| engine.remove(name));
        }
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_grows_and_rotates_between_pages_moves_none_of_them() {
    for engine in Kind::present().filter_map(Dockerd::shared) {
        let server = Server::start(engine, &[]).await;
        let options = RunOptions {
            driver: Some("json-file"),
            max_size: Some("100k"),
            max_file: Some(5),
            ..RunOptions::default()
        };
        let script = "seq 2000; touch /full; while :; do \
                      if [ -e /more ]; then rm /more; seq 100001 100100; touch /done; \
                      fi; usleep 1000; done";
        let id = block_in_place(|| engine.run("pages-grow", &options, script));
        let more = || {
            block_in_place(|| {
                let more = "touch /more; while [ ! -e /done ]; do usleep 1000; done; \
                            rm /done";
                engine.exec_wait("pages-grow", more);
            });
        };
        block_in_place(|| {
            let full = "while [ ! -e /full ]; do usleep 1000; done";
            engine.exec_wait("pages-grow", full);
        });
        let known = streamed(&server, request(&["pages-grow"], None, false), "pages-grow").await;
        let logs = format!("/containers/{id}/logs");
        let before = server.requests(&logs);
        let pages = walk(&server, paged("pages-grow", 150), more).await;
        let asked = server.requests(&logs) - before;
        let listed: Vec<_> = joined(&pages).iter().map(|e| line(e).to_vec()).collect();
        assert!(listed == known, "{} lines of {}", listed.len(), known.len());
        println!(
            "{:?}: {} pages of 150 on a log that grows by 100 between them took {asked} tails",
            engine.kind(),
            pages.len()
        );
        let resumed = StreamLogsRequest {
            cursors: vec![pages[0].cursor.clone()],
            ..StreamLogsRequest::default()
        };
        let later = streamed(&server, resumed, "pages-grow").await;
        let more = (1..pages.len()).flat_map(|_| 100_001..=100_100);
        let more: Vec<_> = more.map(|n: u32| n.to_string().into_bytes()).collect();
        assert!(later == more, "{} lines of {}", later.len(), more.len());
        block_in_place(|| engine.remove("pages-grow"));
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_newest_pages_of_a_long_log_are_one_short_tail_each() {
    for engine in Kind::present().filter_map(Dockerd::shared) {
        let server = Server::start(engine, &[]).await;
        let options = RunOptions {
            driver: Some("json-file"),
            ..RunOptions::default()
        };
        let id = block_in_place(|| {
            let id = engine.run("pages-long", &options, "seq 300000");
            engine.wait("pages-long");
            id
        });
        // The server has to know of it first.
        let last = request(&["pages-long"], Some(Start::TailLines(1)), false);
        streamed(&server, last, "pages-long").await;
        let logs = format!("/containers/{id}/logs");
        let (before, whole) = (server.requests(&logs), "tail=all");
        let begun = std::time::Instant::now();
        let mut client = server.client().await;
        let mut asked = paged("pages-long", 100);
        for page in 0..10 {
            let answer = client.list_log_entries(asked.clone()).await.unwrap();
            let answer = answer.into_inner();
            let newest = (300_000 - page * 100).to_string().into_bytes();
            assert_eq!(line(&answer.entries[99]), newest);
            asked.page_token = answer.next_page_token;
        }
        println!(
            "{:?}: 10 pages near the end of 300,000 lines took {} tails and {:?}",
            engine.kind(),
            server.requests(&logs) - before,
            begun.elapsed()
        );
        assert_eq!(server.requests(&logs) - before, 10);
        assert_eq!(server.requests(whole), 0);
        block_in_place(|| engine.remove("pages-long"));
        server.stop().await;
    }
}
