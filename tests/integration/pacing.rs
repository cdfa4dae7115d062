//! Wake-ups are the cost of an engine that writes once per line and of many containers that write little: while they are
//! busy, lines gather.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use pulsetail::proto::StreamLogsRequest;
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
/// Containers that each write a line in so many rounds, and then pause for longer than lines wait for others.
const MANY: usize = 200;
const ROUNDS: usize = 20;
/// What the engine's thread may wait for in a burst: its first line, and what is behind the last.
const EDGES: usize = 4;
/// So long lines gather. Where none has come by then, a wait for the next follows.
const GATHER: Duration = Duration::from_millis(2);

/// The thread that talks to the engine, and those that serve clients.
const ENGINE: &str = "engine";
const WORKER: &str = "tokio-rt-worker";

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

    /// How often its threads of this name have waited so far.
    fn wake_ups(&self, name: &str) -> usize {
        let threads = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let threads = threads.map(|thread| thread.unwrap().path());
        let is_named = |thread: &PathBuf| {
            let comm = fs::read_to_string(thread.join("comm"));
            comm.is_ok_and(|comm| comm.trim_end() == name)
        };
        let waits = |thread: PathBuf| {
            let status = fs::read_to_string(thread.join("status")).unwrap();
            let count = |line: &str| {
                let count = line.strip_prefix("voluntary_ctxt_switches:")?.trim();
                count.parse::<usize>().ok()
            };
            status.lines().find_map(count).expect("Linux counts them")
        };
        let waits: Vec<_> = threads.filter(is_named).map(waits).collect();
        assert!(!waits.is_empty(), "no thread {name}");
        waits.into_iter().sum()
    }

    /// A subscriber that has caught up with all it asked for.
    async fn open(&self, request: StreamLogsRequest) -> Subscriber {
        let mut client = LogServiceClient::connect(self.address.clone())
            .await
            .unwrap();
        let mut opened = None;
        while opened.is_none() {
            opened = within(client.stream_logs(request.clone())).await.ok();
        }
        let opened = opened.unwrap().into_inner();
        let mut heard = Subscriber::opened(opened).await.unwrap();
        heard.caught_up().await;
        heard
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Lets the engine write a line before the next one is there.
async fn write(web: &Container, line: String) {
    web.stdout(line);
    let written = Instant::now();
    while written.elapsed() < APART {
        yield_now().await;
    }
}

#[tokio::test]
async fn lines_that_come_one_by_one_wake_the_engines_thread_by_the_handful() {
    let folder = TempDir::new().unwrap();
    let sim = engine();
    sim.listen_unix(folder.path().join("engine.sock")).unwrap();
    let web = sim.container("web").run();
    let process = Process::start(&folder);
    let mut heard = process.open(followed("web")).await;
    until(|| sim.stats().log_streams == 1).await;
    let (before, mut took) = (process.wake_ups(ENGINE), Duration::ZERO);
    for n in 0..BURSTS {
        let began = Instant::now();
        for line in 0..BURST {
            write(&web, format!("{n} {line}\n")).await;
        }
        took += began.elapsed();
        heard.entries((n + 1) * BURST).await;
        // The next one comes behind a quiet moment.
        sleep(Duration::from_millis(5)).await;
    }
    let woken = process.wake_ups(ENGINE) - before;
    let gathered = usize::try_from(took.as_micros() / GATHER.as_micros()).unwrap();
    let most = BURSTS * EDGES + 2 * gathered;
    assert!(woken >= BURSTS, "void: {woken} wake-ups");
    assert!(woken <= most, "{woken} wake-ups in {took:?}");
}

#[tokio::test]
async fn containers_that_write_little_wake_their_common_stream_by_the_handful() {
    let folder = TempDir::new().unwrap();
    let sim = engine();
    sim.listen_unix(folder.path().join("engine.sock")).unwrap();
    let name = |n| format!("box{n}");
    let boxes: Vec<_> = (0..MANY).map(|n| sim.container(name(n)).run()).collect();
    let process = Process::start(&folder);
    let mut request = followed("box0");
    let selector = request.selector.as_mut().expect("it names one");
    selector.names = (0..MANY).map(name).collect();
    let mut heard = process.open(request).await;
    until(|| sim.stats().log_streams == MANY).await;
    let (before, began) = (process.wake_ups(WORKER), Instant::now());
    for n in 0..ROUNDS {
        for web in &boxes {
            write(web, format!("{n}\n")).await;
        }
    }
    let took = began.elapsed();
    heard.entries(ROUNDS * MANY).await;
    let woken = process.wake_ups(WORKER) - before;
    let gathered = usize::try_from(took.as_micros() / GATHER.as_micros()).unwrap();
    // Each time the stream's task and its connection's may wake, on two threads.
    let most = 4 * gathered;
    assert!(woken >= ROUNDS, "void: {woken} wake-ups");
    assert!(woken <= most, "{woken} wake-ups in {took:?}");
}
