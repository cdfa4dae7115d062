//! One task, as the watchdog sees it. Times are the watchdog's own.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Action, Moment, Outcome};
use crate::supervisor::backoff::Backoff;
use crate::supervisor::status::{Reason, State, Status, TERMINATIONS, Termination};
use crate::supervisor::task::{Spec, Work};
use crate::supervisor::timings::Timings;

/// Restarts within the window that are not too many.
const INTENSITY: usize = 5;
/// How long a task that is over is kept.
pub(super) const RETENTION: Duration = Duration::from_secs(300);

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) spec: Spec,
    pub(super) state: State,
    pub(super) generation: u64,
    backoff: Backoff,
    restarts: u64,
    /// When it failed, within the window.
    failures: VecDeque<Duration>,
    /// It was quarantined, and has not been stable since.
    on_trial: bool,
    began: Duration,
    started: Option<i64>,
    /// The heartbeat's clock runs from here, and not before the announced rest is over.
    beat: Duration,
    pub(super) rest: Duration,
    progress: Option<Duration>,
    data: Option<Duration>,
    /// When the present turn began.
    turn: Option<Duration>,
    /// Why it was told to stop, and whether it was aborted since.
    killed: Option<(Reason, String)>,
    aborted: bool,
    /// When the next step is due of a state that waits for a time.
    until: Duration,
    /// It was started anew while a generation was there still.
    again: bool,
    /// Whoever started it wants it no longer.
    released: bool,
    work: Work,
    terminations: VecDeque<Termination>,
}

/// What is due of a task.
pub(super) enum Due {
    Act(Action),
    /// It may start.
    Start,
    /// A generation was given up for a zombie.
    Zombie(u64),
    /// It can be forgotten.
    Forget,
}

impl Entry {
    pub(super) fn new(spec: Spec, timings: &Timings) -> Self {
        Self {
            spec,
            state: State::Pending,
            generation: 0,
            backoff: Backoff::new(timings.backoff, timings.backoff_cap),
            restarts: 0,
            failures: VecDeque::new(),
            on_trial: false,
            began: Duration::ZERO,
            started: None,
            beat: Duration::ZERO,
            rest: Duration::ZERO,
            progress: None,
            data: None,
            turn: None,
            killed: None,
            aborted: false,
            until: Duration::ZERO,
            again: false,
            released: false,
            work: Work::default(),
            terminations: VecDeque::new(),
        }
    }

    /// Whether a generation runs, or ought to have ended by now.
    pub(super) fn is_live(&self) -> bool {
        use State::{Running, Starting, Stopping, Waiting};
        matches!(self.state, Starting | Running | Waiting | Stopping)
    }

    pub(super) fn is_over(&self) -> bool {
        use State::{Completed, Failed, Stopped, Zombie};
        matches!(self.state, Completed | Failed | Stopped | Zombie)
    }

    /// It is wanted, whatever it was before; whether it can start at once.
    pub(super) fn want(&mut self) -> bool {
        (self.again, self.released) = (self.is_live(), false);
        if !self.again {
            self.state = State::Pending;
        }
        !self.again
    }

    /// A new generation begins.
    pub(super) fn begin(&mut self, generation: u64, now: Moment) {
        self.restarts += u64::from(self.generation != 0);
        self.generation = generation;
        self.state = State::Starting;
        (self.began, self.beat, self.started) = (now.at, now.at, Some(now.wall));
        self.rest = now.at;
        (self.progress, self.data, self.turn) = (None, None, None);
        (self.killed, self.aborted) = (None, false);
    }

    pub(super) fn turn_begins(&mut self, now: Duration) {
        self.turn = Some(now);
    }

    /// A turn ended; whether the state changed.
    pub(super) fn turn_ends(&mut self, work: Work, now: Duration) {
        self.turn = None;
        self.work.add(work);
        if work.data {
            self.data = Some(now);
        }
    }

    /// It showed progress, and rests until then.
    pub(super) fn progress(&mut self, now: Duration, rest: Duration, timings: &Timings) {
        (self.progress, self.beat, self.rest) = (Some(now), now, rest);
        if self.state != State::Stopping {
            self.state = State::Running;
        }
        if now.saturating_sub(self.began) >= timings.stable {
            self.backoff.reset();
            self.failures.clear();
            self.on_trial = false;
        }
    }

    /// It waits, or does no more: the heartbeat's clock stands meanwhile.
    pub(super) fn waits(&mut self, waits: bool, now: Duration) {
        match (waits, self.state) {
            (true, State::Starting | State::Running) => self.state = State::Waiting,
            (false, State::Waiting) => {
                self.state = match self.progress {
                    Some(_) => State::Running,
                    None => State::Starting,
                };
                self.beat = now;
            }
            _ => {}
        }
    }

    /// Told to stop: cancel it, then wait. `None`: there is nothing to cancel.
    pub(super) fn kill(
        &mut self,
        reason: Reason,
        why: String,
        now: Moment,
        timings: &Timings,
    ) -> Option<Action> {
        match self.state {
            State::Starting | State::Running | State::Waiting => {
                self.state = State::Stopping;
                self.killed = Some((reason, why));
                self.until = now.at + timings.cancel_grace;
                Some(Action::Cancel(self.generation))
            }
            // From now on nobody wants it.
            State::Stopping if reason == Reason::Stopped => {
                self.killed = Some((reason, why));
                self.again = false;
                None
            }
            State::Pending | State::BackingOff | State::Quarantined | State::Failed
                if reason == Reason::Stopped =>
            {
                self.release(now.at);
                None
            }
            _ => None,
        }
    }

