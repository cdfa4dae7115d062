//! Containers that come and go on real engines: what they wrote is delivered, and nothing is left of them.

use std::collections::BTreeMap;
use std::time::Duration;

use pulsetail::proto::log_service_client::LogServiceClient;
use pulsetail::proto::stream_logs_response::Event;
use pulsetail::proto::{ContainerChangeKind as Change, GapCause, StreamLogsResponse, TaskState};
use tokio::task::{JoinSet, block_in_place};
use tokio::time::{sleep, timeout};
use tonic::Streaming;

use crate::engine::{Dockerd, RunOptions};
use crate::kind::{Kind, on_each};
use crate::process::Process;
use crate::server::{line, request};

/// As many as an engine starts in half a minute.
const CONTAINERS: usize = 60;
/// Of which so many are on their way at a time.
const AT_ONCE: usize = 3;
const LINES: usize = 4;
/// What is made once, and the tasks that are remembered.
const MOST_GROWN: u64 = 8 << 20;
/// What takes longer has failed.
const DEADLINE: Duration = Duration::from_secs(240);

/// What was told of one container.
#[derive(Debug, Default)]
struct Told {
    lines: Vec<String>,
    changes: Vec<Change>,
    gaps: Vec<GapCause>,
    /// It runs no more.
    over: bool,
}

impl Told {
    fn take(&mut self, event: Event) {
        match event {
            Event::Batch(batch) => {
                let lines = batch.entries.iter().map(line);
                let lines = lines.map(|line| String::from_utf8_lossy(line).into_owned());
                self.lines.extend(lines);
            }
            Event::Gap(gap) => self.gaps.push(gap.cause()),
            Event::ContainerChange(change) => {
                self.changes.push(change.kind());
                self.over |= change.kind() == Change::Exited;
                // One that had exited before does not exit again.
                let joined = change.member.filter(|_| self.changes.len() == 1);
                self.over |= joined.is_some_and(|member| !member.running);
            }
            _ => {}
        }
    }

    /// One that stays comes whole; one that removes itself does, or a gap says that it does not.
    fn assert_told(&self, name: &str) {
        let expected: Vec<_> = (0..LINES).map(|n| format!("{name} {n}")).collect();
        assert_eq!(self.changes[0], Change::Joined, "{name}: {self:?}");
        assert_eq!(
            self.changes.last(),
            Some(&Change::Removed),
            "{name}: {self:?}"
        );
        if self.lines == expected {
            return;
        }
        assert!(name.contains("auto"), "{name}: {self:?}");
        assert!(expected.starts_with(&self.lines), "{name}: {self:?}");
        assert_eq!(self.gaps, [GapCause::ContainerRemoved], "{name}: {self:?}");
    }
}

/// Starts them, a few at a time.
async fn start(engine: &'static Dockerd) {
    let mut starting = JoinSet::new();
    for number in 0..CONTAINERS {
        if starting.len() == AT_ONCE {
            starting.join_next().await.unwrap().unwrap();
        }
        let automatic = number % 3 == 0;
        let name = format!("churn-{}-{number}", if automatic { "auto" } else { "kept" });
        let options = RunOptions {
            auto_remove: automatic,
            ..RunOptions::default()
        };
        let pause = ["true", "usleep 200000"][number % 2];
        let script = format!("echo {name} 0; echo {name} 1; {pause}; echo {name} 2; echo {name} 3");
        starting.spawn_blocking(move || drop(engine.run(&name, &options, &script)));
    }
    while let Some(started) = starting.join_next().await {
        started.unwrap();
    }
}

/// Names of the tasks that are not over.
async fn tasks(server: &Process) -> Vec<String> {
    let listed = server.tasks().await;
    let is_over = |state| matches!(state, TaskState::Completed | TaskState::Stopped);
    let going = listed.into_iter().filter(|task| !is_over(task.state()));
    // Those of other tests' containers.
    let own = going.filter(|task| task.container.is_none());
    own.map(|task| task.name).collect()
}

async fn churn(kind: Kind) {
    let Some(engine) = Dockerd::shared(kind) else {
        return;
    };
    let server = block_in_place(|| Process::start(engine, &["--linger=0s"]));
    let mut stream = stream(&server).await;
    let before = (tasks(&server).await, server.descriptors());
    let held = server.resident();
    let (mut told, mut removed) = (BTreeMap::<String, Told>::new(), 0);
    let starting = tokio::spawn(start(engine));
    let mut removing = JoinSet::new();
    while removed < CONTAINERS {
        let message = timeout(DEADLINE, stream.message()).await;
        let message = message.unwrap_or_else(|_| panic!("{kind:?}: {told:?}"));
        let event = message.unwrap().unwrap().event.unwrap();
        let container = match &event {
            Event::Batch(batch) => batch.container.clone(),
            Event::Gap(gap) => gap.container.clone(),
            Event::ContainerChange(change) => change.container.clone(),
            _ => None,
        };
        let Some(name) = container.map(|container| container.name) else {
            continue;
        };
        let of = told.entry(name.clone()).or_default();
        let was_whole = of.over && of.lines.len() == LINES;
        of.take(event);
        removed += usize::from(of.changes.last() == Some(&Change::Removed));
        if of.over && of.lines.len() == LINES && !was_whole && name.contains("kept") {
            removing.spawn_blocking(move || engine.remove(&name));
        }
    }
    starting.await.unwrap();
    while let Some(removed) = removing.join_next().await {
        removed.unwrap();
    }
    drop(stream);
    assert_eq!(told.len(), CONTAINERS, "{kind:?}");
    for (name, told) in &told {
        told.assert_told(name);
    }
    let unread = told.values().filter(|told| told.lines.len() < LINES);
    println!(
        "{kind:?}: {} of {CONTAINERS} were gone before they were read",
        unread.count()
    );
    settled(&server, &before).await;
    let grown = server.resident().saturating_sub(held);
    println!("{kind:?}: {grown} bytes more than before");
    assert!(grown < MOST_GROWN, "{kind:?}: {grown} bytes are held");
}

/// Waits until nothing is left beside what there was before: tasks and descriptors. Probes of other tests' containers
/// come and go.
async fn settled(server: &Process, before: &(Vec<String>, usize)) {
    let settled = async {
        while tasks(server).await != before.0 || server.descriptors() > before.1 {
            sleep(Duration::from_millis(50)).await;
        }
    };
    let settled = timeout(DEADLINE, settled).await;
    let (tasks, descriptors) = (tasks(server).await, server.descriptors());
    assert!(
        settled.is_ok(),
        "{tasks:?}, {descriptors}; before {before:?}"
    );
}

/// Follows what is to come and go, as soon as the server is ready.
async fn stream(server: &Process) -> Streaming<StreamLogsResponse> {
    let mut client = LogServiceClient::connect(server.address().to_owned())
        .await
        .unwrap();
    let opened = async {
        loop {
            match client.stream_logs(request(&["churn-*"], None, true)).await {
                Ok(stream) => return stream.into_inner(),
                Err(_not_ready) => sleep(Duration::from_millis(20)).await,
            }
        }
    };
    let mut stream = timeout(DEADLINE, opened).await.unwrap();
    while !matches!(
        stream.message().await.unwrap().unwrap().event,
        Some(Event::CaughtUp(_))
    ) {}
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn containers_that_come_and_go_are_read_and_leave_nothing_behind() {
    on_each(churn).await;
}
