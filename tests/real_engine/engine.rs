//! Private Docker engines for the tests: each has its own folder, socket, containerd and cgroup, and any number of them
//! may run at once. Never touches a Docker that is already on the machine, and leaves nothing behind, even when the test
//! process is killed: `reap.sh` stands by from before an engine starts, and cleans up when its stdin closes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::daemon::{new_folder, ping, spawn_dockerd, spawn_reaper};
use crate::kind::{DOCKER, Kind, image_tar};

const IMAGE: &str = "bb:latest";

/// How long an engine may take to answer its first ping, or to end after SIGTERM.
pub(crate) const ENGINE_DEADLINE: Duration = Duration::from_secs(60);
/// How long one call of the docker client may take, in seconds.
const CLIENT_DEADLINE: &str = "120";
const POLL: Duration = Duration::from_millis(20);
/// The unit of the times in `/proc/PID/stat`, the same on every Linux.
const TICK: Duration = Duration::from_millis(10);

/// What a test may want of an engine beyond the defaults.
#[derive(Clone, Default)]
pub(crate) struct Options {
    /// Containers outlive their engine's end.
    pub(crate) live_restore: bool,
    /// It sees the one hierarchy of cgroup v2, whatever the machine has.
    pub(crate) cgroup_v2: bool,
    /// Further flags of dockerd. Not `--debug`: its shims leave sockets in `/run/containerd`.
    pub(crate) flags: Vec<String>,
}

/// What a test may want of a container; what is `None` is left to the engine.
#[derive(Clone, Default)]
pub(crate) struct RunOptions {
    /// The log driver: `json-file` or `local`.
    pub(crate) driver: Option<&'static str>,
    /// At which size a log file is rotated, as Docker writes it: `100k`.
    pub(crate) max_size: Option<&'static str>,
    /// How many log files are kept.
    pub(crate) max_file: Option<u32>,
    /// Whether rotated files are gzipped; needs `max_size` and two files.
    pub(crate) compress: Option<bool>,
    /// stdout and stderr are one raw stream.
    pub(crate) tty: bool,
    /// The engine removes the container, and its log, when it exits.
    pub(crate) auto_remove: bool,
    /// The restart policy: `always`, `on-failure:3`.
    pub(crate) restart: Option<&'static str>,
    /// Further flags of `docker run`.
    pub(crate) flags: Vec<String>,
}

impl RunOptions {
    /// `json-file` in so many files of 100 kB.
    pub(crate) fn rotated(files: u32) -> Self {
        Self {
            driver: Some("json-file"),
            max_size: Some("100k"),
            max_file: Some(files),
            ..Self::default()
        }
    }

    fn to_flags(&self) -> Vec<String> {
        let mut flags = self.flags.clone();
        flags.extend(self.driver.map(|driver| format!("--log-driver={driver}")));
        flags.extend(
            self.max_size
                .map(|size| format!("--log-opt=max-size={size}")),
        );
        flags.extend(
            self.max_file
                .map(|count| format!("--log-opt=max-file={count}")),
        );
        flags.extend(self.compress.map(|on| format!("--log-opt=compress={on}")));
        flags.extend(self.restart.map(|policy| format!("--restart={policy}")));
        flags.extend(self.tty.then(|| "--tty".into()));
        flags.extend(self.auto_remove.then(|| "--rm".into()));
        flags
    }
}

/// What can be done to an engine's process.
#[derive(Clone, Copy)]
pub(crate) enum Signal {
    /// The engine is mute: connections stay open, nothing answers.
    Stop,
    /// It goes on where it was stopped.
    Continue,
    /// It is gone at once, and with it what was in its pipes.
    Kill,
    /// It stops its containers, unless told to let them live, and ends.
    Terminate,
}

/// A running engine. Dropping it removes the engine and all its containers.
pub(crate) struct Dockerd {
    kind: Kind,
    options: Options,
    folder: PathBuf,
    daemon: Mutex<Child>,
    /// Cleans up when its stdin, which only this process holds, closes.
    reaper: Child,
}

