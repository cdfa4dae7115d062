//! The response bytes between the engine's socket and hyper, rewritten in place.
//!
//! The head passes through. A log body is taken out of its HTTP coding, checked
//! frame by frame, and put back as few large chunks: hyper and bollard cost several
//! hundred ns per chunk and frame, and dockerd writes one of each per record. So each
//! chunk is a single frame, a bundle of those that came at once. Other bodies pass
//! through under a size limit.

use std::io;

use bytes::{Buf, BytesMut};

use super::frames::{Framer, Framing, bundle_header};

const MAX_HEAD: usize = 64 * 1024;
const MAX_HEADERS: usize = 64;
const MAX_CHUNK_LINE: usize = 1024;
/// More than a length has that memory can hold.
const MAX_CHUNK_DIGITS: usize = 15;
/// Room for the length of a chunk that is still being filled.
const CHUNK_HEAD: &[u8] = b"00000000\r\n";

/// What a response body may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Body {
    /// Log frames.
    Log(Framing),
    /// One JSON document of at most this many bytes.
    Document(usize),
    /// JSON documents without end, each at most this many bytes.
    Lines(usize),
}

/// A response being rewritten.
#[derive(Debug)]
pub(crate) struct Response {
    body: Body,
    state: State,
    /// Read from the engine, not yet understood.
    input: BytesMut,
}

#[derive(Debug)]
enum State {
    Head,
    Log { framer: Framer, coding: Coding },
    Passing { budget: usize },
    Ended,
}

#[derive(Debug)]
enum Coding {
    ChunkLine,
    Chunk {
        left: usize,
        fresh: bool,
    },
    ChunkEnd,
    Trailer,
    Length(usize),
    /// Neither length nor chunks: the connection's end is the body's.
    UntilClose,
}

impl Response {
    pub(crate) fn new(body: Body) -> Self {
        Self {
            body,
            state: State::Head,
            input: BytesMut::new(),
        }
    }

    /// Whether the head has been handed on.
    pub(crate) fn has_head(&self) -> bool {
        !matches!(self.state, State::Head)
    }

    /// Where bytes from the engine go.
    pub(crate) fn input(&mut self) -> &mut BytesMut {
        &mut self.input
    }

    /// Works off the input; what hyper may see is appended to `out`.
    pub(crate) fn advance(&mut self, out: &mut BytesMut) -> io::Result<()> {
        loop {
            match &mut self.state {
                State::Head => match self.take_head(out)? {
                    true => {}
                    false => return Ok(()),
                },
                State::Log { framer, coding } => {
                    let mut rest = &self.input[..];
                    let ended = bundle(out, |out| decode(coding, &mut rest, framer, out));
                    let used = self.input.len() - rest.len();
                    self.input.advance(used);
                    if !ended? {
                        return Ok(());
                    }
                    out.extend_from_slice(b"0\r\n\r\n");
                    self.state = State::Ended;
                }
                State::Passing { budget } => {
                    pass(self.body, budget, &mut self.input, out)?;
                    return Ok(());
                }
                State::Ended => {
                    self.input.clear();
                    return Ok(());
                }
            }
        }
    }

    /// The engine closed the connection. A cut body stays cut: hyper sees no
    /// last chunk.
    pub(crate) fn closed(&mut self, out: &mut BytesMut) -> io::Result<()> {
        let State::Log { framer, coding } = &mut self.state else {
            return Ok(());
        };
        match coding {
            Coding::UntilClose => {
                bundle(out, |out| framer.finish(out))?;
                out.extend_from_slice(b"0\r\n\r\n");
                self.state = State::Ended;
                Ok(())
            }
            _ => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the engine cut a log stream",
            )),
        }
    }

    fn take_head(&mut self, out: &mut BytesMut) -> io::Result<bool> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut head = httparse::Response::new(&mut headers);
        let len = match head.parse(&self.input).map_err(invalid)? {
            httparse::Status::Complete(len) => len,
            httparse::Status::Partial if self.input.len() > MAX_HEAD => {
                return Err(invalid("the engine's response head is too large"));
            }
            httparse::Status::Partial => return Ok(false),
        };
        let status = head.code.unwrap_or(0);
        match self.body {
            Body::Log(framing) if status == 200 => {
                let coding = coding_of(head.headers)?;
                self.state = State::Log {
                    framer: Framer::new(framing),
                    coding,
                };
                out.extend_from_slice(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
                self.input.advance(len);
            }
            // An interim response; the real one follows.
            _ if (100..200).contains(&status) => self.input.advance(len),
            body => {
                out.extend_from_slice(&self.input.split_to(len));
                let budget = match body {
                    Body::Lines(max) | Body::Document(max) => max,
                    // An error's message.
                    Body::Log(_) => MAX_HEAD,
                };
                self.state = State::Passing { budget };
            }
        }
        Ok(true)
    }
}

