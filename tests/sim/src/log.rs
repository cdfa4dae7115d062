//! A container's log: records in files, in the order of storing. The clock never reorders anything here.

use std::collections::VecDeque;

use bytes::Bytes;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::clock::Clock;
use crate::copier::{Copier, End, Piece};
use crate::driver::{Driver, Kind};
use crate::engine::Habits;
use crate::query::Tail;
use crate::{Record, Stream, Timestamp};

/// What Podman's monitor reads at once.
const CHUNK: usize = 8 * 1024;

/// A place in a log's files.
#[derive(Clone)]
pub(crate) struct Stored {
    /// Counts the entries of this log from its beginning; retention never changes it.
    pub(crate) number: u64,
    /// Counts the files of this log from its beginning.
    pub(crate) file: u64,
    pub(crate) entry: Entry,
}

#[derive(Clone)]
pub(crate) enum Entry {
    Record(Record),
    /// Bytes that no reader can decode.
    Corrupt,
}

pub(crate) struct Log {
    pub(crate) driver: Driver,
    habits: Habits,
    /// Oldest first and never empty: the last one is written to.
    files: VecDeque<File>,
    next_number: u64,
    stdout: Copier,
    stderr: Copier,
    /// Each gets everything that is stored while the container runs. An engine's follower keeps its files open
    /// however slowly it reads, so these are not bounded either.
    followers: Vec<UnboundedSender<Stored>>,
    /// Followers of a file that was truncated under them: they hear of the end only.
    deaf: Vec<UnboundedSender<Stored>>,
    truncated: bool,
    /// How many of the next lines or parts a process writes are dropped before they are stored.
    lost: usize,
}

#[derive(Default)]
struct File {
    number: u64,
    size: u64,
    entries: Vec<Stored>,
}

impl Log {
    pub(crate) fn new(driver: Driver, habits: Habits) -> Self {
        Self {
            driver,
            habits,
            files: VecDeque::from([File::default()]),
            next_number: 0,
            stdout: Copier::default(),
            stderr: Copier::default(),
            followers: Vec::new(),
            deaf: Vec::new(),
            truncated: false,
            lost: 0,
        }
    }

    pub(crate) fn lose(&mut self, count: usize) {
        self.lost += count;
    }

    /// Stores what is complete of a process's output.
    pub(crate) fn write(&mut self, stream: Stream, bytes: &[u8], clock: &mut Clock) {
        if self.driver.kind == Kind::K8sFile {
            return self.write_at_once(stream, bytes, clock);
        }
        self.copier(stream).write(bytes);
        let mut shared = None;
        while let Some(mut piece) = self.copier(stream).next(|| clock.now()) {
            self.restamp(&mut piece, &mut shared, clock);
            self.store(stream, piece);
        }
    }

    /// journald keeps microseconds of when each part comes. Records of one write share them two by two, as a fast
    /// writer's do, however slow this machine is.
    fn restamp(&self, piece: &mut Piece, shared: &mut Option<Timestamp>, clock: &mut Clock) {
        if self.driver.kind == Kind::Journald {
            piece.time = shared.take().unwrap_or_else(|| {
                let micros = clock.now().nanos() / 1_000;
                *shared.insert(Timestamp::from_nanos(micros * 1_000))
            });
        }
    }

    fn write_at_once(&mut self, stream: Stream, bytes: &[u8], clock: &mut Clock) {
        for chunk in bytes.chunks(CHUNK) {
            let time = clock.now();
            for piece in chunk.split_inclusive(|byte| *byte == b'\n') {
                let bytes = Bytes::copy_from_slice(piece);
                self.append(Record {
                    stream,
                    time,
                    bytes,
                });
            }
        }
    }

    /// Stores a record as it is, whatever its time.
    pub(crate) fn append(&mut self, record: Record) {
        self.push(Entry::Record(record));
    }

    pub(crate) fn append_corrupt(&mut self) {
        self.push(Entry::Corrupt);
    }

