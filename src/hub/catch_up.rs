//! One stretch of a log for one subscriber, read from the engine.
//!
//! History, resume and slow subscribers are one mechanism: Docker's own log is
//! the buffer.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::debug;

use super::log::Ended;
use super::pack::Packer;
use super::slots::Slot;
use super::source::Source;
use super::unit::Unit;
use crate::docker::{Container, EngineError, Record};
use crate::supervisor::Backoff;
use crate::tail::{Event, From, GapCause, History, Next, OpenLines, Position, Settings, Until};

/// Units read ahead of the subscriber.
pub(crate) const AHEAD: usize = 2;
const TURN: usize = 512;
/// A subscriber that takes nothing for so long gives its read up to those who
/// wait for one.
const PATIENCE: Duration = Duration::from_secs(1);

/// What a catch-up brings.
#[derive(Debug)]
pub(crate) enum Piece {
    /// Where it starts; first, once that is known.
    Located(Position),
    Unit(Unit),
    /// All read, up to here.
    Done(Position),
    /// The container is gone or cannot be read.
    Ended(Ended),
}

/// What is to be read.
#[derive(Debug, Clone)]
pub(crate) struct Stretch {
    pub(crate) container: Arc<Container>,
    pub(crate) from: From,
    pub(crate) until: Until,
    /// Whether the log's own reader has no line open there.
    pub(crate) closed: bool,
    /// Up to when its subscriber knows containers, if it is told of no others.
    pub(crate) issued: Option<i64>,
    pub(crate) cause: GapCause,
    pub(crate) settings: Settings,
}

/// Reads a stretch into `pieces`. Ends early when nobody takes them.
pub(crate) async fn catch_up(
    mut source: Source,
    stretch: Stretch,
    slot: Slot,
    pieces: mpsc::Sender<Piece>,
) {
    let (history, first) = History::new(
        stretch.from,
        stretch.until,
        stretch.settings.max_line,
        stretch.settings.dialect,
    );
    let mut run = Run {
        packer: source.packer(&stretch.container, stretch.issued, stretch.cause),
        stretch,
        history,
        slot,
        pieces,
        ready: VecDeque::new(),
        located: false,
        backoff: Backoff::default(),
    };
    // A failed send means that the subscriber is gone.
    let _gone = run.drive(&mut source, first).await;
}

struct Run {
    stretch: Stretch,
    history: History,
    packer: Packer,
    slot: Slot,
    pieces: mpsc::Sender<Piece>,
    /// Made, and not yet handed over.
    ready: VecDeque<Piece>,
    located: bool,
    backoff: Backoff,
}

type Sent = Result<(), mpsc::error::SendError<Piece>>;

impl Run {
    async fn drive(&mut self, source: &mut Source, first: Next) -> Sent {
        let mut next = first;
        loop {
            self.slot.take().await;
            let outcome = self.attempt(source, next).await?;
            self.slot.give_up();
            match outcome {
                Ok(()) => return self.finish().await,
                Err(EngineError::NotFound | EngineError::Removing) => {
                    return self.pieces.send(Piece::Ended(Ended::Removed)).await;
                }
                Err(EngineError::Unreadable(words)) => {
                    return self
                        .pieces
                        .send(Piece::Ended(Ended::Unreadable(words)))
                        .await;
                }
                Err(error) => {
                    let container = self.stretch.container.id;
                    debug!(%container, %error, "catch-up interrupted");
                    source.pause(&mut self.backoff).await;
                    next = self.tell(Event::Broken);
                }
            }
        }
    }

