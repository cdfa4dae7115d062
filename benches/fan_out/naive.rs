//! A plain server: bollard as it comes on a runtime of several threads, a broadcast channel, prost for each subscriber,
//! a message for each line. It serves the same contract as far as a follower of one container needs it.

use std::collections::HashMap;
use std::path::Path;
use std::pin::Pin;
use std::sync::Mutex;
use std::time::UNIX_EPOCH;

use bollard::Docker;
use bollard::container::LogOutput;
use futures_util::{Stream, StreamExt, stream};
use pulsetail::proto::log_service_server::{LogService, LogServiceServer};
use pulsetail::proto::stream_logs_response::Event;
use pulsetail::proto::{
    self, CaughtUp, LogBatch, LogEntry, StreamLogsRequest, StreamLogsResponse, log_entry,
};
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio_stream::wrappers::{BroadcastStream, TcpListenerStream};
use tonic::{Request, Response, Status};

use crate::plain;

/// Lines that a slow subscriber may be behind; then it loses some.
const BEHIND: usize = 16 * 1024;

type Messages = Pin<Box<dyn Stream<Item = Result<StreamLogsResponse, Status>> + Send>>;

struct Plain {
    docker: Docker,
    /// Of each container, if they are shared.
    shared: Option<Mutex<HashMap<String, broadcast::Sender<LogEntry>>>>,
}

/// Serves for ever, and prints where.
pub(crate) fn serve(engine: &Path, shared: bool) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let plain = Plain {
            docker: plain::docker(engine),
            shared: shared.then(Mutex::default),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("gRPC {}", listener.local_addr().unwrap());
        let incoming = TcpListenerStream::new(listener).map(|tcp| {
            let tcp = tcp?;
            tcp.set_nodelay(true).map(|()| tcp)
        });
        let server = tonic::transport::Server::builder().add_service(LogServiceServer::new(plain));
        server.serve_with_incoming(incoming).await.unwrap();
    });
}

#[tonic::async_trait]
impl LogService for Plain {
    type StreamLogsStream = Messages;

    async fn stream_logs(
        &self,
        request: Request<StreamLogsRequest>,
    ) -> Result<Response<Messages>, Status> {
        let names = request.into_inner().selector.unwrap_or_default().names;
        let members = names.iter().map(|name| self.entries(name));
        let caught_up = stream::iter([Event::CaughtUp(CaughtUp::default())]);
        let events = caught_up.chain(stream::select_all(members).map(of_one));
        let messages = events.map(|event| Ok(StreamLogsResponse { event: Some(event) }));
        Ok(Response::new(messages.boxed()))
    }

    async fn list_log_entries(
        &self,
        _request: Request<proto::ListLogEntriesRequest>,
    ) -> Result<Response<proto::ListLogEntriesResponse>, Status> {
        Err(Status::unimplemented("not needed here"))
    }
}

impl Plain {
    fn entries(&self, name: &str) -> Pin<Box<dyn Stream<Item = LogEntry> + Send>> {
        let Some(shared) = &self.shared else {
            return plain::follow(&self.docker, name, "0")
                .map(|line| entry(&line))
                .boxed();
        };
        let mut shared = shared.lock().unwrap();
        let sender = shared.entry(name.to_owned()).or_insert_with(|| {
            let (sender, _) = broadcast::channel(BEHIND);
            let (lines, feed) = (plain::follow(&self.docker, name, "0"), sender.clone());
            tokio::spawn(lines.for_each(move |line| {
                // Nobody may be there to take it.
                drop(feed.send(entry(&line)));
                std::future::ready(())
            }));
            sender
        });
        BroadcastStream::new(sender.subscribe())
            .filter_map(async |entry| entry.ok())
            .boxed()
    }
}

fn entry(output: &LogOutput) -> LogEntry {
    let text = String::from_utf8_lossy(output.as_ref()).into_owned();
    let (stamp, line) = text.split_once(' ').unwrap_or_default();
    let time = humantime::parse_rfc3339(stamp).unwrap_or(UNIX_EPOCH);
    LogEntry {
        time: Some(time.into()),
        stream: proto::Stream::Stdout.into(),
        line: Some(log_entry::Line::Text(line.trim_end().to_owned())),
        ..LogEntry::default()
    }
}

fn of_one(entry: LogEntry) -> Event {
    Event::Batch(LogBatch {
        entries: vec![entry],
        ..LogBatch::default()
    })
}
