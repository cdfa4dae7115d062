//! An engine whose containers write numbered lines to a schedule, each line with a write of its own as dockerd does, and
//! which costs little itself. It keeps no lines: each follows from its number.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Lines of a script without a rate are stamped so far apart, in ns.
const FLAT_OUT: u64 = 1_000;
/// Written at once of a script without a rate.
const BULK: usize = 1 << 20;
/// A thread per stream, of which there can be thousands.
const STACK: usize = 64 * 1024;

/// What every container writes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Script {
    pub(crate) containers: usize,
    /// Lines that stand in each log from the beginning.
    pub(crate) stored: u64,
    /// Lines in all; those that are not stored are written from the start signal on.
    pub(crate) lines: u64,
    /// Lines a second; 0: as fast as they are taken, in large pieces.
    pub(crate) rate: u64,
    /// Bytes of a line's text.
    pub(crate) width: usize,
}

impl Script {
    fn interval(&self) -> u64 {
        1_000_000_000_u64.checked_div(self.rate).unwrap_or(FLAT_OUT)
    }
}

/// The id of a container by its place.
pub(crate) fn id(place: usize) -> String {
    format!("{:064x}", 0xabc0_0000 + place)
}

/// The name of a container by its place.
pub(crate) fn name(place: usize) -> String {
    format!("box{place}")
}

/// The text of a line by its number.
pub(crate) fn text(line: u64, width: usize) -> String {
    format!("{line:010} {:x<width$}", "", width = width - 11)
}

struct Engine {
    script: Script,
    /// When it came up, ns since the Unix epoch: stored lines are older.
    made: u64,
    /// The start signal: when, and in ns since the Unix epoch.
    started: OnceLock<(Instant, u64)>,
    signal: (Mutex<bool>, Condvar),
    /// What a stream of a script without a rate sends from the signal on.
    bulk: Vec<u8>,
    follows: AtomicUsize,
    requests: AtomicUsize,
}

/// Serves on a socket for ever.
pub(crate) fn serve(socket: &Path, script: Script) -> io::Result<()> {
    let made = since_epoch();
    let mut engine = Engine {
        script,
        made,
        started: OnceLock::new(),
        signal: (Mutex::new(false), Condvar::new()),
        bulk: Vec::new(),
        follows: AtomicUsize::new(0),
        requests: AtomicUsize::new(0),
    };
    if script.rate == 0 {
        let mut bulk = Vec::new();
        (script.stored..script.lines).for_each(|line| engine.put_chunk(line, made, &mut bulk));
        engine.bulk = bulk;
    }
    let engine = Arc::new(engine);
    let listener = UnixListener::bind(socket)?;
    // Whoever waits for it may connect now.
    fs::write(socket.with_extension("ready"), "")?;
    for stream in listener.incoming() {
        let (mut stream, engine) = (stream?, Arc::clone(&engine));
        let builder = thread::Builder::new().stack_size(STACK);
        // A client that hangs up is no fault.
        builder.spawn(move || drop(engine.answer(&mut stream)))?;
    }
    Ok(())
}

