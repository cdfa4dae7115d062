//! Records as they come, with the evidence that they came.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use futures_util::stream::{BoxStream, Stream, StreamExt};

use super::engine::EngineError;
use super::record::{self, Record};
use super::transport::next_of_bundle;
use super::verified::Verified;

type Item = Result<Record, EngineError>;

/// Records of one request; it ends after its first error.
pub struct Records {
    bundles: BoxStream<'static, Result<Bytes, EngineError>>,
    /// What is left of the one that came last.
    bundle: Bytes,
    /// Whether a terminal wrote them.
    tty: bool,
}

/// Records that were there together.
#[derive(Debug)]
pub struct Chunk {
    /// At least one; an error is the last.
    pub records: Vec<Item>,
    /// That the engine sent at least one whole record.
    pub proof: Option<Verified>,
}

impl Records {
    /// Of bundles of frames, as the transport makes them.
    pub(super) fn new(
        bundles: impl Stream<Item = Result<Bytes, EngineError>> + Send + 'static,
        tty: bool,
    ) -> Self {
        Self {
            bundles: bundles.boxed(),
            bundle: Bytes::new(),
            tty,
        }
    }

    /// As they come, at most `most` at once.
    pub fn chunks(self, most: usize) -> impl Stream<Item = Chunk> + Send + use<> {
        self.ready_chunks(most).map(|records| Chunk {
            proof: records.iter().any(Result::is_ok).then(Verified::seen),
            records,
        })
    }

    /// The first record of what is left.
    fn pop(&mut self) -> Item {
        let protocol = |text: &str| EngineError::Protocol(text.to_owned());
        let Some((is_error, frame)) = next_of_bundle(&self.bundle) else {
            self.bundle.clear();
            // The transport hands on none such.
            return Err(protocol("the engine sent a torn frame"));
        };
        let stream = match (self.tty, is_error) {
            (true, _) => record::Stream::Tty,
            (false, false) => record::Stream::Stdout,
            (false, true) => record::Stream::Stderr,
        };
        let end = frame.end;
        let record = Record::of_frame(stream, &self.bundle, frame);
        self.bundle.advance(end);
        record.ok_or_else(|| protocol("the engine sent a record without time"))
    }

    /// Reads to the end: the last record, if there is any.
    ///
    /// # Errors
    /// The engine's.
    pub async fn last(mut self) -> Result<(Option<Record>, Verified), EngineError> {
        let mut last = None;
        while let Some(record) = self.next().await {
            last = Some(record?);
        }
        Ok((last, Verified::seen()))
    }
}

impl Stream for Records {
    type Item = Item;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Item>> {
        loop {
            if !self.bundle.is_empty() {
                return Poll::Ready(Some(self.pop()));
            }
            match ready!(self.bundles.poll_next_unpin(cx)) {
                Some(Ok(bundle)) => self.bundle = bundle,
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
    }
}
