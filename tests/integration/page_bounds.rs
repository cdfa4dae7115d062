//! What bounds the pages of `ListLogEntries`: times, streams, bytes, and the engine's cost.

use std::time::Duration;

use prost::Message;
use pulsetail::proto::server_service_client::ServerServiceClient;
use pulsetail::proto::{GetServerInfoRequest, ListLogEntriesRequest, Stream};
use pulsetail_sim::Sim;

use crate::harness::{Server, engine, instant};
use crate::pages::{before, joined, lines, paged};
use crate::requests::is_probe;
use crate::subscriber::{lines_of, text};

const SECOND: Duration = Duration::from_secs(1);

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
    let new = new.iter().filter(|r| !is_probe(&r.target));
    new.filter_map(|r| tail(&r.target)).collect()
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
