//! The watchdog: a machine without clock, threads or IO. It is told what tasks do
//! and what time it is, and says whom to start, cancel and abort.

mod clock;
mod entry;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use super::status::{Reason, State, Status};
use super::task::{Failure, Kind, Spec, Work};
use super::timings::Timings;
use clock::Clock;
use entry::{Due, Entry};

/// Starts per second, and how many may come at once: an engine that comes back is
/// not asked by everybody in one moment.
const START_INTERVAL: Duration = Duration::from_millis(2);
const BURST: u32 = 250;
/// Tasks that are over and remembered, at most: of catch-ups, and of others.
const REMEMBERED: [usize; 2] = [100, 1_000];

/// A moment: on the process's monotonic clock, and on the wall for display.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) at: Duration,
    pub(super) wall: i64,
}

/// Number of a task; a name keeps its own as long as it is remembered.
pub(super) type TaskId = u64;

/// What is to be done with a generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Start(TaskId, u64),
    /// Revoke its permit, then cancel it.
    Cancel(u64),
    Abort(u64),
}

/// How a turn ended, without its proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    Progress,
    Idle,
    Waiting,
}

/// How a generation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    Completed,
    Failed(Failure),
    Panicked(String),
    /// Cancelled or aborted.
    Aborted,
}

#[derive(Debug)]
pub(super) struct Watchdog {
    timings: Timings,
    tasks: BTreeMap<TaskId, Entry>,
    names: HashMap<String, TaskId>,
    pending: VecDeque<TaskId>,
    at_once: VecDeque<TaskId>,
    /// Generations that could not be aborted.
    zombies: BTreeSet<u64>,
    clock: Clock,
    rng: fastrand::Rng,
    next_id: TaskId,
    generations: u64,
    /// When the next start is due by its rate.
    slot: Duration,
    /// Nothing is due before; all are looked at once a sweep nevertheless.
    due: Duration,
    swept: Duration,
    version: u64,
}

impl Watchdog {
    pub(super) fn new(timings: Timings, seed: u64) -> Self {
        Self {
            timings,
            tasks: BTreeMap::new(),
            names: HashMap::new(),
            pending: VecDeque::new(),
            at_once: VecDeque::new(),
            zombies: BTreeSet::new(),
            clock: Clock::default(),
            rng: fastrand::Rng::with_seed(seed),
            next_id: 0,
            generations: 0,
            slot: Duration::ZERO,
            due: Duration::ZERO,
            swept: Duration::ZERO,
            version: 0,
        }
    }

    /// Counts changes of states, generations and terminations.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// Generations that run on without any right.
    pub(super) fn zombies(&self) -> usize {
        self.zombies.len()
    }

    pub(super) fn len(&self) -> usize {
        self.tasks.len()
    }

    pub(super) fn knows(&self, id: TaskId) -> bool {
        self.tasks.contains_key(&id)
    }

    #[cfg(test)]
    pub(super) fn name(&self, id: TaskId) -> String {
        let entry = self.tasks.get(&id);
        entry.map_or_else(String::new, |entry| entry.spec.name.clone())
    }

    /// How long nothing will be due, at most until the next look.
    pub(super) fn idle(&mut self, now: Moment) -> Duration {
        let now = self.read(now).at;
        let slot = self.slot.saturating_sub(START_INTERVAL * BURST);
        let due = match self.pending.is_empty() {
            true => self.due,
            false => self.due.min(slot),
        };
        due.saturating_sub(now).min(self.timings.look)
    }

    /// A task is wanted. One of that name that runs still is started anew once it
    /// has ended.
    pub(super) fn start(&mut self, spec: Spec) -> TaskId {
        self.version += 1;
        if let Some(id) = self.names.get(&spec.name).copied() {
            if let Some(entry) = self.tasks.get_mut(&id)
                && entry.want()
                && !self.pending.contains(&id)
            {
                self.queue(id);
            }
            return id;
        }
        self.next_id += 1;
        self.names.insert(spec.name.clone(), self.next_id);
        let entry = Entry::new(spec, &self.timings);
        self.tasks.insert(self.next_id, entry);
        self.queue(self.next_id);
        self.next_id
    }