fn coding_of(headers: &[httparse::Header<'_>]) -> io::Result<Coding> {
    let value = |name: &str| {
        let header = headers.iter().find(|h| h.name.eq_ignore_ascii_case(name));
        header.map(|h| String::from_utf8_lossy(h.value).trim().to_ascii_lowercase())
    };
    match (
        value("transfer-encoding").as_deref(),
        value("content-length"),
    ) {
        (Some("chunked"), _) => Ok(Coding::ChunkLine),
        (Some(other), _) => Err(invalid(format!("transfer coding {other} is not supported"))),
        (None, Some(length)) => length.parse().map(Coding::Length).map_err(invalid),
        (None, None) => Ok(Coding::UntilClose),
    }
}

/// Feeds body bytes to the framer; true once the body has ended.
fn decode(
    coding: &mut Coding,
    input: &mut &[u8],
    framer: &mut Framer,
    frames: &mut BytesMut,
) -> io::Result<bool> {
    loop {
        match coding {
            Coding::ChunkLine => {
                let Some(line) = take_line(input)? else {
                    return Ok(false);
                };
                *coding = match chunk_len(line)? {
                    0 => Coding::Trailer,
                    left => Coding::Chunk { left, fresh: true },
                };
            }
            Coding::Chunk { left, fresh } => {
                if input.is_empty() {
                    return Ok(false);
                }
                let (bytes, rest) = input.split_at(input.len().min(*left));
                framer.push(bytes, *fresh, frames)?;
                *input = rest;
                let len = bytes.len();
                (*left, *fresh) = (*left - len, false);
                if *left == 0 {
                    *coding = Coding::ChunkEnd;
                }
            }
            // Most often it is there, and is no line to look for.
            Coding::ChunkEnd if input.starts_with(b"\r\n") => {
                *input = &input[2..];
                *coding = Coding::ChunkLine;
            }
            Coding::ChunkEnd => match take_line(input)? {
                None => return Ok(false),
                Some(b"") => *coding = Coding::ChunkLine,
                Some(_) => return Err(invalid("an HTTP chunk does not end where it says")),
            },
            Coding::Trailer => match take_line(input)? {
                None => return Ok(false),
                Some(b"") => return framer.finish(frames).map(|()| true),
                Some(_) => {}
            },
            Coding::Length(0) => return framer.finish(frames).map(|()| true),
            Coding::Length(left) => {
                if input.is_empty() {
                    return Ok(false);
                }
                let (bytes, rest) = input.split_at(input.len().min(*left));
                framer.push(bytes, false, frames)?;
                *input = rest;
                *left -= bytes.len();
            }
            Coding::UntilClose => {
                let bytes = std::mem::take(input);
                return framer.push(bytes, false, frames).map(|()| false);
            }
        }
    }
}

fn take_line<'a>(input: &mut &'a [u8]) -> io::Result<Option<&'a [u8]>> {
    let Some(end) = input.iter().take(MAX_CHUNK_LINE).position(|b| *b == b'\n') else {
        return match input.len() >= MAX_CHUNK_LINE {
            true => Err(invalid("an HTTP chunk head is too long")),
            false => Ok(None),
        };
    };
    let line = &input[..end];
    *input = &input[end + 1..];
    Ok(Some(line.strip_suffix(b"\r").unwrap_or(line)))
}

