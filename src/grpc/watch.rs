//! A watch: what there is, then what changes, until the client goes.

use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;

use prost::Message;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tonic::Status;

use super::convert::timestamp;
use super::outlet::{WRITE_DEADLINE, at};
use super::server::Server;
use super::status::Reason;
use super::stream::PROGRESS;
use super::versions::{Look, Thing, Versions};
use crate::docker::now;
use crate::proto::WatchPosition;

/// Things of one message, and their bytes at which a part closes.
const PART: usize = 500;
const PART_BYTES: usize = 256 * 1024;

/// What changes within so long is told together: a look is at all there is.
const TOGETHER: Duration = Duration::from_millis(50);

/// What is watched, and how it is told.
pub(crate) trait Watched: Sized + Send + Sync + 'static {
    type Key: Ord + Clone + Send + Sync;
    type Mark: PartialEq + Send;
    type Thing: Message;
    type Response: Send;

    /// Where its revisions are counted.
    fn versions(&self) -> &Versions<Self::Key, Self::Mark>;
    /// All there is, and whether it is selected.
    fn read(&self) -> Things<Self>;
    /// Resolves at a change since the last [`Watched::settle`].
    fn changed(&mut self) -> impl Future<Output = ()> + Send;
    /// What was changed so far is about to be read.
    fn settle(&mut self);
    fn tell(
        &self,
        position: Option<WatchPosition>,
        event: Event<Self::Key, Self::Thing>,
    ) -> Self::Response;
}

type Things<W> =
    Vec<Thing<<W as Watched>::Key, <W as Watched>::Mark, Selected<<W as Watched>::Thing>>>;

/// Whether a thing is selected.
pub(crate) enum Selected<V> {
    Yes(V),
    /// Not as it is; it may have been.
    Not,
    /// It never was.
    Never,
}

/// One event of a watch.
pub(crate) enum Event<K, V> {
    /// A part of all there is, and whether it is the last.
    Snapshot(Vec<V>, bool),
    Delta(Vec<V>, Vec<K>),
    Bookmark(prost_types::Timestamp),
}

/// An event and where it leads; parts of a snapshot before its last lead nowhere.
type Placed<K, V> = (Option<WatchPosition>, Event<K, V>);
type Answers<W> = mpsc::Sender<Result<<W as Watched>::Response, Status>>;

/// Opens a watch and lets it run.
pub(crate) fn open<W: Watched>(
    server: &Server,
    what: W,
    resume: Option<WatchPosition>,
    deadline: Option<Instant>,
) -> Result<mpsc::Receiver<Result<W::Response, Status>>, Status> {
    server.refuse_while_draining()?;
    let place = server.place()?;
    // One for the next message, one that is kept for the last.
    let (answers, receiver) = mpsc::channel(2);
    let instance = server.instance_id().to_owned();
    let since = resume.filter(|resume| resume.instance_id == instance);
    let watch = Watch {
        what,
        instance,
        since: since.map(|resume| resume.revision),
        sent: None,
        answers,
    };
    let draining = server.draining();
    server.spawn(async move {
        let _place = place;
        let Ok(last) = watch.answers.clone().reserve_owned().await else {
            return;
        };
        let (answers, mut watch) = (watch.answers.clone(), watch);
        let reason = tokio::select! {
            biased;
            () = draining.cancelled() => Reason::Draining,
            () = at(deadline) => Reason::DeadlineExceeded,
            () = answers.closed() => return,
            reason = watch.run() => reason,
        };
        let message = match reason {
            Reason::Draining => "the server stops",
            Reason::DeadlineExceeded => "the deadline has passed",
            _ => "the client took nothing for too long",
        };
        last.send(Err(reason.status(message)));
    });
    Ok(receiver)
}

struct Watch<W: Watched> {
    what: W,
    instance: String,
    since: Option<u64>,
    /// What the client holds; `None`: not known, it resumes.
    sent: Option<BTreeSet<W::Key>>,
    answers: Answers<W>,
}

