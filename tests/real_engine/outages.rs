//! An engine that stands still or dies, again and again: health tells the truth, every container is read on from its
//! cursor, and no task pays for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use pulsetail::proto::task_service_client::TaskServiceClient;
use pulsetail::proto::{ListTasksRequest, Task, TaskType};
use tokio::sync::{Notify, watch};
use tokio::task::{JoinHandle, block_in_place};
use tokio::time::{sleep, timeout};
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::chaos::fragile;
use crate::client::{Client, stored, until_exit};
use crate::engine::{Dockerd, RunOptions, Signal};
use crate::kind::{Kind, on_each};
use crate::server::Server;
use crate::truth::{History, in_file_order};
use crate::writer::{Gates, Script};

/// Written until it is killed: 10 pairs a second.
const ENDLESS: Script = Script {
    pairs: 1_000_000,
    width: 30,
    pace: Some((1, 100_000)),
};
const CONTAINERS: usize = 4;
/// How often health is asked.
const PROBE: Duration = Duration::from_millis(100);
/// Promised of health is 5 s, of the next entry 37 s; on a machine that does much else besides, as much again.
const HEALTH: Duration = Duration::from_secs(5);
const RECOVERY: Duration = Duration::from_secs(37);
/// Between an engine that has come back and the next outage.
const CALM: Duration = Duration::from_secs(6);

/// What happens to an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outage {
    /// SIGSTOP, and SIGCONT after so many seconds.
    Stop(u64),
    /// SIGKILL, and another dockerd on the same folder.
    Kill,
}

/// When an engine was away.
#[derive(Clone, Copy, Debug)]
struct Away {
    from: Instant,
    until: Instant,
}

/// What health said.
#[derive(Clone, Copy, Debug)]
struct Said {
    asked: Instant,
    answered: Instant,
    ready: bool,
    alive: bool,
}

async fn is_serving(health: &mut HealthClient<Channel>, service: &str) -> bool {
    let service = service.to_owned();
    let answer = health.check(HealthCheckRequest { service }).await;
    answer.unwrap().into_inner().status() == ServingStatus::Serving
}

/// Asks for health until told to stop.
async fn ask(channel: Channel, stop: Arc<AtomicBool>) -> Vec<Said> {
    let (mut health, mut said) = (HealthClient::new(channel), Vec::new());
    while !stop.load(Ordering::Acquire) {
        let asked = Instant::now();
        let ready = is_serving(&mut health, "pulsetail.v1.LogService").await;
        let alive = is_serving(&mut health, "liveness").await;
        let answered = Instant::now();
        said.push(Said {
            asked,
            answered,
            ready,
            alive,
        });
        sleep(PROBE).await;
    }
    said
}

/// The longest that health said, in each outage and behind it, what was no longer so: that an engine is there which is
/// away, and the other way round.
fn lies(said: &[Said], aways: &[Away]) -> Vec<[Duration; 2]> {
    let ends = aways.iter().skip(1).map(|next| Some(next.from));
    let calms = aways.iter().zip(ends.chain([None]));
    calms
        .map(|(away, next)| {
            let during = said
                .iter()
                .filter(|said| said.ready && away.from < said.asked && said.answered < away.until);
            let behind = said.iter().filter(|said| {
                !said.ready
                    && away.until < said.asked
                    && next.is_none_or(|next| said.answered < next)
            });
            [
                during.map(|said| said.asked - away.from).max(),
                behind.map(|said| said.asked - away.until).max(),
            ]
            .map(Option::unwrap_or_default)
        })
        .collect()
}

/// One container, and a client that reads it for as long as it lives.
struct Reading {
    name: String,
    id: String,
    entries: watch::Receiver<usize>,
    cut: Arc<Notify>,
    history: JoinHandle<History>,
}

