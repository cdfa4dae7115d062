//! The place of a page, as text for clients to bring back.
//!
//! Like a cursor it needs no secret and no state, so it outlives a restart. It is
//! bound to the request whose pages it leads through.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use prost::Message;
use xxhash_rust::xxh3::xxh3_64;

use crate::docker::ContainerId;
use crate::proto::ListLogEntriesRequest;
use crate::tail::{Border, Cursor, Edge, Place, Position};

/// Longer than any token.
const MAX_TOKEN: usize = 512;
const VERSION: u8 = 1;
const CHECKSUM: usize = 8;

/// Where a page ends, in which log, for which request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PageToken {
    /// Digest of the engine's id.
    pub(crate) engine: u64,
    /// Whose log.
    pub(crate) container: ContainerId,
    /// Digest of the request's fields.
    pub(crate) request: u64,
    /// Where.
    pub(crate) border: Border,
    /// Stamp of the first entry behind it, if one was given.
    pub(crate) behind: Option<i64>,
}

/// The digest of all that must be the same for all pages.
pub(crate) fn digest(request: &ListLogEntriesRequest) -> u64 {
    let same = ListLogEntriesRequest {
        page_size: 0,
        page_token: String::new(),
        ..request.clone()
    };
    xxh3_64(&same.encode_to_vec())
}

impl PageToken {
    /// Its text: base64url without padding.
    pub(crate) fn encode(&self) -> String {
        let Edge { anchor, ended } = self.border.edge;
        let ended = (0..3).filter(|slot| ended[*slot]);
        // The cursor of the same place: its text holds engine, container, record.
        let place = Position {
            anchor: Some(anchor),
            ..Position::default()
        };
        let cursor = Cursor {
            engine: self.engine,
            container: self.container,
            issued: self.behind.unwrap_or_default(),
            place: Place::At(Position {
                open: self.border.next,
                ..place
            }),
        };
        let mut bytes = vec![VERSION];
        bytes.push(ended.fold(0, |mask, slot| mask | 1 << slot));
        bytes.push(u8::from(self.behind.is_some()));
        bytes.extend_from_slice(&self.request.to_be_bytes());
        bytes.extend_from_slice(&self.border.distance.to_be_bytes());
        bytes.extend_from_slice(&self.border.width.to_be_bytes());
        bytes.extend_from_slice(cursor.encode().as_bytes());
        let sum = xxh3_64(&bytes).to_be_bytes();
        bytes.extend_from_slice(&sum[..CHECKSUM]);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads a token's text; `None` if it is not one of this release's.
    pub(crate) fn decode(text: &str) -> Option<Self> {
        if text.len() > MAX_TOKEN {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (body, sum) = bytes.split_last_chunk::<CHECKSUM>()?;
        if xxh3_64(body).to_be_bytes() != *sum {
            return None;
        }
        let ([VERSION, ended, has_behind], rest) = body.split_first_chunk()? else {
            return None;
        };
        let (request, rest) = rest.split_first_chunk()?;
        let (distance, rest) = rest.split_first_chunk()?;
        let (width, rest) = rest.split_first_chunk()?;
        let cursor = Cursor::decode(str::from_utf8(rest).ok()?).ok()?;
        let Place::At(position) = cursor.place else {
            return None;
        };
        Some(Self {
            engine: cursor.engine,
            container: cursor.container,
            request: u64::from_be_bytes(*request),
            border: Border {
                edge: Edge {
                    anchor: position.anchor?,
                    ended: [0, 1, 2].map(|slot| ended & 1 << slot != 0),
                },
                distance: u32::from_be_bytes(*distance),
                width: u32::from_be_bytes(*width),
                next: position.open,
            },
            behind: (*has_behind != 0).then_some(cursor.issued),
        })
    }
}
