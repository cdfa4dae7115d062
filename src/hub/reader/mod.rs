//! The one reader of a container's log: does what the machine in `tail` asks.

mod intake;
mod place;
mod rest;
mod waits;

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use tokio::sync::watch;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, sleep, timeout};
use tracing::debug;

use super::log::{Ended, Log};
use super::pace::Pace;
use super::pack::Packer;
use super::runs::Runs;
use super::source::{SILENCE, Source};
use crate::docker::{
    Chunk, Container, EngineError, Inventory, Record, Records, Tail, Verified, now,
};
use crate::supervisor::{Backoff, Failure, Permit, Task, Turn, Work};
use crate::tail::{Delivery, Event, GapCause, Live, Next, Settings};
use place::Place;
use waits::{answer, chunk, until};

/// Records taken per turn, so that a busy log does not starve its deadlines.
const TURN: usize = 1_024;

type Probed = Result<Result<(Option<Record>, Verified), EngineError>, Elapsed>;
type Chunks = BoxStream<'static, Chunk>;

/// A reader of one log: a task whose turns do what the machine asks. It begins
/// where the log ends; subscribers that another reader left behind it catch up.
pub(crate) struct Reader {
    source: Source,
    container: Arc<Container>,
    /// Where a new name is found.
    names: watch::Receiver<Arc<Inventory>>,
    log: Arc<Log>,
    permit: Arc<Permit>,
    live: Live,
    first: Next,
    step: Step,
    /// What the engine said of the read that broke.
    words: Option<String>,
    proof: Option<Verified>,
    packer: Packer,
    /// Empty between events: one allocation serves all of them.
    deliveries: Vec<Delivery>,
    reading: Option<Chunks>,
    /// For what is stored.
    place: Place,
    probe: Option<BoxFuture<'static, Probed>>,
    /// When it was asked for, ns since the Unix epoch, and that it was answered.
    probed: i64,
    answered: Option<Verified>,
    /// Longest wait of a turn.
    patience: Duration,
    /// Between a lease's end and the next while the container runs.
    backoff: Backoff,
    runs: Runs,
    /// Whether what it found at its beginning is still to be told.
    arrived: bool,
    begun: Instant,
    pace: Pace,
    /// When what was packed is published.
    due: Option<Instant>,
    work: Work,
}

/// What the next turn does.
#[derive(Clone, Copy)]
enum Step {
    /// Find out whether the container runs.
    Look,
    /// What the machine asked for.
    Do(Next),
    /// Tell the machine that its read broke.
    Broken,
    /// Wait for another run; the last list that was told of.
    Rest(i64),
}

/// Why there is nothing to go on with.
enum Stop {
    /// The engine did not do its part; the same is tried again.
    Blocked(String),
    Ended(Ended),
}

impl Task for Reader {
    type Proof = Verified;

    async fn turn(&mut self) -> Result<Turn<Verified>, Failure> {
        let gone_on = self.go_on().await;
        if gone_on.is_err() {
            self.place.leave();
            self.publish();
        }
        match gone_on {
            Ok(waits) => Ok(match self.proof.take() {
                Some(proof) => Turn::Progress(proof),
                None if waits => Turn::Waiting,
                None => Turn::Idle,
            }),
            Err(Stop::Blocked(cause)) => Ok(Turn::Blocked(cause)),
            Err(Stop::Ended(ended)) => {
                debug!(container = %self.container.id, ?ended, "log ended");
                self.log.end(&self.permit, ended.clone());
                match ended {
                    Ended::Removed => Ok(Turn::Done),
                    Ended::Unreadable(message) => Err(Failure {
                        message,
                        lasting: true,
                    }),
                }
            }
        }
    }

    fn work(&mut self) -> Work {
        std::mem::take(&mut self.work)
    }
}

impl Reader {
    /// A reader of `container`'s log, which waits at most `patience` in a turn.
    pub(crate) fn new(
        source: Source,
        container: Arc<Container>,
        (log, permit): (Arc<Log>, Arc<Permit>),
        settings: Settings,
        patience: Duration,
    ) -> Self {
        let (live, first) = Live::new(settings);
        Self {
            runs: Runs::told((None, false)),
            packer: source.packer(&container, None, GapCause::RotatedOut),
            names: source.inventory.clone(),
            source,
            container,
            log,
            permit,
            live,
            first,
            step: Step::Look,
            words: None,
            proof: None,
            deliveries: Vec::new(),
            reading: None,
            place: Place::Unwanted,
            probe: None,
            probed: 0,
            answered: None,
            patience,
            backoff: Backoff::default(),
            arrived: false,
            begun: Instant::now(),
            pace: Pace::default(),
            due: None,
            work: Work::default(),
        }
    }

