//! One lease feeds every subscriber, and none of them harms another.

use prost_types::{Duration as Ago, Timestamp};
use pulsetail::proto::log_service_client::LogServiceClient;
use pulsetail::proto::{
    ClosingReason, ContainerChangeKind, NoticeKind, stream_logs_request::Start,
};
use pulsetail_sim::{Endpoint, Engine};

use crate::harness::{Server, all, engine, engine_of, followed, stored, until, within};
use crate::subscriber::{Subscriber, lines_of};

#[tokio::test]
async fn any_number_of_subscribers_share_one_lease() {
    let sim = engine();
    let web = sim.container("web").run();
    web.stdout("old\n");
    let server = Server::start_with(&sim, &["--rotation=10m"]).await;
    let mut subscribers = Vec::new();
    for place in 0..10 {
        let request = if place % 2 == 0 {
            all("web")
        } else {
            followed("web")
        };
        subscribers.push(server.open(request).await);
    }
    web.stdout("new\n");
    for (place, subscriber) in subscribers.iter_mut().enumerate() {
        let expected: &[&str] = if place % 2 == 0 {
            &["old", "new"]
        } else {
            &["new"]
        };
        subscriber.entries(expected.len()).await;
        assert_eq!(subscriber.texts(), expected);
    }
    assert_eq!(server.leases(), 1);
    server.stop().await;
}

#[tokio::test]
async fn who_joins_late_gets_history_and_then_what_is_live_without_a_seam() {
    let sim = engine();
    let web = sim.container("web").run();
    let server = Server::start(&sim).await;
    let mut subscribers: Vec<Subscriber> = Vec::new();
    let mut written = 0;
    for _ in 0..8 {
        // Written while it is being opened.
        let writing = until(|| {
            (0..100).for_each(|n| web.stdout(format!("{}\n", written + n)));
            written += 100;
            false
        });
        tokio::select! {
            joined = server.open(all("web")) => subscribers.push(joined),
            () = writing => {}
        }
    }
    for subscriber in &mut subscribers {
        subscriber.entries(written).await;
        assert!(subscriber.lines() == lines_of(&web), "a seam");
        assert!(subscriber.gaps().is_empty());
    }
    server.stop().await;
}

#[tokio::test]
async fn a_subscriber_that_does_not_read_delays_nobody_and_loses_nothing() {
    let sim = engine();
    let web = sim.container("web").run();
    let server = Server::start_with(&sim, &["--rotation=10m"]).await;
    let mut slow_client = LogServiceClient::new(server.dial());
    let slow = slow_client.stream_logs(all("web")).await.unwrap();
    let mut fast = server.open(all("web")).await;
    let pad = "p".repeat(1_000);
    // More than the ring and every buffer on the way hold.
    for n in 0..12_000 {
        web.stdout(format!("{n} {pad}\n"));
        if n % 1_000 == 999 {
            fast.entries(n).await;
        }
    }
    fast.entries(12_000).await;
    let expected = lines_of(&web);
    assert!(fast.lines() == expected, "the fast one missed something");
    let mut slow = Subscriber::opened(slow.into_inner()).await.unwrap();
    slow.entries(12_000).await;
    assert!(slow.lines() == expected, "the slow one missed something");
    assert!(slow.gaps().is_empty(), "{:?}", slow.gaps());
    assert!(
        slow.notices().contains(&NoticeKind::FellBehind),
        "it never fell behind"
    );
    server.stop().await;
}

