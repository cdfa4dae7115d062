//! The inventory as it is written: what changes of it is told one by one.
//!
//! Whoever watches the inventory sees its newest state and may miss what came and
//! went; whoever follows its changes misses nothing, or learns that it did.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::{broadcast, watch};
use tracing::info;

use super::Inventory;
use super::feed::Hint;
use crate::docker::container::{Container, ContainerId};
use crate::docker::engine::Identity;

/// Changes kept for those who follow them. Whoever is further behind is told so.
const KEPT: usize = 8_192;

/// What became of one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Counts all changes; an inventory of this revision or a later one holds it.
    pub revision: u64,
    /// As it is; as it was last known if it is gone.
    pub container: Arc<Container>,
    /// The engine removed it.
    pub gone: bool,
    /// It ran since it was last seen, if only for a moment.
    pub ran: bool,
    /// When, ns since the Unix epoch, the engine's clock. `None`: the engine did
    /// not tell, it was found by listing.
    pub time: Option<i64>,
}

/// The changes of an inventory, from some moment on.
pub type Changes = broadcast::Receiver<Arc<Change>>;

/// Writes the inventory. Clones are the same.
#[derive(Debug, Clone)]
pub struct Ledger {
    inventory: watch::Sender<Arc<Inventory>>,
    changes: broadcast::Sender<Arc<Change>>,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            inventory: watch::Sender::new(Arc::default()),
            changes: broadcast::Sender::new(KEPT),
        }
    }
}

impl Ledger {
    /// The inventory, now and later.
    pub fn inventory(&self) -> watch::Receiver<Arc<Inventory>> {
        self.inventory.subscribe()
    }

    /// Its changes from now on. An inventory that is read behind this call holds
    /// all those before, and its revision tells which of these.
    pub fn changes(&self) -> Changes {
        self.changes.subscribe()
    }

    /// The inventory as it is.
    pub(super) fn now(&self) -> Arc<Inventory> {
        Arc::clone(&self.inventory.borrow())
    }

    /// Writes what a look at one container found, and what events had told of it;
    /// whether that told that it is gone.
    pub(super) fn looked(&self, id: &ContainerId, found: Option<Container>, hint: &Hint) -> bool {
        let is_gone = found.is_none();
        let found = found.filter(|found| !found.is_hidden()).map(Arc::new);
        let told = self.inventory.send_if_modified(|now| {
            let known = now.containers.get(id);
            if known == found.as_ref() && (known.is_some() || !hint.started) {
                return false;
            }
            let before = known.map(Arc::clone);
            let ran = hint.started || ran(before.as_deref(), found.as_deref());
            let (container, gone) = match (found, &before) {
                (Some(found), _) => (found, false),
                (None, Some(before)) => (Arc::clone(before), true),
                // It came and went; events alone have told of it.
                (None, None) if hint.container.is_hidden() => return false,
                (None, None) => (Arc::new(hint.container.clone()), true),
            };
            let next = Arc::make_mut(now);
            match gone {
                true => next.containers.remove(id),
                false => next.containers.insert(*id, Arc::clone(&container)),
            };
            self.tell(next, container, (gone, ran), hint.time);
            true
        });
        told && is_gone
    }

    /// What came and went was not told: whoever follows the changes finds that one is
    /// missing.
    pub(super) fn lose(&self) {
        self.inventory
            .send_modify(|now| Arc::make_mut(now).revision += 1);
    }

    /// Writes a complete list, asked for at `asked`. It is told also when nothing
    /// changed: that is known from now on. `unseen`: those that are not in it, and
    /// ran since they were looked at.
    pub(super) fn listed(
        &self,
        identity: &Arc<Identity>,
        containers: BTreeMap<ContainerId, Arc<Container>>,
        asked: i64,
        unseen: &BTreeSet<ContainerId>,
    ) {
        self.inventory.send_modify(|now| {
            let before = Arc::clone(now);
            if before.engine.as_ref() != Some(identity) {
                info!(
                    kind = identity.kind,
                    version = identity.version,
                    api_version = identity.api_version,
                    containers = containers.len(),
                    "container engine identified"
                );
            }
            let mut next = Inventory {
                engine: Some(Arc::clone(identity)),
                containers,
                listed: asked,
                revision: before.revision,
            };
            for (id, known) in &before.containers {
                if !next.containers.contains_key(id) {
                    let ran = unseen.contains(id);
                    self.tell(&mut next, Arc::clone(known), (true, ran), None);
                }
            }
            let changed: Vec<_> = next
                .containers
                .iter()
                .filter(|(id, found)| before.containers.get(id) != Some(found))
                .map(|(id, found)| (Arc::clone(found), before.containers.get(id)))
                .collect();
            for (found, known) in changed {
                let ran = ran(known.map(|known| &**known), Some(&found));
                self.tell(&mut next, found, (false, ran), None);
            }
            *now = Arc::new(next);
        });
    }

