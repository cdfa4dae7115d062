//! Rests that were announced, ends, and what whoever started a task asks of it later.

use super::*;

/// When `id` was told to stop, beginning now; it is given `long`.
fn told_to_stop(world: &mut World, long: Duration) -> Option<Duration> {
    let (began, seen) = (world.now, world.actions.len());
    world.pass(long);
    let mut later = world.actions.iter().skip(seen);
    let stop = later.find(|(_, action)| matches!(action, Action::Cancel(_)));
    stop.map(|(at, _)| *at - began)
}

#[test]
fn an_announced_rest_is_left_alone_and_not_a_moment_longer() {
    const REST: Duration = Duration::from_secs(1_000);
    let mut world = World::new(1);
    let id = world.start("rests");
    world.turn_and_rest(id, Ended::Progress, REST);
    // Turns without proof extend nothing, whatever they announce.
    for _ in 0..90 {
        world.pass(10 * SECOND);
        world.turn_and_rest(id, Ended::Idle, 10 * REST);
    }
    let left = REST - 900 * SECOND + TIMINGS.heartbeat_timeout;
    let status = world.status(id);
    assert_eq!(
        (status.state, status.deadline_in),
        (State::Running, Some(left))
    );
    let late = told_to_stop(&mut world, 2 * REST).expect("it is replaced");
    assert!(left <= late && late <= left + TIMINGS.look, "{late:?}");
}

#[test]
fn a_rest_that_is_cut_short_counts_no_longer() {
    let mut world = World::new(1);
    let id = world.start("rests");
    world.turn_and_rest(id, Ended::Progress, 1_000 * SECOND);
    world.pass(400 * SECOND);
    world.turn_and_rest(id, Ended::Idle, Duration::ZERO);
    let timeout = TIMINGS.heartbeat_timeout;
    let late = told_to_stop(&mut world, 1_000 * SECOND).expect("it is replaced");
    assert!(
        timeout <= late && late <= timeout + TIMINGS.look,
        "{late:?}"
    );
}

#[test]
fn failures_that_are_further_apart_than_the_window_never_quarantine() {
    let mut world = World::new(3);
    let id = world.start("a");
    for failure in 1..=100 {
        // Five of them in its length, whatever the delays.
        world.pass(TIMINGS.window / 5);
        world.end(id, Outcome::Panicked("again".to_owned()));
        let status = world.status(id);
        assert_eq!(status.state, State::BackingOff, "{failure}: {status:?}");
        let took = world.until(id, State::Starting);
        assert!(took <= TIMINGS.backoff_cap + SECOND, "{failure}: {took:?}");
    }
}

#[test]
fn hurry_starts_what_waits_and_leaves_what_runs() {
    let mut world = World::new(1);
    let [runs, failed, quarantined, done] =
        ["runs", "failed", "quarantined", "done"].map(|name| world.start(name));
    let broken = || {
        let message = "broken".to_owned();
        let lasting = false;
        Outcome::Failed(Failure { message, lasting })
    };
    for _ in 0..6 {
        world.end(quarantined, broken());
        world.pass(SECOND / 2);
        world.watchdog.hurry(quarantined);
        world.tick();
    }
    world.end(quarantined, broken());
    assert_eq!(world.status(quarantined).state, State::Quarantined);
    world.end(failed, broken());
    world.end(done, Outcome::Completed);
    let (before, first) = (world.actions.len(), world.generation(runs));
    for id in [runs, failed, quarantined, done] {
        world.watchdog.hurry(id);
        world.watchdog.hurry(id);
    }
    world.tick();
    let started = world.actions[before..].iter();
    let started: Vec<_> = started
        .map(|(_, action)| match action {
            Action::Start(id, _) => *id,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(started, [failed, quarantined, done]);
    assert_eq!(world.generation(runs), first);
    // It is not started again behind its end either.
    world.end(runs, Outcome::Completed);
    assert_eq!(world.status(runs).state, State::Completed);
}

#[test]
fn a_released_task_does_what_it_is_at_and_is_forgotten() {
    let mut world = World::new(1);
    let [runs, waits, again] = ["runs", "waits", "again"].map(|name| world.start(name));
    world.end(waits, Outcome::Panicked("of all things".to_owned()));
    world.start("again");
    for id in [runs, waits, again] {
        world.watchdog.release(id, world.moment());
    }
    let state = |world: &World, id| world.status(id).state;
    assert_eq!(state(&world, waits), State::Stopped);
    assert_eq!(state(&world, runs), State::Starting);
    for id in [runs, again] {
        world.end(id, Outcome::Completed);
        assert_eq!(state(&world, id), State::Completed);
    }
    world.pass(entry::RETENTION + SECOND);
    assert_eq!(world.watchdog.len(), 0);
}

#[test]
fn what_failed_for_good_is_not_forgotten_before_what_is_over() {
    let mut world = World::new(1);
    let broken = world.start("broken");
    let message = "no such driver".to_owned();
    let lasting = true;
    world.end(broken, Outcome::Failed(Failure { message, lasting }));
    for n in 0..2 * REMEMBERED[1] {
        world.pass(SECOND / 100);
        let id = world.start(&n.to_string());
        world.end(id, Outcome::Completed);
    }
    assert_eq!(world.watchdog.len(), REMEMBERED[1]);
    assert_eq!(world.status(broken).state, State::Failed);
}

#[test]
fn ends_are_final_where_nothing_can_be_better() {
    let mut world = World::new(1);
    let ids = ["done", "broken", "stopped", "hung"].map(|name| world.start(name));
    let [done, broken, stopped, hung] = ids;
    world.end(done, Outcome::Completed);
    let message = "no such driver".to_owned();
    let lasting = true;
    world.end(broken, Outcome::Failed(Failure { message, lasting }));
    for id in [stopped, hung] {
        let now = world.moment();
        assert!(matches!(
            world.watchdog.stop(id, now),
            Some(Action::Cancel(_))
        ));
    }
    world.end(stopped, Outcome::Aborted);
    world.pass(10 * SECOND);
    let states = ids.map(|id| world.status(id).state);
    assert_eq!(
        states,
        [
            State::Completed,
            State::Failed,
            State::Stopped,
            State::Zombie
        ]
    );
    world.pass(entry::RETENTION + SECOND);
    // What failed for good is told for as long as somebody wants it.
    assert_eq!((world.watchdog.len(), world.watchdog.names.len()), (1, 1));
    world.watchdog.release(broken, world.moment());
    world.pass(entry::RETENTION + SECOND);
    assert_eq!((world.watchdog.len(), world.watchdog.names.len()), (0, 0));
}