impl Dockerd {
    /// The engine that all tests of this process may use at once; `None` if the machine has no such engine.
    pub(crate) fn shared(kind: Kind) -> Option<&'static Self> {
        static OLD: OnceLock<Dockerd> = OnceLock::new();
        static NEW: OnceLock<Dockerd> = OnceLock::new();
        let engine = match kind {
            Kind::Old => &OLD,
            Kind::New => &NEW,
        };
        kind.available()
            .then(|| engine.get_or_init(|| Self::start(kind, Options::default())))
    }

    /// An engine of the test's own, which it may stop, kill and restart. The kind must be available.
    pub(crate) fn start(kind: Kind, options: Options) -> Self {
        let folder = new_folder();
        let reaper = spawn_reaper(&folder);
        let daemon = Mutex::new(spawn_dockerd(kind, &options, &folder));
        let engine = Self {
            kind,
            options,
            folder,
            daemon,
            reaper,
        };
        engine.await_ping();
        engine.docker(&["import", &image_tar().to_string_lossy(), IMAGE]);
        engine
    }

    /// Which engine it is.
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// The Unix socket it listens on; it stays the same over restarts.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.join("docker.sock")
    }

    /// Where it keeps its containers, and their log files.
    pub(crate) fn data_root(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// The process of dockerd itself.
    pub(crate) fn pid(&self) -> u32 {
        self.daemon().id()
    }

    /// Runs the docker client, which must succeed.
    pub(crate) fn docker(&self, args: &[&str]) -> Output {
        let output = self.try_docker(args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "docker {args:?} on {:?}: {}: {stderr}",
            self.kind,
            output.status
        );
        output
    }

    /// Runs the docker client, whatever comes of it.
    pub(crate) fn try_docker(&self, args: &[&str]) -> Output {
        Command::new("timeout")
            .args(["--signal=KILL", CLIENT_DEADLINE, DOCKER, "-H"])
            .arg(format!("unix://{}", self.socket().display()))
            .args(args)
            .env("DOCKER_CONFIG", &self.folder)
            .stdin(Stdio::null())
            .output()
            .expect("timeout(1) is part of coreutils")
    }

    /// Starts a container that runs a shell script, and returns its id. A name has at least two characters.
    pub(crate) fn run(&self, name: &str, options: &RunOptions, script: &str) -> String {
        let flags = options.to_flags();
        // The shell of a container ignores SIGTERM, and 10 s is long for a test.
        let mut args = vec!["run", "--detach", "--stop-timeout=1", "--name", name];
        let networked = flags.iter().any(|flag| flag.starts_with("--network="));
        args.extend((!networked).then_some("--network=none"));
        args.extend(flags.iter().map(String::as_str));
        args.extend([IMAGE, "/bin/sh", "-c", script]);
        text(&self.docker(&args))
    }

    /// Runs a shell script inside of a running container, to its end.
    pub(crate) fn exec_wait(&self, name: &str, script: &str) -> Output {
        self.try_docker(&["exec", name, "/bin/sh", "-c", script])
    }

    /// Waits for a container's exit, and returns its status.
    pub(crate) fn wait(&self, name: &str) -> i32 {
        text(&self.docker(&["wait", name]))
            .parse()
            .expect("docker wait prints the status")
    }

    /// Removes a container, running or not.
    pub(crate) fn remove(&self, name: &str) {
        self.docker(&["rm", "--force", name]);
    }

    /// The processor time of dockerd since its start, without that of its containerd.
    pub(crate) fn cpu(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("dockerd runs");
        // The second field, the name, may hold anything up to the last parenthesis.
        let fields = stat
            .rsplit_once(')')
            .map_or("", |(_, rest)| rest)
            .split_whitespace();
        let ticks = fields
            .skip(11)
            .take(2)
            .map(|field| field.parse::<u32>().expect("ticks are a number"));
        TICK * ticks.sum::<u32>()
    }

    /// How many connections clients hold open, of those that dockerd has accepted: while it is stopped, no new one.
    /// dockerd may keep some that their client has closed, which do not count.
    pub(crate) fn connections(&self) -> usize {
        let output = Command::new("ss")
            .args(["-x", "-H"])
            .output()
            .expect("ss(8) is part of iproute2");
        let socket = self.socket();
        let open = |line: &&str| {
            let fields: Vec<_> = line.split_whitespace().collect();
            // Type, state, two queues, local name and inode, remote name and inode (0: closed).
            matches!(fields[..], [_, "ESTAB", _, _, local, _, _, peer, ..] if Path::new(local) == socket && peer != "0")
        };
        String::from_utf8_lossy(&output.stdout)
            .lines()
            .filter(open)
            .count()
    }

    /// Signals dockerd. After `Kill` and `Terminate` it has ended when this returns.
    pub(crate) fn signal(&self, signal: Signal) {
        let mut daemon = self.daemon();
        let (name, ends) = match signal {
            Signal::Stop => ("STOP", false),
            Signal::Continue => ("CONT", false),
            Signal::Kill => ("KILL", true),
            Signal::Terminate => ("TERM", true),
        };
        let status = Command::new("kill")
            .args(["-s", name, &daemon.id().to_string()])
            .status();
        assert!(
            status.is_ok_and(|status| status.success()),
            "dockerd ended by itself:\n{}",
            self.log()
        );
        if ends {
            until("dockerd ends", || {
                daemon.try_wait().is_ok_and(|status| status.is_some())
            });
        }
    }

    /// Starts dockerd again, after `Kill` or `Terminate`, on the same folder and socket.
    pub(crate) fn come_back(&self) {
        self.forget_containerd();
        *self.daemon() = spawn_dockerd(self.kind, &self.options, &self.folder);
        self.await_ping();
    }

    /// Ends dockerd in good order and starts it again.
    pub(crate) fn restart(&self) {
        self.signal(Signal::Terminate);
        self.come_back();
    }

    /// What dockerd itself logged so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.join("dockerd.log")).unwrap_or_default()
    }

    fn daemon(&self) -> MutexGuard<'_, Child> {
        // A failed assertion of one test must not fail the others.
        self.daemon.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A killed dockerd takes its containerd along. Where init is slow to reap, the zombie would pass for a live one.
    fn forget_containerd(&self) {
        let file = self.folder.join("exec/containerd/containerd.pid");
        let Ok(pid) = fs::read_to_string(&file) else {
            return;
        };
        let arguments = format!("/proc/{}/cmdline", pid.trim());
        until("containerd ends with dockerd", || {
            fs::read(&arguments).unwrap_or_default().is_empty()
        });
        fs::remove_file(&file).expect("only dockerd removes it, and is not running");
    }

    fn await_ping(&self) {
        let started = Instant::now();
        while !ping(&self.socket()).unwrap_or(false) {
            let running = self
                .daemon()
                .try_wait()
                .is_ok_and(|status| status.is_none());
            let in_time = started.elapsed() < ENGINE_DEADLINE;
            assert!(
                running && in_time,
                "the {:?} engine did not start:\n{}",
                self.kind,
                self.log()
            );
            thread::sleep(POLL);
        }
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        // Waiting closes the reaper's stdin first.
        self.reaper.wait().ok();
        let mut daemon = self.daemon();
        daemon.kill().ok();
        daemon.wait().ok();
    }
}

/// What a command printed, without the newline at its end.
pub(crate) fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout)
        .trim_end()
        .to_owned()
}

/// Waits until something holds, and fails the test if it does not in time.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(
            started.elapsed() < ENGINE_DEADLINE,
            "waited in vain: {what}"
        );
        thread::sleep(POLL);
    }
}
