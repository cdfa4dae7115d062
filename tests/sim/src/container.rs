//! Handles that create a container and play its process.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::engine::hex_id;
use crate::instance::{Instance, Phase};
use crate::log::Log;
use crate::world::{State, World};
use crate::{Driver, Fault, Record, Stream, Timestamp};

/// A container to be created.
#[must_use = "nothing is created before `create` or `run`"]
pub struct NewContainer {
    world: Arc<World>,
    name: String,
    image: String,
    labels: BTreeMap<String, String>,
    tty: bool,
    auto_remove: bool,
    driver: Driver,
}

impl NewContainer {
    pub(crate) fn named(world: Arc<World>, name: String) -> Self {
        let (image, labels, driver) = (
            "busybox:latest".to_owned(),
            BTreeMap::new(),
            Driver::json_file(),
        );
        Self {
            world,
            name,
            image,
            labels,
            tty: false,
            auto_remove: false,
            driver,
        }
    }

    /// The image's name; `busybox:latest` unless told.
    pub fn image(mut self, image: impl Into<String>) -> Self {
        self.image = image.into();
        self
    }

    /// Adds a label.
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(name.into(), value.into());
        self
    }

    /// Gives it a terminal: both outputs become one, and log bodies are raw.
    pub fn tty(mut self) -> Self {
        self.tty = true;
        self
    }

    /// The logging driver; `json-file` unless told.
    pub fn driver(mut self, driver: Driver) -> Self {
        self.driver = driver;
        self
    }

    /// Removes it, with its log, when its process ends.
    pub fn auto_remove(mut self) -> Self {
        self.auto_remove = true;
        self
    }

    /// Creates it without starting it.
    ///
    /// # Panics
    /// If the name is in use.
    pub fn create(self) -> Container {
        let mut guard = self.world.state();
        let state = &mut *guard;
        let taken = state
            .instances
            .iter()
            .any(|instance| instance.name == self.name);
        assert!(!taken, "the container name {:?} is in use", self.name);
        let id = hex_id(&self.name, state.created);
        state.created += 1;
        state.instances.push(Instance {
            id: id.clone(),
            name: self.name,
            image: self.image,
            labels: self.labels,
            tty: self.tty,
            auto_remove: self.auto_remove,
            created: state.clock.now(),
            started: None,
            finished: None,
            exit_code: 0,
            phase: Phase::Created,
            log: Log::new(self.driver, state.engine.habits),
        });
        state.emit(state.instances.len() - 1, "create", &[]);
        drop(guard);
        Container {
            world: self.world,
            id,
        }
    }

    /// Creates and starts it.
    ///
    /// # Panics
    /// If the name is in use.
    pub fn run(self) -> Container {
        let container = self.create();
        container.start();
        container
    }
}

/// A container of the simulated engine; clones are handles to the same one.
///
/// A step of its life that does not apply, or comes after its removal, does nothing. Everything takes effect at once and in
/// order; open streams deliver it when their tasks run.
#[derive(Clone)]
pub struct Container {
    world: Arc<World>,
    id: String,
}

impl Container {
    /// 64 hex digits.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Starts the process; its output goes to the end of the same log as before. Event: `start`.
    pub fn start(&self) {
        self.change(State::start);
    }

    /// The process writes to its standard output. Lines are stored when their newline, or 16 KiB, has come.
    ///
    /// # Panics
    /// If it is not running.
    pub fn stdout(&self, bytes: impl AsRef<[u8]>) {
        self.write(Stream::Stdout, bytes.as_ref());
    }

    /// The process writes to its standard error.
    ///
    /// # Panics
    /// If it is not running.
    pub fn stderr(&self, bytes: impl AsRef<[u8]>) {
        self.write(Stream::Stderr, bytes.as_ref());
    }

    /// Stores a record exactly as given: any time, any bytes, in any state. Followers get it too.
    pub fn record(&self, stream: Stream, time: Timestamp, bytes: impl AsRef<[u8]>) {
        let bytes = Bytes::copy_from_slice(bytes.as_ref());
        self.change_log(|log| {
            log.append(Record {
                stream,
                time,
                bytes,
            });
        });
    }

    /// The process ends: follow streams end, then the event `die`, and `destroy` if it is removed automatically.
    pub fn exit(&self, code: i32) {
        self.change(|state, index| {
            state.die(index, code);
            state.remove_if_automatic(index);
        });
    }