    /// It starts when the rate of starts allows. Catch-ups do at once: who waits for
    /// one did nothing to the engine, and what they may do is limited by their slots.
    fn queue(&mut self, id: TaskId) {
        let kind = self.tasks.get(&id).map(|entry| entry.spec.kind);
        match kind == Some(Kind::CatchUp) {
            true => self.at_once.push_back(id),
            false => self.pending.push_back(id),
        }
    }

    /// A task is no longer wanted.
    pub(super) fn stop(&mut self, id: TaskId, now: Moment) -> Option<Action> {
        let now = self.read(now);
        let timings = self.timings;
        let stop = |entry: &mut Entry| {
            let asked = "it was asked to stop".to_owned();
            entry.kill(Reason::Stopped, asked, now, &timings)
        };
        self.change(id, stop).flatten()
    }

    /// A task that waits for its next start, or is over, is started at once.
    pub(super) fn hurry(&mut self, id: TaskId) {
        let waits = |entry: &&mut Entry| !entry.is_live() && entry.state != State::Pending;
        if let Some(entry) = self.tasks.get_mut(&id).filter(waits) {
            entry.want();
            self.version += 1;
            self.queue(id);
        }
    }

    /// A task may do what it is at, and is not wanted behind that.
    pub(super) fn release(&mut self, id: TaskId, now: Moment) {
        let now = self.read(now).at;
        self.change(id, |entry| entry.release(now));
    }

    /// Kills a task's present generation as if one of its turns hung.
    pub(super) fn condemn(&mut self, name: &str, now: Moment) -> Option<Action> {
        let now = self.read(now);
        let (id, timings) = (*self.names.get(name)?, self.timings);
        let why = "it was condemned".to_owned();
        let kill = |entry: &mut Entry| entry.kill(Reason::Stalled, why, now, &timings);
        self.change(id, kill).flatten()
    }

    /// A generation begins a turn; false: it is no longer wanted.
    pub(super) fn turn_begins(&mut self, id: TaskId, generation: u64, now: Moment) -> bool {
        let now = self.read(now).at;
        self.change_of(id, generation, |entry| entry.turn_begins(now))
            .is_some()
    }

    /// A generation ended a turn, and rests for so long.
    pub(super) fn turn_ends(
        &mut self,
        id: TaskId,
        generation: u64,
        (ended, rest): (Ended, Duration),
        work: Work,
        now: Moment,
    ) {
        let now = self.read(now).at;
        let (timings, rest) = (self.timings, now.saturating_add(rest));
        self.change_of(id, generation, |entry| {
            entry.turn_ends(work, now);
            entry.waits(ended == Ended::Waiting, now);
            match ended {
                Ended::Progress => entry.progress(now, rest, &timings),
                Ended::Idle | Ended::Waiting => entry.rest = entry.rest.min(rest),
            }
        });
    }

    /// A generation ended.
    pub(super) fn ended(&mut self, id: TaskId, generation: u64, outcome: Outcome, now: Moment) {
        let now = self.read(now);
        if self.zombies.remove(&generation) {
            self.version += 1;
            return;
        }
        let (timings, mut rng) = (self.timings, self.rng.fork());
        self.change_of(id, generation, |entry| {
            entry.ended(outcome, now, &timings, &mut rng);
        });
        self.bound();
    }

