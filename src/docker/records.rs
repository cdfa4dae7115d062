//! Records as they come, with the evidence that they came.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use futures_util::stream::{self, BoxStream, Stream, StreamExt, poll_fn};

use super::engine::EngineError;
use super::record::{self, Record, RecordRef};
use super::timestamp::Prefixes;
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
    /// What is left of the bundle that came last.
    frames: Frames,
}

/// Records that were there together.
#[derive(Debug)]
pub struct Chunk {
    frames: Frames,
    error: Option<EngineError>,
    /// That the engine sent at least one whole record.
    pub proof: Option<Verified>,
}

/// Whole frames, each of which becomes a record as it is asked for: records cost more
/// to be moved than to be made. It ends after its first error.
#[derive(Debug, Clone)]
struct Frames {
    bytes: Bytes,
    /// Whether a terminal wrote them.
    tty: bool,
    prefixes: Prefixes,
}

impl Records {
    /// Of bundles of frames, as the transport makes them.
    pub(super) fn new(
        bundles: impl Stream<Item = Result<Bytes, EngineError>> + Send + 'static,
        tty: bool,
    ) -> Self {
        Self {
            bundles: bundles.boxed(),
            frames: Frames {
                bytes: Bytes::new(),
                tty,
                prefixes: Prefixes::default(),
            },
        }
    }

    /// As they come, at most `most` at once, and few where they are large.
    pub fn chunks(mut self, most: usize) -> impl Stream<Item = Chunk> + Send {
        poll_fn(move |cx| {
            Poll::Ready(match ready!(self.poll_frames(cx)) {
                Some(Ok(())) => Some(Chunk::of(self.frames.cut(most))),
                Some(Err(error)) => Some(Chunk {
                    frames: self.frames.cut(0),
                    error: Some(error),
                    proof: None,
                }),
                None => None,
            })
        })
    }

    /// Waits until a frame is there.
    fn poll_frames(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<(), EngineError>>> {
        while self.frames.bytes.is_empty() {
            match ready!(self.bundles.poll_next_unpin(cx)) {
                Some(Ok(bundle)) => self.frames.bytes = bundle,
                Some(Err(error)) => {
                    self.bundles = stream::empty().boxed();
                    return Poll::Ready(Some(Err(error)));
                }
                None => return Poll::Ready(None),
            }
        }
        Poll::Ready(Some(Ok(())))
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
        let item = match ready!(self.poll_frames(cx)) {
            Some(Ok(())) => self.frames.next(),
            Some(Err(error)) => Some(Err(error)),
            None => None,
        };
        if let Some(Err(_)) = item {
            self.bundles = stream::empty().boxed();
        }
        Poll::Ready(item)
    }
}

impl Chunk {
    fn of(frames: Frames) -> Self {
        let is_record = |item: Item| item.is_ok();
        Self {
            proof: frames
                .clone()
                .next()
                .is_some_and(is_record)
                .then(Verified::seen),
            error: None,
            frames,
        }
    }

    /// Has `take` look at the next record where it came, in these bytes of the
    /// engine's.
    pub(crate) fn next_with<T>(
        &mut self,
        take: impl FnOnce(RecordRef<'_>, &Bytes) -> T,
    ) -> Option<Result<T, EngineError>> {
        let next = self.frames.next_with(take);
        next.or_else(|| self.error.take().map(Err))
    }

    /// At least one; an error is the last.
    pub fn records(self) -> impl Iterator<Item = Item> {
        self.frames.chain(self.error.map(Err))
    }
}

impl Frames {
    /// Takes the first of them off, at most `most`, and few where they are large.
    fn cut(&mut self, most: usize) -> Frames {
        let mut end = 0;
        for _ in 0..most {
            if end >= CHUNK_BYTES.min(self.bytes.len()) {
                break;
            }
            end = match next_of_bundle(&self.bytes[end..]) {
                Some((_, frame)) => end + frame.end,
                // An error, which is the last.
                None => self.bytes.len(),
            };
        }
        Frames {
            bytes: self.bytes.split_to(end),
            tty: self.tty,
            prefixes: Prefixes::default(),
        }
    }

