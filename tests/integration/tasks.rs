//! What is told of tasks, field by field, and to watchers of every kind.

use std::time::{Duration, SystemTime};

use prost_types::{Duration as Span, Timestamp};
use pulsetail::proto::container_service_client::ContainerServiceClient;
use pulsetail::proto::task_service_client::TaskServiceClient;
use pulsetail::proto::{
    ContainerState, GetTaskRequest, Task, TaskFilter, TaskState, TaskType, TerminationReason,
    WatchContainersRequest, WatchPosition, WatchTasksRequest, watch_containers_response as of,
    watch_tasks_response::Event,
};
use pulsetail_sim::Container;
use tokio::time::{sleep, timeout};
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;

use crate::harness::{Server, all, engine, until_so, within};
use crate::requests::told;

const MS: Duration = Duration::from_millis(1);
/// A watch is never silent for longer.
const BOOKMARK: Duration = Duration::from_secs(10);
/// Who takes nothing for so long is let go.
const WRITE_DEADLINE: Duration = Duration::from_secs(15);

async fn get(server: &Server, name: &str) -> Task {
    let name = name.to_owned();
    let answer = server.tasks().get_task(GetTaskRequest { name }).await;
    let answer = answer.expect("it is there").into_inner();
    answer.task.expect("always set")
}

fn name_of(container: &Container) -> String {
    format!("container/{}", container.id())
}

fn span(span: Option<Span>) -> Duration {
    let span = span.expect("it is set");
    span.try_into().expect("it is not negative")
}

fn time(time: Option<Timestamp>) -> SystemTime {
    let time = time.expect("it is set");
    time.try_into().expect("it is in range")
}

#[tokio::test]
async fn each_field_of_a_task_says_what_the_contract_says() {
    let before = SystemTime::now();
    let sim = engine();
    let web = sim.container("web").run();
    let server = Server::start(&sim).await;
    let name = name_of(&web);
    let mut subscriber = server.open(all("web")).await;
    web.stdout("one\n");
    web.stderr("three\n");
    subscriber.entries(2).await;
    until_so(async || get(&server, &name).await.rotations >= 2).await;
    let task = get(&server, &name).await;
    assert_eq!((task.entries, task.bytes), (2, 8));
    let (start, observed) = (time(task.start_time), time(task.observe_time));
    assert!(before <= start && start < observed && observed <= SystemTime::now());
    let run = observed.duration_since(start).expect("it is later");
    let (heartbeat, data) = (span(task.heartbeat_age), span(task.data_age));
    assert!(
        heartbeat <= data && data <= run,
        "{heartbeat:?} {data:?} {run:?}"
    );
    let (deadline, turn) = (span(task.deadline_in), Duration::from_secs(30));
    assert!(deadline <= turn, "{deadline:?}");
    assert_eq!((task.attempts, task.restarts, task.retry_in), (0, 0, None));

    assert!(server.supervisor.condemn(&name));
    let runs_again =
        |next: &Task| next.generation > task.generation && next.heartbeat_age.is_some();
    until_so(async || runs_again(&get(&server, &name).await)).await;
    let next = get(&server, &name).await;
    // Counts are of the whole time, ages of this generation.
    assert_eq!((next.entries, next.bytes, next.data_age), (2, 8, None));
    assert!(next.rotations >= task.rotations && time(next.start_time) > start);
    assert_eq!((next.attempts, next.restarts), (1, 1));
    let [end] = &next.terminations[..] else {
        panic!("one end: {next:?}");
    };
    let expected = (
        TerminationReason::Stalled,
        task.generation,
        "it was condemned",
    );
    assert_eq!((end.reason(), end.generation, &*end.message), expected);
    assert!(observed <= time(end.time) && time(end.time) <= time(next.start_time));
    web.stdout("two\n");
    subscriber.entries(3).await;
    until_so(async || get(&server, &name).await.data_age.is_some()).await;
    server.stop().await;
}

