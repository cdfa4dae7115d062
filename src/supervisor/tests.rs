//! Supervised tasks in virtual time, each generation for real.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::atomic::AtomicUsize;

use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::timings::tests::TABLE;
use super::*;

pub(super) const SECOND: Duration = Duration::from_secs(1);

fn supervisor() -> (Supervisor, JoinHandle<()>) {
    let supervisor = Supervisor::new(Timings::checked(TABLE), TaskTracker::new());
    let watched = supervisor.clone();
    let watching = TaskTracker::new().spawn(async move {
        loop {
            let idle = watched.look();
            sleep(idle.max(SHORTEST)).await;
        }
    });
    (supervisor, watching)
}

pub(super) fn spec(name: impl ToString) -> Spec {
    Spec {
        name: name.to_string(),
        kind: Kind::Container,
        container: None,
    }
}

/// A task whose turns are a script's.
pub(super) struct Scripted<F>(pub(super) F);

impl<F, R> Task for Scripted<F>
where
    F: FnMut() -> R + Send,
    R: Future<Output = Result<Turn<()>, Failure>> + Send,
{
    type Proof = ();

    fn turn(&mut self) -> impl Future<Output = Result<Turn<()>, Failure>> + Send {
        (self.0)()
    }
}

impl Supervisor {
    pub(super) fn of(&self, name: &str) -> Status {
        let all = self.statuses();
        let found = all.into_iter().find(|status| status.spec.name == name);
        found.expect("it was started")
    }

    /// Generations by name.
    fn generations(&self) -> BTreeMap<String, u64> {
        let all = self.statuses().into_iter();
        all.map(|status| (status.spec.name, status.generation))
            .collect()
    }
}

type Lives = Arc<AtomicUsize>;
type Hung = Arc<OnceLock<Instant>>;

/// Turns that wait here and there; in its first life it hangs at one of the places.
fn hanging(seed: u64, lives: &Lives, hung: &Hung) -> impl Task + use<> {
    let life = lives.fetch_add(1, Ordering::Relaxed);
    let mut rng = fastrand::Rng::with_seed(seed);
    let (place, hung) = (rng.usize(1..60), Arc::clone(hung));
    let mut waits = 0;
    Scripted(move || {
        let steps: Vec<_> = (0..rng.usize(0..5)).map(|_| rng.u64(0..1_500)).collect();
        let before = waits;
        waits += steps.len();
        let hung = Arc::clone(&hung);
        async move {
            for (step, wait) in steps.into_iter().enumerate() {
                if life == 0 && before + step >= place {
                    hung.get_or_init(Instant::now);
                    pending::<()>().await;
                }
                sleep(Duration::from_millis(wait)).await;
            }
            sleep(Duration::from_millis(10)).await;
            Ok(Turn::Progress(()))
        }
    })
}

fn fine(_permit: Permit) -> impl Task {
    Scripted(|| async {
        sleep(7 * SECOND).await;
        Ok(Turn::Progress(()))
    })
}