    /// One step; whether it only waits for what is nobody's fault.
    async fn go_on(&mut self) -> Result<bool, Stop> {
        if let Step::Do(Next::Snapshot(_)) = self.step
            && !self.may_look().await
        {
            return Ok(true);
        }
        let next = match self.step {
            Step::Look => self.look().await?,
            Step::Broken => {
                let broken = Event::broken(self.words.take());
                self.tell(broken)
            }
            Step::Rest(verified) => match self.rest(verified).await? {
                Some(next) => next,
                None => return Ok(true),
            },
            Step::Do(next) => {
                // Unless it comes to something.
                self.step = Step::Broken;
                self.follow_up(next).await?
            }
        };
        self.step = Step::Do(next);
        if !matches!(next, Next::More | Next::Snapshot(_)) {
            self.place.leave();
        }
        match next {
            Next::More => self.publish_in_time(),
            Next::Rest | Next::Done => self.lie_down(),
            _ => self.publish(),
        }
        Ok(false)
    }

    /// Whether it may look at what is stored; if not, it has waited its turn.
    async fn may_look(&mut self) -> bool {
        let resyncs = &self.source.resyncs;
        self.place.is_taken(resyncs, self.patience).await
    }

    /// Does what was asked and waits for what comes of it.
    async fn follow_up(&mut self, next: Next) -> Result<Next, Stop> {
        let (id, tty) = (self.container.id, self.container.tty);
        match next {
            Next::Lease(tail) => {
                self.work.rotations += 1;
                self.read(self.source.engine.follow(&id, tty, tail));
            }
            Next::Snapshot(tail) => {
                self.place.moves();
                self.read(self.source.engine.snapshot(&id, tty, tail));
            }
            // One that is under way goes on: it may be that no end is found.
            Next::Probe if self.probe.is_none() => {
                let last = self.source.engine.snapshot(&id, tty, Tail::Last(1));
                self.probed = now();
                self.probe = Some(Box::pin(timeout(SILENCE, last.last())));
            }
            Next::Ask => return self.ask().await,
            Next::Probe | Next::More | Next::Rest | Next::Done => {}
        }
        self.wait().await
    }

    fn read(&mut self, records: Records) {
        self.probe = None;
        self.packer.asked_at(now());
        self.reading = Some(records.chunks(TURN).boxed());
    }

    async fn wait(&mut self) -> Result<Next, Stop> {
        let deadline = self.live.deadline().map(|at| self.begun + at);
        tokio::select! {
            // Time first: a busy lease must not outlive its rotation.
            biased;
            () = until(deadline) => Ok(self.tell(Event::Elapsed)),
            () = until(self.due) => Ok(Next::More),
            probed = answer(&mut self.probe) => {
                self.probe = None;
                Ok(match probed {
                    Ok(Ok((last, proof))) => {
                        self.answered = Some(proof);
                        self.tell(Event::Probed(last))
                    }
                    // It proves nothing; the next one is due anyway.
                    Ok(Err(_)) => Next::More,
                    Err(_silent) => self.on_silence().await,
                })
            }
            chunk = chunk(&mut self.reading) => match chunk {
                Some(chunk) => self.take(chunk),
                None => {
                    self.reading = None;
                    Ok(self.tell(Event::End))
                }
            },
            () = self.place.is_silent() => {
                // Others first.
                self.place.leave();
                Ok(self.on_silence().await)
            }
            () = sleep(self.patience) => Ok(Next::More),
        }
    }

    /// A read that brings nothing goes on, and the engine's deadlines end it, unless
    /// it is the log's end that is not found.
    async fn on_silence(&mut self) -> Next {
        match self.source.is_well().await {
            true => self.tell(Event::Silent),
            false => Next::More,
        }
    }

    fn failed(&mut self, error: EngineError) -> Stop {
        // Neither keeps a connection while there is a delay.
        (self.reading, self.probe) = (None, None);
        self.set_back(error)
    }

    /// Publishes what came, unless something left a moment ago: then it waits for
    /// more.
    fn publish_in_time(&mut self) {
        let due = self.pace.due(Instant::now(), self.log.latency());
        match due.filter(|_| !self.packer.is_full()) {
            None => self.publish(),
            due => self.due = due,
        }
    }

    fn publish(&mut self) {
        self.due = None;
        if !self.live.is_oriented() {
            return;
        }
        let position = self.live.position();
        if std::mem::take(&mut self.arrived) && self.runs.is_new(&self.container) {
            // Begun while nobody read.
            self.runs.tell(&self.container, position, &mut self.packer);
        }
        // While something is held the position is ahead of what is published.
        if self.runs.is_holding() {
            return;
        }
        let units = self.packer.take(position);
        let known = self.log.head().map(|head| head.position);
        if !units.is_empty() {
            self.pace.left(Instant::now());
        }
        if !units.is_empty() || known != Some(position) {
            self.log
                .publish(&self.permit, units, position, self.live.taken());
        }
    }
}

impl Reader {
    /// What is packed from here on bears the name that the container has now.
    fn look_for_name(&mut self) {
        if !self.names.has_changed().unwrap_or(false) {
            return;
        }
        let inventory = self.names.borrow_and_update();
        let known = inventory.containers.get(&self.container.id);
        if let Some(known) = known.filter(|known| known.name != self.container.name) {
            self.packer.label(known);
            Arc::make_mut(&mut self.container)
                .name
                .clone_from(&known.name);
        }
    }
}
