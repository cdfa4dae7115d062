//! Followers as clients of the Docker API have them: a `follow` stream, opened again every so often with `since` set to
//! the second of the last line.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bollard::container::LogOutput;
use bollard::query_parameters::LogsOptionsBuilder;
use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker};
use futures_util::StreamExt;
use hyper::header::{HOST, HeaderValue};
use hyper_util::rt::TokioIo;
use prost_types::Timestamp;
use pulsetail::proto::stream_logs_response::Event;
use pulsetail::proto::{LogBatch, LogEntry, Stream, log_entry};
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep, timeout_at};

use crate::client::{PAUSE, Pace};
use crate::truth::History;

/// `2026-01-02T03:04:05.123456789Z` and a space.
const STAMP: usize = 31;
/// How long the first line may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a follower does with a line that is not newer than the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Older {
    /// Takes it: a second comes again with every stream.
    Kept,
    /// Takes it for a repeat; where two streams cross it is none.
    Dropped,
}

pub(crate) struct Follower {
    older: Older,
    docker: Docker,
    id: String,
    lease: Duration,
    pace: Pace,
}

impl Follower {
    pub(crate) fn new(
        socket: PathBuf,
        id: &str,
        lease: Duration,
        pace: Pace,
        older: Older,
    ) -> Self {
        let socket = Arc::new(socket);
        let transport = move |request| send(Arc::clone(&socket), request);
        let docker = Docker::connect_with_custom_transport(
            transport,
            Some("http://docker"),
            120,
            API_DEFAULT_VERSION,
        );
        Self {
            older,
            docker: docker.unwrap(),
            id: id.to_owned(),
            lease,
            pace,
        }
    }

    /// Reads until the container has ended and a last stream brought nothing more; `opened` is awaited beside it.
    /// Tells how many streams it took.
    pub(crate) async fn read(
        mut self,
        mut history: History,
        opened: impl Future<Output = ()>,
    ) -> (History, usize) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let mut last = now.as_nanos();
        opened.await;
        let mut streams = 0;
        loop {
            let running = self.is_running().await;
            streams += 1;
            let ended = self.stream(&mut history, &mut last).await;
            if ended && !running {
                history.ended = true;
                return (history, streams);
            }
        }
    }

    async fn is_running(&self) -> bool {
        let container = self.docker.inspect_container(&self.id, None).await;
        container.unwrap().state.and_then(|state| state.running) == Some(true)
    }

    /// One stream, to its end (true) or for as long as one lasts.
    async fn stream(&mut self, history: &mut History, last: &mut u128) -> bool {
        let options = LogsOptionsBuilder::default()
            .follow(true)
            .stdout(true)
            .stderr(true)
            .timestamps(true)
            .tail("all")
            .since(i32::try_from(*last / 1_000_000_000).unwrap())
            .build();
        let mut records = self.docker.logs(&self.id, Some(options));
        // `since` takes its time: a client that gave up with its lease would never get anything.
        let mut until = Instant::now() + PATIENCE;
        let mut first = true;
        loop {
            let record = match timeout_at(until, records.next()).await {
                Ok(Some(Ok(record))) => record,
                Ok(_) => return true,
                Err(_expired) => return false,
            };
            if std::mem::replace(&mut first, false) {
                until = Instant::now() + self.lease;
            }
            take(record, self.older, history, last);
            if self.pace == Pace::Slow {
                self.pace = Pace::Fast;
                sleep(PAUSE).await;
            }
        }
    }
}

fn take(record: LogOutput, older: Older, history: &mut History, last: &mut u128) {
    let (stream, record) = match record {
        LogOutput::StdOut { message } => (Stream::Stdout, message),
        LogOutput::StdErr { message } => (Stream::Stderr, message),
        // The engine's own words, or a cut frame.
        LogOutput::Console { .. } | LogOutput::StdIn { .. } => return,
    };
    let text = std::str::from_utf8(&record).unwrap();
    let (stamp, line) = text.split_at(STAMP);
    let time: SystemTime = stamp
        .trim_end()
        .parse::<Timestamp>()
        .unwrap()
        .try_into()
        .unwrap();
    let time = time.duration_since(UNIX_EPOCH).unwrap();
    if older == Older::Dropped && time.as_nanos() <= *last {
        return;
    }
    *last = time.as_nanos().max(*last);
    let mut entry = LogEntry {
        time: Some((UNIX_EPOCH + time).into()),
        line: Some(log_entry::Line::Text(line.trim_end().to_owned())),
        ..LogEntry::default()
    };
    entry.set_stream(stream);
    history.push(&Event::Batch(LogBatch {
        entries: vec![entry],
        ..LogBatch::default()
    }));
}

async fn send(
    socket: Arc<PathBuf>,
    mut request: BollardRequest,
) -> Result<hyper::Response<hyper::body::Incoming>, bollard::errors::Error> {
    let path = request.uri().path_and_query().unwrap().as_str();
    let path = path.parse().unwrap();
    *request.uri_mut() = path;
    request
        .headers_mut()
        .insert(HOST, HeaderValue::from_static("docker"));
    let wire = UnixStream::connect(socket.as_path()).await?;
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(wire));
    let (mut sender, connection) = handshake.await?;
    tokio::spawn(connection);
    Ok(sender.send_request(request).await?)
}
