//! What cannot be awaited: loops, blocked threads, deadlocks. Real threads, the
//! table's times a hundred times shorter.

use std::process::Command;
use std::sync::atomic::AtomicUsize;

use tokio::runtime::{Builder, Runtime};
use tokio::time::sleep;

use super::tests::{SECOND, Scripted, spec};
use super::timings::tests::TABLE;
use super::*;

const MS: Duration = Duration::from_millis(1);

/// A supervisor that is watched as in production.
fn watched() -> Supervisor {
    // None of them ends this process.
    watched_until(3_600 * SECOND)
}

/// One that ends the process once a runtime has been stuck for so long.
fn watched_until(stuck: Duration) -> Supervisor {
    let wishes = Wishes {
        look: 10 * MS,
        sweep: 100 * MS,
        canary: 10 * MS,
        silence: 300 * MS,
        stuck,
        turn: 200 * MS,
        verify: 20 * MS,
        open: 20 * MS,
        read: 100 * MS,
        cancel_grace: 50 * MS,
        abort_grace: 50 * MS,
        backoff: 10 * MS,
        ..TABLE
    };
    let timings = Timings::try_new(wishes).expect("they are in order");
    let supervisor = Supervisor::new(timings, TaskTracker::new());
    supervisor.watch().expect("there are threads");
    supervisor
}

fn runtime(workers: usize) -> Runtime {
    let mut runtime = Builder::new_multi_thread();
    let runtime = runtime.worker_threads(workers).enable_all().build();
    runtime.expect("there are threads")
}

/// Waits for what must happen.
fn reached(supervisor: &Supervisor, holds: impl Fn() -> bool) {
    for _ in 0..20_000 {
        if holds() {
            return;
        }
        thread::sleep(MS);
    }
    panic!("{:?}", supervisor.statuses());
}

fn zombies(supervisor: &Supervisor) -> u64 {
    supervisor.0.zombies.load(Ordering::Acquire)
}

/// Blocks every worker of a runtime until this is dropped.
struct Blocked(Arc<AtomicBool>);

