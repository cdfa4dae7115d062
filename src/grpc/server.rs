//! What the services share, and `ServerService`.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status};

use super::convert::timestamp;
use super::request::MAX_CONTAINERS;
use super::status::Reason;
use super::stream::PROGRESS;
use super::task::Mark;
use super::versions::Versions;
use crate::docker::{Container, ContainerId, Inventory, Own, Reach, now};
use crate::hub::{Registry, UNIT_BYTES};
use crate::proto;
use crate::supervisor::Supervisor;
use crate::tail::{Cursor, MAX_CURSOR};

/// Largest request, in bytes of protobuf: 4,096 cursors fit.
pub(crate) const MAX_REQUEST: usize = 1024 * 1024;
/// Bytes of a message beside its longest line: a batch closes when it has reached
/// [`UNIT_BYTES`], and may hold one entry more; keys, times and cursor take less
/// than 4 KiB beside the lines.
pub(crate) const OVERHEAD: usize = 2 * UNIT_BYTES;
/// Largest `opened`: the members that do not fit join behind it. Together with the
/// request that it repeats it stays below the 4 MiB of gRPC libraries.
pub(crate) const OPENED_BYTES: usize = 3 * 1024 * 1024;
/// Subscriptions at once, of all clients together.
const MAX_SUBSCRIPTIONS: usize = 10_000;

/// What batches are compressed with, for clients that accept it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Nothing.
    Off,
    /// gzip, once for all clients.
    Gzip,
}

/// The server behind all services. Cloning it is cheap.
#[derive(Debug, Clone)]
pub struct Server(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    registry: Arc<Registry>,
    instance_id: String,
    started: i64,
    draining: CancellationToken,
    tasks: TaskTracker,
    places: Arc<Semaphore>,
    compression: Compression,
    own: Own,
    supervisor: Supervisor,
    task_versions: Versions<String, Mark>,
    container_versions: Versions<ContainerId, Arc<Container>>,
}

impl Server {
    /// A server that reads through `registry` and leaves out its `own` container. Its streams end once `draining` is
    /// cancelled, and run as tasks of `tasks`.
    pub fn new(
        registry: Arc<Registry>,
        (compression, own): (Compression, Own),
        draining: CancellationToken,
        tasks: TaskTracker,
        supervisor: Supervisor,
    ) -> Self {
        Self(Arc::new(Shared {
            registry,
            instance_id: format!("{:016x}", fastrand::u64(..)),
            started: now(),
            draining,
            tasks,
            places: Arc::new(Semaphore::new(MAX_SUBSCRIPTIONS)),
            compression,
            own,
            supervisor,
            task_versions: Versions::default(),
            container_versions: Versions::default(),
        }))
    }

    /// New at each start of the process.
    pub fn instance_id(&self) -> &str {
        &self.0.instance_id
    }

    pub(crate) fn compresses(&self) -> bool {
        self.0.compression == Compression::Gzip
    }

    pub(crate) fn registry(&self) -> &Arc<Registry> {
        &self.0.registry
    }

    pub(crate) fn supervisor(&self) -> &Supervisor {
        &self.0.supervisor
    }

    pub(crate) fn task_versions(&self) -> &Versions<String, Mark> {
        &self.0.task_versions
    }

    pub(crate) fn container_versions(&self) -> &Versions<ContainerId, Arc<Container>> {
        &self.0.container_versions
    }

    pub(crate) fn draining(&self) -> CancellationToken {
        self.0.draining.clone()
    }

    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.tasks.spawn(task);
    }

    pub(crate) fn refuse_while_draining(&self) -> Result<(), Status> {
        match self.0.draining.is_cancelled() {
            true => Err(Reason::Draining.status("the server stops")),
            false => Ok(()),
        }
    }

    /// A place among the subscriptions.
    pub(crate) fn place(&self) -> Result<OwnedSemaphorePermit, Status> {
        let place = Arc::clone(&self.0.places).try_acquire_owned();
        let message = format!("{MAX_SUBSCRIPTIONS} subscriptions are open");
        place.map_err(|_| Reason::SubscriptionLimit.status(message))
    }

    /// The containers, once the engine was listed.
    pub(crate) fn inventory(&self) -> Result<Arc<Inventory>, Status> {
        let inventory = self.registry().inventory();
        if inventory.engine.is_some() {
            return Ok(inventory);
        }
        let message = match &*self.registry().reach().borrow() {
            Reach::Here => "the container engine has not been listed yet".to_owned(),
            Reach::Away(cause) => format!("the container engine does not answer: {cause}"),
        };
        Err(Reason::EngineUnavailable.status(message))
    }

    /// Refuses what needs the engine while it is away.
    pub(crate) fn refuse_without_engine(&self) -> Result<(), Status> {
        match &*self.registry().reach().borrow() {
            Reach::Here => Ok(()),
            Reach::Away(cause) => {
                let message = format!("the container engine does not answer: {cause}");
                Err(Reason::EngineUnavailable.status(message))
            }
        }
    }

    /// The container that this server runs in and leaves out, unless it is named.
    pub(crate) fn own(&self, inventory: &Inventory) -> Option<ContainerId> {
        self.0.own.find(inventory)
    }

    /// What cursors are bound to; 0 before the engine is known.
    pub(crate) fn engine_tag(&self, inventory: &Inventory) -> u64 {
        let engine = inventory.engine.as_ref();
        engine.map_or(0, |engine| Cursor::tag(&engine.id))
    }

    pub(crate) fn host_name(&self, inventory: &Inventory) -> String {
        let engine = inventory.engine.as_ref();
        engine.map_or_else(String::new, |engine| engine.host_name.clone())
    }
}

#[tonic::async_trait]
impl proto::server_service_server::ServerService for Server {
    async fn get_server_info(
        &self,
        _request: Request<proto::GetServerInfoRequest>,
    ) -> Result<Response<proto::GetServerInfoResponse>, Status> {
        let inventory = self.registry().inventory();
        let reachable = self.registry().reach().borrow().is_here();
        let mut engine = proto::Engine {
            reachable,
            ..proto::Engine::default()
        };
        let mut host_id = String::new();
        if let Some(known) = &inventory.engine {
            engine.kind = known.kind.to_owned();
            engine.version = known.version.clone();
            engine.api_version = known.api_version.clone();
            host_id = format!("{:016x}", Cursor::tag(&known.id));
        }
        Ok(Response::new(proto::GetServerInfoResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            instance_id: self.instance_id().to_owned(),
            host_id,
            host_name: self.host_name(&inventory),
            start_time: Some(timestamp(self.0.started)),
            engine: Some(engine),
            limits: Some(limits(self.registry().max_line())),
            features: Vec::new(),
        }))
    }
}

fn limits(max_line: usize) -> proto::Limits {
    let number = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
    proto::Limits {
        max_line_bytes: number(max_line),
        max_response_bytes: number(OPENED_BYTES.max(OVERHEAD + max_line)),
        max_request_bytes: number(MAX_REQUEST),
        max_containers: number(MAX_CONTAINERS),
        max_cursor_bytes: number(MAX_CURSOR),
        progress_interval: PROGRESS.try_into().ok(),
    }
}
