//! Whole, bounded frames out of a log body, whatever the engine sends.
//!
//! bollard guesses from a stream's first byte whether it is framed, buffers what
//! a frame header claims (up to 4 GiB) and hands a torn frame on as console
//! output. It never gets to: this module hands on complete frames of stdout, stderr
//! and the engine's own errors only, and frames the raw records of a TTY container
//! itself.

use std::io;
use std::ops::Range;

use bytes::{Buf, BytesMut};

use crate::docker::record::PART_BYTES;
use crate::docker::timestamp::Prefix;

const HEADER: usize = 8;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
/// The engine's own error text, in-band: `Systemerr` in moby `stdcopy`.
const ENGINE_ERROR: u8 = 3;

/// Largest frame accepted. The largest record any driver of moby stores is the
/// awslogs cache's, 256 KiB; the rest is room for a timestamp and attributes.
pub(crate) const MAX_FRAME: usize = 512 * 1024;

/// Header of a frame that holds `len` bytes of frames: what bollard sees of them.
pub(crate) fn bundle_header(len: usize) -> [u8; HEADER] {
    let len = u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes();
    [STDOUT, 0, 0, 0, len[0], len[1], len[2], len[3]]
}

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Stdout,
    Stderr,
    /// What the engine says of a log that it cannot read.
    Words,
}

/// The first frame of a bundle: what it holds, and where its bytes stand. `None`:
/// that is no frame.
pub(crate) fn next_of_bundle(bundle: &[u8]) -> Option<(Kind, Range<usize>)> {
    let header = bundle.get(..HEADER)?;
    let kind = match header[0] {
        STDOUT => Kind::Stdout,
        STDERR => Kind::Stderr,
        ENGINE_ERROR => Kind::Words,
        _ => return None,
    };
    let bytes = HEADER..HEADER + be32(&header[4..]);
    (bytes.end <= bundle.len()).then_some((kind, bytes))
}

/// How the bytes of a log body are to be read; `inspect` says, never a guess.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// stdout and stderr, each record in a frame with a header.
    Multiplexed,
    /// A terminal's raw records behind each other.
    Tty,
}

/// Turns body bytes into whole frames.
#[derive(Debug)]
pub(crate) struct Framer {
    framing: Framing,
    held: BytesMut,
    tty: TtyState,
}

/// What is known of the record that `held` starts with.
#[derive(Debug, Default)]
struct TtyState {
    /// Prefix of a record whose first part was handed on at 16 KiB.
    continued: Option<Vec<u8>>,
    /// Offset in `held` where an HTTP chunk began inside the record.
    border: Option<usize>,
}

impl Framer {
    pub(crate) fn new(framing: Framing) -> Self {
        Self {
            framing,
            held: BytesMut::new(),
            tty: TtyState::default(),
        }
    }

    /// Takes body bytes and appends every frame they complete to `out`. `chunk_start`
    /// says that an HTTP chunk begins with them: dockerd writes one chunk per record,
    /// which is the only mark between raw records that do not end with a newline.
    pub(crate) fn push(
        &mut self,
        bytes: &[u8],
        chunk_start: bool,
        out: &mut BytesMut,
    ) -> io::Result<()> {
        if chunk_start {
            // An earlier border still unresolved was no record's: a proxy cut there.
            self.tty.border = Some(self.held.len()).filter(|at| *at > 0);
        }
        if self.framing == Framing::Tty {
            self.held.extend_from_slice(bytes);
            return while_true(|| self.take_tty_record(out));
        }
        // Most often whole frames come at once: they are not copied twice.
        if self.held.is_empty() {
            let (whole, verdict) = whole_frames(bytes);
            out.extend_from_slice(&bytes[..whole]);
            if whole < bytes.len() {
                self.held.extend_from_slice(&bytes[whole..]);
            }
            return verdict;
        }
        self.held.extend_from_slice(bytes);
        let (whole, verdict) = whole_frames(&self.held);
        out.extend_from_slice(&self.held[..whole]);
        self.held.advance(whole);
        verdict
    }

