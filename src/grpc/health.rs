//! `grpc.health.v1` by the protocol's own rules.
//!
//! tonic-health's service says SERVING before anybody has looked, answers a watch
//! of an unknown name with NOT_FOUND, and sends a status again that has not
//! changed. Here a status is read off the facts: nothing has to be set, so nothing
//! can be forgotten. Once draining, every name is NOT_SERVING for good.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::hub::Registry;
use crate::supervisor::Supervisor;

/// Names that need the engine.
const READINESS: [&str; 3] = [
    "",
    "pulsetail.v1.LogService",
    "pulsetail.v1.ContainerService",
];
/// Names that need this process alone.
const LIVENESS: [&str; 3] = [
    "liveness",
    "pulsetail.v1.ServerService",
    "pulsetail.v1.TaskService",
];
/// How often it is looked whether the process is alive.
const LOOK: Duration = Duration::from_secs(1);

/// The facts that health is read off.
#[derive(Debug, Clone)]
pub struct Health {
    registry: Arc<Registry>,
    draining: CancellationToken,
    tasks: TaskTracker,
    supervisor: Supervisor,
}

impl Health {
    /// Health of a server that drains once `draining` is cancelled.
    pub fn new(
        registry: Arc<Registry>,
        draining: CancellationToken,
        tasks: TaskTracker,
        supervisor: Supervisor,
    ) -> Self {
        Self {
            registry,
            draining,
            tasks,
            supervisor,
        }
    }

    fn is_ready(&self) -> bool {
        self.registry.is_ready() && self.is_alive()
    }

    fn is_alive(&self) -> bool {
        self.supervisor.is_alive() && !self.draining.is_cancelled()
    }

    /// `None`: no such name.
    fn status(&self, name: &str) -> Option<ServingStatus> {
        let serving = if READINESS.contains(&name) {
            self.is_ready()
        } else if LIVENESS.contains(&name) {
            self.is_alive()
        } else {
            return None;
        };
        Some(match serving {
            true => ServingStatus::Serving,
            false => ServingStatus::NotServing,
        })
    }

    /// Sends a name's status now and whenever it differs from the last one sent.
    async fn watch(self, name: String, statuses: mpsc::Sender<Answer>) {
        let mut last = None;
        let mut reach = self.registry.reach();
        let mut inventory = self.registry.inventory_changes();
        loop {
            // Marked before the look: what comes after it wakes the wait.
            reach.mark_unchanged();
            inventory.mark_unchanged();
            let now = self.status(&name).unwrap_or(ServingStatus::ServiceUnknown);
            if last.replace(now) != Some(now) && statuses.send(Ok(answer(now))).await.is_err() {
                return;
            }
            if self.draining.is_cancelled() {
                let ended = Err(super::status::Reason::Draining.status("the server stops"));
                // The client may be gone by now.
                let _gone = statuses.send(ended).await;
                return;
            }
            tokio::select! {
                () = statuses.closed() => return,
                () = self.draining.cancelled() => {}
                Ok(()) = reach.changed() => {}
                Ok(()) = inventory.changed() => {}
                () = sleep(LOOK) => {}
            }
        }
    }
}

type Answer = Result<HealthCheckResponse, Status>;

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse {
        status: status.into(),
    }
}

#[tonic::async_trait]
impl health_server::Health for Health {
    type WatchStream = Pin<Box<dyn tokio_stream::Stream<Item = Answer> + Send>>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let unknown = || Status::not_found("unknown service");
        let status = self
            .status(&request.get_ref().service)
            .ok_or_else(unknown)?;
        Ok(Response::new(answer(status)))
    }

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let (sender, statuses) = mpsc::channel(1);
        let name = request.into_inner().service;
        self.tasks.spawn(self.clone().watch(name, sender));
        Ok(Response::new(Box::pin(ReceiverStream::new(statuses))))
    }
}
