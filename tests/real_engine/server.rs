//! Pulsetail on a real engine, behind a socket that writes down what it asks for.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clap::Command;
use pulsetail::app::App;
use pulsetail::config;
use pulsetail::docker::Connector;
use pulsetail::grpc::Address;
use pulsetail::proto::log_service_client::LogServiceClient;
use pulsetail::proto::stream_logs_response::Event;
use pulsetail::proto::{self, stream_logs_request::Start};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

use crate::engine::Dockerd;

/// Bytes that a narrow client lets the server send ahead.
const WINDOW: u32 = 65_535;

/// A request that the engine saw.
struct Seen {
    line: String,
    open: bool,
    /// Bytes of the answer so far, its head among them.
    answered: u64,
}

/// A running server. Dropping it stops it.
pub(crate) struct Server {
    address: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<()>,
    _folder: TempDir,
}

impl Server {
    /// A server on `engine` with these flags beside the listeners.
    pub(crate) async fn start(engine: &Dockerd, flags: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        let socket = folder.path().join("engine.sock");
        let seen = Arc::default();
        let listener = UnixListener::bind(&socket).unwrap();
        tokio::spawn(relay(listener, engine.socket(), Arc::clone(&seen)));
        let own = [
            "pulsetail",
            "--listen=127.0.0.1:0",
            "--admin-listen=127.0.0.1:0",
        ];
        let command = Command::new("pulsetail").args(config::args());
        let matches = command.get_matches_from([&own, flags].concat());
        let config = config::load(&matches).unwrap();
        let connector = Connector::Unix(socket);
        let app = App::build(&config, connector, Handle::current())
            .await
            .unwrap();
        let Some(Address::Tcp(address)) = app.addresses().unwrap().pop() else {
            panic!("bound elsewhere");
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let served = tokio::spawn(async move {
            app.run(async { stopped.await.unwrap_or_default() })
                .await
                .unwrap();
        });
        Self {
            address: format!("http://{address}"),
            seen,
            stop: Some(stop),
            served,
            _folder: folder,
        }
    }

    /// A client of its own connection.
    pub(crate) async fn client(&self) -> LogServiceClient<Channel> {
        LogServiceClient::connect(self.address.clone())
            .await
            .unwrap()
    }

    /// Opens a stream, as soon as the engine has been listed and has the containers.
    pub(crate) async fn stream(
        &self,
        request: proto::StreamLogsRequest,
    ) -> tonic::Streaming<proto::StreamLogsResponse> {
        opened(self.client().await, request).await
    }

    /// Why a stream is refused; waits until the engine has been listed and has the containers.
    pub(crate) async fn refusal(&self, request: proto::StreamLogsRequest) -> tonic::Status {
        let mut client = self.client().await;
        for _ in 0..3_000 {
            match client.stream_logs(request.clone()).await {
                Ok(_) => panic!("it is served"),
                Err(status) if is_early(&status) => sleep(Duration::from_millis(20)).await,
                Err(status) => return status,
            }
        }
        panic!("never listed");
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// How many request lines held `text`, so far.
    pub(crate) fn requests(&self, text: &str) -> usize {
        let seen = self.seen.lock().unwrap();
        seen.iter().filter(|seen| seen.line.contains(text)).count()
    }

    /// How many bytes the engine answered them with.
    pub(crate) fn answered(&self, text: &str) -> u64 {
        let seen = self.seen.lock().unwrap();
        let asked = seen.iter().filter(|seen| seen.line.contains(text));
        asked.map(|seen| seen.answered).sum()
    }

    /// How many of them are still being answered.
    pub(crate) fn open(&self, text: &str) -> usize {
        let seen = self.seen.lock().unwrap();
        seen.iter()
            .filter(|seen| seen.open && seen.line.contains(text))
            .count()
    }

    /// Stops the server and waits for its end.
    pub(crate) async fn stop(mut self) {
        drop(self.stop.take());
        (&mut self.served).await.unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.served.abort();
    }
}

/// Whether nothing is known of the engine or of the container yet.
fn is_early(status: &tonic::Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::NotFound)
}

/// Opens a stream, as soon as the engine has been listed and has the containers: a lost event is made up for by the next
/// list, 30 s later.
async fn opened(
    mut client: LogServiceClient<Channel>,
    request: proto::StreamLogsRequest,
) -> tonic::Streaming<proto::StreamLogsResponse> {
    let mut last = None;
    for _ in 0..3_000 {
        match client.stream_logs(request.clone()).await {
            Ok(stream) => return stream.into_inner(),
            Err(status) => last = Some(status),
        }
        sleep(Duration::from_millis(20)).await;
    }
    panic!("not served: {last:?}");
}

/// A stream on a connection of its own that buffers little: a client that does not read is soon felt.
pub(crate) async fn narrow_stream(
    address: &str,
    request: proto::StreamLogsRequest,
) -> tonic::Streaming<proto::StreamLogsResponse> {
    let endpoint = Endpoint::from_shared(address.to_owned()).unwrap();
    let channel = endpoint
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .connect()
        .await
        .unwrap();
    opened(LogServiceClient::new(channel), request).await
}

async fn relay(listener: UnixListener, engine: PathBuf, seen: Arc<Mutex<Vec<Seen>>>) {
    while let Ok((client, _)) = listener.accept().await {
        let (engine, seen) = (engine.clone(), Arc::clone(&seen));
        tokio::spawn(async move { pass(client, &engine, &seen).await });
    }
}

async fn pass(mut client: UnixStream, engine: &Path, seen: &Mutex<Vec<Seen>>) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n") {
        head.push(client.read_u8().await?);
    }
    let line = String::from_utf8_lossy(&head).trim_end().to_owned();
    let place = {
        let mut seen = seen.lock().unwrap();
        seen.push(Seen {
            line,
            open: true,
            answered: 0,
        });
        seen.len() - 1
    };
    let mut engine = UnixStream::connect(engine).await?;
    engine.write_all(&head).await?;
    // Either side may hang up; the engine closes when its answer is not wanted.
    let count = |bytes: usize| seen.lock().unwrap()[place].answered += bytes as u64;
    let copied = copy(&mut client, &mut engine, count).await;
    seen.lock().unwrap()[place].open = false;
    copied
}

