//! From lines to bytes that are sent, and the kernel's cost of sending them.

use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use pulsetail::docker::Stream;
use pulsetail::hub::{UNIT_BYTES, Writer};
use pulsetail::proto::{
    ContainerRef, LogBatch, LogEntry, StreamLogsResponse, log_entry, stream_logs_response::Event,
};
use pulsetail::tail::Entry;

use crate::process::Usage;
use crate::results::Results;
use crate::{LINES, WIDTH, cost, paced};

const CASE: &str = "2M lines encoded";
/// Different lines, again and again.
const DIFFERENT: u64 = 4_096;
/// Batches at once, how often, and what lies between.
const BURST: u32 = 3;
const BURSTS: u32 = 100;
const PAUSE: Duration = Duration::from_millis(20);
const FRAME: usize = 16 * 1024;
const CURSOR: &str = "ASdPdmB2jP0qZctrF_z9ZUaPUuuAGjomIHXIlce-IiVjBcOmU1zdWIQY6svhy0F7ZYEY6svhahwWYgAAAABk_HNwzDEd6QC5PHDD";

pub(crate) fn measure(results: &mut Results) {
    let entries: Vec<Entry> = (0..DIFFERENT).map(entry).collect();
    let (mut batch, mut batches) = (Bytes::new(), 0);
    let ours = cost(|| (batch, batches) = by_hand(&entries), LINES);
    let theirs = cost(|| by_prost(&entries), LINES);
    let kernel = kernel(&batch, LINES as f64 / batches as f64);
    for (subject, (all, user)) in [("by hand", ours), ("prost", theirs)] {
        results.put(CASE, subject, "ns/line", all);
        results.put(CASE, subject, "user ns/line", user);
    }
    results.put(CASE, "kernel: write to a socket", "ns/line", kernel);
}

fn entry(line: u64) -> Entry {
    Entry {
        stream: Stream::Stdout,
        time: 1_795_465_197_000_000_000 + i64::try_from(line).unwrap() * 1_000,
        ordinal: 0,
        line: paced::text(line, WIDTH).into(),
        unterminated: false,
        truncated_bytes: 0,
    }
}

/// A batch of them, and how many there are.
fn by_hand(entries: &[Entry]) -> (Bytes, u64) {
    let mut writer = Writer::default();
    writer.label(&paced::id(0), &paced::name(0));
    let (mut batch, mut batches) = (None, 0);
    for line in 0..LINES {
        writer.push(&entries[usize::try_from(line % DIFFERENT).unwrap()], false);
        if writer.len() >= UNIT_BYTES {
            batch = Some(writer.finish(CURSOR));
            batches += 1;
        }
    }
    (batch.unwrap().framed().clone(), batches)
}

fn by_prost(entries: &[Entry]) {
    let mut held = Vec::new();
    for line in 0..LINES {
        let entry = &entries[usize::try_from(line % DIFFERENT).unwrap()];
        held.push(LogEntry {
            time: Some(prost_types::Timestamp {
                seconds: entry.time / 1_000_000_000,
                nanos: i32::try_from(entry.time % 1_000_000_000).unwrap(),
            }),
            stream: 1,
            line: Some(log_entry::Line::Text(
                String::from_utf8(entry.line.to_vec()).unwrap(),
            )),
            ..LogEntry::default()
        });
        if held.len() * (WIDTH + 24) >= UNIT_BYTES {
            black_box(encoded(std::mem::take(&mut held)));
        }
    }
}

fn encoded(entries: Vec<LogEntry>) -> Vec<u8> {
    let batch = LogBatch {
        container: Some(ContainerRef {
            id: paced::id(0),
            name: paced::name(0),
        }),
        entries,
        cursor: CURSOR.to_owned(),
    };
    let event = Some(Event::Batch(batch));
    StreamLogsResponse { event }.encode_to_vec()
}

/// What writing batches to a socket costs for each line, as a server does under load: a few of them at a time, in pieces
/// of an HTTP/2 frame. Somebody else reads them.
fn kernel(batch: &[u8], lines: f64) -> f64 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut writer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut reader, _) = listener.accept().unwrap();
    let drain = thread::spawn(move || {
        let mut piece = vec![0; 1 << 20];
        while reader.read(&mut piece).unwrap() > 0 {}
    });
    let before = Usage::of_this_thread();
    for _ in 0..BURSTS {
        for piece in (0..BURST).flat_map(|_| batch.chunks(FRAME)) {
            writer.write_all(piece).unwrap();
        }
        thread::sleep(PAUSE);
    }
    let used = Usage::of_this_thread() - before;
    drop(writer);
    drain.join().unwrap();
    used.cpu / (f64::from(BURSTS * BURST) * lines)
}
