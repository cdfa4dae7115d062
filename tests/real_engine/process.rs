//! Pulsetail as a process of its own, which can be killed and weighed.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

use pulsetail::proto::task_service_client::TaskServiceClient;
use pulsetail::proto::{ListTasksRequest, Task};

use crate::engine::Dockerd;

/// A thread that is held, until this is dropped.
pub(crate) struct Held(Child);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// A running `pulsetail serve`. Dropping it kills it, with SIGKILL.
pub(crate) struct Process {
    child: Child,
    address: String,
    /// Kept open: what it prints must go somewhere.
    _stdout: BufReader<ChildStdout>,
}

impl Process {
    /// Starts it on an engine, with these flags beside the listeners.
    pub(crate) fn start(engine: &Dockerd, flags: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_pulsetail"))
            .args([
                "serve",
                "--listen=127.0.0.1:0",
                "--admin-listen=127.0.0.1:0",
            ])
            .arg(format!("--engine=unix://{}", engine.socket().display()))
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("cargo has built it");
        let mut stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("it greets");
        let address = line.trim_end().strip_prefix("gRPC   ").expect(&line);
        Self {
            child,
            address: format!("http://{address}"),
            _stdout: stdout,
        }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Its tasks, the first 1,000.
    pub(crate) async fn tasks(&self) -> Vec<Task> {
        let mut client = TaskServiceClient::connect(self.address.clone())
            .await
            .unwrap();
        let request = ListTasksRequest {
            page_size: 1_000,
            ..ListTasksRequest::default()
        };
        client.list_tasks(request).await.unwrap().into_inner().tasks
    }

    /// The most memory it ever held, in bytes.
    pub(crate) fn peak(&self) -> u64 {
        self.memory("VmHWM:")
    }

    /// The memory that it holds, in bytes.
    pub(crate) fn resident(&self) -> u64 {
        self.memory("VmRSS:")
    }

    fn memory(&self, which: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix(which));
        let kilobytes = line.expect("Linux").trim().trim_end_matches(" kB");
        kilobytes.parse::<u64>().expect("it is a number") << 10
    }

    /// How many descriptors it has open.
    pub(crate) fn descriptors(&self) -> usize {
        let open = fs::read_dir(format!("/proc/{}/fd", self.child.id()));
        open.expect("it runs").count()
    }

    /// Holds one of its threads, which waits from then on as in a call that never returns.
    pub(crate) fn hold(&self, thread: &str) -> Held {
        let mut child = Command::new("python3")
            .arg(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/tests/real_engine/hold.py"
            ))
            .args([&self.child.id().to_string(), thread])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("there is a python3");
        let mut said = String::new();
        let stdout = child.stdout.take().expect("it is piped");
        BufReader::new(stdout)
            .read_line(&mut said)
            .expect("it says");
        assert_eq!(said, "held\n");
        Held(child)
    }

    /// Its exit status, once it has ended by itself.
    pub(crate) fn exited(&mut self) -> Option<i32> {
        self.child.try_wait().expect("it is ours")?.code()
    }

    /// Sends it a signal, such as `STOP`.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &self.child.id().to_string()])
            .status();
        assert!(sent.expect("there is a kill").success(), "{name}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