impl Blocked {
    fn all(runtime: &Runtime) -> Self {
        let free = Arc::new(AtomicBool::new(false));
        let blocked = Arc::new(AtomicUsize::new(0));
        let workers = runtime.metrics().num_workers();
        for _ in 0..workers {
            let (free, blocked) = (Arc::clone(&free), Arc::clone(&blocked));
            TaskTracker::new().spawn_on(
                async move {
                    blocked.fetch_add(1, Ordering::AcqRel);
                    while !free.load(Ordering::Acquire) {
                        thread::sleep(MS);
                    }
                },
                runtime.handle(),
            );
        }
        while blocked.load(Ordering::Acquire) < workers {
            thread::sleep(MS);
        }
        Self(free)
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// What looping tasks share.
#[derive(Default)]
struct Loops {
    /// They may go on.
    free: AtomicBool,
    /// How many have begun to loop.
    begun: AtomicUsize,
    /// Who has published.
    log: Fenced<Vec<u64>>,
    /// How often somebody was refused that.
    refused: AtomicUsize,
}

/// Turns of 10 ms; the first one of its first life lasts until it is set free.
fn looping(permit: Permit, life: usize, loops: &Arc<Loops>) -> impl Task + use<> {
    let loops = Arc::clone(loops);
    Scripted(move || {
        if life == 0 && !loops.free.load(Ordering::Acquire) {
            loops.begun.fetch_add(1, Ordering::AcqRel);
            while !loops.free.load(Ordering::Acquire) {
                thread::sleep(MS);
            }
        }
        match loops.log.enter(&permit) {
            Some(mut log) => log.push(permit.generation()),
            None => drop(loops.refused.fetch_add(1, Ordering::AcqRel)),
        }
        async {
            sleep(10 * MS).await;
            Ok(Turn::Progress(()))
        }
    })
}

/// Fault row 32. More than `ZOMBIES` of them are a fault of the process.
#[test]
fn tasks_that_never_yield_are_fenced_replaced_beside_themselves_and_counted() {
    const LOOPS: usize = 4;
    let (supervisor, runtime) = (watched(), runtime(LOOPS + 2));
    let loops = Arc::new(Loops::default());
    let mut first = Vec::new();
    for n in 0..LOOPS {
        let (lives, shared) = (AtomicUsize::new(0), Arc::clone(&loops));
        supervisor.start(spec(n), runtime.handle(), None, move |permit| {
            looping(permit, lives.fetch_add(1, Ordering::AcqRel), &shared)
        });
        first.push(supervisor.of(&n.to_string()).generation);
        let number = n as u64 + 1;
        reached(&supervisor, || zombies(&supervisor) == number);
        let alive = number <= ZOMBIES;
        reached(&supervisor, || supervisor.is_alive() == alive);
    }
    for n in 0..LOOPS {
        let of = || supervisor.of(&n.to_string());
        reached(&supervisor, || of().state == State::Running);
        assert_eq!(of().terminations.last().unwrap().reason, Reason::Stalled);
        // Its successor delivers.
        reached(&supervisor, || loops.log.get().contains(&of().generation));
    }
    assert!(!supervisor.is_alive());
    // The zombies wake, may publish nothing, and are zombies no more.
    loops.free.store(true, Ordering::Release);
    reached(&supervisor, || zombies(&supervisor) == 0);
    assert_eq!(loops.refused.load(Ordering::Acquire), LOOPS);
    assert!(first.iter().all(|dead| !loops.log.get().contains(dead)));
    reached(&supervisor, || supervisor.is_alive());
    supervisor.stop_all();
}

/// The ancestor held its lock for as long as a task took to stop, and with it
/// everybody's heartbeats (E1.4, E1.8).
#[test]
fn a_task_that_does_not_stop_holds_up_neither_who_stops_it_nor_others() {
    let (supervisor, runtime) = (watched(), runtime(3));
    let loops = Arc::new(Loops::default());
    let (lives, shared) = (AtomicUsize::new(0), Arc::clone(&loops));
    let stuck = supervisor.start(spec("stuck"), runtime.handle(), None, move |permit| {
        looping(permit, lives.fetch_add(1, Ordering::AcqRel), &shared)
    });
    let begun = || loops.begun.load(Ordering::Acquire) == 1;
    reached(&supervisor, begun);
    supervisor.keep_canary("service", runtime.handle());
    // This returns although it loops, and so does whatever asks.
    supervisor.stop(stuck);
    let beats = || supervisor.of("canary/service").heartbeat_age.is_some();
    reached(&supervisor, beats);
    reached(&supervisor, || zombies(&supervisor) == 1);
    // Its name is free.
    let fine = |_permit| {
        Scripted(|| async {
            sleep(MS).await;
            Ok(Turn::Progress(()))
        })
    };
    supervisor.start(spec("stuck"), runtime.handle(), None, fine);
    let runs = || supervisor.of("stuck").state == State::Running;
    reached(&supervisor, runs);
    loops.free.store(true, Ordering::Release);
    reached(&supervisor, || zombies(&supervisor) == 0);
    supervisor.stop_all();
}

/// Fault row 33.
#[test]
fn a_blocking_call_on_each_worker_fails_liveness_and_the_watchdog_still_acts() {
    let (supervisor, service, other) = (watched(), runtime(2), runtime(1));
    supervisor.keep_canary("service", service.handle());
    supervisor.keep_canary("other", other.handle());
    let hangs = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&hangs);
    supervisor.start(spec("a"), other.handle(), None, move |_permit| {
        let told = Arc::clone(&told);
        Scripted(move || {
            let hangs = told.swap(false, Ordering::AcqRel);
            async move {
                if hangs {
                    std::future::pending::<()>().await;
                }
                sleep(10 * MS).await;
                Ok(Turn::Progress(()))
            }
        })
    });
    reached(&supervisor, || supervisor.of("a").state == State::Running);
    reached(&supervisor, || supervisor.is_alive());
    let blocked = Blocked::all(&service);
    reached(&supervisor, || !supervisor.is_alive());
    hangs.store(true, Ordering::Release);
    reached(&supervisor, || {
        let status = supervisor.of("a");
        status.restarts == 1 && status.state == State::Running
    });
    assert!(!supervisor.is_alive());
    drop(blocked);
    reached(&supervisor, || supervisor.is_alive());
    supervisor.stop_all();
}

/// Fault row 33, of the one thread that reads the engine: the process ends.
#[test]
fn a_runtime_that_stays_stuck_ends_the_process_with_70() {
    let this = std::env::current_exe().expect("it runs");
    let test = "supervisor::stuck::a_runtime_that_stays_stuck";
    let arguments = ["--ignored", "--exact", test];
    let run = Command::new(this).args(arguments).output();
    let run = run.expect("it runs again");
    let said = String::from_utf8_lossy(&run.stdout);
    assert_eq!(run.status.code(), Some(SOFTWARE), "{said}");
}

#[test]
#[ignore = "run by the test above, as it ends its process"]
fn a_runtime_that_stays_stuck() {
    let (supervisor, engine) = (watched_until(SECOND), runtime(1));
    supervisor.keep_canary("engine", engine.handle());
    // One that comes back in time ends nothing.
    let blocked = Blocked::all(&engine);
    reached(&supervisor, || !supervisor.is_alive());
    drop(blocked);
    reached(&supervisor, || supervisor.is_alive());
    let _blocked = Blocked::all(&engine);
    reached(&supervisor, || false);
}

/// Fault row 34: two locks taken in two orders, one of them the supervisor's own.
#[test]
fn a_deadlock_over_the_supervisors_lock_fails_liveness_which_takes_none() {
    let (supervisor, service) = (watched(), runtime(1));
    supervisor.keep_canary("service", service.handle());
    reached(&supervisor, || supervisor.is_alive());
    let other = Arc::new(Mutex::new(()));
    let both = Arc::new(std::sync::Barrier::new(2));
    let (held, met, there) = (supervisor.clone(), Arc::clone(&both), Arc::clone(&other));
    thread::spawn(move || {
        let _inner = held.0.inner();
        met.wait();
        let _never = there.lock();
    });
    let held = supervisor.clone();
    thread::spawn(move || {
        let _other = other.lock();
        both.wait();
        held.statuses();
    });
    let noticed = (0..20_000).any(|_| {
        thread::sleep(MS);
        !supervisor.is_alive()
    });
    // Its canary waits for the lock as well: this runtime never ends by itself.
    service.shutdown_background();
    assert!(noticed);
}

/// Fault row 35.
#[test]
fn a_watchdog_that_died_fails_liveness() {
    let (supervisor, service) = (watched(), runtime(1));
    supervisor.keep_canary("service", service.handle());
    reached(&supervisor, || supervisor.is_alive());
    supervisor.strike_watchdog();
    reached(&supervisor, || !supervisor.is_alive());
    // Nothing that goes on makes up for it.
    let beat = supervisor.of("canary/service").heartbeat_age;
    thread::sleep(20 * MS);
    assert!(beat.is_some() && !supervisor.is_alive());
}
