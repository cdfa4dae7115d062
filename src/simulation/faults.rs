//! A task that panics, hangs or is killed at any of the points where it waits:
//! fault row 31, and the bound within which a hung one is replaced.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use pulsetail_sim::Container;
use tokio::time::{Instant, sleep};
use tokio_util::task::TaskTracker;

use super::{Follower, LOOK, SECOND, World, engine, seeds};
use crate::supervisor::{Blow, Reason, State, Status};

/// Tasks of every kind.
const TASKS: [&str; 7] = [
    "inventory",
    "roster",
    "event-feed",
    "engine-probe",
    "canary/engine",
    "container/api",
    "container/web",
];
/// Points at which each is struck; the first ones are those of its beginning.
const WAITS: usize = 15;

/// How a task comes to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Panic,
    Hang,
    Kill,
}

/// What is done to whom, when.
#[derive(Clone, Copy, Debug)]
struct Ordeal {
    seed: u64,
    task: &'static str,
    /// It is struck as it waits for the how manieth time.
    wait: usize,
    end: End,
}

/// When a task was replaced.
type Noticed = Arc<OnceLock<Instant>>;

fn noticed(world: &World, name: &str) -> Noticed {
    let noticed = Noticed::default();
    let (supervisor, name, told) = (
        world.supervisor.clone(),
        name.to_owned(),
        Arc::clone(&noticed),
    );
    TaskTracker::new().spawn(async move {
        let is_its = |status: &Status| status.spec.name == name && status.restarts > 0;
        while !supervisor.statuses().iter().any(is_its) {
            sleep(LOOK).await;
        }
        told.get_or_init(Instant::now);
    });
    noticed
}

/// A service with two containers that write, each with a follower, and a third
/// that writes nothing.
struct Scene {
    world: World,
    containers: Vec<Container>,
    followers: Vec<Follower>,
    written: usize,
}

impl Scene {
    /// All write a line, and time passes.
    async fn write_on(&mut self) {
        for container in &self.containers {
            container.stdout(format!("{}\n", self.written));
        }
        self.written += 1;
        // What the engine tells is looked at.
        self.containers[0].emit("update");
        sleep(LOOK).await;
    }
}

impl Ordeal {
    /// The task's real name: a reader's has its container's id.
    fn name(&self, containers: &[Container]) -> String {
        match self.task {
            "container/api" => format!("container/{}", containers[0].id()),
            "container/web" => format!("container/{}", containers[1].id()),
            name => name.to_owned(),
        }
    }

    fn reason(&self) -> Reason {
        match self.end {
            End::Panic => Reason::Panicked,
            End::Hang | End::Kill => Reason::Stalled,
        }
    }

    /// Whether it was ever struck. Holds that nobody else was replaced, that it was
    /// within its bound, and that nothing is lost, repeated or forgotten.
    async fn run(self) -> bool {
        let (sim, containers) = engine(&["api", "web"]);
        let name = self.name(&containers);
        let mut struck = None;
        let blow = match self.end {
            End::Panic => Some(Blow::Panic),
            End::Hang => Some(Blow::Hang),
            End::Kill => None,
        };
        let world = World::start(&sim, self.seed, |supervisor| {
            struck = blow.map(|blow| supervisor.strike(&name, self.wait, blow));
        });
        let world = world.await;
        let replaced = noticed(&world, &name);
        let followers = [world.follow("api"), world.follow("web")];
        let followers = futures_util::future::join_all(followers).await;
        let mut scene = Scene {
            world,
            containers,
            followers,
            written: 0,
        };
        let at = match struck {
            None => {
                for _ in 0..self.wait {
                    scene.write_on().await;
                }
                assert!(scene.world.supervisor.condemn(&name), "{self:?}");
                Instant::now()
            }
            Some(struck) => {
                let began = Instant::now();
                while struck.get().is_none() && began.elapsed() < 120 * SECOND {
                    scene.write_on().await;
                }
                let Some(at) = struck.get() else {
                    return false;
                };
                *at
            }
        };
        self.in_time(at, &replaced, &mut scene).await;
        self.goes_on(&name, scene).await;
        true
    }

