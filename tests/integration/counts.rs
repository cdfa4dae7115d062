//! What does not grow: requests with subscribers, flushes with containers, both with time while nothing happens.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hyper_util::rt::TokioIo;
use pulsetail::proto::log_service_client::LogServiceClient;
use pulsetail_sim::{Endpoint, Request};
use tokio::net::TcpStream;
use tokio::time::sleep;
use tokio_util::io::InspectReader;

use crate::harness::{Server, engine, followed, until, within};
use crate::subscriber::Subscriber;

/// HTTP/2: length, type, flags, stream; and the type of what carries messages.
const FRAME_HEAD: usize = 9;
const DATA: u8 = 0;

/// Finds the frames in what a server sends.
#[derive(Default)]
struct Frames {
    head: Vec<u8>,
    left: usize,
}

impl Frames {
    /// How many more carry messages.
    fn read(&mut self, mut bytes: &[u8]) -> usize {
        let mut data = 0;
        while !bytes.is_empty() {
            if self.left > 0 {
                let skipped = self.left.min(bytes.len());
                self.left -= skipped;
                bytes = &bytes[skipped..];
                continue;
            }
            self.head.push(bytes[0]);
            bytes = &bytes[1..];
            if self.head.len() == FRAME_HEAD {
                let len = self.head[..3]
                    .iter()
                    .fold(0, |len, byte| len << 8 | usize::from(*byte));
                data += usize::from(self.head[3] == DATA && len > 0);
                self.left = len;
                self.head.clear();
            }
        }
        data
    }
}

/// A client of its own, and how many frames with messages have come to it.
async fn counted(
    server: &Server,
) -> (
    LogServiceClient<tonic::transport::Channel>,
    Arc<AtomicUsize>,
) {
    let count = Arc::new(AtomicUsize::new(0));
    let (counted, address) = (Arc::clone(&count), server.address());
    let connector = tower::service_fn(move |_| {
        let (counted, mut frames) = (Arc::clone(&counted), Frames::default());
        async move {
            let tcp = TcpStream::connect(address).await?;
            let count = move |read: &[u8]| {
                counted.fetch_add(frames.read(read), Ordering::Relaxed);
            };
            std::io::Result::Ok(TokioIo::new(InspectReader::new(tcp, count)))
        }
    });
    let endpoint = server.endpoint();
    let channel = within(endpoint.connect_with_connector(connector)).await;
    let channel = channel.expect("it listens");
    (LogServiceClient::new(channel), count)
}

#[tokio::test]
async fn ten_containers_are_flushed_together() {
    let sim = engine();
    let boxes: Vec<_> = (0..10)
        .map(|n| sim.container(format!("box{n}")).run())
        .collect();
    let server = Server::start_with(&sim, &["--rotation=10m"]).await;
    let mut request = followed("box0");
    let selector = request.selector.as_mut().expect("it names one");
    selector.names = (0..10).map(|n| format!("box{n}")).collect();
    request.max_latency = Some(prost_types::Duration {
        seconds: 1,
        nanos: 0,
    });
    let (mut client, frames) = counted(&server).await;
    let stream = within(client.stream_logs(request))
        .await
        .expect("it is served");
    let mut subscriber = Subscriber::opened(stream.into_inner())
        .await
        .expect("it is opened");
    subscriber.caught_up().await;
    let (before, start) = (frames.load(Ordering::Relaxed), Instant::now());
    for n in 0..300 {
        boxes[n % 10].stdout(format!("{n}\n"));
        // Time to be read before the next.
        if n % 10 == 9 {
            sleep(Duration::from_millis(2)).await;
        }
    }
    subscriber.entries(300).await;
    let flushes = frames.load(Ordering::Relaxed) - before;
    // The first at once, the rest once a second, and progress every ten.
    let seconds = usize::try_from(start.elapsed().as_secs()).expect("it is short");
    assert!(
        flushes <= 2 + seconds + seconds / 10,
        "{flushes} flushes in {seconds} s"
    );
    server.stop().await;
}

fn of_logs(requests: &[Request]) -> usize {
    requests
        .iter()
        .filter(|r| r.endpoint == Endpoint::Logs)
        .count()
}

#[tokio::test]
async fn the_engine_does_not_notice_further_subscribers() {
    let sim = engine();
    let web = sim.container("web").run();
    web.stdout("old\n");
    let server = Server::start_with(&sim, &["--rotation=10m"]).await;
    let mut subscribers = vec![server.open(followed("web")).await];
    subscribers[0].caught_up().await;
    until(|| server.leases() == 1).await;
    let one = of_logs(&sim.requests());
    for _ in 0..99 {
        subscribers.push(server.open(followed("web")).await);
    }
    web.stdout("new\n");
    for subscriber in &mut subscribers {
        subscriber.entries(1).await;
    }
    assert_eq!((of_logs(&sim.requests()), server.leases()), (one, 1));
    server.stop().await;
}

#[tokio::test]
async fn containers_that_nobody_reads_cost_no_stream_and_a_probe_a_rotation_at_most() {
    let sim = engine();
    (0..100).for_each(|n| drop(sim.container(format!("box{n}")).run()));
    let server = Server::start_with(&sim, &["--rotation=10m"]).await;
    let pings = || sim.stats().requests(Endpoint::Ping);
    let before = (sim.requests().len(), pings());
    until(|| pings() >= before.1 + 2).await;
    let asked = sim.requests().split_off(before.0);
    let is_probe = |r: &Request| r.target.contains("tail=1&") || r.target.ends_with("tail=1");
    let logs: Vec<_> = asked
        .iter()
        .filter(|r| r.endpoint == Endpoint::Logs)
        .collect();
    assert!(
        logs.len() <= 100 && logs.iter().all(|r| is_probe(r)),
        "{logs:?}"
    );
    assert_eq!(server.leases(), 0);
    // Once after each list, which is taken when events may have been lost.
    let counted = |endpoint| asked.iter().filter(|r| r.endpoint == endpoint).count();
    let (lists, inspections) = (counted(Endpoint::List), counted(Endpoint::Inspect));
    assert!(
        lists <= 1 && inspections <= 100,
        "{lists} lists, {inspections} inspections"
    );
    server.stop().await;
}
