//! Readers of one log that do nothing with it, for comparison: the least there is, and bollard as it comes.

use std::path::Path;
use std::process;

use futures_util::StreamExt;
use tokio::runtime::Builder;

use crate::process::Usage;
use crate::{blocking, plain};

/// Reads so many new lines and prints what each of them cost.
pub(crate) fn read(how: &str, engine: &Path, id: &str, lines: u64) {
    let usage = || Usage::of(process::id());
    let mut before = None;
    let mut seen = 0;
    let mut each = || {
        before.get_or_insert_with(usage);
        seen += 1;
        seen < lines
    };
    match how {
        "blocking" => blocking::follow(engine, id, "0", |_, _| each()).unwrap(),
        _ => {
            let runtime = Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let docker = plain::docker(engine);
                let mut lines = std::pin::pin!(plain::follow(&docker, id, "0"));
                while lines.next().await.is_some() && each() {}
            });
        }
    }
    let used = usage() - before.unwrap_or_default();
    println!(
        "{} {}",
        used.cpu / lines as f64,
        used.switches / lines as f64
    );
}
