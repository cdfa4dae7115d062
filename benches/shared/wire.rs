//! Messages as they came, and what is in them without decoding them.

use bytes::{Buf, Bytes};
use prost::Message;
use pulsetail::proto::StreamLogsRequest;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

const RESPONSE_BATCH: u8 = 2 << 3 | 2;
const BATCH_ENTRIES: u64 = 2 << 3 | 2;
const ENTRY_TIME: u64 = 1 << 3 | 2;

/// Leaves messages undecoded.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Raw;

impl Codec for Raw {
    type Encode = StreamLogsRequest;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Raw {
    type Item = StreamLogsRequest;
    type Error = Status;

    fn encode(&mut self, item: Self::Item, buf: &mut EncodeBuf<'_>) -> Result<(), Status> {
        let encoded = item.encode(buf);
        encoded.map_err(|error| Status::internal(error.to_string()))
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        let len = buf.remaining();
        Ok(Some(buf.copy_to_bytes(len)))
    }
}

/// The times of a batch's entries, ns since the Unix epoch; `None`: another message.
pub(crate) fn times(message: &[u8]) -> Option<impl Iterator<Item = i64> + '_> {
    let (&RESPONSE_BATCH, mut batch) = message.split_first()? else {
        return None;
    };
    varint(&mut batch);
    Some(
        fields(batch)
            .filter(|(tag, _, _)| *tag == BATCH_ENTRIES)
            .map(|(_, entry, _)| time_of(entry)),
    )
}

fn time_of(entry: &[u8]) -> i64 {
    let time = fields(entry).find(|(tag, _, _)| *tag == ENTRY_TIME);
    let parts = time.into_iter().flat_map(|(_, time, _)| fields(time));
    let ns = parts.map(|(tag, _, number)| {
        if tag >> 3 == 1 {
            number * 1_000_000_000
        } else {
            number
        }
    });
    ns.sum::<u64>().cast_signed()
}

/// Tag, bytes and number of every field.
fn fields(mut bytes: &[u8]) -> impl Iterator<Item = (u64, &[u8], u64)> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let tag = varint(&mut bytes);
        let number = varint(&mut bytes);
        let len = if tag & 7 == 2 {
            usize::try_from(number).ok()?
        } else {
            0
        };
        let (field, rest) = bytes.split_at_checked(len)?;
        bytes = rest;
        Some((tag, field, number))
    })
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let Some((&byte, rest)) = bytes.split_first() else {
            break;
        };
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    value
}