#[tokio::test]
async fn who_fell_behind_is_told_what_became_of_the_container() {
    let sim = engine();
    let web = sim.container("web").run();
    let server = Server::start_with(&sim, &["--rotation=10m"]).await;
    let mut slow_client = LogServiceClient::new(server.dial());
    let mut request = all("web");
    request.until_exit = true;
    let slow = slow_client.stream_logs(request).await.unwrap();
    let mut fast = server.open(all("web")).await;
    let pad = "p".repeat(1_000);
    // A run that ends inside of what the slow one has lost, and one that ends behind it.
    for n in 0..12_000 {
        web.stdout(format!("{n} {pad}\n"));
        if n % 1_000 == 999 {
            fast.entries(n).await;
        }
        if n == 6_000 {
            web.restart();
            fast.change(ContainerChangeKind::Started).await;
        }
    }
    web.exit(3);
    fast.until(|s| s.changes().len() == 3).await;
    let mut slow = Subscriber::opened(slow.into_inner()).await.unwrap();
    slow.end().await.expect("it ends with its container");
    assert!(slow.notices().contains(&NoticeKind::FellBehind));
    assert_eq!(slow.count, 12_000);
    let changes = slow.changes();
    assert_eq!(changes.last(), Some(&ContainerChangeKind::Exited));
    assert!(changes.len() % 2 == 1, "{changes:?}");
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_reads_late_is_told_the_end_all_the_same() {
    let sim = engine();
    let line = "w".repeat(20_000);
    // At one of these lengths the last message meets buffers that are full.
    for batches in 0..12 {
        let container = sim.container(format!("c{batches}")).run();
        (0..batches * 4).for_each(|_| container.stdout(format!("{line}\n")));
    }
    let server = Server::start(&sim).await;
    for batches in 0..12 {
        let mut client = LogServiceClient::new(server.dial());
        let request = stored(&format!("c{batches}"));
        let unread = client.stream_logs(request).await.unwrap().into_inner();
        within(sim.wait_until(|stats| stats.log_streams == 0)).await;
        let mut subscriber = Subscriber::opened(unread).await.unwrap();
        subscriber.end().await.expect("it ends with OK");
        assert_eq!(subscriber.count, batches * 4);
        assert_eq!(subscriber.closing().reason(), ClosingReason::Completed);
    }
    server.stop().await;
}

async fn read_in_every_way(server: &Server) {
    let time = |seconds| Timestamp { seconds, nanos: 0 };
    let ago = |seconds| Ago { seconds, nanos: 0 };
    let starts = [
        Start::FromBeginning(true),
        Start::TailLines(3),
        Start::Since(time(0)),
        Start::SinceAgo(ago(1)),
    ];
    for start in starts {
        let mut request = stored("web");
        request.start = Some(start);
        request.until = Some(time(1 << 33));
        request.cursors = server.read(request.clone()).await.cursors();
        server.read(request).await;
    }
}

#[tokio::test]
async fn the_engine_is_asked_in_the_version_both_know_and_never_for_since() {
    let engines = [
        (Engine::docker_20_10(), "/v1.41/"),
        (Engine::docker_24(), "/v1.43/"),
        (Engine::current().api(40, 44), "/v1.44/"),
        (Engine::current(), "/v1.51/"),
    ];
    for (release, prefix) in engines {
        let sim = engine_of(release);
        let web = sim.container("web").run();
        (0..500).for_each(|n| web.stdout(format!("{n}\n")));
        let server = Server::start(&sim).await;
        read_in_every_way(&server).await;
        server.open(followed("web")).await.caught_up().await;
        let requests = sim.requests();
        let bare = [Endpoint::Ping, Endpoint::Version];
        for request in requests.iter().filter(|r| !bare.contains(&r.endpoint)) {
            assert!(request.target.starts_with(prefix), "{}", request.target);
            assert_eq!(request.method, "GET");
        }
        let logs: Vec<_> = requests
            .iter()
            .filter(|r| r.endpoint == Endpoint::Logs)
            .collect();
        assert!(logs.len() > 4, "nothing was read");
        for request in logs {
            let query = request.target.split_once('?').unwrap().1;
            // bollard's constants, which the engine takes for unset.
            let rest = query.replace("since=0&", "").replace("until=0&", "");
            assert!(
                !rest.contains("since") && !rest.contains("until"),
                "{query}"
            );
        }
        server.stop().await;
    }
}
