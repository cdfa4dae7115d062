//! Settings: flags over environment over file, all wrong ones reported at once.

mod settings;
mod timings;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ArgMatches;
use clap::parser::ValueSource;
use tracing::level_filters::LevelFilter;

pub use settings::args;
use settings::{SETTINGS, variable};

use crate::grpc::{Address, Compression};
use crate::hub::Reading;
use crate::supervisor::Timings;
use crate::telemetry::Format;

/// Settings of `serve`, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// gRPC listeners.
    pub listen: Vec<Address>,
    /// Admin listener.
    pub admin_listen: SocketAddr,
    /// The engine's URL, if one was given.
    pub engine: Option<String>,
    /// How logs are read.
    pub reading: Reading,
    /// What batches are compressed with.
    pub compression: Compression,
    /// Whether selectors take the server's own container for any other.
    pub include_self: bool,
    /// Every time that anything relies on, in order.
    pub timings: Timings,
    /// Least level of the service's own log.
    pub log_level: LevelFilter,
    /// Form of that log.
    pub log_format: Format,
}

/// Every wrong setting, a line each.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct ConfigError(Vec<String>);

/// A setting's texts and where they come from.
#[derive(Debug, Clone, Default)]
struct Given {
    texts: Vec<String>,
    origin: String,
}

/// Checks flags, environment and file together.
///
/// # Errors
/// Every wrong value and every unknown key.
pub fn load(matches: &ArgMatches) -> Result<Config, ConfigError> {
    let mut problems = Vec::new();
    let file = matches.get_one::<String>("config").map(PathBuf::from);
    let mut given = file.map_or_else(BTreeMap::new, |path| of_file(&path, &mut problems));
    for setting in &SETTINGS {
        // A command may lack a setting: `demo` has its own engine.
        let Ok(Some(texts)) = matches.try_get_many::<String>(setting.key) else {
            continue;
        };
        let origin = match matches.value_source(setting.key) {
            Some(ValueSource::EnvVariable) => variable(setting.key),
            _ => format!("--{}", setting.key),
        };
        let texts = texts.cloned().collect();
        given.insert(setting.key, Given { texts, origin });
    }
    check(&given, problems)
}

fn of_file(path: &Path, problems: &mut Vec<String>) -> BTreeMap<&'static str, Given> {
    let mut given = BTreeMap::new();
    let table = std::fs::read_to_string(path)
        .map_err(|error| error.to_string())
        .and_then(|text| {
            text.parse::<toml::Table>()
                .map_err(|error| error.to_string())
        });
    let table = match table {
        Ok(table) => table,
        Err(error) => {
            problems.push(format!("{}: {}", path.display(), error.trim_end()));
            return given;
        }
    };
    for (key, value) in table {
        let origin = format!("{}: {key}", path.display());
        let Some(setting) = SETTINGS.iter().find(|setting| setting.key == key) else {
            let keys: Vec<_> = SETTINGS.iter().map(|setting| setting.key).collect();
            problems.push(format!(
                "{origin}: unknown key; known are {}",
                keys.join(", ")
            ));
            continue;
        };
        match texts(value) {
            Some(texts) => {
                given.insert(setting.key, Given { texts, origin });
            }
            None => problems.push(format!("{origin}: must be a string, a number or a list")),
        }
    }
    given
}

fn texts(value: toml::Value) -> Option<Vec<String>> {
    match value {
        toml::Value::String(text) => Some(vec![text]),
        toml::Value::Integer(number) => Some(vec![number.to_string()]),
        toml::Value::Boolean(switch) => Some(vec![switch.to_string()]),
        toml::Value::Array(values) => {
            let texts = values.into_iter().map(texts);
            texts
                .collect::<Option<Vec<_>>>()
                .map(|texts| texts.concat())
        }
        _ => None,
    }
}

/// Values on their way from texts to a [`Config`].
struct Checker<'a> {
    given: &'a BTreeMap<&'static str, Given>,
    problems: Vec<String>,
}

