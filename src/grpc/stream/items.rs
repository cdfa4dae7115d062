//! What members bring, as messages.

use std::sync::Arc;

use super::{Brought, Writer};
use crate::docker::ContainerId;
use crate::grpc::convert::{self, timestamp};
use crate::grpc::outlet::{End, Step};
use crate::hub::{Batch, Change, Content, Ended, Item, Unit};
use crate::proto::{self, ContainerChangeKind, stream_logs_response::Event};
use crate::tail::{GapCause, Levels, Place};

impl Writer {
    pub(super) async fn brought(&mut self, (id, item, place): Brought) -> Step {
        // A batch's cursor says up to when all members are told.
        if let Some(end) = self.settle().await? {
            return Ok(Some(end));
        }
        match item {
            Item::Unit(unit) => self.unit(&id, &unit).await,
            // Rare, and large: see `Writer::run`.
            item => Box::pin(self.other(id, item, place)).await,
        }
    }

    async fn other(&mut self, id: ContainerId, item: Item, place: Place) -> Step {
        match item {
            Item::Unit(_) | Item::Complete => Ok(None),
            Item::CaughtUp => self.live(&id, place).await,
            Item::FellBehind if self.terms.disconnect => Ok(Some(End::FELL_BEHIND)),
            Item::FellBehind => {
                let who = self.members.update(&id, |member| {
                    member.fell_behind = true;
                    convert::container_ref(&member.container)
                });
                let message = "fell out of the live entries; catching up from the engine";
                match who {
                    None => Ok(None),
                    who => {
                        self.notice(proto::NoticeKind::FellBehind, who, message)
                            .await
                    }
                }
            }
            Item::Ended(Ended::Removed) => {
                self.left(&id, ContainerChangeKind::Removed, String::new())
                    .await
            }
            Item::Ended(Ended::Unreadable(words)) => {
                self.left(&id, ContainerChangeKind::Unreadable, words).await
            }
        }
    }

    async fn unit(&mut self, id: &ContainerId, unit: &Unit) -> Step {
        let place = Place::At(unit.after);
        match &unit.content {
            Content::Entries(batch) => return self.batch(id, batch, place, false).await,
            Content::Late(batch, _) => return self.batch(id, batch, place, true).await,
            Content::Verified(time) => {
                self.members.update(id, |member| {
                    member.verified = Some(*time);
                    member.untold |= member.place != place;
                    member.place = place;
                });
                return Ok(None);
            }
            Content::Settled => {
                self.members.update(id, |member| member.settled = true);
                return Ok(None);
            }
            _ => {}
        }
        let container = self.members.update(id, |member| {
            (member.place, member.untold) = (place, false);
            if let Content::Changed(change) = &unit.content {
                member.settled &= !matches!(change, Change::Started(_));
            }
            Arc::clone(&member.container)
        });
        let Some(container) = container else {
            return Ok(None);
        };
        let who = convert::container_ref(&container);
        let event = match &unit.content {
            Content::Gap(gap) => {
                let cursor = match gap.cause {
                    // Nothing can follow.
                    GapCause::ContainerRemoved => String::new(),
                    _ => self.cursor(id, place),
                };
                Event::Gap(convert::gap(&container, gap, cursor))
            }
            Content::Changed(change) => changed(*change, Some(who), self.cursor(id, place)),
            Content::ClockStep => {
                let message = "the engine's clock was set back";
                return self
                    .notice(proto::NoticeKind::ClockStep, Some(who), message)
                    .await;
            }
            _ => {
                let message = "a stuck or unordered engine stream was replaced";
                return self
                    .notice(proto::NoticeKind::LeaseReplaced, Some(who), message)
                    .await;
            }
        };
        self.outlet.send(event).await
    }

    async fn batch(&mut self, id: &ContainerId, batch: &Batch, place: Place, late: bool) -> Step {
        let terms = &self.terms;
        let selected = self.members.update(id, |member| {
            // Late lines do not stand behind those that came before.
            let mut none = Levels::default();
            let levels = match late {
                true => &mut none,
                false => &mut member.levels,
            };
            let selected = terms.select(batch, levels);
            (member.place, member.untold) = (place, selected.is_none());
            selected
        });
        let Some((message, entries)) = selected.flatten() else {
            return Ok(None);
        };
        self.entries_sent += entries as u64;
        self.outlet.pass(message).await
    }

    /// A member is live, for the first time or again.
    async fn live(&mut self, id: &ContainerId, place: Place) -> Step {
        let told = self.members.update(id, |member| {
            member.untold |= member.place != place;
            member.place = place;
            let first = !std::mem::replace(&mut member.caught_up, true);
            let again = std::mem::replace(&mut member.fell_behind, false);
            let tells = again || (first && !member.first);
            tells.then(|| convert::container_ref(&member.container))
        });
        if let Some(end) = self.tell_caught_up().await? {
            return Ok(Some(end));
        }
        match told.flatten() {
            None => Ok(None),
            container => {
                self.outlet
                    .send(Event::CaughtUp(proto::CaughtUp { container }))
                    .await
            }
        }
    }

    /// Says, once, that all members of the opening are live.
    pub(super) async fn tell_caught_up(&mut self) -> Step {
        let is_due = self.terms.follow && self.members.have_caught_up();
        if !is_due || std::mem::replace(&mut self.caught_up, true) {
            return Ok(None);
        }
        self.outlet
            .send(Event::CaughtUp(proto::CaughtUp { container: None }))
            .await
    }

    /// A member's log brings nothing more.
    async fn left(&mut self, id: &ContainerId, kind: ContainerChangeKind, message: String) -> Step {
        let Some(member) = self.members.remove(id) else {
            return Ok(None);
        };
        if member.gone.is_none() {
            self.joins.membership.silence(*id);
        }
        let cursor = match kind {
            ContainerChangeKind::Removed => String::new(),
            _ => self.cursor(id, member.place),
        };
        let change = proto::ContainerChange {
            container: Some(convert::container_ref(&member.container)),
            kind: kind.into(),
            time: member.gone.flatten().map(timestamp),
            cursor,
            message,
            ..proto::ContainerChange::default()
        };
        if let Some(end) = self.outlet.send(Event::ContainerChange(change)).await? {
            return Ok(Some(end));
        }
        self.tell_caught_up().await
    }
}

fn changed(change: Change, container: Option<proto::ContainerRef>, cursor: String) -> Event {
    use ContainerChangeKind::{Exited, Started};
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
