//! One subscriber's way through one container's log.
//!
//! A subscriber is a position. It catches up from the engine until it meets the
//! ring, reads the ring, and catches up again should the ring leave it behind. It
//! never delays the reader or another subscriber.

mod opening;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;

use super::catch_up::{AHEAD, Held, Piece, Stretch};
use super::following::Following;
use super::lifecycle::Lifecycle;
use super::log::{Ended, Head, Read};
use super::registry::Registry;
use super::unit::{Content, Unit};
use crate::docker::Container;
use crate::tail::{From, Gap, GapCause, OpenLines, Place, Position, Until};

/// A catch-up that overtook the reader waits so long for it to come up.
const OVERTAKEN: Duration = Duration::from_millis(250);

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A piece of the log.
    Unit(Arc<Unit>),
    /// What was stored before is delivered; live from here.
    CaughtUp,
    /// The ring has left this subscriber behind; it catches up.
    FellBehind,
    /// Nothing more will come: all that was asked for is delivered.
    Complete,
    /// Nothing more can come.
    Ended(Ended),
}

/// Why a subscription cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The engine is away; its cause.
    #[error("the container engine does not answer: {0}")]
    Unavailable(String),
    /// The log brings nothing.
    #[error("the container's log cannot be read")]
    Ended(Ended),
}

/// A position in one log, with the means to move it.
#[derive(Debug)]
pub struct Subscription {
    registry: Arc<Registry>,
    container: Arc<Container>,
    position: Position,
    /// Where it starts, while nothing was read yet: at this instant.
    since: Option<i64>,
    /// Up to when its subscriber knows containers, if it is told of no others.
    issued: Option<i64>,
    /// As far as it was told.
    lifecycle: Lifecycle,
    mode: Mode,
    following: Option<Following>,
    /// It is read again although it was live, and has not been told otherwise.
    was_live: bool,
    /// Records the log's reader had taken where this joined: what repairs a skip
    /// before that is no repair here.
    joined: u64,
}

#[derive(Debug)]
enum Mode {
    /// It waits until the log's reader knows where the log ends.
    Joining(From),
    CatchingUp {
        pieces: mpsc::Receiver<Piece>,
        /// Where the ring is to be met; `None`: the stretch's end is the end.
        join: Option<Box<Head>>,
        task: Held,
    },
    Live {
        seq: u64,
        /// Told of the container's runs, before what is taken.
        missed: VecDeque<Unit>,
        taken: VecDeque<Arc<Unit>>,
        /// Whether it was said that what follows is live.
        told: bool,
    },
    /// The log ended before all was read, which is to be told.
    CutOff(Ended),
    Over(Item),
}

impl Subscription {
    /// The container read.
    pub fn container(&self) -> &Arc<Container> {
        &self.container
    }

    /// Whether the container runs, as far as was told.
    pub fn was_running(&self) -> bool {
        self.lifecycle.running
    }

    /// Whether nothing is to come before the container runs again, as far as was
    /// told.
    pub fn was_settled(&self) -> bool {
        self.lifecycle.settled
    }

    /// Behind everything handed out so far.
    pub fn place(&self) -> Place {
        self.since.map_or(Place::At(self.position), Place::Since)
    }

    /// What comes next. Cancel safe. Behind the end it gives the end again.
    pub async fn next(&mut self) -> Item {
        loop {
            if let Some(item) = self.step().await {
                return item;
            }
        }
    }

    async fn step(&mut self) -> Option<Item> {
        match &mut self.mode {
            Mode::Over(item) => Some(item.clone()),
            Mode::Joining(from) => {
                let from = *from;
                // What is rare is boxed: else it would have its room for ever.
                Box::pin(self.enter(from)).await;
                None
            }
            Mode::CutOff(ended) => {
                let ended = ended.clone();
                Some(self.tell_cut(ended))
            }
            Mode::Live { told, .. } if !*told => {
                *told = true;
                Some(Item::CaughtUp)
            }
            Mode::Live {
                seq, missed, taken, ..
            } => {
                if let Some(unit) = missed.pop_front() {
                    return Some(Item::Unit(Arc::new(unit)));
                }
                if let Some(unit) = taken.pop_front() {
                    *seq += 1;
                    self.position = unit.after;
                    if unit.place().is_some_and(|place| place <= self.joined) {
                        return None;
                    }
                    self.lifecycle.note(&unit.content);
                    return Some(Item::Unit(unit));
                }
                self.take_live().await
            }
            Mode::CatchingUp { pieces, task, .. } => {
                let position = match pieces.recv().await {
                    Some(Piece::Done(position)) => position,
                    Some(Piece::Located(position)) => {
                        self.reached(position);
                        return None;
                    }
                    Some(Piece::Unit(unit)) => {
                        self.reached(unit.after);
                        return Some(Item::Unit(Arc::new(unit)));
                    }
                    Some(Piece::Ended(ended)) => {
                        task.let_end();
                        self.cut_off(ended);
                        return None;
                    }
                    None => return Some(self.over(Item::Complete)),
                };
                task.let_end();
                Box::pin(self.caught_up(position)).await
            }
        }
    }