    /// It may do what it is at; behind that nobody wants it.
    pub(super) fn release(&mut self, now: Duration) {
        (self.again, self.released) = (false, true);
        match self.state {
            State::Pending | State::BackingOff | State::Quarantined => {
                self.over(State::Stopped, now);
            }
            State::Failed => self.over(State::Failed, now),
            _ => {}
        }
    }

    /// When something is due of it.
    pub(super) fn due(&self, timings: &Timings) -> Option<Duration> {
        let turn = self.turn.map(|began| began + timings.turn);
        match self.state {
            State::Pending => None,
            State::Starting | State::Running => {
                let beat = self.beat.max(self.rest) + timings.heartbeat_timeout;
                Some(turn.map_or(beat, |turn| turn.min(beat)))
            }
            State::Waiting => turn,
            // It is told for as long as it is wanted.
            State::Failed if !self.released => None,
            _ => Some(self.until),
        }
    }

    /// Does what is due.
    pub(super) fn act(
        &mut self,
        now: Moment,
        timings: &Timings,
        rng: &mut fastrand::Rng,
    ) -> Option<Due> {
        self.due(timings).filter(|due| *due <= now.at)?;
        match self.state {
            State::BackingOff | State::Quarantined => {
                self.state = State::Pending;
                Some(Due::Start)
            }
            State::Stopping if !self.aborted => {
                self.aborted = true;
                self.until = now.at + timings.abort_grace;
                Some(Due::Act(Action::Abort(self.generation)))
            }
            State::Stopping => {
                let zombie = self.generation;
                let was_final = self.reason() == Some(Reason::Stopped) && !self.again;
                self.ended(Outcome::Aborted, now, timings, rng);
                if was_final {
                    self.state = State::Zombie;
                }
                Some(Due::Zombie(zombie))
            }
            _ if self.is_over() => Some(Due::Forget),
            _ => {
                let stalled = self
                    .turn
                    .is_some_and(|began| began + timings.turn <= now.at);
                let (reason, why) = match stalled {
                    true => (
                        Reason::Stalled,
                        format!("one turn took longer than {:?}", timings.turn),
                    ),
                    false => (
                        Reason::HeartbeatMissed,
                        format!("no progress for {:?}", timings.heartbeat_timeout),
                    ),
                };
                self.kill(reason, why, now, timings).map(Due::Act)
            }
        }
    }

    fn reason(&self) -> Option<Reason> {
        self.killed.as_ref().map(|(reason, _)| *reason)
    }

    /// A generation ended. What told it to stop is why, whatever it says itself.
    pub(super) fn ended(
        &mut self,
        outcome: Outcome,
        now: Moment,
        timings: &Timings,
        rng: &mut fastrand::Rng,
    ) {
        let lasting = matches!(&outcome, Outcome::Failed(failure) if failure.lasting);
        let zombie = self.aborted && outcome == Outcome::Aborted;
        let (reason, mut message) = match (self.killed.take(), outcome) {
            (Some(killed), _) => killed,
            (None, Outcome::Completed) => (Reason::Completed, String::new()),
            (None, Outcome::Failed(failure)) => (Reason::Failed, failure.message),
            (None, Outcome::Panicked(message)) => (Reason::Panicked, message),
            (None, Outcome::Aborted) => (Reason::Stopped, "its runtime ended".to_owned()),
        };
        if zombie {
            message.push_str("; it could not be aborted");
        }
        self.terminations.push_front(Termination {
            reason,
            message,
            time: now.wall,
            generation: self.generation,
        });
        self.terminations.truncate(TERMINATIONS);
        self.turn = None;
        match reason {
            _ if std::mem::take(&mut self.again) => {
                self.state = State::BackingOff;
                self.until = now.at;
            }
            Reason::Completed => self.over(State::Completed, now.at),
            Reason::Stopped => self.over(State::Stopped, now.at),
            Reason::Failed if lasting => self.over(State::Failed, now.at),
            _ => self.back_off(now.at, timings, rng),
        }
    }

    fn back_off(&mut self, now: Duration, timings: &Timings, rng: &mut fastrand::Rng) {
        self.failures.push_back(now);
        while self
            .failures
            .front()
            .is_some_and(|at| *at + timings.window < now)
        {
            self.failures.pop_front();
        }
        let delay = self.backoff.draw(rng);
        self.on_trial |= self.failures.len() > INTENSITY;
        (self.state, self.until) = match self.on_trial {
            true => (State::Quarantined, now + timings.quarantine_retry),
            false => (State::BackingOff, now + delay),
        };
    }

    fn over(&mut self, state: State, now: Duration) {
        (self.state, self.until) = (state, now + RETENTION);
    }

    pub(super) fn status(&self, now: Duration, timings: &Timings) -> Status {
        let since = |at: Duration| now.saturating_sub(at);
        let left = |at: Duration| at.saturating_sub(now);
        let waits = matches!(self.state, State::BackingOff | State::Quarantined);
        let watched = matches!(self.state, State::Starting | State::Running);
        Status {
            spec: self.spec.clone(),
            state: self.state,
            generation: self.generation,
            attempts: self.backoff.attempts(),
            restarts: self.restarts,
            started: self.started,
            heartbeat_age: self.progress.map(since),
            data_age: self.data.map(since),
            deadline_in: self.due(timings).filter(|_| watched).map(left),
            retry_in: waits.then_some(left(self.until)),
            work: self.work,
            terminations: self.terminations.iter().cloned().collect(),
        }
    }
}
