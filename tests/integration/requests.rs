//! Bad requests: refused with the right status and details, before the engine hears of them.

use std::time::Duration;

use prost_types::{Duration as Ago, Timestamp};
use pulsetail::proto::{
    self, ClosingReason, Selector, StreamLogsRequest, stream_logs_request::Start,
};
use pulsetail_sim::{Endpoint, Sim};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::harness::{Server, engine, followed, stored, within};
use crate::subscriber::Subscriber;

/// What a client's program sees of a status.
pub(crate) fn told(status: &Status) -> (Code, String, Vec<String>) {
    let details = status.get_error_details();
    let info = details.error_info().expect("every status says why");
    assert_eq!(info.domain, "pulsetail.v1");
    let fields = details.bad_request().map(|bad| {
        let fields = bad.field_violations.iter().map(|v| v.field.clone());
        fields.collect()
    });
    (
        status.code(),
        info.reason.clone(),
        fields.unwrap_or_default(),
    )
}

pub(crate) async fn refusal(server: &Server, request: StreamLogsRequest) -> Status {
    let opened = server.try_open(request).await;
    opened.err().expect("the request is refused")
}

/// Whether a request only finds out whether a log that nobody reads can be read.
pub(crate) fn is_probe(target: &str) -> bool {
    target.contains("follow=false") && target.ends_with("&tail=1")
}

/// Holds what the engine was asked against the few requests that need no client.
pub(crate) fn assert_untouched(sim: &Sim) {
    let requests = sim.requests();
    for request in requests.iter().filter(|r| !is_probe(&r.target)) {
        let target = request.target.as_str();
        let path = target.split('?').next().unwrap();
        let path = path.strip_prefix("/v1.51").unwrap_or(path);
        let inspected = path
            .strip_prefix("/containers/")
            .and_then(|p| p.strip_suffix("/json"));
        let fixed = ["/_ping", "/version", "/info", "/events", "/containers/json"].contains(&path);
        let whole_id = |id: &str| id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit());
        assert!(fixed || inspected.is_some_and(whole_id), "{target}");
        assert_ne!(request.endpoint, Endpoint::Logs, "{target}");
        assert!(target.len() < 200, "{target}");
    }
}

const fn time(seconds: i64, nanos: i32) -> Timestamp {
    Timestamp { seconds, nanos }
}

const fn ago(seconds: i64, nanos: i32) -> Start {
    Start::SinceAgo(Ago { seconds, nanos })
}

/// A reason, the field it is told of, and what a request for `web` is made of it.
type Wrong = (&'static str, &'static str, fn(&mut StreamLogsRequest));

const WRONG: [Wrong; 18] = [
    ("SELECTOR_EMPTY", "selector", |r| r.selector = None),
    ("SELECTOR_EMPTY", "selector", |r| {
        r.selector = Some(Selector::default());
    }),
    ("FIELD_INVALID", "from_now", |r| {
        r.start = Some(Start::FromNow(false));
    }),
    ("FIELD_INVALID", "from_beginning", |r| {
        r.start = Some(Start::FromBeginning(false));
    }),
    ("FIELD_INVALID", "since", |r| {
        r.start = Some(Start::Since(time(1, 1_000_000_000)));
    }),
    ("FIELD_INVALID", "since", |r| {
        r.start = Some(Start::Since(time(i64::MAX, 0)));
    }),
    ("FIELD_INVALID", "since_ago", |r| r.start = Some(ago(-1, 0))),
    ("FIELD_INVALID", "since_ago", |r| r.start = Some(ago(0, -1))),
    ("FIELD_INVALID", "until", |r| r.until = Some(time(0, -1))),
    ("TIME_RANGE_INVALID", "until", |r| {
        (r.start, r.until) = (Some(Start::Since(time(20, 0))), Some(time(10, 0)));
    }),
    ("TIME_RANGE_INVALID", "until", |r| {
        (r.start, r.until) = (Some(ago(60, 0)), Some(time(10, 0)));
    }),
    ("FIELD_INVALID", "streams[1]", |r| r.streams = vec![1, 0]),
    ("FIELD_INVALID", "until_exit", |r| r.until_exit = true),
    ("CURSOR_INVALID", "cursors[0]", |r| {
        r.cursors = vec![String::new()];
    }),
    ("CURSOR_INVALID", "cursors[0]", |r| {
        r.cursors = vec!["garbage".into()];
    }),
    ("CURSOR_INVALID", "cursors[0]", |r| {
        r.cursors = vec!["/v1.41/info\r\n\r\n".into()];
    }),
    ("CURSOR_INVALID", "cursors[0]", |r| {
        r.cursors = vec!["A".repeat(160)];
    }),
    ("CURSOR_INVALID", "cursors[0]", |r| {
        r.cursors = vec!["A".repeat(1_000_000)];
    }),
];

