//! A cursor: a position in one container's log, as text for clients to keep.
//!
//! It needs no secret and no state, so it outlives a restart and a reinstall. It
//! is no capability: whoever brings one is asked for the container as if without.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use xxhash_rust::xxh3::xxh3_64;

use super::anchor::Anchor;
use super::{OpenLines, Position, Verified};
use crate::docker::{ContainerId, Stream};

/// Longest cursor, in bytes of text.
pub const MAX_CURSOR: usize = 160;

/// Of a cursor behind a record, and of one at an instant.
const BEHIND: u8 = 1;
const SINCE: u8 = 2;
const CHECKSUM: usize = 4;

/// A position that names its container and engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// Digest of the engine's id.
    pub engine: u64,
    /// Whose log.
    pub container: ContainerId,
    /// Its issue: up to when whoever gave it out knew every container, ns since the
    /// Unix epoch, the server's clock. What is not known of then has no cursor.
    pub issued: i64,
    /// Where it stands.
    pub place: Place,
}

/// Where a reading of a log stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Behind a record.
    At(Position),
    /// Before the first line stamped at or after this, ns since the Unix epoch;
    /// nothing has been read yet.
    Since(i64),
}

impl Place {
    /// The stamp of the last record read; `None`: none was.
    pub fn time(&self) -> Option<i64> {
        match self {
            Place::At(position) => position.anchor.map(|anchor| anchor.time),
            Place::Since(_) => None,
        }
    }
}

/// Why a text is no cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CursorError {
    /// It is garbled, cut or none of ours.
    #[error("not a cursor of this service, or cut or changed on its way")]
    Invalid,
    /// Another release wrote it.
    #[error("written by a release whose cursors this one cannot read")]
    Version,
}

impl Cursor {
    /// The digest that binds cursors to an engine.
    pub fn tag(engine_id: &str) -> u64 {
        xxh3_64(engine_id.as_bytes())
    }

