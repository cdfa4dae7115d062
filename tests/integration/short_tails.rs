//! A tail that brings fewer records than it was asked for is not the whole log: while files rotate, an engine of API 1.56
//! brings 511 of 512.

use pulsetail::proto::stream_logs_request::Start;
use pulsetail_sim::{Container, Fault, Sim};

use crate::harness::{Server, engine, stored};
use crate::pages::{joined, paged};
use crate::subscriber::text;

const LINES: usize = 2_000;

/// Has stopped, so that nobody looks at its log but who is asked for it. Every tenth line is of stderr, and long.
fn stopped(sim: &Sim) -> Container {
    let web = sim.container("web").run();
    for n in 0..LINES {
        match n % 10 {
            0 => web.stderr(format!("{n} {}\n", "x".repeat(40_000))),
            _ => web.stdout(format!("{n}\n")),
        }
    }
    web.exit(0);
    web
}

/// A tail brings one record less.
fn shortened() -> Fault {
    Fault::skip(1).on_snapshot()
}

#[tokio::test]
async fn a_page_behind_a_short_tail_is_not_the_logs_first() {
    let sim = engine();
    let web = stopped(&sim);
    let server = Server::start(&sim).await;
    let mut request = paged("web", 30);
    request.streams = vec![pulsetail::proto::Stream::Stderr.into()];
    web.fault(shortened());
    let pages = server.walk(&request).await;
    let numbers = joined(&pages);
    let numbers = numbers.iter().map(|entry| text(entry).split(' ').next());
    let expected: Vec<_> = (0..LINES).step_by(10).map(|n| n.to_string()).collect();
    assert!(
        numbers.eq(expected.iter().map(|n| Some(&n[..]))),
        "{} pages",
        pages.len()
    );
    server.stop().await;
}

#[tokio::test]
async fn the_last_lines_in_a_short_tail_are_not_all_there_are() {
    let sim = engine();
    let web = stopped(&sim);
    let server = Server::start(&sim).await;
    web.fault(shortened().sticky());
    // Of 12 records each ten lines: more than are counted on.
    let mut request = stored("web");
    request.start = Some(Start::TailLines(200));
    let read = server.read(request).await;
    assert_eq!(read.all_entries().count(), 200);
    server.stop().await;
}
