//! The table of settings: flags, variables, keys, units and defaults in one place.

use std::fmt::Write as _;

use clap::{Arg, ArgAction};

/// One setting: a flag, an environment variable and a key of the file.
pub(super) struct Setting {
    pub(super) key: &'static str,
    pub(super) value: &'static str,
    pub(super) default: &'static str,
    pub(super) help: &'static str,
    pub(super) kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    One,
    Many,
    Switch,
}

const fn one(
    key: &'static str,
    value: &'static str,
    default: &'static str,
    help: &'static str,
) -> Setting {
    Setting {
        key,
        value,
        default,
        help,
        kind: Kind::One,
    }
}

pub(super) const SETTINGS: [Setting; 12] = [
    Setting {
        key: "listen",
        value: "ADDR",
        default: "127.0.0.1:8400",
        help: "gRPC listener: IP:PORT or unix:///path; may be repeated",
        kind: Kind::Many,
    },
    one(
        "admin-listen",
        "ADDR",
        "127.0.0.1:8401",
        "HTTP listener of /livez, /readyz and /health: IP:PORT",
    ),
    one(
        "engine",
        "URL",
        "",
        "Container engine: unix:///path or tcp://host:port [default: DOCKER_HOST, else the \
         current docker context, else /var/run/docker.sock, else Podman's socket]",
    ),
    one(
        "rotation",
        "DURATION",
        "20s",
        "Life of an engine stream before a new one takes over, ± 10 %; 100ms to 10m",
    ),
    one(
        "linger",
        "DURATION",
        "500ms",
        "How long a log is read on after its last subscriber has left; 0s to 1h",
    ),
    one(
        "max-line",
        "BYTES",
        "1MiB",
        "Bytes of a line that are kept, the rest is cut and counted; 1KiB to 3MiB",
    ),
    one(
        "compression",
        "CODING",
        "off",
        "Compress batches for clients that accept it: off or gzip",
    ),
    Setting {
        key: "include-self",
        value: "",
        default: "false",
        help: "Let labels, globs and the like select the container that Pulsetail itself runs in",
        kind: Kind::Switch,
    },
    one(
        "drain-deadline",
        "DURATION",
        "20s",
        "How long a stop waits for clients that do not read; 15s to 10m",
    ),
    Setting {
        key: "allow-remote-plaintext",
        value: "",
        default: "false",
        help: "Listen on other than loopback addresses without TLS",
        kind: Kind::Switch,
    },
    one(
        "log-level",
        "LEVEL",
        "info",
        "The service's own log, on stderr: error, warn, info, debug or trace",
    ),
    one(
        "log-format",
        "FORMAT",
        "text",
        "Form of that log: text or json",
    ),
];

/// The flags, with their variables, units and defaults.
pub fn args() -> Vec<Arg> {
    let config = Arg::new("config")
        .long("config")
        .env("PULSETAIL_CONFIG")
        .value_name("FILE")
        .help("TOML file of the settings below, keys as the flags");
    std::iter::once(config)
        .chain(SETTINGS.iter().map(arg))
        .collect()
}

fn arg(setting: &Setting) -> Arg {
    let mut help = setting.help.to_owned();
    if !setting.default.is_empty() {
        // Writing to a string does not fail.
        let _infallible = write!(help, " [default: {}]", setting.default);
    }
    let arg = Arg::new(setting.key)
        .long(setting.key)
        .env(variable(setting.key))
        .help(help);
    match setting.kind {
        Kind::One => arg.value_name(setting.value),
        Kind::Many => arg
            .value_name(setting.value)
            .action(ArgAction::Append)
            .value_delimiter(','),
        Kind::Switch => arg
            .value_name("BOOL")
            .num_args(0..=1)
            .default_missing_value("true")
            .hide_possible_values(true),
    }
}

pub(super) fn variable(key: &str) -> String {
    format!("PULSETAIL_{}", key.to_ascii_uppercase().replace('-', "_"))
}