    #[inline]
    fn next_with<T>(
        &mut self,
        take: impl FnOnce(RecordRef<'_>, &Bytes) -> T,
    ) -> Option<Result<T, EngineError>> {
        if self.bytes.is_empty() {
            return None;
        }
        let (next, end) = match first(&self.bytes, self.tty, &mut self.prefixes) {
            Ok((record, end)) => (Ok(take(record, &self.bytes)), end),
            Err(error) => (Err(error), self.bytes.len()),
        };
        self.bytes.advance(end);
        Some(next)
    }
}

/// The first record of a bundle, and where the next begins.
#[inline]
fn first<'a>(
    bundle: &'a [u8],
    tty: bool,
    prefixes: &mut Prefixes,
) -> Result<(RecordRef<'a>, usize), EngineError> {
    let protocol = |text: &str| EngineError::Protocol(text.to_owned());
    let Some((kind, frame)) = next_of_bundle(bundle) else {
        // The transport hands on none such.
        return Err(protocol("the engine sent a torn frame"));
    };
    let (end, frame) = (frame.end, &bundle[frame]);
    let stream = match (kind, tty) {
        (Kind::Words, _) => return Err(words(frame)),
        (_, true) => record::Stream::Tty,
        (Kind::Stdout, false) => record::Stream::Stdout,
        (Kind::Stderr, false) => record::Stream::Stderr,
    };
    match RecordRef::of_frame(stream, frame, prefixes) {
        Some(record) => Ok((record, end)),
        None => Err(protocol("the engine sent a record without time")),
    }
}

impl Iterator for Frames {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        self.next_with(Record::of_bundle)
    }
}

/// The engine's own error; nothing counts that comes behind it.
fn words(words: &[u8]) -> EngineError {
    let words = String::from_utf8_lossy(&words[..words.len().min(MAX_WORDS)]);
    EngineError::Reported(words.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::sync::mpsc;
    use tokio_stream::wrappers::ReceiverStream;

    use super::super::record::PART_BYTES;
    use super::*;

    const STAMP: &str = "1970-01-01T00:00:00.000000001Z ";

    fn frame(kind: u8, text: &str) -> Vec<u8> {
        let len = u32::try_from(text.len()).expect("short").to_be_bytes();
        [&[kind, 0, 0, 0][..], &len, text.as_bytes()].concat()
    }

    fn record(bytes: usize) -> Vec<u8> {
        frame(1, &format!("{STAMP}{}", "x".repeat(bytes)))
    }

    fn records(bundles: Vec<Result<Vec<u8>, EngineError>>) -> Records {
        let bundles = bundles.into_iter().map(|bundle| bundle.map(Bytes::from));
        Records::new(stream::iter(bundles), false)
    }

    /// How many came at once, and whether that proves anything.
    fn size(chunk: Chunk) -> (usize, bool) {
        let proves = chunk.proof.is_some();
        (chunk.records().count(), proves)
    }

    fn sizes(bundles: Vec<Result<Vec<u8>, EngineError>>) -> Vec<(usize, bool)> {
        let sizes = records(bundles).chunks(512).map(size);
        sizes.collect().now_or_never().expect("all are there")
    }

    #[test]
    fn a_chunk_is_bounded_in_records_and_in_bytes() {
        let small = record(10).repeat(1_000);
        assert_eq!(sizes(vec![Ok(small)]), [(512, true), (488, true)]);
        let large = record(PART_BYTES).repeat(20);
        assert_eq!(sizes(vec![Ok(large)]), [(16, true), (4, true)]);
        assert_eq!(sizes(Vec::new()), []);
    }

    #[test]
    fn what_the_engine_says_of_itself_is_an_error_and_the_end() {
        let (line, words) = (record(1), frame(3, "Error grabbing logs: EOF\n"));
        let bundle = [&line[..], &words, &line].concat();
        let came = records(vec![Ok(bundle), Ok(line)]);
        let came: Vec<_> = came.collect().now_or_never().expect("all are there");
        let [Ok(_), Err(EngineError::Reported(words))] = &came[..] else {
            panic!("{came:?}");
        };
        assert_eq!(words, "Error grabbing logs: EOF");
    }

    #[test]
    fn an_error_is_no_evidence_and_the_last() {
        let broken = || Err(EngineError::Protocol("of no use".to_owned()));
        assert_eq!(sizes(vec![broken()]), [(1, false)]);
        let later = vec![Ok(record(1)), broken(), Ok(record(1))];
        assert_eq!(sizes(later), [(1, true), (1, false)]);
        let no_record = frame(1, "no stamp");
        assert_eq!(sizes(vec![Ok(no_record.clone())]), [(1, false)]);
        let behind = [record(1), no_record, record(1)].concat();
        assert_eq!(sizes(vec![Ok(behind)]), [(2, true)]);
        let torn = [&record(1)[..], &record(1)[..20]].concat();
        assert_eq!(sizes(vec![Ok(torn)]), [(2, true)]);
    }

    #[test]
    fn what_comes_later_comes_alone() {
        let (sender, receiver) = mpsc::channel(9);
        let records = Records::new(ReceiverStream::new(receiver), false);
        let mut chunks = records.chunks(512);
        assert!(chunks.next().now_or_never().is_none());
        for _ in 0..2 {
            let bundle = Ok(Bytes::from(record(1)));
            sender.try_send(bundle).expect("there is room");
            let chunk = chunks.next().now_or_never().expect("it is there");
            assert_eq!(chunk.map(size), Some((1, true)));
        }
        drop(sender);
        assert!(chunks.next().now_or_never().expect("it ends").is_none());
    }
}
