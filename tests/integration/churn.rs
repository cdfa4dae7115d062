//! Containers that come and go by the thousand: what they wrote is delivered, and nothing is left of them.

use std::array;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
use std::pin::pin;
use std::time::Duration;

use pulsetail::proto::stream_logs_response::Event;
use pulsetail::proto::{ContainerChangeKind as Change, GapCause};
use pulsetail::supervisor::{Kind, State, Status};
use pulsetail_sim::{Container, Ending, Endpoint, Fault, Sim};
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::harness::{DEADLINE, Server, alone, engine, until};
use crate::memory::resident;
use crate::selectors::{every, following, kinds_of, until_changed};

/// Started each 20 ms: 50 per second.
const PACE: Duration = Duration::from_millis(20);
/// How long each of them runs: ten are up at a time.
const LIFE: Duration = Duration::from_millis(200);
/// Lines that each writes, half of them at once and half at its end.
const LINES: usize = 4;
/// The tasks that are remembered take half of it, the rest is what the allocator keeps.
const MOST_GROWN: usize = 4 << 20;

#[test]
fn two_hundred_containers_at_50_per_second_are_read_and_leave_nothing_behind() {
    alone("churn::two_hundred_containers");
}

/// Its hints are still to be looked at as a list finds that it is gone.
#[tokio::test]
async fn a_container_that_a_list_finds_gone_is_told_so_once() {
    let sim = engine();
    let [web, other] = ["web", "other"].map(|name| sim.container(name).run());
    let server = Server::start(&sim).await;
    let mut heard = server.open(following(every())).await;
    heard.caught_up().await;
    // Whoever looks is held up, and events come to be missed.
    sim.fault(Fault::late_head(Duration::from_millis(500)).on(Endpoint::Inspect));
    let faults = sim.stats().faults;
    other.emit("update");
    sim.wait_until(|stats| stats.faults > faults).await;
    web.restart();
    web.remove();
    // These are heard; the list behind them comes first nevertheless.
    sleep(Duration::from_millis(100)).await;
    sim.fault(Fault::end(Ending::Clean).on(Endpoint::Events));
    other.emit("update");
    until_changed(&mut heard, &web, Change::Removed).await;
    let new = sim.container("new").run();
    new.stdout("line\n");
    heard.entries(1).await;
    let kinds = kinds_of(&heard, web.id());
    let told = |kind| kinds.iter().filter(|told| **told == kind).count();
    assert_eq!(
        (told(Change::Joined), told(Change::Removed)),
        (0, 1),
        "{kinds:?}"
    );
    server.stop().await;
}

/// What a subscriber was told of one container.
#[derive(Default, Debug)]
struct Told {
    lines: Vec<String>,
    changes: Vec<Change>,
    gaps: Vec<GapCause>,
    /// It runs no more.
    over: bool,
}

/// What it was told of all of them, by name; those that are over are judged and forgotten.
#[derive(Default)]
struct Ledger {
    told: BTreeMap<String, Told>,
    removed: usize,
    /// Those that were told of at all.
    heard: BTreeSet<String>,
    /// Removed before all of their lines were read, which a gap said.
    unread: usize,
}

impl Ledger {
    /// Takes the next event; the name of a container all of which is told.
    fn take(&mut self, event: Event) -> Option<String> {
        let container = match &event {
            Event::Batch(batch) => &batch.container,
            Event::Gap(gap) => &gap.container,
            Event::ContainerChange(change) => &change.container,
            _ => return None,
        };
        let name = container.as_ref().expect("it is of one").name.clone();
        self.heard.insert(name.clone());
        let told = self.told.entry(name.clone()).or_default();
        match event {
            Event::Batch(batch) => {
                let lines = batch.entries.iter().map(crate::subscriber::text);
                told.lines.extend(lines.map(str::to_owned));
            }
            Event::Gap(gap) => told.gaps.push(gap.cause()),
            Event::ContainerChange(change) => {
                told.changes.push(change.kind());
                told.over = match change.kind() {
                    // One that had exited before does not exit again.
                    Change::Joined => !change.member.is_some_and(|member| member.running),
                    Change::Exited => true,
                    Change::Removed => {
                        self.judge(&name);
                        return None;
                    }
                    _ => told.over,
                };
            }
            _ => {}
        }
        (told.over && told.lines.len() == LINES).then_some(name)
    }

    fn judge(&mut self, name: &str) {
        let told = self.told.remove(name).expect("it was told of");
        self.removed += 1;
        let expected: Vec<_> = (0..LINES).map(|line| format!("{name} {line}")).collect();
        assert_eq!(told.changes[0], Change::Joined, "{name}: {told:?}");
        if told.lines == expected {
            return;
        }
        // It removed itself: what was read is a beginning, and a gap says that the rest is not.
        self.unread += 1;
        assert!(!name.starts_with("kept"), "{name}: {told:?}");
        assert!(expected.starts_with(&told.lines), "{name}: {told:?}");
        assert_eq!(told.gaps, [GapCause::ContainerRemoved], "{name}: {told:?}");
    }
}

