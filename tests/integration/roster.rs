//! Each running container has its task, which costs next to nothing while nobody subscribes.

use std::collections::BTreeSet;
use std::time::Duration;

use pulsetail::supervisor::{Reason, State};
use pulsetail_sim::{Driver, Endpoint, Fault, Sim};
use tokio::time::{Instant, sleep};

use crate::bare::{Bare, lines};
use crate::harness::engine;
use crate::requests::is_probe;

const SECOND: Duration = Duration::from_secs(1);

fn requests_for_logs(sim: &Sim) -> usize {
    usize::try_from(sim.stats().requests(Endpoint::Logs)).expect("few")
}

fn assert_probes_alone(sim: &Sim) {
    let requests = sim.requests();
    let of_logs = requests.iter().filter(|r| r.endpoint == Endpoint::Logs);
    for request in of_logs {
        assert!(is_probe(&request.target), "{}", request.target);
    }
}

#[tokio::test(start_paused = true)]
async fn a_container_has_a_task_while_it_runs_and_not_longer() {
    let sim = engine();
    let web = sim.container("web").run();
    let made = sim.container("made").create();
    let bare = Bare::start(&sim, &[]);
    bare.until(|bare| bare.state(&web) == Some(State::Running))
        .await;
    assert!(bare.task(&made).is_none(), "it does not run");
    made.start();
    bare.until(|bare| bare.state(&made) == Some(State::Running))
        .await;
    made.exit(0);
    bare.until(|bare| bare.state(&made) == Some(State::Completed))
        .await;
    // Its name and history are the same in the next run.
    made.start();
    bare.until(|bare| bare.state(&made) == Some(State::Running))
        .await;
    let status = bare.task(&made).expect("it runs");
    assert_eq!(status.terminations[0].reason, Reason::Completed);
    for container in [&web, &made] {
        container.kill(9);
        container.remove();
    }
    bare.until(|bare| bare.state(&web) == Some(State::Completed))
        .await;
    bare.until(|bare| bare.state(&made) == Some(State::Completed))
        .await;
    sleep(600 * SECOND).await;
    assert!(bare.task(&web).is_none() && bare.task(&made).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_log_that_cannot_be_read_is_a_failed_task_and_asked_for_once() {
    let sim = engine();
    let mute = sim.container("mute").driver(Driver::none()).run();
    let bare = Bare::start(&sim, &[]);
    bare.until(|bare| bare.state(&mute) == Some(State::Failed))
        .await;
    sleep(3_600 * SECOND).await;
    // It is told for as long as the container runs.
    let status = bare.task(&mute).expect("it is told still");
    assert_eq!((status.state, status.restarts), (State::Failed, 0));
    assert!(
        status.terminations[0].message.contains("reading"),
        "{status:?}"
    );
    assert_eq!(requests_for_logs(&sim), 1);
    mute.kill(9);
    mute.remove();
    bare.until(|bare| bare.find("mute").is_none()).await;
    sleep(600 * SECOND).await;
    assert!(bare.task(&mute).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_hundred_idle_containers_are_probed_in_turn_and_nothing_else() {
    let sim = engine();
    let all: Vec<_> = (0..100)
        .map(|n| sim.container(format!("c{n}")).run())
        .collect();
    all.iter().for_each(|container| container.stdout("line\n"));
    let bare = Bare::start(&sim, &[]);
    let running = |bare: &Bare| all.iter().all(|c| bare.state(c) == Some(State::Running));
    bare.until(running).await;
    let before: Vec<_> = bare.supervisor.statuses();
    let first = requests_for_logs(&sim);
    let mut last = first;
    for _ in 0..600 {
        sleep(SECOND).await;
        let now = requests_for_logs(&sim);
        // Five in the mean; all together would be a hundred.
        assert!(now - last <= 25, "{} in one second", now - last);
        last = now;
    }
    let asked = last - first;
    assert!(
        (100 * 600 / 23..=100 * 620 / 20).contains(&asked),
        "{asked}"
    );
    assert_probes_alone(&sim);
    let generations = |all: &[pulsetail::supervisor::Status]| {
        let named = all.iter().map(|s| (s.spec.name.clone(), s.generation));
        named.collect::<BTreeSet<_>>()
    };
    assert_eq!(
        generations(&bare.supervisor.statuses()),
        generations(&before)
    );
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_costs_a_tenth_of_a_second_comes_every_thousand_and_looks_alive() {
    let sim = engine();
    let old = sim.container("old").run();
    let cost = SECOND / 10;
    old.fault(Fault::late_head(cost).on(Endpoint::Logs).sticky());
    let bare = Bare::start(&sim, &[]);
    bare.until(|bare| bare.state(&old) == Some(State::Running))
        .await;
    let (generation, first) = (
        bare.task(&old).map(|s| s.generation),
        requests_for_logs(&sim),
    );
    for _ in 0..4 * 60 {
        sleep(60 * SECOND).await;
        let status = bare.task(&old).expect("it runs");
        assert_eq!(
            (status.state, Some(status.generation)),
            (State::Running, generation)
        );
        assert!(status.deadline_in.is_some(), "its clock runs: {status:?}");
    }
    let asked = requests_for_logs(&sim) - first;
    let most = 4 * 3_600 / 1_000;
    assert!((most - 2..=most).contains(&asked), "{asked}");
    assert_probes_alone(&sim);
}

/// A subscriber comes at any moment of a probe, and leaves at any moment of what follows.
#[tokio::test(start_paused = true)]
async fn who_comes_during_a_probe_gets_every_line_from_one_lease_and_leaves_nothing() {
    let sim = engine();
    let web = sim.container("web").run();
    web.fault(Fault::late_head(SECOND / 10).on(Endpoint::Logs).sticky());
    let bare = Bare::start(&sim, &["--rotation=10s", "--linger=0s"]);
    bare.until(|bare| bare.state(&web) == Some(State::Running))
        .await;
    let generation = bare.task(&web).map(|status| status.generation);
    let mut written = Vec::new();
    let mut subscribers = vec![bare.follow("web").await];
    for moment in 0..60 {
        drop(std::mem::take(&mut subscribers));
        let (asked, left) = (requests_for_logs(&sim), Instant::now());
        bare.until(|_| sim.stats().log_streams == 0).await;
        assert!(left.elapsed() < SECOND, "at {moment}: {:?}", left.elapsed());
        // The next probe comes within a rotation.
        bare.until(|_| requests_for_logs(&sim) > asked).await;
        sleep(Duration::from_millis(moment * 2)).await;
        let before = leases(&sim);
        subscribers = vec![bare.follow("web").await, bare.follow("web").await];
        written.push(format!("{moment}"));
        web.stdout(format!("{moment}\n"));
        for subscriber in &mut subscribers {
            assert_eq!(lines(subscriber, written.len()).await, written);
        }
        assert_eq!(leases(&sim), before + 1, "at {moment}");
    }
    let status = bare.task(&web).expect("it runs");
    assert_eq!(
        (Some(status.generation), status.terminations),
        (generation, vec![])
    );
}

fn leases(sim: &Sim) -> usize {
    let requests = sim.requests();
    let follows = requests.iter().filter(|r| r.target.contains("follow=true"));
    follows.count()
}

#[tokio::test(start_paused = true)]
async fn a_log_that_cannot_be_read_is_told_to_whoever_comes_at_any_moment_of_its_probe() {
    use pulsetail::hub::{Ended, OpenError, Subscription};
    for moment in 0..40 {
        let sim = engine();
        let mute = sim.container("mute").driver(Driver::none()).run();
        mute.fault(Fault::late_head(SECOND / 50).on(Endpoint::Logs).sticky());
        let bare = Bare::start(&sim, &["--rotation=100ms", "--linger=0s"]);
        bare.until(|_| requests_for_logs(&sim) > 0).await;
        sleep(Duration::from_millis(moment)).await;
        for _ in 0..2 {
            let container = bare.find("mute").expect("it runs");
            let opened = Subscription::follow(&bare.registry, container, None, SECOND).await;
            let refused = opened.err();
            assert!(
                matches!(refused, Some(OpenError::Ended(Ended::Unreadable(_)))),
                "at {moment}: {refused:?}"
            );
        }
        bare.until(|bare| bare.state(&mute) == Some(State::Failed))
            .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_hurries_a_task_that_waits_for_another_attempt() {
    let sim = engine();
    let web = sim.container("web").run();
    web.stdout("line\n");
    let refusal = Fault::refuse(500, "out of order");
    web.fault(refusal.on(Endpoint::Logs).sticky());
    let bare = Bare::start(&sim, &["--rotation=1s"]);
    // Long enough for the longest of its delays.
    sleep(600 * SECOND).await;
    assert!(requests_for_logs(&sim) > 10, "void");
    web.clear_faults();
    let came = Instant::now();
    let mut subscriber = bare.follow("web").await;
    assert_eq!(lines(&mut subscriber, 1).await, ["line"]);
    assert!(came.elapsed() < SECOND, "{:?}", came.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_thousand_containers_do_not_start_at_once_and_their_tasks_go_with_them() {
    let sim = engine();
    let bare = Bare::start(&sim, &[]);
    let all: Vec<_> = (0..1_000)
        .map(|n| sim.container(format!("c{n}")).run())
        .collect();
    let containers = |bare: &Bare, state: State| {
        let all = bare.supervisor.statuses().into_iter();
        all.filter(|s| s.spec.container.is_some() && s.state == state)
            .count()
    };
    bare.until(|bare| containers(bare, State::Pending) > 0)
        .await;
    let started = 1_000 - containers(&bare, State::Pending);
    assert!(started <= 260, "{started} at once");
    bare.until(|bare| containers(bare, State::Running) == 1_000)
        .await;
    all.iter().for_each(|container| {
        container.kill(9);
        container.remove();
    });
    bare.until(|bare| containers(bare, State::Completed) == 1_000)
        .await;
    sleep(600 * SECOND).await;
    assert_eq!(bare.supervisor.statuses().len(), 4);
}
