//! What containers write: told once, as a shell script to a real engine's container and as calls to a simulated one.

use std::iter;

use pulsetail_sim::{Container, Driver, Sim};

/// Long enough that what is written before it is stored before what is written after it, on either output.
const PAUSE: &str = "usleep 120000";
pub(crate) const IMAGE: &str = "bb:latest";
pub(crate) const DRIVERS: [&str; 2] = ["json-file", "local"];

/// One write of a process, with a pause after it.
#[derive(Clone, Copy)]
pub(crate) enum Write {
    Out(&'static [u8]),
    Err(&'static [u8]),
    /// So many bytes `x` to stdout.
    Fill(usize),
    /// So many lines of 200 bytes to stdout.
    Lines(usize),
}

use Write::{Err, Fill, Lines, Out};

/// A container and what it writes in each of its runs; with none it is only created.
#[derive(Clone)]
pub(crate) struct Script {
    pub(crate) name: String,
    driver: &'static str,
    /// Bytes and files. The engine's words are kept, as numbers: `1000`, not `1k`.
    rotation: Option<(&'static str, u32)>,
    tty: bool,
    runs: Vec<&'static [Write]>,
}

/// The contents that every driver that can be read has to agree on.
const CONTENTS: [(&str, &[&[Write]]); 11] = [
    ("created", &[]),
    ("silent", &[&[]]),
    (
        "both",
        &[&[
            Out(b"one\n"),
            Err(b"two\n"),
            Out(b"three\nfour\n"),
            Err(b"five\n"),
            Out(b"six\n"),
        ]],
    ),
    (
        "empty-lines",
        &[&[Out(b"\n\nfull\n\n"), Err(b"\n"), Out(b"\n")]],
    ),
    (
        "long",
        &[&[
            Out(b"before\n"),
            Fill(40 * 1024),
            Out(b"\n"),
            Err(b"after\n"),
        ]],
    ),
    (
        "exact",
        &[&[
            Fill(16_384),
            Out(b"\nnext\n"),
            Fill(16_383),
            Out(b"\n"),
            Fill(32_768),
            Out(b"\n"),
        ]],
    ),
    // Only one output may end without a newline: the engine reads both ends at once, in no order.
    (
        "two-runs",
        &[
            &[Out(b"first\nopen")],
            &[Err(b"second\n"), Out(b"third\n"), Err(b"last")],
        ],
    ),
    (
        "long-two-runs",
        &[&[Fill(20_000)], &[Out(b"rest\n"), Fill(16_384)]],
    ),
    (
        "split",
        &[&[Out(b"begin "), Err(b"between\nagain\n"), Out(b"rest\n")]],
    ),
    // The parts of the long line have one stamp, older than those of the lines that are stored between them.
    (
        "late",
        &[&[
            Err(b"early\n"),
            Fill(20_480),
            Err(b"between\n"),
            Err(b"again\n"),
            Out(b"rest\nnext\n"),
            Err(b"end\n"),
        ]],
    ),
    (
        "bytes",
        &[&[
            Out(b"a\xff\xe2\x82b\xf0\x9f\n"),
            Out(b"nul \0 cr \r cr-lf \r\n\x01\x02 \xe2\x80\xa8 \x1b[0m\"\\\n"),
            Err(b"\xc3\xa4 <&>\n\xed\xa0\x80\n"),
        ]],
    ),
];

/// What is written to a terminal, which has one output.
const TERMINAL: [(&str, &[&[Write]]); 3] = [
    (
        "tty",
        &[&[Out(b"one\n"), Err(b"two\n"), Out(b"\n\x01 three\nopen")]],
    ),
    (
        "tty-long",
        &[&[Out(b"before\n"), Fill(20_000), Out(b"\nafter\n")]],
    ),
    ("tty-two-runs", &[&[Out(b"open")], &[Out(b"second\n")]]),
];

impl Script {
    /// Every log of the table.
    pub(crate) fn all() -> Vec<Self> {
        let mut scripts = Vec::new();
        for driver in DRIVERS {
            let script = |(name, runs): &(&str, &[&'static [Write]]), tty| Self {
                name: format!("{driver}-{name}"),
                driver,
                rotation: None,
                tty,
                runs: runs.to_vec(),
            };
            scripts.extend(CONTENTS.iter().map(|content| script(content, false)));
            scripts.extend(TERMINAL.iter().map(|content| script(content, true)));
            for (max_file, lines) in [(1, 22), (2, 22), (3, 22), (3, 7)] {
                scripts.push(Self {
                    name: format!("{driver}-rotated-{max_file}-{lines}"),
                    driver,
                    // About four and a half records of json-file, and five and a quarter of local: their sizes on disk
                    // vary by a few bytes.
                    rotation: Some(("1200", max_file)),
                    tty: false,
                    runs: vec![if lines == 7 {
                        &[Lines(7)]
                    } else {
                        &[Lines(22)]
                    }],
                });
            }
        }
        scripts.push(Self {
            name: "none".to_owned(),
            driver: "none",
            rotation: None,
            tty: false,
            runs: vec![&[Out(b"unseen\n")]],
        });
        scripts
    }

    /// Of a container that is still running when it is read: it writes some, waits for `/go`, and writes the rest.
    pub(crate) fn live(driver: &'static str, tty: bool) -> Self {
        let kind = if tty { "terminal" } else { "live" };
        Self {
            name: format!("{driver}-{kind}"),
            driver,
            rotation: None,
            tty,
            runs: vec![
                &[Out(b"one\n"), Err(b"two\n"), Out(b"three\n")],
                // With its newline: what 20.10 stores at the very end is lost to most of its follow streams, not to all.
                &[
                    Err(b"four\n"),
                    Fill(20_000),
                    Out(b"\nfive\n"),
                    Err(b"six\n"),
                ],
            ],
        }
    }

    /// For `sh -c`: all its runs in one.
    pub(crate) fn live_shell(&self) -> String {
        let runs = self
            .runs
            .iter()
            .map(|run| run.iter().map(|write| write.shell()).collect());
        let runs: Vec<String> = runs.collect();
        format!(
            "{PAUSE}; {}exit {}",
            runs.join("until [ -e /go ]; do usleep 20000; done; "),
            self.exit_code()
        )
    }

    /// How often the container is started.
    pub(crate) fn runs(&self) -> usize {
        self.runs.len()
    }

    pub(crate) fn is_tty(&self) -> bool {
        self.tty
    }

    /// What it ends with: anything but always the same.
    pub(crate) fn exit_code(&self) -> i32 {
        i32::try_from(self.name.len()).unwrap_or(1)
    }

    /// For `docker create`.
    pub(crate) fn flags(&self) -> Vec<String> {
        let mut flags = vec![
            format!("--log-driver={}", self.driver),
            format!("--label=script={}", self.name),
        ];
        if let Some((size, files)) = self.rotation {
            flags.push(format!("--log-opt=max-size={size}"));
            flags.push(format!("--log-opt=max-file={files}"));
            // A single file cannot be compressed, and `local` wants to be told.
            flags.extend((files == 1).then(|| "--log-opt=compress=false".to_owned()));
        }
        flags.extend(self.tty.then(|| "--tty".to_owned()));
        flags
    }

    /// For `sh -c`. Every run leaves a mark, by which the next one knows what to write, and waits at the gate.
    pub(crate) fn shell(&self) -> String {
        let run = |(number, run): (usize, &&[Write])| {
            let steps: String = run.iter().map(|write| write.shell()).collect();
            let exit = self.exit_code();
            format!(
                "if [ ! -e /ran{number} ]; then :>/ran{number}; :</gate/pipe; {steps}exit {exit}; fi; "
            )
        };
        self.runs.iter().enumerate().map(run).collect()
    }

    /// Creates the container in the simulated engine.
    pub(crate) fn create(&self, sim: &Sim) -> Container {
        let mut driver = match self.driver {
            "local" => Driver::local(),
            "none" => Driver::none(),
            _ => Driver::json_file(),
        };
        if let Some((size, files)) = self.rotation {
            driver = driver
                .max_size(size.parse().expect("a plain number"))
                .max_file(files as usize);
            if files == 1 {
                driver = driver.uncompressed();
            }
        }
        let mut container = sim
            .container(&self.name)
            .image(IMAGE)
            .label("script", &self.name)
            .driver(driver);
        if self.tty {
            container = container.tty();
        }
        container.create()
    }

    /// Creates it there and plays all its runs.
    pub(crate) fn play(&self, sim: &Sim) {
        let container = self.create(sim);
        for number in 0..self.runs.len() {
            container.start();
            self.play_run(number, &container);
            container.exit(self.exit_code());
        }
    }

    /// What is written in one run of a container that is up.
    pub(crate) fn play_run(&self, number: usize, container: &Container) {
        self.runs[number]
            .iter()
            .for_each(|write| write.play(container, self.tty));
    }
}

impl Write {
    fn bytes(self) -> Vec<u8> {
        match self {
            Out(bytes) | Err(bytes) => bytes.to_vec(),
            Fill(count) => vec![b'x'; count],
            Lines(count) => (0..count).flat_map(line).collect(),
        }
    }

    fn shell(self) -> String {
        match self {
            Fill(count) => format!("head -c {count} /dev/zero | tr '\\0' x; {PAUSE}; "),
            Lines(_) | Out(_) => format!("printf '{}'; {PAUSE}; ", octal(&self.bytes())),
            Err(_) => format!("printf '{}' >&2; {PAUSE}; ", octal(&self.bytes())),
        }
    }

    fn play(self, container: &Container, tty: bool) {
        let mut bytes = self.bytes();
        if tty {
            // The line discipline of the kernel's terminal, which stands before the engine.
            let carriage = |byte| {
                iter::once(b'\r')
                    .filter(move |_| byte == b'\n')
                    .chain([byte])
            };
            bytes = bytes.into_iter().flat_map(carriage).collect();
        }
        match self {
            Err(_) => container.stderr(bytes),
            Out(_) | Fill(_) | Lines(_) => container.stdout(bytes),
        }
    }
}

fn line(number: usize) -> Vec<u8> {
    format!("{number:.<199}\n").into_bytes()
}

fn octal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("\\{byte:03o}")).collect()
}
