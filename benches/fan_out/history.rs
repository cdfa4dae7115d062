//! Reading what is stored: how much of it a second of processor time brings to one client.

use std::time::{Duration, Instant};

use pulsetail::proto::{LogFilter, StreamLogsRequest, stream_logs_request::Start};
use tonic::codec::CompressionEncoding;
use tonic::transport::Endpoint;

use crate::crowd::{call, followed};
use crate::paced::{self, Script};
use crate::process::Usage;
use crate::results::Results;
use crate::roles::{Engine, Kind, Server};
use crate::wire::times;

const LINES: u64 = 1_000_000;

pub(crate) async fn measure(results: &mut Results) {
    let filter = |filter: LogFilter| {
        let mut request = stored();
        request.filter = Some(filter);
        request
    };
    let pattern = LogFilter {
        regex: "[0-4] x+$".to_owned(),
        ..LogFilter::default()
    };
    let word = LogFilter {
        contains: "1 x".to_owned(),
        ..LogFilter::default()
    };
    let ways = [
        ("history of 1M lines", stored(), "off"),
        ("history of 1M lines; contains", filter(word), "off"),
        ("history of 1M lines; regex", filter(pattern), "off"),
        ("history of 1M lines; gzip", stored(), "gzip"),
    ];
    for (case, request, compression) in ways {
        let (used, seconds) = read(request, compression).await;
        let lines = LINES as f64;
        results.put(case, "Pulsetail", "CPU ns/line", used.cpu / lines);
        results.put(case, "Pulsetail", "lines/s", lines / seconds);
    }
}

fn stored() -> StreamLogsRequest {
    let mut request = followed(&[paced::id(0)]);
    request.follow = false;
    request.start = Some(Start::FromBeginning(true));
    request
}

async fn read(request: StreamLogsRequest, compression: &str) -> (Usage, f64) {
    let script = Script {
        containers: 1,
        stored: 64,
        lines: 64 + LINES,
        rate: 0,
        width: 64,
    };
    let filtered = request.filter.is_some();
    let engine = Engine::start(script);
    engine.go();
    let server = Server::start_with(
        Kind::Pulsetail,
        &engine.socket(),
        &[&format!("--compression={compression}")],
    );
    let channel = Endpoint::from_shared(server.address.clone())
        .unwrap()
        .connect()
        .await
        .unwrap();
    let accepted = (compression == "gzip").then_some(CompressionEncoding::Gzip);
    // Served as soon as the container is known.
    let (started, mut stream) = loop {
        let started = (Instant::now(), Usage::of(server.pid()));
        match call(channel.clone(), request.clone(), accepted).await {
            Ok(stream) => break (started, stream),
            Err(_early) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    let mut lines = 0;
    while let Some(message) = stream.message().await.unwrap() {
        lines += times(&message).map_or(0, Iterator::count);
    }
    assert_eq!(lines as u64 == LINES + 64, !filtered, "{lines}");
    (
        Usage::of(server.pid()) - started.1,
        started.0.elapsed().as_secs_f64(),
    )
}
