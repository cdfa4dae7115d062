//! One stretch of a log for one subscriber, read from the engine: a task.
//!
//! History, resume and slow subscribers are one mechanism: Docker's own log is
//! the buffer. What was handed over outlives a generation of the task, and what
//! a dead one still has in its hands is refused: the next goes on behind it.

mod handed;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::{Instant, timeout};
use tracing::debug;

use super::log::Ended;
use super::pack::Packer;
use super::slots::Slot;
use super::source::{SILENCE, Source};
use super::unit::{Content, Unit};
use crate::docker::{Chunk, Container, EngineError, Tail, Verified, now};
use crate::supervisor::{Failure, Fenced, Permit, Task, Turn, Work};
use crate::tail::{
    Delivery, Event, From, Gap, GapCause, History, Next, OpenLines, Position, Settings, Until,
};
pub(super) use handed::{Handed, Held};

/// Units read ahead of the subscriber.
pub(crate) const AHEAD: usize = 2;
/// Records taken per turn.
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
    /// Lines that are open there to the log's own reader.
    pub(crate) open: OpenLines,
    /// Up to when its subscriber knows containers, if it is told of no others.
    pub(crate) issued: Option<i64>,
    pub(crate) cause: GapCause,
    pub(crate) settings: Settings,
}

/// One generation of a catch-up. Reads a stretch into pieces, and ends early when
/// nobody takes them.
pub(crate) struct CatchUp {
    source: Source,
    stretch: Stretch,
    handed: Arc<Fenced<Handed>>,
    permit: Permit,
    pieces: mpsc::Sender<Piece>,
    slot: Slot,
    history: History,
    packer: Packer,
    /// Empty between events: one allocation serves all of them.
    deliveries: Vec<Delivery>,
    step: Step,
    /// What the engine said of the read that broke.
    words: Option<String>,
    /// When the log's end was asked for, unless something has come.
    asked: Option<Instant>,
    reading: Option<BoxStream<'static, Chunk>>,
    /// Made, and not yet handed over.
    ready: VecDeque<Piece>,
    located: bool,
    /// What was handed over last, if it was a gap: it is found again.
    told: Option<Gap>,
    /// Whether the container was seen not to run.
    stopped: bool,
    /// Longest wait of a turn.
    patience: Duration,
}

/// What the next turn does.
enum Step {
    /// What the machine asked for.
    Do(Next),
    /// Tell the machine that its read broke; what holds while it is read.
    Broken,
    /// Hand over the rest.
    Over(Option<Failure>),
}

impl Task for CatchUp {
    type Proof = Verified;

    async fn turn(&mut self) -> Result<Turn<Verified>, Failure> {
        if let Some(turn) = self.hand_over().await {
            return Ok(turn);
        }
        if let Step::Over(failure) = &mut self.step {
            return failure.take().map_or(Ok(Turn::Done), Err);
        }
        // Its place in the line outlasts this turn.
        if timeout(self.patience, self.slot.take()).await.is_err() {
            return Ok(Turn::Waiting);
        }
        match self.read_on().await {
            Ok(proof) => {
                if self.packer.is_full() {
                    self.pack();
                }
                Ok(proof.map_or(Turn::Idle, Turn::Progress))
            }
            Err(error) => Ok(self.fail(error)),
        }
    }

    fn work(&mut self) -> Work {
        let handed = self.handed.enter(&self.permit);
        handed.map_or_else(Work::default, |mut handed| handed.take_work())
    }
}

impl CatchUp {
    /// A catch-up that goes on behind what was `handed` over, and waits at most
    /// `patience` in a turn.
    pub(crate) fn new(
        source: Source,
        stretch: Stretch,
        (handed, permit): (Arc<Fenced<Handed>>, Permit),
        (pieces, slot): (mpsc::Sender<Piece>, Slot),
        patience: Duration,
    ) -> Self {
        let Handed {
            from,
            located,
            told,
            over,
            ..
        } = handed.get().clone();
        let (history, first) = History::new(from, stretch.until, &stretch.settings);
        Self {
            packer: source.packer(&stretch.container, stretch.issued, stretch.cause),
            deliveries: Vec::new(),
            source,
            stretch,
            handed,
            permit,
            pieces,
            slot,
            history,
            step: match over {
                true => Step::Over(None),
                false => Step::Do(first),
            },
            words: None,
            asked: None,
            reading: None,
            ready: VecDeque::new(),
            located,
            told,
            stopped: false,
            patience,
        }
    }

    /// One request, or what has come of it, at most a chunk.
    async fn read_on(&mut self) -> Result<Option<Verified>, EngineError> {
        let Some(reading) = &mut self.reading else {
            return self.ask().await;
        };
        match timeout(self.patience.min(SILENCE), reading.next()).await {
            Err(_nothing_yet) => {
                self.look_for_spin().await;
                Ok(None)
            }
            Ok(Some(chunk)) => self.take(chunk),
            Ok(None) => {
                let next = self.tell(Event::End);
                self.asked_for(next);
                Ok(None)
            }
        }
    }

    /// Whether the read brings nothing because the log's end is not found.
    async fn look_for_spin(&mut self) {
        let is_silent = self.asked.is_some_and(|asked| asked.elapsed() >= SILENCE);
        if is_silent && self.source.is_well().await {
            let next = self.tell(Event::Silent);
            if next != Next::More {
                self.asked_for(next);
            }
        }
    }

