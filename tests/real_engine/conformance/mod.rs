//! The simulated engine is held against the real ones: the same containers on both, the same questions, the same answers.
//!
//! What differs by nature is compared by its kind: stamps by their rank among the log's own, ids and times by their form, the
//! messages of errors by being there. Each kind of engine is compared with the release that plays it.

mod describing;
mod events;
mod following;
mod http;
mod logs;
mod queries;
mod reading;
mod shape;

use std::fmt::Debug;
use std::fs::{self, File};
use std::io;
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::thread;

use pulsetail_sim::{Engine, Sim, Timestamp};

use crate::engine::{Dockerd, Options};
use crate::kind::Kind;
use http::{Address, Answer};
use logs::Script;

/// How many docker clients prepare an engine at once.
const CLIENTS: usize = 3;
/// How many differences a failure shows.
const SHOWN: usize = 12;

/// A real engine and its simulation, with the same containers.
struct Pair {
    real: Dockerd,
    sim: Sim,
}

impl Pair {
    /// Those that the machine has an engine for, the same for all tests of this module.
    fn all() -> &'static [Self] {
        static PAIRS: OnceLock<Vec<Pair>> = OnceLock::new();
        // Here, not in the closure: each test says what is missing.
        let kinds: Vec<_> = Kind::present().collect();
        PAIRS.get_or_init(|| {
            thread::scope(|scope| {
                let making: Vec<_> = kinds
                    .iter()
                    .map(|kind| scope.spawn(|| Self::new(*kind)))
                    .collect();
                let made = making.into_iter().map(thread::ScopedJoinHandle::join);
                made.map(|pair| pair.unwrap_or_else(|cause| resume_unwind(cause)))
                    .collect()
            })
        })
    }

    fn new(kind: Kind) -> Self {
        // Not the one that other tests share: lists are compared as a whole.
        let real = Dockerd::start(kind, Options::default());
        let sim = Sim::starting_at(simulated(kind), Timestamp::now());
        let scripts = Script::all();
        let gate = Gate::new(&real);
        create_all(&real, &scripts, &gate.flag());
        for run in 1.. {
            let runs = scripts.iter().filter(|script| script.runs() >= run);
            let names: Vec<_> = runs.map(|script| script.name.as_str()).collect();
            if names.is_empty() {
                break;
            }
            gate.run(&real, &names);
        }
        for script in &scripts {
            script.play(&sim);
        }
        Self { real, sim }
    }

    /// Asks both for the same.
    async fn ask(&self, target: &str) -> io::Result<[Answer; 2]> {
        let [real, simulated] = self.addresses();
        Ok([real.get(target).await?, simulated.get(target).await?])
    }

    /// Says what both answered, unless it was the same.
    fn difference<T: Debug + PartialEq>(
        &self,
        question: &str,
        real: &T,
        simulated: &T,
    ) -> Option<String> {
        let kind = self.real.kind();
        let said =
            || format!("{kind:?} {question}\n  real      {real:?}\n  simulated {simulated:?}");
        (real != simulated).then(said)
    }

    /// The real engine and the simulated one.
    fn addresses(&self) -> [Address; 2] {
        [
            Address::Socket(self.real.socket()),
            Address::Simulated(self.sim.clone()),
        ]
    }
}

/// Holds containers back until all are up: while others start, one output may be stored much later than the other.
struct Gate(PathBuf);

impl Gate {
    /// A pipe in the engine's own folder, which goes with the engine.
    fn new(engine: &Dockerd) -> Self {
        let folder = engine.data_root().join("gate");
        fs::create_dir(&folder).expect("the engine's folder is writable");
        let made = Command::new("mkfifo").arg(folder.join("pipe")).status();
        assert!(made.is_ok_and(|status| status.success()), "mkfifo failed");
        Self(folder)
    }

    /// For `docker create`.
    fn flag(&self) -> String {
        format!("--volume={}:/gate:ro", self.0.display())
    }

    /// Starts those containers, lets them through together and waits for their end.
    fn run(&self, engine: &Dockerd, names: &[&str]) {
        thread::scope(|scope| {
            for part in names.chunks(names.len().div_ceil(CLIENTS)) {
                scope.spawn(move || engine.docker(&[&["start"], part].concat()));
            }
        });
        // Opening it to write lets every reader go on; opened for both, it does not wait for one.
        let open = File::options()
            .read(true)
            .write(true)
            .open(self.0.join("pipe"));
        engine.docker(&[&["wait"], names].concat());
        drop(open.expect("the pipe was made before"));
    }
}

/// What a failed test says.
fn differences(found: &[String]) -> String {
    let shown = found[..found.len().min(SHOWN)].join("\n");
    format!("{} differences:\n{shown}", found.len())
}

fn simulated(kind: Kind) -> Engine {
    match kind {
        Kind::Old => Engine::docker_20_10(),
        // The release that is played is a little older than the one that was built, and differs in nothing else.
        Kind::New => Engine::current().api(40, 56),
    }
}

fn create_all(engine: &Dockerd, scripts: &[Script], flag: &str) {
    let create = |script: &Script| create(engine, script, &[flag], &script.shell());
    thread::scope(|scope| {
        for part in scripts.chunks(scripts.len().div_ceil(CLIENTS)) {
            scope.spawn(move || part.iter().for_each(create));
        }
    });
}

fn create(engine: &Dockerd, script: &Script, further: &[&str], shell: &str) {
    let flags = script.flags();
    let mut args = vec!["create", "--network=none", "--name", &script.name];
    args.extend(flags.iter().map(String::as_str));
    args.extend(further);
    args.extend([logs::IMAGE, "/bin/sh", "-c", shell]);
    engine.docker(&args);
}
