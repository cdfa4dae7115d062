//! What the README shows is what the program says.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

const README: &str = include_str!("../../README.md");

#[test]
fn the_settings_in_the_readme_are_the_programs_own_help() {
    let help = Command::new(env!("CARGO_BIN_EXE_pulsetail"))
        .args(["serve", "--help"])
        .env_clear()
        .output()
        .unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    assert!(help.contains("--listen"));
    let shown = format!("$ pulsetail serve --help\n{help}```\n");
    assert!(README.contains(&shown), "README.md must have:\n{shown}");
}

#[test]
fn what_the_times_come_to_is_told_at_the_start() {
    let mut serve = Command::new(env!("CARGO_BIN_EXE_pulsetail"))
        .args(["serve", "--engine=unix:///nowhere.sock"])
        .args(["--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0"])
        .env_clear()
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(serve.stderr.take().unwrap()).lines();
    let told = lines
        .map(Result::unwrap)
        .find(|line| line.contains(" bounds ") || line.contains("retrying"));
    serve.kill().unwrap();
    serve.wait().unwrap();
    let told = told.expect("it tells its bounds");
    for bound in [
        "detection=360s",
        "stall_detection=90s",
        "recovery=37s",
        "stop_grace=30s",
    ] {
        assert!(told.contains(bound), "{told}");
    }
}

#[test]
fn wrong_usage_exits_with_64_and_names_everything_wrong() {
    let wrong = [
        "serve",
        "--rotation=1h",
        "--max-line=x",
        "--listen=0.0.0.0:1",
    ];
    let output = Command::new(env!("CARGO_BIN_EXE_pulsetail"))
        .args(wrong)
        .env_clear()
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(64));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        wrong[1..]
            .iter()
            .all(|flag| text.contains(flag.split('=').next().unwrap())),
        "{text}"
    );
}
