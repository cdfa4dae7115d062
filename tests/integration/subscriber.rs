//! A client that keeps all it is told, and holds every stream to the contract's order.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use crate::judge::{Judge, received};
use pulsetail::proto::{
    self, ContainerChangeKind, Gap, LogEntry, NoticeKind, Opened, StreamLogsResponse,
    log_entry::Line as Content, stream_logs_response::Event,
};
use pulsetail_client::Cursors;
use pulsetail_sim::Container;
use tokio::time::{Instant, timeout_at};
use tonic::{Status, Streaming};

use crate::harness::DEADLINE;

/// One subscription and what it brought.
pub(crate) struct Subscriber {
    messages: Streaming<StreamLogsResponse>,
    /// Everything so far, in order.
    pub(crate) events: Vec<Event>,
    /// Entries so far.
    pub(crate) count: usize,
    /// Holds it all against the contract.
    pub(crate) judge: Judge,
}

/// What tells a line from another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) stream: proto::Stream,
    pub(crate) time: i64,
    pub(crate) bytes: Vec<u8>,
}

impl Subscriber {
    pub(crate) async fn opened(messages: Streaming<StreamLogsResponse>) -> Result<Self, Status> {
        Self::judged_by(Judge::of(&[]), messages).await
    }

    pub(crate) async fn judged_by(
        judge: Judge,
        messages: Streaming<StreamLogsResponse>,
    ) -> Result<Self, Status> {
        let mut subscriber = Self {
            messages,
            judge,
            events: Vec::new(),
            count: 0,
        };
        match subscriber.next(Instant::now() + DEADLINE).await? {
            true => Ok(subscriber),
            false => panic!("the stream ended before it was opened"),
        }
    }

    /// Reads until what was heard is as wanted.
    pub(crate) async fn until(&mut self, wanted: impl FnMut(&Self) -> bool) {
        self.until_within(DEADLINE, wanted).await;
    }

    /// The same, where it may take longer.
    pub(crate) async fn until_within(
        &mut self,
        patience: Duration,
        mut wanted: impl FnMut(&Self) -> bool,
    ) {
        let deadline = Instant::now() + patience;
        while !wanted(self) {
            match self.next(deadline).await {
                Ok(true) => {}
                ended => panic!("the stream ended early, {ended:?}, after{}", self.story()),
            }
        }
    }

    /// Reads until so many entries have come in all.
    pub(crate) async fn entries(&mut self, count: usize) {
        self.until(|heard| heard.count >= count).await;
    }

    /// Reads until the stream is live.
    pub(crate) async fn caught_up(&mut self) {
        let live = |event: &Event| matches!(event, Event::CaughtUp(_));
        self.until(|heard| heard.events.iter().any(live)).await;
    }

    /// Reads until a container's change of this kind.
    pub(crate) async fn change(&mut self, kind: ContainerChangeKind) {
        self.until(|heard| heard.changes().contains(&kind)).await;
    }

    /// Reads to the end, and says how it was.
    pub(crate) async fn end(&mut self) -> Result<(), Status> {
        let deadline = Instant::now() + DEADLINE;
        while self.next(deadline).await? {}
        Ok(())
    }

    async fn next(&mut self, deadline: Instant) -> Result<bool, Status> {
        let Ok(message) = timeout_at(deadline, self.messages.message()).await else {
            panic!("nothing more came, after{}", self.story());
        };
        let Some(message) = message? else {
            let closed = matches!(self.events.last(), Some(Event::Closing(_)));
            assert!(closed, "no closing, after{}", self.story());
            self.judge.completed();
            return Ok(false);
        };
        self.judge.message(&message);
        let event = message.event.expect("a message says something");
        self.check(&event);
        if let Event::Batch(batch) = &event {
            self.count += batch.entries.len();
        }
        self.events.push(event);
        Ok(true)
    }

    /// What the contract says of every message.
    fn check(&self, event: &Event) {
        let first = self.events.is_empty();
        let opens = matches!(event, Event::Opened(_));
        assert_eq!(opens, first, "`opened` comes first, and once");
        let closed = matches!(self.events.last(), Some(Event::Closing(_)));
        assert!(!closed, "something came behind `closing`");
        if let Event::Batch(batch) = event {
            assert!(!batch.entries.is_empty(), "an empty batch");
            assert!((1..=160).contains(&batch.cursor.len()), "{}", batch.cursor);
            assert!(batch.entries.iter().all(|entry| entry.line.is_some()));
        }
    }

