//! What the engine is asked for to keep up with a log, in requests and records.

use std::time::{Duration, Instant};

use pulsetail_sim::{Driver, Endpoint, Engine, Sim};
use tokio::time::sleep;

use crate::harness::{Server, all, engine, engine_of, followed, until};

/// Records that a read may overlap what is verified by.
const OVERLAP: usize = 64;

/// The `tail` of every request for logs, of leases or of snapshots.
fn tails(sim: &Sim, follow: bool) -> Vec<String> {
    let requests = sim.requests();
    let of_logs = requests.iter().filter(|r| r.endpoint == Endpoint::Logs);
    let tail = |target: &str| {
        let query = target.split_once('?')?.1;
        let is_one = query.contains(&format!("follow={follow}"));
        let tail = query.split('&').find_map(|p| p.strip_prefix("tail="))?;
        is_one.then(|| tail.to_owned())
    };
    of_logs.filter_map(|r| tail(&r.target)).collect()
}

#[tokio::test]
async fn what_was_delivered_is_read_once_more_and_64_records_per_read() {
    // On the old engine every record is checked.
    for release in [Engine::docker_20_10(), Engine::current()] {
        let sim = engine_of(release);
        let driver = Driver::json_file().max_size(10_000).max_file(100);
        let web = sim.container("web").driver(driver).run();
        // A record is known again by the one before it.
        web.stdout("0\n");
        web.stdout("1\n");
        let server = Server::start_with(&sim, &["--rotation=100ms"]).await;
        let mut subscriber = server.open(followed("web")).await;
        let (mut written, mut leases) = (0, server.leases());
        // The same number of lines, more than a window, for each of 20 leases.
        while written < 20 * 200 {
            (0..200).for_each(|n| web.stdout(format!("{}\n", written + n)));
            written += 200;
            subscriber.entries(written).await;
            until(|| server.leases() > leases).await;
            leases = server.leases();
        }
        assert!(subscriber.gaps().is_empty());
        server.stop().await;

        let (leases, snapshots) = (tails(&sim, true), tails(&sim, false));
        let records = |tails: &[String]| -> usize {
            let records = tails.iter().map(|tail| tail.parse::<usize>());
            records.sum::<Result<_, _>>().expect("never all of it")
        };
        let read = records(&leases) + records(&snapshots);
        let what = format!("{read} records again of {written}: {leases:?} {snapshots:?}");
        // A check is a part of the next lease.
        assert!(records(&leases) > written / 2, "void: {what}");
        assert!(records(&snapshots) < written / 2, "{what}");
        let most = written + OVERLAP * (leases.len() + snapshots.len());
        assert!(read <= most, "{what}");
    }
}

#[tokio::test]
async fn a_quiet_container_costs_a_probe_a_rotation_and_no_new_stream() {
    const ROTATION: Duration = Duration::from_millis(100);
    let sim = engine();
    let driver = Driver::json_file().max_size(10_000).max_file(100);
    let web = sim.container("web").driver(driver).run();
    (0..500).for_each(|n| web.stdout(format!("{n}\n")));
    let server = Server::start_with(&sim, &["--rotation=100ms"]).await;
    let mut subscriber = server.open(all("web")).await;
    subscriber.entries(500).await;
    let probes = || {
        tails(&sim, false)
            .iter()
            .filter(|tail| *tail == "1")
            .count()
    };
    until(|| probes() > 0).await;
    let before = (tails(&sim, true), tails(&sim, false).len());
    let (first, started) = (probes(), Instant::now());
    sleep(ROTATION * 10).await;
    until(|| probes() > first + 5).await;
    // Rotations are 10 % shorter at times; the slower the machine, the more of them there were.
    let most = started.elapsed().as_secs_f64() / (0.9 * ROTATION.as_secs_f64()) + 1.0;
    let asked = tails(&sim, false).len() - before.1;
    assert_eq!(asked, probes() - first, "something else was read");
    assert!(asked as f64 <= most, "{asked} probes in {most} rotations");
    assert_eq!(tails(&sim, true), before.0, "a quiet stream was cycled");
    web.stdout("500\n");
    subscriber.entries(501).await;
    server.stop().await;
}
