//! One subscription as it goes over the wire.
//!
//! A task of its own merges the members, so that a client that does not read
//! delays nobody else: `opened` first, `closing` last, `progress` in between, and
//! the status behind all of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, interval_at};

use super::convert::{self, timestamp};
use super::outlet::{End, Gone, Outlet, Step, at};
use super::terms::Terms;
use crate::docker::{Container, ContainerId, now};
use crate::hub::{Batch, Change, Content, Ended, Item, Subscription, Unit};
use crate::proto::{self, stream_logs_response::Event};
use crate::tail::{Levels, Position};

/// Silence between messages is never longer.
pub(crate) const PROGRESS: Duration = Duration::from_secs(10);
/// How long a stream waits for an engine that is away.
const ENGINE_LOST: Duration = Duration::from_secs(300);
/// Stored by the engine later than stamped: what `until` still waits for.
const UNTIL_GRACE: Duration = Duration::from_secs(1);

/// Serves a stream to its end.
pub(crate) async fn stream(
    outlet: Outlet,
    opened: proto::Opened,
    subscriptions: Vec<Subscription>,
    gaps: Vec<proto::Gap>,
    terms: Terms,
) {
    let mut writer = Writer {
        outlet,
        members: BTreeMap::new(),
        entries_sent: 0,
        verified: None,
        catching_up: subscriptions.len(),
        terms,
    };
    // Gone: nobody is left to be told.
    if let Ok(end) = writer.run(opened, subscriptions, gaps).await {
        let positions = writer.positions(|_| true);
        let progress = writer.counts(positions);
        writer.outlet.close(&end, progress);
    }
}

/// What is known of a member.
struct Member {
    container: Arc<Container>,
    position: Position,
    /// The position moved without a message that said so.
    untold: bool,
    /// Nothing more will come before it runs again.
    settled: bool,
    caught_up: bool,
    fell_behind: bool,
    /// All that was stored by then is delivered, ns since the Unix epoch.
    verified: Option<i64>,
    /// For a filter.
    levels: Levels,
}

struct Writer {
    outlet: Outlet,
    members: BTreeMap<ContainerId, Member>,
    entries_sent: u64,
    verified: Option<i64>,
    /// Members of `opened` that are not live yet.
    catching_up: usize,
    terms: Terms,
}

impl Writer {
    async fn run(
        &mut self,
        opened: proto::Opened,
        subscriptions: Vec<Subscription>,
        gaps: Vec<proto::Gap>,
    ) -> Result<End, Gone> {
        for subscription in &subscriptions {
            let container = Arc::clone(subscription.container());
            let member = Member {
                settled: subscription.was_settled(),
                position: subscription.position(),
                untold: false,
                caught_up: false,
                fell_behind: false,
                verified: None,
                levels: Levels::default(),
                container,
            };
            self.members.insert(member.container.id, member);
        }
        let first = [Event::Opened(opened)].into_iter();
        for event in first.chain(gaps.into_iter().map(Event::Gap)) {
            if let Some(end) = self.outlet.send(event).await? {
                return Ok(end);
            }
        }
        self.merge(subscriptions).await
    }

    async fn merge(&mut self, subscriptions: Vec<Subscription>) -> Result<End, Gone> {
        let mut items: FuturesUnordered<_> = subscriptions.into_iter().map(take).collect();
        let mut progress = interval_at(Instant::now() + PROGRESS, PROGRESS);
        let until = self.terms.until.filter(|_| self.terms.follow).map(passed);
        let (mut reach, mut lost_at) = (self.terms.reach.clone(), None);
        reach.mark_unchanged();
        loop {
            if let Some(end) = self.is_complete(items.is_empty()) {
                return Ok(end);
            }
            let step = tokio::select! {
                // What ends the stream first, entries last: they may never pause.
                biased;
                () = self.outlet.closed() => return Err(Gone),
                () = self.outlet.draining() => return Ok(End::DRAIN),
                () = self.outlet.deadline() => return Ok(End::DEADLINE),
                () = at(lost_at) => return Ok(End::ENGINE_LOST),
                () = at(until), if self.is_live() => return Ok(End::COMPLETED),
                () = at(self.outlet.due()) => self.outlet.flush().await?,
                _ = progress.tick() => self.progress().await?,
                Ok(()) = reach.changed() => {
                    let here = reach.borrow_and_update().is_here();
                    self.engine(here, &mut lost_at).await?
                }
                Some((item, subscription)) = items.next() => {
                    let over = matches!(item, Item::Complete | Item::Ended(_));
                    let step = self.item(item, &subscription).await?;
                    if !over {
                        items.push(take(subscription));
                    }
                    step
                }
            };
            if let Some(end) = step {
                return Ok(end);
            }
        }
    }

    fn is_complete(&self, no_items: bool) -> Option<End> {
        let mut members = self.members.values();
        let exited = self.terms.until_exit && members.all(|m| m.caught_up && m.settled);
        (no_items || exited).then_some(End::COMPLETED)
    }

    /// Whether everything stored before now has been delivered.
    fn is_live(&self) -> bool {
        self.members.values().all(|m| m.caught_up && !m.fell_behind)
    }

    async fn item(&mut self, item: Item, subscription: &Subscription) -> Step {
        let id = subscription.container().id;
        match item {
            Item::Unit(unit) => self.unit(&id, &unit).await,
            Item::CaughtUp => self.caught_up(&id).await,
            Item::FellBehind if self.terms.disconnect => Ok(Some(End::FELL_BEHIND)),
            Item::FellBehind => {
                let Some(member) = self.members.get_mut(&id) else {
                    return Ok(None);
                };
                member.fell_behind = true;
                let message = "fell out of the live entries; catching up from the engine";
                let who = Some(convert::container_ref(&member.container));
                self.notice(proto::NoticeKind::FellBehind, who, message)
                    .await
            }
            Item::Complete => Ok(None),
            Item::Ended(Ended::Removed) => {
                self.left(&id, proto::ContainerChangeKind::Removed, "")
                    .await
            }
            Item::Ended(Ended::Unreadable(words)) => {
                self.left(&id, proto::ContainerChangeKind::Unreadable, &words)
                    .await
            }
        }
    }

