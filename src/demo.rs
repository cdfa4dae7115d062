//! `pulsetail demo`: the server on a simulated engine, for people without Docker.
//!
//! The simulated engine speaks Docker's API over an in-memory connection, so
//! everything from bollard up to a real gRPC client is what `serve` runs.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::{Arg, ArgMatches, Command};
use futures_util::FutureExt;
use pulsetail_sim::{Container, Driver, Engine, Sim, Timestamp};
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};

use crate::app::App;
use crate::config::{self, Config};
use crate::docker::Connector;
use crate::grpc::Address;
use crate::proto::log_service_client::LogServiceClient;
use crate::proto::stream_logs_response::Event;
use crate::proto::{self, log_entry::Line, stream_logs_request::Start};
use crate::shutdown;

const NAMES: [&str; 5] = ["api", "web", "worker", "shell", "cron"];
/// The first listing takes a moment.
const READY: Duration = Duration::from_secs(10);

/// The command with its flags: those of `serve` but for the engine.
pub fn command() -> Command {
    let length = Arg::new("for")
        .long("for")
        .value_name("DURATION")
        .value_parser(humantime::parse_duration)
        .help("Stop after so long [default: run until interrupted]");
    let settings = config::args()
        .into_iter()
        .filter(|arg| arg.get_id() != "engine");
    Command::new("demo")
        .about(
            "Serve a simulated engine with a few talkative containers and follow their logs here",
        )
        .args(settings)
        .arg(length)
}

/// Serves, talks and follows until interrupted.
///
/// # Errors
/// The server does not start, or its stream fails.
pub async fn run(config: &Config, matches: &ArgMatches, engine: Handle) -> anyhow::Result<()> {
    let sim = Sim::starting_at(Engine::current(), Timestamp::now());
    let dialled = sim.clone();
    let dial = move || std::future::ready(dialled.connect()).boxed();
    let app = App::build(config, Connector::Memory(Arc::new(dial)), engine).await?;
    app.greet()?;
    let addresses = app.addresses()?;
    let Some(Address::Tcp(address)) = addresses.first() else {
        anyhow::bail!("demo needs an IP:PORT to listen on");
    };
    let target = format!("http://{address}");
    let stop = shutdown::requested()?;
    let over = ended(matches.get_one::<Duration>("for").copied());
    tokio::select! {
        served = app.run(async { tokio::select! { () = stop => {} () = over => {} } }) => {
            served.map_err(|error| anyhow::anyhow!(error))
        }
        // Both go on for ever; the server decides when it is over.
        followed = async { tokio::join!(follow(target), talk(&sim)).0 } => followed,
    }
}

async fn ended(length: Option<Duration>) {
    match length {
        Some(length) => sleep(length).await,
        None => std::future::pending().await,
    }
}

/// Follows every container through a real client and prints what comes.
async fn follow(target: String) -> anyhow::Result<()> {
    let opening = async {
        loop {
            let opened = async {
                let mut client = LogServiceClient::connect(target.clone()).await?;
                anyhow::Ok(client.stream_logs(request()).await?.into_inner())
            };
            match opened.await {
                Ok(messages) => break messages,
                // Not listening or not listed yet.
                Err(_early) => sleep(Duration::from_millis(20)).await,
            }
        }
    };
    let mut messages = timeout(READY, opening)
        .await
        .context("the server does not answer")?;
    let mut out = Printer::new();
    while let Ok(Some(message)) = messages.message().await {
        match message.event {
            Some(Event::Batch(batch)) => out.batch(&batch)?,
            Some(Event::ContainerChange(change)) => {
                let name = change.container.clone().unwrap_or_default().name;
                out.line(&name, &format!("[{}]", change.kind().as_str_name()))?;
            }
            _ => {}
        }
    }
    // The server is draining; it says when it is done.
    std::future::pending().await
}

fn request() -> proto::StreamLogsRequest {
    let selector = proto::Selector {
        names: NAMES.map(str::to_owned).to_vec(),
        ..proto::Selector::default()
    };
    proto::StreamLogsRequest {
        selector: Some(selector),
        follow: true,
        start: Some(Start::FromBeginning(true)),
        ..proto::StreamLogsRequest::default()
    }
}

/// Lines in the terminal, one colour a container.
struct Printer {
    colours: bool,
}

