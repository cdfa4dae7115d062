//! A batch as the bytes every subscriber gets: written by hand, once, and framed
//! once.
//!
//! The bytes are one gRPC message, a `StreamLogsResponse` with its five bytes of
//! prefix:
//!
//! ```text
//! prefix · tag and length of the batch │ container │ entry entry … │ cursor
//! ```
//!
//! Repeated fields concatenate, so a filtered batch is another head, ranges of the
//! same bytes, and the same cursor. Nothing in them belongs to one subscription.

mod gzip;
mod writer;

use std::ops::Range;
use std::sync::OnceLock;

use bytes::Bytes;

use crate::docker::Stream;
pub use writer::Writer;
use writer::{HEAD, put_head};

/// Entries of one container that travel together, in shared bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    framed: Bytes,
    /// Where the container stands; the entries begin behind it.
    container: Range<usize>,
    spans: Box<[Span]>,
    /// Compressed, once somebody asked for that; `None`: it stays as it is.
    gzip: OnceLock<Option<Bytes>>,
}

/// Where an entry stands in a batch's bytes, and what chooses entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Its end; it begins where the one before it ends.
    end: u32,
    line: u32,
    line_end: u32,
    /// Which stream wrote it.
    pub stream: Stream,
    /// Its stamp, ns since the Unix epoch.
    pub time: i64,
}

impl Batch {
    /// The whole message. Every clone is the same bytes.
    pub fn framed(&self) -> &Bytes {
        &self.framed
    }

    /// The whole message compressed, where that helps. The first to ask for it
    /// makes it, for all.
    pub fn gzipped(&self) -> &Bytes {
        let gzip = self.gzip.get_or_init(|| gzip::compressed(&self.framed));
        gzip.as_ref().unwrap_or(&self.framed)
    }

    /// How many entries it has; never 0.
    pub fn count(&self) -> usize {
        self.spans.len()
    }

    /// Its entries, each with its line.
    pub fn entries(&self) -> impl Iterator<Item = (&Span, &[u8])> {
        self.spans.iter().map(|span| {
            let line = span.line as usize..span.line_end as usize;
            (span, &self.framed[line])
        })
    }

    /// The message with the entries for which `chosen` says yes, in order, and
    /// how many they are; `None` if there are none. Their bytes are shared, only
    /// the head is new.
    pub fn select(
        &self,
        mut chosen: impl FnMut(&Span, &[u8]) -> bool,
    ) -> Option<(Vec<Bytes>, usize)> {
        let mut ranges: Vec<Range<usize>> = Vec::new();
        let (mut count, mut start) = (0, self.container.end);
        for (span, line) in self.entries() {
            let entry = start..span.end as usize;
            start = entry.end;
            if !chosen(span, line) {
                continue;
            }
            count += 1;
            match ranges.last_mut() {
                Some(last) if last.end == entry.start => last.end = entry.end,
                _ => ranges.push(entry),
            }
        }
        match count {
            0 => None,
            _ if count == self.spans.len() => Some((vec![self.framed.clone()], count)),
            // The cursor stands behind the last entry.
            _ => Some((self.cut(&ranges, start..self.framed.len()), count)),
        }
    }

    fn cut(&self, ranges: &[Range<usize>], cursor: Range<usize>) -> Vec<Bytes> {
        let entries: usize = ranges.iter().map(Range::len).sum();
        let container = &self.framed[self.container.clone()];
        let len = container.len() + entries + cursor.len();
        let mut head = Vec::with_capacity(HEAD + container.len());
        put_head(&mut head, len);
        head.extend_from_slice(container);
        let mut parts = Vec::with_capacity(ranges.len() + 2);
        parts.push(Bytes::from(head));
        let slices = ranges.iter().chain(std::iter::once(&cursor));
        parts.extend(slices.map(|range| self.framed.slice(range.clone())));
        parts
    }