    /// Its text: base64url without padding, at most [`MAX_CURSOR`] bytes.
    pub fn encode(&self) -> String {
        let mut bytes = Vec::with_capacity(MAX_CURSOR);
        bytes.push(match self.place {
            Place::At(_) => BEHIND,
            Place::Since(_) => SINCE,
        });
        bytes.extend_from_slice(&self.engine.to_be_bytes());
        bytes.extend_from_slice(self.container.bytes());
        bytes.extend_from_slice(&self.issued.to_be_bytes());
        match self.place {
            Place::At(position) => put_position(&mut bytes, position),
            Place::Since(instant) => bytes.extend_from_slice(&instant.to_be_bytes()),
        }
        let sum = xxh3_64(&bytes).to_be_bytes();
        bytes.extend_from_slice(&sum[..CHECKSUM]);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads a cursor's text.
    ///
    /// # Errors
    /// It is not one, or not one of this release's.
    pub fn decode(text: &str) -> Result<Self, CursorError> {
        if text.len() > MAX_CURSOR {
            return Err(CursorError::Invalid);
        }
        let bytes = URL_SAFE_NO_PAD
            .decode(text)
            .map_err(|_| CursorError::Invalid)?;
        let split = bytes
            .len()
            .checked_sub(CHECKSUM)
            .ok_or(CursorError::Invalid)?;
        let (body, sum) = bytes.split_at(split);
        if xxh3_64(body).to_be_bytes()[..CHECKSUM] != *sum {
            return Err(CursorError::Invalid);
        }
        match body.split_first() {
            Some((kind @ (&BEHIND | &SINCE), rest)) => {
                let cursor = Fields(rest).cursor(*kind);
                cursor.ok_or(CursorError::Invalid)
            }
            Some(_) => Err(CursorError::Version),
            None => Err(CursorError::Invalid),
        }
    }
}

fn put_position(bytes: &mut Vec<u8>, position: Position) {
    put_anchor(bytes, position.anchor);
    put_open(bytes, position.open);
    if let Some(verified) = position.verified {
        // A count that does not fit shows as a possible gap, no more.
        let count = u16::try_from(verified.count).unwrap_or(u16::MAX);
        bytes.extend_from_slice(&count.to_be_bytes());
        put_anchor(bytes, verified.anchor);
    }
}

fn put_anchor(bytes: &mut Vec<u8>, anchor: Option<Anchor>) {
    let Some(anchor) = anchor else {
        bytes.push(0);
        return;
    };
    let stream = stream_number(anchor.stream);
    bytes.push(stream | if anchor.ends_line { 0x80 } else { 0 });
    bytes.extend_from_slice(&anchor.time.to_be_bytes());
    bytes.extend_from_slice(&anchor.ordinal.to_be_bytes());
    bytes.extend_from_slice(&anchor.hash.to_be_bytes());
}

fn put_open(bytes: &mut Vec<u8>, open: OpenLines) {
    let present = open.iter().enumerate().filter(|(_, time)| time.is_some());
    bytes.push(present.fold(0, |mask, (slot, _)| mask | 1 << slot));
    for time in open.into_iter().flatten() {
        bytes.extend_from_slice(&time.to_be_bytes());
    }
}

fn stream_number(stream: Stream) -> u8 {
    match stream {
        Stream::Stdout => 1,
        Stream::Stderr => 2,
        Stream::Tty => 3,
    }
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*field)
    }

    fn cursor(mut self, kind: u8) -> Option<Cursor> {
        let cursor = Cursor {
            engine: u64::from_be_bytes(self.take()?),
            container: ContainerId::from_bytes(self.take()?),
            issued: i64::from_be_bytes(self.take()?),
            place: match kind {
                SINCE => Place::Since(i64::from_be_bytes(self.take()?)),
                _ => Place::At(Position {
                    anchor: self.anchor()?,
                    open: self.open()?,
                    verified: self.verified()?,
                }),
            },
        };
        self.0.is_empty().then_some(cursor)
    }

    fn verified(&mut self) -> Option<Option<Verified>> {
        if self.0.is_empty() {
            return Some(None);
        }
        let count = u32::from(u16::from_be_bytes(self.take()?));
        let anchor = self.anchor()?;
        Some(Some(Verified { anchor, count }))
    }

    fn anchor(&mut self) -> Option<Option<Anchor>> {
        let [head] = self.take()?;
        let stream = match head & 0x7f {
            0 => return (head == 0).then_some(None),
            1 => Stream::Stdout,
            2 => Stream::Stderr,
            3 => Stream::Tty,
            _ => return None,
        };
        Some(Some(Anchor {
            stream,
            time: i64::from_be_bytes(self.take()?),
            ordinal: u32::from_be_bytes(self.take()?),
            hash: u64::from_be_bytes(self.take()?),
            ends_line: head & 0x80 != 0,
        }))
    }

    fn open(&mut self) -> Option<OpenLines> {
        let [mask] = self.take()?;
        let mut open = [None; 3];
        for (slot, time) in open.iter_mut().enumerate() {
            if mask & 1 << slot != 0 {
                *time = Some(i64::from_be_bytes(self.take()?));
            }
        }
        (mask < 8).then_some(open)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn anchors() -> impl Strategy<Value = Anchor> {
        let stream = prop_oneof![
            Just(Stream::Stdout),
            Just(Stream::Stderr),
            Just(Stream::Tty)
        ];
        (
            stream,
            any::<i64>(),
            any::<u32>(),
            any::<u64>(),
            any::<bool>(),
        )
            .prop_map(|(stream, time, ordinal, hash, ends_line)| Anchor {
                stream,
                time,
                ordinal,
                hash,
                ends_line,
            })
    }

    fn cursors() -> impl Strategy<Value = Cursor> {
        // A terminal has no other stream beside it.
        let open = any::<[Option<i64>; 2]>().prop_map(|[out, err]| [out, err, None]);
        let verified = (proptest::option::of(anchors()), any::<u16>());
        let verified = verified.prop_map(|(anchor, count)| Verified {
            anchor,
            count: u32::from(count),
        });
        let verified = proptest::option::of(verified);
        let position = (proptest::option::of(anchors()), open, verified);
        let at = position.prop_map(|(anchor, open, verified)| {
            Place::At(Position {
                anchor,
                open,
                verified,
            })
        });
        let place = prop_oneof![3 => at, 1 => any::<i64>().prop_map(Place::Since)];
        (any::<u64>(), any::<[u8; 32]>(), any::<i64>(), place).prop_map(
            |(engine, id, issued, place)| Cursor {
                engine,
                container: ContainerId::from_bytes(id),
                issued,
                place,
            },
        )
    }

    proptest! {
        #[test]
        fn a_cursor_survives_its_text_and_fits_the_promised_length(cursor in cursors()) {
            let text = cursor.encode();
            prop_assert!(text.len() <= MAX_CURSOR, "{}", text.len());
            prop_assert_eq!(Cursor::decode(&text), Ok(cursor));
        }

        #[test]
        fn a_changed_or_cut_text_is_refused(cursor in cursors(), at in any::<prop::sample::Index>(), to in "[A-Za-z0-9_-]") {
            let text = cursor.encode();
            let at = at.index(text.len());
            let mut changed = text.clone();
            changed.replace_range(at..=at, &to);
            prop_assume!(changed != text);
            prop_assert!(Cursor::decode(&changed).is_err());
            prop_assert!(Cursor::decode(&text[..at]).is_err());
        }

        #[test]
        fn garbage_is_refused_without_a_panic(text in ".*") {
            prop_assert!(Cursor::decode(&text).is_err());
        }
    }
}
