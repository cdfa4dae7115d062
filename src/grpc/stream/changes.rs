//! Containers that join and leave while a stream lives.

use std::sync::Arc;

use super::knowledge::Heard;
use super::{Lost, Writer, joined};
use crate::docker::{Change, Container};
use crate::grpc::convert::{self, timestamp};
use crate::grpc::membership;
use crate::grpc::outlet::{End, Step};
use crate::grpc::request::MAX_CONTAINERS;
use crate::hub::{Ended, Subscription};
use crate::proto::{self, ContainerChangeKind, stream_logs_response::Event};
use crate::tail::{From, Gap, GapCause, Place, Position};

impl Writer {
    /// Tells of every container that the inventory knows now, if there is news. What
    /// is sent behind this may say so.
    pub(super) async fn settle(&mut self) -> Step {
        match self.terms.follow && self.joins.knowledge.has_news() {
            // Rare, and large: see `Writer::run`.
            true => Box::pin(self.hear()).await,
            false => Ok(None),
        }
    }

    /// The same, whether there is news or not.
    pub(super) async fn hear(&mut self) -> Step {
        let listed = self.joins.knowledge.look();
        loop {
            let step = match self.joins.knowledge.next() {
                Heard::Change(change) => self.change(&change).await?,
                Heard::Behind => return Ok(Some(End::CHURN)),
                Heard::Nothing => break,
            };
            if let Some(end) = step {
                return Ok(Some(end));
            }
        }
        self.joins.knowledge.settled(listed);
        Ok(None)
    }

    async fn change(&mut self, change: &Change) -> Step {
        let id = change.container.id;
        let member = self.members.get(&id);
        let member = member.map(|member| &*member.container);
        match self.joins.membership.on(change, member) {
            None => Ok(None),
            Some(membership::Step::Join(container, from)) => {
                self.join(container, from, change.time).await
            }
            Some(membership::Step::Unreadable(container)) => {
                self.unreadable(&container, change.time).await
            }
            Some(membership::Step::Missed(container)) => self.missed(&container, change.time).await,
            Some(membership::Step::Update(container)) => self.known(container, change.time).await,
            Some(membership::Step::Deselect(container)) => {
                self.deselect(&container, change.time).await
            }
            Some(membership::Step::Gone) => {
                self.members
                    .update(&id, |member| member.gone = Some(change.time));
                Ok(None)
            }
        }
    }

    async fn join(&mut self, container: Arc<Container>, from: From, time: Option<i64>) -> Step {
        if self.members.len() >= MAX_CONTAINERS {
            return Ok(Some(End::CONTAINER_LIMIT));
        }
        let (registry, latency) = (&self.joins.registry, self.joins.latency);
        let subscription = Subscription::join(registry, container, from, latency);
        let container = Arc::clone(subscription.container());
        let member = self.member(&container, container.is_up(), subscription.place());
        self.add(subscription, false);
        self.outlet.send(joined(member, time)).await
    }

    /// A member as it is now.
    async fn known(&mut self, container: Arc<Container>, time: Option<i64>) -> Step {
        let id = container.id;
        let renamed = self.members.update(&id, |member| {
            let renamed = member.container.name != container.name;
            member.container = container;
            renamed.then(|| (Arc::clone(&member.container), member.place))
        });
        match renamed.flatten() {
            None => Ok(None),
            Some((container, place)) => {
                let cursor = self.cursor(&id, place);
                self.tell(&container, ContainerChangeKind::Renamed, time, cursor, "")
                    .await
            }
        }
    }

    async fn deselect(&mut self, container: &Container, time: Option<i64>) -> Step {
        let Some(member) = self.members.remove(&container.id) else {
            return Ok(None);
        };
        member.reading.abort();
        self.joins.membership.leave(container.id, member.place);
        let cursor = self.cursor(&container.id, member.place);
        let kind = ContainerChangeKind::Deselected;
        if let Some(end) = self.tell(container, kind, time, cursor, "").await? {
            return Ok(Some(end));
        }
        self.tell_caught_up().await
    }

    pub(super) async fn unreadable(&mut self, container: &Container, time: Option<i64>) -> Step {
        let words = container.unreadable.unwrap_or_default();
        let kind = ContainerChangeKind::Unreadable;
        self.tell(container, kind, time, String::new(), words).await
    }

    /// A container was lost as it was opened.
    pub(super) async fn lost(&mut self, (container, ended): Lost) -> Step {
        self.joins.membership.silence(container.id);
        match ended {
            Ended::Removed => self.missed(&container, None).await,
            Ended::Unreadable(words) => {
                let kind = ContainerChangeKind::Unreadable;
                self.tell(&container, kind, None, String::new(), &words)
                    .await
            }
        }
    }

    /// A container came and went before it was read.
    async fn missed(&mut self, container: &Container, time: Option<i64>) -> Step {
        if self.members.len() >= MAX_CONTAINERS {
            return Ok(Some(End::CONTAINER_LIMIT));
        }
        let start = Place::At(Position::default());
        let member = self.member(container, false, start);
        let gap = Gap::possible(GapCause::ContainerRemoved, None, None);
        let gap = Event::Gap(convert::gap(container, &gap, String::new()));
        for event in [joined(member, None), gap] {
            if let Some(end) = self.outlet.send(event).await? {
                return Ok(Some(end));
            }
        }
        let kind = ContainerChangeKind::Removed;
        self.tell(container, kind, time, String::new(), "").await
    }

    async fn tell(
        &mut self,
        container: &Container,
        kind: ContainerChangeKind,
        time: Option<i64>,
        cursor: String,
        message: &str,
    ) -> Step {
        self.outlet
            .send(Event::ContainerChange(proto::ContainerChange {
                container: Some(convert::container_ref(container)),
                kind: kind.into(),
                time: time.map(timestamp),
                cursor,
                message: message.to_owned(),
                ..proto::ContainerChange::default()
            }))
            .await
    }
}
