//! What is known of the containers, and what that costs the engine.

use std::time::Duration;

use pulsetail::docker::{Change, Changes, State};
use pulsetail_sim::{Ending, Endpoint, Fault, Sim};
use tokio::time::{Instant, sleep};

use crate::bare::Bare;
use crate::harness::engine;

const SECOND: Duration = Duration::from_secs(1);
/// A list is read so often.
const RELIST: Duration = Duration::from_secs(30);
const MINUTE: Duration = Duration::from_secs(60);

fn asked(sim: &Sim, endpoint: Endpoint) -> u64 {
    sim.stats().requests(endpoint)
}

/// Whether a container ran meanwhile, for each change that was told of it.
fn told(changes: &mut Changes, container: &pulsetail_sim::Container) -> Vec<(State, bool)> {
    let all = std::iter::from_fn(|| changes.try_recv().ok());
    let its = all.filter(|change| change.container.id.to_string() == container.id());
    its.map(|change: std::sync::Arc<Change>| (change.container.state, change.ran))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_list_of_idle_containers_is_one_request_and_all_are_looked_at_in_ten_minutes() {
    let sim = engine();
    let running = (0..80).map(|n| sim.container(format!("up-{n}")).run());
    let mut all: Vec<_> = running.collect();
    all.extend((0..10).map(|n| sim.container(format!("made-{n}")).create()));
    all.extend((0..10).map(|n| sim.container(format!("over-{n}")).run()));
    all[90..].iter().for_each(|container| container.exit(0));
    let hidden = sim.container("hidden").label("pulsetail.logs", "deny");
    let _hidden = hidden.run();
    let bare = Bare::start(&sim, &[]);
    bare.until(|bare| bare.find("over-9").is_some()).await;
    // Young ones are looked at once more.
    sleep(3 * RELIST).await;
    let first = [Endpoint::List, Endpoint::Inspect].map(|of| asked(&sim, of));
    sleep(20 * RELIST).await;
    let lists = asked(&sim, Endpoint::List) - first[0];
    let looks = asked(&sim, Endpoint::Inspect) - first[1];
    assert!((19..=20).contains(&lists), "{lists}");
    assert_eq!(looks, 100, "one list in twenty looks at all");
    assert_eq!(bare.registry.inventory().containers.len(), 100);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_no_event_told_of_is_found_by_the_next_list() {
    let sim = engine();
    let [web, job, quiet] = ["web", "job", "quiet"].map(|name| sim.container(name).run());
    job.exit(0);
    let bare = Bare::start(&sim, &[]);
    bare.until(|bare| bare.find("quiet").is_some()).await;
    // Neither what is young nor the list that looks at all.
    sleep(5 * MINUTE).await;
    let mut changes = bare.registry.container_changes();
    let started = || bare.find("web").and_then(|web| web.started);
    let before = started();
    sim.fault(Fault::skip(32).on(Endpoint::Events));
    web.restart();
    job.start();
    job.exit(3);
    web.rename("wob");
    sleep(SECOND).await;
    assert_eq!((started(), told(&mut changes, &job).len()), (before, 0));
    let looks = asked(&sim, Endpoint::Inspect);
    sleep(RELIST).await;
    let web_now = bare.find("wob").expect("it is renamed");
    assert!(web_now.started > before);
    assert_eq!(told(&mut changes, &job), [(State::Exited, true)]);
    assert_eq!(bare.find("job").and_then(|job| job.exit_code), Some(3));
    assert!(told(&mut changes, &quiet).is_empty());
    assert_eq!(asked(&sim, Endpoint::Inspect) - looks, 2);
}

#[tokio::test(start_paused = true)]
async fn a_look_that_hangs_holds_up_no_other_and_few_are_under_way_at_once() {
    let sim = engine();
    let stuck = sim.container("stuck").run();
    let bare = Bare::start(&sim, &[]);
    bare.until(|bare| bare.find("stuck").is_some()).await;
    stuck.fault(Fault::late_head(4 * SECOND).on(Endpoint::Inspect));
    stuck.pause();
    sleep(SECOND / 10).await;
    let slow = Fault::late_head(SECOND / 10).on(Endpoint::Inspect);
    let began = Instant::now();
    for n in 0..70 {
        let new = sim.container(format!("new-{n}"));
        new.run().fault(slow.clone());
    }
    let known = |bare: &Bare| bare.registry.inventory().containers.len();
    bare.until(|bare| known(bare) == 71).await;
    // Seven at a time beside the one that hangs.
    let took = began.elapsed();
    assert!(SECOND <= took && took < SECOND + SECOND / 5, "{took:?}");
    let is_paused = |bare: &Bare| bare.find("stuck").is_some_and(|c| c.state == State::Paused);
    assert!(!is_paused(&bare), "void: it did not hang");
    bare.until(is_paused).await;
}

#[tokio::test(start_paused = true)]
async fn what_was_being_looked_at_as_the_inventory_ended_is_told_by_its_successor() {
    let sim = engine();
    let bare = Bare::start(&sim, &[]);
    let runs = |bare: &Bare| {
        let of = |name| bare.status(name).map(|status| status.state);
        let running = Some(pulsetail::supervisor::State::Running);
        of("inventory") == running && of("event-feed") == running
    };
    sim.container("first").run();
    bare.until(|bare| bare.find("first").is_some() && runs(bare))
        .await;
    let mut changes = bare.registry.container_changes();
    let flash = sim.container("flash").auto_remove().run();
    flash.fault(Fault::late_head(2 * SECOND).on(Endpoint::Inspect));
    sleep(SECOND).await;
    flash.exit(0);
    // The hint that a run began is not where it was told.
    assert!(bare.supervisor.condemn("inventory"));
    sleep(10 * SECOND).await;
    let told = told(&mut changes, &flash);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].1, "it ran: {told:?}");
}