    fn reached(&mut self, position: Position) {
        (self.position, self.since) = (position, None);
    }

    /// The log has ended before all that was wanted was read.
    fn cut_off(&mut self, ended: Ended) {
        self.mode = Mode::CutOff(ended);
    }

    /// Tells what that means.
    fn tell_cut(&mut self, ended: Ended) -> Item {
        let over = self.over(Item::Ended(ended.clone()));
        if ended != Ended::Removed {
            return over;
        }
        let last = self.place().time();
        let gap = Gap::possible(GapCause::ContainerRemoved, last, None);
        Item::Unit(Arc::new(Unit {
            content: Content::Gap(gap),
            after: self.position,
        }))
    }

    async fn take_live(&mut self) -> Option<Item> {
        let (Mode::Live { seq, taken, .. }, Some(following)) =
            (&mut self.mode, &mut self.following)
        else {
            return Some(self.over(Item::Complete));
        };
        let Following {
            attendance,
            changes,
        } = following;
        match attendance.log().next(changes, *seq).await {
            Read::Units(units) => {
                taken.extend(units);
                None
            }
            Read::Ended(ended) => Some(self.over(Item::Ended(ended))),
            Read::Empty => None,
            Read::Restarted => {
                // From here on it is read again, up to where the new reader began.
                let head = following.attendance.log().head()?;
                let from = From::After(self.position);
                let lease_replaced = Unit {
                    content: Content::LeaseReplaced,
                    after: self.position,
                };
                self.was_live = true;
                self.catch_up_to(from, head, GapCause::Stall);
                Some(Item::Unit(Arc::new(lease_replaced)))
            }
            Read::Behind => {
                let head = following.attendance.log().head()?;
                let from = From::After(self.position);
                self.was_live = false;
                self.catch_up_to(from, head, GapCause::SlowConsumer);
                Some(Item::FellBehind)
            }
        }
    }

    /// The catch-up is done: into the ring if it met it, else once more.
    async fn caught_up(&mut self, position: Position) -> Option<Item> {
        self.reached(position);
        let Mode::CatchingUp { join, .. } = &self.mode else {
            return None;
        };
        let (Some(following), Some(join)) = (&mut self.following, join.as_deref().copied()) else {
            return Some(self.over(Item::Complete));
        };
        let meets = |head: &Head| {
            let same = head.position.anchor == position.anchor;
            // A line that the reader has closed there would never come.
            let mut lines = position.open.iter().zip(head.position.open);
            same && lines.all(|(here, there)| here.is_none() || there.is_some())
        };
        let now = || following.attendance.log().head();
        let head = Some(join).filter(meets).or_else(|| now().filter(meets));
        if let Some(head) = head {
            self.join_ring(head);
            return None;
        }
        // The snapshot was newer than the ring, or its target was deleted.
        let _either = timeout(OVERTAKEN, following.changes.changed()).await;
        if let Some(ended) = following.attendance.log().ended() {
            self.cut_off(ended);
            return None;
        }
        let head = following.attendance.log().head()?;
        self.catch_up_to(From::After(position), head, GapCause::RotatedOut);
        None
    }

    fn catch_up_to(&mut self, from: From, head: Head, cause: GapCause) {
        match head.position.anchor {
            Some(anchor) => self.read(from, Until::Anchor(anchor), Some(head), cause),
            // Nothing is stored before the head.
            None => self.join_ring(head),
        }
    }

    /// Goes on in the ring; what is to be told of the container's runs and is no
    /// longer there comes first.
    fn join_ring(&mut self, head: Head) {
        self.reached(head.position);
        self.joined = head.taken;
        let missed = self.lifecycle.missed(&head.lifecycle).into_iter();
        let unit = |content| Unit {
            content,
            after: head.position,
        };
        self.lifecycle = head.lifecycle;
        self.mode = Mode::Live {
            seq: head.seq,
            missed: missed.map(unit).collect(),
            taken: VecDeque::new(),
            told: std::mem::take(&mut self.was_live),
        };
    }

    fn read(&mut self, from: From, until: Until, join: Option<Head>, cause: GapCause) {
        let (sender, pieces) = mpsc::channel(AHEAD);
        let stretch = Stretch {
            container: Arc::clone(&self.container),
            from,
            until,
            cause,
            issued: self.issued,
            open: join.map_or_else(OpenLines::default, |head| head.position.open),
            settings: self.registry.settings_for(&self.container),
        };
        self.mode = Mode::CatchingUp {
            task: self.registry.catch_up(stretch, sender),
            pieces,
            join: join.map(Box::new),
        };
    }

    fn over(&mut self, item: Item) -> Item {
        self.mode = Mode::Over(item.clone());
        item
    }
}
