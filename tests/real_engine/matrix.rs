//! Drivers, log rotation, loads and clients, each with each: what retention covers comes whole, what it does not comes
//! with a gap, and nothing comes twice.

use std::fmt::Write as _;
use std::sync::Arc;

use futures_util::future::join_all;
use tokio::task::{block_in_place, spawn_blocking};

use crate::client::{Client, Pace, stored};
use crate::engine::{Dockerd, RunOptions};
use crate::kind::Kind;
use crate::server::Server;
use crate::truth::{History, Key, Verdict, in_file_order};
use crate::writer::{Gates, Script};

const DRIVERS: [(&str, &str, bool); 3] = [
    ("json", "json-file", false),
    ("json-gz", "json-file", true),
    ("local-gz", "local", true),
];

/// How a log file is rotated.
#[derive(Clone, Copy)]
struct Rotation {
    name: &'static str,
    size: &'static str,
    bytes: u64,
    files: u32,
}

const fn rotation(name: &'static str, size: &'static str, bytes: u64, files: u32) -> Rotation {
    Rotation {
        name,
        size,
        bytes,
        files,
    }
}

const NONE: Rotation = rotation("none", "20m", 20 << 20, 2);
const MEGA: Rotation = rotation("1m x 5", "1m", 1 << 20, 5);
const HUNDRED: Rotation = rotation("100k x 3", "100k", 100 << 10, 3);
const TINY: Rotation = rotation("1k x 1", "1k", 1 << 10, 1);

/// How a load stands to what the engine keeps.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Load {
    /// All of it fits: the engine deletes nothing.
    Within,
    /// The engine deletes what is older than a reader could ever need.
    Steady,
    /// Faster than retention lasts.
    Beyond,
}

const fn script(pairs: u32, width: usize) -> Script {
    Script {
        pairs,
        width,
        pace: None,
    }
}

const fn paced(pairs: u32, width: usize, batch: u32, pause: u32) -> Script {
    Script {
        pairs,
        width,
        pace: Some((batch, pause)),
    }
}

/// Every load that a rotation is put under.
const LOADS: [(Rotation, Load, Script); 9] = [
    (NONE, Load::Within, script(6_000, 900)),
    (MEGA, Load::Within, script(9_000, 120)),
    (MEGA, Load::Steady, paced(4_000, 900, 5, 50_000)),
    (MEGA, Load::Beyond, script(10_000, 900)),
    (HUNDRED, Load::Within, script(600, 60)),
    (HUNDRED, Load::Steady, paced(1_000, 200, 1, 40_000)),
    (HUNDRED, Load::Beyond, script(10_000, 60)),
    (TINY, Load::Beyond, paced(500, 30, 1, 40_000)),
    (TINY, Load::Beyond, script(2_000, 30)),
];

/// Retention must outlast the reader by so many seconds where loss is excluded.
const MARGIN: u64 = 10;

struct Row {
    name: String,
    title: String,
    options: RunOptions,
    rotation: Rotation,
    load: Load,
    script: Script,
}

impl Row {
    fn all() -> impl Iterator<Item = Self> {
        let each = |place, driver| {
            let (rotation, load, script) = LOADS[place];
            Self::new(place, driver, rotation, load, script)
        };
        DRIVERS
            .into_iter()
            .flat_map(move |driver| (0..LOADS.len()).map(move |place| each(place, driver)))
    }

