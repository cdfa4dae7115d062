//! The least that reading a log can cost: blocking reads, a parser by hand, the pace of Pulsetail's engine thread.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

const READ: usize = 64 * 1024;
const BUSY: Duration = Duration::from_millis(2);
const GATHER: Duration = Duration::from_micros(300);
/// `2026-01-02T03:04:05.123456789Z` and a space.
const STAMP: usize = 31;

/// Opens a container's log from its last `tail` records on and tells `each` of every record: its time within the day in
/// ns, and its text. Ends once `each` says false.
pub(crate) fn follow(
    socket: &Path,
    id: &str,
    tail: &str,
    mut each: impl FnMut(u64, &[u8]) -> bool,
) -> io::Result<()> {
    let mut stream = UnixStream::connect(socket)?;
    let query = format!("follow=1&stdout=1&stderr=1&timestamps=1&tail={tail}");
    stream.write_all(
        format!("GET /containers/{id}/logs?{query} HTTP/1.1\r\nHost: docker\r\n\r\n").as_bytes(),
    )?;
    let (mut held, mut piece) = (Vec::new(), vec![0; READ]);
    let mut last = Instant::now();
    let mut in_head = true;
    loop {
        if last.elapsed() < BUSY {
            thread::sleep(GATHER);
        }
        let read = stream.read(&mut piece)?;
        last = Instant::now();
        if read == 0 {
            return Ok(());
        }
        held.extend_from_slice(&piece[..read]);
        let mut done = 0;
        if in_head {
            let Some(end) = held.windows(4).position(|w| w == b"\r\n\r\n") else {
                continue;
            };
            (in_head, done) = (false, end + 4);
        }
        while let Some((time, text, len)) = record(&held[done..]) {
            if !each(time, text) {
                return Ok(());
            }
            done += len;
        }
        held.drain(..done);
    }
}

/// The first HTTP chunk, which is a record, and how long it is.
fn record(bytes: &[u8]) -> Option<(u64, &[u8], usize)> {
    let line = bytes.iter().position(|byte| *byte == b'\n')?;
    let digits = bytes[..line - 1].iter();
    let len = digits.fold(0, |len, digit| {
        len << 4 | char::from(*digit).to_digit(16).unwrap_or(0) as usize
    });
    let frame = bytes.get(line + 1..line + 1 + len + 2)?;
    let text = &frame[8 + STAMP..len];
    Some((time(&frame[8..8 + STAMP]), text, line + 1 + len + 2))
}

/// The time within its day, in ns, of a stamp.
pub(crate) fn time(stamp: &[u8]) -> u64 {
    let number = |from: usize, to: usize| {
        stamp[from..to]
            .iter()
            .fold(0, |n, digit| n * 10 + u64::from(digit - b'0'))
    };
    let seconds = number(11, 13) * 3_600 + number(14, 16) * 60 + number(17, 19);
    seconds * 1_000_000_000 + number(20, 29)
}
