//! `TaskService`: its contract stands, its tasks come with supervision.

use tokio_stream::Pending;
use tonic::{Request, Response, Status};

use super::server::Server;
use super::status::Reason;
use crate::proto;

#[tonic::async_trait]
impl proto::task_service_server::TaskService for Server {
    type WatchTasksStream = Pending<Result<proto::WatchTasksResponse, Status>>;

    async fn list_tasks(
        &self,
        _request: Request<proto::ListTasksRequest>,
    ) -> Result<Response<proto::ListTasksResponse>, Status> {
        Err(not_implemented("ListTasks"))
    }

    async fn get_task(
        &self,
        _request: Request<proto::GetTaskRequest>,
    ) -> Result<Response<proto::GetTaskResponse>, Status> {
        Err(not_implemented("GetTask"))
    }

    async fn watch_tasks(
        &self,
        _request: Request<proto::WatchTasksRequest>,
    ) -> Result<Response<Self::WatchTasksStream>, Status> {
        Err(not_implemented("WatchTasks"))
    }
}

fn not_implemented(rpc: &str) -> Status {
    Reason::NotImplemented.status(format!("{rpc} is not implemented by this release"))
}