/// Whether all that health knows of is served.
async fn is_well(server: &Server) -> bool {
    for service in [
        "",
        "liveness",
        "pulsetail.v1.LogService",
        "pulsetail.v1.TaskService",
    ] {
        let service = service.to_owned();
        let asked = server.health().check(HealthCheckRequest { service }).await;
        if asked.expect("it is known").into_inner().status() != ServingStatus::Serving {
            return false;
        }
    }
    true
}

#[tokio::test]
async fn a_task_that_fails_again_and_again_is_quarantined_and_health_is_not_its_matter() {
    let sim = engine();
    let [bad, good] = ["bad", "good"].map(|name| sim.container(name).run());
    let server = Server::start(&sim).await;
    let (name, other) = (name_of(&bad), name_of(&good));
    let mut subscriber = server.open(all("good")).await;
    let goes = get(&server, &other).await.generation;
    let mut generations = Vec::new();
    for failure in 1..=6 {
        until_so(async || server.supervisor.condemn(&name)).await;
        let ended = |task: &Task| task.terminations.len() == failure;
        until_so(async || ended(&get(&server, &name).await)).await;
        let task = get(&server, &name).await;
        generations.insert(0, task.terminations[0].generation);
        assert!(is_well(&server).await);
    }
    let task = get(&server, &name).await;
    assert_eq!((task.state(), task.attempts), (TaskState::Quarantined, 6));
    let retry = span(task.retry_in);
    assert!(Duration::from_secs(290) < retry && retry <= Duration::from_secs(300));
    assert_eq!((task.deadline_in, task.restarts), (None, 5));
    let ends: Vec<_> = task.terminations.iter().map(|end| end.generation).collect();
    assert_eq!(ends, generations, "newest first");
    sleep(1_500 * MS).await;
    assert!(is_well(&server).await);
    good.stdout("one\n");
    subscriber.entries(1).await;
    assert_eq!(get(&server, &other).await.generation, goes);
    // Whoever comes is worth another attempt.
    bad.stdout("two\n");
    let mut late = server.open(all("bad")).await;
    late.entries(1).await;
    let task = get(&server, &name).await;
    assert_eq!((task.restarts, task.terminations.len()), (6, 6));
    server.stop().await;
}

/// Which tasks: those of containers.
fn of_containers(resume: Option<WatchPosition>) -> WatchTasksRequest {
    let filter = TaskFilter {
        types: vec![TaskType::Container.into()],
        ..TaskFilter::default()
    };
    WatchTasksRequest {
        filter: Some(filter),
        resume,
    }
}

#[tokio::test]
async fn a_watch_without_news_has_bookmarks_and_resumes_from_one_with_nothing() {
    let sim = engine();
    let web = sim.container("web").run();
    let server = Server::start(&sim).await;
    let name = name_of(&web);
    until_so(async || get(&server, &name).await.state() == TaskState::Running).await;
    let tasks = async {
        let watched = server.tasks().watch_tasks(of_containers(None)).await;
        let mut watched = watched.expect("it is served").into_inner();
        loop {
            let message = timeout(BOOKMARK + 1_000 * MS, watched.message()).await;
            let message = message.expect("it is never silent").expect("it is open");
            let message = message.expect("it is open");
            if let Some(Event::Bookmark(at)) = message.event {
                assert!(time(Some(at)) <= SystemTime::now());
                return message.position;
            }
        }
    };
    let containers = async {
        let request = WatchContainersRequest::default();
        let watched = server.containers().watch_containers(request).await;
        let mut watched = watched.expect("it is served").into_inner();
        loop {
            let message = timeout(BOOKMARK + 1_000 * MS, watched.message()).await;
            let message = message.expect("it is never silent").expect("it is open");
            let message = message.expect("it is open");
            if let Some(of::Event::Bookmark(_)) = message.event {
                return message.position;
            }
        }
    };
    let (tasks, containers) = tokio::join!(tasks, containers);
    assert!(tasks.is_some() && containers.is_some());
    let mut server_tasks = server.tasks();
    let resumed = server_tasks.watch_tasks(of_containers(tasks)).await;
    let mut resumed = resumed.expect("it is served").into_inner();
    let first = within(resumed.message()).await.expect("it is open");
    let first = first.expect("it is open").event;
    assert!(matches!(first, Some(Event::Bookmark(_))), "{first:?}");
    let request = WatchContainersRequest {
        resume: containers,
        ..WatchContainersRequest::default()
    };
    let resumed = server.containers().watch_containers(request).await;
    let mut resumed = resumed.expect("it is served").into_inner();
    let first = within(resumed.message()).await.expect("it is open");
    let first = first.expect("it is open").event;
    assert!(matches!(first, Some(of::Event::Bookmark(_))), "{first:?}");
    server.stop().await;
}

