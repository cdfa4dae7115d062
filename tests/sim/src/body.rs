//! Response bodies: a known document, or chunks written by an async function that runs only while the body is read.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::Frame;
use tokio::sync::mpsc;

pub(crate) type Body = Either<Full<Bytes>, Written>;

/// What an error in a body does is to drop the connection with all that is still buffered; so the reader
/// gets this long to take what was sent before.
const LINGER: Duration = Duration::from_millis(1);

/// Why a body ends without its last chunk.
#[derive(Debug)]
pub(crate) struct Torn;

/// A body in the writing. Every chunk becomes one HTTP chunk.
pub(crate) struct Written {
    writer: Option<Writer>,
    chunks: mpsc::Receiver<Bytes>,
    /// What was written before anybody read.
    first: Option<io::Result<Frame<Bytes>>>,
}

type Writer = Pin<Box<dyn Future<Output = Result<(), Torn>> + Send>>;

/// Where the writer puts its chunks.
pub(crate) struct Chunks(mpsc::Sender<Bytes>);

impl Written {
    pub(crate) fn by<W>(write: impl FnOnce(Chunks) -> W) -> Self
    where
        W: Future<Output = Result<(), Torn>> + Send + 'static,
    {
        // One chunk at a time: a slow reader holds the writer up.
        let (sender, chunks) = mpsc::channel(1);
        Self {
            writer: Some(Box::pin(write(Chunks(sender)))),
            chunks,
            first: None,
        }
    }

    /// Writes until there is something to read, or nothing will come.
    pub(crate) async fn begun(mut self) -> Self {
        self.first = poll_fn(|cx| hyper::body::Body::poll_frame(Pin::new(&mut self), cx)).await;
        self
    }
}

impl Chunks {
    /// Waits until the reader has room. An empty chunk would end the body and is left out.
    pub(crate) async fn send(&self, chunk: Bytes) -> Result<(), Torn> {
        if chunk.is_empty() {
            return Ok(());
        }
        self.0.send(chunk).await.map_err(|_| Torn)
    }
}

impl Torn {
    pub(crate) async fn after_what_was_sent() -> Result<(), Self> {
        tokio::time::sleep(LINGER).await;
        Err(Self)
    }
}

impl hyper::body::Body for Written {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(first));
        }
        if let Some(writer) = &mut self.writer
            && let Poll::Ready(end) = writer.as_mut().poll(cx)
        {
            self.writer = None;
            if end.is_err() {
                return Poll::Ready(Some(Err(io::Error::other(
                    "the simulated engine tore the connection",
                ))));
            }
        }
        let chunk = ready!(self.chunks.poll_recv(cx));
        Poll::Ready(chunk.map(|chunk| Ok(Frame::data(chunk))))
    }
}