    /// Reads until the machine has all, and the last line with it.
    async fn attempt(
        &mut self,
        source: &Source,
        first: Next,
    ) -> Result<Result<(), EngineError>, mpsc::error::SendError<Piece>> {
        let (id, tty) = (self.stretch.container.id, self.stretch.container.tty);
        let (mut next, mut stopped) = (first, false);
        loop {
            while let Next::Snapshot(tail) = next {
                next = match self.read(source.engine.snapshot(&id, tty, tail)).await? {
                    Ok(next) => next,
                    Err(error) => return Ok(Err(error)),
                };
            }
            let end = self.history.position();
            if end.open == OpenLines::default() {
                return Ok(Ok(()));
            }
            let closed = match self.stretch.until {
                Until::End => stopped,
                // Its last line was complete, and given to those who were there.
                Until::Anchor(anchor) if end.anchor == Some(anchor) => self.stretch.closed,
                Until::Anchor(_) => false,
            };
            if closed {
                let mut deliveries = Vec::new();
                self.history.flush(&mut deliveries);
                self.packer.push(&mut deliveries, self.history.position());
                return Ok(Ok(()));
            }
            if self.stretch.until != Until::End {
                return Ok(Ok(()));
            }
            // A line of a running container comes whole to whoever resumes here.
            // One that a run left open is complete, if nothing was written since.
            match source.engine.inspect(&id).await {
                Ok(now) if now.is_running() => return Ok(Ok(())),
                // Goes on from where it has come to.
                Ok(_) => (stopped, next) = (true, self.tell(Event::Broken)),
                Err(error) => return Ok(Err(error)),
            }
        }
    }

    /// Reads one snapshot until the machine wants another or is done.
    async fn read(
        &mut self,
        records: crate::docker::Records,
    ) -> Result<Result<Next, EngineError>, mpsc::error::SendError<Piece>> {
        let mut chunks = records.ready_chunks(TURN);
        while let Some(chunk) = chunks.next().await {
            match self.take(chunk) {
                Ok(Next::More) => {}
                outcome => return Ok(outcome),
            }
            if self.packer.is_full() && !self.send().await? {
                // Its read goes to others; later it goes on from where it is.
                drop(chunks);
                self.slot.give_up();
                self.hand_over().await?;
                self.slot.take().await;
                return Ok(Ok(self.tell(Event::Broken)));
            }
        }
        Ok(Ok(self.tell(Event::End)))
    }

    fn take(&mut self, chunk: Vec<Result<Record, EngineError>>) -> Result<Next, EngineError> {
        for record in chunk {
            let next = self.tell(Event::Record(record?));
            if next != Next::More {
                return Ok(next);
            }
        }
        Ok(Next::More)
    }

    fn tell(&mut self, event: Event) -> Next {
        let mut deliveries = Vec::new();
        let next = self.history.on(event, &mut deliveries);
        self.packer.push(&mut deliveries, self.history.position());
        next
    }

    /// Hands over what was packed; false: the subscriber takes nothing, and others
    /// want to read.
    async fn send(&mut self) -> Result<bool, mpsc::error::SendError<Piece>> {
        self.pack();
        while !self.ready.is_empty() {
            if self.pieces.capacity() > 0 {
                let bytes = self.hand_one().await?;
                self.slot.spend(bytes).await;
                continue;
            }
            self.slot.pause();
            if timeout(PATIENCE, self.pieces.reserve()).await.is_err() && self.slot.is_wanted() {
                return Ok(false);
            }
            self.slot.take().await;
        }
        Ok(true)
    }

    fn pack(&mut self) {
        if let Some(start) = self.history.start() {
            self.locate(start);
        }
        let units = self.packer.take(self.history.position());
        self.ready.extend(units.into_iter().map(Piece::Unit));
    }

    fn locate(&mut self, start: Position) {
        if !std::mem::replace(&mut self.located, true) {
            self.ready.push_back(Piece::Located(start));
        }
    }

    /// Hands over all that is ready, however long that takes.
    async fn hand_over(&mut self) -> Sent {
        while !self.ready.is_empty() {
            self.hand_one().await?;
        }
        Ok(())
    }

    /// Hands over one piece; its bytes.
    async fn hand_one(&mut self) -> Result<usize, mpsc::error::SendError<Piece>> {
        let Some(piece) = self.ready.pop_front() else {
            return Ok(0);
        };
        let bytes = match &piece {
            Piece::Unit(unit) => unit.cost(),
            _ => 0,
        };
        self.pieces.send(piece).await?;
        Ok(bytes)
    }

    /// Nothing more is read: the last pieces wait for the subscriber alone.
    async fn finish(&mut self) -> Sent {
        self.pack();
        let end = self.history.position();
        self.locate(end);
        self.ready.push_back(Piece::Done(end));
        self.hand_over().await
    }
}
