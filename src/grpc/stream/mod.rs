//! One subscription as it goes over the wire.
//!
//! A task of its own merges the members, so that a client that does not read
//! delays nobody else: `opened` first, `closing` last, `progress` in between, and
//! the status behind all of it.

mod changes;
mod items;
mod knowledge;
mod members;
mod times;

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::{BoxStream, SelectAll, abortable, unfold};
use prost::Message;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::convert::{self, timestamp};
use super::flushes::Gone;
use super::log::Lost;
use super::membership::Membership;
use super::outlet::{End, Outlet, Step, at};
use super::server::OPENED_BYTES;
use super::terms::Terms;
use crate::docker::{Container, ContainerId, now};
use crate::hub::{Item, Registry, Subscription};
use crate::proto::{self, stream_logs_response::Event};
use crate::tail::Place;
pub(crate) use knowledge::Knowledge;
use members::{Member, Members};
use times::Times;

/// Silence between messages is never longer.
pub(crate) const PROGRESS: Duration = Duration::from_secs(10);
/// How long a stream waits for an engine that is away.
const ENGINE_LOST: Duration = Duration::from_secs(300);
/// Stored by the engine later than stamped: what `until` still waits for.
const UNTIL_GRACE: Duration = Duration::from_secs(1);

/// What a stream begins with.
pub(crate) struct Beginning {
    /// Without its members.
    pub(crate) opened: proto::Opened,
    pub(crate) subscriptions: Vec<Subscription>,
    pub(crate) gaps: Vec<proto::Gap>,
    /// Selected, but nothing can be read of them.
    pub(crate) unreadable: Vec<Arc<Container>>,
    /// Selected, and lost while they were opened.
    pub(crate) lost: Vec<Lost>,
}

/// Who joins later, and what that needs.
pub(crate) struct Joins {
    pub(crate) registry: Arc<Registry>,
    pub(crate) membership: Membership,
    pub(crate) knowledge: Knowledge,
    /// How long a log's entries may wait for others.
    pub(crate) latency: Duration,
}

/// Serves a stream to its end, and holds its `permit` for so long. The writer is made
/// here: an async function keeps room for its arguments beside what it makes of them.
pub(crate) fn stream(
    permit: OwnedSemaphorePermit,
    outlet: Outlet,
    beginning: Box<Beginning>,
    joins: Joins,
    terms: Terms,
) -> impl Future<Output = ()> + Send {
    let mut writer = Writer {
        outlet,
        members: Members::default(),
        items: SelectAll::new(),
        entries_sent: 0,
        verified: None,
        caught_up: false,
        joins,
        terms,
        _permit: permit,
    };
    async move {
        // Gone: nobody is left to be told.
        if let Ok(end) = writer.run(beginning).await {
            let positions = writer.positions(|_| true);
            let progress = writer.counts(positions);
            writer.outlet.close(&end, progress);
        }
    }
}

/// What a member brought, and where its reading then stood.
type Brought = (ContainerId, Item, Place);

struct Writer {
    outlet: Outlet,
    members: Members,
    /// What the members bring, each in its turn.
    items: SelectAll<BoxStream<'static, Brought>>,
    entries_sent: u64,
    verified: Option<i64>,
    /// Whether it was said that all members of `opened` are live.
    caught_up: bool,
    joins: Joins,
    terms: Terms,
    /// Its place among the subscriptions.
    _permit: OwnedSemaphorePermit,
}

impl Writer {
    async fn run(&mut self, beginning: Box<Beginning>) -> Result<End, Gone> {
        // What is rare is boxed: else every stream would have its room for ever.
        match Box::pin(self.begin(beginning)).await? {
            Some(end) => Ok(end),
            None => self.merge().await,
        }
    }

    /// Tells who is a member, and whoever would be.
    async fn begin(&mut self, beginning: Box<Beginning>) -> Step {
        let mut opened = beginning.opened;
        let (mut bytes, mut others) = (opened.encoded_len(), Vec::new());
        for subscription in beginning.subscriptions {
            let container = Arc::clone(subscription.container());
            let running = subscription.was_running();
            let member = self.member(&container, running, subscription.place());
            bytes += member.encoded_len() + 8;
            match bytes <= OPENED_BYTES {
                true => opened.members.push(member),
                false => others.push(joined(member, None)),
            }
            self.add(subscription, true);
        }
        let gaps = beginning.gaps.into_iter().map(Event::Gap);
        let first = std::iter::once(Event::Opened(opened));
        for event in first.chain(others).chain(gaps) {
            if let Some(end) = self.outlet.send(event).await? {
                return Ok(Some(end));
            }
        }
        if !self.terms.follow {
            return Ok(None);
        }
        for container in beginning.unreadable {
            if let Some(end) = self.unreadable(&container, None).await? {
                return Ok(Some(end));
            }
        }
        for lost in beginning.lost {
            if let Some(end) = self.lost(lost).await? {
                return Ok(Some(end));
            }
        }
        self.tell_caught_up().await
    }

    /// A member from here on. `first`: since the opening.
    fn add(&mut self, subscription: Subscription, first: bool) {
        let container = Arc::clone(subscription.container());
        let (settled, place) = (subscription.was_settled(), subscription.place());
        let (items, reading) = abortable(brought(subscription));
        self.items.push(items.boxed());
        let member = Member::new(container, place, reading);
        self.members.add(Member {
            settled,
            first,
            ..member
        });
        if self.members.len() > 1 {
            self.outlet.serve_several();
        }
    }

