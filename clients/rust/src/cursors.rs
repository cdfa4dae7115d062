//! What a client keeps to resume.

use std::collections::BTreeMap;

use crate::proto::stream_logs_response::Event;
use crate::proto::{ContainerChangeKind, ContainerRef, Member, Progress, StreamLogsResponse};

/// The newest cursor of every container, by its id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cursors(BTreeMap<String, String>);

impl Cursors {
    /// Keeps what a message brings. To be called once the message was handled.
    pub fn keep(&mut self, message: &StreamLogsResponse) {
        for (id, cursor) in given(message) {
            self.0.insert(id.to_owned(), cursor.to_owned());
        }
        if let Some(Event::ContainerChange(change)) = &message.event
            && change.kind() == ContainerChangeKind::Removed
        {
            self.0.remove(id(change.container.as_ref()));
        }
    }

    /// Keeps the first cursor of every container instead of the newest.
    pub fn keep_first(&mut self, message: &StreamLogsResponse) {
        for (id, cursor) in given(message) {
            let kept = self.0.entry(id.to_owned());
            kept.or_insert_with(|| cursor.to_owned());
        }
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

fn of_member(member: &Member) -> (&str, &str) {
    (id(member.container.as_ref()), &member.cursor)
}

fn positions(progress: &Progress) -> Vec<(&str, &str)> {
    let positions = progress.positions.iter();
    positions
        .map(|position| (position.container_id.as_str(), position.cursor.as_str()))
        .collect()
}

fn id(container: Option<&ContainerRef>) -> &str {
    container.map_or("", |container| &container.id)
}
