//! Who belongs to a subscription, at its opening and later.
//!
//! It decides and does nothing: what changes of the inventory goes in, what the
//! stream has to do comes out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tonic::Status;

use super::convert;
use super::request::{MAX_CONTAINERS, Plan};
use super::selector::{Choice, Selector};
use super::status::{Reason, quote};
use crate::docker::{Change, Container, ContainerId, Inventory};
use crate::proto;
use crate::tail::{Cursor, From, Place};

/// What belongs to a subscription as it opens.
pub(crate) struct Opening {
    pub(crate) members: Vec<Opened>,
    pub(crate) unmatched: Vec<String>,
    pub(crate) gaps: Vec<proto::Gap>,
    /// Selected, but nothing can be read of them.
    pub(crate) unreadable: Vec<Arc<Container>>,
    pub(crate) membership: Membership,
}

/// A member as it opens.
pub(crate) struct Opened {
    pub(crate) container: Arc<Container>,
    /// `None`: from now.
    pub(crate) from: Option<From>,
    /// It was named exactly: the call fails where its log cannot be read.
    pub(crate) exact: bool,
}

/// Who may come and go afterwards.
pub(crate) struct Membership {
    /// `None`: exactly the members it has.
    selector: Option<Selector>,
    joining: From,
    /// Whether a stream that ends with its containers waits for awaited names.
    awaits: bool,
    /// Where those go on that are no members, and were or have a cursor.
    left: BTreeMap<ContainerId, From>,
    /// Told to bring nothing more; they may be there for a while.
    silent: BTreeSet<ContainerId>,
}

/// What a change means for a subscription.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Join(Arc<Container>, From),
    /// Selected, but nothing can be read of it.
    Unreadable(Arc<Container>),
    /// It would have joined, and was gone before it was seen.
    Missed(Arc<Container>),
    /// A member changed; its name may have.
    Update(Arc<Container>),
    Deselect(Arc<Container>),
    /// A member was removed: its log ends by itself.
    Gone,
}

impl Opening {
    /// What `plan` selects of the inventory. `own`: the server's container.
    pub(crate) fn of(
        plan: &Plan,
        inventory: &Inventory,
        engine: u64,
        own: Option<ContainerId>,
    ) -> Result<Self, Status> {
        let mut left = starts(plan, engine)?;
        let bind = |criteria| Selector::bind(criteria, inventory, own, !plan.cursors.is_empty());
        let selector = plan.criteria.clone().map(bind).transpose()?;
        let (mut members, mut unreadable) = (Vec::new(), Vec::new());
        for container in inventory.containers.values() {
            let cursor = left.get(&container.id).copied();
            let Some(exact) = selects(plan, selector.as_ref(), container, cursor) else {
                continue;
            };
            if exact {
                readable(container)?;
            } else if container.unreadable.is_some() {
                unreadable.push(Arc::clone(container));
                continue;
            }
            left.remove(&container.id);
            members.push(Opened {
                container: Arc::clone(container),
                from: cursor.or(plan.from),
                exact,
            });
        }
        if members.len() > MAX_CONTAINERS {
            let message = format!("{} containers; at most {MAX_CONTAINERS}", members.len());
            return Err(Reason::ContainerLimit.status(message));
        }
        let ids = members.iter().map(|member| &member.container);
        let mut unmatched = selector.as_ref().map_or(Vec::new(), |s| s.unmatched(ids));
        let mut gaps = Vec::new();
        for (text, cursor) in &plan.cursors {
            if !left.contains_key(&cursor.container) {
                continue;
            }
            unmatched.push(text.clone());
            if !inventory.containers.contains_key(&cursor.container) {
                left.remove(&cursor.container);
                gaps.push(removed(cursor));
            }
        }
        Ok(Self {
            members,
            unmatched,
            gaps,
            membership: Membership {
                selector,
                joining: plan.joining(),
                awaits: plan.cursors.is_empty(),
                left,
                silent: unreadable.iter().map(|container| container.id).collect(),
            },
            unreadable,
        })
    }
}

/// Where cursors go on, by container.
fn starts(plan: &Plan, engine: u64) -> Result<BTreeMap<ContainerId, From>, Status> {
    let start = |(place, (_, cursor)): (usize, &(String, Cursor))| {
        if cursor.engine != engine {
            let message = format!("cursors[{place}]: of another engine");
            return Err(Reason::CursorWrongHost.status(message));
        }
        Ok((cursor.container, from(cursor.place)))
    };
    plan.cursors.iter().enumerate().map(start).collect()
}

