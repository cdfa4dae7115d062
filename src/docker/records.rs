//! Records as they come, with the evidence that they came.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::stream::{BoxStream, Stream, StreamExt};

use super::engine::EngineError;
use super::record::Record;
use super::verified::Verified;

type Item = Result<Record, EngineError>;

/// Records of one request; it ends after its first error.
pub struct Records(BoxStream<'static, Item>);

/// Records that were there together.
#[derive(Debug)]
pub struct Chunk {
    /// At least one; an error is the last.
    pub records: Vec<Item>,
    /// That the engine sent at least one whole record.
    pub proof: Option<Verified>,
}

impl Records {
    pub(super) fn new(records: impl Stream<Item = Item> + Send + 'static) -> Self {
        Self(records.boxed())
    }

    /// As they come, at most `most` at once.
    pub fn chunks(self, most: usize) -> impl Stream<Item = Chunk> + Send + use<> {
        self.0.ready_chunks(most).map(|records| Chunk {
            proof: records.iter().any(Result::is_ok).then(Verified::seen),
            records,
        })
    }

    /// Reads to the end: the last record, if there is any.
    ///
    /// # Errors
    /// The engine's.
    pub async fn last(mut self) -> Result<(Option<Record>, Verified), EngineError> {
        let mut last = None;
        while let Some(record) = self.0.next().await {
            last = Some(record?);
        }
        Ok((last, Verified::seen()))
    }
}

impl Stream for Records {
    type Item = Item;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Item>> {
        self.0.poll_next_unpin(cx)
    }
}
