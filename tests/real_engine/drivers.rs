//! Log drivers that cannot be read back: the engine's own copy of what they send away.

use std::net::UdpSocket;

use pulsetail::proto::GetContainerRequest;
use pulsetail::proto::container_service_client::ContainerServiceClient;
use pulsetail::proto::stream_logs_request::Start;
use tokio::task::block_in_place;
use tonic::Code;

use crate::client::{Client, Pace};
use crate::engine::{Dockerd, RunOptions};
use crate::kind::{Kind, on_each};
use crate::server::{Server, request};
use crate::writer::{Gates, Script};

/// Slow enough for the copy's ring of 1 MB, which drops what does not fit; 700 kB or so.
const LINES: Script = Script {
    pairs: 2_000,
    width: 150,
    pace: Some((50, 20_000)),
};

/// A driver that sends what containers write into a port that nobody reads.
fn away(driver: &'static str, options: &[&str]) -> (RunOptions, UdpSocket) {
    let port = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = format!("udp://{}", port.local_addr().unwrap());
    let target = match driver {
        "gelf" => format!("--log-opt=gelf-address={address}"),
        _ => format!("--log-opt=syslog-address={address}"),
    };
    let options = options.iter().map(|option| format!("--log-opt={option}"));
    let run = RunOptions {
        driver: Some(driver),
        flags: options.chain([target]).collect(),
        ..RunOptions::default()
    };
    (run, port)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_driver_sends_away_is_read_from_the_engines_copy_while_that_rotates() {
    on_each(copied).await;
}

async fn copied(kind: Kind) {
    let Some(engine) = Dockerd::shared(kind) else {
        return;
    };
    for driver in ["syslog", "gelf"] {
        let name = format!("copied-{driver}");
        let (options, _port) = away(driver, &["cache-max-size=50k", "cache-max-file=200"]);
        let gates = block_in_place(Gates::new);
        let run = || gates.run(engine, &name, &options, &LINES.text("1"));
        block_in_place(run);
        let server = Server::start(engine, &["--rotation=1s"]).await;
        let mut containers = ContainerServiceClient::connect(server.address().to_owned())
            .await
            .unwrap();
        let live = Client::open(&server, &name, LINES, Pace::Fast).await;
        block_in_place(|| gates.open(&name));
        let live = live.finish().await;
        let again = Client::open(&server, &name, LINES, Pace::Fast).await;
        let again = again.finish().await;
        for (how, history) in [("live", live), ("again", again)] {
            let verdict = history.judge(LINES.pairs);
            println!("{kind:?} {driver} {how}: {verdict}");
            assert!(verdict.is_whole() && history.ended, "{how}: {verdict}");
        }
        let shown = containers.get_container(GetContainerRequest { name: name.clone() });
        let shown = shown.await.unwrap().into_inner().container.unwrap();
        assert_eq!(shown.log_driver, driver);
        assert_eq!(shown.retention_bytes, 200 * 50 * 1024);
        server.stop().await;
        block_in_place(|| engine.remove(&name));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_driver_without_a_copy_is_told_to_be_unreadable() {
    for engine in Kind::present().filter_map(Dockerd::shared) {
        let (without, _port) = away("syslog", &["cache-disabled=true"]);
        let none = RunOptions {
            driver: Some("none"),
            ..RunOptions::default()
        };
        for (name, options) in [("uncopied", without), ("mute", none)] {
            block_in_place(|| engine.run(name, &options, "seq 10; sleep 1000"));
            let server = Server::start(engine, &[]).await;
            let asked = request(&[name], Some(Start::FromBeginning(true)), false);
            let status = server.refusal(asked).await;
            let what = format!("{name} on {:?}: {status:?}", engine.kind());
            assert_eq!(status.code(), Code::FailedPrecondition, "{what}");
            let details = String::from_utf8_lossy(status.details()).into_owned();
            assert!(details.contains("LOG_DRIVER_UNREADABLE"), "{what}");
            server.stop().await;
            block_in_place(|| engine.remove(name));
        }
    }
}
