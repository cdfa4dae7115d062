//! The machine alone, in virtual time.

mod wanted;

use std::collections::BTreeMap;

use super::*;
use crate::supervisor::status::State;
use crate::supervisor::task::Kind;
use crate::supervisor::timings::tests::TABLE;

const TIMINGS: Timings = Timings::checked(TABLE);
const SECOND: Duration = Duration::from_secs(1);

/// A watchdog, the time, and what it asked for.
struct World {
    watchdog: Watchdog,
    now: Duration,
    /// Generation to task, of all that were started and have not ended.
    running: BTreeMap<u64, TaskId>,
    actions: Vec<(Duration, Action)>,
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            watchdog: Watchdog::new(TIMINGS, seed),
            now: Duration::ZERO,
            running: BTreeMap::new(),
            actions: Vec::new(),
        }
    }

    fn moment(&self) -> Moment {
        Moment {
            at: self.now,
            wall: 0,
        }
    }

    fn start(&mut self, name: &str) -> TaskId {
        let spec = Spec {
            name: name.to_owned(),
            kind: Kind::Container,
            container: None,
        };
        let id = self.watchdog.start(spec);
        self.tick();
        id
    }

    fn tick(&mut self) {
        for action in self.watchdog.tick(self.moment()) {
            self.actions.push((self.now, action));
            if let Action::Start(id, generation) = action {
                self.running.insert(generation, id);
            }
        }
    }

    /// Time passes, watched as in production.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            let idle = self.watchdog.idle(self.moment());
            let step = idle.max(Duration::from_millis(5)).min(end - self.now);
            self.now += step;
            self.tick();
        }
    }

    fn generation(&self, id: TaskId) -> u64 {
        self.status(id).generation
    }

    fn status(&self, id: TaskId) -> Status {
        self.watchdog.tasks[&id].status(self.watchdog_now(), &TIMINGS)
    }

    fn watchdog_now(&self) -> Duration {
        self.now
    }

    fn turn(&mut self, id: TaskId, ended: Ended) {
        self.turn_and_rest(id, ended, Duration::ZERO);
    }

    fn turn_and_rest(&mut self, id: TaskId, ended: Ended, rest: Duration) {
        let (generation, now, work) = (self.generation(id), self.moment(), Work::default());
        assert!(self.watchdog.turn_begins(id, generation, now));
        self.watchdog
            .turn_ends(id, generation, (ended, rest), work, now);
    }

    fn end(&mut self, id: TaskId, outcome: Outcome) {
        let (generation, now) = (self.generation(id), self.moment());
        self.running.remove(&generation);
        self.watchdog.ended(id, generation, outcome, now);
        self.tick();
    }

    /// Lives until a state is reached; how long that took.
    fn until(&mut self, id: TaskId, state: State) -> Duration {
        let began = self.now;
        while self.status(id).state != state {
            self.pass(Duration::from_millis(50));
            assert!(self.now - began < 1_000 * SECOND, "{:?}", self.status(id));
        }
        self.now - began
    }
}

fn panicked() -> Outcome {
    Outcome::Panicked("boom".to_owned())
}

#[test]
fn a_quiet_task_is_left_alone_for_a_day() {
    let mut world = World::new(1);
    let ids: Vec<_> = ["a", "b", "c"].map(|name| world.start(name)).into();
    // A proof as rarely as is honest, turns in between that prove nothing.
    let mut clock = 0;
    while world.now < 86_400 * SECOND {
        clock += 1;
        for id in &ids {
            world.turn(
                *id,
                if clock % 3 == 0 {
                    Ended::Progress
                } else {
                    Ended::Idle
                },
            );
        }
        world.pass(10 * SECOND);
    }
    assert!(
        ids.iter()
            .all(|id| world.status(*id).state == State::Running)
    );
    assert_eq!(world.actions.len(), ids.len(), "nothing but the starts");
}

