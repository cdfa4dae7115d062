//! A read for one subscriber is a task: whatever ends it, the next goes on behind what was handed over.

use std::time::Duration;

use pulsetail::hub::{Content, Item, Subscription};
use pulsetail::supervisor::{Kind, Reason, State, Status};
use pulsetail::tail::{From, GapCause, Place};
use pulsetail_sim::{Container, Driver, Fault};
use tokio::time::{sleep, timeout};

use crate::bare::{Bare, lines};
use crate::harness::engine;
use crate::subscriber::lines_of;

const SECOND: Duration = Duration::from_secs(1);

fn catch_ups(bare: &Bare) -> Vec<Status> {
    let all = bare.supervisor.statuses().into_iter();
    let mut all: Vec<_> = all.filter(|s| s.spec.kind == Kind::CatchUp).collect();
    all.sort_by_key(|status| status.generation);
    all
}

fn catch_up(bare: &Bare) -> Status {
    catch_ups(bare).pop().expect("there was one")
}

/// Kills the newest catch-up and waits until its next generation has begun.
async fn killed(bare: &Bare) {
    let before = catch_up(bare);
    if bare.supervisor.condemn(&before.spec.name) {
        bare.until(|bare| catch_up(bare).generation > before.generation)
            .await;
    }
}

async fn history(bare: &Bare, name: &str, from: From) -> Subscription {
    bare.until(|bare| bare.find(name).is_some()).await;
    let container = bare.find(name).expect("it is listed");
    Subscription::history(&bare.registry, container, from, 0)
}

/// Writes lines of one record and of several, on both streams, until they make many units.
fn write(container: &Container) {
    for n in 0..1_000 {
        let pad = match n % 50 {
            0 => "l".repeat(40_000),
            _ => "s".repeat(n % 700),
        };
        container.stdout(format!("{n} {pad}\n"));
        if n % 3 == 0 {
            container.stderr(format!("{n}\n"));
        }
    }
}

