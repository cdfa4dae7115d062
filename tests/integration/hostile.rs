//! An engine that does what it may not: the right lines come all the same, each once, in a bounded time.

use std::time::Duration;

use futures_util::future::join_all;
use pulsetail_sim::{Container, Driver, Ending, Endpoint, Fault, Sim};
use tokio::time::{Instant, interval};

use crate::harness::{DEADLINE, Server, all, engine, stored, until};
use crate::subscriber::{Subscriber, lines_of};

/// At short rotations, what goes wrong goes wrong in the middle of many.
const ROUNDS: usize = 120;
const ROUND: Duration = Duration::from_millis(8);

type Faults = Vec<(&'static str, Fault)>;

/// What a lease must not bring, and how it must not end.
fn wrongs() -> Faults {
    let faults = vec![
        ("4-gib-frame", Fault::oversized_frame().after(66)),
        ("frame-type-0", Fault::frame(0, b"x")),
        (
            "frame-type-9",
            Fault::frame(9, b"2026-01-01T00:00:00.000000000Z x\n").after(65),
        ),
        ("unstamped", Fault::frame(1, b"no stamp\n").after(67)),
        ("garbage", Fault::inject(&b"\xff\xff\xff"[..]).after(66)),
        (
            "daemon-error",
            Fault::daemon_error("Error grabbing logs: EOF").after(66),
        ),
        ("cut-header", Fault::cut(4, Ending::Clean).after(68)),
        ("torn-header", Fault::cut(4, Ending::Torn).after(68)),
        ("cut-payload", Fault::cut(20, Ending::Clean).after(68)),
        ("torn-payload", Fault::cut(41, Ending::Torn).after(68)),
        ("clean-end", Fault::end(Ending::Clean).after(70)),
        ("torn-end", Fault::end(Ending::Torn).after(70)),
        ("repeat", Fault::repeat(3).after(70)),
        ("reread", Fault::reread_file().after(70)),
    ];
    on_follow(faults)
}

/// What a lease does not bring, or not at once.
fn silences() -> Faults {
    let faults = vec![
        ("silence-after-head", Fault::stall()),
        ("stall", Fault::stall().after(70)),
        ("pause", Fault::pause(Duration::from_millis(700)).after(66)),
        ("no-head", Fault::no_head()),
        ("late-head", Fault::late_head(Duration::from_millis(600))),
        ("hang-up", Fault::hang_up()),
        ("refuse-500", Fault::refuse(500, "boom")),
        ("refuse-400", Fault::refuse(400, "bad parameter")),
    ];
    on_follow(faults)
}

fn on_follow(faults: Faults) -> Faults {
    let faults = faults.into_iter();
    faults.map(|(name, f)| (name, f.on_follow())).collect()
}

/// What strikes every lease, so that only snapshots bring anything.
fn sticky_faults() -> Faults {
    let faults = vec![
        ("always-ends", Fault::end(Ending::Clean)),
        ("always-torn", Fault::cut(25, Ending::Torn).after(3)),
        ("always-4-gib", Fault::oversized_frame().after(3)),
        (
            "always-error",
            Fault::daemon_error("Error grabbing logs").after(1),
        ),
        ("always-stalls", Fault::stall().after(2)),
        ("always-repeats", Fault::repeat(2).after(66)),
    ];
    let sticky = on_follow(faults).into_iter();
    sticky.map(|(name, f)| (name, f.sticky())).collect()
}

struct Ordeal {
    name: &'static str,
    container: Container,
    subscriber: Subscriber,
}

async fn begin(server: &Server, name: &'static str, container: Container) -> Ordeal {
    let mut subscriber = server.open(all(name)).await;
    subscriber.entries(5).await;
    Ordeal {
        name,
        container,
        subscriber,
    }
}

fn write(container: &Container, round: usize) {
    container.stdout(format!("out {round}\n"));
    if round.is_multiple_of(3) {
        container.stderr(format!("err {round}\n"));
    }
}

/// Containers of these names that have written five records before anybody looks.
fn containers(sim: &Sim, faults: &[(&'static str, Fault)]) -> Vec<Container> {
    let run = |(name, _): &(&'static str, Fault)| {
        let container = sim.container(*name).driver(Driver::json_file()).run();
        (0..5).for_each(|n| container.stdout(format!("before {n}\n")));
        container
    };
    faults.iter().map(run).collect()
}

/// Writes on while faults strike; every line must come once and in order.
async fn endure(faults: Faults, rotation: &str) {
    let sim = engine();
    let containers = containers(&sim, &faults);
    let healthy = sim.container("healthy").run();
    (0..5).for_each(|n| healthy.stdout(format!("before {n}\n")));
    let server = Server::start_with(&sim, &[rotation]).await;
    let names = faults.iter().map(|(name, _)| *name);
    let begun = names.zip(containers).map(|(n, c)| begin(&server, n, c));
    let mut ordeals = join_all(begun).await;
    ordeals.push(begin(&server, "healthy", healthy).await);
    let struck = usize::try_from(sim.stats().faults).unwrap() + faults.len();
    for (ordeal, (_, fault)) in ordeals.iter().zip(faults) {
        ordeal.container.fault(fault);
    }
    let (mut ticks, mut round, deadline) = (interval(ROUND), 0, Instant::now() + DEADLINE);
    while round < ROUNDS || usize::try_from(sim.stats().faults).unwrap() < struck {
        ticks.tick().await;
        assert!(Instant::now() < deadline, "faults that never strike");
        ordeals.iter().for_each(|o| write(&o.container, round));
        round += 1;
    }
    for ordeal in &mut ordeals {
        let expected = lines_of(&ordeal.container);
        ordeal.subscriber.entries(expected.len()).await;
        assert!(ordeal.subscriber.lines() == expected, "{}", ordeal.name);
        assert!(ordeal.subscriber.gaps().is_empty(), "{}", ordeal.name);
        assert!(ordeal.subscriber.changes().is_empty(), "{}", ordeal.name);
    }
    let healthy = ordeals.pop().unwrap().subscriber;
    assert!(healthy.notices().is_empty(), "{:?}", healthy.notices());
    server.stop().await;
}

#[tokio::test]
async fn whatever_happens_to_a_lease_every_line_comes_once_and_in_order() {
    let faults = [wrongs(), silences()].concat();
    endure(faults, "--rotation=300ms").await;
}

#[tokio::test]
async fn a_lease_that_goes_wrong_is_replaced_before_its_time() {
    endure(wrongs(), "--rotation=10m").await;
}

#[tokio::test]
async fn an_engine_whose_leases_always_fail_is_read_by_snapshots() {
    endure(sticky_faults(), "--rotation=300ms").await;
}

/// What strikes a read of history behind its first hundred records, or before them.
fn snapshot_faults() -> Faults {
    let faults = vec![
        ("no-head", Fault::no_head()),
        ("silence-after-head", Fault::stall()),
        ("stall", Fault::stall().after(100)),
        ("hang-up", Fault::hang_up()),
        ("refuse", Fault::refuse(500, "boom")),
        ("4-gib-frame", Fault::oversized_frame().after(100)),
        ("frame-type-9", Fault::frame(9, b"x").after(100)),
        (
            "daemon-error",
            Fault::daemon_error("Error grabbing logs").after(100),
        ),
        ("cut-header", Fault::cut(3, Ending::Clean).after(100)),
        ("torn-payload", Fault::cut(30, Ending::Torn).after(100)),
        ("torn-end", Fault::end(Ending::Torn).after(100)),
    ];
    faults
        .into_iter()
        .map(|(name, f)| (name, f.on_snapshot()))
        .collect()
}

#[tokio::test]
async fn a_read_of_history_goes_on_where_it_broke_off() {
    let sim = engine();
    let faults = snapshot_faults();
    let containers = containers(&sim, &faults);
    for container in &containers {
        (0..400).for_each(|round| write(container, round));
    }
    // No probe is to meet a fault first.
    let server = Server::start_with(&sim, &["--rotation=10m"]).await;
    let count = faults.len() as u64;
    let reads = faults
        .into_iter()
        .zip(&containers)
        .map(async |((name, fault), container)| {
            container.fault(fault);
            let read = server.read(stored(name)).await;
            assert!(read.lines() == lines_of(container), "{name}");
            assert!(read.gaps().is_empty(), "{name}");
        });
    join_all(reads).await;
    assert_eq!(sim.stats().faults, count);
    server.stop().await;
}

#[tokio::test]
async fn an_engine_that_refuses_every_log_for_a_while_loses_nothing() {
    let sim = engine();
    let web = sim.container("web").run();
    web.stdout("before\n");
    let server = Server::start(&sim).await;
    let mut subscriber = server.open(all("web")).await;
    subscriber.entries(1).await;
    web.fault(Fault::refuse(500, "out of order").sticky());
    let struck = || sim.stats().faults;
    until(|| {
        web.stdout(format!("{}\n", struck()));
        struck() >= 3
    })
    .await;
    web.clear_faults();
    web.stdout("after\n");
    let expected = lines_of(&web);
    subscriber.entries(expected.len()).await;
    assert_eq!(subscriber.lines(), expected);
    server.stop().await;
}

#[tokio::test]
async fn an_event_feed_that_breaks_is_followed_again() {
    let sim = engine();
    let server = Server::start(&sim).await;
    let faults = [
        Fault::end(Ending::Clean),
        Fault::end(Ending::Torn),
        Fault::cut(10, Ending::Clean),
        Fault::inject(&b"not json\n"[..]),
    ];
    for (n, fault) in faults.into_iter().enumerate() {
        sim.fault(fault.on(Endpoint::Events));
        sim.container(format!("c{n}")).run();
        server.until_listed(&format!("c{n}")).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn a_list_and_an_answer_that_never_come_are_asked_for_again() {
    let sim = engine();
    sim.container("web").run();
    sim.fault(Fault::no_head().on(Endpoint::Inspect));
    sim.fault(Fault::refuse(500, "boom").on(Endpoint::List));
    sim.fault(Fault::hang_up().on(Endpoint::Version));
    sim.fault(Fault::hang_up().on(Endpoint::Info));
    let server = Server::start(&sim).await;
    server.until_listed("web").await;
    server.stop().await;
}
