//! Records as they come, with the evidence that they came.

use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use futures_util::stream::{self, BoxStream, Stream, StreamExt, poll_fn};

use super::engine::EngineError;
use super::record::{self, Record};
use super::transport::{Kind, next_of_bundle};
use super::verified::Verified;

/// Bytes at which a chunk is enough.
const CHUNK_BYTES: usize = 256 * 1024;
/// Bytes that are kept of what the engine says of a log that it cannot read.
const MAX_WORDS: usize = 1_024;

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

    /// As they come, at most `most` at once, and few where they are large.
    pub fn chunks(self, most: usize) -> impl Stream<Item = Chunk> + Send + use<> {
        chunks_of(self, most)
    }

    /// The first record of what is left.
    fn pop(&mut self) -> Item {
        let protocol = |text: &str| EngineError::Protocol(text.to_owned());
        let Some((kind, frame)) = next_of_bundle(&self.bundle) else {
            self.bundle.clear();
            // The transport hands on none such.
            return Err(protocol("the engine sent a torn frame"));
        };
        let stream = match (kind, self.tty) {
            (Kind::Words, _) => return Err(self.words(frame)),
            (_, true) => record::Stream::Tty,
            (Kind::Stdout, false) => record::Stream::Stdout,
            (Kind::Stderr, false) => record::Stream::Stderr,
        };
        let end = frame.end;
        let record = Record::of_frame(stream, &self.bundle, frame);
        self.bundle.advance(end);
        record.ok_or_else(|| protocol("the engine sent a record without time"))
    }

    /// The engine's own error; nothing counts that comes behind it.
    fn words(&mut self, frame: Range<usize>) -> EngineError {
        let words = &self.bundle[frame];
        let words = String::from_utf8_lossy(&words[..words.len().min(MAX_WORDS)]);
        let words = words.trim_end().to_owned();
        (self.bundle, self.bundles) = (Bytes::new(), stream::empty().boxed());
        EngineError::Reported(words)
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

fn chunks_of(
    items: impl Stream<Item = Item> + Send + Unpin,
    most: usize,
) -> impl Stream<Item = Chunk> + Send {
    let mut items = items.fuse();
    // How many came last: where many come, they need not be moved to ever more room.
    let mut came = 0;
    poll_fn(move |cx| {
        let (mut records, mut bytes) = (Vec::with_capacity(came), 0);
        while records.len() < most && bytes < CHUNK_BYTES {
            let Poll::Ready(Some(item)) = items.poll_next_unpin(cx) else {
                break;
            };
            bytes += item.as_ref().map_or(0, |record| record.payload.len());
            records.push(item);
        }
        came = records.len();
        match records.is_empty() {
            true if items.is_done() => Poll::Ready(None),
            true => Poll::Pending,
            false => Poll::Ready(Some(Chunk {
                proof: records.iter().any(Result::is_ok).then(Verified::seen),
                records,
            })),
        }
    })
}

#[cfg(test)]
mod tests {
    use std::iter;

    use bytes::Bytes;
    use futures_util::{FutureExt, stream};

    use super::super::record::{PART_BYTES, Stream};
    use super::*;

    fn record(bytes: usize) -> Item {
        Ok(Record {
            stream: Stream::Stdout,
            time: 0,
            payload: Bytes::from(vec![b'x'; bytes]),
        })
    }

    /// How many records came at once.
    fn sizes(records: Vec<Item>) -> Vec<(usize, bool)> {
        let chunks = chunks_of(stream::iter(records), 512);
        let sizes = chunks.map(|chunk| (chunk.records.len(), chunk.proof.is_some()));
        sizes.collect().now_or_never().expect("all are there")
    }

    #[test]
    fn a_chunk_is_bounded_in_records_and_in_bytes() {
        let small = iter::repeat_with(|| record(10)).take(1_000);
        assert_eq!(sizes(small.collect()), [(512, true), (488, true)]);
        let large = iter::repeat_with(|| record(PART_BYTES)).take(20);
        assert_eq!(sizes(large.collect()), [(16, true), (4, true)]);
        assert_eq!(sizes(Vec::new()), []);
    }

    #[test]
    fn what_the_engine_says_of_itself_is_an_error_and_the_end() {
        let frame = |kind: u8, text: &str| {
            let len = u32::try_from(text.len()).expect("short").to_be_bytes();
            [&[kind, 0, 0, 0][..], &len, text.as_bytes()].concat()
        };
        let line = "1970-01-01T00:00:00.000000001Z x\n";
        let words = "Error grabbing logs: EOF\n";
        let (line, words) = (frame(1, line), frame(3, words));
        let bundle = Ok([&line[..], &words, &line].concat().into());
        let late = Ok(line.into());
        let records = Records::new(stream::iter([bundle, late]), false);
        let came: Vec<_> = records.collect().now_or_never().expect("all are there");
        let [Ok(_), Err(EngineError::Reported(words))] = &came[..] else {
            panic!("{came:?}");
        };
        assert_eq!(words, "Error grabbing logs: EOF");
    }

    #[test]
    fn an_error_is_no_evidence_and_what_comes_later_comes_alone() {
        let broken = || Err(EngineError::Protocol("of no use".to_owned()));
        assert_eq!(sizes(vec![broken()]), [(1, false)]);
        assert_eq!(sizes(vec![record(1), broken()]), [(2, true)]);
        let (sender, receiver) = tokio::sync::mpsc::channel(9);
        let waits = tokio_stream::wrappers::ReceiverStream::new(receiver);
        let mut chunks = chunks_of(waits, 512);
        assert!(chunks.next().now_or_never().is_none());
        for _ in 0..2 {
            sender.try_send(record(1)).expect("there is room");
            let chunk = chunks.next().now_or_never().expect("it is there");
            assert_eq!(chunk.expect("it goes on").records.len(), 1);
        }
        drop(sender);
        assert!(chunks.next().now_or_never().expect("it ends").is_none());
    }
}