    /// The body ended as HTTP says it should.
    pub(crate) fn finish(&mut self, out: &mut BytesMut) -> io::Result<()> {
        if self.held.is_empty() {
            return Ok(());
        }
        match (self.framing, self.tty_prefix()) {
            (Framing::Tty, Some((prefix, inside))) => {
                // A program's last words need no newline.
                let len = self.held.len();
                self.emit_tty(&prefix, inside, len, out);
                Ok(())
            }
            _ => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the engine ended a log stream inside a record",
            )),
        }
    }

    /// Takes the first raw record if its end is known; says whether it did.
    fn take_tty_record(&mut self, out: &mut BytesMut) -> io::Result<bool> {
        if self.held.is_empty() {
            return Ok(false);
        }
        let Some((prefix, inside)) = self.tty_prefix() else {
            return match Prefix::of(&self.held) {
                Prefix::Incomplete => Ok(false),
                _ => Err(invalid("a TTY record does not start with a timestamp")),
            };
        };
        let Some(end) = self.tty_record_end(inside) else {
            return Ok(false);
        };
        self.emit_tty(&prefix, inside, end, out);
        Ok(true)
    }

    /// The prefix of the record `held` starts with, and how many of its bytes
    /// stand in `held`.
    fn tty_prefix(&self) -> Option<(Vec<u8>, usize)> {
        match (Prefix::of(&self.held), &self.tty.continued) {
            (Prefix::Complete { len, .. }, _) => Some((self.held[..len].to_vec(), len)),
            // A driver with larger parts than 16 KiB: the same record goes on.
            (_, Some(prefix)) if !self.may_be_prefix() => Some((prefix.clone(), 0)),
            _ => None,
        }
    }

    fn may_be_prefix(&self) -> bool {
        Prefix::of(&self.held) == Prefix::Incomplete
    }

    fn tty_record_end(&self, start: usize) -> Option<usize> {
        let payload = &self.held[start..];
        let part = &payload[..payload.len().min(PART_BYTES)];
        if let Some(newline) = part.iter().position(|b| *b == b'\n') {
            // A record begun in a later chunk may stand before this newline.
            let end = start + newline + 1;
            return Some(
                self.tty_border()
                    .filter(|border| *border < end)
                    .unwrap_or(end),
            );
        }
        let full = (part.len() == PART_BYTES).then_some(start + PART_BYTES);
        match (self.tty_border(), full) {
            (Some(border), Some(full)) => Some(border.min(full)),
            (border, full) => border.or(full),
        }
    }

    /// Where another record begins although the first has no newline.
    fn tty_border(&self) -> Option<usize> {
        let border = self.tty.border?;
        matches!(
            Prefix::of(self.held.get(border..)?),
            Prefix::Complete { .. }
        )
        .then_some(border)
    }

    fn emit_tty(&mut self, prefix: &[u8], start: usize, end: usize, out: &mut BytesMut) {
        let payload = &self.held[start..end];
        let len = u32::try_from(prefix.len() + payload.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&[STDOUT, 0, 0, 0]);
        out.extend_from_slice(&len.to_be_bytes());
        out.extend_from_slice(prefix);
        out.extend_from_slice(payload);
        let full_part = payload.len() == PART_BYTES && !payload.ends_with(b"\n");
        self.tty.continued = full_part.then(|| prefix.to_vec());
        self.tty.border = self.tty.border.and_then(|border| border.checked_sub(end));
        self.tty.border = self.tty.border.filter(|border| *border > 0);
        self.held.advance(end);
    }
}

/// How many bytes at the start are whole frames, and what is wrong behind these.
fn whole_frames(bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut whole = 0;
    loop {
        match frame_at(&bytes[whole..]) {
            Ok(Some(len)) => whole += len,
            Ok(None) => return (whole, Ok(())),
            Err(error) => return (whole, Err(error)),
        }
    }
}

/// Length of the frame that `bytes` start with; `None` until it is complete.
fn frame_at(bytes: &[u8]) -> io::Result<Option<usize>> {
    let Some(header) = bytes.get(..HEADER) else {
        return Ok(None);
    };
    let (kind, len) = (header[0], be32(&header[4..]));
    if !matches!(kind, STDOUT | STDERR | ENGINE_ERROR) {
        return Err(invalid(format!(
            "the engine sent a frame of unknown type {kind}"
        )));
    }
    if len > MAX_FRAME {
        return Err(invalid(format!(
            "the engine sent a frame of {len} bytes; at most {MAX_FRAME} are accepted"
        )));
    }
    Ok((bytes.len() >= HEADER + len).then_some(HEADER + len))
}

fn while_true(mut step: impl FnMut() -> io::Result<bool>) -> io::Result<()> {
    while step()? {}
    Ok(())
}

fn be32(bytes: &[u8]) -> usize {
    let four = bytes.iter().take(4);
    four.fold(0, |value, byte| value << 8 | usize::from(*byte))
}