#[tokio::test]
async fn a_bad_field_is_named_with_its_reason_and_the_engine_hears_nothing() {
    let sim = engine();
    sim.container("web").run();
    let server = Server::start(&sim).await;
    for (reason, field, spoil) in WRONG {
        let mut request = stored("web");
        spoil(&mut request);
        let shown = format!("{request:.200?}");
        let (code, told_reason, fields) = told(&refusal(&server, request).await);
        assert_eq!(code, Code::InvalidArgument, "{shown}");
        assert_eq!(
            (told_reason.as_str(), &*fields[0]),
            (reason, field),
            "{shown}"
        );
    }
    assert_untouched(&sim);
    server.stop().await;
}

#[tokio::test]
async fn no_text_of_a_client_becomes_part_of_a_request_to_the_engine() {
    let sim = engine();
    sim.container("web").run();
    let server = Server::start(&sim).await;
    let long = "x".repeat(1_000_000);
    let names = [
        "",
        "x/export?",
        "../info",
        "web#",
        "web/json",
        "a\r\nGET /info",
        "a b",
        "%2e%2e",
        "wéb",
        "/web",
        "web\0",
        &long,
    ];
    for name in names {
        let (code, reason, fields) = told(&refusal(&server, stored(name)).await);
        assert_eq!(code, Code::InvalidArgument, "{name:.40}");
        assert_eq!(
            (&*reason, &*fields[0]),
            ("FIELD_INVALID", "selector.names[0]")
        );
        let name = name.to_owned();
        let asked = proto::GetContainerRequest { name };
        let status = server.containers().get_container(asked).await.unwrap_err();
        assert_eq!(told(&status).1, "FIELD_INVALID");
    }
    for absent in [
        "absent",
        "web.",
        "..",
        "info",
        "0123",
        "-",
        &"f".repeat(64),
        &"f".repeat(255),
    ] {
        let (code, reason, _) = told(&refusal(&server, stored(absent)).await);
        assert_eq!(
            (code, &*reason),
            (Code::NotFound, "CONTAINER_NOT_FOUND"),
            "{absent}"
        );
    }
    assert_untouched(&sim);
    server.stop().await;
}

#[tokio::test]
async fn all_that_is_wrong_is_told_at_once_and_a_long_text_is_not_repeated() {
    let sim = engine();
    let server = Server::start(&sim).await;
    let mut request = stored(&"/".repeat(300_000));
    request.start = Some(Start::FromNow(false));
    request.streams = vec![0];
    request.cursors = vec!["x".to_owned()];
    let status = refusal(&server, request).await;
    let mut fields = told(&status).2;
    fields.sort();
    assert_eq!(
        fields,
        ["cursors[0]", "from_now", "selector.names[0]", "streams[0]"]
    );
    assert!(status.message().len() < 1_000, "{}", status.message().len());
    let huge = refusal(&server, stored(&"x".repeat(2_000_000))).await;
    assert_eq!(huge.code(), Code::OutOfRange);
    server.stop().await;
}

#[tokio::test]
async fn without_an_engine_a_call_is_refused_with_a_time_to_retry() {
    let sim = engine();
    sim.stop();
    let server = Server::launch(&sim, &[]).await;
    let status = refusal(&server, followed("web")).await;
    assert_eq!(
        told(&status),
        (Code::Unavailable, "ENGINE_UNAVAILABLE".into(), vec![])
    );
    let retry = status
        .get_error_details()
        .retry_info()
        .and_then(|r| r.retry_delay);
    assert!(
        retry.is_some_and(|delay| delay > Duration::ZERO),
        "{retry:?}"
    );
    let listing = proto::ListContainersRequest::default();
    let listed = server.containers().list_containers(listing).await;
    assert_eq!(listed.unwrap_err().code(), Code::Unavailable);
    server.stop().await;
}

#[tokio::test]
async fn a_clients_deadline_ends_its_stream_with_closing_and_cursors() {
    let sim = engine();
    let web = sim.container("web").run();
    let server = Server::start(&sim).await;
    let mut request = tonic::Request::new(followed("web"));
    // Enough to open it on a busy machine.
    request.set_timeout(Duration::from_secs(2));
    let mut client = server.logs();
    let messages = within(client.stream_logs(request)).await.unwrap();
    let mut subscriber = Subscriber::opened(messages.into_inner()).await.unwrap();
    web.stdout("in time\n");
    let status = subscriber.end().await.unwrap_err();
    assert_eq!(told(&status).0, Code::DeadlineExceeded);
    assert_eq!(subscriber.texts(), ["in time"]);
    assert_eq!(subscriber.closing().reason(), ClosingReason::Unspecified);
    let progress = subscriber.closing().progress.clone().unwrap();
    assert_eq!(progress.positions.len(), 1);
    server.stop().await;
}