impl<W: Watched> Watch<W> {
    /// Runs until the client takes nothing.
    async fn run(&mut self) -> Reason {
        let mut last = None;
        loop {
            // There is room before the look, so that a slow client gets the newest.
            if self.room().await.is_none() {
                return Reason::SlowConsumer;
            }
            self.what.settle();
            let mut look = self.what.versions().look(self.since, || self.what.read());
            // A delta is one message.
            if look.changed.len() > PART && !look.whole {
                look = self.what.versions().look(None, || self.what.read());
            }
            let told = match self.events(look) {
                events if events.is_empty() => {
                    last.is_none_or(|at: Instant| at.elapsed() >= PROGRESS)
                }
                events => {
                    for (position, event) in events {
                        let Some(room) = self.room().await else {
                            return Reason::SlowConsumer;
                        };
                        room.send(Ok(self.what.tell(position, event)));
                    }
                    last = Some(Instant::now());
                    sleep(TOGETHER).await;
                    false
                }
            };
            if told {
                let Some(room) = self.room().await else {
                    return Reason::SlowConsumer;
                };
                let bookmark = Event::Bookmark(timestamp(now()));
                room.send(Ok(self.what.tell(self.position(), bookmark)));
                last = Some(Instant::now());
            }
            let due = last.unwrap_or_else(Instant::now) + PROGRESS;
            tokio::select! {
                () = self.what.changed() => {}
                () = sleep_until(due) => {}
            }
        }
    }

    async fn room(&self) -> Option<mpsc::Permit<'_, Result<W::Response, Status>>> {
        timeout(WRITE_DEADLINE, self.answers.reserve())
            .await
            .ok()?
            .ok()
    }

    fn position(&self) -> Option<WatchPosition> {
        Some(WatchPosition {
            instance_id: self.instance.clone(),
            revision: self.since.unwrap_or_default(),
        })
    }

    /// What a look means for this client.
    fn events(&mut self, look: Look<W::Key, Selected<W::Thing>>) -> Vec<Placed<W::Key, W::Thing>> {
        self.since = Some(look.revision);
        let position = self.position();
        let (mut upserted, mut removed) = (Vec::new(), look.gone);
        let mut held = self.sent.take().filter(|_| !look.whole);
        if look.whole {
            held = Some(BTreeSet::new());
        }
        for (key, thing) in look.changed {
            match thing {
                Selected::Yes(thing) => {
                    if let Some(held) = &mut held {
                        held.insert(key);
                    }
                    upserted.push(thing);
                }
                Selected::Not if !look.whole => removed.push(key),
                Selected::Not | Selected::Never => {}
            }
        }
        // What it never had is not told as removed, as far as that is known.
        if let Some(held) = &mut held {
            removed.retain(|key| held.remove(key));
        }
        self.sent = held;
        if look.whole {
            return parts(upserted, position);
        }
        match upserted.is_empty() && removed.is_empty() {
            true => Vec::new(),
            false => vec![(position, Event::Delta(upserted, removed))],
        }
    }
}

/// A snapshot in parts; the last one has the position.
fn parts<K, V: Message>(things: Vec<V>, position: Option<WatchPosition>) -> Vec<Placed<K, V>> {
    let (mut parts, mut part, mut bytes) = (Vec::new(), Vec::new(), 0);
    for thing in things {
        if part.len() == PART || bytes >= PART_BYTES {
            let full = std::mem::take(&mut part);
            parts.push((None, Event::Snapshot(full, false)));
            bytes = 0;
        }
        bytes += thing.encoded_len();
        part.push(thing);
    }
    parts.push((position, Event::Snapshot(part, true)));
    parts
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// One thing, which changes each millisecond, and how often it was looked at.
    #[derive(Default)]
    struct Restless {
        versions: Versions<u8, u64>,
        looks: AtomicU64,
    }

    impl Watched for &'static Restless {
        type Key = u8;
        type Mark = u64;
        type Thing = prost_types::Timestamp;
        type Response = ();

        fn versions(&self) -> &Versions<u8, u64> {
            &self.versions
        }

        fn read(&self) -> Things<Self> {
            let look = self.looks.fetch_add(1, Ordering::Relaxed);
            vec![(0, look, Selected::Yes(prost_types::Timestamp::default()))]
        }

        async fn changed(&mut self) {
            sleep(Duration::from_millis(1)).await;
        }

        fn settle(&mut self) {}

        fn tell(&self, _at: Option<WatchPosition>, _event: Event<u8, Self::Thing>) {}
    }

    #[tokio::test(start_paused = true)]
    async fn what_never_rests_is_looked_at_twenty_times_a_second() {
        let what: &'static Restless = Box::leak(Box::default());
        let (answers, mut told) = mpsc::channel(2);
        let mut watch = Watch {
            what,
            instance: String::new(),
            since: None,
            sent: None,
            answers,
        };
        let taken = async { while told.recv().await.is_some() {} };
        tokio::select! {
            _ = watch.run() => panic!("all is taken"),
            () = taken => panic!("it goes on"),
            () = sleep(Duration::from_secs(10)) => {}
        }
        let looks = what.looks.load(Ordering::Relaxed);
        assert!((190..=200).contains(&looks), "{looks}");
    }
}
