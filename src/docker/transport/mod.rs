//! What stands between bollard and the engine.
//!
//! bollard 0.21.1 neither escapes names, nor sends the API version, nor bounds a
//! frame or a silent body. This transport owns what it lacks: an allow list of
//! exact paths, the version prefix, deadlines, keepalive, and log bodies of whole
//! and bounded frames. One connection carries one request; dropping the answer
//! closes it.

mod connect;
mod frames;
mod io;
mod response;
mod route;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bollard::BollardRequest;
use bollard::errors::Error;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HOST, HeaderValue};
use hyper::http::uri::PathAndQuery;
use hyper::{Response, Uri};
use hyper_util::rt::TokioIo;

pub use connect::{Connector, TlsSettings};
pub(crate) use frames::{Framing, Kind, next_of_bundle};
pub use io::Flow;

use self::io::EngineIo;
use route::Route;
pub(crate) use route::{BETWEEN, HEAD, PING};

/// The newest API version whose meaning is known here: 1.52 drops the fields of
/// events that older engines send alone.
pub(crate) const NEWEST_MINOR: u32 = 51;

/// Sends bollard's requests.
#[derive(Debug, Clone)]
pub(crate) struct Transport {
    connector: Connector,
    /// Agreed minor API version of major 1; 0 before that.
    minor: Arc<AtomicU32>,
}

impl Transport {
    pub(crate) fn new(connector: Connector) -> Self {
        Self {
            connector,
            minor: Arc::default(),
        }
    }

    /// Sets the API version of every later request.
    pub(crate) fn agree(&self, minor: u32) {
        self.minor.store(minor, Ordering::Relaxed);
    }

    pub(crate) async fn send(
        &self,
        mut request: BollardRequest,
    ) -> Result<Response<Incoming>, Error> {
        let route = Route::of(request.method(), request.uri())
            .ok_or_else(|| refused("the request is not on the allow list"))?;
        *request.uri_mut() = self.target(route, request.uri())?;
        let headers = request.headers_mut();
        headers.insert(HOST, HeaderValue::from_static("docker"));
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        let framing = request.extensions().get().copied();
        let body = route.body(framing.unwrap_or(Framing::Multiplexed));

        let wire = self.connector.connect().await?;
        let io = EngineIo::new(wire, response::Response::new(body), route.silence());
        let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
            .handshake(TokioIo::new(io))
            .await?;
        // It ends when its answer is dropped or complete, or a deadline passes.
        #[allow(
            clippy::disallowed_methods,
            reason = "owned by the answer: ends with it"
        )]
        tokio::spawn(connection);
        Ok(sender.send_request(request).await?)
    }

    fn target(&self, route: Route, uri: &Uri) -> Result<Uri, Error> {
        let path = uri.path_and_query().map_or("/", PathAndQuery::as_str);
        let target = match self.minor.load(Ordering::Relaxed) {
            minor if minor > 0 && route.is_versioned() => format!("/v1.{minor}{path}").parse(),
            _ => path.parse(),
        };
        target.map_err(|_| refused("the request has no valid path"))
    }
}

fn refused(message: &str) -> Error {
    std::io::Error::new(std::io::ErrorKind::PermissionDenied, message).into()
}