    /// Told before the inventory that holds it is seen: whoever knows how far that
    /// is known has been told what it holds.
    fn tell(
        &self,
        next: &mut Inventory,
        container: Arc<Container>,
        (gone, ran): (bool, bool),
        time: Option<i64>,
    ) {
        next.revision += 1;
        let change = Change {
            revision: next.revision,
            container,
            gone,
            ran,
            time,
        };
        // Nobody may follow.
        let _followed = self.changes.send(Arc::new(change));
    }
}

/// Whether a container ran between two looks, or runs.
fn ran(before: Option<&Container>, now: Option<&Container>) -> bool {
    now.is_some_and(|now| {
        let begun = before.is_none_or(|before| before.started != now.started || before.is_up());
        now.started.is_some() && begun
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::docker::container::State;

    fn container(byte: u8, state: State, started: Option<i64>) -> Container {
        let id = ContainerId::from_bytes([byte; 32]);
        Container {
            state,
            started,
            ..Container::bare(id)
        }
    }

    fn hint(container: &Container, started: bool) -> Hint {
        Hint {
            started,
            removed: false,
            time: Some(7),
            container: container.clone(),
        }
    }

    fn told(changes: &mut Changes) -> Vec<(u64, u8, bool, bool, Option<i64>)> {
        let next = || changes.try_recv().ok();
        let changes = std::iter::from_fn(next);
        let told = changes.map(|c| {
            let byte = c.container.id.bytes()[0];
            (c.revision, byte, c.gone, c.ran, c.time)
        });
        told.collect()
    }

    #[test]
    fn whatever_comes_and_goes_between_two_looks_is_told() {
        let ledger = Ledger::default();
        let mut changes = ledger.changes();
        let [created, exited] = [
            container(1, State::Created, None),
            container(1, State::Exited, Some(5)),
        ];
        let id = created.id;
        ledger.looked(&id, Some(created.clone()), &hint(&created, false));
        ledger.looked(&id, Some(created.clone()), &hint(&created, false));
        ledger.looked(&id, Some(exited.clone()), &hint(&exited, false));
        ledger.looked(&id, None, &hint(&exited, false));
        let gone = container(2, State::Unknown, None);
        ledger.looked(&gone.id, None, &hint(&gone, false));
        ledger.looked(&gone.id, None, &hint(&gone, true));
        let expected = [
            (1, 1, false, false, Some(7)),
            (2, 1, false, true, Some(7)),
            (3, 1, true, false, Some(7)),
            (4, 2, true, true, Some(7)),
        ];
        assert_eq!(told(&mut changes), expected);
        assert_eq!(ledger.now().revision, 4);
    }

    #[test]
    fn a_list_tells_what_differs_and_nothing_else() {
        let identity = Arc::new(Identity {
            kind: "docker",
            version: String::new(),
            api_version: String::new(),
            id: String::new(),
            host_name: String::new(),
        });
        let ledger = Ledger::default();
        let mut changes = ledger.changes();
        let list = |containers: &[Container], asked| {
            let all = containers.iter().map(|c| (c.id, Arc::new(c.clone())));
            ledger.listed(&identity, all.collect(), asked, &BTreeSet::new());
        };
        let [one, two] = [1, 2].map(|n| container(n, State::Running, Some(1)));
        list(&[one, two], 10);
        assert_eq!(told(&mut changes).len(), 2);
        let again = container(2, State::Exited, Some(1));
        let three = container(3, State::Created, None);
        list(&[again, three.clone()], 20);
        let expected = [
            (3, 1, true, false, None),
            (4, 2, false, true, None),
            (5, 3, false, false, None),
        ];
        assert_eq!(told(&mut changes), expected);
        list(&[container(2, State::Exited, Some(1)), three], 30);
        assert_eq!((told(&mut changes), ledger.now().listed), (vec![], 30));
    }

    #[test]
    fn what_is_hidden_is_as_if_it_were_absent() {
        let ledger = Ledger::default();
        let mut changes = ledger.changes();
        let mut hidden = container(1, State::Running, Some(1));
        let deny = ("pulsetail.logs".to_owned(), "deny".to_owned());
        hidden.labels = [deny].into();
        ledger.looked(&hidden.id, Some(hidden.clone()), &hint(&hidden, true));
        ledger.looked(&hidden.id, None, &hint(&hidden, true));
        assert_eq!(told(&mut changes), []);
    }
}