impl Checker<'_> {
    fn given(&self, key: &str) -> Given {
        let default = SETTINGS.iter().find(|setting| setting.key == key);
        let default = default.map(|setting| setting.default.to_owned());
        self.given.get(key).cloned().unwrap_or_else(|| Given {
            texts: default
                .filter(|text| !text.is_empty())
                .into_iter()
                .collect(),
            origin: format!("--{key}"),
        })
    }

    /// Every value of a setting, as far as they are right.
    fn all<T>(&mut self, key: &str, parse: impl Fn(&str) -> Result<T, String>) -> Vec<T> {
        let Given { texts, origin } = self.given(key);
        let parsed = texts.iter().map(|text| {
            let text = text.trim();
            parse(text).map_err(|why| format!("{origin}: {text:?} {why}"))
        });
        let (right, wrong): (Vec<_>, Vec<_>) = parsed.partition(Result::is_ok);
        self.problems
            .extend(wrong.into_iter().filter_map(Result::err));
        right.into_iter().filter_map(Result::ok).collect()
    }

    /// The one value of a setting; `otherwise` stands in for a wrong one, which
    /// is reported.
    fn one<T>(&mut self, key: &str, otherwise: T, parse: impl Fn(&str) -> Result<T, String>) -> T {
        self.all(key, parse).pop().unwrap_or(otherwise)
    }

    /// All times, and the sizes that stand beside them. A wrong one is reported by
    /// itself: the orders are checked as if it were right.
    fn timings(&mut self) -> Timings {
        let rotation = self.one("rotation", timings::ROTATION, |text| {
            within(text, Duration::from_millis(100), Duration::from_secs(600))
        });
        let drain = self.one("drain-deadline", timings::DRAIN, |text| {
            within(text, Duration::from_secs(1), Duration::from_secs(600))
        });
        let max_line = self.one("max-line", timings::MAX_LINE, |text| {
            size(text, 1 << 10, 3 << 20)
        });
        let timings = Timings::try_new(timings::wishes(rotation, drain, max_line));
        timings.unwrap_or_else(|violations| {
            let told = violations.iter().map(ToString::to_string);
            self.problems.extend(told);
            timings::DEFAULT
        })
    }
}

fn check(
    given: &BTreeMap<&'static str, Given>,
    problems: Vec<String>,
) -> Result<Config, ConfigError> {
    let mut checker = Checker { given, problems };
    let remote = checker.one("allow-remote-plaintext", false, switch);
    let local = |address: SocketAddr| match remote || address.ip().is_loopback() {
        true => Ok(address),
        false => Err(
            "is not a loopback address; without TLS everybody who reaches it reads \
                      every log (--allow-remote-plaintext to do it anyway)"
                .to_owned(),
        ),
    };
    let socket = |text: &str| {
        let address = text.parse().map_err(|_| "is no IP:PORT".to_owned());
        address.and_then(local)
    };
    let unspecified = SocketAddr::from(([127, 0, 0, 1], 0));
    let timings = checker.timings();
    let config = Config {
        listen: checker.all("listen", |text| match text.strip_prefix("unix://") {
            Some(path) if path.starts_with('/') => Ok(Address::Unix(path.into())),
            Some(_) => Err("needs an absolute path".to_owned()),
            None => socket(text).map(Address::Tcp),
        }),
        admin_listen: checker.one("admin-listen", unspecified, socket),
        engine: checker.all("engine", |text| Ok(text.to_owned())).pop(),
        reading: Reading {
            rotation: timings.rotation,
            linger: checker.one("linger", Duration::ZERO, |text| {
                within(text, Duration::ZERO, Duration::from_secs(3_600))
            }),
            max_line: usize::try_from(timings.max_line).unwrap_or(usize::MAX),
        },
        compression: checker.one("compression", Compression::Off, |text| match text {
            "off" => Ok(Compression::Off),
            "gzip" => Ok(Compression::Gzip),
            _ => Err("is neither off nor gzip".to_owned()),
        }),
        include_self: checker.one("include-self", false, switch),
        timings,
        log_level: checker.one("log-level", LevelFilter::INFO, |text| {
            text.parse().map_err(|_| "is no level".to_owned())
        }),
        log_format: checker.one("log-format", Format::Text, |text| match text {
            "text" => Ok(Format::Text),
            "json" => Ok(Format::Json),
            _ => Err("is neither text nor json".to_owned()),
        }),
    };
    match checker.problems.is_empty() {
        true => Ok(config),
        false => Err(ConfigError(checker.problems)),
    }
}

fn switch(text: &str) -> Result<bool, String> {
    let parsed = text.parse();
    parsed.map_err(|_| "is neither true nor false".to_owned())
}