    /// Bytes it counts against a ring's bound.
    pub(crate) fn cost(&self) -> usize {
        self.framed.len() + size_of_val(&*self.spans)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message;

    use super::writer::stream_number;
    use super::*;
    use crate::proto;
    use crate::proto::stream_logs_response::Event;
    use crate::tail::Entry;

    fn entry() -> impl Strategy<Value = Entry> {
        let stream = prop_oneof![
            Just(Stream::Stdout),
            Just(Stream::Stderr),
            Just(Stream::Tty)
        ];
        let time = prop_oneof![any::<i64>(), Just(0), Just(-1), Just(1_000_000_000)];
        let line = prop_oneof![
            Just(Vec::new()),
            any::<Vec<u8>>(),
            ".{0,40}".prop_map(String::into_bytes),
            Just(vec![b'x'; 20_000]),
        ];
        let number = |largest: u64| prop_oneof![Just(0), 0..=largest];
        let place = number(u64::from(u32::MAX));
        let parts = (stream, time, line, any::<bool>(), number(u64::MAX), place);
        parts.prop_map(
            |(stream, time, line, unterminated, truncated_bytes, place)| Entry {
                stream,
                time,
                ordinal: u32::try_from(place).unwrap(),
                line: line.into(),
                unterminated,
                truncated_bytes,
            },
        )
    }

    fn of_prost(entry: &Entry, late: bool) -> proto::LogEntry {
        let line = match String::from_utf8(entry.line.to_vec()) {
            Ok(text) => proto::log_entry::Line::Text(text),
            Err(_) => proto::log_entry::Line::Raw(entry.line.clone()),
        };
        proto::LogEntry {
            time: Some(prost_types::Timestamp {
                seconds: entry.time.div_euclid(1_000_000_000),
                nanos: i32::try_from(entry.time.rem_euclid(1_000_000_000)).unwrap(),
            }),
            stream: i32::try_from(stream_number(entry.stream)).unwrap(),
            line: Some(line),
            unterminated: entry.unterminated,
            truncated_bytes: entry.truncated_bytes,
            late,
            ordinal: entry.ordinal,
        }
    }

    fn framed((id, name): (&str, &str), entries: Vec<proto::LogEntry>, cursor: &str) -> Vec<u8> {
        let container = Some(proto::ContainerRef {
            id: id.to_owned(),
            name: name.to_owned(),
        });
        let batch = proto::LogBatch {
            container,
            entries,
            cursor: cursor.to_owned(),
        };
        let event = Some(Event::Batch(batch));
        let message = proto::StreamLogsResponse { event }.encode_to_vec();
        let len = u32::try_from(message.len()).unwrap().to_be_bytes();
        [&[0][..], &len, &message].concat()
    }

    proptest! {
        #[test]
        fn the_bytes_are_those_that_prost_would_write(
            name in "[a-z]{0,200}",
            entries in prop::collection::vec((entry(), any::<bool>()), 1..20),
            chosen in prop::collection::vec(any::<bool>(), 20),
            cursor in "[A-Za-z0-9_-]{1,160}",
        ) {
            let id = "0123456789abcdef".repeat(4);
            let mut writer = Writer::default();
            writer.label(&id, &name);
            entries.iter().for_each(|(entry, late)| writer.push(entry, *late));
            let batch = writer.finish(&cursor);
            let all: Vec<_> = entries.iter().map(|(e, late)| of_prost(e, *late)).collect();
            let whole = framed((&id, &name), all.clone(), &cursor);
            prop_assert_eq!(&batch.framed()[..], &whole[..]);
            prop_assert!(writer.is_empty());

            for ((span, line), (entry, _)) in batch.entries().zip(&entries) {
                prop_assert_eq!(line, &entry.line[..]);
                prop_assert_eq!((span.stream, span.time), (entry.stream, entry.time));
            }
            let mut choice = chosen.iter();
            let selected = batch.select(|_, _| *choice.next().unwrap());
            let some: Vec<_> = all.into_iter().zip(&chosen).filter(|(_, c)| **c).collect();
            let some: Vec<_> = some.into_iter().map(|(entry, _)| entry).collect();
            prop_assert_eq!(selected.is_none(), some.is_empty());
            if let Some((parts, count)) = selected {
                prop_assert_eq!(count, some.len());
                prop_assert_eq!(parts.concat(), framed((&id, &name), some, &cursor));
            }
        }
    }

    #[test]
    fn entries_that_are_chosen_are_ranges_of_the_shared_bytes() {
        let mut writer = Writer::default();
        writer.label("id", "web");
        for line in ["one", "two", "three", "four"] {
            let entry = Entry {
                stream: Stream::Stdout,
                time: 1,
                ordinal: 0,
                line: Bytes::from_static(line.as_bytes()),
                unterminated: false,
                truncated_bytes: 0,
            };
            writer.push(&entry, false);
        }
        let batch = writer.finish("cursor");
        let shared = batch.framed().as_ptr_range();
        let (parts, count) = batch.select(|_, line| line != b"one").unwrap();
        // The head, one range of three neighbours, the cursor.
        assert_eq!((parts.len(), count), (3, 3));
        for part in &parts[1..] {
            assert!(shared.contains(&part.as_ptr()), "copied");
        }
        let (whole, _) = batch.select(|_, _| true).unwrap();
        assert_eq!(whole[0].as_ptr(), batch.framed().as_ptr());
    }
}