    async fn merge(&mut self) -> Result<End, Gone> {
        let mut times = Times {
            until: self.terms.until.filter(|_| self.terms.follow).map(passed),
            lost: None,
            progress: Instant::now() + PROGRESS,
        };
        let mut reach = self.terms.reach.clone();
        reach.mark_unchanged();
        loop {
            if let Some(end) = self.is_complete() {
                return Ok(end);
            }
            let step = tokio::select! {
                // What ends the stream first, entries last: they may never pause.
                biased;
                () = self.outlet.closed() => return Err(Gone),
                () = self.outlet.draining() => return Ok(End::DRAIN),
                // One timer for all: each would have its room in every stream.
                () = at(self.due(&times)) => match self.is_over(&times) {
                    Some(end) => return Ok(end),
                    None => Box::pin(self.on_time(&mut times.progress)).await?,
                },
                Ok(()) = reach.changed() => {
                    let here = reach.borrow_and_update().is_here();
                    Box::pin(self.engine(here, &mut times.lost)).await?
                }
                () = self.joins.knowledge.changed(), if self.terms.follow => {
                    Box::pin(self.hear()).await?
                }
                brought = self.items.next(), if self.listens() => match brought {
                    // Many lines come at once.
                    Some(brought) => Box::pin(self.brought(brought)).await?,
                    // The last one is over: that may be the end.
                    None => None,
                },
            };
            if let Some(end) = step {
                return Ok(end);
            }
        }
    }

    fn listens(&self) -> bool {
        !self.items.is_empty() && !self.outlet.gathers()
    }

    fn is_complete(&self) -> Option<End> {
        let over = match self.terms.follow {
            true => self.members.is_empty() && self.joins.membership.is_closed(),
            false => self.items.is_empty(),
        };
        let exited =
            self.terms.until_exit && self.members.are_finished() && !self.joins.membership.awaits();
        (over || exited).then_some(End::COMPLETED)
    }

    async fn engine(&mut self, here: bool, lost_at: &mut Option<Instant>) -> Step {
        let was_lost = lost_at.is_some();
        if here != was_lost {
            return Ok(None);
        }
        *lost_at = (!here).then(|| Instant::now() + ENGINE_LOST);
        let (kind, message) = match here {
            true => (
                proto::NoticeKind::EngineRestored,
                "the container engine is back",
            ),
            false => (
                proto::NoticeKind::EngineLost,
                "the container engine does not answer",
            ),
        };
        self.notice(kind, None, message).await
    }

    async fn notice(
        &mut self,
        kind: proto::NoticeKind,
        container: Option<proto::ContainerRef>,
        message: &str,
    ) -> Step {
        self.outlet
            .send(Event::Notice(proto::Notice {
                kind: kind.into(),
                container,
                message: message.to_owned(),
            }))
            .await
    }

    async fn progress(&mut self) -> Step {
        // Its cursors say up to when all members are told.
        if let Some(end) = self.settle().await? {
            return Ok(Some(end));
        }
        let told = self.positions(|member| std::mem::replace(&mut member.untold, false));
        let progress = self.counts(told);
        self.outlet.send(Event::Progress(progress)).await
    }

    fn positions(&mut self, mut which: impl FnMut(&mut Member) -> bool) -> Vec<proto::Position> {
        let (terms, issued) = (&self.terms, self.joins.knowledge.issued());
        let members = self.members.iter_mut();
        members
            .filter_map(|member| {
                let id = member.container.id;
                which(member).then(|| proto::Position {
                    container_id: id.to_string(),
                    cursor: terms.cursor(&id, issued, member.place),
                })
            })
            .collect()
    }

    fn counts(&mut self, positions: Vec<proto::Position>) -> proto::Progress {
        // A stream without members knows what it has been told of.
        let verified = match self.members.is_empty() {
            true => self.terms.follow.then(|| self.joins.knowledge.listed()),
            false => self.members.verified(),
        };
        self.verified = self.verified.max(verified);
        proto::Progress {
            server_time: Some(timestamp(now())),
            verified_time: self.verified.map(timestamp),
            positions,
            entries_sent: self.entries_sent,
            messages_sent: self.outlet.messages_sent(),
        }
    }

    fn cursor(&self, id: &ContainerId, place: Place) -> String {
        self.terms.cursor(id, self.joins.knowledge.issued(), place)
    }

    fn member(&self, container: &Container, running: bool, place: Place) -> proto::Member {
        let cursor = self.cursor(&container.id, place);
        convert::member(container, running, cursor)
    }
}

fn joined(member: proto::Member, time: Option<i64>) -> Event {
    Event::ContainerChange(proto::ContainerChange {
        container: member.container.clone(),
        kind: proto::ContainerChangeKind::Joined.into(),
        time: time.map(timestamp),
        cursor: member.cursor.clone(),
        member: Some(member),
        ..proto::ContainerChange::default()
    })
}

/// All that a subscription brings, to its end.
fn brought(subscription: Subscription) -> BoxStream<'static, Brought> {
    let next = |subscription: Option<Box<Subscription>>| async {
        let mut subscription = subscription?;
        let item = subscription.next().await;
        let over = matches!(item, Item::Complete | Item::Ended(_));
        let brought = (subscription.container().id, item, subscription.place());
        Some((brought, (!over).then_some(subscription)))
    };
    unfold(Some(Box::new(subscription)), next).boxed()
}

/// When nothing stamped before `until` is to be expected any more.
fn passed(until: i64) -> Instant {
    let left = u64::try_from(until.saturating_sub(now())).unwrap_or(0);
    Instant::now() + Duration::from_nanos(left) + UNTIL_GRACE
}
