//! The members of a stream, and how many of them are where.

use std::sync::Arc;

use futures_util::stream::AbortHandle;

use crate::docker::{Container, ContainerId, State};
use crate::tail::{Levels, Place};

/// What is known of a member.
pub(super) struct Member {
    pub(super) container: Arc<Container>,
    pub(super) place: Place,
    /// The place moved without a message that said so.
    pub(super) untold: bool,
    /// Nothing more will come before it runs again.
    pub(super) settled: bool,
    /// It is a member since the opening.
    pub(super) first: bool,
    pub(super) caught_up: bool,
    pub(super) fell_behind: bool,
    /// All that was stored by then is delivered, ns since the Unix epoch.
    pub(super) verified: Option<i64>,
    /// For a filter.
    pub(super) levels: Levels,
    /// The engine removed it; when, if it told.
    pub(super) gone: Option<Option<i64>>,
    /// Ends its reading.
    pub(super) reading: AbortHandle,
}

impl Member {
    pub(super) fn new(container: Arc<Container>, place: Place, reading: AbortHandle) -> Self {
        Self {
            container,
            place,
            untold: false,
            settled: false,
            first: false,
            caught_up: false,
            fell_behind: false,
            verified: None,
            levels: Levels::default(),
            gone: None,
            reading,
        }
    }

    fn is_behind(&self) -> bool {
        !self.caught_up || self.fell_behind
    }

    /// Whether it is behind, unfinished and awaited.
    fn states(&self) -> [bool; 3] {
        let awaited = self.first && !self.caught_up;
        [self.is_behind(), self.is_unfinished(), awaited]
    }

    /// Whether it runs, or will by itself, or is not read to its end.
    fn is_unfinished(&self) -> bool {
        let between_runs = self.container.state == State::Restarting;
        !self.caught_up || !self.settled || between_runs
    }
}

/// Members by container. Questions about all of them cost nothing.
#[derive(Default)]
pub(super) struct Members {
    /// By id. Most streams have one: a map would have room for eleven, a list of members
    /// that are not boxed for four.
    #[expect(
        clippy::vec_box,
        reason = "room for those that most streams do not have"
    )]
    all: Vec<Box<Member>>,
    behind: usize,
    unfinished: usize,
    /// Of the opening, and not live yet.
    awaited: usize,
}

impl Members {
    pub(super) fn add(&mut self, member: Member) {
        self.count(member.states(), true);
        let id = member.container.id;
        match self.find(&id) {
            Ok(at) => *self.all[at] = member,
            Err(at) => self.all.insert(at, Box::new(member)),
        }
    }

    fn find(&self, id: &ContainerId) -> Result<usize, usize> {
        self.all
            .binary_search_by(|member| member.container.id.cmp(id))
    }

    pub(super) fn remove(&mut self, id: &ContainerId) -> Option<Member> {
        let member = self.all.remove(self.find(id).ok()?);
        self.count(member.states(), false);
        Some(*member)
    }

    pub(super) fn get(&self, id: &ContainerId) -> Option<&Member> {
        self.find(id).ok().map(|at| &*self.all[at])
    }

    /// Changes a member; `None`: it is none.
    pub(super) fn update<T>(
        &mut self,
        id: &ContainerId,
        change: impl FnOnce(&mut Member) -> T,
    ) -> Option<T> {
        let at = self.find(id).ok()?;
        let member = &mut self.all[at];
        let before = member.states();
        let changed = change(member);
        let after = member.states();
        self.count(before, false);
        self.count(after, true);
        Some(changed)
    }

    /// One more is in these states, or one less.
    fn count(&mut self, states: [bool; 3], comes: bool) {
        let counts = [&mut self.behind, &mut self.unfinished, &mut self.awaited];
        for (count, is_one) in counts.into_iter().zip(states) {
            match comes {
                true => *count += usize::from(is_one),
                false => *count -= usize::from(is_one),
            }
        }
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Member> {
        self.all.iter_mut().map(|member| &mut **member)
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether everything stored before now has been delivered.
    pub(super) fn are_live(&self) -> bool {
        self.behind == 0
    }

    /// Whether none runs and all they wrote is delivered.
    pub(super) fn are_finished(&self) -> bool {
        self.unfinished == 0
    }

    /// Whether all of the opening have been live.
    pub(super) fn have_caught_up(&self) -> bool {
        self.awaited == 0
    }

    /// The oldest of their instants.
    pub(super) fn verified(&self) -> Option<i64> {
        let each = self.all.iter().map(|member| member.verified);
        each.min().flatten()
    }
}
