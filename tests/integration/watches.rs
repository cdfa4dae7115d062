//! Status that anyone can read and watch: what there is, then what changes.

use std::collections::BTreeMap;
use std::time::Duration;

use pulsetail::proto::{
    GetTaskRequest, ListTasksRequest, Selector, Task, TaskFilter, TaskState, TaskType,
    TerminationReason, WatchContainersRequest, WatchContainersResponse, WatchPosition,
    WatchTasksRequest, WatchTasksResponse, watch_containers_response, watch_tasks_response,
};
use tokio::time::timeout;
use tonic::{Code, Status, Streaming};

use crate::harness::{Server, all, engine, until_so, within};
use crate::requests::told;

/// What a watcher of tasks holds: states by name.
#[derive(Default)]
struct Tasks {
    held: BTreeMap<String, (TaskState, u64)>,
    position: Option<WatchPosition>,
    snapshots: usize,
    deltas: usize,
}

impl Tasks {
    async fn hear(&mut self, watch: &mut Streaming<WatchTasksResponse>) {
        use watch_tasks_response::Event;
        let message = within(watch.message()).await.expect("it is open");
        let message = message.expect("it is open");
        let shown = |task: Task| (task.name.clone(), (task.state(), task.generation));
        match message.event.expect("a known event") {
            Event::Snapshot(snapshot) => {
                self.snapshots += 1;
                self.held = snapshot.tasks.into_iter().map(shown).collect();
            }
            Event::Delta(delta) => {
                self.deltas += 1;
                for name in &delta.removed_names {
                    assert!(self.held.remove(name).is_some(), "{name} was never told");
                }
                self.held.extend(delta.upserted.into_iter().map(shown));
            }
            Event::Bookmark(_) => {}
        }
        self.position = message.position;
    }

    async fn until(
        &mut self,
        watch: &mut Streaming<WatchTasksResponse>,
        holds: impl Fn(&BTreeMap<String, (TaskState, u64)>) -> bool,
    ) {
        while !holds(&self.held) {
            self.hear(watch).await;
        }
    }
}

async fn watch(server: &Server, request: WatchTasksRequest) -> Streaming<WatchTasksResponse> {
    let watched = server.tasks().watch_tasks(request).await;
    watched.expect("it is served").into_inner()
}

fn running(name: &str) -> impl Fn(&BTreeMap<String, (TaskState, u64)>) -> bool {
    move |held| {
        held.get(name)
            .is_some_and(|(state, _)| *state == TaskState::Running)
    }
}

async fn get(server: &Server, name: &str) -> Result<Task, Status> {
    let name = name.to_owned();
    let answer = server.tasks().get_task(GetTaskRequest { name }).await?;
    Ok(answer.into_inner().task.expect("always set"))
}

/// The tasks of a filter, in pages of two.
async fn listed(server: &Server, filter: TaskFilter) -> Vec<String> {
    let (mut names, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListTasksRequest {
            filter: Some(filter.clone()),
            page_size: 2,
            page_token,
        };
        let page = server.tasks().list_tasks(request).await;
        let page = page.expect("it is served").into_inner();
        assert!(page.tasks.len() <= 2);
        names.extend(page.tasks.into_iter().map(|task| task.name));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return names;
        }
    }
}

