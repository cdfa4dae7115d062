//! A stream's response body: shared bytes as they are, then the status.
//!
//! tonic's own body copies every message into a buffer of its own. This one hands
//! large pieces to HTTP/2 untouched; small ones it copies together while more of
//! them are ready, as each piece would become a frame and a write of its own.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::vec;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use hyper::body::{Body, Frame};
use hyper::http;
use hyper::http::{HeaderMap, HeaderValue};
use tonic::Status;
use tonic::server::NamedService;
use tower::Service;

use super::flushes::Receiver;
use super::status::Reason;

/// A piece of at least so many bytes is worth a write of its own.
const WHOLE: usize = 8 * 1024;
/// Small pieces travel together up to here.
const TOGETHER: usize = 32 * 1024;

/// The client's end of a stream.
#[derive(Debug)]
pub(crate) struct LogBody {
    flushes: Receiver,
    parts: vec::IntoIter<Bytes>,
    /// Small pieces, copied together once there is more than one.
    small: Small,
    /// A large piece that follows them.
    large: Option<Bytes>,
    is_over: bool,
}

/// Pieces that travel together. Between flushes it holds no memory: most streams
/// are quiet most of the time.
#[derive(Debug, Default)]
struct Small {
    pieces: Vec<Bytes>,
    bytes: usize,
}

impl Small {
    fn push(&mut self, piece: Bytes) {
        self.bytes += piece.len();
        self.pieces.push(piece);
    }

    fn is_full(&self) -> bool {
        self.bytes >= TOGETHER
    }

    fn take(&mut self) -> Option<Bytes> {
        let Small { mut pieces, bytes } = std::mem::take(self);
        if pieces.len() <= 1 {
            return pieces.pop();
        }
        let mut all = BytesMut::with_capacity(bytes);
        pieces.iter().for_each(|piece| all.extend_from_slice(piece));
        Some(all.freeze())
    }
}

impl LogBody {
    pub(crate) fn new(flushes: Receiver) -> Self {
        Self {
            flushes,
            parts: vec::IntoIter::default(),
            small: Small::default(),
            large: None,
            is_over: false,
        }
    }

    /// The next piece, as large as what is ready allows.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            if let Some(large) = self.large.take() {
                return Poll::Ready(Some(large));
            }
            match self.parts.next() {
                Some(part) if part.len() >= WHOLE => {
                    self.large = Some(part);
                    if let Some(small) = self.small.take() {
                        return Poll::Ready(Some(small));
                    }
                }
                Some(part) => {
                    self.small.push(part);
                    if self.small.is_full() {
                        return Poll::Ready(self.small.take());
                    }
                }
                None => match self.flushes.poll_next(cx) {
                    Poll::Ready(Some(flush)) => self.parts = flush.into_iter(),
                    Poll::Ready(None) => return Poll::Ready(self.small.take()),
                    Poll::Pending => {
                        return self
                            .small
                            .take()
                            .map_or(Poll::Pending, |small| Poll::Ready(Some(small)));
                    }
                },
            }
        }
    }

    fn trailers(&self) -> HeaderMap {
        let status = match self.flushes.outcome() {
            Some(Ok(())) => Status::ok(""),
            Some(Err(status)) => status,
            // The task ended without a word: it panicked.
            None => Reason::Fault.status("the stream failed; resume it"),
        };
        let mut trailers = HeaderMap::new();
        // A status that no header can hold is one with an unprintable message.
        if let Err(status) = status.add_header(&mut trailers) {
            tracing::warn!(%status, "no trailers");
        }
        trailers
    }
}

impl Body for LogBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.poll_piece(cx).map(|piece| match piece {
            Some(piece) => Some(Ok(Frame::data(piece))),
            None if std::mem::replace(&mut self.is_over, true) => None,
            None => Some(Ok(Frame::trailers(self.trailers()))),
        })
    }
}

/// A body on its way from a method to [`Unwrapped`], as an extension of its
/// response: an extension can be cloned, a body not.
#[derive(Debug, Clone)]
pub(crate) struct Enclosed {
    body: Arc<Mutex<Option<LogBody>>>,
    gzip: bool,
}

