//! The one reader of a container's log: does what the machine in `tail` asks.

use std::convert::Infallible;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, warn};

use super::log::{Ended, Log};
use super::pace::Pace;
use super::pack::Packer;
use super::runs::Runs;
use super::unit::Content;
use crate::docker::{Container, Engine, EngineError, Inventory, Reach, Record, Tail, now};
use crate::supervisor::Backoff;
use crate::tail::{Cursor, Delivery, Event, GapCause, Live, Next, Settings};

/// Records taken per turn, so that a busy log does not starve its deadlines.
const TURN: usize = 512;

type Chunks = BoxStream<'static, Vec<Result<Record, EngineError>>>;

/// What a reader reads with.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) engine: Engine,
    pub(crate) reach: watch::Receiver<Reach>,
    pub(crate) inventory: watch::Receiver<Arc<Inventory>>,
}

impl Source {
    /// What packs a container's entries. A deletion before they begin means `cause`.
    pub(crate) fn packer(&self, container: &Container, cause: GapCause) -> Packer {
        let inventory = self.inventory.borrow();
        let engine = inventory.engine.as_ref();
        let tag = engine.map_or(0, |engine| Cursor::tag(&engine.id));
        Packer::new(container, tag, cause)
    }

    /// Waits before the next attempt: out of step with others, and not at all
    /// while the engine is known to be away.
    pub(crate) async fn pause(&mut self, backoff: &mut Backoff) {
        sleep(backoff.next_delay()).await;
        // An error means that the service ends.
        if self.reach.wait_for(Reach::is_here).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// A running reader.
pub(crate) struct Reader {
    source: Source,
    container: Arc<Container>,
    log: Arc<Log>,
    live: Live,
    packer: Packer,
    reading: Option<Chunks>,
    probe: Option<BoxFuture<'static, Option<Option<Record>>>>,
    /// When it was asked for, ns since the Unix epoch.
    probed: i64,
    backoff: Backoff,
    runs: Runs,
    begun: Instant,
    pace: Pace,
    /// When what was packed is published.
    due: Option<Instant>,
}

impl Reader {
    /// Reads `container`'s log into `log` until the container is gone.
    pub(crate) async fn run(
        source: Source,
        container: Arc<Container>,
        log: Arc<Log>,
        settings: Settings,
    ) {
        let (live, first) = Live::new(settings);
        let reader = Self {
            runs: Runs::of(&container),
            packer: source.packer(&container, GapCause::RotatedOut),
            source,
            container,
            log,
            live,
            reading: None,
            probe: None,
            probed: 0,
            backoff: Backoff::default(),
            begun: Instant::now(),
            pace: Pace::default(),
            due: None,
        };
        reader.drive(first).await;
    }

    async fn drive(mut self, first: Next) {
        let Err(ended) = self.read_on(first).await;
        self.publish();
        debug!(container = %self.container.id, ?ended, "log ended");
        self.log.end(ended);
    }

    async fn read_on(&mut self, first: Next) -> Result<Infallible, Ended> {
        self.look().await?;
        let mut next = first;
        loop {
            next = self.follow_up(next).await?;
            match next {
                Next::More => self.publish_in_time(),
                _ => self.publish(),
            }
        }
    }

    /// Whether the container runs: the inventory may be a moment behind.
    async fn look(&mut self) -> Result<(), Ended> {
        loop {
            match self.source.engine.inspect(&self.container.id).await {
                Ok(container) => {
                    self.runs = Runs::of(&container);
                    self.log.opened(container.is_running());
                    self.packer.label(&container);
                    self.container = Arc::new(container);
                    return Ok(());
                }
                Err(error) => self.set_back(error).await?,
            }
        }
    }

    /// Does what was asked and waits for what comes of it.
    async fn follow_up(&mut self, next: Next) -> Result<Next, Ended> {
        let (id, tty) = (self.container.id, self.container.tty);
        match next {
            Next::Lease(tail) => self.read(self.source.engine.follow(&id, tty, tail)),
            Next::Snapshot(tail) => self.read(self.source.engine.snapshot(&id, tty, tail)),
            Next::Probe => {
                let last = self.source.engine.snapshot(&id, tty, Tail::Last(1));
                self.probed = now();
                self.probe = Some(Box::pin(last_record(last)));
            }
            Next::Ask => return self.ask().await,
            Next::Rest | Next::Done => return self.rest().await,
            Next::More => {}
        }
        self.wait().await
    }

    fn read(&mut self, records: crate::docker::Records) {
        self.probe = None;
        self.packer.asked_at(now());
        self.reading = Some(records.ready_chunks(TURN).boxed());
    }

    async fn wait(&mut self) -> Result<Next, Ended> {
        let deadline = self.live.deadline().map(|at| self.begun + at);
        tokio::select! {
            // Time first: a busy lease must not outlive its rotation.
            biased;
            () = until(deadline) => Ok(self.tell(Event::Elapsed)),
            () = until(self.due) => Ok(Next::More),
            probed = answer(&mut self.probe) => {
                self.probe = None;
                // A probe that failed proves nothing; the next one is due anyway.
                Ok(probed.map_or(Next::More, |last| self.tell(Event::Probed(last))))
            }
            chunk = records(&mut self.reading) => match chunk {
                Some(chunk) => self.take(chunk).await,
                None => {
                    self.reading = None;
                    Ok(self.tell(Event::End))
                }
            },
        }
    }

    async fn take(&mut self, chunk: Vec<Result<Record, EngineError>>) -> Result<Next, Ended> {
        for record in chunk {
            let next = match record {
                Ok(record) => {
                    self.backoff.reset();
                    self.tell(Event::Record(record))
                }
                Err(error) => return self.failed(error).await,
            };
            if next != Next::More {
                return Ok(next);
            }
        }
        Ok(Next::More)
    }

    async fn failed(&mut self, error: EngineError) -> Result<Next, Ended> {
        self.reading = None;
        self.set_back(error).await?;
        Ok(self.tell(Event::Broken))
    }

    /// Waits for another attempt, if there can be one.
    async fn set_back(&mut self, error: EngineError) -> Result<(), Ended> {
        match error {
            EngineError::NotFound | EngineError::Removing => return Err(self.removed()),
            EngineError::Unreadable(words) => return Err(Ended::Unreadable(words)),
            EngineError::Protocol(_) => {
                warn!(container = %self.container.id, %error, "log stream broken");
            }
            EngineError::Unavailable(_) => {
                debug!(container = %self.container.id, %error, "log stream broken");
            }
        }
        self.publish();
        self.source.pause(&mut self.backoff).await;
        Ok(())
    }

    fn removed(&mut self) -> Ended {
        self.runs.release(&mut self.packer);
        self.tell(Event::Gone);
        self.runs.release(&mut self.packer);
        Ended::Removed
    }

    /// A lease ended: does the container still run?
    async fn ask(&mut self) -> Result<Next, Ended> {
        self.reading = None;
        let now = match self.source.engine.inspect(&self.container.id).await {
            Ok(container) => container,
            Err(error) => return self.failed(error).await,
        };
        let again = !self.runs.is_new(&now);
        self.runs.tell(&now, self.live.position(), &mut self.packer);
        let runs = now.is_running();
        self.packer.label(&now);
        self.container = Arc::new(now);
        if !runs {
            return Ok(self.tell(Event::Stopped));
        }
        if again {
            // An engine that ends streams of a running container at once must
            // not be asked in a loop.
            self.publish();
            sleep(self.backoff.next_delay()).await;
        }
        Ok(self.tell(Event::Running))
    }

    /// Waits for another run, which may be over before it is seen. The inventory
    /// may be a moment behind: the engine decides.
    async fn rest(&mut self) -> Result<Next, Ended> {
        self.reading = None;
        let at = self.live.position();
        self.runs.end(&self.container, at, &mut self.packer);
        self.publish();
        let (id, mut verified) = (self.container.id, 0);
        loop {
            let inventory = Arc::clone(&self.source.inventory.borrow_and_update());
            let known = inventory.containers.get(&id);
            if known.is_none_or(|known| self.runs.is_new(known)) {
                match self.source.engine.inspect(&id).await {
                    Ok(now) if self.runs.is_new(&now) => {
                        self.runs.tell(&now, at, &mut self.packer);
                        return Ok(self.tell(Event::Running));
                    }
                    Ok(_) => {}
                    Err(error) => {
                        self.set_back(error).await?;
                        continue;
                    }
                }
            }
            // It was listed, and nothing has begun that could write.
            if inventory.listed > verified && known.is_some() {
                verified = inventory.listed;
                self.packer.content(Content::Verified(verified), at);
                self.publish();
            }
            if self.source.inventory.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    fn tell(&mut self, event: Event) -> Next {
        let mut deliveries = Vec::new();
        let before = self.live.position();
        let is_probe = matches!(event, Event::Probed(_));
        let next = self.live.on(event, self.begun.elapsed(), &mut deliveries);
        let after = self.live.position();
        // A probe that shows more than came proves nothing.
        if is_probe && deliveries.contains(&Delivery::Verified) {
            self.packer.asked_at(self.probed);
        }
        if self.live.has_ended() {
            self.runs.hold(before, deliveries, after, &mut self.packer);
        } else {
            self.packer.push(&mut deliveries, after);
        }
        next
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
        // While something is held the position is ahead of what is published.
        if self.live.is_oriented() && !self.runs.is_holding() {
            let position = self.live.position();
            let units = self.packer.take(position);
            let known = self.log.head().map(|head| head.position);
            if !units.is_empty() {
                self.pace.left(Instant::now());
            }
            if !units.is_empty() || known != Some(position) {
                self.log.publish(units, position, self.live.taken());
            }
        }
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

async fn records(reading: &mut Option<Chunks>) -> Option<Vec<Result<Record, EngineError>>> {
    match reading {
        Some(reading) => reading.next().await,
        None => std::future::pending().await,
    }
}

async fn answer<T>(probe: &mut Option<BoxFuture<'static, T>>) -> T {
    match probe {
        Some(probe) => probe.await,
        None => std::future::pending().await,
    }
}

/// The last record; `None` if the read failed.
async fn last_record(mut records: crate::docker::Records) -> Option<Option<Record>> {
    let mut last = None;
    while let Some(record) = records.next().await {
        last = Some(record.ok()?);
    }
    Some(last)
}
