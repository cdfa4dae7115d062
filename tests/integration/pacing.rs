//! Wake-ups are the cost of reading an engine that writes once per line: while it is busy, lines gather.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use pulsetail::proto::log_service_client::LogServiceClient;
use pulsetail_sim::Container;
use tempfile::TempDir;
use tokio::task::yield_now;
use tokio::time::sleep;

use crate::harness::{engine, followed, until, within};
use crate::subscriber::Subscriber;

/// Lines that come close together, in as many writes.
const BURST: usize = 64;
const BURSTS: usize = 40;
/// Between two lines: alone each of them would wake whoever waits for it.
const APART: Duration = Duration::from_micros(150);
/// What the engine's thread may wait for in a burst: its first line, and what is behind the last.
const EDGES: usize = 4;
/// So long lines gather. Where none has come by then, a wait for the next follows.
const GATHER: Duration = Duration::from_millis(2);

/// A `pulsetail serve` of its own: only there the engine has a thread.
struct Process {
    child: Child,
    address: String,
    /// Kept open: what it prints must go somewhere.
    _stdout: BufReader<ChildStdout>,
}

impl Process {
    fn start(folder: &TempDir) -> Self {
        let engine = folder.path().join("engine.sock");
        let mut child = Command::new(env!("CARGO_BIN_EXE_pulsetail"))
            .args(["serve", "--listen=127.0.0.1:0", "--rotation=10m"])
            .arg("--admin-listen=127.0.0.1:0")
            .arg(format!("--engine=unix://{}", engine.display()))
            .env_clear()
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let address = line.trim_end().strip_prefix("gRPC   ").expect(&line);
        Self {
            address: format!("http://{address}"),
            child,
            _stdout: stdout,
        }
    }

    /// How often its engine's thread has waited so far.
    fn wake_ups(&self) -> usize {
        let threads = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let mut threads = threads.map(|thread| thread.unwrap().path());
        let is_engines = |thread: &std::path::PathBuf| {
            let name = fs::read_to_string(thread.join("comm"));
            name.is_ok_and(|name| name.trim_end() == "engine")
        };
        let thread = threads.find(is_engines).expect("it has one");
        let status = fs::read_to_string(thread.join("status")).unwrap();
        let waits = |line: &str| {
            line.strip_prefix("voluntary_ctxt_switches:")?
                .trim()
                .parse()
                .ok()
        };
        status.lines().find_map(waits).expect("Linux counts them")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Lets the engine write each line before the next one is there.
async fn burst(web: &Container, n: usize) {
    for line in 0..BURST {
        web.stdout(format!("{n} {line}\n"));
        let written = Instant::now();
        while written.elapsed() < APART {
            yield_now().await;
        }
    }
}

#[tokio::test]
async fn lines_that_come_one_by_one_wake_the_engines_thread_by_the_handful() {
    let folder = TempDir::new().unwrap();
    let sim = engine();
    sim.listen_unix(folder.path().join("engine.sock")).unwrap();
    let web = sim.container("web").run();
    let process = Process::start(&folder);
    let mut client = LogServiceClient::connect(process.address.clone())
        .await
        .unwrap();
    let mut opened = None;
    while opened.is_none() {
        opened = within(client.stream_logs(followed("web"))).await.ok();
    }
    let mut heard = Subscriber::opened(opened.unwrap().into_inner())
        .await
        .unwrap();
    heard.caught_up().await;
    until(|| sim.stats().log_streams == 1).await;
    let (before, mut took) = (process.wake_ups(), Duration::ZERO);
    for n in 0..BURSTS {
        let began = Instant::now();
        burst(&web, n).await;
        took += began.elapsed();
        heard.entries((n + 1) * BURST).await;
        // The next one comes behind a quiet moment.
        sleep(Duration::from_millis(5)).await;
    }
    let woken = process.wake_ups() - before;
    let gathered = usize::try_from(took.as_micros() / GATHER.as_micros()).unwrap();
    let most = BURSTS * EDGES + 2 * gathered;
    assert!(woken >= BURSTS, "void: {woken} wake-ups");
    assert!(woken <= most, "{woken} wake-ups in {took:?}");
}
