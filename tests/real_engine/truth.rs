//! What a client received of a numbered log, held against what was written and what the engine kept.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use pulsetail::proto::stream_logs_response::Event;
use pulsetail::proto::{self, LogEntry};

use crate::kind::Kind;
use crate::server::line;
use crate::writer::{Script, number};

/// A line's stream and number.
pub(crate) type Key = (proto::Stream, u32);

/// The two streams are stamped before they meet in the file: 22 ms apart at most were measured.
const INVERSION: i128 = 30_000_000;

/// An entry, as far as it matters.
#[derive(Clone, Copy)]
struct Received {
    key: Key,
    time: i128,
    late: bool,
}

/// A gap between its neighbours in time.
#[derive(Clone, Copy)]
struct Hole {
    after: i128,
    before: i128,
}

/// One container's history, as one client saw it, over all its streams.
pub(crate) struct History {
    script: Script,
    entries: Vec<Received>,
    holes: Vec<Hole>,
    /// Gaps whose end is told by the next entry.
    unbounded: Vec<usize>,
    /// Causes of the gaps, counted.
    pub(crate) causes: BTreeMap<String, usize>,
    /// Lines that nobody wrote so.
    pub(crate) foreign: Vec<String>,
    /// How often the ring had left the client behind.
    pub(crate) fell_behind: usize,
    /// Whether the stream came to its end.
    pub(crate) ended: bool,
    /// The newest cursor.
    pub(crate) cursor: Option<String>,
}

/// What came of it.
#[derive(Default)]
pub(crate) struct Verdict {
    pub(crate) received: usize,
    pub(crate) late: usize,
    pub(crate) gaps: usize,
    /// Lines written and never received.
    pub(crate) lost: usize,
    /// Of them, those outside of every gap.
    pub(crate) silent: Vec<Key>,
    /// Lines received again.
    pub(crate) repeated: Vec<Key>,
    /// Entries not marked late that stand behind one that was written later.
    pub(crate) disordered: Vec<Key>,
    /// Lines that nobody wrote so.
    pub(crate) foreign: usize,
}

impl Verdict {
    /// Nothing came twice, out of order or altered.
    pub(crate) fn is_faithful(&self) -> bool {
        self.repeated.is_empty() && self.disordered.is_empty() && self.foreign == 0
    }

    /// Faithful, and nothing is missing in silence.
    pub(crate) fn is_honest(&self) -> bool {
        self.is_faithful() && self.silent.is_empty()
    }

    /// Where it is not, with a few of the lines.
    pub(crate) fn places(&self) -> String {
        let few = |keys: &[Key]| {
            let some = keys.iter().take(3);
            some.map(|(stream, number)| format!("{} {number}", stream.as_str_name()))
                .collect::<Vec<_>>()
        };
        let (silent, repeated) = (few(&self.silent), few(&self.repeated));
        let disordered = few(&self.disordered);
        format!("silent {silent:?}, repeated {repeated:?}, disordered {disordered:?}")
    }

    /// Honest, and all there, without a word of a gap.
    pub(crate) fn is_whole(&self) -> bool {
        self.is_honest() && self.lost == 0 && self.gaps == 0
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} received, {} lost ({} in silence), {} repeated, {} out of order, {} altered, {} gaps, {} late",
            self.received,
            self.lost,
            self.silent.len(),
            self.repeated.len(),
            self.disordered.len(),
            self.foreign,
            self.gaps,
            self.late
        )
    }
}

impl History {
    pub(crate) fn new(script: Script) -> Self {
        Self {
            script,
            entries: Vec::new(),
            holes: Vec::new(),
            unbounded: Vec::new(),
            causes: BTreeMap::new(),
            foreign: Vec::new(),
            fell_behind: 0,
            ended: false,
            cursor: None,
        }
    }

    /// Takes the next event of a stream for this container alone.
    pub(crate) fn push(&mut self, event: &Event) {
        let cursor = match event {
            Event::Opened(opened) => opened.members.first().map(|member| &member.cursor),
            Event::Batch(batch) => {
                for entry in &batch.entries {
                    self.entry(entry);
                }
                Some(&batch.cursor)
            }
            Event::Gap(gap) => {
                self.gap(gap);
                Some(&gap.cursor)
            }
            Event::ContainerChange(change) => Some(&change.cursor),
            Event::Notice(notice) if notice.kind() == proto::NoticeKind::FellBehind => {
                self.fell_behind += 1;
                None
            }
            _ => None,
        };
        if let Some(cursor) = cursor.filter(|cursor| !cursor.is_empty()) {
            self.cursor = Some(cursor.clone());
        }
    }

