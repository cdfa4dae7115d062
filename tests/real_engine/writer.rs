//! Writers of numbered lines, on stdout and stderr together: what a log must hold is known beforehand.

use std::fs::File;
use std::path::Path;
use std::process::Command;

use pulsetail::proto;
use tempfile::TempDir;

use crate::engine::{Dockerd, RunOptions};

/// What the engine stores beside a line's own bytes, at most: JSON's frame, the stream and the time.
const FRAME: u64 = 76;

/// A script that writes pairs of numbered lines, from 1 on, and ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Script {
    /// Lines on each of the two streams.
    pub(crate) pairs: u32,
    /// Bytes of padding behind a line's number.
    pub(crate) width: usize,
    /// Pairs at once, and the pause behind them in microseconds; `None`: as fast as it can.
    pub(crate) pace: Option<(u32, u32)>,
}

impl Script {
    /// The first pair alone, and the rest without it.
    pub(crate) fn parted(&self) -> [String; 2] {
        let one = Self {
            pairs: 1,
            pace: None,
            ..*self
        };
        let rest = Self {
            pairs: self.pairs - 1,
            ..*self
        };
        [one.text("1"), rest.text("2")]
    }

    /// For the shell of a container; `first` is the number it starts with, a word of the shell.
    pub(crate) fn text(&self, first: &str) -> String {
        let Self { pairs, width, .. } = self;
        let rest = match self.pace {
            Some((batch, pause)) => format!("if (i % {batch} == 0) system(\"usleep {pause}\")"),
            None => String::new(),
        };
        format!(
            "awk -v first={first} 'BEGIN {{ pad = sprintf(\"%0{width}d\", 0); \
             for (i = first; i < first + {pairs}; i++) {{ \
             print \"o \" i \" \" pad; print \"e \" i \" \" pad > \"/dev/stderr\"; {rest} }} }}'"
        )
    }

    /// The same for a container that is started again and again: each run goes on with the numbers.
    pub(crate) fn runs(&self) -> String {
        let next = format!("$((n * {} + 1))", self.pairs);
        let count = "n=$(cat /n 2>/dev/null || echo 0); echo $((n + 1)) >/n";
        format!("{count}; {}", self.text(&next))
    }

    /// The line with this number.
    pub(crate) fn line(&self, stream: proto::Stream, number: u32) -> String {
        let letter = match stream {
            proto::Stream::Stderr => 'e',
            _ => 'o',
        };
        format!("{letter} {number} {:0width$}", 0, width = self.width)
    }

    /// Bytes that a record takes in the log, at most.
    pub(crate) fn record(&self) -> u64 {
        let line = self.line(proto::Stream::Stdout, self.pairs).len();
        u64::try_from(line).expect("a line is short") + FRAME
    }

    /// Bytes that all of it takes in the log, at most.
    pub(crate) fn stored(&self) -> u64 {
        2 * u64::from(self.pairs) * self.record()
    }

    /// Bytes a second that a paced writer stores, at most; pauses only ever get longer.
    pub(crate) fn rate(&self) -> Option<u64> {
        let (batch, pause) = self.pace?;
        Some(2 * u64::from(batch) * self.record() * 1_000_000 / u64::from(pause))
    }
}

/// The number of a line that `Script` wrote, and its stream.
pub(crate) fn number(line: &[u8]) -> Option<(proto::Stream, u32)> {
    let mut words = line.split(|byte| *byte == b' ');
    let stream = match words.next()? {
        b"o" => proto::Stream::Stdout,
        b"e" => proto::Stream::Stderr,
        _ => return None,
    };
    let number = std::str::from_utf8(words.next()?).ok()?;
    Some((stream, number.parse().ok()?))
}

/// Holds writers back until someone listens: what a log lost before belongs to nobody.
pub(crate) struct Gates(TempDir);

impl Gates {
    pub(crate) fn new() -> Self {
        Self(TempDir::new().expect("the folder for temporary files is writable"))
    }

    /// Runs a container whose script waits for [`Gates::open`].
    pub(crate) fn run(
        &self,
        engine: &Dockerd,
        name: &str,
        options: &RunOptions,
        script: &str,
    ) -> String {
        self.run_behind(engine, name, options, "true", script)
    }

    /// The same, with what it does before it waits.
    pub(crate) fn run_behind(
        &self,
        engine: &Dockerd,
        name: &str,
        options: &RunOptions,
        before: &str,
        script: &str,
    ) -> String {
        let made = Command::new("mkfifo").arg(self.path().join(name)).status();
        assert!(made.is_ok_and(|status| status.success()), "mkfifo {name}");
        let mut options = options.clone();
        let mount = format!("--volume={}:/gate", self.path().display());
        options.flags.push(mount);
        engine.run(
            name,
            &options,
            &format!("{before}; cat /gate/{name}; {script}"),
        )
    }

    /// Lets a container's script go on; waits until it has come so far.
    pub(crate) fn open(&self, name: &str) {
        File::options()
            .write(true)
            .open(self.path().join(name))
            .expect("its container was run by these gates");
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}
