//! What is made once is shared, what travels together is counted, and slow readers of history free their place.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Buf, Bytes};
use hyper_util::rt::TokioIo;
use prost::Message;
use pulsetail::proto::log_service_client::LogServiceClient;
use pulsetail::proto::{
    ClosingReason, OverflowPolicy, StreamLogsRequest, StreamLogsResponse,
    stream_logs_response::Event,
};
use pulsetail_sim::Container;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};
use tokio_util::io::InspectReader;
use tonic::client::Grpc;
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Endpoint;
use tonic::{Code, Status, Streaming};

use crate::harness::{Server, all, engine, followed, stored, within};
use crate::requests::told;
use crate::subscriber::{Subscriber, lines_of};

/// Messages as they came, not decoded.
#[derive(Debug, Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = StreamLogsRequest;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Raw {
    type Item = StreamLogsRequest;
    type Error = Status;

    fn encode(&mut self, item: Self::Item, buf: &mut EncodeBuf<'_>) -> Result<(), Status> {
        item.encode(buf)
            .map_err(|error| Status::internal(error.to_string()))
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        let len = buf.remaining();
        Ok(Some(buf.copy_to_bytes(len)))
    }
}

async fn raw(server: &Server, request: StreamLogsRequest) -> Streaming<Bytes> {
    let mut client = Grpc::new(server.dial());
    within(client.ready()).await.expect("it listens");
    let path = "/pulsetail.v1.LogService/StreamLogs".parse().unwrap();
    let opened = client.server_streaming(tonic::Request::new(request), path, Raw);
    within(opened).await.expect("it is served").into_inner()
}

/// The messages of batches up to the one with this line.
async fn batches(stream: &mut Streaming<Bytes>, last: &str) -> Vec<Bytes> {
    let mut batches = Vec::new();
    loop {
        let message = within(stream.message()).await.unwrap().expect("it goes on");
        let decoded = StreamLogsResponse::decode(message.clone()).unwrap();
        if let Some(Event::Batch(batch)) = decoded.event {
            batches.push(message);
            let texts = batch.entries.iter().map(crate::subscriber::text);
            if texts.last() == Some(last) {
                return batches;
            }
        }
    }
}

#[tokio::test]
async fn two_subscribers_get_the_same_bytes_whatever_they_asked_for() {
    let sim = engine();
    let web = sim.container("web").run();
    web.stdout("old\n");
    let server = Server::start_with(&sim, &["--rotation=10m"]).await;
    let mut other = all("web");
    other.until_exit = true;
    other.max_latency = Some(prost_types::Duration::default());
    let mut first = raw(&server, followed("web")).await;
    let mut second = raw(&server, other).await;
    assert_eq!(batches(&mut second, "old").await.len(), 1);
    for n in 0..500 {
        web.stdout(format!("{n} {}\n", "x".repeat(n)));
    }
    let first = batches(&mut first, &format!("499 {}", "x".repeat(499))).await;
    let second = batches(&mut second, &format!("499 {}", "x".repeat(499))).await;
    assert!(
        first == second,
        "{} and {} batches",
        first.len(),
        second.len()
    );
    server.stop().await;
}

#[tokio::test]
async fn a_hundred_subscribers_cost_the_engine_one_stream() {
    let sim = engine();
    let web = sim.container("web").run();
    let server = Server::start_with(&sim, &["--rotation=10m"]).await;
    let mut subscribers = Vec::new();
    for _ in 0..100 {
        subscribers.push(server.open(followed("web")).await);
    }
    (0..1_000).for_each(|n| web.stdout(format!("{n}\n")));
    for subscriber in &mut subscribers {
        subscriber.entries(1_000).await;
    }
    let expected = lines_of(&web);
    assert!(
        subscribers
            .iter()
            .all(|subscriber| subscriber.lines() == expected)
    );
    assert_eq!(server.leases(), 1);
    within(sim.wait_until(|stats| stats.log_streams == 1)).await;
    server.stop().await;
}

#[tokio::test]
async fn under_load_lines_travel_together() {
    let sim = engine();
    let web = sim.container("web").run();
    let server = Server::start_with(&sim, &["--rotation=10m"]).await;
    let mut request = followed("web");
    request.max_latency = Some(prost_types::Duration {
        seconds: 1,
        nanos: 0,
    });
    let mut subscriber = server.open(request).await;
    subscriber.caught_up().await;
    let start = Instant::now();
    for n in 0..300 {
        web.stdout(format!("{n}\n"));
        // Time to be read before the next.
        if n % 10 == 9 {
            sleep(Duration::from_millis(2)).await;
        }
    }
    subscriber.entries(300).await;
    let batches = subscriber
        .events
        .iter()
        .filter(|e| matches!(e, Event::Batch(_)))
        .count();
    // The first at once, the rest once a second.
    let most = 2 + usize::try_from(start.elapsed().as_secs()).unwrap();
    assert!(batches <= most, "{batches} batches");
    server.stop().await;
}