    fn entry(&mut self, entry: &LogEntry) {
        let bytes = line(entry);
        let known = number(bytes).filter(|(stream, number)| {
            *stream == entry.stream() && bytes == self.script.line(*stream, *number).as_bytes()
        });
        let Some(key) = known else {
            self.foreign
                .push(String::from_utf8_lossy(bytes).into_owned());
            return;
        };
        let time = nanos(entry.time.as_ref()).expect("every entry has its time");
        if !entry.late {
            for hole in self.unbounded.drain(..) {
                self.holes[hole].before = time;
            }
        }
        let late = entry.late;
        self.entries.push(Received { key, time, late });
    }

    fn gap(&mut self, gap: &proto::Gap) {
        let cause = gap.cause().as_str_name();
        let cause = cause.trim_start_matches("GAP_CAUSE_").to_owned();
        *self.causes.entry(cause).or_default() += 1;
        let before = nanos(gap.before_time.as_ref());
        if before.is_none() {
            self.unbounded.push(self.holes.len());
        }
        self.holes.push(Hole {
            after: nanos(gap.after_time.as_ref()).unwrap_or(i128::MIN),
            before: before.unwrap_or(i128::MAX),
        });
    }

    /// How many entries came so far.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// All that came, in no order.
    pub(crate) fn keys(&self) -> HashSet<Key> {
        self.entries.iter().map(|entry| entry.key).collect()
    }

    /// The keys in the order they came, without the late ones.
    pub(crate) fn order(&self) -> Vec<Key> {
        let prompt = self.entries.iter().filter(|entry| !entry.late);
        prompt.map(|entry| entry.key).collect()
    }

    /// Holds it against the lines 1 to `last` of both streams.
    pub(crate) fn judge(&self, last: u32) -> Verdict {
        let mut verdict = Verdict {
            received: self.entries.len(),
            late: self.entries.iter().filter(|entry| entry.late).count(),
            gaps: self.holes.len(),
            foreign: self.foreign.len(),
            ..Verdict::default()
        };
        let mut times = HashMap::new();
        let mut newest = HashMap::new();
        for Received { key, time, late } in &self.entries {
            if times.insert(*key, *time).is_some() {
                verdict.repeated.push(*key);
            } else if !late {
                let newest = newest.entry(key.0).or_insert(0);
                if key.1 < *newest {
                    verdict.disordered.push(*key);
                }
                *newest = key.1.max(*newest);
            }
        }
        for stream in [proto::Stream::Stdout, proto::Stream::Stderr] {
            self.missing(stream, last, &times, &mut verdict);
        }
        verdict
    }

    /// Whether lines before the newest are missing, and no gap says so.
    pub(crate) fn is_missing_some(&self) -> bool {
        let newest = |stream| {
            let of_stream = self.entries.iter().filter(|entry| entry.key.0 == stream);
            of_stream.map(|entry| entry.key.1).max().unwrap_or(0)
        };
        let newest = newest(proto::Stream::Stdout).min(newest(proto::Stream::Stderr));
        !self.judge(newest).silent.is_empty()
    }

    /// Fails unless the lines 1 to `last` came whole, in the order of what the engine has stored.
    pub(crate) fn assert_whole(&self, kind: Kind, last: u32, stored: &[Key]) {
        let verdict = self.judge(last);
        let what = format!("{kind:?}: {verdict}; {:?}", self.causes);
        println!("{what}");
        assert!(self.ended, "{what}: the stream did not end");
        assert!(verdict.is_whole(), "{what}: {}", verdict.places());
        assert!(in_file_order(&self.order(), stored), "{what}: order");
    }

    /// Runs of missing lines; each is excused by a gap that lies between its neighbours.
    fn missing(
        &self,
        stream: proto::Stream,
        last: u32,
        times: &HashMap<Key, i128>,
        verdict: &mut Verdict,
    ) {
        let (mut run, mut after) = (Vec::new(), i128::MIN);
        for number in 1..=last + 1 {
            let key = (stream, number);
            let before = match times.get(&key) {
                Some(time) => *time,
                None if number > last => i128::MAX,
                None => {
                    run.push(key);
                    continue;
                }
            };
            verdict.lost += run.len();
            if !self.excuses(after, before) {
                verdict.silent.append(&mut run);
            }
            run.clear();
            after = before;
        }
    }

    fn excuses(&self, after: i128, before: i128) -> bool {
        self.holes.iter().any(|hole| {
            hole.after <= before.saturating_add(INVERSION)
                && hole.before >= after.saturating_sub(INVERSION)
        })
    }
}

/// Whether what came is in the order of the engine's own log, as far as that still holds it.
pub(crate) fn in_file_order(received: &[Key], stored: &[Key]) -> bool {
    let both: HashSet<_> = {
        let stored: HashSet<_> = stored.iter().collect();
        received.iter().filter(|key| stored.contains(key)).collect()
    };
    let received = received.iter().filter(|key| both.contains(key));
    received.eq(stored.iter().filter(|key| both.contains(key)))
}

/// Nanoseconds since the epoch.
pub(crate) fn nanos(time: Option<&prost_types::Timestamp>) -> Option<i128> {
    time.map(|time| i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos))
}
