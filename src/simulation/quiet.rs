//! Nobody is replaced who does what it should: not in a day without a line, not by
//! a machine that slept, not by an engine that is slow.

use std::time::Duration;

use pulsetail_sim::{Endpoint, Fault, Sim};
use tokio::time::{Instant, advance, sleep};

use super::{SECOND, World, engine, hours, seeds};

const HOUR: Duration = Duration::from_secs(3_600);

#[tokio::test(start_paused = true)]
async fn a_quiet_container_is_left_alone_all_day() {
    let (sim, containers) = engine(&["quiet", "unread"]);
    let world = World::start(&sim, 1, |_| {}).await;
    let mut follower = world.follow("quiet").await;
    let generations = || -> Vec<_> {
        let all = world.statuses().into_iter();
        all.map(|status| (status.spec.name, status.generation))
            .collect()
    };
    world.until(|| world.is_well()).await;
    let before = generations();
    for hour in 0..hours() {
        follower.hear(HOUR).await;
        assert!(world.is_well(), "hour {hour}: {:#?}", world.statuses());
    }
    assert_eq!(generations(), before);
    assert_eq!(world.replaced(), [""; 0]);
    containers[0].stdout("0\n");
    follower.until(1).await;
    follower.assert_whole(1, "after a day");
}

/// Fault row 42: asleep for 10 minutes in the midst of whatever is done, as a
/// stopped process or a suspended machine. Every deadline has passed as it wakes.
#[tokio::test(start_paused = true)]
async fn a_machine_that_sleeps_for_ten_minutes_kills_nobody() {
    for seed in 0..seeds() / 4 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (sim, containers) = engine(&["quiet", "busy"]);
        let world = World::start(&sim, seed, |_| {}).await;
        let mut followers = [world.follow("quiet").await, world.follow("busy").await];
        let mut written = 0;
        for _ in 0..3 {
            for _ in 0..rng.usize(1..100) {
                containers[1].stdout(format!("{written}\n"));
                written += 1;
                sleep(Duration::from_millis(rng.u64(0..500))).await;
            }
            advance(600 * SECOND).await;
            // All is in order long before the next deadline.
            sleep(2 * SECOND).await;
            assert!(world.is_well(), "{seed}: {:#?}", world.statuses());
        }
        containers[0].stdout("0\n");
        followers[0].until(1).await;
        followers[1].until(written).await;
        followers[0].assert_whole(1, "quiet");
        followers[1].assert_whole(written, "busy");
        assert_eq!(world.replaced(), [""; 0], "{seed}");
    }
}

/// The ancestor's health loop sent its heartbeat behind a whole pass (E1.7): with
/// containers enough that each took its time it was killed in the midst of it.
#[tokio::test(start_paused = true)]
async fn a_list_that_takes_longer_than_the_heartbeats_timeout_is_progress_all_the_while() {
    const CONTAINERS: u64 = 1_000;
    let (sim, _) = engine(&[]);
    for n in 0..CONTAINERS {
        sim.container(format!("c{n}")).create();
    }
    let slow = Fault::late_head(4 * SECOND).on(Endpoint::Inspect).sticky();
    sim.fault(slow);
    let world = World::start(&sim, 1, |_| {}).await;
    let began = Instant::now();
    world.until_listed("c0").await;
    let timeout = world.supervisor.timings().heartbeat_timeout;
    assert!(began.elapsed() > timeout, "void: {:?}", began.elapsed());
    assert_eq!(world.replaced(), [""; 0]);
    // And the next one, now that the event feed is silent.
    sleep(2 * timeout).await;
    assert_eq!(world.replaced(), [""; 0]);
}

/// Fault row 4, and an engine that is not there at the beginning: for longer than
/// any timeout.
#[tokio::test(start_paused = true)]
async fn an_engine_that_is_away_for_an_hour_costs_nobody_a_life() {
    let (sim, containers) = engine(&["web"]);
    sim.stop();
    let world = World::start(&sim, 1, |_| {}).await;
    sleep(HOUR).await;
    assert_eq!(world.replaced(), [""; 0], "never seen");
    sim.start();
    let mut follower = world.follow("web").await;
    let mut written = 0;
    for (fail, recover) in [
        (Sim::freeze as fn(&Sim), Sim::thaw as fn(&Sim)),
        (Sim::stop, Sim::start),
    ] {
        fail(&sim);
        for _ in 0..60 {
            containers[0].stdout(format!("{written}\n"));
            written += 1;
            sleep(HOUR / 60).await;
        }
        recover(&sim);
        follower.until(written).await;
        world.until(|| world.is_well()).await;
        assert_eq!(world.replaced(), [""; 0]);
    }
    follower.assert_whole(written, "behind two hours");
}