fn within(text: &str, least: Duration, most: Duration) -> Result<Duration, String> {
    let parsed = humantime::parse_duration(text);
    let value = parsed.map_err(|_| "is no duration such as 20s or 5m".to_owned())?;
    let bounds = || {
        let [least, most] = [least, most].map(humantime::format_duration);
        format!("is not within {least} and {most}")
    };
    (least..=most)
        .contains(&value)
        .then_some(value)
        .ok_or_else(bounds)
}

fn size(text: &str, least: usize, most: usize) -> Result<usize, String> {
    let (number, scale) = match text {
        _ if text.ends_with("KiB") => (&text[..text.len() - 3], 1 << 10),
        _ if text.ends_with("MiB") => (&text[..text.len() - 3], 1 << 20),
        _ => (text, 1),
    };
    let parsed = number.trim().parse::<usize>();
    let value = parsed.map_err(|_| "is no size such as 65536 or 64KiB".to_owned())?;
    let value = value.saturating_mul(scale);
    let bounds = || format!("is not within {least} and {most} bytes");
    (least..=most)
        .contains(&value)
        .then_some(value)
        .ok_or_else(bounds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Command;

    fn loaded(flags: &[&str]) -> Result<Config, ConfigError> {
        let command = Command::new("pulsetail").args(args());
        load(&command.get_matches_from([&["pulsetail"], flags].concat()))
    }

    #[test]
    fn the_defaults_are_valid_and_loopback_alone() {
        let config = loaded(&[]).unwrap();
        assert_eq!(
            config.listen,
            [Address::Tcp("127.0.0.1:8400".parse().unwrap())]
        );
        assert_eq!(config.reading.rotation, Duration::from_secs(20));
        assert_eq!(config.reading.max_line, 1 << 20);
        assert_eq!(config.engine, None);
    }

    #[test]
    fn all_wrong_values_are_reported_at_once_with_their_origin() {
        let flags = [
            "--rotation=1ms",
            "--max-line",
            "many",
            "--listen=0.0.0.0:1",
            "--listen=x",
        ];
        let ConfigError(problems) = loaded(&flags).unwrap_err();
        assert_eq!(problems.len(), 4, "{problems:#?}");
        for origin in [
            "--rotation",
            "--max-line",
            "--listen: \"0.0.0.0:1\"",
            "--listen: \"x\"",
        ] {
            assert!(
                problems.iter().any(|p| p.starts_with(origin)),
                "{origin}: {problems:#?}"
            );
        }
    }

    #[test]
    fn orders_that_do_not_hold_are_reported_beside_wrong_values() {
        let ConfigError(problems) = loaded(&["--drain-deadline=2s", "--linger=x"]).unwrap_err();
        let write = "write deadline (15s) <= drain deadline (2s) does not hold";
        assert!(problems.len() == 2 && problems[0] == write, "{problems:#?}");
    }

    #[test]
    fn a_file_is_overruled_by_flags_and_an_unknown_key_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pulsetail.toml");
        let flag = format!("--config={}", file.display());
        std::fs::write(
            &file,
            "rotation = '5s'\nlinger = '1s'\nlisten = ['[::1]:1', 'unix:///run/p']\n",
        )
        .unwrap();
        let config = loaded(&[&flag, "--rotation=7s"]).unwrap();
        assert_eq!(config.reading.rotation, Duration::from_secs(7));
        assert_eq!(config.reading.linger, Duration::from_secs(1));
        assert_eq!(config.listen.len(), 2);
        std::fs::write(&file, "rotatoin = '5s'\nmax-line = 1\n").unwrap();
        let text = loaded(&[&flag]).unwrap_err().to_string();
        assert!(
            text.contains("rotatoin: unknown key") && text.contains("max-line"),
            "{text}"
        );
    }

    #[test]
    fn other_addresses_than_loopback_need_a_word() {
        assert!(loaded(&["--admin-listen=192.0.2.1:80"]).is_err());
        assert!(loaded(&["--admin-listen=192.0.2.1:80", "--allow-remote-plaintext"]).is_ok());
    }

    #[test]
    fn every_setting_is_documented_with_its_default() {
        let help = Command::new("pulsetail")
            .args(args())
            .render_long_help()
            .to_string();
        for setting in &SETTINGS {
            assert!(
                help.contains(&format!("--{}", setting.key)),
                "{}",
                setting.key
            );
            assert!(help.contains(&variable(setting.key)), "{}", setting.key);
        }
        assert_eq!(help.matches("[default:").count(), SETTINGS.len());
    }
}