/// Whether a container is a member as a subscription opens; true: named exactly.
fn selects(
    plan: &Plan,
    selector: Option<&Selector>,
    container: &Container,
    cursor: Option<From>,
) -> Option<bool> {
    let Some(selector) = selector else {
        return (cursor.is_some() && container.is_whole()).then_some(false);
    };
    match selector.chosen(container)? {
        Choice::Exact => Some(true),
        choice => {
            // It ran while the client was away.
            let ran = container.finished >= Some(plan.opening) && !plan.cursors.is_empty();
            let resumed = container.is_whole() && (cursor.is_some() || ran);
            (resumed || choice.holds(container)).then_some(false)
        }
    }
}

impl Membership {
    /// What a change means; `member`: what is known of the container if it is one.
    pub(crate) fn on(&mut self, change: &Change, member: Option<&Container>) -> Option<Step> {
        let container = &change.container;
        if change.gone {
            self.left.remove(&container.id);
            let was_silent = self.silent.remove(&container.id);
            if member.is_some() {
                return Some(Step::Gone);
            }
            let missed = change.ran && !was_silent && self.choose(container).is_some();
            return missed.then(|| Step::Missed(Arc::clone(container)));
        }
        if member.is_some() {
            let selected = self.selector.is_none() || self.choose(container).is_some();
            return Some(match selected {
                true => Step::Update(Arc::clone(container)),
                false => Step::Deselect(Arc::clone(container)),
            });
        }
        self.join(change)
    }

    fn join(&mut self, change: &Change) -> Option<Step> {
        let container = &change.container;
        let is_lost = !container.is_whole();
        if self.silent.contains(&container.id) || (is_lost && !change.ran) {
            return None;
        }
        let choice = self.choose(container)?;
        if is_lost {
            // It ran unseen, and its log can be read no more than if it were gone.
            self.silence(container.id);
            return Some(Step::Missed(Arc::clone(container)));
        }
        let left = self.left.get(&container.id).copied();
        // What ran and is over already belongs to the time of the subscription.
        if !choice.holds(container) && !change.ran && left.is_none() {
            return None;
        }
        if container.unreadable.is_some() {
            self.silence(container.id);
            return Some(Step::Unreadable(Arc::clone(container)));
        }
        self.left.remove(&container.id);
        let from = left.unwrap_or_else(|| self.start(container));
        Some(Step::Join(Arc::clone(container), from))
    }

    fn choose(&mut self, container: &Container) -> Option<Choice> {
        self.selector.as_mut()?.choose(container)
    }

    /// Where one starts that has no cursor.
    fn start(&self, container: &Container) -> From {
        match self.joining {
            // All it wrote is behind that.
            From::Since(instant) if container.created >= Some(instant) => From::Beginning,
            start => start,
        }
    }

    /// A member left that may join again, at its place.
    pub(crate) fn leave(&mut self, id: ContainerId, place: Place) {
        self.left.insert(id, from(place));
    }

    /// Nothing more comes of it, though it may still be there.
    pub(crate) fn silence(&mut self, id: ContainerId) {
        self.silent.insert(id);
    }

    /// Whether exact names are awaited that nothing has matched yet.
    pub(crate) fn awaits(&self) -> bool {
        let awaits = self.selector.as_ref().is_some_and(|s| s.awaits() > 0);
        self.awaits && awaits
    }

    /// Whether nobody can join any more.
    pub(crate) fn is_closed(&self) -> bool {
        let closed = self.selector.as_ref().is_none_or(Selector::is_closed);
        closed && self.left.is_empty()
    }
}

fn from(place: Place) -> From {
    match place {
        Place::At(position) => From::After(position),
        Place::Since(instant) => From::Since(instant),
    }
}

/// Refuses a container of which nothing can be read.
pub(crate) fn readable(container: &Container) -> Result<(), Status> {
    let name = quote(&container.name);
    if !container.is_whole() {
        let message = format!("{name} is being removed, or could not be");
        return Err(Reason::ContainerRemoving.status(message));
    }
    match container.unreadable {
        Some(why) => Err(Reason::LogDriverUnreadable.status(format!("{name}: {why}"))),
        None => Ok(()),
    }
}

/// The container of a cursor is gone, and whether its end was read is unknown.
fn removed(cursor: &Cursor) -> proto::Gap {
    proto::Gap {
        container: Some(proto::ContainerRef {
            id: cursor.container.to_string(),
            name: String::new(),
        }),
        cause: proto::GapCause::ContainerRemoved.into(),
        after_time: cursor.place.time().map(convert::timestamp),
        message: "the container is gone; whether its end was read is unknown".to_owned(),
        ..proto::Gap::default()
    }
}
