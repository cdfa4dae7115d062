//! `pulsetail verify`: a faithful server is valid whatever its engine does, one that tampers is told.

use std::pin::Pin;
use std::process::Command;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use pulsetail::proto::log_entry::Line;
use pulsetail::proto::log_service_client::LogServiceClient;
use pulsetail::proto::log_service_server::{LogService, LogServiceServer};
use pulsetail::proto::stream_logs_response::Event;
use pulsetail::proto::{
    ListLogEntriesRequest, ListLogEntriesResponse, LogBatch, StreamLogsRequest, StreamLogsResponse,
};
use pulsetail_client::history::{Least, Rule, Verdict};
use pulsetail_client::verify::{Outcome, Settings, run};
use pulsetail_sim::{Container, Driver, Ending, Fault, Sim};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::sleep;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use crate::harness::{Server, engine, within};

/// Long enough for some fifteen cuts.
const LENGTH: Duration = Duration::from_millis(1_500);

const LEAST: Least = Least {
    entries: 100,
    gaps: 0,
    resumes: 3,
    compared: 100,
};

fn settings(server: String) -> Settings {
    Settings {
        server,
        containers: vec!["web".to_owned()],
        length: Some(LENGTH),
        cut_every: Duration::from_millis(100),
        seed: 7,
    }
}

async fn outcome(server: String) -> Outcome {
    let settings = settings(server);
    let outcome = within(run(&settings, std::future::pending())).await;
    outcome.expect("there is a verdict")
}

/// A container that writes on both streams for as long as this is kept.
fn writing(web: &Container) -> Writing {
    let web = web.clone();
    Writing(tokio::spawn(async move {
        for n in 0.. {
            web.stdout(format!("out {n}\n"));
            web.stderr(format!("err {n}\n"));
            sleep(Duration::from_millis(3)).await;
        }
    }))
}

struct Writing(JoinHandle<()>);

impl Drop for Writing {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A container whose engine's streams skip lines, and end too early.
fn faulty(sim: &Sim) -> Container {
    let driver = Driver::json_file().max_size(200).max_file(1_000);
    let web = sim.container("web").driver(driver).run();
    web.fault(Fault::skip(5).on_follow().after(20).sticky());
    web.fault(Fault::end(Ending::Clean).on_follow().after(100).sticky());
    web
}

#[tokio::test]
async fn a_faithful_server_is_valid_whatever_its_engine_does() {
    let sim = engine();
    let web = faulty(&sim);
    let writing = writing(&web);
    let server = Server::start(&sim).await;
    // Late lines reach only who stays for a while.
    let settings = Settings {
        length: Some(2 * LENGTH),
        cut_every: Duration::from_millis(300),
        ..settings(server.url())
    };
    let judged = within(run(&settings, std::future::pending())).await;
    let judged = judged.expect("there is a verdict");
    judged.report.assert_valid(&LEAST);
    assert!(judged.cuts >= 3, "{judged:?}");
    let traffic = judged.report.traffic;
    assert!(
        traffic.late + traffic.gaps > 0,
        "nothing was skipped: {judged:?}"
    );
    drop(writing);
    server.stop().await;
}

#[tokio::test]
async fn a_server_that_ends_its_streams_is_followed_on() {
    let sim = engine();
    let web = sim.container("web").run();
    let writing = writing(&web);
    let server = Server::start(&sim).await;
    let rude = Tampering::start(&server, Tamper::End).await;
    let judged = outcome(rude.url.clone()).await;
    judged.report.assert_valid(&LEAST);
    assert!(judged.interruptions > 0, "{judged:?}");
    drop(writing);
    server.stop().await;
}

#[tokio::test]
async fn a_server_that_drops_repeats_or_swaps_entries_is_violated() {
    let cases = [
        (Tamper::Drop, &[Rule::Covered][..]),
        (Tamper::Repeat, &[Rule::Unique]),
        (Tamper::Swap, &[Rule::Ordered]),
        (Tamper::Cut, &[Rule::Whole]),
        // Dropped before a resume further back, its entries come after all.
        (Tamper::DropMessage, &[Rule::Covered, Rule::Ordered]),
    ];
    let sim = engine();
    let web = sim.container("web").run();
    let writing = writing(&web);
    let server = Server::start(&sim).await;
    for (tamper, rules) in cases {
        let liar = Tampering::start(&server, tamper).await;
        let report = outcome(liar.url.clone()).await.report;
        let mut told = report.violations.iter();
        let told = told.any(|told| rules.contains(&told.rule));
        assert!(told, "none of {rules:?} for {tamper:?}: {report}");
        assert_eq!(report.verdict(&LEAST), Verdict::Violated);
    }
    drop(writing);
    server.stop().await;
}

#[tokio::test]
async fn its_exit_status_tells_valid_violated_unusable_and_void_apart() {
    let sim = engine();
    let web = sim.container("web").run();
    let writing = writing(&web);
    let server = Server::start(&sim).await;
    let liar = Tampering::start(&server, Tamper::Drop).await;
    let (honest, liar) = (server.url(), liar.url.clone());
    let cases: [(&[&str], i32, &str); 7] = [
        (&["--server", &honest, "--for=1s"], 0, "valid"),
        (
            &["--server", &liar, "--container=web", "--for=1s"],
            1,
            "VIOLATED",
        ),
        (
            &["--server", &honest, "--container=nobody", "--for=1s"],
            2,
            "",
        ),
        (&["--server", "http://127.0.0.1:1", "--for=1s"], 2, ""),
        (&["--for=ever"], 2, ""),
        (&["--cut-every=0s"], 2, ""),
        (
            &["--server", &honest, "--for=1s", "--min-entries=100000"],
            3,
            "void",
        ),
    ];
    for (flags, status, word) in cases {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pulsetail"));
        command.env_clear().arg("verify").args(flags);
        if !flags.contains(&"--cut-every=0s") {
            command.arg("--cut-every=100ms");
        }
        let output = spawn_blocking(move || command.output())
            .await
            .unwrap()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(status), "{flags:?}: {output:?}");
        assert!(told.contains(word), "{told}");
    }
    drop(writing);
    server.stop().await;
}

