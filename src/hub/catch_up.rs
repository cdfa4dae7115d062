//! One stretch of a log for one subscriber, read from the engine.
//!
//! History, resume and slow subscribers are one mechanism: Docker's own log is
//! the buffer.

use std::sync::Arc;

use futures_util::StreamExt;
use tokio::sync::{Semaphore, mpsc};
use tracing::debug;

use super::log::Ended;
use super::pack::Packer;
use super::reader::Source;
use super::unit::Unit;
use crate::docker::{Backoff, Container, EngineError, Record};
use crate::tail::{Event, From, GapCause, History, Next, OpenLines, Position, Settings, Until};

/// Units read ahead of the subscriber.
pub(crate) const AHEAD: usize = 2;
const TURN: usize = 512;

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
    pub(crate) cause: GapCause,
    pub(crate) settings: Settings,
}

/// Reads a stretch into `pieces`. Ends early when nobody takes them.
pub(crate) async fn catch_up(
    mut source: Source,
    stretch: Stretch,
    slots: Arc<Semaphore>,
    pieces: mpsc::Sender<Piece>,
) {
    let Ok(_slot) = slots.acquire_owned().await else {
        return;
    };
    let (history, first) = History::new(
        stretch.from,
        stretch.until,
        stretch.settings.max_line,
        stretch.settings.dialect,
    );
    let mut run = Run {
        packer: source.packer(&stretch.container, stretch.cause),
        stretch,
        history,
        pieces,
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
    pieces: mpsc::Sender<Piece>,
    located: bool,
    backoff: Backoff,
}

type Sent = Result<(), mpsc::error::SendError<Piece>>;

impl Run {
    async fn drive(&mut self, source: &mut Source, first: Next) -> Sent {
        let mut next = first;
        loop {
            match self.attempt(source, next).await? {
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
            if self.packer.is_full() {
                self.send().await?;
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

    async fn send(&mut self) -> Sent {
        if let Some(start) = self.history.start() {
            self.locate(start).await?;
        }
        for unit in self.packer.take(self.history.position()) {
            self.pieces.send(Piece::Unit(unit)).await?;
        }
        Ok(())
    }

    async fn locate(&mut self, start: Position) -> Sent {
        if !std::mem::replace(&mut self.located, true) {
            self.pieces.send(Piece::Located(start)).await?;
        }
        Ok(())
    }

    async fn finish(&mut self) -> Sent {
        self.send().await?;
        let end = self.history.position();
        self.locate(end).await?;
        self.pieces.send(Piece::Done(end)).await
    }
}
