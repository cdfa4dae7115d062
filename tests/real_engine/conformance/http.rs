//! A plain HTTP client for both kinds of engine: the real one's socket, and the simulated one's pipe.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{HeaderMap, Request};
use hyper_util::rt::TokioIo;
use pulsetail_sim::Sim;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// A body that is silent for so long is taken for one that stalls, which is told apart from one that ends.
const SILENCE: Duration = Duration::from_secs(10);

/// Where an engine listens.
#[derive(Clone)]
pub(crate) enum Address {
    Socket(PathBuf),
    Simulated(Sim),
}

/// How a body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// With its last chunk, or all of its announced length.
    Whole,
    /// The connection broke before that.
    Cut,
    /// Nothing came for a long time.
    Stalled,
}

/// An answer whose body is still to be read.
pub(crate) struct Response {
    status: u16,
    headers: HeaderMap,
    body: Incoming,
    _connection: JoinSet<()>,
}

/// An answer as it was received.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    pub(crate) end: End,
}

impl Address {
    /// Asks on a connection of its own. Returns when the head has come.
    pub(crate) async fn open(&self, target: &str) -> io::Result<Response> {
        match self {
            Self::Socket(path) => open_over(UnixStream::connect(path).await?, target).await,
            Self::Simulated(sim) => open_over(sim.connect()?, target).await,
        }
    }

    /// Asks, and reads the body to its end.
    pub(crate) async fn get(&self, target: &str) -> io::Result<Answer> {
        Ok(self.open(target).await?.whole().await)
    }
}

async fn open_over(
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    target: &str,
) -> io::Result<Response> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(io))
        .await
        .map_err(io::Error::other)?;
    let mut connections = JoinSet::new();
    // How the connection ends is seen in the body.
    connections.spawn(async { drop(connection.await) });
    let request = Request::get(target)
        .header("host", "docker")
        .body(Empty::<Bytes>::new())
        .map_err(io::Error::other)?;
    let response = timeout(SILENCE, sender.send_request(request)).await?;
    let (head, body) = response.map_err(io::Error::other)?.into_parts();
    Ok(Response {
        status: head.status.as_u16(),
        headers: head.headers,
        body,
        _connection: connections,
    })
}

impl Response {
    /// Reads until the body ends.
    pub(crate) async fn whole(self) -> Answer {
        self.until(|_| false).await
    }

    /// Reads until the body ends or satisfies; the end of one that satisfies counts as `Whole`.
    pub(crate) async fn until(mut self, mut satisfied: impl FnMut(&[u8]) -> bool) -> Answer {
        let mut body = Vec::new();
        let end = loop {
            match timeout(SILENCE, self.body.frame()).await {
                Ok(Some(Ok(frame))) => {
                    body.extend_from_slice(&frame.into_data().unwrap_or_default());
                }
                Ok(Some(Err(_))) => break End::Cut,
                Ok(None) => break End::Whole,
                Err(_) => break End::Stalled,
            }
            if satisfied(&body) {
                break End::Whole;
            }
        };
        Answer {
            status: self.status,
            headers: self.headers,
            body,
            end,
        }
    }
}