    async fn unit(&mut self, id: &ContainerId, unit: &Unit) -> Step {
        let Some(member) = self.members.get_mut(id) else {
            return Ok(None);
        };
        member.position = unit.after;
        let cursor = || self.terms.cursor(id, unit.after);
        let event = match &unit.content {
            Content::Entries(batch) => return self.batch(id, batch, false).await,
            Content::Late(batch, _) => return self.batch(id, batch, true).await,
            Content::Gap(gap) => Event::Gap(convert::gap(&member.container, gap, cursor())),
            Content::Verified(time) => {
                (member.verified, member.untold) = (Some(*time), true);
                return Ok(None);
            }
            Content::LeaseReplaced => Event::Notice(proto::Notice {
                kind: proto::NoticeKind::LeaseReplaced.into(),
                container: Some(convert::container_ref(&member.container)),
                message: "a stuck or unordered engine stream was replaced".to_owned(),
            }),
            Content::ClockStep => Event::Notice(proto::Notice {
                kind: proto::NoticeKind::ClockStep.into(),
                container: Some(convert::container_ref(&member.container)),
                message: "the engine's clock was set back".to_owned(),
            }),
            Content::Settled => {
                member.settled = true;
                return Ok(None);
            }
            Content::Changed(change) => {
                member.settled &= !matches!(change, Change::Started(_));
                let who = convert::container_ref(&member.container);
                changed(*change, Some(who), cursor())
            }
        };
        member.untold = false;
        self.outlet.send(event).await
    }

    async fn batch(&mut self, id: &ContainerId, batch: &Batch, is_late: bool) -> Step {
        let Some(member) = self.members.get_mut(id) else {
            return Ok(None);
        };
        // Late lines do not stand behind those that came before.
        let mut none = Levels::default();
        let levels = match is_late {
            true => &mut none,
            false => &mut member.levels,
        };
        let Some((message, entries)) = self.terms.select(batch, levels) else {
            member.untold = true;
            return Ok(None);
        };
        member.untold = false;
        self.entries_sent += entries as u64;
        self.outlet.pass(message).await
    }

    async fn caught_up(&mut self, id: &ContainerId) -> Step {
        let Some(member) = self.members.get_mut(id) else {
            return Ok(None);
        };
        let first = !std::mem::replace(&mut member.caught_up, true);
        let again = std::mem::replace(&mut member.fell_behind, false);
        let who = convert::container_ref(&member.container);
        self.catching_up -= usize::from(first);
        let container = match (first && self.catching_up == 0, again) {
            (true, _) => None,
            (false, true) => Some(who),
            (false, false) => return Ok(None),
        };
        self.outlet
            .send(Event::CaughtUp(proto::CaughtUp { container }))
            .await
    }

    async fn left(
        &mut self,
        id: &ContainerId,
        kind: proto::ContainerChangeKind,
        words: &str,
    ) -> Step {
        let Some(member) = self.members.remove(id) else {
            return Ok(None);
        };
        self.catching_up -= usize::from(!member.caught_up);
        self.outlet
            .send(Event::ContainerChange(proto::ContainerChange {
                container: Some(convert::container_ref(&member.container)),
                kind: kind.into(),
                message: words.to_owned(),
                ..proto::ContainerChange::default()
            }))
            .await
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
        let told = self.positions(|member| std::mem::replace(&mut member.untold, false));
        let progress = self.counts(told);
        self.outlet.send(Event::Progress(progress)).await
    }

    fn positions(&mut self, mut which: impl FnMut(&mut Member) -> bool) -> Vec<proto::Position> {
        let terms = &self.terms;
        let members = self.members.iter_mut();
        members
            .filter_map(|(id, member)| {
                which(member).then(|| proto::Position {
                    container_id: id.to_string(),
                    cursor: terms.cursor(id, member.position),
                })
            })
            .collect()
    }

    /// The oldest of the members' instants; a stream without members knows
    /// nothing.
    fn verify(&mut self) {
        let each = self.members.values().map(|member| member.verified);
        let oldest = each.min().flatten();
        self.verified = self.verified.max(oldest);
    }

    fn counts(&mut self, positions: Vec<proto::Position>) -> proto::Progress {
        self.verify();
        proto::Progress {
            server_time: Some(timestamp(now())),
            verified_time: self.verified.map(timestamp),
            positions,
            entries_sent: self.entries_sent,
            messages_sent: self.outlet.messages_sent(),
        }
    }
}

fn changed(change: Change, container: Option<proto::ContainerRef>, cursor: String) -> Event {
    use proto::ContainerChangeKind::{Exited, Started};
    let (kind, time, exit_code) = match change {
        Change::Started(time) => (Started, time, None),
        Change::Exited(time, code) => (Exited, time, code),
    };
    Event::ContainerChange(proto::ContainerChange {
        container,
        kind: kind.into(),
        time: time.map(timestamp),
        cursor,
        exit_code,
        ..proto::ContainerChange::default()
    })
}

async fn take(mut subscription: Subscription) -> (Item, Subscription) {
    (subscription.next().await, subscription)
}

/// When nothing stamped before `until` is to be expected any more.
fn passed(until: i64) -> Instant {
    let left = u64::try_from(until.saturating_sub(now())).unwrap_or(0);
    Instant::now() + Duration::from_nanos(left) + UNTIL_GRACE
}