/// Passes bytes on until either side hangs up, and tells how many the engine answers with.
async fn copy(
    client: &mut UnixStream,
    engine: &mut UnixStream,
    count: impl Fn(usize),
) -> io::Result<()> {
    let (mut asked, mut answer) = (vec![0; 4 << 10], vec![0; 64 << 10]);
    loop {
        tokio::select! {
            read = client.read(&mut asked) => match read? {
                0 => return Ok(()),
                bytes => engine.write_all(&asked[..bytes]).await?,
            },
            read = engine.read(&mut answer) => match read? {
                0 => return Ok(()),
                bytes => {
                    count(bytes);
                    client.write_all(&answer[..bytes]).await?;
                }
            },
        }
    }
}

/// A request for these containers.
pub(crate) fn request(
    names: &[&str],
    start: Option<Start>,
    follow: bool,
) -> proto::StreamLogsRequest {
    let selector = proto::Selector {
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        ..proto::Selector::default()
    };
    proto::StreamLogsRequest {
        selector: Some(selector),
        follow,
        start,
        ..proto::StreamLogsRequest::default()
    }
}

/// Everything up to the end of a stream, which must be OK.
pub(crate) async fn events(mut stream: tonic::Streaming<proto::StreamLogsResponse>) -> Vec<Event> {
    let mut events = Vec::new();
    while let Some(message) = stream.message().await.unwrap() {
        events.extend(message.event);
    }
    events
}

/// The entries of a container among events.
pub(crate) fn entries_of<'a>(
    events: &'a [Event],
    name: &'a str,
) -> impl Iterator<Item = &'a proto::LogEntry> {
    let batches = events.iter().filter_map(move |event| match event {
        Event::Batch(batch) if batch.container.as_ref().is_some_and(|c| c.name == name) => {
            Some(batch)
        }
        _ => None,
    });
    batches.flat_map(|batch| &batch.entries)
}

/// Their streams and lines.
pub(crate) fn entries(events: &[Event], name: &str) -> Vec<(proto::Stream, Vec<u8>)> {
    entries_of(events, name)
        .map(|entry| (entry.stream(), line(entry).to_vec()))
        .collect()
}

/// An entry's bytes.
pub(crate) fn line(entry: &proto::LogEntry) -> &[u8] {
    match entry.line.as_ref().unwrap() {
        proto::log_entry::Line::Text(text) => text.as_bytes(),
        proto::log_entry::Line::Raw(raw) => raw,
    }
}