    fn new(
        place: usize,
        (driver, plugin, compress): (&str, &'static str, bool),
        mut rotation: Rotation,
        load: Load,
        script: Script,
    ) -> Self {
        // The engine compresses only what has a second file.
        if compress {
            rotation.files = rotation.files.max(2);
        }
        let plain = rotation.name == NONE.name && driver == "json";
        let options = RunOptions {
            driver: Some(plugin),
            max_size: (!plain).then_some(rotation.size),
            max_file: (!plain).then_some(rotation.files),
            // What `local` does by itself is what is tested.
            compress: (compress && driver != "local-gz").then_some(true),
            ..RunOptions::default()
        };
        let row = Self {
            name: format!("matrix-{driver}-{place}"),
            title: format!("{driver}, {}", rotation.name),
            options,
            rotation,
            load,
            script,
        };
        match load {
            Load::Within => assert!(row.margin() > 0, "{}: not within", row.title),
            Load::Steady => assert!(row.margin() >= MARGIN, "{}: no margin", row.title),
            Load::Beyond => assert!(script.stored() > 4 * row.kept(), "{}: covered", row.title),
        }
        row
    }

    /// Bytes that the engine keeps at least, once it has rotated.
    fn kept(&self) -> u64 {
        u64::from(self.rotation.files - 1) * self.rotation.bytes
    }

    /// Bytes that are left of retention, or seconds that a steady writer needs to come round.
    fn margin(&self) -> u64 {
        match (self.load, self.script.rate()) {
            (Load::Within, _) => self.kept().saturating_sub(self.script.stored()),
            (_, Some(rate)) => self.kept() / rate,
            _ => 0,
        }
    }

    fn load(&self) -> String {
        let pairs = self.script.pairs;
        match self.load {
            Load::Within => format!("{pairs} pairs, {} KiB below retention", self.margin() >> 10),
            Load::Steady => format!("{pairs} pairs, kept for {} s", self.margin()),
            Load::Beyond => format!("{pairs} pairs, beyond retention"),
        }
    }

    /// What is wrong with a history, if anything is.
    fn fault(&self, verdict: &Verdict, history: &History, stored: &[Key]) -> Option<String> {
        if !history.ended {
            return Some("the stream did not end with its container".to_owned());
        }
        let right = match self.load {
            Load::Within | Load::Steady => verdict.is_whole(),
            Load::Beyond => verdict.is_honest(),
        };
        if !right {
            let altered = history.foreign.first();
            return Some(format!("{}, altered {altered:?}", verdict.places()));
        }
        (!in_file_order(&history.order(), stored)).then(|| "not the order of the file".to_owned())
    }

    /// A row proves something only where the engine did to the log what the row is about.
    fn void(&self, stored: &[Key]) -> Option<String> {
        let all = 2 * self.script.pairs as usize;
        let whole = stored.len() == all;
        match self.load {
            Load::Within if !whole => Some(format!("the engine kept {} of {all}", stored.len())),
            Load::Steady | Load::Beyond if whole => Some("the engine deleted nothing".to_owned()),
            _ => None,
        }
    }
}

/// One row on one engine, with both clients; the table's lines, and what is wrong.
async fn run(engine: &'static Dockerd, server: &Server, gates: &Arc<Gates>, row: Row) -> Outcome {
    let (name, script) = (row.name.clone(), row.script);
    let options = row.options.clone();
    let running = Arc::clone(gates);
    // Before the gate the log begins: a stream of the old engine that skips the very first record is told by nothing.
    let [first, rest] = script.parted();
    let run = move || running.run_behind(engine, &name, &options, &first, &rest);
    let id = spawn_blocking(run).await.unwrap();
    let open = |pace| Client::open(server, &row.name, script, pace);
    let mut clients = [open(Pace::Fast).await, open(Pace::Slow).await];
    for client in &mut clients {
        assert!(client.read_until(2).await, "{}: void", row.title);
    }
    let (name, opened) = (row.name.clone(), Arc::clone(gates));
    spawn_blocking(move || opened.open(&name)).await.unwrap();
    let histories = join_all(clients.map(Client::finish)).await;
    let stored = stored(engine, &id).await;
    let mut outcome = Outcome::default();
    for (pace, history) in [Pace::Fast, Pace::Slow].iter().zip(&histories) {
        let verdict = history.judge(script.pairs);
        let what = format!(
            "{:?} | {} | {} | {pace:?}",
            engine.kind(),
            row.title,
            row.load()
        );
        writeln!(
            outcome.table,
            "| {what} | {verdict}; {:?}, fell behind {} |",
            history.causes, history.fell_behind
        )
        .unwrap();
        let void = row.void(&stored).map(|why| format!("void: {why}"));
        let fault = void.or_else(|| row.fault(&verdict, history, &stored));
        outcome
            .faults
            .extend(fault.map(|fault| format!("{what}: {verdict}: {fault}")));
        outcome.left_behind += history.fell_behind;
    }
    print!("{}", outcome.table);
    let name = row.name;
    spawn_blocking(move || engine.remove(&name)).await.unwrap();
    outcome
}

#[derive(Default)]
struct Outcome {
    table: String,
    faults: Vec<String>,
    left_behind: usize,
}

async fn on(engine: &'static Dockerd) -> Vec<Outcome> {
    let server = Server::start(engine, &["--rotation=300ms"]).await;
    let gates = Arc::new(block_in_place(Gates::new));
    let rows = Row::all().map(|row| run(engine, &server, &gates, row));
    let outcomes = join_all(rows).await;
    server.stop().await;
    let left_behind: usize = outcomes.iter().map(|outcome| outcome.left_behind).sum();
    assert!(left_behind > 0, "void: no ring left its client behind");
    outcomes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_retention_covers_comes_whole_and_the_rest_comes_with_a_gap() {
    let engines = Kind::present().filter_map(Dockerd::shared);
    let outcomes: Vec<_> = join_all(engines.map(on))
        .await
        .into_iter()
        .flatten()
        .collect();
    let table: String = outcomes
        .iter()
        .map(|outcome| outcome.table.as_str())
        .collect();
    println!("{table}");
    let faults: Vec<_> = outcomes
        .iter()
        .flat_map(|outcome| &outcome.faults)
        .collect();
    assert!(faults.is_empty(), "{} rows: {faults:#?}", faults.len());
}