impl Reading {
    async fn start(engine: &Dockerd, server: &Server, gates: &Gates, name: String) -> Self {
        // It keeps all of it: 140 bytes a record, 20 records a second, for an hour.
        let options = RunOptions::rotated(120);
        let run = || gates.run(engine, &name, &options, &ENDLESS.text("1"));
        let id = block_in_place(run);
        let asked = until_exit(&name);
        let client = Client::of(server.address(), asked, History::new(ENDLESS));
        let client = client.await.caught_up().await;
        block_in_place(|| gates.open(&name));
        let (sender, entries) = watch::channel(0);
        let cut = Arc::new(Notify::new());
        let (address, told) = (server.address().to_owned(), Arc::clone(&cut));
        let asked = until_exit(&name);
        let history = tokio::spawn(async move {
            let mut client = client;
            loop {
                tokio::select! {
                    event = client.next() => match event {
                        Some(_) => sender.send_replace(client.history.len()),
                        None => break,
                    },
                    // The stream is given up, and resumed from its last cursor.
                    () = told.notified() => {
                        client = Client::of(&address, asked.clone(), client.history).await;
                        continue;
                    }
                };
            }
            client.history.ended = true;
            client.history
        });
        Self {
            name,
            id,
            entries,
            cut,
            history,
        }
    }

    /// How long it takes until an entry comes that has not come yet.
    async fn recovers(&self) -> Duration {
        let (mut entries, since) = (self.entries.clone(), Instant::now());
        let before = *entries.borrow();
        let comes = entries.wait_for(|now| *now > before);
        let came = timeout(2 * RECOVERY, comes).await;
        assert!(came.is_ok(), "{}: nothing came any more", self.name);
        since.elapsed()
    }
}

async fn tasks(channel: &Channel) -> Vec<Task> {
    let request = ListTasksRequest {
        page_size: 1_000,
        ..ListTasksRequest::default()
    };
    let mut client = TaskServiceClient::new(channel.clone());
    let listed = client.list_tasks(request).await;
    listed.unwrap().into_inner().tasks
}

/// Does it to the engine; from when to when it was away.
async fn undergo(engine: &Dockerd, outage: Outage, cut: &Notify) -> Away {
    let from = Instant::now();
    match outage {
        Outage::Stop(seconds) => {
            block_in_place(|| engine.signal(Signal::Stop));
            // Who resumes is refused while the engine is away, and does not try for ever.
            if seconds < 30 {
                cut.notify_one();
            }
            sleep(Duration::from_secs(seconds)).await;
            block_in_place(|| engine.signal(Signal::Continue));
        }
        Outage::Kill => {
            block_in_place(|| engine.signal(Signal::Kill));
            cut.notify_one();
            block_in_place(|| engine.come_back());
        }
    }
    let until = Instant::now();
    Away { from, until }
}

fn percentiles(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |percent: usize| times.get((times.len() * percent / 100).min(times.len() - 1));
    let shown = [at(50), at(99), times.last()].map(|time| time.copied().unwrap_or_default());
    let [p50, p99, max] = shown.map(|time| time.as_secs_f64());
    format!("p50 {p50:.2} s, p99 {p99:.2} s, max {max:.2} s")
}

/// Puts an engine through outages, and holds Pulsetail to all that is promised meanwhile.
async fn endure(kind: Kind, outages: Vec<Outage>) {
    let engine = fragile(kind).await;
    let server = Server::start(&engine, &[]).await;
    let gates = block_in_place(Gates::new);
    let mut readings = Vec::new();
    for n in 0..CONTAINERS {
        let reading = Reading::start(&engine, &server, &gates, format!("outage-{n}"));
        readings.push(reading.await);
    }
    let channel = Channel::from_shared(server.address().to_owned()).unwrap();
    let channel = channel.connect().await.unwrap();
    let before = tasks(&channel).await;
    let stop = Arc::new(AtomicBool::new(false));
    let asking = tokio::spawn(ask(channel.clone(), Arc::clone(&stop)));
    let (mut aways, mut recoveries) = (Vec::new(), [Vec::new(), Vec::new()]);
    for (round, outage) in outages.iter().enumerate() {
        sleep(CALM).await;
        let cut = &readings[round % CONTAINERS].cut;
        let away = undergo(&engine, *outage, cut).await;
        aways.push(away);
        let recovered = join_all(readings.iter().map(Reading::recovers)).await;
        recoveries[usize::from(*outage == Outage::Kill)].extend(recovered);
    }
    sleep(CALM).await;
    let after = tasks(&channel).await;
    stop.store(true, Ordering::Release);
    let said = asking.await.unwrap();
    for (what, times) in ["SIGSTOP", "SIGKILL"].iter().zip(&recoveries) {
        let (count, shown) = (times.len(), percentiles(times.clone()));
        println!("{kind:?}: {what}: {count} recoveries: {shown}");
    }
    assert_untouched(kind, &before, &after);
    judge_health(kind, &outages, &said, &aways);
    let slow = recoveries.iter().flatten().max();
    assert!(slow < Some(&RECOVERY), "{kind:?}: {recoveries:?}");
    for reading in readings {
        judge(kind, &engine, reading).await;
    }
    server.stop().await;
}

