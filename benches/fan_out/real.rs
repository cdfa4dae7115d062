//! A real engine, and everything that can follow its logs.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::task::block_in_place;
use tokio::time::sleep;

use crate::blocking::time;
use crate::crowd::{Crowd, Tally, followed, now};
use crate::engine::{Dockerd, Options, RunOptions, until};
use crate::kind::{DOCKER, Kind as EngineKind};
use crate::process::{Usage, resident};
use crate::results::Results;
use crate::roles::{Kind, Reading, Server};

/// Lines a second of the fan-out's container, and bytes of a line.
const RATE: u32 = 1_000;
const WIDTH: usize = 64;
const WATCHED: Duration = Duration::from_secs(5);
const SETTLE: Duration = Duration::from_millis(1_500);
/// Lines that are written while they are read, and how many of them are: where files rotate, lines are skipped.
const LIVE: u64 = 2 * READ;
const READ: u64 = 1_000_000;
/// Busy machines take their time.
const PATIENCE: Duration = Duration::from_secs(200);
const DAY: i64 = 86_400_000_000_000;

/// The newest engine that the machine has.
fn dockerd() -> Dockerd {
    let kind = EngineKind::present()
        .last()
        .expect("an engine; see tests/setup.sh");
    Dockerd::start(kind, Options::default())
}

/// A container that prints what is written into a pipe of ours, line by line.
struct Writer {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    fn start(engine: &Dockerd, name: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(
            Command::new("mkfifo")
                .arg(&pipe)
                .status()
                .unwrap()
                .success()
        );
        let options = RunOptions {
            driver: Some("json-file"),
            flags: vec![format!("--volume={}:/pipe", pipe.display())],
            ..RunOptions::default()
        };
        engine.run(name, &options, "exec cat /pipe");
        let over = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&over);
        let thread = thread::spawn(move || {
            let mut file = File::options().write(true).open(&pipe).unwrap();
            let (started, mut line) = (Instant::now(), 0);
            while !stop.load(Ordering::Relaxed) {
                writeln!(file, "{line:010} {:x<width$}", "", width = WIDTH - 11).unwrap();
                line += 1;
                let due = Duration::from_secs(1) * line / RATE;
                thread::sleep(due.saturating_sub(started.elapsed()));
            }
            drop(folder);
        });
        Self {
            over,
            thread: Some(thread),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        drop(self.thread.take().map(JoinHandle::join));
    }
}

/// `docker logs --follow`, a process for each subscriber.
struct Commands {
    children: Vec<Child>,
    tally: Arc<Tally>,
}

impl Commands {
    fn start(engine: &Path, name: &str, count: usize) -> Self {
        let tally = Arc::new(Tally::default());
        let children = (0..count).map(|_| {
            let mut command = Command::new(DOCKER);
            command
                .arg("-H")
                .arg(format!("unix://{}", engine.display()));
            command.args(["logs", "--follow", "--tail=0", "--timestamps", name]);
            let mut child = command
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let (lines, tally) = (
                BufReader::new(child.stdout.take().unwrap()),
                Arc::clone(&tally),
            );
            thread::spawn(move || count_lines(lines, &tally));
            child
        });
        Self {
            children: children.collect(),
            tally,
        }
    }

    fn usage(&self) -> Usage {
        let each = self.children.iter().map(|child| Usage::of(child.id()));
        each.reduce(|a, b| a + b).unwrap_or_default()
    }
}