#[tokio::test]
async fn tasks_are_listed_in_pages_and_one_is_told_whole() {
    let sim = engine();
    let web = sim.container("web").run();
    let server = Server::start(&sim).await;
    let mut subscriber = server.open(all("web")).await;
    web.stdout("one\ntwo\n");
    subscriber.entries(2).await;
    let name = format!("container/{}", web.id());
    until_so(async || {
        get(&server, &name)
            .await
            .is_ok_and(|task| task.entries == 2)
    })
    .await;
    let task = get(&server, &name).await.expect("it runs");
    let what = (task.r#type(), task.state());
    assert_eq!(what, (TaskType::Container, TaskState::Running));
    let container = task.container.expect("it has one");
    assert_eq!((&*container.id, &*container.name), (web.id(), "web"));
    let counts = (task.bytes, task.restarts, task.terminations.len());
    assert_eq!(counts, (6, 0, 0));
    assert!(task.heartbeat_age.is_some() && task.data_age.is_some());
    assert!(task.deadline_in.is_some() && task.retry_in.is_none());
    let all = listed(&server, TaskFilter::default()).await;
    let canaries = ["canary/engine", "canary/service"];
    let others = [&*name, "engine-probe", "event-feed", "inventory", "roster"];
    assert_eq!(all, [&canaries[..], &others[..]].concat());
    let filter = TaskFilter {
        container: "web".to_owned(),
        states: vec![TaskState::Running.into()],
        ..TaskFilter::default()
    };
    assert_eq!(listed(&server, filter).await, [name]);
    server.stop().await;
}

#[tokio::test]
async fn what_names_no_task_is_refused() {
    let sim = engine();
    let server = Server::start(&sim).await;
    let missing = get(&server, "nobody").await.expect_err("there is none");
    assert_eq!(missing.code(), Code::NotFound);
    assert_eq!(told(&missing).1, "TASK_NOT_FOUND");
    let empty = get(&server, "").await.expect_err("it is required");
    assert_eq!(told(&empty).1, "FIELD_INVALID");
    let wrong: [fn(&mut TaskFilter); 3] = [
        |filter| filter.types = vec![0],
        |filter| filter.states = vec![99],
        |filter| filter.container = "../x".to_owned(),
    ];
    for spoil in wrong {
        let mut filter = TaskFilter::default();
        spoil(&mut filter);
        let request = WatchTasksRequest {
            filter: Some(filter),
            resume: None,
        };
        let refused = server.tasks().watch_tasks(request).await;
        let refused = refused.expect_err("it is wrong");
        assert_eq!(told(&refused).1, "FIELD_INVALID");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_watch_tells_a_restart_and_keeps_how_it_came() {
    let sim = engine();
    let server = Server::start(&sim).await;
    let mut stream = watch(&server, WatchTasksRequest::default()).await;
    let mut tasks = Tasks::default();
    tasks.until(&mut stream, running("inventory")).await;
    let before = tasks.held["inventory"].1;
    assert!(server.supervisor.condemn("inventory"));
    let replaced = |held: &BTreeMap<String, (TaskState, u64)>| {
        held["inventory"].1 > before && running("inventory")(held)
    };
    tasks.until(&mut stream, replaced).await;
    assert_eq!(tasks.snapshots, 1);
    let task = get(&server, "inventory").await.expect("it runs");
    let end = &task.terminations[0];
    assert_eq!(
        (end.reason(), end.generation),
        (TerminationReason::Stalled, before)
    );
    assert_eq!((task.restarts, task.attempts), (1, 1));
    // Heartbeats alone are no news: the other tasks go on without.
    let (heard, mut quiet) = (tasks.deltas, Duration::ZERO);
    while quiet < Duration::from_secs(3) {
        let step = Duration::from_millis(500);
        match timeout(step, tasks.hear(&mut stream)).await {
            Ok(()) => quiet = Duration::ZERO,
            Err(_silent) => quiet += step,
        }
        assert!(tasks.deltas < heard + 5, "{:?}", tasks.held);
    }
    let _drained = server.drain();
    let status = loop {
        match within(stream.message()).await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it never ends with OK"),
            Err(status) => break status,
        }
    };
    assert_eq!(&*told(&status).1, "DRAINING");
}

#[tokio::test]
async fn a_watch_resumes_by_position_and_a_late_one_skips_what_was_between() {
    let sim = engine();
    let web = sim.container("web").run();
    let server = Server::start(&sim).await;
    let filter = Some(TaskFilter {
        types: vec![TaskType::Container.into()],
        ..TaskFilter::default()
    });
    let mut stream = watch(
        &server,
        WatchTasksRequest {
            filter: filter.clone(),
            resume: None,
        },
    )
    .await;
    let mut tasks = Tasks::default();
    tasks.hear(&mut stream).await;
    let name = format!("container/{}", web.id());
    tasks.until(&mut stream, running(&name)).await;
    drop(stream);
    let (seen, mut last) = ((tasks.snapshots, tasks.deltas), tasks.held[&name].1);
    for _ in 0..3 {
        assert!(server.supervisor.condemn(&name));
        let next = |task: Task| task.state() == TaskState::Running && task.generation > last;
        until_so(async || get(&server, &name).await.is_ok_and(next)).await;
        last = get(&server, &name).await.expect("it runs").generation;
    }
    let resume = tasks.position.clone();
    let mut stream = watch(
        &server,
        WatchTasksRequest {
            filter: filter.clone(),
            resume,
        },
    )
    .await;
    tasks.hear(&mut stream).await;
    assert_eq!((tasks.snapshots, tasks.deltas), (seen.0, seen.1 + 1));
    assert_eq!(tasks.held[&name], (TaskState::Running, last));
    // Of another process, or of the future: all anew.
    let position = tasks.position.clone().expect("it was told");
    let strange = [
        WatchPosition {
            instance_id: "x".to_owned(),
            ..position.clone()
        },
        WatchPosition {
            revision: position.revision + 100,
            ..position
        },
    ];
    for resume in strange {
        let request = WatchTasksRequest {
            filter: filter.clone(),
            resume: Some(resume),
        };
        let (mut stream, mut anew) = (watch(&server, request).await, Tasks::default());
        anew.hear(&mut stream).await;
        assert_eq!((anew.snapshots, &anew.held), (1, &tasks.held));
    }
    server.stop().await;
}

type Containers = BTreeMap<String, String>;

async fn hear(
    watch: &mut Streaming<WatchContainersResponse>,
    held: &mut Containers,
) -> Option<WatchPosition> {
    use watch_containers_response::Event;
    let message = within(watch.message()).await.expect("it is open");
    let message = message.expect("it is open");
    let shown = |container: pulsetail::proto::Container| {
        let state = container.state().as_str_name().to_owned();
        (container.container.expect("always set").name, state)
    };
    match message.event.expect("a known event") {
        Event::Snapshot(snapshot) => *held = snapshot.containers.into_iter().map(shown).collect(),
        Event::Delta(delta) => {
            // The ids are not kept here: one is removed in this test.
            if !delta.removed_ids.is_empty() {
                held.clear();
            }
            held.extend(delta.upserted.into_iter().map(shown));
        }
        Event::Bookmark(_) => {}
    }
    message.position
}

#[tokio::test]
async fn containers_are_watched_and_the_watch_resumes() {
    let sim = engine();
    let web = sim.container("web").run();
    sim.container("db").run();
    let server = Server::start(&sim).await;
    let open = async |names: &[&str], resume: Option<WatchPosition>| {
        let selector = (!names.is_empty()).then(|| Selector {
            names: names.iter().map(ToString::to_string).collect(),
            ..Selector::default()
        });
        let request = WatchContainersRequest { selector, resume };
        let watched = server.containers().watch_containers(request).await;
        watched.map(tonic::Response::into_inner)
    };
    let (mut both, mut one) = (Containers::new(), Containers::new());
    let mut of_all = open(&[], None).await.expect("it is served");
    let mut of_web = open(&["web"], None).await.expect("it is served");
    let position = hear(&mut of_all, &mut both).await;
    hear(&mut of_web, &mut one).await;
    assert_eq!((both.len(), one.len()), (2, 1));
    web.exit(0);
    while one["web"] != "CONTAINER_STATE_EXITED" {
        hear(&mut of_web, &mut one).await;
    }
    drop(of_all);
    sim.container("new").run();
    server.until_listed("new").await;
    let mut resumed = open(&[], position).await.expect("it is served");
    let mut since = Containers::new();
    hear(&mut resumed, &mut since).await;
    assert_eq!(
        since.keys().collect::<Vec<_>>(),
        ["new", "web"],
        "what changed alone"
    );
    web.remove();
    while !one.is_empty() {
        hear(&mut of_web, &mut one).await;
    }
    let missing = open(&["nobody"], None).await.expect_err("there is none");
    assert_eq!(&*told(&missing).1, "CONTAINER_NOT_FOUND");
    server.stop().await;
}
