//! The services over gRPC: the only stage that knows tonic.
//!
//! It checks requests, turns what the hub delivers into messages, and makes every
//! status. It never asks the engine anything.

mod accept;
mod body;
mod container;
mod convert;
mod filter;
mod flushes;
mod health;
mod list;
mod log;
mod membership;
mod outlet;
mod page_token;
mod request;
mod selector;
mod server;
mod status;
mod stream;
mod task;
mod terms;
mod versions;
mod watch;

use std::time::Duration;

use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic_health::pb::health_server::HealthServer;
use tonic_reflection::server::Builder as Reflection;

pub use accept::{Address, Listener};
pub use health::Health;
pub use server::{Compression, Server};

pub(crate) use outlet::WRITE_DEADLINE;
pub(crate) use server::OVERHEAD;
pub(crate) use stream::PROGRESS;

use crate::proto;

/// Streams of one connection; tonic's own default is no limit.
const STREAMS_PER_CONNECTION: u32 = 1_000;
/// A client that does not answer pings is gone.
pub(crate) const PING_INTERVAL: Duration = Duration::from_secs(30);
pub(crate) const PING_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_HEADERS: u32 = 16 * 1024;

/// Serves on `listeners` until `stop` is cancelled and every stream has ended.
///
/// # Errors
/// The server's, or a descriptor set that reflection cannot read.
pub async fn serve(
    server: Server,
    health: Health,
    listeners: Vec<Listener>,
    (stop, tasks): (CancellationToken, TaskTracker),
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    use proto::container_service_server::ContainerServiceServer;
    use proto::log_service_server::LogServiceServer;
    use proto::server_service_server::ServerServiceServer;
    use proto::task_service_server::TaskServiceServer;
    let reflection = || {
        Reflection::configure()
            .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            // With it grpcurl shows the details of a status.
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
    };
    let connections = accept::accept(listeners, &tasks);
    tonic::transport::Server::builder()
        .max_concurrent_streams(STREAMS_PER_CONNECTION)
        .http2_keepalive_interval(Some(PING_INTERVAL))
        .http2_keepalive_timeout(Some(PING_TIMEOUT))
        .http2_max_header_list_size(MAX_HEADERS)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?)
        .add_service(HealthServer::new(health))
        .add_service(body::Unwrapped(
            LogServiceServer::new(server.clone()).max_decoding_message_size(server::MAX_REQUEST),
        ))
        .add_service(
            ContainerServiceServer::new(server.clone())
                .max_decoding_message_size(server::MAX_REQUEST),
        )
        .add_service(TaskServiceServer::new(server.clone()))
        .add_service(ServerServiceServer::new(server))
        .serve_with_incoming_shutdown(ReceiverStream::new(connections), stop.cancelled_owned())
        .await?;
    Ok(())
}