/// One container from its start to its exit.
async fn live(container: Container, name: String) {
    let write = |line| container.stdout(format!("{name} {line}\n"));
    (0..LINES / 2).for_each(write);
    // A flash is over before anybody can look.
    if !name.starts_with("flash") {
        sleep(LIFE).await;
    }
    (LINES / 2..LINES).for_each(write);
    container.exit(0);
}

/// So many containers come and go, at their pace; those that are kept are removed once their end was told. How many
/// were gone before they were read.
async fn churn(sim: &Sim, server: &Server, numbers: Range<usize>) -> usize {
    let stream = server.logs().stream_logs(following(every())).await;
    let mut stream = stream.expect("it is served").into_inner();
    let (mut ledger, mut kept, mut names) = (Ledger::default(), BTreeMap::new(), BTreeSet::new());
    let (count, mut next) = (numbers.len(), numbers);
    let (mut lives, mut pace) = (JoinSet::new(), interval(PACE));
    // All that a machine without time for it has missed would come at once: more than an engine keeps events of.
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut late = pin!(sleep(12 * DEADLINE));
    while ledger.removed < count {
        tokio::select! {
            _ = pace.tick(), if !next.is_empty() => {
                let number = next.next().expect("it is not empty");
                let kind = ["auto", "flash", "kept", "kept"][number % 4];
                let name = format!("{kind}-{number}");
                let container = sim.container(&name);
                let container = match kind {
                    "kept" => container.run(),
                    _ => container.auto_remove().run(),
                };
                kept.insert(name.clone(), container.clone());
                names.insert(name.clone());
                lives.spawn(live(container, name));
            }
            Some(lived) = lives.join_next() => lived.expect("it writes and exits"),
            () = &mut late => panic!(
                "{} of {count}; unfinished: {:?}; never heard of: {:?}",
                ledger.removed,
                ledger.told,
                names.difference(&ledger.heard).collect::<Vec<_>>(),
            ),
            message = stream.message() => {
                let message = message.expect("it goes on").expect("it goes on");
                let over = ledger.take(message.event.expect("it says something"));
                let container = over.and_then(|name| kept.remove(&name));
                container.into_iter().for_each(|container| container.remove());
            }
        }
    }
    ledger.unread
}

/// Tasks of the whole process, tasks that the service runs, what is open at the engine, and open descriptors.
pub(crate) fn counted(server: &Server, sim: &Sim) -> [usize; 5] {
    let descriptors = fs::read_dir("/proc/self/fd").expect("this is Linux");
    let stats = sim.stats();
    [
        Handle::current().metrics().num_alive_tasks(),
        server.engine_tasks.len(),
        stats.connections,
        stats.log_streams,
        descriptors.count(),
    ]
}

/// The least of what is counted within a second: pings come and go.
async fn at_rest(server: &Server, sim: &Sim) -> [usize; 5] {
    let mut least = counted(server, sim);
    for _ in 0..100 {
        sleep(Duration::from_millis(10)).await;
        let now = counted(server, sim);
        least = array::from_fn(|n| least[n].min(now[n]));
    }
    least
}

fn is_at_most(counts: [usize; 5], most: [usize; 5]) -> bool {
    counts.iter().zip(most).all(|(count, most)| *count <= most)
}

/// Waits until the event feed is all that is open at the engine; pings come and go.
async fn settled(server: &Server, sim: &Sim) {
    let reads = |status: &Status| status.spec.kind == Kind::Container;
    let over = || {
        server
            .supervisor
            .statuses()
            .iter()
            .filter(|s| reads(s))
            .all(is_over)
    };
    until(|| over() && sim.stats().log_streams == 0 && sim.stats().connections == 1).await;
}

fn is_over(status: &Status) -> bool {
    matches!(status.state, State::Completed | State::Stopped)
}

/// So many that what is remembered of the past is there come and go, then so many more leave nothing behind.
async fn come_and_go(before: usize, count: usize) {
    let sim = engine();
    let server = Server::start_with(&sim, &["--linger=0s"]).await;
    churn(&sim, &server, 0..before).await;
    settled(&server, &sim).await;
    let idle = at_rest(&server, &sim).await;
    sim.forget_requests();
    let held = resident();
    let unread = churn(&sim, &server, before..before + count).await;
    until(|| is_at_most(counted(&server, &sim), idle)).await;
    sim.forget_requests();
    let grown = resident().saturating_sub(held);
    assert!(
        unread >= count / 4,
        "void: {unread} of {count} were gone before they were read"
    );
    assert!(grown < MOST_GROWN, "{grown} bytes are held");
    server.stop().await;
}

#[tokio::test]
#[ignore = "run by the test above, alone in its process"]
async fn two_hundred_containers() {
    come_and_go(100, 200).await;
}

#[tokio::test]
#[ignore = "run by the long suite, alone in its process"]
async fn a_thousand_containers() {
    come_and_go(1_100, 1_000).await;
}
