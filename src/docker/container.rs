//! A container as the engine describes it.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use bollard::models::{
    ContainerInspectResponse, ContainerState as Reported, ContainerStateStatusEnum as Status,
    HostConfigLogConfig,
};

use super::timestamp;

/// A container's whole id. Nothing else can name a container towards the
/// engine, so that no client's text ever becomes a part of a request.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerId([u8; 32]);

impl ContainerId {
    /// Reads exactly 64 lower-case hex digits.
    pub fn parse(text: &str) -> Option<Self> {
        let text: &[u8; 64] = text.as_bytes().try_into().ok()?;
        let mut id = [0; 32];
        for (byte, pair) in id.iter_mut().zip(text.chunks_exact(2)) {
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        Some(Self(id))
    }

    /// The first and the last id whose texts begin so; `None`: none can.
    pub(crate) fn range(prefix: &str) -> Option<(Self, Self)> {
        let rest = 64_usize.checked_sub(prefix.len())?;
        let padded = |digit: &str| Self::parse(&(prefix.to_owned() + &digit.repeat(rest)));
        padded("0").zip(padded("f"))
    }

    /// The id's 32 bytes.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The id of these bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The engine's state of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the engine's own words")]
pub enum State {
    Unknown,
    Created,
    Running,
    Paused,
    Restarting,
    Exited,
    Removing,
    Dead,
}

/// What is known of a container. Its environment, mounts and command are not
/// kept: they hold secrets and nobody here needs them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Whole id.
    pub id: ContainerId,
    /// Name without the engine's leading slash.
    pub name: String,
    /// Image reference it was created from.
    pub image: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// State.
    pub state: State,
    /// Exit code of the last run; `None` while one runs or before the first.
    pub exit_code: Option<i32>,
    /// Whether its output is one raw terminal stream.
    pub tty: bool,
    /// Log driver, such as `json-file`.
    pub log_driver: String,
    /// What the engine keeps of its log.
    pub files: Files,
    /// Whether the engine stores nothing that could be read back.
    pub unreadable: Option<&'static str>,
    /// Creation, ns since the Unix epoch.
    pub created: Option<i64>,
    /// Beginning of the current or last run, ns since the Unix epoch.
    pub started: Option<i64>,
    /// End of the last run, ns since the Unix epoch.
    pub finished: Option<i64>,
    /// The container, by name or id, whose network, host name and hosts file it has.
    pub network_of: Option<String>,
}

impl Container {
    /// Whether a process of it may be writing.
    pub fn is_running(&self) -> bool {
        matches!(self.state, State::Running | State::Paused)
    }

    /// Whether its owner wants it hidden from everybody.
    pub fn is_hidden(&self) -> bool {
        is_hidden(self.labels.get(HIDES).map(String::as_str))
    }

    /// A label's value, or "".
    pub fn label(&self, key: &str) -> &str {
        self.labels.get(key).map_or("", String::as_str)
    }

    /// Whether its log exists, or may yet: not that of one that the engine removes.
    pub fn is_whole(&self) -> bool {
        !matches!(self.state, State::Removing | State::Dead)
    }

    /// Whether it runs, is frozen, or is between two runs by its restart policy.
    pub fn is_up(&self) -> bool {
        self.is_running() || self.state == State::Restarting
    }

    /// One of which nothing but its id is known.
    pub(crate) fn bare(id: ContainerId) -> Container {
        Container {
            id,
            name: String::new(),
            image: String::new(),
            labels: BTreeMap::new(),
            state: State::Unknown,
            exit_code: None,
            tty: false,
            log_driver: String::new(),
            files: Files::default(),
            unreadable: None,
            created: None,
            started: None,
            finished: None,
            network_of: None,
        }
    }

    /// One that events alone have told of. Its attributes are its labels, and a few
    /// words of the engine's own.
    pub(crate) fn of_event(id: ContainerId, mut attributes: HashMap<String, String>) -> Container {
        let mut word = |key| attributes.remove(key).unwrap_or_default();
        let (name, image) = (word("name"), word("image"));
        for key in ["exitCode", "execDuration", "signal", "oldName"] {
            attributes.remove(key);
        }
        Container {
            name,
            image,
            labels: attributes.into_iter().collect(),
            ..Container::bare(id)
        }
    }

    pub(crate) fn of_inspect(answer: ContainerInspectResponse) -> Option<Container> {
        let config = answer.config.unwrap_or_default();
        let host = answer.host_config.unwrap_or_default();
        let log = host.log_config.unwrap_or_default();
        let shared = host.network_mode.as_deref();
        let shared = shared.and_then(|mode| mode.strip_prefix("container:"));
        let reported = answer.state.unwrap_or_default();
        let state = state_of(&reported);
        let instant = |text: Option<String>| {
            // The engine's zero value, year 1, means never.
            text.and_then(|t| timestamp::parse(t.as_bytes()))
                .filter(|ns| *ns > 0)
        };
        let ended = matches!(state, State::Exited | State::Dead | State::Removing);
        let exit_code = reported.exit_code.filter(|_| ended);
        Some(Container {
            id: ContainerId::parse(&answer.id?)?,
            name: answer.name?.trim_start_matches('/').to_owned(),
            image: config.image.unwrap_or_default(),
            labels: config.labels.unwrap_or_default().into_iter().collect(),
            state,
            exit_code: exit_code.and_then(|code| i32::try_from(code).ok()),
            tty: config.tty.unwrap_or_default(),
            files: Files::of(&log),
            unreadable: unreadable(&log),
            log_driver: log.typ.unwrap_or_default(),
            created: instant(answer.created),
            started: instant(reported.started_at),
            finished: instant(reported.finished_at),
            network_of: shared.map(str::to_owned),
        })
    }
}

/// The label of a container by which its owner hides it.
pub(super) const HIDES: &str = "pulsetail.logs";

/// Whether that label's value does so.
pub(super) fn is_hidden(value: Option<&str>) -> bool {
    value == Some("deny")
}

fn state_of(reported: &Reported) -> State {
    match reported.status {
        Some(Status::CREATED) => State::Created,
        Some(Status::RUNNING | Status::STOPPING) => State::Running,
        Some(Status::PAUSED) => State::Paused,
        Some(Status::RESTARTING) => State::Restarting,
        Some(Status::REMOVING) => State::Removing,
        Some(Status::EXITED) => State::Exited,
        Some(Status::DEAD) => State::Dead,
        Some(Status::EMPTY) | None if reported.running == Some(true) => State::Running,
        Some(Status::EMPTY) | None => State::Unknown,
    }
}

fn option<'a>(log: &'a HostConfigLogConfig, key: &str) -> Option<&'a str> {
    let options: &HashMap<String, String> = log.config.as_ref()?;
    options.get(key).map(String::as_str)
}