    /// The process is gone: stores unterminated lines, then ends every follower.
    pub(crate) fn end_run(&mut self, clock: &mut Clock) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            if let Some(mut rest) = self.copier(stream).finish(|| clock.now()) {
                self.restamp(&mut rest, &mut None, clock);
                self.store(stream, rest);
            }
        }
        self.followers.clear();
        self.deaf.clear();
    }

    pub(crate) fn rotate(&mut self) {
        let number = self.current().number + 1;
        self.files.push_back(File {
            number,
            ..File::default()
        });
        while self.files.len() > self.driver.keeps_files() {
            self.files.pop_front();
        }
        self.truncated = false;
    }

    /// Someone else empties the current file, as `logrotate` does with `copytruncate`.
    pub(crate) fn truncate(&mut self) {
        let current = self.current_mut();
        current.entries.clear();
        current.size = 0;
        if self.habits.deaf_after_truncation {
            self.truncated = true;
            self.deaf.append(&mut self.followers);
        }
    }

    /// Whether a read from the end would search an emptied file for ever.
    pub(crate) fn spins_on(&self, tail: Tail) -> bool {
        self.truncated && matches!(tail, Tail::Last(1..))
    }

    /// What a read from `tail` finds. A corrupt entry hides what stands behind it in its file, unless the tail
    /// begins behind it.
    pub(crate) fn select(&self, tail: Tail, since: Option<Timestamp>) -> VecDeque<Stored> {
        let files = self.opened_files(since);
        let stored: usize = files.iter().map(|file| file.entries.len()).sum();
        let mut left_out = match tail {
            Tail::All => 0,
            Tail::Last(count) if self.driver.kind == Kind::K8sFile => self.before_lines(count),
            Tail::Last(count) => stored.saturating_sub(count),
        };
        let mut selected = VecDeque::new();
        for file in files {
            let from = left_out.min(file.entries.len());
            left_out -= from;
            selected.extend(
                file.entries[from..]
                    .iter()
                    .take_while(|stored| stored.is_readable())
                    .cloned(),
            );
        }
        selected
    }

    /// How many entries stand before the ends of the last so many lines.
    fn before_lines(&self, count: usize) -> usize {
        let ends = |stored: &Stored| match &stored.entry {
            Entry::Record(record) => record.bytes.ends_with(b"\n"),
            Entry::Corrupt => false,
        };
        let numbered = self.entries().enumerate().collect::<Vec<_>>();
        let ends = numbered
            .into_iter()
            .rev()
            .filter(|(_, stored)| ends(stored));
        ends.map(|(at, _)| at)
            .nth(count.saturating_sub(1))
            .unwrap_or(0)
    }

    /// The last `count` readable entries that stand before entry `number`.
    pub(crate) fn before(&self, number: u64, count: usize) -> VecDeque<Stored> {
        let earlier = |stored: &&Stored| stored.number < number && stored.is_readable();
        let mut found: VecDeque<_> = self
            .entries()
            .rev()
            .filter(earlier)
            .take(count)
            .cloned()
            .collect();
        found.make_contiguous().reverse();
        found
    }

    /// How many readable entries of the current file stand before entry `number`.
    pub(crate) fn read_of_current_file(&self, number: u64) -> usize {
        let entries = &self.current().entries;
        entries
            .iter()
            .filter(|stored| stored.number < number && stored.is_readable())
            .count()
    }

    pub(crate) fn current_file(&self) -> u64 {
        self.current().number
    }

    pub(crate) fn next_number(&self) -> u64 {
        self.next_number
    }

    /// Everything stored from now on, until the run ends.
    pub(crate) fn follow(&mut self) -> UnboundedReceiver<Stored> {
        let (follower, stored) = unbounded_channel();
        let audience = if self.truncated {
            &mut self.deaf
        } else {
            &mut self.followers
        };
        audience.retain(|follower| !follower.is_closed());
        audience.push(follower);
        stored
    }

    /// The retained records, oldest first; corrupt entries are left out.
    pub(crate) fn records(&self) -> impl Iterator<Item = &Record> {
        self.entries().filter_map(|stored| match &stored.entry {
            Entry::Record(record) => Some(record),
            Entry::Corrupt => None,
        })
    }

    fn store(&mut self, stream: Stream, piece: Piece) {
        if let Some(left) = self.lost.checked_sub(1) {
            self.lost = left;
            return;
        }
        let newline = match piece.end {
            End::Line => true,
            End::LastPart => !self.driver.is_local() || self.habits.local_ends_long_lines,
            End::Open => false,
        };
        let bytes = if newline {
            [&piece.bytes[..], b"\n"].concat().into()
        } else {
            piece.bytes
        };
        self.append(Record {
            stream,
            time: piece.time,
            bytes: self.driver.stored(bytes),
        });
    }

    fn push(&mut self, entry: Entry) {
        if self.driver.kind == Kind::None {
            return;
        }
        if let Some(max_size) = self.driver.rotates_at() {
            if self.current().size >= max_size {
                self.rotate();
            }
            let size = match &entry {
                Entry::Record(record) => self.driver.size_on_disk(&record.bytes),
                Entry::Corrupt => self.driver.size_on_disk(b""),
            };
            self.current_mut().size += size;
        }
        let stored = Stored {
            number: self.next_number,
            file: self.current_file(),
            entry,
        };
        self.next_number += 1;
        self.followers
            .retain(|follower| follower.send(stored.clone()).is_ok());
        self.current_mut().entries.push(stored);
    }

    fn opened_files(&self, since: Option<Timestamp>) -> Vec<&File> {
        let loses = self.habits.since_loses_compressed_files && self.driver.compresses();
        let Some(since) = since.filter(|_| loses) else {
            return self.files.iter().collect();
        };
        let (rotated, current) = self
            .files
            .iter()
            .partition::<Vec<_>, _>(|file| file.number < self.current_file());
        let opened = rotated
            .into_iter()
            .take_while(|file| file.last_time() >= Some(since));
        opened.chain(current).collect()
    }

    fn entries(&self) -> impl DoubleEndedIterator<Item = &Stored> {
        self.files.iter().flat_map(|file| &file.entries)
    }

    fn current(&self) -> &File {
        self.files.back().expect("a log has at least one file")
    }

    fn current_mut(&mut self) -> &mut File {
        self.files.back_mut().expect("a log has at least one file")
    }

    fn copier(&mut self, stream: Stream) -> &mut Copier {
        match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        }
    }
}

impl File {
    fn last_time(&self) -> Option<Timestamp> {
        self.entries
            .iter()
            .rev()
            .find_map(|stored| match &stored.entry {
                Entry::Record(record) => Some(record.time),
                Entry::Corrupt => None,
            })
    }
}

impl Stored {
    pub(crate) fn is_readable(&self) -> bool {
        matches!(self.entry, Entry::Record(_))
    }
}
