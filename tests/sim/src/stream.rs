//! Log bodies: one chunk per record, with everything that may happen to a stream on its way.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;

use crate::body::{Chunks, Torn};
use crate::engine::Habits;
use crate::fault::{BodyAct, Victim};
use crate::instance::{Instance, Phase};
use crate::log::{Entry, Log, Stored};
use crate::query::{Filter, Query, Since, Tail, Verdict};
use crate::refusal::Refusal;
use crate::world::{Open, World};
use crate::{Ending, Endpoint, Record};

/// Type, three zeros and the length of the payload.
const FRAME_HEADER: usize = 8;

/// What one request for logs asks for.
pub(crate) struct LogsQuery {
    pub(crate) follow: bool,
    timestamps: bool,
    tail: Tail,
    filter: Filter,
    since: Option<crate::Timestamp>,
}

impl LogsQuery {
    /// Everything but the times.
    pub(crate) fn parse(query: &Query) -> Result<Self, Refusal> {
        let (stdout, stderr) = (query.flag("stdout"), query.flag("stderr"));
        if !stdout && !stderr {
            return Err(Refusal::bad(
                "Bad parameters: you must choose at least one stream".to_owned(),
            ));
        }
        if query.flag("details") {
            return Err(Refusal::new(
                501,
                "the simulated engine shows no details".to_owned(),
            ));
        }
        Ok(Self {
            follow: query.flag("follow"),
            timestamps: query.flag("timestamps"),
            tail: query.get("tail").map_or(Tail::All, Tail::parse),
            filter: Filter {
                stdout,
                stderr,
                since: Since::Open,
                until: None,
            },
            since: None,
        })
    }

    /// Adds the times. Doing so again changes nothing.
    pub(crate) fn limit(&mut self, query: &Query, habits: Habits) -> Result<(), Refusal> {
        let time = |name| {
            query
                .time(name, habits.time_grammar)
                .map_err(|message| Refusal::new(habits.bad_time_status, message))
        };
        self.since = time("since")?;
        self.filter.since = match self.since {
            None => Since::Open,
            Some(since) if habits.since_seeks => Since::First(since),
            Some(since) => Since::Each(since),
        };
        // This one word means none, though not the time that it stands for.
        let unlimited = query.get("until") == Some("0");
        self.filter.until = if unlimited { None } else { time("until")? };
        Ok(())
    }
}

/// The body of one request for logs.
pub(crate) struct LogStream {
    world: Arc<World>,
    _open: [Open; 2],
    container: String,
    victim: Victim,
    faults: watch::Receiver<()>,
    tty: bool,
    timestamps: bool,
    /// Records without bytes, as `local` stores them, have no frame.
    hides_empty: bool,
    filter: Filter,
    /// A search that never ends: nothing will be sent.
    spins: bool,
    backlog: VecDeque<Stored>,
    live: Option<UnboundedReceiver<Stored>>,
    /// The number of the entry that comes next.
    next: u64,
    /// The number of the file that was read last.
    file: u64,
    skip: usize,
    cut: Option<(usize, Ending)>,
    skips_rotated: bool,
}

impl LogStream {
    /// Takes the snapshot and, of a running container, the place from which to follow: both in one step.
    pub(crate) fn open(world: &Arc<World>, instance: &mut Instance, query: LogsQuery) -> Self {
        let log = &mut instance.log;
        let backlog = log.select(query.tail, query.since);
        let first = backlog.front();
        Self {
            world: Arc::clone(world),
            _open: [
                world.open(|stats| &mut stats.log_streams),
                world.open(match query.follow {
                    true => |stats| &mut stats.follows,
                    false => |stats| &mut stats.snapshots,
                }),
            ],
            container: instance.id.clone(),
            victim: Victim::new(Endpoint::Logs, Some(instance.id.clone()), query.follow),
            faults: world.faults.subscribe(),
            tty: instance.tty,
            timestamps: query.timestamps,
            hides_empty: log.driver.is_local() && !query.timestamps,
            filter: query.filter,
            spins: log.spins_on(query.tail),
            next: first.map_or(log.next_number(), |stored| stored.number),
            file: first.map_or(log.current_file(), |stored| stored.file),
            backlog,
            live: (query.follow && instance.phase.is_up()).then(|| log.follow()),
            skip: 0,
            cut: None,
            skips_rotated: false,
        }
    }

    pub(crate) async fn write(mut self, chunks: Chunks) -> Result<(), Torn> {
        if self.spins {
            return std::future::pending().await;
        }
        match self.write_until_end(&chunks).await? {
            Ending::Clean => Ok(()),
            Ending::Torn => Torn::after_what_was_sent().await,
        }
    }

