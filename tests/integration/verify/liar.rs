//! A server that passes on another one's streams, but not as they are.

use std::pin::Pin;

use futures_util::{Stream, StreamExt};
use pulsetail::proto::container_service_client::ContainerServiceClient;
use pulsetail::proto::container_service_server::{ContainerService, ContainerServiceServer};
use pulsetail::proto::log_entry::Line;
use pulsetail::proto::log_service_client::LogServiceClient;
use pulsetail::proto::log_service_server::{LogService, LogServiceServer};
use pulsetail::proto::stream_logs_response::Event;
use pulsetail::proto::{
    ContainerRef, GetContainerRequest, GetContainerResponse, ListContainersRequest,
    ListContainersResponse, ListLogEntriesRequest, ListLogEntriesResponse, LogBatch,
    StreamLogsRequest, StreamLogsResponse, WatchContainersRequest, WatchContainersResponse,
};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use crate::harness::Server;

/// What a lying server does with its streams.
#[derive(Debug, Clone, Copy)]
pub(super) enum Tamper {
    Drop,
    Repeat,
    Swap,
    Cut,
    DropMessage,
    End,
    /// Says nothing of a container, as if it were not selected, to who follows, to who
    /// reads what is stored, or to both.
    LeaveOut {
        follow: bool,
        read: bool,
    },
}

/// A server that passes on another one's streams, but not as they are.
pub(super) struct Tampering {
    pub(super) url: String,
    serving: JoinHandle<()>,
}

impl Tampering {
    /// Lies about any container.
    pub(super) async fn start(server: &Server, tamper: Tamper) -> Self {
        Self::about(server, "", tamper).await
    }

    /// Lies about the container of this name alone.
    pub(super) async fn about(server: &Server, whom: &'static str, tamper: Tamper) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let liar = Liar {
            logs: server.logs(),
            containers: server.containers(),
            whom,
            tamper,
        };
        let serving = tonic::transport::Server::builder()
            .add_service(LogServiceServer::new(liar.clone()))
            .add_service(ContainerServiceServer::new(liar))
            .serve_with_incoming(TcpListenerStream::new(listener));
        let serving = tokio::spawn(async move { serving.await.unwrap() });
        Self { url, serving }
    }
}

impl Drop for Tampering {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

#[derive(Clone)]
struct Liar {
    logs: LogServiceClient<Channel>,
    containers: ContainerServiceClient<Channel>,
    /// Empty: any.
    whom: &'static str,
    tamper: Tamper,
}

type Answer = Result<StreamLogsResponse, Status>;

#[tonic::async_trait]
impl LogService for Liar {
    type StreamLogsStream = Pin<Box<dyn Stream<Item = Answer> + Send>>;

    async fn stream_logs(
        &self,
        request: Request<StreamLogsRequest>,
    ) -> Result<Response<Self::StreamLogsStream>, Status> {
        let request = request.into_inner();
        // What is stored is told as it is: a lie in both would agree with itself.
        let lies = match self.tamper {
            Tamper::LeaveOut { follow, read } => [read, follow][usize::from(request.follow)],
            _ => request.follow,
        };
        let (whom, tamper) = (self.whom, Some(self.tamper).filter(|_| lies));
        let messages = self.logs.clone().stream_logs(request).await?.into_inner();
        let mut lied = false;
        let told = messages.flat_map(move |message| {
            let told = match (message, tamper) {
                (Ok(message), Some(Tamper::LeaveOut { .. })) => without(whom, message),
                (Ok(message), Some(tamper)) if !lied => {
                    let lie = lie(whom, &message, tamper);
                    lied = lie.is_some();
                    lie.unwrap_or_else(|| vec![Ok(message)])
                }
                (message, _) => vec![message],
            };
            futures_util::stream::iter(told)
        });
        Ok(Response::new(told.boxed()))
    }

    async fn list_log_entries(
        &self,
        _: Request<ListLogEntriesRequest>,
    ) -> Result<Response<ListLogEntriesResponse>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }
}

#[tonic::async_trait]
impl ContainerService for Liar {
    type WatchContainersStream = tokio_stream::Empty<Result<WatchContainersResponse, Status>>;

    async fn list_containers(
        &self,
        request: Request<ListContainersRequest>,
    ) -> Result<Response<ListContainersResponse>, Status> {
        self.containers.clone().list_containers(request).await
    }

    async fn get_container(
        &self,
        _: Request<GetContainerRequest>,
    ) -> Result<Response<GetContainerResponse>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }

    async fn watch_containers(
        &self,
        _: Request<WatchContainersRequest>,
    ) -> Result<Response<Self::WatchContainersStream>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }
}

fn is_of(whom: &str, container: Option<&ContainerRef>) -> bool {
    container.is_some_and(|container| container.name == whom)
}

/// What is sent instead of a message, if it can be lied about.
fn lie(whom: &str, message: &StreamLogsResponse, tamper: Tamper) -> Option<Vec<Answer>> {
    let Some(Event::Batch(batch)) = &message.event else {
        return None;
    };
    let concerned = whom.is_empty() || is_of(whom, batch.container.as_ref());
    (concerned && batch.entries.len() > 1).then(|| lies(batch.clone(), tamper))
}

/// What is sent instead of a batch.
fn lies(mut batch: LogBatch, tamper: Tamper) -> Vec<Answer> {
    match tamper {
        Tamper::Drop => drop(batch.entries.remove(0)),
        Tamper::Repeat => batch.entries.insert(0, batch.entries[0].clone()),
        Tamper::Swap => batch.entries.swap(0, 1),
        Tamper::Cut => batch.entries[0].line = Some(Line::Text("o".into())),
        Tamper::DropMessage | Tamper::LeaveOut { .. } => return Vec::new(),
        Tamper::End => return vec![Err(Status::unavailable("gone"))],
    }
    let event = Some(Event::Batch(batch));
    vec![Ok(StreamLogsResponse { event })]
}

/// A message without what it says of a container. The counts stay as they are.
fn without(whom: &str, mut message: StreamLogsResponse) -> Vec<Answer> {
    let of_it = match &mut message.event {
        Some(Event::Opened(opened)) => {
            let others = |member: &_| !is_of(whom, member_of(member));
            opened.members.retain(others);
            false
        }
        Some(Event::Batch(batch)) => is_of(whom, batch.container.as_ref()),
        Some(Event::Gap(gap)) => is_of(whom, gap.container.as_ref()),
        Some(Event::ContainerChange(change)) => is_of(whom, change.container.as_ref()),
        _ => false,
    };
    match of_it {
        true => Vec::new(),
        false => vec![Ok(message)],
    }
}

fn member_of(member: &pulsetail::proto::Member) -> Option<&ContainerRef> {
    member.container.as_ref()
}