impl Engine {
    fn answer(&self, stream: &mut UnixStream) -> io::Result<()> {
        let mut head = Vec::new();
        let mut piece = [0; 1024];
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read(&mut piece)? {
                0 => return Ok(()),
                read => head.extend_from_slice(&piece[..read]),
            }
        }
        let head = String::from_utf8_lossy(&head);
        let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let steps: Vec<&str> = path
            .split('/')
            .skip_while(|s| s.is_empty() || s.starts_with("v1."))
            .collect();
        if steps[0] != "bench" {
            self.requests.fetch_add(1, Ordering::Relaxed);
        }
        match steps[..] {
            ["bench", "start"] => {
                self.start();
                document(stream, "{}")
            }
            ["bench", "counts"] => {
                let counted = |count: &AtomicUsize| count.load(Ordering::Relaxed);
                document(
                    stream,
                    &format!("{} {}", counted(&self.follows), counted(&self.requests)),
                )
            }
            ["_ping"] => document(stream, "OK"),
            ["version"] => document(
                stream,
                r#"{"Version":"29.0.0","ApiVersion":"1.51","MinAPIVersion":"1.40"}"#,
            ),
            ["info"] => document(stream, r#"{"ID":"paced","Name":"paced"}"#),
            ["events"] => {
                head_of_stream(stream)?;
                until_closed(stream)
            }
            ["containers", "json"] => {
                let all = (0..self.script.containers).map(|place| {
                    format!(
                        r#"{{"Id":"{}","Names":["/{}"],"State":"running"}}"#,
                        id(place),
                        name(place)
                    )
                });
                document(stream, &format!("[{}]", all.collect::<Vec<_>>().join(",")))
            }
            ["containers", id, "json"] => document(stream, &self.inspect(id)),
            ["containers", _, "logs"] => self.logs(stream, query),
            _ => stream.write_all(
                b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}",
            ),
        }
    }

    fn inspect(&self, id: &str) -> String {
        let place = u64::from_str_radix(&id[48..], 16).unwrap_or_default() - 0xabc0_0000;
        let begun = stamp(self.made - 3_600_000_000_000);
        format!(
            r#"{{"Id":"{id}","Name":"/{}","Created":"{begun}","State":{{"Status":"running","Running":true,"StartedAt":"{begun}"}},"HostConfig":{{"LogConfig":{{"Type":"json-file","Config":{{}}}}}},"Config":{{"Tty":false,"Image":"paced"}}}}"#,
            name(usize::try_from(place).unwrap_or_default())
        )
    }

    fn logs(&self, stream: &mut UnixStream, query: &str) -> io::Result<()> {
        let value = |key: &str| query.split('&').find_map(|pair| pair.strip_prefix(key));
        let tail = value("tail=")
            .and_then(|tail| tail.parse().ok())
            .unwrap_or(u64::MAX);
        head_of_stream(stream)?;
        if matches!(value("follow="), Some("true" | "1")) {
            self.follows.fetch_add(1, Ordering::Relaxed);
            return self.follow(stream, tail);
        }
        let written = self.written();
        let mut bytes = Vec::new();
        let first = written.saturating_sub(tail);
        // Of a script that is over all of it is there in large pieces.
        let has_bulk =
            !self.bulk.is_empty() && first <= self.script.stored && written == self.script.lines;
        let formatted = if has_bulk {
            self.script.stored
        } else {
            written
        };
        for line in first..formatted {
            self.put_chunk(line, self.began(), &mut bytes);
            if bytes.len() >= BULK {
                stream.write_all(&bytes)?;
                bytes.clear();
            }
        }
        stream.write_all(&bytes)?;
        if has_bulk {
            self.put_bulk(stream)?;
        }
        stream.write_all(b"0\r\n\r\n")
    }

    /// Each line when it is due, with a write of its own.
    fn follow(&self, stream: &mut UnixStream, tail: u64) -> io::Result<()> {
        let mut line = self.written().saturating_sub(tail);
        let mut bytes = Vec::new();
        loop {
            if line < self.written() {
                if line == self.script.stored && !self.bulk.is_empty() {
                    self.put_bulk(stream)?;
                    line = self.script.lines;
                    continue;
                }
                bytes.clear();
                self.put_chunk(line, self.began(), &mut bytes);
                stream.write_all(&bytes)?;
                line += 1;
            } else if line >= self.script.lines {
                return until_closed(stream);
            } else if let Some((started, _)) = self.started.get() {
                let due =
                    Duration::from_nanos((line - self.script.stored) * self.script.interval());
                thread::sleep(due.saturating_sub(started.elapsed()));
            } else {
                let (signal, given) = &self.signal;
                let signal = signal.lock().unwrap();
                drop(given.wait_while(signal, |signal| !*signal).unwrap());
            }
        }
    }

    fn put_bulk(&self, stream: &mut UnixStream) -> io::Result<()> {
        self.bulk
            .chunks(BULK)
            .try_for_each(|piece| stream.write_all(piece))
    }

    fn start(&self) {
        self.started.get_or_init(|| (Instant::now(), since_epoch()));
        *self.signal.0.lock().unwrap() = true;
        self.signal.1.notify_all();
    }

    /// How many lines there are now.
    fn written(&self) -> u64 {
        let Some((started, _)) = self.started.get() else {
            return self.script.stored;
        };
        if self.script.rate == 0 {
            return self.script.lines;
        }
        let passed = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let due = passed / self.script.interval() + 1;
        self.script.lines.min(self.script.stored + due)
    }

    fn began(&self) -> u64 {
        match (self.script.rate, self.started.get()) {
            (0, _) | (_, None) => self.made,
            (_, Some((_, began))) => *began,
        }
    }

    /// Appends a line as an HTTP chunk with its frame.
    fn put_chunk(&self, line: u64, began: u64, out: &mut Vec<u8>) {
        let (script, interval) = (&self.script, self.script.interval());
        let time = match line.checked_sub(script.stored) {
            Some(later) => began + later * interval,
            None => self.made - (script.stored - line) * FLAT_OUT,
        };
        let record = format!("{} {}\n", stamp(time), text(line, script.width));
        out.extend_from_slice(format!("{:x}\r\n", 8 + record.len()).as_bytes());
        out.extend_from_slice(&[1, 0, 0, 0]);
        out.extend_from_slice(
            &u32::try_from(record.len())
                .unwrap_or(u32::MAX)
                .to_be_bytes(),
        );
        out.extend_from_slice(record.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

fn since_epoch() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since.as_nanos()).unwrap()
}

/// RFC 3339 with nine digits, as dockerd writes it.
fn stamp(ns: u64) -> String {
    let time = UNIX_EPOCH + Duration::from_nanos(ns);
    humantime::format_rfc3339_nanos(time).to_string()
}

fn document(stream: &mut UnixStream, body: &str) -> io::Result<()> {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n";
    stream.write_all(format!("{head}content-length: {}\r\n\r\n{body}", body.len()).as_bytes())
}

fn head_of_stream(stream: &mut UnixStream) -> io::Result<()> {
    stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n")
}

fn until_closed(stream: &mut UnixStream) -> io::Result<()> {
    while stream.read(&mut [0; 64])? > 0 {}
    Ok(())
}

/// Gives an engine the start signal, or asks it for its counts: follows and requests so far.
pub(crate) fn control(socket: &Path, what: &str) -> io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.write_all(format!("GET /bench/{what} HTTP/1.1\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer
        .split_once("\r\n\r\n")
        .map(|(_, body)| body.to_owned())
        .unwrap_or_default())
}
