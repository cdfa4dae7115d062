//! What Pulsetail holds of a line that nobody could want whole.

use pulsetail::proto::stream_logs_request::Start;
use tokio::task::block_in_place;

use crate::engine::{Dockerd, RunOptions, until};
use crate::kind::Kind;
use crate::process::Process;
use crate::server::{entries_of, events, line, narrow_stream, request};

const LONG: u64 = 100 << 20;
const MAX_LINE: u64 = 1 << 20;
/// Of what a line costs while it is kept: rings of 4 MiB, batches, frames on their way, for two subscriptions.
const ALLOWED: u64 = 40 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_of_100_mb_is_cut_and_counted_and_never_held() {
    for engine in Kind::present().filter_map(Dockerd::shared) {
        let script = format!(
            "echo before; head -c {LONG} /dev/zero | tr '\\0' x; echo; \
             for n in 1 2 3; do echo after $n; done"
        );
        let gates = block_in_place(crate::writer::Gates::new);
        let run = || gates.run(engine, "endless", &RunOptions::default(), &script);
        block_in_place(run);
        let process = block_in_place(|| Process::start(engine, &["--rotation=1s"]));
        let mut asked = request(&["endless"], Some(Start::FromBeginning(true)), true);
        asked.until_exit = true;
        let live = narrow_stream(process.address(), asked.clone()).await;
        let before = process.peak();
        block_in_place(|| {
            gates.open("endless");
            until("it has ended", || {
                let format = "{{.State.Running}}";
                let state = engine.docker(&["inspect", "--format", format, "endless"]);
                state.stdout.starts_with(b"false")
            });
        });
        // Once as it was written, once as history.
        asked.follow = false;
        asked.until_exit = false;
        for stream in [live, narrow_stream(process.address(), asked).await] {
            let events = events(stream).await;
            let entries: Vec<_> = entries_of(&events, "endless").collect();
            let texts: Vec<_> = entries.iter().map(|entry| line(entry).to_vec()).collect();
            let what = format!("{:?}", engine.kind());
            assert_eq!(texts.len(), 5, "{what}");
            assert_eq!(texts[1].len() as u64, MAX_LINE, "{what}");
            assert!(texts[1].iter().all(|byte| *byte == b'x'), "{what}");
            assert_eq!(entries[1].truncated_bytes, LONG - MAX_LINE, "{what}");
            assert_eq!(texts[0], b"before");
            let after = ["after 1", "after 2", "after 3"].map(|text| text.as_bytes().to_vec());
            assert_eq!(texts[2..], after, "{what}");
            let whole = entries.iter().filter(|entry| entry.truncated_bytes == 0);
            assert_eq!(whole.count(), 4, "{what}");
        }
        let grown = process.peak() - before;
        println!(
            "{:?}: {} KiB before, at most {} KiB more over a line of {} KiB, read twice",
            engine.kind(),
            before >> 10,
            grown >> 10,
            LONG >> 10
        );
        assert!(grown < ALLOWED, "{grown} bytes");
        block_in_place(|| engine.remove("endless"));
    }
}
