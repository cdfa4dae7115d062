//! The one reader of a container's log: does what the machine in `tail` asks.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, warn};

use super::log::{Ended, Log};
use super::pack::Packer;
use super::unit::{Content, GapCause};
use crate::docker::{Backoff, Container, Engine, EngineError, Inventory, Reach, Record, Tail};
use crate::tail::{Event, Live, Next, Settings};

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
    backoff: Backoff,
    /// Beginning of the run whose log is being read, if one is known.
    run: Option<i64>,
    begun: Instant,
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
        let run = container.started.filter(|_| container.is_running());
        let reader = Self {
            source,
            container,
            log,
            live,
            packer: Packer::new(GapCause::RotatedOut),
            reading: None,
            probe: None,
            backoff: Backoff::default(),
            run,
            begun: Instant::now(),
        };
        reader.drive(first).await;
    }

    async fn drive(mut self, first: Next) {
        let mut next = first;
        loop {
            let outcome = self.follow_up(next).await;
            self.publish();
            match outcome {
                Ok(following) => next = following,
                Err(ended) => {
                    debug!(container = %self.container.id, ?ended, "log ended");
                    self.log.end(ended);
                    return;
                }
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
        self.reading = Some(records.ready_chunks(TURN).boxed());
    }

    async fn wait(&mut self) -> Result<Next, Ended> {
        let deadline = self.live.deadline().map(|at| self.begun + at);
        tokio::select! {
            // Time first: a busy lease must not outlive its rotation.
            biased;
            () = until(deadline) => Ok(self.tell(Event::Elapsed)),
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
        Ok(self.tell(Event::Broken))
    }

    fn removed(&mut self) -> Ended {
        self.tell(Event::Stopped);
        Ended::Removed
    }

    /// A lease ended: does the container still run?
    async fn ask(&mut self) -> Result<Next, Ended> {
        self.reading = None;
        let now = match self.source.engine.inspect(&self.container.id).await {
            Ok(container) => container,
            Err(error) => return self.failed(error).await,
        };
        if now.is_running() {
            if self.run != now.started {
                self.note(Content::Exited(None, None));
                self.note(Content::Started(now.started));
                self.run = now.started;
            } else {
                // An engine that ends streams of a running container at once
                // must not be asked in a loop.
                self.publish();
                sleep(self.backoff.next_delay()).await;
            }
            return Ok(self.tell(Event::Running));
        }
        let next = self.tell(Event::Stopped);
        if self.run.is_some() {
            self.note(Content::Exited(now.finished, now.exit_code));
        }
        self.container = Arc::new(now);
        Ok(next)
    }

    /// Waits for another run. The inventory may still show the last one.
    async fn rest(&mut self) -> Result<Next, Ended> {
        self.reading = None;
        let id = self.container.id;
        let over = self.run.take().or(self.container.started);
        loop {
            let known = self
                .source
                .inventory
                .borrow_and_update()
                .containers
                .get(&id)
                .cloned();
            match known {
                None => {
                    if self.source.engine.inspect(&id).await == Err(EngineError::NotFound) {
                        return Err(self.removed());
                    }
                }
                Some(now) if now.is_running() && now.started != over => {
                    self.run = now.started;
                    self.note(Content::Started(now.started));
                    return Ok(self.tell(Event::Running));
                }
                Some(_) => {}
            }
            if self.source.inventory.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    fn tell(&mut self, event: Event) -> Next {
        let mut deliveries = Vec::new();
        let next = self.live.on(event, self.begun.elapsed(), &mut deliveries);
        self.packer.push(&mut deliveries, self.live.position());
        next
    }

    fn note(&mut self, content: Content) {
        self.packer.content(content, self.live.position());
    }

    fn publish(&mut self) {
        if self.live.is_oriented() {
            let position = self.live.position();
            let units = self.packer.take(position);
            let known = self.log.head().map(|head| head.position);
            if !units.is_empty() || known != Some(position) {
                self.log.publish(units, position);
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
