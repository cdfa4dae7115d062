//! What a client keeps to resume.

use std::collections::BTreeMap;

use crate::proto::stream_logs_response::Event;
use crate::proto::{
    ContainerChangeKind, ContainerRef, GapCause, Member, Progress, StreamLogsResponse,
};

/// The newest cursor of every container, by its id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cursors(BTreeMap<String, String>);

impl Cursors {
    /// Keeps what a message brings. To be called once the message was handled.
    pub fn keep(&mut self, message: &StreamLogsResponse) {
        for (id, cursor) in given(message) {
            self.0.insert(id.to_owned(), cursor.to_owned());
        }
        if let Some(container) = removed(message) {
            self.0.remove(id(container));
        }
    }

    /// The containers, by their ids.
    pub fn containers(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The cursors, for [`cursors`](crate::proto::StreamLogsRequest::cursors).
    pub fn to_vec(&self) -> Vec<String> {
        self.0.values().cloned().collect()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The cursors in a message with the ids of their containers. An empty one
/// replaces nothing.
fn given(message: &StreamLogsResponse) -> Vec<(&str, &str)> {
    let mut given: Vec<(&str, &str)> = match &message.event {
        Some(Event::Opened(opened)) => opened.members.iter().map(of_member).collect(),
        Some(Event::Batch(batch)) => vec![(id(batch.container.as_ref()), &batch.cursor)],
        Some(Event::Gap(gap)) => vec![(id(gap.container.as_ref()), &gap.cursor)],
        Some(Event::ContainerChange(change)) => {
            let member = change.member.as_ref().map(of_member);
            let place = (id(change.container.as_ref()), change.cursor.as_str());
            member.into_iter().chain([place]).collect()
        }
        Some(Event::Progress(progress)) => positions(progress),
        Some(Event::Closing(closing)) => closing.progress.as_ref().map_or_else(Vec::new, positions),
        Some(Event::CaughtUp(_) | Event::Notice(_)) | None => Vec::new(),
    };
    given.retain(|(_, cursor)| !cursor.is_empty());
    given
}

/// The container that a message says is gone.
fn removed(message: &StreamLogsResponse) -> Option<Option<&ContainerRef>> {
    match &message.event {
        Some(Event::ContainerChange(change)) => {
            let is_removed = change.kind() == ContainerChangeKind::Removed;
            is_removed.then_some(change.container.as_ref())
        }
        Some(Event::Gap(gap)) => {
            let is_removed = gap.cause() == GapCause::ContainerRemoved;
            is_removed.then_some(gap.container.as_ref())
        }
        _ => None,
    }
}

fn of_member(member: &Member) -> (&str, &str) {
    (id(member.container.as_ref()), &member.cursor)
}

fn positions(progress: &Progress) -> Vec<(&str, &str)> {
    let positions = progress.positions.iter();
    positions
        .map(|position| (position.container_id.as_str(), position.cursor.as_str()))
        .collect()
}

/// The id of a container; empty: none is said.
pub(crate) fn id(container: Option<&ContainerRef>) -> &str {
    container.map_or("", |container| &container.id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{ContainerChange, Gap, LogBatch, Opened};

    fn web() -> Option<ContainerRef> {
        Some(ContainerRef {
            id: "c0ffee".into(),
            name: "web".into(),
        })
    }

    fn kept(events: [Event; 2]) -> Vec<String> {
        let mut cursors = Cursors::default();
        for event in events {
            cursors.keep(&StreamLogsResponse { event: Some(event) });
        }
        cursors.to_vec()
    }

    #[test]
    fn the_newest_is_kept_until_the_container_is_gone() {
        let opened = || {
            Event::Opened(Opened {
                members: vec![Member {
                    container: web(),
                    cursor: "a".into(),
                    ..Member::default()
                }],
                ..Opened::default()
            })
        };
        let batch = LogBatch {
            container: web(),
            cursor: "b".into(),
            ..LogBatch::default()
        };
        assert_eq!(kept([opened(), Event::Batch(batch)]), ["b"]);
        let change = |kind: ContainerChangeKind| ContainerChange {
            container: web(),
            kind: kind.into(),
            ..ContainerChange::default()
        };
        let left = change(ContainerChangeKind::Deselected);
        assert_eq!(kept([opened(), Event::ContainerChange(left)]), ["a"]);
        let removed = change(ContainerChangeKind::Removed);
        assert!(kept([opened(), Event::ContainerChange(removed)]).is_empty());
        let gap = |cause: GapCause| Gap {
            container: web(),
            cause: cause.into(),
            ..Gap::default()
        };
        let deleted = gap(GapCause::RotatedOut);
        assert_eq!(kept([opened(), Event::Gap(deleted)]), ["a"]);
        let unread = gap(GapCause::ContainerRemoved);
        assert!(kept([opened(), Event::Gap(unread)]).is_empty());
    }
}
