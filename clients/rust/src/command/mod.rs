//! The commands of the command line that talk to a server.

mod selector;

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::history::{Least, Verdict};
use crate::proto::Selector;
use crate::verify::{self, Outcome, Settings};

/// A promise was broken.
const VIOLATED: u8 = 1;
/// Bad usage, or no server that answers.
pub const NOT_JUDGED: u8 = 2;
/// There was too little to judge.
const VOID: u8 = 3;

/// `pulsetail verify` with its flags.
pub fn verify() -> Command {
    let duration = |name: &'static str| {
        Arg::new(name)
            .long(name)
            .value_name("DURATION")
            .value_parser(humantime::parse_duration)
    };
    Command::new("verify")
        .about("Judge a live server: follow it, cut the stream, resume, compare with what is stored")
        .after_help(
            "Exit status: 0 valid, 1 violated, 2 wrong usage or no server, 3 void (too little to judge)",
        )
        .args([
            Arg::new("server")
                .long("server")
                .value_name("URL")
                .env("PULSETAIL_SERVER")
                .default_value("http://127.0.0.1:8400")
                .help("The server: http://HOST:PORT or unix:///path"),
            Arg::new("container")
                .long("container")
                .value_name("NAME")
                .action(ArgAction::Append)
                .help("A container by name, id or id prefix; may be repeated [default: all that the server lists]"),
            Arg::new("selector")
                .long("selector")
                .value_name("JSON")
                .value_parser(selector::parse)
                .conflicts_with("container")
                .help("Whoever a selector of the contract chooses, as it comes and goes: '{\"composeProject\":\"shop\"}', '{\"all\":true}'"),
            duration("for").help("Stop after so long [default: run until interrupted]"),
            duration("cut-every")
                .value_parser(cut_every)
                .default_value("2s")
                .help("Mean time between two cuts, 10ms to 1h"),
            Arg::new("min-entries")
                .long("min-entries")
                .value_name("N")
                .default_value("100")
                .value_parser(value_parser!(u64))
                .help("Entries without which a verdict is void"),
        ])
}

fn cut_every(text: &str) -> Result<Duration, String> {
    let value = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    (Duration::from_millis(10)..=Duration::from_secs(3_600))
        .contains(&value)
        .then_some(value)
        .ok_or_else(|| "not within 10ms and 1h".to_owned())
}

/// Judges a server and says so.
///
/// # Errors
/// There is no verdict: no server, a refusal, or nowhere to write to.
pub async fn run_verify(
    matches: &ArgMatches,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<ExitCode> {
    let names = matches.get_many::<String>("container");
    let of_names = names.map(|names| Selector {
        names: names.cloned().collect(),
        ..Selector::default()
    });
    let server = matches
        .get_one::<String>("server")
        .context("has a default")?;
    let cut_every = matches.get_one::<Duration>("cut-every");
    let settings = Settings {
        server: server.clone(),
        selector: matches.get_one("selector").cloned().or(of_names),
        length: matches.get_one::<Duration>("for").copied(),
        cut_every: *cut_every.context("has a default")?,
        seed: fastrand::u64(..),
    };
    let least = Least {
        entries: *matches.get_one("min-entries").context("has a default")?,
        resumes: 1,
        compared: 1,
        ..Least::default()
    };
    let outcome = verify::run(&settings, stop).await;
    let outcome = outcome.with_context(|| format!("no verdict on {}", settings.server))?;
    Ok(ExitCode::from(tell(&outcome, &least)?))
}

/// Writes a verdict, and what its exit status is.
fn tell(outcome: &Outcome, least: &Least) -> anyhow::Result<u8> {
    let mut out = std::io::stdout().lock();
    let report = &outcome.report;
    writeln!(out, "{report}")?;
    writeln!(
        out,
        "{} container{}, {} cuts of our own, {} other interruptions",
        outcome.containers,
        if outcome.containers == 1 { "" } else { "s" },
        outcome.cuts,
        outcome.interruptions
    )?;
    let (verdict, status) = match report.verdict(least) {
        Verdict::Valid => ("valid: every promise was kept".to_owned(), 0),
        Verdict::Violated => ("VIOLATED".to_owned(), VIOLATED),
        Verdict::Void if report.overflowed > 0 => ("void: too much to remember".to_owned(), VOID),
        Verdict::Void => (format!("void: {}", report.short_of(least).join(", ")), VOID),
    };
    writeln!(out, "{verdict}")?;
    Ok(status)
}