    /// Its successor begins within the bound.
    async fn in_time(&self, struck: Instant, replaced: &Noticed, scene: &mut Scene) {
        let timings = scene.world.supervisor.timings();
        while replaced.get().is_none() {
            scene.write_on().await;
            assert!(struck.elapsed() < timings.detection(), "{self:?}");
        }
        // A look, the restart's delay, and that the test itself looks rarely.
        let late = timings.look + timings.backoff + 2 * LOOK;
        let took = *replaced.get().expect("it was replaced") - struck;
        let (least, most) = match self.end {
            // The turn had begun before.
            End::Hang => (timings.turn - timings.read - LOOK, timings.turn + late),
            End::Panic | End::Kill => (Duration::ZERO, late),
        };
        assert!(least <= took && took <= most, "{self:?}: {took:?}");
    }

    async fn goes_on(&self, name: &str, mut scene: Scene) {
        let what = format!("{self:?}");
        // Its successor does its work, and what came meanwhile is known.
        scene.world.sim.container("new").run();
        scene.write_on().await;
        scene.world.until_listed("new").await;
        let runs = || scene.world.status(name).state == State::Running;
        scene.world.until(runs).await;
        scene.write_on().await;
        for follower in &mut scene.followers {
            follower.until(scene.written).await;
            follower.hear(LOOK).await;
            follower.assert_whole(scene.written, &what);
        }
        assert_eq!(scene.world.replaced(), [name], "{what}");
        let status = scene.world.status(name);
        assert_eq!(status.restarts, 1, "{what}");
        assert_eq!(status.terminations[0].reason, self.reason(), "{what}");
    }
}

/// Fault row 31.
#[tokio::test(start_paused = true)]
async fn a_panic_at_any_wait_of_any_task_is_its_own_and_costs_no_line() {
    for task in TASKS {
        for wait in 1..=WAITS {
            let ordeal = Ordeal {
                seed: 1,
                task,
                wait,
                end: End::Panic,
            };
            assert!(ordeal.run().await, "void: {ordeal:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_ends_any_task_at_any_time_it_is_replaced_in_its_bound_and_alone() {
    for seed in 0..seeds() {
        let mut rng = fastrand::Rng::with_seed(seed);
        let task = TASKS[rng.usize(..TASKS.len())];
        // It waits for lists that differ, and seldom else.
        let most = if task == "roster" { WAITS } else { 3 * WAITS };
        let ordeal = Ordeal {
            seed,
            task,
            wait: rng.usize(1..most),
            end: [End::Panic, End::Hang, End::Kill][rng.usize(..3)],
        };
        assert!(ordeal.run().await, "void: {ordeal:?}");
    }
}

/// Whether a catch-up was struck. All that is stored comes once, and what follows.
async fn caught_up(blow: Blow, wait: usize) -> bool {
    const STORED: usize = 2_000;
    let (sim, containers) = engine(&["web"]);
    (0..STORED).for_each(|n| containers[0].stdout(format!("{n}\n")));
    let mut struck = None;
    let world = World::start(&sim, 1, |supervisor| {
        struck = Some(supervisor.strike("catch-up/", wait, blow));
    });
    let world = world.await;
    let mut follower = world.follow("web").await;
    follower.until(STORED).await;
    containers[0].stdout(format!("{STORED}\n"));
    follower.until(STORED + 1).await;
    follower.hear(SECOND).await;
    let what = format!("{blow:?} {wait}");
    follower.assert_whole(STORED + 1, &what);
    let struck = struck.is_some_and(|struck| struck.get().is_some());
    let replaced = world.replaced();
    assert_eq!(replaced.len(), usize::from(struck), "{what}: {replaced:?}");
    assert!(replaced.iter().all(|name| name.starts_with("catch-up/")));
    struck
}

/// Fault row 31, of what reads what is stored for one subscriber.
#[tokio::test(start_paused = true)]
async fn a_catch_up_that_panics_or_hangs_at_any_wait_brings_each_line_once() {
    for blow in [Blow::Panic, Blow::Hang] {
        let mut wait = 1;
        while caught_up(blow, wait).await {
            wait += 1;
        }
        assert!(wait > 3, "void: it waits {wait} times");
    }
}
