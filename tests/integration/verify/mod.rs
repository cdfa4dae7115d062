//! `pulsetail verify`: a faithful server is valid whatever its engine does, one that tampers is told.

mod liar;
mod selection;

use std::process::{Command, Output};
use std::time::Duration;

use pulsetail_client::history::{Least, Rule, Verdict};
use pulsetail_client::proto::Selector;
use pulsetail_client::verify::{Outcome, Settings, run};
use pulsetail_sim::{Container, Driver, Ending, Fault, Sim};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{sleep, timeout};

use crate::harness::{Server, engine, within};
use liar::{Tamper, Tampering};

/// The verdicts of these tests take seconds, on a machine that has the time.
const PATIENCE: Duration = Duration::from_secs(120);
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
        selector: Some(Selector {
            names: vec!["web".to_owned()],
            ..Selector::default()
        }),
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

/// Judges a server until the container has written so many lines, however long a busy machine takes for them.
async fn judged(settings: Settings, web: &Container, lines: usize) -> Outcome {
    let settings = Settings {
        length: None,
        ..settings
    };
    let most = web.records().len() + lines;
    let written = async {
        while web.records().len() < most {
            sleep(Duration::from_millis(10)).await;
        }
    };
    let judged = timeout(PATIENCE, run(&settings, written)).await;
    let judged = judged.expect("it is over in time");
    judged.expect("there is a verdict")
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
        cut_every: Duration::from_millis(600),
        ..settings(server.url())
    };
    let judged = judged(settings, &web, 1_500).await;
    judged.report.assert_valid(&LEAST);
    assert!(judged.cuts >= 1, "{judged:?}");
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
    let judged = judged(settings(rude.url.clone()), &web, 700).await;
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

/// Runs the command.
async fn verify(flags: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pulsetail"));
    command.env_clear().arg("verify").args(flags);
    if !flags.contains(&"--cut-every=0s") {
        command.arg("--cut-every=100ms");
    }
    let output = spawn_blocking(move || command.output());
    output.await.unwrap().unwrap()
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
        (
            &["--server", &honest, "--for=1s", "--min-entries=10"],
            0,
            "valid",
        ),
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
        let output = verify(flags).await;
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(status), "{flags:?}: {output:?}");
        assert!(told.contains(word), "{told}");
    }
    drop(writing);
    server.stop().await;
}
