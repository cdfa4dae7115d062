//! Subscribers, and what reached them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use hyper::http::uri::PathAndQuery;
use prost::Message;
use pulsetail::proto::stream_logs_response::Event;
use pulsetail::proto::{Selector, StreamLogsRequest, StreamLogsResponse};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tonic::client::Grpc;
use tonic::codec::CompressionEncoding;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};

use crate::wire::{Raw, times};

/// Delays are counted in steps of 100 µs, up to 10 s.
const STEP: Duration = Duration::from_micros(100);
const STEPS: usize = 100_000;
/// Every so many subscribers one measures delays; the others count lines alone.
const SAMPLED: usize = 10;
/// Subscriptions that are being opened at once.
const OPENING: usize = 8;
/// Streams on a connection: Pulsetail takes no more.
pub(crate) const SHARED: usize = 1_000;

/// What has reached subscribers so far.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) lines: AtomicU64,
    pub(crate) messages: AtomicU64,
    delays: Mutex<Vec<u32>>,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            lines: AtomicU64::new(0),
            messages: AtomicU64::new(0),
            delays: Mutex::new(vec![0; STEPS]),
        }
    }
}

impl Tally {
    pub(crate) fn lines(&self) -> f64 {
        self.lines.load(Ordering::Relaxed) as f64
    }

    pub(crate) fn messages(&self) -> f64 {
        self.messages.load(Ordering::Relaxed) as f64
    }

    /// Forgets the delays so far.
    pub(crate) fn restart(&self) {
        self.delays.lock().unwrap().fill(0);
    }

    pub(crate) fn delay(&self, ns: i64) {
        let step = usize::try_from(ns / i64::try_from(STEP.as_nanos()).unwrap()).unwrap_or(0);
        self.delays.lock().unwrap()[step.min(STEPS - 1)] += 1;
    }

    /// The delay, in ms, that so large a part of the lines did not pass.
    pub(crate) fn quantile(&self, part: f64) -> f64 {
        let delays = self.delays.lock().unwrap();
        let all: u64 = delays.iter().map(|count| u64::from(*count)).sum();
        let mut left = all as f64 * part;
        let place = delays.iter().position(|count| {
            left -= f64::from(*count);
            left <= 0.0
        });
        (place.unwrap_or(0) + 1) as f64 * STEP.as_secs_f64() * 1e3
    }

    fn take(&self, message: &[u8], sampled: bool) -> bool {
        let Some(times) = times(message) else {
            return false;
        };
        self.messages.fetch_add(1, Ordering::Relaxed);
        let now = sampled.then(now);
        let lines = times.map(|time| {
            if let Some(now) = now {
                self.delay(now - time);
            }
        });
        self.lines
            .fetch_add(lines.count() as u64, Ordering::Relaxed);
        true
    }
}

pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_nanos()).unwrap()
}

/// Subscribers that read until this is dropped.
pub(crate) struct Crowd {
    pub(crate) tally: Arc<Tally>,
    tasks: Vec<JoinHandle<()>>,
    _channels: Vec<Channel>,
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Follows these containers from now on.
pub(crate) fn followed(names: &[String]) -> StreamLogsRequest {
    StreamLogsRequest {
        selector: Some(Selector {
            names: names.to_vec(),
            ..Selector::default()
        }),
        follow: true,
        ..StreamLogsRequest::default()
    }
}

impl Crowd {
    /// So many subscribers that read what is asked for; all are live when this returns.
    pub(crate) async fn open(
        address: &str,
        count: usize,
        streams: usize,
        asked: &StreamLogsRequest,
    ) -> Self {
        let mut channels = Vec::new();
        for _ in 0..count.div_ceil(streams) {
            channels.push(dial(address).await);
        }
        let opening =
            (0..count).map(|place| opened(channels[place / streams].clone(), asked.clone()));
        // A few at a time: what opening takes at most is not what a subscription takes.
        let streams: Vec<_> = stream::iter(opening).buffered(OPENING).collect().await;
        let tally = Arc::new(Tally::default());
        let reading = streams.into_iter().enumerate().map(|(place, stream)| {
            let tally = Arc::clone(&tally);
            tokio::spawn(read(stream, tally, place % SAMPLED == 0))
        });
        Self {
            tasks: reading.collect(),
            tally,
            _channels: channels,
        }
    }

    /// Waits until so many lines have come, at most for so long; whether they have.
    pub(crate) async fn until(&self, lines: f64, most: Duration) -> bool {
        let come = async {
            while self.tally.lines() < lines {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(most, come).await.is_ok()
    }
}

async fn dial(address: &str) -> Channel {
    let endpoint = Endpoint::from_shared(address.to_owned()).unwrap();
    endpoint.connect().await.unwrap()
}

/// Opens a stream.
pub(crate) async fn call(
    channel: Channel,
    asked: StreamLogsRequest,
    accepted: Option<CompressionEncoding>,
) -> Result<Streaming<Bytes>, Status> {
    let path = PathAndQuery::from_static("/pulsetail.v1.LogService/StreamLogs");
    let mut client = Grpc::new(channel).max_decoding_message_size(usize::MAX);
    if let Some(encoding) = accepted {
        client = client.accept_compressed(encoding);
    }
    client
        .ready()
        .await
        .map_err(|error| Status::unavailable(error.to_string()))?;
    let answer = client
        .server_streaming(tonic::Request::new(asked), path, Raw)
        .await?;
    Ok(answer.into_inner())
}

/// A stream that is live. A server that has just begun may not know the containers yet.
pub(crate) async fn opened(channel: Channel, asked: StreamLogsRequest) -> Streaming<Bytes> {
    for _ in 0..1_500 {
        let Ok(mut stream) = call(channel.clone(), asked.clone(), None).await else {
            sleep(Duration::from_millis(20)).await;
            continue;
        };
        while let Some(message) = stream.message().await.unwrap() {
            let message = StreamLogsResponse::decode(message).unwrap();
            if matches!(message.event, Some(Event::CaughtUp(_))) {
                return stream;
            }
        }
    }
    panic!("not served");
}

async fn read(mut stream: Streaming<Bytes>, tally: Arc<Tally>, sampled: bool) {
    while let Ok(Some(message)) = stream.message().await {
        tally.take(&message, sampled);
    }
}
