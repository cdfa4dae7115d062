//! The engine's state, shared by its connections and by the handles that script it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::clock::Clock;
use crate::connection::Power;
use crate::events::{Event, Events};
use crate::fault::{Armory, BodyAct, HeadAct, Victim};
use crate::instance::Instance;
use crate::refusal::Refusal;
use crate::{Endpoint, Engine, Fault, Request, Stats, Timestamp};

/// How many of the newest requests are kept.
const REQUESTS_MAX: usize = 65_536;

pub(crate) struct World {
    state: Mutex<State>,
    pub(crate) stats: watch::Sender<Stats>,
    pub(crate) power: watch::Sender<Power>,
    /// Changes whenever faults are armed, so that open streams look for theirs.
    pub(crate) faults: watch::Sender<()>,
}

pub(crate) struct State {
    pub(crate) engine: Engine,
    pub(crate) clock: Clock,
    pub(crate) events: Events,
    pub(crate) instances: Vec<Instance>,
    pub(crate) created: u64,
    armory: Armory,
    requests: VecDeque<Request>,
}

impl World {
    pub(crate) fn new(engine: Engine, start: Timestamp) -> Self {
        let state = State {
            engine,
            clock: Clock::starting_at(start),
            events: Events::new(),
            instances: Vec::new(),
            created: 0,
            armory: Armory::default(),
            requests: VecDeque::new(),
        };
        Self {
            state: Mutex::new(state),
            stats: watch::Sender::default(),
            power: watch::Sender::new(Power::first()),
            faults: watch::Sender::default(),
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // A test that panics while it scripts must not hide its own message behind a poisoned lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn witness(&self, endpoint: Endpoint, method: &str, target: &str) {
        let request = Request {
            endpoint,
            method: method.to_owned(),
            target: target.to_owned(),
        };
        self.state().keep(request);
        // Counted last: who waits for the count must find the request.
        self.stats.send_modify(|stats| stats.count(endpoint));
    }

    pub(crate) fn forget_requests(&self) {
        self.state().requests = VecDeque::new();
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.state().requests.iter().cloned().collect()
    }

    pub(crate) fn arm(&self, container: Option<String>, fault: Fault) {
        self.state().armory.arm(container, fault);
        self.faults.send_replace(());
    }

    pub(crate) fn clear_faults(&self, container: Option<&str>) {
        self.state().armory.clear(container);
    }

    pub(crate) fn strike_head(&self, victim: &mut Victim) -> Option<HeadAct> {
        let act = self.state().armory.strike_head(victim);
        self.counted(act)
    }

    pub(crate) fn strike_body(&self, victim: &mut Victim) -> Option<BodyAct> {
        let act = self.state().armory.strike_body(victim);
        self.counted(act)
    }

    pub(crate) fn duration_until(&self, then: Timestamp) -> Duration {
        let left = then
            .nanos()
            .saturating_sub(self.state().clock.now().nanos());
        Duration::from_nanos(u64::try_from(left).unwrap_or(0))
    }

    /// Counts something as open until the guard is dropped.
    pub(crate) fn open(self: &Arc<Self>, gauge: fn(&mut Stats) -> &mut usize) -> Open {
        self.stats.send_modify(|stats| {
            *gauge(stats) += 1;
            stats.most_snapshots = stats.most_snapshots.max(stats.snapshots);
        });
        Open {
            world: Arc::clone(self),
            gauge,
        }
    }

    fn counted<T>(&self, act: Option<T>) -> Option<T> {
        if act.is_some() {
            self.stats.send_modify(|stats| stats.faults += 1);
        }
        act
    }
}

impl State {
    /// Finds a container by id, name or unambiguous prefix of the id, in this order.
    pub(crate) fn find(&self, reference: &str) -> Result<&Instance, Refusal> {
        let exact = |instance: &&Instance| instance.id == reference;
        let named = |instance: &&Instance| instance.name == reference;
        if let Some(found) = self
            .instances
            .iter()
            .find(exact)
            .or_else(|| self.instances.iter().find(named))
        {
            return Ok(found);
        }
        let mut matching = self
            .instances
            .iter()
            .filter(|instance| instance.id.starts_with(reference));
        match (matching.next(), matching.next()) {
            (Some(found), None) if !reference.is_empty() => Ok(found),
            (Some(_), Some(_)) => Err(Refusal::bad(format!(
                "multiple IDs found with provided prefix: {reference}"
            ))),
            _ => Err(Refusal::not_found(format!(
                "No such container: {reference}"
            ))),
        }
    }

    fn keep(&mut self, request: Request) {
        if self.requests.len() == REQUESTS_MAX {
            self.requests.pop_front();
        }
        self.requests.push_back(request);
    }

    pub(crate) fn position(&self, id: &str) -> Option<usize> {
        self.instances.iter().position(|instance| instance.id == id)
    }

    /// Publishes what happened to a container; its labels, image and name go along.
    pub(crate) fn emit(&mut self, index: usize, action: &str, more: &[(&str, String)]) {
        let instance = &self.instances[index];
        let mut attributes = instance.labels.clone();
        attributes.insert("image".to_owned(), instance.image.clone());
        attributes.insert("name".to_owned(), instance.name.clone());
        attributes.extend(
            more.iter()
                .map(|(name, value)| ((*name).to_owned(), value.clone())),
        );
        let actor = instance.id.clone();
        self.publish("container", action, actor, attributes);
    }

    pub(crate) fn publish(
        &mut self,
        kind: &str,
        action: &str,
        actor: String,
        attributes: BTreeMap<String, String>,
    ) {
        let time = self.clock.now();
        self.events.publish(Event {
            kind: kind.to_owned(),
            action: action.to_owned(),
            actor,
            attributes,
            time,
        });
    }
}

/// Something that is counted as open.
pub(crate) struct Open {
    world: Arc<World>,
    gauge: fn(&mut Stats) -> &mut usize,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.world
            .stats
            .send_modify(|stats| *(self.gauge)(stats) -= 1);
    }
}