impl Enclosed {
    /// `gzip`: some of its messages may be compressed.
    pub(crate) fn new(body: LogBody, gzip: bool) -> Self {
        Self {
            body: Arc::new(Mutex::new(Some(body))),
            gzip,
        }
    }

    fn open(&self) -> Option<LogBody> {
        let body = &self.body;
        body.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A generated service, whose responses get the body that they enclose. All else
/// stays tonic's: how requests are decoded and how they are refused.
#[derive(Debug, Clone)]
pub(crate) struct Unwrapped<S>(pub(crate) S);

impl<S: NamedService> NamedService for Unwrapped<S> {
    const NAME: &'static str = S::NAME;
}

type Exchange = http::Response<tonic::body::Body>;

impl<S, B> Service<http::Request<B>> for Unwrapped<S>
where
    S: Service<http::Request<B>, Response = Exchange, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Exchange;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Exchange, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let answer = self.0.call(request);
        async move {
            let mut answer = answer.await?;
            let Some(enclosed) = answer.extensions_mut().remove::<Enclosed>() else {
                return Ok(answer);
            };
            if let Some(body) = enclosed.open() {
                *answer.body_mut() = tonic::body::Body::new(body);
            }
            if enclosed.gzip {
                let gzip = HeaderValue::from_static("gzip");
                answer.headers_mut().insert("grpc-encoding", gzip);
            }
            Ok(answer)
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::super::flushes::{Parts, flushes};
    use super::*;
    use http_body_util::BodyExt;

    async fn body(mut all: Vec<Parts>) -> LogBody {
        let (mut sender, receiver) = flushes();
        let last = all.pop().expect("there is one");
        for parts in all {
            sender.room().await.expect("it reads").send(parts);
        }
        sender.end(last, Err(Reason::Draining.status("x")));
        LogBody::new(receiver)
    }

    async fn pieces(mut body: LogBody) -> (Vec<Bytes>, HeaderMap) {
        let mut pieces = Vec::new();
        loop {
            let frame = body.frame().await.unwrap().unwrap();
            match frame.into_data() {
                Ok(piece) => pieces.push(piece),
                Err(frame) => {
                    assert!(body.frame().await.is_none());
                    return (pieces, frame.into_trailers().unwrap());
                }
            }
        }
    }

    #[tokio::test]
    async fn two_subscribers_get_the_same_bytes_and_no_copies_of_them() {
        let large = Bytes::from(vec![1; WHOLE]);
        let small = Bytes::from(vec![2; WHOLE - 1]);
        for shared in [large, small] {
            for _ in 0..2 {
                let (pieces, _) = pieces(body(vec![vec![shared.clone()]]).await).await;
                assert_eq!(pieces.len(), 1);
                assert_eq!(pieces[0].as_ptr(), shared.as_ptr(), "copied");
            }
        }
    }

    #[tokio::test]
    async fn small_pieces_travel_together_and_order_is_kept() {
        let piece = |byte: u8, len: usize| Bytes::from(vec![byte; len]);
        let flushes = vec![
            vec![piece(1, 10), piece(2, 10)],
            vec![piece(3, WHOLE), piece(4, 10)],
            (0..10).map(|_| piece(5, WHOLE - 1)).collect(),
        ];
        let whole = flushes.concat().concat();
        let (pieces, trailers) = pieces(body(flushes).await).await;
        assert_eq!(pieces.concat(), whole);
        let lens: Vec<_> = pieces.iter().map(Bytes::len).collect();
        assert_eq!(lens[..2], [20, WHOLE]);
        assert!(
            lens[2..].iter().all(|len| *len < TOGETHER + WHOLE),
            "{lens:?}"
        );
        assert_eq!(trailers["grpc-status"], "14");
    }

    #[tokio::test]
    async fn a_task_that_ended_without_a_word_is_a_fault() {
        let (_, receiver) = flushes();
        let (_, trailers) = pieces(LogBody::new(receiver)).await;
        assert_eq!(trailers["grpc-status"], "13");
    }
}
