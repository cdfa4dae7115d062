//! What a filter leaves out stays out, what passes comes whole, and cursors move all the same.

use pulsetail::proto::{Level, LogFilter, OverflowPolicy, Stream, stream_logs_request::Start};
use pulsetail_sim::Container;
use tonic::Code;

use crate::harness::{Server, all, engine, followed, stored};
use crate::pages::paged;
use crate::requests::{refusal, told};
use crate::subscriber::{line, lines_of};

fn contains(text: &str) -> Option<LogFilter> {
    Some(LogFilter {
        contains: text.to_owned(),
        ..LogFilter::default()
    })
}

fn at_least(level: Level) -> Option<LogFilter> {
    Some(LogFilter {
        min_level: level.into(),
        ..LogFilter::default()
    })
}

/// Lines of both streams with and without levels.
fn requests(web: &Container, count: usize) {
    for n in 0..count {
        match n % 4 {
            0 => web.stdout(format!("INFO GET /{n} 200\n")),
            1 => web.stdout(format!("  at shop.Cart.line{n}\n")),
            2 => web.stderr(format!(r#"{{"level":"error","n":{n}}}"#) + "\n"),
            _ => web.stdout(format!("level=warn GET /{n} 500\n")),
        }
    }
}

/// What passes, by the words of the contract.
fn expected(web: &Container, passes: impl Fn(&str) -> bool) -> Vec<Vec<u8>> {
    let lines = lines_of(web).into_iter().map(|line| line.bytes);
    lines
        .filter(|b| passes(&String::from_utf8_lossy(b)))
        .collect()
}

#[tokio::test]
async fn history_and_live_lines_pass_by_the_same_rule() {
    let sim = engine();
    let web = sim.container("web").run();
    requests(&web, 2_000);
    let server = Server::start_with(&sim, &["--rotation=10m"]).await;
    let filters = [
        (contains("/1"), ["GET /1", "\u{0}"]),
        (
            Some(LogFilter {
                regex: "get .* 5..$".to_owned(),
                ignore_case: true,
                ..LogFilter::default()
            }),
            [" 500", "\u{0}"],
        ),
        // A line without a level has that of the line before.
        (at_least(Level::Error), ["error", "\u{0}"]),
    ];
    let mut subscribers = Vec::new();
    for (filter, _) in &filters {
        let filter = filter.clone();
        subscribers.push(
            server
                .open(pulsetail::proto::StreamLogsRequest {
                    filter,
                    ..all("web")
                })
                .await,
        );
    }
    for subscriber in &mut subscribers {
        subscriber.caught_up().await;
    }
    requests(&web, 2_000);
    for (subscriber, (_, words)) in subscribers.iter_mut().zip(&filters) {
        let expected = expected(&web, |line| words.iter().any(|word| line.contains(word)));
        assert!(expected.len() > 100);
        subscriber.entries(expected.len()).await;
        let lines: Vec<_> = subscriber
            .lines()
            .into_iter()
            .map(|line| line.bytes)
            .collect();
        assert!(lines == expected, "{words:?}");
    }
    assert_eq!(
        server.leases(),
        1,
        "a filter is no reason for another stream"
    );
    server.stop().await;
}

#[tokio::test]
async fn last_lines_are_counted_before_the_filter() {
    let sim = engine();
    let web = sim.container("web").run();
    (0..10).for_each(|n| web.stdout(format!("{n} {}\n", if n % 2 == 0 { "even" } else { "odd" })));
    let server = Server::start(&sim).await;
    let mut request = stored("web");
    request.start = Some(Start::TailLines(4));
    request.filter = contains("odd");
    let read = server.read(request).await;
    assert_eq!(read.texts(), ["7 odd", "9 odd"]);
    server.stop().await;
}

#[tokio::test]
async fn what_is_left_out_moves_cursors_and_counts_nowhere() {
    let sim = engine();
    let web = sim.container("web").run();
    requests(&web, 100);
    let server = Server::start(&sim).await;
    let mut request = stored("web");
    request.filter = contains("nothing has this");
    let read = server.read(request.clone()).await;
    assert_eq!((read.count, read.texts().len()), (0, 0));
    let progress = read.closing().progress.clone().unwrap();
    assert_eq!((progress.positions.len(), progress.entries_sent), (1, 0));
    request.filter = None;
    request.cursors = read.cursors();
    assert_eq!(server.read(request.clone()).await.count, 0);
    web.stdout("after\n");
    assert_eq!(server.read(request).await.texts(), ["after"]);
    server.stop().await;
}

#[tokio::test]
async fn pages_are_filtered_and_leave_nothing_out() {
    let sim = engine();
    let web = sim.container("web").run();
    requests(&web, 3_000);
    let server = Server::start(&sim).await;
    for (filter, word) in [
        (contains(" 500"), " 500"),
        (at_least(Level::Error), "error"),
    ] {
        let mut request = paged("web", 100);
        request.filter = filter.clone();
        let mut pages = server.walk(&request).await;
        pages.reverse();
        let lines: Vec<_> = pages
            .iter()
            .flat_map(|p| &p.entries)
            .map(|e| line(e).bytes)
            .collect();
        assert!(
            lines == expected(&web, |line| line.contains(word)),
            "{word}"
        );
        assert_eq!(pages.last().unwrap().entries.len(), 100);
    }
    let mut request = paged("web", 10);
    request.streams = vec![Stream::Stderr.into()];
    request.filter = contains("GET");
    let pages = server.walk(&request).await;
    assert!(pages.iter().all(|page| page.entries.is_empty()));
    server.stop().await;
}

#[tokio::test]
async fn what_cannot_be_honoured_is_refused_by_its_field() {
    let sim = engine();
    sim.container("web").run();
    let server = Server::start(&sim).await;
    let filter = |regex: &str| {
        Some(LogFilter {
            regex: regex.to_owned(),
            ..LogFilter::default()
        })
    };
    let latency = |nanos| Some(prost_types::Duration { seconds: 1, nanos });
    let mut regex = stored("web");
    regex.filter = filter("(?=x)");
    let mut long = stored("web");
    long.max_latency = latency(1);
    for (request, reason, field) in [
        (regex, "REGEX_INVALID", "filter.regex"),
        (long, "FIELD_INVALID", "max_latency"),
    ] {
        let status = refusal(&server, request).await;
        let told = told(&status);
        assert_eq!(
            told,
            (Code::InvalidArgument, reason.into(), vec![field.into()])
        );
    }
    let mut page = paged("web", 1);
    page.filter = filter("(");
    let status = server.try_page(&page).await.unwrap_err();
    assert_eq!(told(&status).1, "REGEX_INVALID");
    server.stop().await;
}

#[tokio::test]
async fn what_is_honoured_is_said() {
    let sim = engine();
    sim.container("web").run();
    let server = Server::start(&sim).await;
    let opened = server.open(followed("web")).await;
    let effective = opened.first().effective.clone().unwrap();
    assert_eq!(effective.overflow_policy(), OverflowPolicy::CatchUp);
    assert_eq!(effective.max_latency.unwrap().nanos, 20_000_000);
    let mut request = followed("web");
    request.filter = contains("x");
    request.overflow_policy = OverflowPolicy::Disconnect.into();
    request.max_latency = Some(prost_types::Duration {
        seconds: 1,
        nanos: 0,
    });
    let opened = server.open(request.clone()).await;
    let effective = opened.first().effective.clone().unwrap();
    assert_eq!(effective.filter, request.filter);
    assert_eq!(effective.overflow_policy(), OverflowPolicy::Disconnect);
    assert_eq!(effective.max_latency, request.max_latency);
    server.stop().await;
}
