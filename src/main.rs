//! The `pulsetail` command.

use std::env;
use std::io::Write;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::error::ErrorKind;
use clap::{ArgMatches, Command};
use pulsetail::app::App;
use pulsetail::config::{self, Config};
use pulsetail::docker::Flow;
use pulsetail::{docker, shutdown, telemetry};
use pulsetail_client::command::{NOT_JUDGED, run_verify};
use tokio::runtime::{Builder, Handle};

/// The engine thread is busy if it waited less long ago than this.
const BUSY: Duration = Duration::from_millis(2);
/// How long it then lets lines gather that come slowly.
const GATHER: Duration = Duration::from_millis(2);
/// The same for others; longer, and the engine's socket is full.
const GATHER_FAST: Duration = Duration::from_micros(300);

/// Bad usage; `EX_USAGE` of sysexits.h.
const USAGE: u8 = 64;

fn main() -> ExitCode {
    let matches = match command().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => return usage(&error),
    };
    let Some((name, matches)) = matches.subcommand() else {
        return ExitCode::from(USAGE);
    };
    if name == "verify" {
        return verify(matches);
    }
    let config = match config::load(matches) {
        Ok(config) => config,
        Err(error) => return usage(&command().error(ErrorKind::ValueValidation, error)),
    };
    match run(name, &config, matches) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "not started");
            ExitCode::FAILURE
        }
    }
}

fn usage(error: &clap::Error) -> ExitCode {
    // Nothing can be said to a closed terminal.
    let _closed = error.print();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
        // Its other statuses are verdicts.
        _ if env::args().nth(1).as_deref() == Some("verify") => ExitCode::from(NOT_JUDGED),
        _ => ExitCode::from(USAGE),
    }
}

fn command() -> Command {
    let serve = Command::new("serve")
        .about("Serve the logs of the container engine over gRPC")
        .args(config::args());
    let command = Command::new("pulsetail")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Streams the logs of Docker containers over gRPC, without silent gaps")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(serve)
        .subcommand(pulsetail_client::command::verify());
    #[cfg(feature = "demo")]
    let command = command.subcommand(pulsetail::demo::command());
    command
}

#[cfg_attr(
    not(feature = "demo"),
    allow(unused_variables, reason = "demo's own flags")
)]
fn run(name: &str, config: &Config, matches: &ArgMatches) -> anyhow::Result<()> {
    telemetry::start(config.log_level, config.log_format)?;
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    match name {
        #[cfg(feature = "demo")]
        "demo" => runtime.block_on(pulsetail::demo::run(config, matches, engine_runtime()?)),
        _ => runtime.block_on(serve(config)),
    }
}

/// Judges another server; everything that prevents it is told on stderr.
fn verify(matches: &ArgMatches) -> ExitCode {
    let judge = || {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async { run_verify(matches, shutdown::requested()?).await })
    };
    judge().unwrap_or_else(|error: anyhow::Error| {
        // Nothing can be said to a closed terminal.
        let _closed = writeln!(std::io::stderr(), "{error:#}");
        ExitCode::from(NOT_JUDGED)
    })
}

async fn serve(config: &Config) -> anyhow::Result<()> {
    let around = docker::Surroundings::of_process();
    let connector = docker::find(config.engine.as_deref(), &around)
        .map_err(anyhow::Error::msg)
        .context("no container engine can be used")?;
    let engine_runtime = engine_runtime()?;
    let app = App::build(config, connector, engine_runtime).await?;
    app.greet()?;
    let stop = shutdown::requested()?;
    app.run(stop).await.map_err(|error| anyhow::anyhow!(error))
}

/// Called before the engine thread waits. The engine writes once per line; while
/// it is busy, a short sleep lets lines gather that would else wake the thread one
/// by one. After a quiet moment there is none, and the first line is taken at once.
fn pace() -> impl Fn() + Send + Sync + 'static {
    let last = Mutex::new(Instant::now());
    move || {
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        let flow = Flow::of_late();
        if last.elapsed() < BUSY {
            match flow {
                Flow::Still => {}
                Flow::Slow => thread::sleep(GATHER),
                Flow::Fast => thread::sleep(GATHER_FAST),
            }
        }
        *last = Instant::now();
    }
}

/// A runtime of one thread for all that talks to the engine: there, wake-ups are
/// the cost, and handing chunks between threads doubles it.
fn engine_runtime() -> anyhow::Result<Handle> {
    let (sender, handle) = mpsc::channel();
    let runtime = Builder::new_current_thread()
        .enable_all()
        .on_thread_park(pace())
        .build()?;
    thread::Builder::new()
        .name("engine".to_owned())
        .spawn(move || {
            // The receiver waits for it below.
            let _waiting = sender.send(runtime.handle().clone());
            runtime.block_on(std::future::pending::<()>());
        })?;
    handle.recv().context("the engine thread ended at once")
}