#[test]
fn turns_without_proof_are_no_heartbeat() {
    let mut world = World::new(1);
    let id = world.start("a");
    let began = world.now;
    while world.status(id).state != State::Stopping {
        world.turn(id, Ended::Idle);
        world.pass(SECOND);
        assert!(world.now - began <= TIMINGS.detection(), "it looks alive");
    }
    assert!(world.now - began >= TIMINGS.heartbeat_timeout);
    world.end(id, Outcome::Completed);
    // What it says itself does not wipe out why it was stopped.
    let reasons: Vec<_> = world
        .status(id)
        .terminations
        .iter()
        .map(|t| t.reason)
        .collect();
    assert_eq!(reasons, [Reason::HeartbeatMissed]);
    assert_eq!(world.status(id).state, State::BackingOff);
    world.until(id, State::Starting);
    world.turn(id, Ended::Progress);
    let status = world.status(id);
    assert_eq!(
        (status.generation, status.restarts, status.attempts),
        (2, 1, 1)
    );
    assert_eq!(status.terminations.len(), 1, "success erases nothing");
    world.turn(id, Ended::Progress);
    world.pass(TIMINGS.stable);
    world.turn(id, Ended::Progress);
    let status = world.status(id);
    assert_eq!((status.attempts, status.terminations.len()), (0, 1));
}

#[test]
fn a_turn_that_hangs_is_cancelled_then_aborted_then_fenced() {
    let mut world = World::new(1);
    let (id, other) = (world.start("a"), world.start("b"));
    let now = world.moment();
    assert!(world.watchdog.turn_begins(id, 1, now));
    let mut at = BTreeMap::new();
    for _ in 0..90 {
        world.turn(other, Ended::Progress);
        world.pass(SECOND);
    }
    for (when, action) in &world.actions {
        at.insert(format!("{action:?}"), when.as_secs());
    }
    assert_eq!(at["Cancel(1)"], 30);
    assert_eq!(at["Abort(1)"], 35);
    assert_eq!(world.watchdog.zombies(), 1);
    let status = world.status(id);
    assert!(status.generation > 2, "{status:?}");
    assert_eq!(status.terminations[0].reason, Reason::Stalled);
    assert!(
        status.terminations[0]
            .message
            .ends_with("could not be aborted")
    );
    assert_eq!(world.generation(other), 2, "no other changed");
    // What the zombie still says is not heard, until it ends.
    let now = world.moment();
    assert!(!world.watchdog.turn_begins(id, 1, now));
    world.watchdog.ended(id, 1, Outcome::Completed, now);
    assert_eq!(
        (
            world.watchdog.zombies(),
            world.status(id).terminations.len()
        ),
        (0, 1)
    );
}

#[test]
fn a_sweep_finds_what_deadlines_forgot() {
    let mut world = World::new(1);
    let id = world.start("a");
    let now = world.moment();
    world.watchdog.turn_begins(id, 1, now);
    // A deadline that got lost.
    world.watchdog.due = Duration::MAX;
    let bound = TIMINGS.stall_detection();
    while world.status(id).state != State::Stopping {
        world.now += SECOND;
        world.tick();
        assert!(world.now <= bound);
    }
}

/// Fault row 36.
#[test]
fn the_sixth_failure_in_a_minute_is_one_too_many() {
    let mut world = World::new(3);
    let id = world.start("a");
    for failure in 1..=6 {
        assert_eq!(world.status(id).restarts, failure - 1);
        world.end(id, panicked());
        if failure < 6 {
            assert_eq!(world.status(id).state, State::BackingOff, "{failure}");
            let bound = TIMINGS.backoff * (1 << (failure - 1)) + SECOND;
            let took = world.until(id, State::Starting);
            assert!(took <= bound, "{failure}: {took:?}");
        }
    }
    assert_eq!(world.status(id).state, State::Quarantined);
    assert!(world.status(id).retry_in.is_some());
    // One try, which fails: quarantined again at once.
    let took = world.until(id, State::Starting);
    assert!(took + SECOND >= TIMINGS.quarantine_retry, "{took:?}");
    world.end(id, panicked());
    assert_eq!(world.status(id).state, State::Quarantined);
    // One that succeeds for long enough: all is forgiven.
    world.until(id, State::Starting);
    for _ in 0..7 {
        world.turn(id, Ended::Progress);
        world.pass(10 * SECOND);
    }
    world.end(id, panicked());
    assert_eq!(world.status(id).state, State::BackingOff);
    assert_eq!(world.status(id).terminations.len(), 8);
}