/// A connection that takes next to nothing unless it is read.
fn narrow(server: &Server) -> Channel {
    let endpoint = server.endpoint().initial_stream_window_size(1_024);
    endpoint.connect_lazy()
}

/// Two runs, each seen by whoever watches.
async fn run_twice(server: &Server, web: &Container) {
    for _ in 0..2 {
        web.exit(0);
        let is_in = async |state| get(server, &name_of(web)).await.state() == state;
        until_so(async || is_in(TaskState::Completed).await).await;
        web.start();
        until_so(async || is_in(TaskState::Running).await).await;
    }
}

#[tokio::test]
async fn a_slow_watcher_skips_what_was_between_and_gets_the_last() {
    let sim = engine();
    let web = sim.container("web").run();
    let server = Server::start(&sim).await;
    let mut slow_tasks = TaskServiceClient::new(narrow(&server));
    let slow = slow_tasks.watch_tasks(of_containers(None)).await;
    let mut slow = slow.expect("it is served").into_inner();
    let mut slow_containers = ContainerServiceClient::new(narrow(&server));
    let request = WatchContainersRequest::default();
    let other = slow_containers.watch_containers(request).await;
    let mut other = other.expect("it is served").into_inner();
    for _ in 0..20 {
        run_twice(&server, &web).await;
    }
    web.exit(7);
    until_so(async || get(&server, &name_of(&web)).await.state() == TaskState::Completed).await;
    let (mut generation, mut messages) = (0, 0);
    let last = get(&server, &name_of(&web)).await;
    let mut held = TaskState::Unspecified;
    while (generation, held) != (last.generation, TaskState::Completed) {
        let message = within(slow.message()).await.expect("it is open");
        let tasks = match message.expect("it is open").event {
            Some(Event::Snapshot(snapshot)) => snapshot.tasks,
            Some(Event::Delta(delta)) => delta.upserted,
            _ => continue,
        };
        for task in tasks {
            (generation, held) = (task.generation, task.state());
        }
        messages += 1;
    }
    // 40 runs of four states and more each.
    assert!(messages < 40, "{messages} of them");
    let mut messages = 0;
    loop {
        let message = within(other.message()).await.expect("it is open");
        let containers = match message.expect("it is open").event {
            Some(of::Event::Snapshot(snapshot)) => snapshot.containers,
            Some(of::Event::Delta(delta)) => delta.upserted,
            _ => continue,
        };
        messages += 1;
        let over = |c: &pulsetail::proto::Container| c.exit_code == Some(7);
        if let Some(web) = containers.last().filter(|web| over(web)) {
            assert_eq!(web.state(), ContainerState::Exited);
            break;
        }
    }
    assert!(messages < 40, "{messages} of them");
    server.stop().await;
}

#[tokio::test]
async fn a_watcher_that_takes_nothing_is_let_go_and_told_why() {
    let sim = engine();
    let web = sim.container("web").run();
    let server = Server::start(&sim).await;
    let mut tasks = TaskServiceClient::new(narrow(&server));
    let stuck = tasks.watch_tasks(of_containers(None)).await;
    let mut stuck = stuck.expect("it is served").into_inner();
    for _ in 0..20 {
        run_twice(&server, &web).await;
    }
    sleep(WRITE_DEADLINE + 1_000 * MS).await;
    let status = loop {
        match within(stuck.message()).await {
            Ok(message) => assert!(message.is_some(), "it never ends with OK"),
            Err(status) => break status,
        }
    };
    assert_eq!(&*told(&status).1, "SLOW_CONSUMER");
    server.stop().await;
}
