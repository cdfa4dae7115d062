//! The engine's API, as far as Pulsetail uses it.

use std::collections::HashMap;
use std::fmt;

use bollard::container::LogOutput;
use bollard::errors::Error as Cause;
use bollard::models::{EventMessage, SystemVersion};
use bollard::query_parameters::{
    EventsOptionsBuilder, ListContainersOptionsBuilder, LogsOptionsBuilder,
};
use bollard::{BollardRequest, ClientVersion, Docker};
use bytes::Bytes;
use futures_util::stream::{Stream as Items, StreamExt};
use tracing::warn;

use super::container::{Container, ContainerId};
use super::listed::Listed;
use super::records::Records;
use super::transport::{Connector, Framing, NEWEST_MINOR, Transport};

/// Longer than every deadline of the transport, which decides.
const BOLLARD_TIMEOUT_SECONDS: u64 = 600;

/// Why the engine did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// It cannot be reached, answered too late or broke off.
    #[error("{0}")]
    Unavailable(String),
    /// It has no such container.
    #[error("the engine has no such container")]
    NotFound,
    /// The container is being removed.
    #[error("the container is being removed")]
    Removing,
    /// The container's log driver cannot be read.
    #[error("{0}")]
    Unreadable(String),
    /// It sent what its API does not allow.
    #[error("{0}")]
    Protocol(String),
    /// It said, in the middle of a log, that it cannot read that: its own words.
    #[error("the engine reported: {0}")]
    Reported(String),
}

impl EngineError {
    /// Whether the same question is answered so for as long as the container is the same.
    pub(crate) fn is_lasting(&self) -> bool {
        matches!(self, Self::NotFound | Self::Removing | Self::Unreadable(_))
    }

    /// What the engine said of a log that it cannot read.
    pub(crate) fn words(&self) -> Option<String> {
        match self {
            Self::Reported(words) => Some(words.clone()),
            _ => None,
        }
    }
}

impl From<Cause> for EngineError {
    fn from(cause: Cause) -> Self {
        match cause {
            Cause::DockerResponseServerError {
                status_code,
                message,
            } => match status_code {
                404 => EngineError::NotFound,
                409 => EngineError::Removing,
                501 => EngineError::Unreadable(message),
                500..=599 => {
                    EngineError::Unavailable(format!("engine error {status_code}: {message}"))
                }
                _ => EngineError::Protocol(format!("engine refused with {status_code}: {message}")),
            },
            Cause::JsonDataError { .. } | Cause::JsonSerdeError { .. } => {
                EngineError::Protocol(cause.to_string())
            }
            cause => EngineError::Unavailable(root_of(&cause)),
        }
    }
}

/// The innermost cause: outer ones only say that something failed.
fn root_of(error: &dyn std::error::Error) -> String {
    let mut root = error;
    while let Some(source) = root.source() {
        root = source;
    }
    root.to_string()
}

/// Who the engine is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// `docker` or `podman`.
    pub kind: &'static str,
    /// Version of the engine.
    pub version: String,
    /// API version agreed upon.
    pub api_version: String,
    /// The engine's own id; cursors are bound to it.
    pub id: String,
    /// Host name.
    pub host_name: String,
}

impl Identity {
    /// Major version; 0 when it cannot be read.
    pub fn major(&self) -> u32 {
        let digits = self.version.split('.').next();
        digits.and_then(|d| d.parse().ok()).unwrap_or(0)
    }
}

/// How much of a log's end is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tail {
    /// The last records, both streams counted.
    Last(u32),
    /// Everything retained.
    All,
}

impl fmt::Display for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Tail::Last(records) => records.fmt(f),
            Tail::All => f.write_str("all"),
        }
    }
}

/// A client of one engine. Cloning it is cheap.
#[derive(Debug, Clone)]
pub struct Engine {
    docker: Docker,
    transport: Transport,
}

impl Engine {
    /// Makes a client; nothing is sent before the first call.
    ///
    /// # Errors
    /// None in practice: bollard's constructor can fail, its custom one does not.
    pub fn new(connector: Connector) -> Result<Self, EngineError> {
        let transport = Transport::new(connector);
        let sender = transport.clone();
        let docker = Docker::connect_with_custom_transport(
            move |request: BollardRequest| {
                let transport = sender.clone();
                async move { transport.send(request).await }
            },
            Some("http://docker"),
            BOLLARD_TIMEOUT_SECONDS,
            &ClientVersion {
                major_version: 1,
                minor_version: usize::try_from(NEWEST_MINOR).unwrap_or_default(),
            },
        )?;
        Ok(Self { docker, transport })
    }

    /// Asks whether the engine answers.
    ///
    /// # Errors
    /// It does not.
    pub async fn ping(&self) -> Result<(), EngineError> {
        self.docker.ping().await?;
        Ok(())
    }

    /// Agrees on an API version and asks who the engine is.
    ///
    /// # Errors
    /// The engine is away, or its API cannot be agreed upon.
    pub async fn identify(&self) -> Result<Identity, EngineError> {
        let version = self.docker.version().await?;
        let minor = agreed_minor(&version)?;
        self.transport.agree(minor);
        let info = self.docker.info().await?;
        let is_podman = version.components.iter().flatten();
        let is_podman = is_podman.into_iter().any(|c| c.name.starts_with("Podman"));
        let host_name = info.name.unwrap_or_default();
        Ok(Identity {
            kind: if is_podman { "podman" } else { "docker" },
            version: version.version.unwrap_or_default(),
            api_version: format!("1.{minor}"),
            // Podman makes its id up at each start.
            id: info
                .id
                .filter(|_| !is_podman)
                .unwrap_or_else(|| host_name.clone()),
            host_name,
        })
    }

