//! What was measured, a line each: shown at once, and kept where `PULSETAIL_RESULTS` says.

use std::fs::File;
use std::io::Write;

/// Figures of one bench.
pub(crate) struct Results {
    bench: &'static str,
    file: Option<File>,
}

impl Results {
    pub(crate) fn of(bench: &'static str) -> Self {
        let path = std::env::var_os("PULSETAIL_RESULTS");
        let file = path.map(|path| {
            File::options()
                .create(true)
                .append(true)
                .open(path)
                .unwrap()
        });
        Self { bench, file }
    }

    /// `case`: what was done; `subject`: who did it; `metric`: what of it is counted, with its unit.
    pub(crate) fn put(&mut self, case: &str, subject: &str, metric: &str, value: f64) {
        let line = format!("{},{case},{subject},{metric},{value:.3}\n", self.bench);
        print!("{line}");
        if let Some(file) = &mut self.file {
            file.write_all(line.as_bytes()).unwrap();
        }
    }
}