impl Printer {
    fn new() -> Self {
        Self {
            colours: std::io::stdout().is_terminal(),
        }
    }

    fn batch(&mut self, batch: &proto::LogBatch) -> anyhow::Result<()> {
        let name = batch
            .container
            .as_ref()
            .map_or("", |container| &container.name);
        for entry in &batch.entries {
            match &entry.line {
                Some(Line::Text(text)) => self.line(name, text)?,
                Some(Line::Raw(raw)) => self.line(name, &String::from_utf8_lossy(raw))?,
                None => {}
            }
        }
        Ok(())
    }

    fn line(&mut self, name: &str, text: &str) -> anyhow::Result<()> {
        let place = NAMES.iter().position(|known| *known == name).unwrap_or(0);
        let text = harmless(text);
        let mut out = std::io::stdout().lock();
        match self.colours {
            true => writeln!(out, "\x1b[{}m{name:>6} |\x1b[0m {text}", 31 + place)?,
            false => writeln!(out, "{name:>6} | {text}")?,
        }
        Ok(())
    }
}

/// Without what could steer a terminal.
fn harmless(text: &str) -> String {
    let steers = |c: char| {
        let control = c.is_control() && c != '\t';
        control
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
    };
    let shown = text.trim_end_matches('\r').chars();
    shown
        .flat_map(|c| {
            if steers(c) {
                c.escape_default().collect()
            } else {
                vec![c]
            }
        })
        .collect()
}

/// Five containers, each with a manner of its own.
async fn talk(sim: &Sim) {
    let run = |name: &str, image: &str| {
        let driver = Driver::json_file().max_size(10_000_000).max_file(3);
        let container = sim.container(name).image(image).driver(driver);
        container.label("com.docker.compose.project", "demo")
    };
    let [api, web, worker, shell, cron] = [
        run("api", "demo/api:1").run(),
        run("web", "demo/web:1").run(),
        run("worker", "demo/worker:1").run(),
        run("shell", "demo/shell:1").tty().run(),
        run("cron", "demo/cron:1").run(),
    ];
    tokio::join!(
        every(400, |n| levels(&api, n)),
        every(700, |n| web.stdout(json(n))),
        every(2_300, |n| trace(&worker, n)),
        every(1_500, |n| shell
            .stdout(format!("\x1b[32m$\x1b[0m step {n}\r\n"))),
        restarts(&cron),
    );
}

async fn every(milliseconds: u64, mut act: impl FnMut(u64)) {
    for n in 1.. {
        act(n);
        sleep(Duration::from_millis(milliseconds)).await;
    }
}

fn levels(api: &Container, n: u64) {
    match n % 7 {
        0 => api.stderr(format!(
            "level=error msg=\"upstream timed out\" request={n}\n"
        )),
        3 => api.stdout(format!(
            "level=warn msg=\"slow query\" request={n} ms=812\n"
        )),
        _ => api.stdout(format!(
            "level=info msg=handled request={n} ms={}\n",
            n * 37 % 90
        )),
    }
}

fn json(n: u64) -> String {
    let status = if n.is_multiple_of(9) { 404 } else { 200 };
    format!("{{\"level\":\"info\",\"path\":\"/item/{n}\",\"status\":{status}}}\n")
}

fn trace(worker: &Container, n: u64) {
    worker.stdout(format!("job {n} started\n"));
    if n.is_multiple_of(3) {
        worker.stderr(format!(
            "job {n} failed: no such file\n    at read (job.js:12)\n    at run (job.js:4)\n"
        ));
    }
}

/// A container that ends and is started again.
async fn restarts(cron: &Container) {
    for n in 1.. {
        cron.stdout(format!("run {n}: cleaning up\n"));
        sleep(Duration::from_millis(1_200)).await;
        cron.stdout(format!("run {n}: done"));
        cron.exit(0);
        sleep(Duration::from_millis(1_800)).await;
        cron.start();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_steer_a_terminal_is_shown_and_not_sent() {
        assert_eq!(harmless("\x1b[2Jgone\r"), "\\u{1b}[2Jgone");
        assert_eq!(harmless("a\tb \u{202e}c\u{9b}"), "a\tb \\u{202e}c\\u{9b}");
    }
}