/// A busy engine's events come late: when they do, lists have told all of it.
#[tokio::test(start_paused = true)]
async fn events_that_come_behind_the_end_of_a_container_tell_nothing_of_it() {
    let sim = engine();
    let first = sim.container("first").run();
    let bare = Bare::start(&sim, &[]);
    bare.until(|bare| bare.find("first").is_some()).await;
    sleep(SECOND).await;
    let mut changes = bare.registry.container_changes();
    sim.fault(Fault::pause(100 * SECOND).on(Endpoint::Events));
    first.emit("update");
    let late = sim.container("late").run();
    sleep(RELIST).await;
    assert!(bare.find("late").is_some(), "void: no list");
    late.restart();
    late.exit(0);
    late.remove();
    sleep(RELIST).await;
    assert!(bare.find("late").is_none(), "void: no list");
    sleep(RELIST).await;
    first.rename("renamed");
    sleep(15 * SECOND).await;
    assert!(bare.find("renamed").is_some(), "void: no event came");
    let told = told(&mut changes, &late);
    assert_eq!(told, [(State::Running, true), (State::Running, false)]);
}

/// It is known as it was before; nobody looks at it before a list finds that it is gone.
#[tokio::test(start_paused = true)]
async fn a_run_between_the_last_look_and_the_end_of_a_container_is_told_with_that() {
    let sim = engine();
    let [first, job, over] = ["first", "job", "over"].map(|name| sim.container(name).run());
    job.exit(0);
    over.exit(0);
    let bare = Bare::start(&sim, &[]);
    bare.until(|bare| bare.find("over").is_some()).await;
    sleep(SECOND).await;
    let mut changes = [(); 2].map(|()| bare.registry.container_changes());
    // A list is wanted while a look is under way: nothing else is looked at before.
    first.fault(Fault::late_head(4 * SECOND).on(Endpoint::Inspect));
    sim.fault(Fault::end(Ending::Clean).on(Endpoint::Events).after(1));
    first.emit("update");
    first.emit("update");
    sleep(SECOND).await;
    let looks = asked(&sim, Endpoint::Inspect);
    job.start();
    job.exit(0);
    job.remove();
    over.remove();
    sleep(SECOND).await;
    assert_eq!(
        asked(&sim, Endpoint::Inspect),
        looks,
        "void: they were looked at"
    );
    bare.until(|bare| bare.find("job").is_none()).await;
    assert_eq!(told(&mut changes[0], &job), [(State::Exited, true)]);
    assert_eq!(told(&mut changes[1], &over), [(State::Exited, false)]);
}