    /// All containers, stopped ones included.
    ///
    /// # Errors
    /// The engine's.
    pub async fn list(&self) -> Result<Vec<Listed>, EngineError> {
        let options = ListContainersOptionsBuilder::default().all(true).build();
        let listed = self.docker.list_containers(Some(options)).await?;
        Ok(listed.into_iter().filter_map(Listed::of).collect())
    }

    /// One container.
    ///
    /// # Errors
    /// The engine's; [`EngineError::NotFound`] once it is gone.
    pub async fn inspect(&self, id: &ContainerId) -> Result<Container, EngineError> {
        let answer = self.docker.inspect_container(&id.to_string(), None).await?;
        let malformed = || EngineError::Protocol("a container without id or name".to_owned());
        Container::of_inspect(answer).ok_or_else(malformed)
    }

    /// A lease: the last `tail` records, then every later one as it is stored,
    /// until the container exits or the lease is dropped. A record can be skipped
    /// or repeated by the engine; file order decides, and only a snapshot has it.
    pub fn follow(&self, id: &ContainerId, tty: bool, tail: Tail) -> Records {
        self.logs(id, tty, tail, true)
    }

    /// The last `tail` records as they are stored now, in file order.
    pub fn snapshot(&self, id: &ContainerId, tty: bool, tail: Tail) -> Records {
        self.logs(id, tty, tail, false)
    }

    fn logs(&self, id: &ContainerId, tty: bool, tail: Tail, follow: bool) -> Records {
        // No `since`: it decodes the whole log, and loses lines on old engines.
        let options = LogsOptionsBuilder::default()
            .follow(follow)
            .stdout(true)
            .stderr(true)
            .timestamps(true)
            .tail(&tail.to_string())
            .build();
        let framing = if tty {
            Framing::Tty
        } else {
            Framing::Multiplexed
        };
        let docker = self
            .docker
            .clone()
            .with_request_modifier(move |mut request| {
                request.extensions_mut().insert(framing);
                request
            });
        let outputs = docker.logs(&id.to_string(), Some(options));
        Records::new(outputs.map(|output| bundle_of(output?)), tty)
    }

    /// Container events from now on. Events can be lost, repeated or reordered:
    /// they are hints, the list decides.
    pub fn events(&self) -> impl Items<Item = Result<Event, EngineError>> + Send + use<> {
        let filters = HashMap::from([("type", vec!["container"])]);
        let options = EventsOptionsBuilder::default().filters(&filters).build();
        let events = self.docker.events(Some(options));
        events.filter_map(async |message| match message {
            Ok(message) => Event::of(message).map(Ok),
            Err(error) => Some(Err(error.into())),
        })
    }
}

/// What the transport has put together.
fn bundle_of(output: LogOutput) -> Result<Bytes, EngineError> {
    match output {
        LogOutput::StdOut { message } => Ok(message),
        // The transport hands on none of them.
        LogOutput::StdErr { .. } | LogOutput::StdIn { .. } | LogOutput::Console { .. } => Err(
            EngineError::Protocol("the engine sent output of no known stream".to_owned()),
        ),
    }
}

/// What the engine tells of a container: its state may have changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Whether a run of it began.
    pub starts: bool,
    /// Whether it was removed: the last that is told of it.
    pub removes: bool,
    /// When, ns since the Unix epoch, the engine's clock.
    pub time: Option<i64>,
    /// The container, as far as the event describes it.
    pub container: Container,
}

impl Event {
    fn of(message: EventMessage) -> Option<Event> {
        // Executions and health checks come by the dozen and change nothing here.
        let action = message.action?;
        let noise = [
            "exec_",
            "health_status",
            "top",
            "resize",
            "archive",
            "export",
        ];
        if noise.iter().any(|prefix| action.starts_with(prefix)) {
            return None;
        }
        let actor = message.actor?;
        let id = ContainerId::parse(&actor.id?)?;
        let seconds = message.time.and_then(|s| s.checked_mul(1_000_000_000));
        Some(Event {
            starts: action == "start",
            removes: action == "destroy",
            time: message.time_nano.or(seconds),
            container: Container::of_event(id, actor.attributes.unwrap_or_default()),
        })
    }
}

fn agreed_minor(version: &SystemVersion) -> Result<u32, EngineError> {
    let minor = |text: &Option<String>| {
        let minor = text.as_deref()?.strip_prefix("1.")?;
        minor.parse::<u32>().ok()
    };
    let newest = minor(&version.api_version).ok_or_else(|| {
        EngineError::Protocol("the engine does not say which API version it speaks".to_owned())
    })?;
    let oldest = minor(&version.min_api_version).unwrap_or(0);
    if oldest > NEWEST_MINOR {
        warn!(
            oldest = %format_args!("1.{oldest}"),
            "the engine speaks only API versions newer than any this release was tested with"
        );
    }
    Ok(newest.min(NEWEST_MINOR).max(oldest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn speaks(oldest: &str, newest: &str) -> Result<u32, EngineError> {
        agreed_minor(&SystemVersion {
            api_version: Some(newest.to_owned()),
            min_api_version: Some(oldest.to_owned()),
            ..SystemVersion::default()
        })
    }

    #[test]
    fn the_agreed_api_version_is_the_newest_both_know() {
        assert_eq!(speaks("1.12", "1.41"), Ok(41));
        assert_eq!(speaks("1.40", "1.56"), Ok(NEWEST_MINOR));
        assert_eq!(speaks("1.60", "1.70"), Ok(60));
        assert!(speaks("", "").is_err());
    }
}
