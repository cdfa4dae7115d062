//! What the README shows is what the program says.

use std::process::Command;

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
