//! Which containers a request chooses.
//!
//! A selector is checked by itself, then bound to what there is, and from then on
//! asked about one container at a time. It knows the inventory's descriptions
//! alone: no text of a client goes any further.

mod check;
mod pattern;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use tonic::Status;

use super::status::{Reason, quote};
use crate::docker::{Container, ContainerId, FindError, Inventory};
pub(crate) use check::{check_exact_name, criteria};
pub(crate) use pattern::Pattern;

/// Labels of Docker Compose.
pub(crate) const PROJECT: &str = "com.docker.compose.project";
pub(crate) const SERVICE: &str = "com.docker.compose.service";

/// A selector of a request, checked by itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Criteria {
    pub(crate) names: Vec<String>,
    labels: BTreeMap<String, String>,
    requirements: Vec<Requirement>,
    project: String,
    services: Vec<String>,
    images: Vec<Pattern>,
    exclude: Vec<Pattern>,
    include_stopped: bool,
    allow_missing: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    key: String,
    operator: Operator,
    values: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    In,
    NotIn,
    Exists,
    NotExists,
}

impl Requirement {
    fn holds(&self, container: &Container) -> bool {
        let value = container.labels.get(&self.key);
        let is_one = value.is_some_and(|value| self.values.contains(value));
        match self.operator {
            Operator::In => is_one,
            Operator::NotIn => !is_one,
            Operator::Exists => value.is_some(),
            Operator::NotExists => value.is_none(),
        }
    }
}

impl Criteria {
    /// Whether all but `names` is satisfied.
    fn hold(&self, container: &Container) -> bool {
        let is = |key: &str, value: &String| container.labels.get(key) == Some(value);
        let matches = |pattern: &Pattern| pattern.matches(&container.image);
        let of_project = self.project.is_empty() || is(PROJECT, &self.project);
        let of_service = |service: &String| is(SERVICE, service);
        let excluded = |pattern: &Pattern| pattern.matches(&container.name);
        of_project
            && (self.services.is_empty() || self.services.iter().any(of_service))
            && (self.images.is_empty() || self.images.iter().any(matches))
            && self.labels.iter().all(|(key, value)| is(key, value))
            && self.requirements.iter().all(|r| r.holds(container))
            && !self.exclude.iter().any(excluded)
    }

    /// Whether it can never select more than one container at a time.
    pub(crate) fn is_of_one(&self) -> bool {
        matches!(&self.names[..], [name] if !pattern::is_glob(name))
    }
}

/// What an exact item of `names` stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bound {
    /// Nothing has matched it yet.
    Awaited,
    /// Whoever bears the name at the time.
    Name,
    /// It was an id or the beginning of one: it stays with this container.
    Id(ContainerId),
}

/// A selector that knows what its exact names stand for.
#[derive(Debug, Clone)]
pub(crate) struct Selector {
    criteria: Criteria,
    /// By text. Most streams have one name: a map would have room for more.
    exact: Vec<(String, Bound)>,
    /// What they stand for, where that is an id; in order.
    ids: Vec<ContainerId>,
    /// Those that nothing has matched yet.
    awaited: Vec<String>,
    globs: Vec<Pattern>,
    /// The container that the server runs in.
    own: Option<ContainerId>,
}

/// How a container is selected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    /// By its exact name, id or prefix: in every state.
    Exact,
    /// As it runs; in every state if the request says so.
    Matched { stopped: bool },
}

impl Choice {
    /// Whether it is selected in the state in which it is.
    pub(crate) fn holds(self, container: &Container) -> bool {
        match self {
            Choice::Exact => true,
            Choice::Matched { stopped } => container.is_whole() && (stopped || container.is_up()),
        }
    }
}

impl Selector {
    /// Binds exact names to what there is. `lenient`: one that is absent is awaited.
    pub(crate) fn bind(
        criteria: Criteria,
        inventory: &Inventory,
        own: Option<ContainerId>,
        lenient: bool,
    ) -> Result<Self, Status> {
        let lenient = lenient || criteria.allow_missing;
        let (globs, exact): (Vec<_>, Vec<_>) = criteria
            .names
            .iter()
            .cloned()
            .partition(|name| pattern::is_glob(name));
        let mut selector = Self {
            criteria,
            exact: Vec::with_capacity(exact.len()),
            ids: Vec::new(),
            awaited: Vec::new(),
            globs: globs.iter().map(|glob| Pattern::new(glob)).collect(),
            own,
        };
        let all = inventory.containers.values();
        let named: HashMap<_, _> = match exact.is_empty() {
            true => HashMap::new(),
            false => all.map(|c| (&*c.name, c.id)).collect(),
        };
        for text in exact {
            let bound = match named.get(&*text) {
                Some(_) => Bound::Name,
                None => match inventory.find_id(&text) {
                    Ok(found) => Bound::Id(found.id),
                    Err(FindError::Missing) if lenient => Bound::Awaited,
                    Err(error) => return Err(not_found(&text, error)),
                },
            };
            selector.set(text, bound);
        }
        // Most streams have one, and keep it as long as they live.
        selector.ids.shrink_to_fit();
        Ok(selector)
    }