/// What a lying server does with its streams.
#[derive(Debug, Clone, Copy)]
enum Tamper {
    Drop,
    Repeat,
    Swap,
    Cut,
    DropMessage,
    End,
}

/// A server that passes on another one's streams, but not as they are.
struct Tampering {
    url: String,
    serving: JoinHandle<()>,
}

impl Tampering {
    async fn start(server: &Server, tamper: Tamper) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let liar = Liar {
            truthful: server.logs(),
            tamper,
        };
        let serving = tonic::transport::Server::builder()
            .add_service(LogServiceServer::new(liar))
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

struct Liar {
    truthful: LogServiceClient<Channel>,
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
        let tamper = Some(self.tamper).filter(|_| request.follow);
        let messages = self
            .truthful
            .clone()
            .stream_logs(request)
            .await?
            .into_inner();
        let mut lied = false;
        let told = messages.flat_map(move |message| {
            let several = |batch: &LogBatch| batch.entries.len() > 1;
            let event = message
                .as_ref()
                .ok()
                .and_then(|message| message.event.as_ref());
            let lie = match (event, tamper) {
                (Some(Event::Batch(batch)), Some(tamper)) if several(batch) && !lied => {
                    lied = true;
                    lies(batch.clone(), tamper)
                }
                _ => vec![message],
            };
            futures_util::stream::iter(lie)
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

/// What is sent instead of a batch.
fn lies(mut batch: LogBatch, tamper: Tamper) -> Vec<Answer> {
    match tamper {
        Tamper::Drop => drop(batch.entries.remove(0)),
        Tamper::Repeat => batch.entries.insert(0, batch.entries[0].clone()),
        Tamper::Swap => batch.entries.swap(0, 1),
        Tamper::Cut => batch.entries[0].line = Some(Line::Text("o".into())),
        Tamper::DropMessage => return Vec::new(),
        Tamper::End => return vec![Err(Status::unavailable("gone"))],
    }
    let event = Some(Event::Batch(batch));
    vec![Ok(StreamLogsResponse { event })]
}