    /// Does what is due by now.
    pub(super) fn tick(&mut self, now: Moment) -> Vec<Action> {
        let now = self.read(now);
        let mut actions = Vec::new();
        if now.at >= self.due || now.at >= self.swept + self.timings.sweep {
            self.sweep(now, &mut actions);
        }
        while let Some(id) = self.at_once.pop_front() {
            actions.extend(self.begin(id, now));
        }
        while self.slot <= now.at + START_INTERVAL * BURST
            && let Some(id) = self.pending.pop_front()
        {
            self.slot = self.slot.max(now.at) + START_INTERVAL;
            actions.extend(self.begin(id, now));
        }
        actions
    }

    /// Begins a generation, unless it is no longer wanted.
    fn begin(&mut self, id: TaskId, now: Moment) -> Option<Action> {
        let waits = |entry: &&Entry| entry.state == State::Pending;
        self.tasks.get(&id).filter(waits)?;
        self.generations += 1;
        let generation = self.generations;
        self.change(id, |entry| entry.begin(generation, now));
        Some(Action::Start(id, generation))
    }

    /// All tasks, in no order that means anything.
    pub(super) fn statuses(&mut self, now: Moment) -> Vec<Status> {
        let now = self.read(now).at;
        let status = |entry: &Entry| entry.status(now, &self.timings);
        self.tasks.values().map(status).collect()
    }

    fn sweep(&mut self, now: Moment, actions: &mut Vec<Action>) {
        self.swept = now.at;
        let (mut gone, mut starts) = (Vec::new(), Vec::new());
        for (id, entry) in &mut self.tasks {
            let due = entry.act(now, &self.timings, &mut self.rng);
            self.version += u64::from(due.is_some());
            match due {
                None => {}
                Some(Due::Act(action)) => actions.push(action),
                Some(Due::Start) => starts.push(*id),
                Some(Due::Zombie(generation)) => drop(self.zombies.insert(generation)),
                Some(Due::Forget) => gone.push(*id),
            }
        }
        gone.into_iter().for_each(|id| self.forget(id));
        starts.into_iter().for_each(|id| self.queue(id));
        let due = self
            .tasks
            .values()
            .filter_map(|entry| entry.due(&self.timings));
        self.due = due.min().unwrap_or(Duration::MAX);
    }

    fn forget(&mut self, id: TaskId) {
        if let Some(entry) = self.tasks.remove(&id) {
            self.names.remove(&entry.spec.name);
        }
    }

    /// Forgets the oldest of too many that are over.
    fn bound(&mut self) {
        for (catch_ups, most) in [true, false].into_iter().zip(REMEMBERED) {
            let is_one = |entry: &Entry| (entry.spec.kind == Kind::CatchUp) == catch_ups;
            let over = self.tasks.iter();
            let over = over.filter(|(_, entry)| entry.is_over() && is_one(entry));
            if over.clone().count() > most {
                let due = |(_, entry): &(&TaskId, &Entry)| {
                    let due = entry.due(&self.timings);
                    due.unwrap_or(Duration::MAX)
                };
                let oldest = over.min_by_key(due).map(|(id, _)| *id);
                oldest.into_iter().for_each(|id| self.forget(id));
            }
        }
    }

    fn change_of<R>(
        &mut self,
        id: TaskId,
        generation: u64,
        change: impl FnOnce(&mut Entry) -> R,
    ) -> Option<R> {
        let is_its = |entry: &Entry| entry.generation == generation && entry.is_live();
        self.tasks.get(&id).filter(|entry| is_its(entry))?;
        self.change(id, change)
    }

    /// Changes a task, and notes what that means for others.
    fn change<R>(&mut self, id: TaskId, change: impl FnOnce(&mut Entry) -> R) -> Option<R> {
        let entry = self.tasks.get_mut(&id)?;
        let before = (entry.state, entry.generation);
        let result = change(entry);
        self.version += u64::from((entry.state, entry.generation) != before);
        if let Some(due) = entry.due(&self.timings) {
            self.due = self.due.min(due);
        }
        Some(result)
    }

    fn read(&mut self, now: Moment) -> Moment {
        Moment {
            at: self.clock.read(now.at, self.timings.look),
            ..now
        }
    }
}
