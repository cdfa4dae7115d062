//! What a line costs inside of the process, in ns of processor time: a response of 2,000,000 lines through the real source
//! layer and the real reader, the encoding, the ring, and the kernel's own share beside them.

#![allow(
    clippy::disallowed_methods,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "it measures, prints and panics"
)]

#[path = "../shared/blocking.rs"]
mod blocking;
mod encoding;
mod hub;
#[allow(dead_code, reason = "shared with the other bench")]
#[path = "../shared/paced.rs"]
mod paced;
#[path = "../shared/plain.rs"]
mod plain;
#[allow(dead_code, reason = "shared with the other bench")]
#[path = "../shared/process.rs"]
mod process;
#[path = "../shared/results.rs"]
mod results;
mod source;

use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use paced::Script;
use process::Usage;
use results::Results;
use tempfile::TempDir;

/// Lines of a replay.
const LINES: u64 = 2_000_000;
/// Those that a log has before.
const STORED: u64 = 64;
/// Bytes of a line's text.
const WIDTH: usize = 64;
const REPEATS: usize = 3;

/// An engine whose one container writes all of it at once, when it is told to.
struct Replay {
    folder: TempDir,
}

impl Replay {
    fn new() -> Self {
        let replay = Self {
            folder: TempDir::new().unwrap(),
        };
        let script = Script {
            containers: 1,
            stored: STORED,
            lines: STORED + LINES,
            rate: 0,
            width: WIDTH,
        };
        let socket = replay.socket();
        // It lives as long as the bench.
        thread::spawn(move || paced::serve(&socket, script).unwrap());
        while !replay.socket().with_extension("ready").exists() {
            thread::sleep(Duration::from_millis(10));
        }
        replay
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("engine.sock")
    }

    fn start(&self) {
        paced::control(&self.socket(), "start").unwrap();
    }
}

/// What this thread spends on something, in ns for each of so many.
fn cost(what: impl FnOnce(), of: u64) -> (f64, f64) {
    let before = Usage::of_this_thread();
    what();
    each(Usage::of_this_thread() - before, of)
}

/// All and the part that is not the kernel's, in ns for each of so many.
fn each(used: Usage, of: u64) -> (f64, f64) {
    (used.cpu / of as f64, used.user / of as f64)
}

fn main() {
    // `cargo test --benches` runs it too, and wants no figures.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let mut results = Results::of("micro");
    let wanted: Vec<_> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with("--"))
        .collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
    for _ in 0..REPEATS {
        if is_wanted("source") {
            source::measure(&mut results);
        }
        if is_wanted("encoding") {
            encoding::measure(&mut results);
        }
        if is_wanted("hub") {
            hub::measure(&mut results);
        }
    }
}