    /// Kills the process. Events: `kill`, `die`.
    pub fn kill(&self, signal: u8) {
        self.change(|state, index| {
            state.kill(index, signal);
            state.remove_if_automatic(index);
        });
    }

    /// Stops the process. Events: `kill`, `die`, `stop`.
    pub fn stop(&self) {
        self.change(|state, index| {
            state.stop(index);
            state.remove_if_automatic(index);
        });
    }

    /// Stops and starts it. Events: `kill`, `die`, `stop`, `start`, `restart`.
    pub fn restart(&self) {
        self.change(State::restart);
    }

    /// Freezes the process; streams stay open. Event: `pause`.
    pub fn pause(&self) {
        self.change(State::pause);
    }

    /// Thaws the process. Event: `unpause`.
    pub fn unpause(&self) {
        self.change(State::unpause);
    }

    /// Gives it another name, unless that is in use; streams stay open. Event: `rename`.
    pub fn rename(&self, name: impl Into<String>) {
        self.change(|state, index| state.rename(index, name.into()));
    }

    /// Kills it if need be and forgets it with its log. Events: `kill` and `die` if it was up, `destroy`.
    pub fn remove(&self) {
        self.change(State::remove);
    }

    /// Leaves it half removed for good: its logs are refused with 409.
    pub fn mark_dead(&self) {
        self.change(|state, index| {
            state.kill(index, 9);
            state.instances[index].phase = Phase::Dead;
        });
    }

    /// Begins its removal without an end: its logs are refused with 409 until [`remove`](Self::remove).
    pub fn mark_removing(&self) {
        self.change(|state, index| {
            state.kill(index, 9);
            state.instances[index].phase = Phase::Removing;
        });
    }

    /// Publishes any other event about it, such as `health_status: healthy` or `exec_start: sh`.
    pub fn emit(&self, action: &str) {
        self.change(|state, index| state.emit(index, action, &[]));
    }

    /// Begins a new log file now, whatever the size of the current one; `max-file` decides which old ones stay.
    pub fn rotate_log(&self) {
        self.change_log(Log::rotate);
    }

    /// Empties the current log file behind the engine's back. From 23.0 open follows are deaf from then on, and `tail=N`
    /// answers nothing until the file rotates.
    pub fn truncate_log(&self) {
        self.change_log(Log::truncate);
    }

    /// Stores bytes that no reader can decode. They hide what is stored behind them in the same file, unless a `tail`
    /// begins behind them; a follow stream that meets them ends.
    pub fn corrupt_log(&self) {
        self.change_log(Log::append_corrupt);
    }

    /// The next so many lines or parts that its process writes are dropped before they are stored, as a driver in
    /// non-blocking mode drops what it has no room for.
    pub fn lose(&self, count: usize) {
        self.change_log(|log| log.lose(count));
    }

    /// The records that are retained, oldest first: the truth that readers are held against.
    #[must_use]
    pub fn records(&self) -> Vec<Record> {
        let state = self.world.state();
        let index = state.position(&self.id);
        index.map_or_else(Vec::new, |index| {
            state.instances[index].log.records().cloned().collect()
        })
    }

    /// Arms a fault against requests for this container and its open log streams.
    pub fn fault(&self, fault: Fault) {
        self.world.arm(Some(self.id.clone()), fault);
    }

    /// Disarms this container's faults; those of the engine stay.
    pub fn clear_faults(&self) {
        self.world.clear_faults(Some(&self.id));
    }

    fn write(&self, stream: Stream, bytes: &[u8]) {
        let mut guard = self.world.state();
        let state = &mut *guard;
        let up = state
            .position(&self.id)
            .filter(|&index| state.instances[index].phase.is_up());
        let index = up.expect("only a running process can write");
        let instance = &mut state.instances[index];
        let stream = if instance.tty { Stream::Stdout } else { stream };
        instance.log.write(stream, bytes, &mut state.clock);
    }

    fn change(&self, step: impl FnOnce(&mut State, usize)) {
        let mut state = self.world.state();
        if let Some(index) = state.position(&self.id) {
            step(&mut state, index);
        }
    }

    fn change_log(&self, step: impl FnOnce(&mut Log)) {
        self.change(|state, index| step(&mut state.instances[index].log));
    }
}