fn texts(container: &Container) -> Vec<String> {
    let all = lines_of(container).into_iter();
    all.map(|line| String::from_utf8_lossy(&line.bytes).into_owned())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_catch_up_that_is_killed_anywhere_loses_and_repeats_nothing() {
    let sim = engine();
    let web = sim.container("web").run();
    write(&web);
    let expected = texts(&web);
    // Killed while it waits for the engine, too.
    web.fault(Fault::pause(SECOND).after(700).on_snapshot().sticky());
    let bare = Bare::start(&sim, &[]);
    for (seed, from) in [
        (1, From::Beginning),
        (2, From::Beginning),
        (3, From::Lines(900)),
        (4, From::Lines(2_000)),
        (5, From::Since(0)),
    ] {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut read = history(&bare, "web", from).await;
        let (mut got, mut kills) = (Vec::new(), 0);
        loop {
            let some = lines(&mut read, rng.usize(1..200)).await;
            if some.is_empty() {
                break;
            }
            got.extend(some);
            sleep(Duration::from_millis(rng.u64(0..1_500))).await;
            killed(&bare).await;
            kills += 1;
        }
        let all = match from {
            From::Lines(900) => &expected[expected.len() - 900..],
            _ => &expected[..],
        };
        assert!(got == all, "{seed}: {} of {}", got.len(), all.len());
        assert!(kills > 5, "void: {kills}");
        let status = catch_up(&bare);
        assert!(status.restarts > 2, "void: {status:?}");
        assert_eq!(status.work.entries, all.len() as u64);
    }
}

#[tokio::test(start_paused = true)]
async fn a_gap_that_was_told_is_not_told_again() {
    let sim = engine();
    let driver = Driver::json_file().max_size(100_000).max_file(2);
    let web = sim.container("web").driver(driver).run();
    web.stdout("gone\n");
    let bare = Bare::start(&sim, &[]);
    let mut first = history(&bare, "web", From::Beginning).await;
    assert_eq!(lines(&mut first, 1).await, ["gone"]);
    let Place::At(position) = first.place() else {
        panic!("it was read");
    };
    let from = From::After(position);
    (0..10_000).for_each(|n| web.stdout(format!("{n} {}\n", "x".repeat(50))));
    let kept = texts(&web);
    let mut read = history(&bare, "web", from).await;
    let (mut got, mut gaps) = (Vec::new(), Vec::new());
    let mut strikes = true;
    loop {
        // Each generation verifies anew: struck there, none would go on.
        if std::mem::replace(&mut strikes, true) {
            killed(&bare).await;
        }
        let next = timeout(1_000 * SECOND, read.next())
            .await
            .expect("it goes on");
        match next {
            Item::Unit(unit) => match &unit.content {
                Content::Gap(gap) => gaps.push(gap.clone()),
                Content::Entries(batch) => {
                    let texts = batch
                        .entries()
                        .map(|(_, line)| String::from_utf8_lossy(line));
                    got.extend(texts.map(std::borrow::Cow::into_owned));
                }
                Content::Verified(_) => strikes = false,
                other => panic!("{other:?}"),
            },
            Item::Complete => break,
            other => panic!("{other:?}"),
        }
    }
    assert!(catch_up(&bare).restarts > 2, "void");
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    assert_eq!(gaps[0].cause, GapCause::RotatedOut);
    assert!(got == kept, "{} of {}", got.len(), kept.len());
}

#[tokio::test(start_paused = true)]
async fn a_follower_whose_catch_up_is_killed_meets_the_ring_without_a_seam() {
    let sim = engine();
    let web = sim.container("web").run();
    write(&web);
    let bare = Bare::start(&sim, &["--rotation=1s"]);
    let mut subscriber = bare.follow("web").await;
    let mut got = Vec::new();
    for n in 0..10 {
        got.extend(lines(&mut subscriber, 50).await);
        killed(&bare).await;
        web.stdout(format!("new {n}\n"));
    }
    let expected = texts(&web);
    got.extend(lines(&mut subscriber, expected.len() - got.len()).await);
    assert!(got == expected, "{} of {}", got.len(), expected.len());
    let container = bare.task(&web).expect("it runs");
    assert_eq!((container.restarts, container.terminations.len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_that_takes_nothing_is_waited_for_and_one_that_leaves_is_not() {
    let sim = engine();
    let web = sim.container("web").run();
    write(&web);
    let bare = Bare::start(&sim, &[]);
    let mut read = history(&bare, "web", From::Beginning).await;
    let taken = lines(&mut read, 1).await.len();
    // An hour: no heartbeat comes, and none is expected.
    sleep(3_600 * SECOND).await;
    let status = catch_up(&bare);
    assert_eq!((status.state, status.restarts), (State::Waiting, 0));
    assert_eq!(status.deadline_in, None, "{status:?}");
    let rest = texts(&web).len() - taken;
    assert_eq!(lines(&mut read, rest).await.len(), rest);
    assert!(lines(&mut read, 1).await.is_empty());
    bare.until(|bare| catch_up(bare).state == State::Completed)
        .await;

    let read = history(&bare, "web", From::Beginning).await;
    bare.until(|_| sim.stats().log_streams == 1).await;
    drop(read);
    bare.until(|bare| catch_up(bare).state == State::Stopped)
        .await;
    assert_eq!(sim.stats().log_streams, 0);
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_hangs_costs_a_catch_up_no_generation() {
    let sim = engine();
    let web = sim.container("web").run();
    write(&web);
    let bare = Bare::start(&sim, &[]);
    let mut read = history(&bare, "web", From::Beginning).await;
    let mut got = lines(&mut read, 1).await;
    for _ in 0..3 {
        sim.freeze();
        let thaw = async {
            sleep(40 * SECOND).await;
            let state = catch_up(&bare).state;
            sim.thaw();
            state
        };
        let (more, state) = tokio::join!(lines(&mut read, 300), thaw);
        got.extend(more);
        assert_eq!(state, State::Waiting, "for the engine");
    }
    got.extend(lines(&mut read, usize::MAX).await);
    assert!(got == texts(&web), "{}", got.len());
    bare.until(|bare| catch_up(bare).state == State::Completed)
        .await;
    let status = catch_up(&bare);
    let ends = status.terminations.iter().map(|end| end.reason);
    assert_eq!(ends.collect::<Vec<_>>(), [Reason::Completed]);
}

#[tokio::test(start_paused = true)]
async fn what_became_of_catch_ups_is_remembered_for_a_while_and_of_few() {
    let sim = engine();
    let web = sim.container("web").run();
    web.stdout("line\n");
    let bare = Bare::start(&sim, &[]);
    for _ in 0..150 {
        let mut read = history(&bare, "web", From::Beginning).await;
        assert_eq!(lines(&mut read, 2).await, ["line"]);
    }
    bare.until(|bare| catch_ups(bare).iter().all(|s| s.state == State::Completed))
        .await;
    let names: Vec<_> = catch_ups(&bare).into_iter().map(|s| s.spec.name).collect();
    assert_eq!(names.len(), 100);
    let newest = format!("catch-up/{}/150", web.id());
    assert_eq!(names.last(), Some(&newest));
    sleep(302 * SECOND).await;
    assert_eq!(catch_ups(&bare).len(), 0);
    assert!(bare.task(&web).is_some_and(|s| s.state == State::Running));
}

#[tokio::test(start_paused = true)]
async fn a_log_that_cannot_be_read_fails_the_catch_up_with_the_reason() {
    use pulsetail::hub::Ended;
    let sim = engine();
    let mute = sim.container("mute").driver(Driver::none()).run();
    let bare = Bare::start(&sim, &[]);
    bare.until(|bare| bare.find("mute").is_some()).await;
    let container = bare.find("mute").expect("it is listed");
    let mut read = Subscription::history(&bare.registry, container, From::Beginning, 0);
    let words = match read.next().await {
        Item::Ended(Ended::Unreadable(words)) => words,
        other => panic!("{other:?}"),
    };
    bare.until(|bare| catch_up(bare).state == State::Failed)
        .await;
    assert_eq!(catch_up(&bare).terminations[0].message, words);
    drop(read);
    // And is not told for as long as a container's own task is.
    sleep(302 * SECOND).await;
    assert_eq!(catch_ups(&bare).len(), 0);
    assert_eq!(bare.state(&mute), Some(State::Failed));
}