    async fn write_until_end(&mut self, chunks: &Chunks) -> Result<Ending, Torn> {
        loop {
            // Before looking: a fault that is armed meanwhile wakes the stream again.
            self.faults.mark_unchanged();
            if let Some(act) = self.world.strike_body(&mut self.victim) {
                match self.suffer(act, chunks).await? {
                    Some(ending) => return Ok(ending),
                    None => continue,
                }
            }
            let stored = match self.next().await {
                Next::Stored(stored) => stored,
                Next::Again => continue,
                Next::End => return Ok(Ending::Clean),
            };
            if let Some(ending) = self.pass_on(stored, chunks).await? {
                return Ok(ending);
            }
        }
    }

    async fn next(&mut self) -> Next {
        if let Some(stored) = self.backlog.pop_front() {
            return Next::Stored(stored);
        }
        let Some(live) = &mut self.live else {
            return Next::End;
        };
        tokio::select! {
            // Faults first: one that is armed now strikes before the next record.
            biased;
            _ = self.faults.changed() => Next::Again,
            stored = live.recv() => stored.map_or(Next::End, Next::Stored),
        }
    }

    async fn pass_on(&mut self, stored: Stored, chunks: &Chunks) -> Result<Option<Ending>, Torn> {
        if self.skips_rotated && self.was_rotated_away(&stored) {
            return Ok(None);
        }
        self.next = stored.number + 1;
        self.file = stored.file;
        // What cannot be decoded ends a follow as if the container had exited.
        let Entry::Record(record) = stored.entry else {
            return Ok(Some(Ending::Clean));
        };
        match self.filter.judge(&record) {
            Verdict::Pass => (),
            Verdict::Skip => return Ok(None),
            Verdict::End => return Ok(Some(Ending::Clean)),
        }
        if self.skip > 0 {
            self.skip -= 1;
            return Ok(None);
        }
        if self.hides_empty && record.bytes.is_empty() {
            return Ok(None);
        }
        let chunk = self.chunk(&record);
        if let Some((keep, ending)) = self.cut {
            chunks.send(chunk.slice(..keep.min(chunk.len()))).await?;
            return Ok(Some(ending));
        }
        chunks.send(chunk).await?;
        self.victim.sent += 1;
        Ok(None)
    }

    async fn suffer(&mut self, act: BodyAct, chunks: &Chunks) -> Result<Option<Ending>, Torn> {
        match act {
            BodyAct::Stall => std::future::pending().await,
            BodyAct::Delay(length) => tokio::time::sleep(length).await,
            BodyAct::Inject(bytes) => chunks.send(bytes).await?,
            BodyAct::InjectAndEnd(bytes) => {
                chunks.send(bytes).await?;
                return Ok(Some(Ending::Clean));
            }
            BodyAct::End(ending) => return Ok(Some(ending)),
            BodyAct::CutNext(keep, ending) => self.cut = Some((keep, ending)),
            BodyAct::Skip(count) => self.skip += count,
            BodyAct::SkipRotated => self.skips_rotated = true,
            BodyAct::Repeat(count) => self.go_back(|_| count),
            BodyAct::RereadFile => {
                let next = self.next;
                self.go_back(|log| log.read_of_current_file(next));
            }
        }
        Ok(None)
    }

    fn go_back(&mut self, count: impl FnOnce(&Log) -> usize) {
        let state = self.world.state();
        let Some(index) = state.position(&self.container) else {
            return;
        };
        let log = &state.instances[index].log;
        let mut again = log.before(self.next, count(log));
        again.append(&mut self.backlog);
        self.backlog = again;
    }

    /// An open file is read to its end; then the engine's follower opens the current one, whatever lies between.
    fn was_rotated_away(&self, stored: &Stored) -> bool {
        let state = self.world.state();
        let current = state
            .position(&self.container)
            .map(|index| state.instances[index].log.current_file());
        current.is_some_and(|current| {
            current > self.file + 1 && stored.file > self.file && stored.file < current
        })
    }

    fn chunk(&self, record: &Record) -> Bytes {
        let stamp = if self.timestamps {
            format!("{} ", record.time)
        } else {
            String::new()
        };
        let length = stamp.len() + record.bytes.len();
        let mut chunk = BytesMut::with_capacity(FRAME_HEADER + length);
        if !self.tty {
            chunk.put_slice(&[record.stream.frame_type(), 0, 0, 0]);
            chunk.put_u32(u32::try_from(length).expect("a record is smaller than 4 GiB"));
        }
        chunk.put_slice(stamp.as_bytes());
        chunk.put_slice(&record.bytes);
        chunk.freeze()
    }
}

enum Next {
    Stored(Stored),
    Again,
    End,
}

/// Why a container's logs cannot be read at all.
pub(crate) fn readable(instance: &Instance, habits: Habits) -> Result<(), Refusal> {
    if matches!(instance.phase, Phase::Dead | Phase::Removing) {
        let message = "can not get logs from container which is dead or marked for removal";
        return Err(Refusal::new(409, message.to_owned()));
    }
    if instance.log.driver.name() == "none" {
        return Err(Refusal::new(
            if habits.is_podman { 500 } else { 501 },
            "configured logging driver does not support reading".to_owned(),
        ));
    }
    Ok(())
}
