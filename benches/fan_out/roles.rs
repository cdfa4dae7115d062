//! The processes beside the clients: each is measured apart, and ends when its standard input closes.

use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::paced::{self, Script};
use crate::{naive, readers};

/// A process of this bench, killed when it is dropped.
pub(crate) struct Role(Child);

impl Role {
    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// This bench again, as something else.
    fn play(args: &[String]) -> Self {
        Self::spawn(
            Command::new(std::env::current_exe().unwrap())
                .arg("role")
                .args(args),
        )
    }

    fn spawn(command: &mut Command) -> Self {
        Self(
            command
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap(),
        )
    }

    /// The first words it prints behind `key`.
    fn told(&mut self, key: &str) -> String {
        let mut lines = BufReader::new(self.0.stdout.take().unwrap()).lines();
        let line = lines.find_map(|line| line.unwrap().strip_prefix(key).map(str::to_owned));
        // The rest must not fill the pipe.
        thread::spawn(move || lines.for_each(drop));
        line.unwrap().trim().to_owned()
    }

    /// All that it prints until its end.
    fn output(mut self) -> String {
        let mut text = String::new();
        self.0
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        text
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        // It may have ended.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A server with its address.
pub(crate) struct Server {
    pub(crate) role: Role,
    pub(crate) address: String,
}

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Pulsetail,
    /// bollard, prost and a broadcast channel: one engine stream for all of a container's subscribers.
    PlainShared,
    /// The same with an engine stream for each subscriber.
    PlainEach,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Pulsetail, Self::PlainShared, Self::PlainEach];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pulsetail => "Pulsetail",
            Self::PlainShared => "plain server; shared stream",
            Self::PlainEach => "plain server; stream each",
        }
    }
}

impl Server {
    pub(crate) fn start(kind: Kind, engine: &Path) -> Self {
        Self::start_with(kind, engine, &[])
    }

    pub(crate) fn start_with(kind: Kind, engine: &Path, flags: &[&str]) -> Self {
        let mut role = match kind {
            Kind::Pulsetail => {
                let engine = format!("--engine=unix://{}", engine.display());
                let own = [
                    "serve",
                    "--listen=127.0.0.1:0",
                    "--admin-listen=127.0.0.1:0",
                    "--log-level=warn",
                ];
                Role::spawn(
                    Command::new(env!("CARGO_BIN_EXE_pulsetail"))
                        .args(own)
                        .arg(engine)
                        .args(flags),
                )
            }
            _ => Role::play(&[
                "plain".to_owned(),
                engine.display().to_string(),
                (kind == Kind::PlainShared).to_string(),
            ]),
        };
        let address = format!("http://{}", role.told("gRPC "));
        Self { role, address }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.role.pid()
    }
}

/// The paced engine in a process of its own.
pub(crate) struct Engine {
    _role: Role,
    folder: TempDir,
}

impl Engine {
    pub(crate) fn start(script: Script) -> Self {
        let folder = TempDir::new().unwrap();
        let socket = folder.path().join("engine.sock");
        let numbers = [
            script.containers as u64,
            script.stored,
            script.lines,
            script.rate,
            script.width as u64,
        ];
        let mut args = vec!["paced".to_owned(), socket.display().to_string()];
        args.extend(numbers.map(|number| number.to_string()));
        let role = Role::play(&args);
        while !socket.with_extension("ready").exists() {
            thread::sleep(Duration::from_millis(5));
        }
        Self {
            _role: role,
            folder,
        }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("engine.sock")
    }

    /// The containers begin to write.
    pub(crate) fn go(&self) {
        paced::control(&self.socket(), "start").unwrap();
    }

    /// Streams opened and requests made so far.
    pub(crate) fn counts(&self) -> (f64, f64) {
        let counts = paced::control(&self.socket(), "counts").unwrap();
        let (follows, requests) = counts.split_once(' ').unwrap();
        (follows.parse().unwrap(), requests.parse().unwrap())
    }
}

/// A reader of one container's log, up to so many lines, in a process of its own. What it prints is told by [`read`].
pub(crate) struct Reading(Role);

impl Reading {
    pub(crate) fn begin(how: &str, engine: &Path, id: &str, lines: u64) -> Self {
        let args = [
            "read",
            how,
            &engine.display().to_string(),
            id,
            &lines.to_string(),
        ];
        Self(Role::play(&args.map(str::to_owned)))
    }

    /// Waits for its end: processor time in ns and switches for each line.
    pub(crate) fn end(self) -> (f64, f64) {
        let output = self.0.output();
        let (cpu, switches) = output.trim().split_once(' ').unwrap();
        (cpu.parse().unwrap(), switches.parse().unwrap())
    }
}

/// What a process of this bench does that was started with these arguments.
pub(crate) fn play(args: &[String]) {
    // The bench has ended, however that came.
    thread::spawn(|| {
        drop(io::copy(&mut io::stdin(), &mut io::sink()));
        std::process::exit(0);
    });
    let number = |place: usize| args[place].parse().unwrap();
    let socket = Path::new(args.get(1).map_or("", String::as_str));
    match args[0].as_str() {
        "paced" => {
            let script = Script {
                containers: usize::try_from(number(2)).unwrap(),
                stored: number(3),
                lines: number(4),
                rate: number(5),
                width: usize::try_from(number(6)).unwrap(),
            };
            paced::serve(socket, script).unwrap();
        }
        "plain" => naive::serve(socket, args[2] == "true"),
        "read" => readers::read(&args[1], Path::new(&args[2]), &args[3], number(4)),
        other => panic!("no role {other}"),
    }
}