    pub(crate) fn first(&self) -> &Opened {
        match self.events.first() {
            Some(Event::Opened(opened)) => opened,
            other => panic!("not `opened`: {other:?}"),
        }
    }

    pub(crate) fn all_entries(&self) -> impl Iterator<Item = &LogEntry> {
        self.events.iter().flat_map(entries_of)
    }

    pub(crate) fn lines(&self) -> Vec<Line> {
        self.all_entries().map(line).collect()
    }

    /// The lines as text, those that are no UTF-8 as `<raw>`.
    pub(crate) fn texts(&self) -> Vec<&str> {
        self.all_entries().map(text).collect()
    }

    /// The lines of one container.
    pub(crate) fn texts_of(&self, name: &str) -> Vec<&str> {
        let batches = self.events.iter().filter(|event| match event {
            Event::Batch(batch) => batch.container.as_ref().is_some_and(|c| c.name == name),
            _ => false,
        });
        batches.flat_map(entries_of).map(text).collect()
    }

    pub(crate) fn gaps(&self) -> Vec<&Gap> {
        let gaps = self.events.iter().filter_map(|event| match event {
            Event::Gap(gap) => Some(gap),
            _ => None,
        });
        gaps.collect()
    }

    pub(crate) fn changes(&self) -> Vec<ContainerChangeKind> {
        let change = |event: &Event| match event {
            Event::ContainerChange(change) => Some(change.kind()),
            _ => None,
        };
        self.events.iter().filter_map(change).collect()
    }

    pub(crate) fn notices(&self) -> Vec<NoticeKind> {
        let notice = |event: &Event| match event {
            Event::Notice(notice) => Some(notice.kind()),
            _ => None,
        };
        self.events.iter().filter_map(notice).collect()
    }

    pub(crate) fn closing(&self) -> &proto::Closing {
        match self.events.last() {
            Some(Event::Closing(closing)) => closing,
            other => panic!("not `closing`: {other:?}"),
        }
    }

    /// The newest cursor of every container that has one.
    pub(crate) fn cursors(&self) -> Vec<String> {
        cursors_after(&self.events)
    }

    /// What came, for people.
    fn story(&self) -> String {
        let mut story = String::new();
        for event in &self.events {
            let told = match event {
                Event::Batch(batch) => {
                    let first = batch.entries.first().map_or("", text);
                    let last = batch.entries.last().map_or("", text);
                    let count = batch.entries.len();
                    write!(story, "\n  {count} entries, {first:.40} .. {last:.40}")
                }
                other => write!(story, "\n  {other:?}"),
            };
            told.expect("a string takes everything");
        }
        story
    }
}

pub(crate) fn entries_of(event: &Event) -> &[LogEntry] {
    match event {
        Event::Batch(batch) => &batch.entries,
        _ => &[],
    }
}

/// The cursors that a client holds after these events.
pub(crate) fn cursors_after(events: &[Event]) -> Vec<String> {
    let mut kept = Cursors::default();
    for event in events {
        let event = Some(event.clone());
        kept.keep(&received(&StreamLogsResponse { event }));
    }
    kept.to_vec()
}

pub(crate) fn text(entry: &LogEntry) -> &str {
    match &entry.line {
        Some(Content::Text(text)) => text,
        _ => "<raw>",
    }
}

pub(crate) fn line(entry: &LogEntry) -> Line {
    let time = entry.time.expect("an entry has a time");
    Line {
        stream: entry.stream(),
        time: time.seconds * 1_000_000_000 + i64::from(time.nanos),
        bytes: match &entry.line {
            Some(Content::Text(text)) => text.clone().into_bytes(),
            Some(Content::Raw(raw)) => raw.to_vec(),
            None => panic!("an entry has a line"),
        },
    }
}

/// The whole lines that the engine has stored, in file order.
pub(crate) fn lines_of(container: &Container) -> Vec<Line> {
    let (mut open, mut lines) = (BTreeMap::<_, Line>::new(), Vec::new());
    for record in container.records() {
        let stream = match record.stream {
            pulsetail_sim::Stream::Stdout => proto::Stream::Stdout,
            pulsetail_sim::Stream::Stderr => proto::Stream::Stderr,
        };
        let line = open.entry(record.stream).or_insert_with(|| Line {
            stream,
            time: record.time.nanos(),
            bytes: Vec::new(),
        });
        line.bytes.extend_from_slice(&record.bytes);
        if line.bytes.pop_if(|last| *last == b'\n').is_some() {
            lines.extend(open.remove(&record.stream));
        }
    }
    lines
}
