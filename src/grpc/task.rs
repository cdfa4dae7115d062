//! `TaskService`: the server's own tasks.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::sync::watch::Receiver;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::convert::timestamp;
use super::log::deadline_of;
use super::selector::check_exact_name;
use super::server::Server;
use super::status::{Reason, Violations, quote};
use super::versions::Versions;
use super::watch::{self, Event, Selected, Watched};
use crate::docker::{ContainerId, now};
use crate::proto::{self, TaskState, TaskType, TerminationReason, watch_tasks_response};
use crate::supervisor::{self, Kind, State};

const DEFAULT_PAGE: usize = 100;
const MAX_PAGE: usize = 1_000;
/// Shortest id prefix.
const MIN_PREFIX: usize = 4;

/// What of a task makes a delta.
pub(crate) type Mark = (State, u64, usize, u64);

/// A `TaskFilter`, checked.
#[derive(Debug, Clone, Default)]
struct Filter {
    types: Vec<TaskType>,
    states: Vec<TaskState>,
    container: String,
}

impl Filter {
    fn of(filter: Option<proto::TaskFilter>, found: &mut Violations) -> Self {
        let filter = filter.unwrap_or_default();
        let types: Vec<_> = filter
            .types()
            .filter(|t| *t != TaskType::Unspecified)
            .collect();
        let what = "unknown or unspecified";
        let known = types.len() == filter.types.len();
        found.require(known, Reason::FieldInvalid, "filter.types", what);
        let states: Vec<_> = filter
            .states()
            .filter(|s| *s != TaskState::Unspecified)
            .collect();
        let known = states.len() == filter.states.len();
        found.require(known, Reason::FieldInvalid, "filter.states", what);
        if !filter.container.is_empty() {
            check_exact_name(&filter.container, "filter.container", found);
        }
        Self {
            types,
            states,
            container: filter.container,
        }
    }

    fn selects(&self, task: &proto::Task) -> bool {
        (self.states.is_empty() || self.states.contains(&task.state())) && self.may_select(task)
    }