/// Nobody was replaced, quarantined or forgotten. Catch-ups come and go with the
/// streams that are cut.
fn assert_untouched(kind: Kind, before: &[Task], after: &[Task]) {
    let lasting = |task: &&Task| task.r#type() != TaskType::CatchUp;
    let seen = |tasks: &[Task]| -> Vec<_> {
        let seen = tasks
            .iter()
            .filter(lasting)
            .map(|task| (task.name.clone(), task.generation, task.restarts));
        seen.collect()
    };
    assert_eq!(seen(after), seen(before), "{kind:?}");
    let ended = after.iter().filter(lasting);
    let ended = ended.filter(|task| !task.terminations.is_empty());
    assert_eq!(ended.count(), 0, "{kind:?}: {after:#?}");
}

fn judge_health(kind: Kind, outages: &[Outage], said: &[Said], aways: &[Away]) {
    let lies = lies(said, aways);
    for (outage, lie) in outages.iter().zip(&lies) {
        if lie.iter().any(|lie| *lie > HEALTH) {
            println!("{kind:?}: {outage:?}: {lie:?}");
        }
    }
    let slowest = said.iter().map(|said| said.answered - said.asked).max();
    let [there, away] = [0, 1].map(|side| percentiles(lies.iter().map(|lie| lie[side]).collect()));
    println!(
        "{kind:?}: {} outages, {} answers of health, the slowest in {slowest:?}\n\
         {kind:?}: SERVING without an engine for {there}\n\
         {kind:?}: NOT_SERVING with one for {away}",
        aways.len(),
        said.len()
    );
    let noticed = said.iter().filter(|said| !said.ready).count();
    assert!(noticed > 0, "{kind:?}: no outage was noticed");
    let most = lies.iter().flatten().max();
    assert!(most < Some(&(2 * HEALTH)), "{kind:?}");
    let dead = said.iter().filter(|said| !said.alive).count();
    assert_eq!(dead, 0, "{kind:?}: liveness depends on the engine");
}

/// All that the engine has stored came, once and in its order.
async fn judge(kind: Kind, engine: &Dockerd, reading: Reading) {
    block_in_place(|| engine.docker(&["kill", &reading.name]));
    let history = timeout(2 * RECOVERY, reading.history).await;
    let history = history.expect("its stream ends with it").unwrap();
    let kept = stored(engine, &reading.id).await;
    block_in_place(|| engine.remove(&reading.name));
    let last = kept.iter().map(|(_, number)| *number).max();
    let verdict = history.judge(last.unwrap_or(0));
    let what = format!(
        "{kind:?}: {}: {verdict}; {:?}",
        reading.name, history.causes
    );
    println!("{what}");
    assert!(history.ended && !kept.is_empty(), "void: {what}");
    assert!(verdict.is_faithful(), "{what}: {}", verdict.places());
    assert!(in_file_order(&history.order(), &kept), "{what}: order");
    let received = history.keys();
    // What died in the memory of a killed engine was never stored, and no client can know.
    let unread = kept.iter().filter(|key| !received.contains(key));
    assert_eq!(unread.count(), 0, "{what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_an_engine_goes_through_health_is_true_and_nobody_pays_for_it() {
    use Outage::{Kill, Stop};
    on_each(|kind| endure(kind, vec![Stop(10), Kill, Stop(8), Kill])).await;
}

/// 50 outages: 20 kills, and stops of 10 to 15 s but for two of 60 s.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a quarter of an hour: run by tests/long.sh"]
async fn fifty_outages_are_survived_within_their_bounds() {
    let outages = (0..50).map(|n| match n {
        24 | 49 => Outage::Stop(60),
        n if n % 5 < 2 => Outage::Kill,
        n => Outage::Stop(10 + n % 6),
    });
    let outages: Vec<_> = outages.collect();
    on_each(|kind| endure(kind, outages.clone())).await;
}