fn chunk_len(line: &[u8]) -> io::Result<usize> {
    let digits = match line.iter().position(|b| *b == b';') {
        Some(extension) => &line[..extension],
        None => line,
    };
    let digits = digits.trim_ascii();
    if !(1..=MAX_CHUNK_DIGITS).contains(&digits.len()) {
        return Err(invalid("an HTTP chunk has no length"));
    }
    digits.iter().try_fold(0, |len, digit| {
        let digit = char::from(*digit).to_digit(16);
        let digit = digit.ok_or_else(|| invalid("an HTTP chunk's length is no number"))?;
        Ok(len << 4 | digit as usize)
    })
}

/// Puts the frames that `fill` appends into one bundle, which is one chunk; none if it
/// appends nothing.
fn bundle<T>(
    out: &mut BytesMut,
    fill: impl FnOnce(&mut BytesMut) -> io::Result<T>,
) -> io::Result<T> {
    let start = out.len();
    out.extend_from_slice(CHUNK_HEAD);
    out.extend_from_slice(&bundle_header(0));
    let first = out.len();
    let filled = fill(out);
    match out.len() - first {
        0 => out.truncate(start),
        len => {
            let header = bundle_header(len);
            let head = format!("{:08x}", header.len() + len);
            out[start..start + head.len()].copy_from_slice(head.as_bytes());
            out[first - header.len()..first].copy_from_slice(&header);
            out.extend_from_slice(b"\r\n");
        }
    }
    filled
}

fn pass(
    body: Body,
    budget: &mut usize,
    input: &mut BytesMut,
    out: &mut BytesMut,
) -> io::Result<()> {
    let counted = match body {
        Body::Lines(max) => match input.iter().rposition(|b| *b == b'\n') {
            Some(newline) => {
                *budget = max;
                input.len() - newline
            }
            None => input.len(),
        },
        Body::Document(_) | Body::Log(_) => input.len(),
    };
    *budget = budget
        .checked_sub(counted)
        .ok_or_else(|| invalid("the engine's answer is too large"))?;
    out.extend_from_slice(&input.split());
    Ok(())
}

fn invalid(error: impl ToString) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::super::{Framing, next_of_bundle};
    use super::*;

    /// What dockerd writes for a record: a chunk of one frame.
    fn chunk(record: &str) -> Vec<u8> {
        let len = u32::try_from(record.len()).expect("it is short");
        let frame = [&[1, 0, 0, 0], &len.to_be_bytes()[..], record.as_bytes()].concat();
        let head = format!("{:x}\r\n", frame.len());
        [head.as_bytes(), &frame, b"\r\n"].concat()
    }

    /// Works off one read: the chunks that hyper sees, each with the frames in it.
    fn read(response: &mut Response, bytes: &[u8]) -> Vec<usize> {
        let mut out = BytesMut::new();
        response.input().extend_from_slice(bytes);
        response.advance(&mut out).expect("it is a response");
        let body = out.windows(4).position(|end| end == b"\r\n\r\n");
        let mut rest = match body.filter(|_| out.starts_with(b"HTTP/1.1")) {
            Some(end) => &out[end + 4..],
            None => &out[..],
        };
        let mut chunks = Vec::new();
        while let Some(line) = take_line(&mut rest).expect("it is a line") {
            let (bundle, behind) = rest.split_at(chunk_len(line).expect("it is a length"));
            // Behind the bundle's own header.
            let mut frames = &bundle[bundle_header(0).len()..];
            let mut count = 0;
            while let Some((_, frame)) = next_of_bundle(frames) {
                frames = &frames[frame.end..];
                count += 1;
            }
            chunks.push(count);
            rest = behind.strip_prefix(b"\r\n").expect("a chunk ends");
        }
        chunks
    }

    #[test]
    fn small_chunks_that_come_at_once_leave_as_one() {
        let mut response = Response::new(Body::Log(Framing::Multiplexed));
        let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        let line = chunk("2026-11-26T00:00:00.000000001Z one\n");
        let first = [head, &line.repeat(3)[..]].concat();
        assert_eq!(read(&mut response, &first), [3]);
        assert_eq!(read(&mut response, &line), [1]);
        // The last one is not whole.
        let (begun, rest) = line.split_at(20);
        let many = [&line.repeat(100)[..], begun].concat();
        assert_eq!(read(&mut response, &many), [100]);
        assert!(read(&mut response, &[]).is_empty());
        assert_eq!(read(&mut response, rest), [1]);
    }
}