impl Drop for Commands {
    fn drop(&mut self) {
        for child in &mut self.children {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

fn count_lines(mut lines: impl BufRead, tally: &Tally) {
    let mut line = Vec::new();
    while lines
        .read_until(b'\n', &mut line)
        .is_ok_and(|read| read > 31)
    {
        tally.lines.fetch_add(1, Ordering::Relaxed);
        let at = i64::try_from(time(&line[..31])).unwrap();
        tally.delay((now() - at).rem_euclid(DAY));
        line.clear();
    }
}

/// 1, 10 and 100 subscribers of one container, by everything that can serve them.
pub(crate) async fn fan(results: &mut Results) {
    let engine = block_in_place(dockerd);
    for (many, case) in [
        (1, "real engine; 1 subscriber at 1000 lines/s"),
        (10, "real engine; 10 subscribers at 1000 lines/s"),
        (100, "real engine; 100 subscribers at 1000 lines/s"),
    ] {
        for kind in Kind::ALL {
            let writer = block_in_place(|| Writer::start(&engine, "box"));
            let server = Server::start(kind, &engine.socket());
            let crowd = Crowd::open(&server.address, many, 1, &followed(&["box".to_owned()])).await;
            let usage = || Usage::of(server.pid());
            watch(
                results,
                (case, kind.name(), many),
                &engine,
                &crowd.tally,
                usage,
            )
            .await;
            drop((crowd, server, writer));
            block_in_place(|| engine.remove("box"));
        }
        let writer = block_in_place(|| Writer::start(&engine, "box"));
        let commands = Commands::start(&engine.socket(), "box", many);
        let started = || commands.tally.lines() > 0.0;
        block_in_place(|| until("the first lines come", started));
        watch(
            results,
            (case, "docker logs -f", many),
            &engine,
            &commands.tally,
            || commands.usage(),
        )
        .await;
        drop((commands, writer));
        block_in_place(|| engine.remove("box"));
    }
}

async fn watch(
    results: &mut Results,
    (case, subject, many): (&str, &str, usize),
    engine: &Dockerd,
    tally: &Tally,
    usage: impl Fn() -> Usage,
) {
    sleep(SETTLE).await;
    tally.restart();
    let (before, of_engine, lines) = (usage(), Usage::of(engine.pid()), tally.lines());
    let started = Instant::now();
    sleep(WATCHED).await;
    // A busy machine wakes nobody in time.
    let seconds = started.elapsed().as_secs_f64();
    let (used, of_engine, lines) = (
        usage() - before,
        Usage::of(engine.pid()) - of_engine,
        tally.lines() - lines,
    );
    let written = f64::from(RATE) * seconds;
    let mut put = |metric: &str, value: f64| results.put(case, subject, metric, value);
    put("% of a core", used.cpu / seconds / 1e7);
    put("dockerd % of a core", of_engine.cpu / seconds / 1e7);
    put("% delivered", 100.0 * lines / (written * many as f64));
    put("delay p50 ms", tally.quantile(0.5));
    put("delay p99 ms", tally.quantile(0.99));
    put("switches/1000 lines", used.switches / written * 1e3);
    put("connections to dockerd", engine.connections() as f64);
}

/// What reading costs while the container writes as fast as it can.
pub(crate) async fn live(results: &mut Results) {
    let engine = block_in_place(dockerd);
    // Plain bollard stands still where files rotate: its follow never comes to the last line.
    let cases = [
        (
            "1M lines live; no max-size",
            None,
            &["Pulsetail", "blocking", "bollard"][..],
        ),
        (
            "1M lines live; max-size=10m",
            Some("10m"),
            &["Pulsetail", "blocking"],
        ),
    ];
    for (case, max_size, subjects) in cases {
        for &subject in subjects {
            let options = RunOptions {
                driver: Some("json-file"),
                max_size,
                // All is kept: who comes late must not wait for what is gone.
                max_file: max_size.map(|_| 100),
                ..RunOptions::default()
            };
            let pad = "x".repeat(WIDTH - 11);
            let write = format!(
                "awk 'BEGIN {{ for (i = 0; i < {LIVE}; i++) printf \"%010d {pad}\\n\", i }}'"
            );
            // It waits to be told, and does not end before it was read.
            let script = format!("while [ ! -e /go ]; do usleep 10000; done; {write}; sleep 1000");
            let id = block_in_place(|| engine.run("box", &options, &script));
            let dockerd = Usage::of(engine.pid());
            let (reading, whole, switches) = match subject {
                "Pulsetail" => ours(&engine).await,
                how => {
                    let reading = Reading::begin(how, &engine.socket(), &id, READ);
                    sleep(SETTLE).await;
                    block_in_place(|| {
                        engine.exec_wait("box", "touch /go");
                        let (cpu, switches) = reading.end();
                        (cpu, cpu, switches)
                    })
                }
            };
            let dockerd = Usage::of(engine.pid()) - dockerd;
            results.put(case, subject, "CPU ns/line for reading", reading);
            results.put(case, subject, "CPU ns/line", whole);
            results.put(case, subject, "switches/1000 lines", switches * 1e3);
            results.put(case, subject, "dockerd CPU s", dockerd.cpu / 1e9);
            block_in_place(|| engine.remove("box"));
        }
    }
}

/// The engine's thread, the whole process, and its switches, for each line.
async fn ours(engine: &Dockerd) -> (f64, f64, f64) {
    let server = Server::start(Kind::Pulsetail, &engine.socket());
    let crowd = Crowd::open(&server.address, 1, 1, &followed(&["box".to_owned()])).await;
    let usage = || {
        (
            Usage::of_named(server.pid(), "engine"),
            Usage::of(server.pid()),
        )
    };
    let before = usage();
    block_in_place(|| engine.exec_wait("box", "touch /go"));
    assert!(crowd.until(READ as f64, PATIENCE).await, "lines go on");
    let (after, lines) = (usage(), crowd.tally.lines());
    let (reading, whole) = (after.0 - before.0, after.1 - before.1);
    (
        reading.cpu / lines,
        whole.cpu / lines,
        whole.switches / lines,
    )
}

/// 100 containers that run and write nothing.
pub(crate) async fn idle(results: &mut Results) {
    const MANY: usize = 100;
    let watched = Duration::from_secs(15);
    let engine = block_in_place(dockerd);
    block_in_place(|| {
        (0..MANY).for_each(|place| {
            engine.run(
                &format!("box{place}"),
                &RunOptions::default(),
                "exec sleep 1000",
            );
        });
    });
    let case = "100 idle containers (real engine)";
    let seconds = watched.as_secs_f64();
    let before = Usage::of(engine.pid());
    sleep(watched).await;
    let alone = (Usage::of(engine.pid()) - before).cpu / seconds / 1e7;
    let server = Server::start(Kind::Pulsetail, &engine.socket());
    sleep(SETTLE * 2).await;
    let before = (Usage::of(server.pid()), Usage::of(engine.pid()));
    sleep(watched).await;
    let of_server = (Usage::of(server.pid()) - before.0).cpu / seconds / 1e7;
    let of_engine = (Usage::of(engine.pid()) - before.1).cpu / seconds / 1e7;
    results.put(case, "Pulsetail", "% of a core", of_server);
    results.put(
        case,
        "Pulsetail",
        "MiB",
        resident(server.pid()) / 1024.0 / 1024.0,
    );
    results.put(case, "dockerd alone", "% of a core", alone);
    results.put(case, "dockerd", "% of a core", of_engine);
}