    /// Whether it selects it in some state.
    fn may_select(&self, task: &proto::Task) -> bool {
        let of_container = |container: &proto::ContainerRef| {
            let (text, id) = (&self.container, &container.id);
            container.name == *text || text.len() >= MIN_PREFIX && id.starts_with(text)
        };
        (self.types.is_empty() || self.types.contains(&task.r#type()))
            && (self.container.is_empty() || task.container.as_ref().is_some_and(of_container))
    }
}

/// The tasks as one watcher sees them.
struct Tasks {
    server: Server,
    filter: Filter,
    changes: Receiver<u64>,
}

impl Watched for Tasks {
    type Key = String;
    type Mark = Mark;
    type Thing = proto::Task;
    type Response = proto::WatchTasksResponse;

    fn versions(&self) -> &Versions<String, Mark> {
        self.server.task_versions()
    }

    fn read(&self) -> Vec<(String, Mark, Selected<proto::Task>)> {
        let statuses = self.server.supervisor().statuses();
        let shown = statuses.into_iter().map(|status| {
            let last = status.terminations.first().map_or(0, |end| end.generation);
            let mark = (
                status.state,
                status.generation,
                status.terminations.len(),
                last,
            );
            let task = self.server.task(status);
            let name = task.name.clone();
            let selected = match self.filter.selects(&task) {
                true => Selected::Yes(task),
                false if self.filter.may_select(&task) => Selected::Not,
                false => Selected::Never,
            };
            (name, mark, selected)
        });
        shown.collect()
    }

    async fn changed(&mut self) {
        if self.changes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    fn settle(&mut self) {
        self.changes.mark_unchanged();
    }

    fn tell(
        &self,
        position: Option<proto::WatchPosition>,
        event: Event<String, proto::Task>,
    ) -> Self::Response {
        use watch_tasks_response::Event as Told;
        let event = Some(match event {
            Event::Snapshot(tasks, complete) => {
                Told::Snapshot(proto::TaskSnapshot { tasks, complete })
            }
            Event::Delta(upserted, removed_names) => Told::Delta(proto::TaskDelta {
                upserted,
                removed_names,
            }),
            Event::Bookmark(time) => Told::Bookmark(time),
        });
        Self::Response { position, event }
    }
}

#[tonic::async_trait]
impl proto::task_service_server::TaskService for Server {
    type WatchTasksStream = ReceiverStream<Result<proto::WatchTasksResponse, Status>>;

    async fn list_tasks(
        &self,
        request: Request<proto::ListTasksRequest>,
    ) -> Result<Response<proto::ListTasksResponse>, Status> {
        let request = request.into_inner();
        let mut found = Violations::default();
        let filter = Filter::of(request.filter, &mut found);
        let after = page_token(&request.page_token, &mut found);
        found.check()?;
        self.refuse_while_draining()?;
        let size = match usize::try_from(request.page_size).unwrap_or(MAX_PAGE) {
            0 => DEFAULT_PAGE,
            size => size.min(MAX_PAGE),
        };
        let statuses = self.supervisor().statuses().into_iter();
        let tasks = statuses.map(|status| self.task(status));
        let mut tasks: Vec<_> = tasks
            .filter(|task| filter.selects(task) && task.name > after)
            .collect();
        tasks.sort_by(|a, b| a.name.cmp(&b.name));
        let more = tasks.len() > size;
        tasks.truncate(size);
        let last = tasks.last().filter(|_| more);
        let token = |last: &proto::Task| URL_SAFE_NO_PAD.encode(&last.name);
        Ok(Response::new(proto::ListTasksResponse {
            next_page_token: last.map_or_else(String::new, token),
            tasks,
        }))
    }

    async fn get_task(
        &self,
        request: Request<proto::GetTaskRequest>,
    ) -> Result<Response<proto::GetTaskResponse>, Status> {
        let name = request.into_inner().name;
        let mut found = Violations::default();
        let what = "required";
        found.require(!name.is_empty(), Reason::FieldInvalid, "name", what);
        found.check()?;
        self.refuse_while_draining()?;
        let mut statuses = self.supervisor().statuses().into_iter();
        let status = statuses.find(|status| status.spec.name == name);
        let missing = || Reason::TaskNotFound.status(format!("no task {}", quote(&name)));
        let task = Some(self.task(status.ok_or_else(missing)?));
        Ok(Response::new(proto::GetTaskResponse { task }))
    }

    async fn watch_tasks(
        &self,
        request: Request<proto::WatchTasksRequest>,
    ) -> Result<Response<Self::WatchTasksStream>, Status> {
        let deadline = deadline_of(&request);
        let request = request.into_inner();
        let mut found = Violations::default();
        let filter = Filter::of(request.filter, &mut found);
        found.check()?;
        let tasks = Tasks {
            server: self.clone(),
            filter,
            changes: self.supervisor().changes(),
        };
        let answers = watch::open(self, tasks, request.resume, deadline)?;
        Ok(Response::new(ReceiverStream::new(answers)))
    }
}

/// The name after which a page begins.
fn page_token(token: &str, found: &mut Violations) -> String {
    let name = URL_SAFE_NO_PAD.decode(token).ok();
    let name = name.and_then(|bytes| String::from_utf8(bytes).ok());
    let what = "not a token of ListTasks";
    found.require(name.is_some(), Reason::PageTokenInvalid, "page_token", what);
    name.unwrap_or_default()
}

impl Server {
    fn task(&self, status: supervisor::Status) -> proto::Task {
        let inventory = self.registry().inventory();
        let container = status.spec.container.map(|id| {
            let known =
                ContainerId::parse(&id).and_then(|id| inventory.containers.get(&id).cloned());
            proto::ContainerRef {
                name: known.map_or_else(String::new, |known| known.name.clone()),
                id,
            }
        });
        let ends = status.terminations.into_iter();
        let ended = |end: supervisor::Termination| proto::Termination {
            reason: reason(end.reason).into(),
            message: end.message,
            time: Some(timestamp(end.time)),
            generation: end.generation,
        };
        let span = |span: Option<std::time::Duration>| span.and_then(|span| span.try_into().ok());
        proto::Task {
            name: status.spec.name,
            r#type: kind(status.spec.kind).into(),
            state: state(status.state).into(),
            container,
            generation: status.generation,
            attempts: status.attempts,
            restarts: status.restarts,
            observe_time: Some(timestamp(now())),
            start_time: status.started.map(timestamp),
            heartbeat_age: span(status.heartbeat_age),
            data_age: span(status.data_age),
            deadline_in: span(status.deadline_in),
            retry_in: span(status.retry_in),
            rotations: status.work.rotations,
            entries: status.work.entries,
            bytes: status.work.bytes,
            terminations: ends.map(ended).collect(),
        }
    }
}

fn kind(kind: Kind) -> TaskType {
    match kind {
        Kind::Inventory => TaskType::Inventory,
        Kind::EventFeed => TaskType::EventFeed,
        Kind::EngineProbe => TaskType::EngineProbe,
        Kind::Container => TaskType::Container,
        Kind::CatchUp => TaskType::CatchUp,
        Kind::Canary => TaskType::Canary,
    }
}

fn state(state: State) -> TaskState {
    match state {
        State::Pending => TaskState::Pending,
        State::Starting => TaskState::Starting,
        State::Running => TaskState::Running,
        State::Waiting => TaskState::Waiting,
        State::Stopping => TaskState::Stopping,
        State::BackingOff => TaskState::BackingOff,
        State::Quarantined => TaskState::Quarantined,
        State::Completed => TaskState::Completed,
        State::Stopped => TaskState::Stopped,
        State::Failed => TaskState::Failed,
        State::Zombie => TaskState::Zombie,
    }
}

fn reason(reason: supervisor::Reason) -> TerminationReason {
    match reason {
        supervisor::Reason::Completed => TerminationReason::Completed,
        supervisor::Reason::Stopped => TerminationReason::Stopped,
        supervisor::Reason::Failed => TerminationReason::Failed,
        supervisor::Reason::Panicked => TerminationReason::Panicked,
        supervisor::Reason::HeartbeatMissed => TerminationReason::HeartbeatMissed,
        supervisor::Reason::Stalled => TerminationReason::Stalled,
    }
}
