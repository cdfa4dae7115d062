//! A batch compressed, once for all who asked for it.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::writer::PREFIX;

/// A smaller message gains too little.
const LEAST: usize = 512;

/// A framed message with its content compressed; `None` if that does not at least
/// halve it, so that compressed copies add at most half to what a ring holds.
pub(super) fn compressed(framed: &[u8]) -> Option<Bytes> {
    let message = framed.get(PREFIX..).filter(|m| m.len() >= LEAST)?;
    let mut out = Vec::with_capacity(framed.len() / 2);
    out.extend_from_slice(&[0; PREFIX]);
    // The fastest: higher levels cost four times as much for a tenth less.
    let mut encoder = GzEncoder::new(out, Compression::fast());
    encoder.write_all(message).ok()?;
    let mut out = encoder.finish().ok()?;
    let len = u32::try_from(out.len() - PREFIX).ok()?;
    out[0] = 1;
    out[1..PREFIX].copy_from_slice(&len.to_be_bytes());
    (out.len() <= framed.len() / 2).then(|| Bytes::copy_from_slice(&out))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn what_is_compressed_is_the_message_behind_its_prefix() {
        let message = b"a line of a log, and another one\n".repeat(100);
        let framed = [&[0; PREFIX][..], &message].concat();
        let gzip = compressed(&framed).unwrap();
        let len = u32::try_from(gzip.len() - PREFIX).unwrap();
        assert_eq!(gzip[..PREFIX], [&[1][..], &len.to_be_bytes()].concat());
        let mut read = Vec::new();
        let mut decoder = flate2::read::GzDecoder::new(&gzip[PREFIX..]);
        decoder.read_to_end(&mut read).unwrap();
        assert_eq!(read, message);
    }

    #[test]
    fn what_would_hardly_shrink_stays_as_it_is() {
        assert_eq!(compressed(&[0; LEAST]), None);
        let mut random = fastrand::Rng::with_seed(1);
        let noise: Vec<u8> = (0..4_096).map(|_| random.u8(..)).collect();
        assert_eq!(compressed(&noise), None);
    }
}