    fn set(&mut self, text: String, bound: Bound) {
        if let Bound::Id(id) = bound
            && let Err(at) = self.ids.binary_search(&id)
        {
            self.ids.insert(at, id);
        }
        match self.find(&text) {
            Ok(at) => self.exact[at].1 = bound,
            Err(at) => {
                if bound == Bound::Awaited {
                    self.awaited.push(text.clone());
                }
                self.exact.insert(at, (text, bound));
            }
        }
    }

    fn find(&self, text: &str) -> Result<usize, usize> {
        self.exact
            .binary_search_by(|(known, _)| known.as_str().cmp(text))
    }

    /// What an exact name stands for.
    fn bound(&self, text: &str) -> Option<Bound> {
        self.find(text).ok().map(|at| self.exact[at].1)
    }

    /// Whether, and how, a container is selected; an exact name that it is the first
    /// to match is bound from then on.
    pub(crate) fn choose(&mut self, container: &Container) -> Option<Choice> {
        if !self.criteria.hold(container) {
            return None;
        }
        self.bind_awaited(container);
        self.chosen(container)
    }

    /// The same, of a selector whose names are bound for good.
    pub(crate) fn chosen(&self, container: &Container) -> Option<Choice> {
        if !self.criteria.hold(container) {
            return None;
        }
        let named = self.bound(&container.name) == Some(Bound::Name);
        if named || self.ids.binary_search(&container.id).is_ok() {
            return Some(Choice::Exact);
        }
        let free = self.criteria.names.is_empty();
        let matches = |glob: &Pattern| glob.matches(&container.name);
        let matched = free || self.globs.iter().any(matches);
        (matched && self.own != Some(container.id)).then_some(Choice::Matched {
            stopped: self.criteria.include_stopped,
        })
    }

    fn bind_awaited(&mut self, container: &Container) {
        if self.awaited.is_empty() {
            return;
        }
        let id = container.id.to_string();
        let meant = |text: &String| {
            let by_id = text.len() >= 4 && id.starts_with(&**text);
            match *text == container.name {
                true => Some(Bound::Name),
                false => by_id.then_some(Bound::Id(container.id)),
            }
        };
        let (found, awaited): (Vec<_>, Vec<_>) = std::mem::take(&mut self.awaited)
            .into_iter()
            .map(|text| (meant(&text), text))
            .partition(|(bound, _)| bound.is_some());
        self.awaited = awaited.into_iter().map(|(_, text)| text).collect();
        for (bound, text) in found {
            self.set(text, bound.unwrap_or(Bound::Awaited));
        }
    }

    /// Exact names that nothing has matched yet.
    pub(crate) fn awaits(&self) -> usize {
        self.awaited.len()
    }

    /// Whether nothing that is not a member yet can ever be selected: all it names
    /// are ids, which are never used again.
    pub(crate) fn is_closed(&self) -> bool {
        let is_id = |(_, bound): &(String, Bound)| matches!(bound, Bound::Id(_));
        !self.exact.is_empty() && self.globs.is_empty() && self.exact.iter().all(is_id)
    }

    /// Items of `names` that select none of these containers.
    pub(crate) fn unmatched<'a>(
        &self,
        members: impl Iterator<Item = &'a Arc<Container>> + Clone,
    ) -> Vec<String> {
        let names: HashMap<&str, ContainerId> = members.clone().map(|m| (&*m.name, m.id)).collect();
        let ids: HashSet<ContainerId> = members.map(|m| m.id).collect();
        let selects = |name: &&String| match self.bound(name) {
            Some(Bound::Name) => names.contains_key(&***name),
            Some(Bound::Id(id)) => ids.contains(&id),
            Some(Bound::Awaited) => false,
            None => {
                let glob = Pattern::new(name);
                names.keys().any(|name| glob.matches(name))
            }
        };
        let names = self.criteria.names.iter();
        names.filter(|name| !selects(name)).cloned().collect()
    }
}

/// Why an exact name names nothing.
pub(crate) fn not_found(text: &str, error: FindError) -> Status {
    match error {
        FindError::Missing => {
            Reason::ContainerNotFound.status(format!("no container {}", quote(text)))
        }
        FindError::Ambiguous(some) => Reason::ContainerAmbiguous.status(format!(
            "{} begins the ids of several containers, {} among them",
            quote(text),
            some.join(" and ")
        )),
    }
}