/// The files that a log is stored in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Files {
    /// Bytes of a file at which the engine begins the next; 0: it does not, or
    /// that is not known.
    pub bytes: u64,
    /// Files kept.
    pub most: u64,
}

impl Files {
    /// Source: moby `daemon/logger/jsonfilelog` (no rotation unless `max-size` is
    /// given, 1 file), `local` (20 MB × 5 unless told) and, for what other drivers
    /// keep to be read, `loggerutils/cache` (the same under names of its own).
    fn of(log: &HostConfigLogConfig) -> Self {
        let (size, files, [size_key, files_key]) = match log.typ.as_deref() {
            Some("json-file") => ("0", 1, ["max-size", "max-file"]),
            Some("local") => ("20m", 5, ["max-size", "max-file"]),
            Some("journald" | "none" | "k8s-file") | None => return Self::default(),
            Some(_) => ("20m", 5, ["cache-max-size", "cache-max-file"]),
        };
        Self {
            bytes: bytes_of(option(log, size_key).unwrap_or(size)),
            most: option(log, files_key)
                .and_then(|n| n.parse().ok())
                .unwrap_or(files),
        }
    }

    /// Bytes kept at most; 0: unbounded, or not known.
    pub fn retention(self) -> u64 {
        self.bytes.saturating_mul(self.most)
    }

    /// Bytes stored at least where the engine has deleted any: it deletes the
    /// oldest file as it begins another.
    pub fn kept(self) -> u64 {
        self.bytes.saturating_mul(self.most.saturating_sub(1))
    }
}

fn bytes_of(text: &str) -> u64 {
    let text = text.trim().to_ascii_lowercase();
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let scale: u64 = match text[number.len()..].trim_end_matches('b') {
        "" => 1,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        _ => 0,
    };
    number.parse::<u64>().map_or(0, |n| n.saturating_mul(scale))
}

fn unreadable(log: &HostConfigLogConfig) -> Option<&'static str> {
    match log.typ.as_deref() {
        Some("none") => return Some("its log driver `none` stores nothing"),
        // Podman's, which refuses such a log as if it had failed.
        Some("passthrough" | "passthrough-tty") => {
            return Some("its log driver `passthrough` stores nothing");
        }
        _ => {}
    }
    (option(log, "cache-disabled") == Some("true"))
        .then_some("its log driver keeps no local copy (`cache-disabled`)")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(driver: &str, options: &[(&str, &str)]) -> HostConfigLogConfig {
        let owned = |(k, v): &(&str, &str)| ((*k).to_owned(), (*v).to_owned());
        HostConfigLogConfig {
            typ: Some(driver.to_owned()),
            config: Some(options.iter().map(owned).collect()),
        }
    }

    #[test]
    fn an_id_is_64_lower_case_hex_digits_and_nothing_else() {
        let text = "0123456789abcdef".repeat(4);
        assert_eq!(ContainerId::parse(&text).unwrap().to_string(), text);
        assert_eq!(ContainerId::parse(&text.to_uppercase()), None);
        assert_eq!(ContainerId::parse(&text[1..]), None);
        assert_eq!(ContainerId::parse(&text.replace('0', "/")), None);
    }

    #[test]
    fn retention_is_size_times_files_with_the_drivers_own_defaults() {
        let retention = |driver, options: &[_]| Files::of(&log(driver, options)).retention();
        assert_eq!(retention("json-file", &[]), 0);
        assert_eq!(retention("json-file", &[("max-size", "1m")]), 1 << 20);
        let three = [("max-size", "100k"), ("max-file", "3")];
        assert_eq!(retention("json-file", &three), 300 << 10);
        assert_eq!(retention("local", &[]), 100 << 20);
        assert_eq!(retention("journald", &[]), 0);
        assert_eq!(retention("k8s-file", &[]), 0);
        let cached = [("cache-max-size", "1m"), ("max-size", "1k")];
        assert_eq!(retention("awslogs", &cached), 5 << 20);
    }

    #[test]
    fn nothing_was_deleted_while_less_than_all_files_but_one_is_stored() {
        let kept = |options: &[_]| Files::of(&log("json-file", options)).kept();
        assert_eq!(kept(&[("max-size", "100k"), ("max-file", "3")]), 200 << 10);
        assert_eq!(kept(&[("max-size", "100k")]), 0);
    }

    #[test]
    fn drivers_that_store_nothing_are_known_beforehand() {
        assert!(unreadable(&log("none", &[])).is_some());
        assert!(unreadable(&log("passthrough", &[])).is_some());
        assert!(unreadable(&log("syslog", &[("cache-disabled", "true")])).is_some());
        assert!(unreadable(&log("syslog", &[])).is_none());
    }
}