#[tokio::test]
async fn who_prefers_it_is_closed_and_not_caught_up() {
    let sim = engine();
    let web = sim.container("web").run();
    let server = Server::start_with(&sim, &["--rotation=10m"]).await;
    let mut request = all("web");
    request.overflow_policy = OverflowPolicy::Disconnect.into();
    let mut client = LogServiceClient::new(server.dial());
    let slow = client.stream_logs(request).await.unwrap().into_inner();
    let mut fast = server.open(all("web")).await;
    let pad = "p".repeat(1_000);
    for n in 0..12_000 {
        web.stdout(format!("{n} {pad}\n"));
        if n % 1_000 == 999 {
            fast.entries(n).await;
        }
    }
    let mut slow = Subscriber::opened(slow).await.unwrap();
    let status = slow.end().await.unwrap_err();
    let (code, reason, _) = told(&status);
    assert_eq!((code, &*reason), (Code::ResourceExhausted, "SLOW_CONSUMER"));
    assert_eq!(slow.closing().reason(), ClosingReason::SlowConsumer);
    assert!(slow.lines() == lines_of(&web)[..slow.count], "a seam");
    let mut request = stored("web");
    request.cursors = slow.cursors();
    let rest = server.read(request).await;
    assert_eq!(slow.count + rest.count, 12_000);
    server.stop().await;
}

/// A log larger than all buffers on the way to a client with small windows.
fn fill(big: &Container) {
    let pad = "p".repeat(1_000);
    (0..3_000).for_each(|n| big.stdout(format!("{n} {pad}\n")));
}

#[tokio::test]
async fn readers_of_history_that_take_nothing_are_in_nobodys_way() {
    let sim = engine();
    let web = sim.container("web").run();
    fill(&web);
    let server = Server::start(&sim).await;
    let mut stalled = Vec::new();
    for _ in 0..40 {
        let narrow = server.endpoint().initial_stream_window_size(65_535);
        let mut client = LogServiceClient::new(narrow.connect_lazy());
        let opened = within(client.stream_logs(stored("web"))).await.unwrap();
        stalled.push(opened.into_inner());
    }
    assert_eq!(server.read(stored("web")).await.count, 3_000);
    // None was closed to make room, and none has lost anything.
    let mut first = Subscriber::opened(stalled.remove(0)).await.unwrap();
    first.end().await.expect("it ends with OK");
    assert!(first.lines() == lines_of(&web), "a seam");
    // A drain would wait for them.
    drop(stalled);
    server.stop().await;
}

/// Reads all of a log through a connection that counts; bytes and coding.
async fn counted(server: &Server, accepts: bool) -> (usize, Option<String>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let address = server.address();
    let connector = tower::service_fn(move |_| {
        let counted = Arc::clone(&counted);
        async move {
            let tcp = TcpStream::connect(address).await?;
            let count = move |read: &[u8]| {
                counted.fetch_add(read.len(), Ordering::Relaxed);
            };
            std::io::Result::Ok(TokioIo::new(InspectReader::new(tcp, count)))
        }
    });
    let endpoint = Endpoint::from_static("http://counted");
    let channel = within(endpoint.connect_with_connector(connector))
        .await
        .unwrap();
    let mut client = LogServiceClient::new(channel);
    if accepts {
        client = client.accept_compressed(CompressionEncoding::Gzip);
    }
    let answer = within(client.stream_logs(stored("web"))).await.unwrap();
    let coding = answer
        .metadata()
        .get("grpc-encoding")
        .map(|text| text.to_str().unwrap().to_owned());
    let mut subscriber = Subscriber::opened(answer.into_inner()).await.unwrap();
    subscriber.end().await.unwrap();
    assert_eq!(subscriber.count, 3_000);
    (count.load(Ordering::Relaxed), coding)
}

#[tokio::test]
async fn batches_are_compressed_for_those_who_accept_it_where_it_is_asked_for() {
    let sim = engine();
    let web = sim.container("web").run();
    fill(&web);
    let plain = Server::start(&sim).await;
    let server = Server::start_with(&sim, &["--compression=gzip"]).await;
    for (server, accepts, compressed) in [
        (&plain, true, false),
        (&server, false, false),
        (&server, true, true),
    ] {
        let (bytes, coding) = counted(server, accepts).await;
        assert_eq!(bytes < 1_000_000, compressed, "{bytes}");
        assert_eq!(coding.as_deref() == Some("gzip"), compressed);
    }
    plain.stop().await;
    server.stop().await;
}