#[tokio::test(start_paused = true)]
async fn a_task_hung_at_any_await_is_replaced_in_time_and_alone() {
    for seed in 0..1_000 {
        let (supervisor, watching) = supervisor();
        let here = Handle::current();
        let (lives, hung) = (Lives::default(), Hung::default());
        let noted = Arc::clone(&hung);
        supervisor.start(spec("hangs"), &here, None, move |_permit| {
            hanging(seed, &lives, &noted)
        });
        for name in ["b", "c"] {
            supervisor.start(spec(name), &here, None, fine);
        }
        let before = supervisor.generations();
        while hung.get().is_none() {
            sleep(SECOND).await;
        }
        let since = *hung.get().expect("it hangs");
        while supervisor.of("hangs").generation == before["hangs"] {
            sleep(Duration::from_millis(100)).await;
        }
        let took = since.elapsed();
        // The turn had begun before; then come a look and a restart's delay.
        let timings = Timings::checked(TABLE);
        let least = timings.turn - Duration::from_millis(7_500);
        let bound = timings.turn + 2 * timings.look;
        assert!(least <= took && took <= bound, "{seed}: {took:?}");
        let changed = supervisor.generations();
        let changed = changed.iter().filter(|(name, now)| before[*name] != **now);
        assert_eq!(changed.count(), 1, "{seed}");
        sleep(10 * SECOND).await;
        let status = supervisor.of("hangs");
        assert_eq!(status.state, State::Running);
        assert_eq!(status.terminations[0].reason, Reason::Stalled);
        watching.abort();
        supervisor.stop_all();
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_told_with_its_place_and_touches_nobody_else() {
    let (supervisor, _watching) = supervisor();
    let here = Handle::current();
    for name in ["a", "b", "c"] {
        let lives = Arc::new(AtomicUsize::new(0));
        let made = move |_permit| {
            let life = lives.fetch_add(1, Ordering::Relaxed);
            Scripted(move || async move {
                sleep(SECOND).await;
                assert!(name != "b" || life > 0, "of all things");
                Ok(Turn::Progress(()))
            })
        };
        supervisor.start(spec(name), &here, None, made);
    }
    let before = supervisor.generations();
    sleep(30 * SECOND).await;
    let after = supervisor.generations();
    assert_eq!((before["a"], before["c"]), (after["a"], after["c"]));
    let status = supervisor.of("b");
    assert_eq!((status.state, status.restarts), (State::Running, 1));
    let end = &status.terminations[0];
    assert_eq!(
        (end.reason, end.generation),
        (Reason::Panicked, before["b"])
    );
    assert!(
        end.message
            .contains("of all things, at src/supervisor/tests.rs:"),
        "{end:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_blocked_task_keeps_its_generation_and_an_open_breaker_asks_for_no_turns() {
    let (supervisor, _watching) = supervisor();
    let (breaker, here) = (Breaker::default(), Handle::current());
    breaker.probed(true);
    let turns = Arc::new(AtomicUsize::new(0));
    let away = Arc::new(AtomicBool::new(false));
    for name in 0..100 {
        let (counted, away) = (Arc::clone(&turns), Arc::clone(&away));
        let made = move |_permit| {
            let (counted, away) = (Arc::clone(&counted), Arc::clone(&away));
            Scripted(move || {
                counted.fetch_add(1, Ordering::Relaxed);
                let away = away.load(Ordering::Relaxed);
                async move {
                    sleep(SECOND).await;
                    Ok(match away {
                        true => Turn::Blocked("no answer".to_owned()),
                        false => Turn::Progress(()),
                    })
                }
            })
        };
        supervisor.start(spec(name), &here, Some(breaker.clone()), made);
    }
    sleep(10 * SECOND).await;
    let before = supervisor.generations();
    away.store(true, Ordering::Relaxed);
    sleep(10 * SECOND).await;
    assert!(!breaker.is_closed());
    let asked = turns.load(Ordering::Relaxed);
    // An hour without engine: nobody is asked, killed or quarantined.
    sleep(3_600 * SECOND).await;
    assert_eq!(turns.load(Ordering::Relaxed), asked);
    let waiting = |status: &Status| status.state == State::Waiting && status.restarts == 0;
    assert!(supervisor.statuses().iter().all(waiting));
    away.store(false, Ordering::Relaxed);
    breaker.probed(true);
    sleep(5 * SECOND).await;
    assert_eq!(supervisor.generations(), before);
    let runs = |status: &Status| status.state == State::Running && status.attempts == 0;
    assert!(supervisor.statuses().iter().all(runs));
}

#[tokio::test(start_paused = true)]
async fn what_a_stopped_task_tries_to_publish_is_refused() {
    let (supervisor, _watching) = supervisor();
    let published = Arc::new(Fenced::new(Vec::new()));
    let log = Arc::clone(&published);
    let started = supervisor.start(
        spec("a"),
        &Handle::current(),
        None,
        move |permit: Permit| {
            let (permit, log) = (Arc::new(permit), Arc::clone(&log));
            Scripted(move || {
                let (permit, log) = (Arc::clone(&permit), Arc::clone(&log));
                async move {
                    if let Some(mut log) = log.enter(&permit) {
                        log.push(permit.generation());
                    }
                    // Whoever is dropped here publishes once more.
                    let _late = Late(&permit, &log);
                    sleep(SECOND).await;
                    Ok(Turn::Progress(()))
                }
            })
        },
    );
    sleep(SECOND / 2).await;
    assert_eq!(*published.get(), [1]);
    supervisor.stop(started);
    sleep(SECOND).await;
    assert_eq!(*published.get(), [1], "it had no right any more");
    assert_eq!(supervisor.of("a").state, State::Stopped);
    assert!(supervisor.0.tracker.is_empty());
}

struct Late<'a>(&'a Permit, &'a Fenced<Vec<u64>>);

impl Drop for Late<'_> {
    fn drop(&mut self) {
        if let Some(mut log) = self.1.enter(self.0) {
            log.push(u64::MAX);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_says_what_it_is_and_a_lasting_one_is_final() {
    let (supervisor, _watching) = supervisor();
    for lasting in [false, true] {
        let made = move |_permit| {
            Scripted(move || async move {
                let message = "it cannot be read".to_owned();
                Err(Failure { message, lasting })
            })
        };
        supervisor.start(spec(lasting), &Handle::current(), None, made);
    }
    sleep(250 * SECOND).await;
    let (again, never) = (supervisor.of("false"), supervisor.of("true"));
    assert_eq!(again.state, State::Quarantined);
    assert_eq!((never.state, never.restarts), (State::Failed, 0));
    assert_eq!(never.terminations[0].message, "it cannot be read");
}

/// The ancestor waited up to 5 s for each, with the lock held that they needed to
/// end (E1.5).
#[tokio::test(start_paused = true)]
async fn a_thousand_tasks_that_hang_are_stopped_at_once() {
    let (supervisor, _watching) = supervisor();
    for name in 0..1_000 {
        let made = |_permit| Scripted(pending::<Result<Turn<()>, Failure>>);
        supervisor.start(spec(name), &Handle::current(), None, made);
    }
    sleep(2 * SECOND).await;
    let tracker = &supervisor.0.tracker;
    assert_eq!(tracker.len(), 1_000, "void");
    let asked = Instant::now();
    supervisor.stop_all();
    tracker.close();
    tracker.wait().await;
    assert_eq!(asked.elapsed(), Duration::ZERO);
}

/// The ancestor's waited 10 s for its own end (E1.6), and a container that was
/// restarted meanwhile was lost (E2.9).
#[tokio::test(start_paused = true)]
async fn a_task_that_stops_itself_ends_at_once_and_its_name_is_free() {
    let (supervisor, _watching) = supervisor();
    let itself = Arc::new(OnceLock::new());
    for life in 1..=3 {
        let (supervised, known) = (supervisor.clone(), Arc::clone(&itself));
        let made = move |_permit| {
            let (supervised, known) = (supervised.clone(), Arc::clone(&known));
            Scripted(move || {
                let (supervised, known) = (supervised.clone(), Arc::clone(&known));
                async move {
                    sleep(SECOND).await;
                    known
                        .get()
                        .into_iter()
                        .for_each(|own| supervised.stop(*own));
                    pending().await
                }
            })
        };
        let started = supervisor.start(spec("a"), &Handle::current(), None, made);
        assert_eq!(itself.get_or_init(|| started), &started);
        sleep(SECOND + Duration::from_millis(1)).await;
        let status = supervisor.of("a");
        assert_eq!((status.state, status.generation), (State::Stopped, life));
    }
}

/// The ancestor killed and forgot in one sweep what had run for over an hour (E1.3).
#[tokio::test(start_paused = true)]
async fn a_task_that_hangs_after_hours_is_replaced_and_its_name_remembered() {
    let (supervisor, _watching) = supervisor();
    let begun = Instant::now();
    let made = move |_permit| {
        Scripted(move || async move {
            if (7_200..7_215).contains(&begun.elapsed().as_secs()) {
                pending::<()>().await;
            }
            sleep(SECOND).await;
            Ok(Turn::Progress(()))
        })
    };
    supervisor.start(spec("a"), &Handle::current(), None, made);
    sleep(3 * 3_600 * SECOND).await;
    let status = supervisor.of("a");
    assert_eq!((status.state, status.restarts), (State::Running, 1));
    assert_eq!(status.terminations[0].reason, Reason::Stalled);
}
