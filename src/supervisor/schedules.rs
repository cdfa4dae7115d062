//! What several threads share here, in orders that chance or care chose.

use std::sync::Arc;
use std::time::Duration;

use shuttle::{future, thread};
use tokio::runtime;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::sync::Mutex;
use super::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use super::sync::in_any_order;
use super::timings::tests::TABLE;
use super::*;

/// Writes of one generation.
const WRITES: usize = 3;

#[test]
fn what_is_written_without_a_permit_is_refused_in_any_order() {
    in_any_order(|| {
        let written = Arc::new(Fenced::new(Vec::new()));
        let write = |permit: Permit| {
            let written = Arc::clone(&written);
            move || {
                for _ in 0..WRITES {
                    if let Some(mut written) = written.enter(&permit) {
                        written.push(permit.generation());
                    }
                }
            }
        };
        let (first, revoke) = Permit::new(1);
        let dying = thread::spawn(write(first));
        revoke.revoke();
        // Its successor starts behind that.
        let (second, _revoke) = Permit::new(2);
        let successor = thread::spawn(write(second));
        for writer in [dying, successor] {
            writer.join().expect("it does not panic");
        }
        let written = written.get();
        assert!(written.is_sorted(), "a dead generation wrote: {written:?}");
        let of_successor = written.iter().filter(|by| **by == 2).count();
        assert_eq!(of_successor, WRITES, "{written:?}");
    });
}

#[test]
fn while_the_engine_is_away_nobody_but_the_prober_asks_it() {
    in_any_order(|| {
        let (breaker, now) = (Breaker::default(), Instant::now());
        breaker.probed(true);
        let asks = Arc::new(AtomicUsize::new(0));
        // They all fail, and open it together.
        let fails = (0..4).map(|task| {
            let breaker = breaker.clone();
            thread::spawn(move || breaker.note(task, false, now))
        });
        let fails: Vec<_> = fails.collect();
        fails
            .into_iter()
            .for_each(|task| task.join().expect("it does not panic"));
        assert!(!breaker.is_closed());
        let back = Arc::new(AtomicBool::new(false));
        let wait = (0..3).map(|task| {
            let (breaker, asks, back) = (breaker.clone(), Arc::clone(&asks), Arc::clone(&back));
            thread::spawn(move || {
                future::block_on(breaker.closed());
                assert!(
                    back.load(Ordering::SeqCst),
                    "it asked an engine that is away"
                );
                asks.fetch_add(1, Ordering::SeqCst);
                breaker.note(task, true, now);
            })
        });
        let waiting: Vec<_> = wait.collect();
        breaker.probed(false);
        back.store(true, Ordering::SeqCst);
        breaker.probed(true);
        // Whoever is not woken waits for ever, which ends the test.
        waiting
            .into_iter()
            .for_each(|task| task.join().expect("it does not panic"));
        assert_eq!(asks.load(Ordering::SeqCst), 3);
        assert!(breaker.is_closed());
    });
}

#[test]
fn failures_from_before_the_engine_came_back_open_nothing() {
    in_any_order(|| {
        let (breaker, now) = (Breaker::default(), Instant::now());
        breaker.probed(true);
        (0..2).for_each(|task| breaker.note(task, false, now));
        let (probed, noted) = (breaker.clone(), breaker.clone());
        let prober = thread::spawn(move || probed.probed(true));
        let third = thread::spawn(move || noted.note(2, false, now));
        prober.join().expect("it does not panic");
        third.join().expect("it does not panic");
        // Unless the third one opened it last.
        if breaker.is_closed() {
            breaker.note(3, false, now);
            assert!(breaker.is_closed(), "for what was before");
        }
    });
}

#[test]
fn stamps_of_canaries_and_of_the_watchdog_are_read_beside_their_writers() {
    in_any_order(|| {
        let supervisor = Supervisor::new(Timings::checked(TABLE), TaskTracker::new());
        let watched = supervisor.clone();
        let watchdog = thread::spawn(move || {
            (0..3).for_each(|_| assert!(watched.look() <= Duration::from_secs(1)));
        });
        let hatching = supervisor.clone();
        let hatcher = thread::spawn(move || {
            (0..2).for_each(|_| drop(hatching.0.canaries.hatch()));
        });
        (0..3).for_each(|_| assert!(supervisor.is_alive()));
        watchdog.join().expect("it does not panic");
        hatcher.join().expect("it does not panic");
    });
}

struct Idle(Arc<Mutex<u64>>);

impl Task for Idle {
    type Proof = ();

    async fn turn(&mut self) -> Result<Turn<()>, Failure> {
        *self.0.lock().expect("nobody panics") += 1;
        Ok(Turn::Progress(()))
    }
}

/// A task whose end, wherever that is, asks the supervisor something.
struct Asks(Supervisor);

impl Drop for Asks {
    fn drop(&mut self) {
        let _told = (self.0.statuses(), self.0.is_alive());
    }
}

/// Fault row 34. Tasks are dropped with their runtime in the midst of it, which tells
/// the supervisor from inside of whatever started them.
#[test]
fn whatever_is_asked_of_a_supervisor_at_once_it_answers() {
    in_any_order(|| {
        let runtime = runtime::Builder::new_current_thread().build();
        let runtime = runtime.expect("it can be made");
        let here = runtime.handle().clone();
        let supervisor = Supervisor::new(Timings::checked(TABLE), TaskTracker::new());
        let count = Arc::new(Mutex::new(0));
        let over = runtime::Builder::new_current_thread().build();
        let over = over.expect("it can be made").handle().clone();
        let start = |name: &str, here: &Handle| {
            let spec = Spec {
                name: name.to_owned(),
                kind: Kind::Container,
                container: None,
            };
            let (count, asked) = (Arc::clone(&count), supervisor.clone());
            // It goes, too, when it is replaced.
            let asks = Asks(asked.clone());
            supervisor.start(spec, here, Some(Breaker::default()), move |_permit| {
                let _asks = (&asks, Asks(asked.clone()));
                Idle(Arc::clone(&count))
            })
        };
        let [first, second] = ["first", "second"].map(|name| start(name, &here));
        // On a runtime that is over nothing but its maker is left of a task.
        assert_eq!(start("third", &over), start("third", &over));
        let acts: [fn(&Supervisor, Started, Started); 4] = [
            |supervisor, first, second| {
                supervisor.stop(first);
                supervisor.release(second);
            },
            |supervisor, first, second| {
                assert!(supervisor.condemn("second") || !supervisor.statuses().is_empty());
                supervisor.hurry(first);
                supervisor.hurry(second);
            },
            |supervisor, _, _| {
                (0..2).for_each(|_| assert!(supervisor.look() <= Duration::from_secs(1)));
            },
            |supervisor, _, _| {
                let _told = (supervisor.is_alive(), supervisor.changes().has_changed());
                supervisor.stop_all();
            },
        ];
        let acting = acts.map(|act| {
            let supervisor = supervisor.clone();
            thread::spawn(move || act(&supervisor, first, second))
        });
        let ends = thread::spawn(move || drop(runtime));
        acting
            .into_iter()
            .for_each(|act| act.join().expect("it does not panic"));
        ends.join().expect("it does not panic");
        // A look that a machine's pause preceded would be the same.
        assert!(supervisor.look() <= Duration::from_secs(1));
    });
}