fn invalid(message: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: &str = "2026-11-23T20:19:57.012345678Z ";

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&[kind, 0, 0, 0][..], &len, payload].concat()
    }

    fn tty(text: &[u8]) -> Vec<u8> {
        [STAMP.as_bytes(), text].concat()
    }

    /// Frames of `chunks`, then the clean end.
    fn frames_of(framing: Framing, chunks: &[&[u8]]) -> io::Result<Vec<u8>> {
        let (mut framer, mut out) = (Framer::new(framing), BytesMut::new());
        for chunk in chunks {
            framer.push(chunk, true, &mut out)?;
        }
        framer.finish(&mut out)?;
        Ok(out.to_vec())
    }

    #[test]
    fn frames_pass_unchanged_however_they_are_cut() {
        let whole = [frame(1, b"out\n"), frame(2, b""), frame(2, &[7; 300])].concat();
        for cut in 0..whole.len() {
            let (a, b) = whole.split_at(cut);
            let out = frames_of(Framing::Multiplexed, &[a, b]).unwrap();
            assert_eq!(out, whole, "cut at {cut}");
        }
    }

    #[test]
    fn a_bundle_gives_its_frames_back() {
        let frames = [frame(1, b"out\n"), frame(2, b""), frame(3, b"error\n")].concat();
        let (mut rest, mut seen) = (&frames[..], Vec::new());
        while let Some((kind, bytes)) = next_of_bundle(rest) {
            seen.push((kind, rest[bytes.clone()].to_vec()));
            rest = &rest[bytes.end..];
        }
        let expected = [
            (Kind::Stdout, "out\n"),
            (Kind::Stderr, ""),
            (Kind::Words, "error\n"),
        ];
        let expected = expected.map(|(kind, text)| (kind, text.as_bytes().to_vec()));
        assert_eq!((seen, rest), (expected.to_vec(), &[][..]));
        assert_eq!(next_of_bundle(&frames[..10]), None);
        assert_eq!(bundle_header(0x0102), [1, 0, 0, 0, 0, 0, 1, 2]);
    }

    #[test]
    fn a_torn_frame_is_an_error_and_never_output() {
        let torn = &frame(1, b"hello\n")[..10];
        let (mut framer, mut out) = (Framer::new(Framing::Multiplexed), BytesMut::new());
        framer.push(torn, true, &mut out).unwrap();
        let error = framer.finish(&mut out).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert!(out.is_empty());
    }

    #[test]
    fn an_oversized_header_is_refused_before_its_bytes_come() {
        let header = [1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff];
        let error = frames_of(Framing::Multiplexed, &[&header]).unwrap_err();
        assert!(error.to_string().contains("4294967295"), "{error}");
    }

    #[test]
    fn unknown_types_end_the_stream() {
        let unknown = frames_of(Framing::Multiplexed, &[&frame(9, b"x")]).unwrap_err();
        assert!(unknown.to_string().contains("type 9"));
    }

    #[test]
    fn frames_before_one_of_unknown_type_are_handed_on() {
        let (good, bad) = (frame(1, b"good\n"), frame(9, b"bad"));
        let (mut framer, mut out) = (Framer::new(Framing::Multiplexed), BytesMut::new());
        let bytes = [good.clone(), bad].concat();
        assert!(framer.push(&bytes, true, &mut out).is_err());
        assert_eq!(out, good);
    }

    #[test]
    fn tty_records_are_framed_however_they_are_cut() {
        let (one, two) = (tty(b"\x01\x00\x00\x00\x7f\xff\xff\xff\r\n"), tty(b"$ \r\n"));
        let whole = [one.clone(), two.clone()].concat();
        let expected = [frame(1, &one), frame(1, &two)].concat();
        for cut in 0..whole.len() {
            let (a, b) = whole.split_at(cut);
            assert_eq!(
                frames_of(Framing::Tty, &[a, b]).unwrap(),
                expected,
                "cut at {cut}"
            );
        }
    }

    #[test]
    fn tty_records_without_a_newline_end_where_the_next_chunk_is_stamped() {
        let (one, two) = (tty(b"$ "), tty(b"$ exit\r\n"));
        let out = frames_of(Framing::Tty, &[&one, &two]).unwrap();
        assert_eq!(out, [frame(1, &one), frame(1, &two)].concat());
    }

    #[test]
    fn a_long_tty_line_comes_in_parts_of_16_kib() {
        let (full, rest) = (tty(&[b'a'; PART_BYTES]), tty(b"end\n"));
        let expected = [frame(1, &full), frame(1, &full), frame(1, &rest)].concat();
        let joined = [full.clone(), full.clone(), rest.clone()].concat();
        assert_eq!(frames_of(Framing::Tty, &[&joined]).unwrap(), expected);
        assert_eq!(
            frames_of(Framing::Tty, &[&full, &full, &rest]).unwrap(),
            expected
        );
    }

    #[test]
    fn a_larger_part_than_16_kib_goes_on_under_the_same_stamp() {
        let record = tty(&[&[b'a'; PART_BYTES][..], b"tail\n"].concat());
        let expected = [
            frame(1, &record[..31 + PART_BYTES]),
            frame(1, &tty(b"tail\n")),
        ]
        .concat();
        assert_eq!(frames_of(Framing::Tty, &[&record]).unwrap(), expected);
    }

    #[test]
    fn a_tty_body_that_is_not_stamped_is_an_error() {
        assert!(frames_of(Framing::Tty, &[b"no stamp at all here, just text\n"]).is_err());
    }
}
