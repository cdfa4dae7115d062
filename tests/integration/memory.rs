//! A hostile log costs a bounded amount of memory. Measured in a process of its own: other tests use memory too.

use std::fs;
use std::time::Duration;

use pulsetail_sim::Fault;
use tokio::time::interval;

use crate::harness::{Server, all, alone, engine, stored};
use crate::subscriber::Subscriber;

const ENDLESS: usize = 100_000_000;
const MAX_LINE: usize = 1 << 20;
const BOUND: usize = 64 << 20;

#[test]
fn a_line_of_100_mb_and_a_frame_of_4_gib_cost_bounded_memory() {
    alone("memory::measured");
}

#[tokio::test]
#[ignore = "run by the test above, alone in its process"]
async fn measured() {
    let sim = engine();
    let web = sim.container("web").run();
    let server = Server::start_with(&sim, &["--rotation=20s"]).await;
    let mut subscriber = server.open(all("web")).await;
    web.stdout("before\n");
    subscriber.entries(1).await;
    let part = "e".repeat(1_000_000);
    (0..ENDLESS / part.len()).for_each(|_| web.stdout(&part));
    web.stdout("\nafter\n");
    // The simulated engine holds the log; what comes on top is the server's and the client's.
    let before = resident();
    let peak = peak_while(subscriber.entries(3)).await;
    assert!(peak < before + BOUND, "{before} grew to {peak} live");
    assert_lines(&subscriber);
    let (peak, read) = {
        let mut read = None;
        let reading = async { read = Some(server.read(stored("web")).await) };
        (peak_while(reading).await, read.expect("it was read"))
    };
    assert!(
        peak < before + BOUND,
        "{before} grew to {peak} in a read of history"
    );
    assert_lines(&read);
    web.fault(Fault::oversized_frame().on_follow());
    web.stdout("last\n");
    let peak = peak_while(subscriber.entries(4)).await;
    assert!(
        peak < before + BOUND,
        "{before} grew to {peak} by a frame of 4 GiB"
    );
    server.stop().await;
}

fn assert_lines(subscriber: &Subscriber) {
    let entries: Vec<_> = subscriber.all_entries().collect();
    let cut = entries[1];
    assert_eq!(cut.truncated_bytes, (ENDLESS - MAX_LINE) as u64);
    assert_eq!(crate::subscriber::text(cut).len(), MAX_LINE);
    assert_eq!(crate::subscriber::text(entries[0]), "before");
    assert_eq!(crate::subscriber::text(entries[2]), "after");
}

/// The most that was resident while something happened.
async fn peak_while(event: impl Future<Output = ()>) -> usize {
    let mut event = std::pin::pin!(event);
    let (mut looks, mut peak) = (interval(Duration::from_millis(2)), resident());
    loop {
        tokio::select! {
            () = &mut event => return peak.max(resident()),
            _ = looks.tick() => peak = peak.max(resident()),
        }
    }
}

pub(crate) fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("this is Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number.and_then(|kb| kb.parse::<usize>().ok()).expect("kB") * 1_024
}
