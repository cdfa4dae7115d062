//! Clients of one container's log: a fast one, and one that stops reading for a while.

use std::time::Duration;

use futures_util::StreamExt;
use pulsetail::docker::{Connector, ContainerId, Engine, Stream, Tail};
use pulsetail::proto::stream_logs_request::Start;
use pulsetail::proto::stream_logs_response::Event;
use pulsetail::proto::{self, StreamLogsResponse};
use tokio::time::{sleep, timeout};
use tonic::Streaming;

use crate::engine::Dockerd;
use crate::server::{Server, narrow_stream, request};
use crate::truth::{History, Key};
use crate::writer::{Script, number};

/// How a client reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    Fast,
    /// Stops behind the first entries, for less than the server's write deadline.
    Slow,
}

/// How long a slow client reads nothing: long enough for a writer to fill the ring.
pub(crate) const PAUSE: Duration = Duration::from_secs(11);

/// A stream that has not ended by then never will.
const DEADLINE: Duration = Duration::from_secs(150);

/// A subscription to one container's log.
pub(crate) struct Client {
    stream: Streaming<StreamLogsResponse>,
    pub(crate) history: History,
    pace: Pace,
    deadline: Duration,
}

impl Client {
    /// All of a container's log up to its exit; what is stored is delivered when this returns.
    pub(crate) async fn open(server: &Server, name: &str, script: Script, pace: Pace) -> Self {
        let asked = until_exit(name);
        let client = Self::of(server.address(), asked, History::new(script)).await;
        client.paced(pace).caught_up().await
    }

    /// The same client at another pace.
    pub(crate) fn paced(self, pace: Pace) -> Self {
        Self { pace, ..self }
    }

    /// Reads up to what is live.
    pub(crate) async fn caught_up(mut self) -> Self {
        while !matches!(self.next().await, Some(Event::CaughtUp(_))) {}
        self
    }

    /// Goes on with a history from its last cursor, if it has one.
    pub(crate) async fn of(
        address: &str,
        mut request: proto::StreamLogsRequest,
        history: History,
    ) -> Self {
        request.cursors.extend(history.cursor.clone());
        Self {
            stream: narrow_stream(address, request).await,
            history,
            pace: Pace::Fast,
            deadline: DEADLINE,
        }
    }

    /// The same client with more time to come to the end.
    pub(crate) fn patient(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// Reads to the end, which must be OK; a stream that does not come to it is told apart by `ended`.
    pub(crate) async fn finish(mut self) -> History {
        let ended = timeout(self.deadline, self.read()).await;
        self.history.ended = ended.is_ok();
        self.history
    }

    async fn read(&mut self) {
        while self.next().await.is_some() {
            if self.pace == Pace::Slow && self.history.len() > 0 {
                sleep(PAUSE).await;
                self.pace = Pace::Fast;
            }
        }
    }

    /// Reads until so many entries have come in all; false: the stream ended before.
    pub(crate) async fn read_until(&mut self, entries: usize) -> bool {
        while self.history.len() < entries {
            let next = timeout(DEADLINE, self.next()).await;
            if next.expect("lines go on").is_none() {
                return false;
            }
        }
        true
    }

    /// The next progress.
    pub(crate) async fn progress(&mut self) -> proto::Progress {
        loop {
            let next = timeout(DEADLINE, self.next()).await;
            match next.expect("progress comes every 10 s") {
                Some(Event::Progress(progress)) => return progress,
                Some(_) => (),
                None => panic!("the stream ended"),
            }
        }
    }

    /// The next event; `None`: the stream ended, with OK.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        loop {
            let event = self.stream.message().await.unwrap()?.event;
            if let Some(event) = event {
                self.history.push(&event);
                return Some(event);
            }
        }
    }
}

/// A request for all of a container's log up to its exit.
pub(crate) fn until_exit(name: &str) -> proto::StreamLogsRequest {
    let mut asked = request(&[name], Some(Start::FromBeginning(true)), true);
    asked.until_exit = true;
    asked
}

/// The numbered lines that the engine holds, in the order of its log.
pub(crate) async fn stored(engine: &Dockerd, id: &str) -> Vec<Key> {
    let client = Engine::new(Connector::Unix(engine.socket())).unwrap();
    client.identify().await.unwrap();
    let records = client.snapshot(&ContainerId::parse(id).unwrap(), false, Tail::All);
    let key = |record: pulsetail::docker::Record| {
        let (stream, number) = number(&record.payload).expect("a writer's line");
        let source = match record.stream {
            Stream::Stderr => proto::Stream::Stderr,
            Stream::Stdout | Stream::Tty => proto::Stream::Stdout,
        };
        assert_eq!(source, stream);
        (stream, number)
    };
    let records = records.map(|record| key(record.unwrap()));
    records.collect().await
}
