//! A plain HTTP client, and the decoding of frames.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{HeaderMap, Request, StatusCode};
use hyper_util::rt::TokioIo;
use pulsetail_sim::Sim;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;

/// How a body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Clean,
    Torn,
}

/// A response whose body is read chunk by chunk.
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    body: Incoming,
    _connection: JoinSet<()>,
}

pub(crate) async fn get(sim: &Sim, target: &str) -> Response {
    request(sim, "GET", target)
        .await
        .expect("the engine answers")
}

pub(crate) async fn request(sim: &Sim, method: &str, target: &str) -> hyper::Result<Response> {
    request_over(sim.connect().expect("the engine is up"), method, target).await
}

pub(crate) async fn request_over(
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    method: &str,
    target: &str,
) -> hyper::Result<Response> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(io)).await?;
    let mut driver = JoinSet::new();
    driver.spawn(async { drop(connection.await) });
    let request = Request::builder()
        .method(method)
        .uri(target)
        .header("host", "docker")
        .body(Empty::<Bytes>::new())
        .expect("the target is a path");
    let response = sender.send_request(request).await?;
    let (head, body) = response.into_parts();
    Ok(Response {
        status: head.status,
        headers: head.headers,
        body,
        _connection: driver,
    })
}

impl Response {
    /// The next piece of the body, or how it ended.
    pub(crate) async fn next(&mut self) -> Result<Bytes, End> {
        match self.body.frame().await {
            Some(Ok(frame)) => Ok(frame.into_data().expect("no trailers are sent")),
            Some(Err(_)) => Err(End::Torn),
            None => Err(End::Clean),
        }
    }

    /// The next piece as text.
    pub(crate) async fn text(&mut self) -> String {
        let piece = self.next().await.expect("the body goes on");
        String::from_utf8(piece.to_vec()).expect("the piece is text")
    }

    /// Whether nothing comes for a minute.
    pub(crate) async fn is_silent(&mut self) -> bool {
        tokio::time::timeout(Duration::from_secs(60), self.next())
            .await
            .is_err()
    }

    /// Everything until the end.
    pub(crate) async fn whole(mut self) -> (Vec<u8>, End) {
        let mut body = Vec::new();
        loop {
            match self.next().await {
                Ok(piece) => body.extend_from_slice(&piece),
                Err(end) => return (body, end),
            }
        }
    }

    /// A JSON document.
    pub(crate) async fn json(self) -> Value {
        let (body, end) = self.whole().await;
        assert_eq!(end, End::Clean);
        serde_json::from_slice(&body).expect("the body is JSON")
    }
}

pub(crate) async fn json(sim: &Sim, target: &str) -> Value {
    get(sim, target).await.json().await
}

/// The payloads of a log request that ends by itself, as text.
pub(crate) async fn lines(sim: &Sim, container: &str, query: &str) -> Vec<String> {
    let target = format!("/containers/{container}/logs?{query}");
    let response = get(sim, &target).await;
    assert_eq!(response.status, StatusCode::OK);
    let (body, end) = response.whole().await;
    assert_eq!(end, End::Clean);
    let text = |(_, payload): (u8, Vec<u8>)| String::from_utf8(payload).expect("the line is text");
    frames(&body).into_iter().map(text).collect()
}

/// Splits multiplexed frames; what is cut fails.
pub(crate) fn frames(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    while let Some((header, rest)) = bytes.split_first_chunk::<8>() {
        assert_eq!(header[1..4], [0, 0, 0]);
        let length = u32::from_be_bytes([header[4], header[5], header[6], header[7]]) as usize;
        frames.push((header[0], rest[..length].to_vec()));
        bytes = &rest[length..];
    }
    assert!(bytes.is_empty(), "half a header is left");
    frames
}