#[test]
fn a_name_that_comes_back_keeps_its_history_and_never_waits_for_ever() {
    let mut world = World::new(1);
    let id = world.start("a");
    let now = world.moment();
    world.watchdog.stop(id, now);
    // Wanted again before the old generation has ended: the ancestor dead-locked.
    assert_eq!(world.start("a"), id);
    assert_eq!(world.generation(id), 1);
    world.end(id, Outcome::Aborted);
    world.pass(Duration::from_millis(50));
    assert_eq!(
        (world.generation(id), world.status(id).state),
        (2, State::Starting)
    );
    // Nor does it if that never ends.
    let now = world.moment();
    world.watchdog.stop(id, now);
    world.start("a");
    world.pass(7 * SECOND);
    assert_eq!((world.generation(id), world.watchdog.zombies()), (3, 1));
    // Done, and wanted again.
    world.end(id, Outcome::Completed);
    world.start("a");
    assert_eq!(
        (world.generation(id), world.status(id).terminations.len()),
        (4, 3)
    );
}

#[test]
fn waiting_stops_the_heartbeats_clock_and_not_the_turns() {
    let mut world = World::new(1);
    let id = world.start("a");
    world.turn(id, Ended::Progress);
    for _ in 0..1_000 {
        world.turn(id, Ended::Waiting);
        world.pass(SECOND);
    }
    assert_eq!(world.status(id).state, State::Waiting);
    assert_eq!(world.status(id).deadline_in, None);
    world.turn(id, Ended::Idle);
    assert_eq!(world.status(id).state, State::Running);
    assert_eq!(
        world.status(id).deadline_in,
        Some(TIMINGS.heartbeat_timeout)
    );
    world.turn(id, Ended::Waiting);
    let now = world.moment();
    world.watchdog.turn_begins(id, 1, now);
    world.pass(TIMINGS.turn + SECOND);
    assert_eq!(world.status(id).state, State::Stopping);
}

/// Fault row 42.
#[test]
fn a_machine_that_slept_kills_nobody() {
    let mut world = World::new(1);
    let ids: Vec<_> = (0..40).map(|n| world.start(&n.to_string())).collect();
    let begun: Vec<_> = ids.iter().map(|id| world.generation(*id)).collect();
    world.pass(5 * SECOND);
    for sleep in [600, 90, 3_600] {
        // Asleep in the midst of their turns.
        for id in &ids {
            let (generation, now) = (world.generation(*id), world.moment());
            world.watchdog.turn_begins(*id, generation, now);
        }
        world.now += sleep * SECOND;
        world.tick();
        world.pass(20 * SECOND);
        for id in &ids {
            let (generation, now) = (world.generation(*id), world.moment());
            let (progress, work) = ((Ended::Progress, Duration::ZERO), Work::default());
            world
                .watchdog
                .turn_ends(*id, generation, progress, work, now);
        }
    }
    let now: Vec<_> = ids.iter().map(|id| world.generation(*id)).collect();
    assert_eq!(now, begun);
    assert_eq!(world.actions.len(), ids.len());
}

#[test]
fn starts_are_paced() {
    let mut world = World::new(1);
    for n in 0..1_000 {
        world.start(&n.to_string());
    }
    let burst = world.running.len();
    assert!((250..=251).contains(&burst), "{burst}");
    world.pass(SECOND / 10);
    assert!((299..=301).contains(&world.running.len()));
    world.pass(2 * SECOND);
    assert_eq!(world.running.len(), 1_000);
}

#[test]
fn what_is_remembered_of_the_past_is_bounded() {
    let mut world = World::new(1);
    for n in 0..3_000 {
        let id = world.start(&n.to_string());
        world.pass(Duration::from_millis(20));
        world.end(id, Outcome::Completed);
        assert!(world.watchdog.len() <= REMEMBERED[1] + 1);
    }
}
