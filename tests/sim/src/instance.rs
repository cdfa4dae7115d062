//! A container as the engine holds it, and what each step of its life does, in the engine's order.

use std::collections::BTreeMap;

use crate::Timestamp;
use crate::log::Log;
use crate::world::State;

pub(crate) struct Instance {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) image: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) tty: bool,
    pub(crate) auto_remove: bool,
    pub(crate) created: Timestamp,
    pub(crate) started: Option<Timestamp>,
    pub(crate) finished: Option<Timestamp>,
    pub(crate) exit_code: i32,
    pub(crate) phase: Phase,
    pub(crate) log: Log,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Created,
    Running,
    Paused,
    Exited,
    Removing,
    Dead,
}

impl Phase {
    pub(crate) fn is_up(self) -> bool {
        matches!(self, Self::Running | Self::Paused)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Exited => "exited",
            Self::Removing => "removing",
            Self::Dead => "dead",
        }
    }
}

/// The steps of a life. One that does not apply does nothing, as the engine answers 304 or 409.
impl State {
    pub(crate) fn start(&mut self, index: usize) {
        if !matches!(self.instances[index].phase, Phase::Created | Phase::Exited) {
            return;
        }
        let now = self.clock.now();
        let instance = &mut self.instances[index];
        instance.phase = Phase::Running;
        instance.started = Some(now);
        self.emit(index, "start", &[]);
    }

    /// The process ends: streams first, then the event.
    pub(crate) fn die(&mut self, index: usize, exit_code: i32) {
        let instance = &mut self.instances[index];
        if !instance.phase.is_up() {
            return;
        }
        instance.log.end_run(&mut self.clock);
        instance.phase = Phase::Exited;
        instance.exit_code = exit_code;
        let now = self.clock.now();
        instance.finished = Some(now);
        let ran = now.secs() - instance.started.map_or(now.secs(), Timestamp::secs);
        let mut told = vec![("exitCode", exit_code.to_string())];
        if self.engine.habits.deaths_tell_duration {
            told.push(("execDuration", ran.to_string()));
        }
        self.emit(index, "die", &told);
    }

    pub(crate) fn kill(&mut self, index: usize, signal: u8) {
        if self.instances[index].phase.is_up() {
            self.emit(index, "kill", &[("signal", signal.to_string())]);
            self.die(index, 128 + i32::from(signal));
        }
    }

    pub(crate) fn stop(&mut self, index: usize) {
        if self.instances[index].phase.is_up() {
            self.kill(index, SIGTERM);
            self.emit(index, "stop", &[]);
        }
    }

    pub(crate) fn restart(&mut self, index: usize) {
        self.stop(index);
        self.start(index);
        if self.instances[index].phase.is_up() {
            self.emit(index, "restart", &[]);
        }
    }

    pub(crate) fn pause(&mut self, index: usize) {
        self.switch(index, Phase::Running, Phase::Paused, "pause");
    }

    pub(crate) fn unpause(&mut self, index: usize) {
        self.switch(index, Phase::Paused, Phase::Running, "unpause");
    }

    pub(crate) fn rename(&mut self, index: usize, name: String) {
        if self.instances.iter().any(|instance| instance.name == name) {
            return;
        }
        let old = std::mem::replace(&mut self.instances[index].name, name);
        self.emit(index, "rename", &[("oldName", format!("/{old}"))]);
    }

    pub(crate) fn remove(&mut self, index: usize) {
        self.kill(index, SIGKILL);
        self.emit(index, "destroy", &[]);
        self.instances.remove(index);
    }

    pub(crate) fn remove_if_automatic(&mut self, index: usize) {
        let instance = &self.instances[index];
        if instance.auto_remove && instance.phase == Phase::Exited {
            self.remove(index);
        }
    }

    fn switch(&mut self, index: usize, from: Phase, to: Phase, action: &str) {
        if self.instances[index].phase == from {
            self.instances[index].phase = to;
            self.emit(index, action, &[]);
        }
    }
}

const SIGKILL: u8 = 9;
const SIGTERM: u8 = 15;
