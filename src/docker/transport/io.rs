//! One connection to the engine: response rewriting and deadlines.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::response::Response;

/// Read from the socket at most this much at once.
const READ_BYTES: usize = 64 * 1024;

/// A read of so many bytes shows a sender that is held up, or soon will be: its
/// socket holds some 240 lines.
const LARGE: usize = 8 * 1024;

static FLOW: AtomicU8 = AtomicU8::new(Flow::Still as u8);

/// How bytes come from the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// No lines of a log that is followed, and what else comes is there at once.
    Still,
    /// Some lines at a time.
    Slow,
    /// As fast as they are taken, or soon so: more comes of what has begun to come.
    Fast,
}

impl Flow {
    /// How they came since this was asked last, from all engines together.
    pub fn of_late() -> Self {
        match FLOW.swap(Flow::Still as u8, Ordering::Relaxed) {
            0 => Flow::Still,
            1 => Flow::Slow,
            _ => Flow::Fast,
        }
    }

    fn note(self) {
        FLOW.fetch_max(self as u8, Ordering::Relaxed);
    }
}

/// How long the engine may keep silent. There is no total: a long body is fine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Silence {
    /// Until the response head is complete.
    pub(crate) head: Option<Duration>,
    /// Between the head and the first byte of the body.
    pub(crate) first_byte: Option<Duration>,
    /// Between bytes of the body.
    pub(crate) between: Option<Duration>,
}

/// The engine's side of a connection as hyper sees it.
pub(crate) struct EngineIo<S> {
    inner: S,
    response: Response,
    silence: Silence,
    /// Rewritten bytes that hyper has not taken yet.
    ready: BytesMut,
    body_bytes: bool,
    failed: Option<io::Error>,
    timer: Pin<Box<Sleep>>,
    armed: bool,
}

impl<S> EngineIo<S> {
    pub(crate) fn new(inner: S, response: Response, silence: Silence) -> Self {
        Self {
            inner,
            response,
            silence,
            ready: BytesMut::new(),
            body_bytes: false,
            failed: None,
            timer: Box::pin(sleep_until(Instant::now())),
            armed: false,
        }
    }

    fn limit(&self) -> (Option<Duration>, &'static str) {
        match (self.response.has_head(), self.body_bytes) {
            (false, _) => (self.silence.head, "the engine did not answer in time"),
            (true, false) => (
                self.silence.first_byte,
                "the engine sent no first byte in time",
            ),
            (true, true) => (self.silence.between, "the engine stopped in mid-answer"),
        }
    }

    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let (Some(limit), message) = self.limit() else {
            return Poll::Pending;
        };
        if !self.armed {
            self.timer.as_mut().reset(Instant::now() + limit);
            self.armed = true;
        }
        ready!(self.timer.as_mut().poll(cx));
        Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, message))
    }

    fn understand(&mut self, read: usize) {
        let had_head = self.response.has_head();
        // Only what may be silent goes on for ever.
        let is_followed = had_head && self.silence.between.is_none();
        match read {
            LARGE.. => Flow::Fast.note(),
            _ if is_followed => Flow::Slow.note(),
            1.. if self.body_bytes => Flow::Fast.note(),
            _ => {}
        }
        let outcome = match read {
            0 => self.response.closed(&mut self.ready),
            _ => self.response.advance(&mut self.ready),
        };
        self.body_bytes |= had_head && read > 0;
        self.armed = false;
        self.failed = outcome.err();
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for EngineIo<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if !this.ready.is_empty() {
                let len = this.ready.len().min(buf.remaining());
                buf.put_slice(&this.ready[..len]);
                this.ready.advance(len);
                return Poll::Ready(Ok(()));
            }
            if let Some(error) = this.failed.take() {
                return Poll::Ready(Err(error));
            }
            let read = match poll_read_buf(&mut this.inner, cx, this.response.input()) {
                Poll::Ready(read) => read?,
                Poll::Pending => return this.poll_silence(cx).map(Err),
            };
            this.understand(read);
            if read == 0 && this.ready.is_empty() && this.failed.is_none() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

fn poll_read_buf<S: AsyncRead + Unpin>(
    inner: &mut S,
    cx: &mut Context<'_>,
    input: &mut BytesMut,
) -> Poll<io::Result<usize>> {
    input.reserve(READ_BYTES);
    tokio_util::io::poll_read_buf(Pin::new(inner), cx, input)
}

impl<S: AsyncWrite + Unpin> AsyncWrite for EngineIo<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
