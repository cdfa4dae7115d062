//! bollard as it comes: no transport of ours below it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bollard::container::LogOutput;
use bollard::query_parameters::LogsOptionsBuilder;
use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker};
use futures_util::{Stream, StreamExt};
use hyper::header::{HOST, HeaderValue};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

/// A client of the engine behind a socket.
pub(crate) fn docker(socket: &Path) -> Docker {
    let socket = Arc::new(socket.to_owned());
    let transport = move |request| send(Arc::clone(&socket), request);
    Docker::connect_with_custom_transport(
        transport,
        Some("http://docker"),
        120,
        API_DEFAULT_VERSION,
    )
    .unwrap()
}

/// A container's stamped lines, from its last `tail` on.
pub(crate) fn follow(
    docker: &Docker,
    id: &str,
    tail: &str,
) -> impl Stream<Item = LogOutput> + Send + use<> {
    let options = LogsOptionsBuilder::default()
        .follow(true)
        .stdout(true)
        .stderr(true)
        .timestamps(true)
        .tail(tail)
        .build();
    docker
        .logs(id, Some(options))
        .filter_map(async |line| line.ok())
}

async fn send(
    socket: Arc<PathBuf>,
    mut request: BollardRequest,
) -> Result<hyper::Response<hyper::body::Incoming>, bollard::errors::Error> {
    let path = request.uri().path_and_query().unwrap().as_str();
    *request.uri_mut() = path.parse().unwrap();
    request
        .headers_mut()
        .insert(HOST, HeaderValue::from_static("docker"));
    let wire = UnixStream::connect(socket.as_path()).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(wire)).await?;
    tokio::spawn(connection);
    Ok(sender.send_request(request).await?)
}