    async fn ask(&mut self) -> Result<Option<Verified>, EngineError> {
        let next = match self.step {
            Step::Do(next) => next,
            Step::Broken | Step::Over(_) => {
                let broken = Event::broken(self.words.take());
                self.tell(broken)
            }
        };
        let Next::Snapshot(tail) = next else {
            return self.settle().await;
        };
        let (id, tty) = (self.stretch.container.id, self.stretch.container.tty);
        self.packer.asked_at(now());
        let records = self.source.engine.snapshot(&id, tty, tail);
        self.reading = Some(records.chunks(TURN).boxed());
        self.step = Step::Broken;
        self.asked = matches!(tail, Tail::Last(_)).then(Instant::now);
        Ok(None)
    }

    fn take(&mut self, mut chunk: Chunk) -> Result<Option<Verified>, EngineError> {
        self.asked = None;
        let proof = chunk.proof.take();
        for record in chunk.records() {
            let next = self.tell(Event::Record(record?));
            if next != Next::More {
                self.asked_for(next);
                break;
            }
        }
        Ok(proof)
    }

    fn asked_for(&mut self, next: Next) {
        self.reading = None;
        self.step = Step::Do(next);
    }

    fn tell(&mut self, event: Event) -> Next {
        let mut deliveries = std::mem::take(&mut self.deliveries);
        let next = self.history.on(event, &mut deliveries);
        self.packer.push(&mut deliveries, self.history.position());
        self.deliveries = deliveries;
        next
    }

    /// The machine has all, but perhaps the end of the last line.
    async fn settle(&mut self) -> Result<Option<Verified>, EngineError> {
        let end = self.history.position();
        let open = match self.stretch.until {
            Until::End => self.stopped.then(OpenLines::default),
            // What its run had left open was given to those who were there.
            Until::Anchor(anchor) if end.anchor == Some(anchor) => Some(self.stretch.open),
            Until::Anchor(_) => None,
        };
        if end.open != OpenLines::default() {
            if let Some(open) = open {
                let mut deliveries = Vec::new();
                self.history.flush(open, &mut deliveries);
                self.packer.push(&mut deliveries, self.history.position());
            } else if self.stretch.until == Until::End {
                // A line of a running container comes whole to whoever resumes here.
                // One that a run left open is complete, if nothing was written since.
                let id = self.stretch.container.id;
                if !self.source.engine.inspect(&id).await?.is_running() {
                    // Goes on from where it has come to.
                    (self.stopped, self.step) = (true, Step::Broken);
                    return Ok(None);
                }
            }
        }
        let end = self.history.position();
        self.finish(Piece::Done(end), None);
        Ok(None)
    }

    /// Whether there can be another attempt.
    fn fail(&mut self, error: EngineError) -> Turn<Verified> {
        let container = self.stretch.container.id;
        debug!(%container, %error, "catch-up interrupted");
        self.give_up();
        match error {
            EngineError::NotFound | EngineError::Removing => {
                self.finish(Piece::Ended(Ended::Removed), None);
            }
            EngineError::Unreadable(message) => {
                let failure = Failure {
                    message: message.clone(),
                    lasting: true,
                };
                self.finish(Piece::Ended(Ended::Unreadable(message)), Some(failure));
            }
            error => {
                self.words = error.words();
                return Turn::Blocked(error.to_string());
            }
        }
        Turn::Idle
    }

    /// Its read goes to others; later it goes on from where it is.
    fn give_up(&mut self) {
        if self.reading.take().is_some() {
            self.step = Step::Broken;
        }
        self.slot.give_up();
    }

    /// Nothing more is read: the last pieces wait for the subscriber alone.
    fn finish(&mut self, last: Piece, failure: Option<Failure>) {
        self.pack();
        if let Piece::Done(end) = last {
            self.locate(end);
            if self.stretch.until == Until::End {
                // All that was stored when the last read was asked for has come.
                self.packer.verified(end);
                self.pack();
            }
        }
        self.ready.push_back(last);
        self.give_up();
        self.step = Step::Over(failure);
    }

    fn pack(&mut self) {
        if let Some(start) = self.history.start() {
            self.locate(start);
        }
        let mut units = VecDeque::from(self.packer.take(self.history.position()));
        // It was the last thing that an earlier generation handed over.
        if let (Some(told), Some(Content::Gap(gap))) =
            (self.told.take(), units.front().map(|unit| &unit.content))
            && told == *gap
        {
            units.pop_front();
        }
        self.ready.extend(units.into_iter().map(Piece::Unit));
    }

    fn locate(&mut self, start: Position) {
        if !std::mem::replace(&mut self.located, true) {
            self.ready.push_back(Piece::Located(start));
        }
    }

    /// Hands over what is ready, or says how the turn ends before that.
    async fn hand_over(&mut self) -> Option<Turn<Verified>> {
        while !self.ready.is_empty() {
            let place = match self.pieces.clone().try_reserve_owned() {
                Ok(place) => place,
                Err(TrySendError::Closed(_)) => return Some(Turn::Done),
                Err(TrySendError::Full(pieces)) => {
                    // Who takes nothing holds no turn.
                    self.slot.pause();
                    match timeout(PATIENCE, pieces.reserve_owned()).await {
                        Ok(Ok(place)) => place,
                        Ok(Err(_gone)) => return Some(Turn::Done),
                        Err(_late) => {
                            if self.slot.is_wanted() {
                                self.give_up();
                            }
                            return Some(Turn::Waiting);
                        }
                    }
                }
            };
            // By this generation, or by none.
            let Some(mut handed) = self.handed.enter(&self.permit) else {
                return Some(Turn::Waiting);
            };
            let piece = self.ready.pop_front()?;
            handed.note(&piece);
            if let Piece::Unit(unit) = &piece {
                self.slot.spend(unit.cost());
            }
            place.send(piece);
        }
        None
    }
}
