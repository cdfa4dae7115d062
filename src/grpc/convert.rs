//! From the stages' types to the contract's.

use prost_types::Timestamp;

use super::selector::{PROJECT, SERVICE};
use crate::docker::{Container, State, Stream};
use crate::proto;
use crate::tail::{Entry, Gap, GapCause};

const NANOS: i64 = 1_000_000_000;

/// ns since the Unix epoch as a timestamp.
pub(crate) fn timestamp(ns: i64) -> Timestamp {
    Timestamp {
        seconds: ns.div_euclid(NANOS),
        // Below 10^9.
        nanos: i32::try_from(ns.rem_euclid(NANOS)).unwrap_or_default(),
    }
}

/// ns since the Unix epoch; `None` outside of what protobuf allows.
pub(crate) fn nanos(time: &Timestamp) -> Option<i64> {
    // Years 1 to 9999.
    let valid = (-62_135_596_800..=253_402_300_799).contains(&time.seconds)
        && (0..1_000_000_000).contains(&time.nanos);
    // What ns cannot hold lies before or behind every log.
    valid.then(|| {
        let seconds = time.seconds.saturating_mul(NANOS);
        seconds.saturating_add(i64::from(time.nanos))
    })
}

pub(crate) fn container_ref(container: &Container) -> proto::ContainerRef {
    proto::ContainerRef {
        id: container.id.to_string(),
        name: container.name.clone(),
    }
}

pub(crate) fn container(container: &Container, subscribers: usize) -> proto::Container {
    proto::Container {
        container: Some(container_ref(container)),
        image: container.image.clone(),
        labels: container.labels.clone(),
        compose_project: container.label(PROJECT).to_owned(),
        compose_service: container.label(SERVICE).to_owned(),
        state: state(container.state).into(),
        exit_code: container.exit_code,
        tty: container.tty,
        log_driver: container.log_driver.clone(),
        unreadable_reason: container.unreadable.unwrap_or_default().to_owned(),
        create_time: container.created.map(timestamp),
        start_time: container.started.map(timestamp),
        finish_time: container.finished.map(timestamp),
        retention_bytes: container.files.retention(),
        subscribers: u32::try_from(subscribers).unwrap_or(u32::MAX),
    }
}

pub(crate) fn member(container: &Container, running: bool, cursor: String) -> proto::Member {
    proto::Member {
        container: Some(container_ref(container)),
        cursor,
        running: running || container.state == State::Restarting,
        compose_project: container.label(PROJECT).to_owned(),
        compose_service: container.label(SERVICE).to_owned(),
    }
}

fn state(state: State) -> proto::ContainerState {
    match state {
        State::Unknown => proto::ContainerState::Unspecified,
        State::Created => proto::ContainerState::Created,
        State::Running => proto::ContainerState::Running,
        State::Paused => proto::ContainerState::Paused,
        State::Restarting => proto::ContainerState::Restarting,
        State::Exited => proto::ContainerState::Exited,
        State::Removing => proto::ContainerState::Removing,
        State::Dead => proto::ContainerState::Dead,
    }
}

pub(crate) fn stream(stream: Stream) -> proto::Stream {
    match stream {
        Stream::Stdout => proto::Stream::Stdout,
        Stream::Stderr => proto::Stream::Stderr,
        Stream::Tty => proto::Stream::Tty,
    }
}

/// An entry of a page, where none comes late.
pub(crate) fn entry(entry: &Entry) -> proto::LogEntry {
    let line = match str::from_utf8(&entry.line) {
        Ok(text) => proto::log_entry::Line::Text(text.to_owned()),
        Err(_) => proto::log_entry::Line::Raw(entry.line.clone()),
    };
    proto::LogEntry {
        time: Some(timestamp(entry.time)),
        stream: stream(entry.stream).into(),
        line: Some(line),
        unterminated: entry.unterminated,
        truncated_bytes: entry.truncated_bytes,
        late: false,
        ordinal: entry.ordinal,
    }
}

pub(crate) fn gap(container: &Container, gap: &Gap, cursor: String) -> proto::Gap {
    let gone = "the engine no longer has the record that was read last";
    let (cause, message) = match gap.cause {
        GapCause::EngineError => (
            proto::GapCause::EngineError,
            "the engine could not read its own log",
        ),
        GapCause::RotatedOut => (proto::GapCause::RotatedOut, gone),
        GapCause::SlowConsumer => (proto::GapCause::SlowConsumer, gone),
        GapCause::Stall => (proto::GapCause::Stall, gone),
        GapCause::LogTruncated => (proto::GapCause::LogTruncated, gone),
        GapCause::EngineSkip => (
            proto::GapCause::EngineSkip,
            "the engine's live stream left out what was stored meanwhile",
        ),
        GapCause::ContainerRemoved => (
            proto::GapCause::ContainerRemoved,
            "the container was removed before its log was known to be read",
        ),
    };
    proto::Gap {
        container: Some(container_ref(container)),
        cause: cause.into(),
        after_time: gap.after.map(timestamp),
        before_time: gap.before.map(timestamp),
        certain: gap.certain,
        missing_entries: gap.missing,
        cursor,
        message: gap.words.as_deref().unwrap_or(message).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn line(bytes: &'static [u8]) -> proto::log_entry::Line {
        let plain = Entry {
            stream: Stream::Stdout,
            time: 0,
            ordinal: 0,
            line: Bytes::from_static(bytes),
            unterminated: false,
            truncated_bytes: 0,
        };
        entry(&plain).line.unwrap()
    }

    #[test]
    fn a_line_is_text_when_it_is_utf8_also_when_it_is_empty() {
        use proto::log_entry::Line;
        assert_eq!(line(b""), Line::Text(String::new()));
        assert_eq!(line("é\r".as_bytes()), Line::Text("é\r".to_owned()));
        assert_eq!(line(b"\xff"), Line::Raw(Bytes::from_static(b"\xff")));
    }

    #[test]
    fn times_before_the_epoch_keep_their_nanoseconds() {
        let time = timestamp(-1);
        assert_eq!((time.seconds, time.nanos), (-1, 999_999_999));
        assert_eq!(nanos(&time), Some(-1));
        let far = Timestamp {
            seconds: 253_402_300_800,
            nanos: 0,
        };
        assert_eq!(nanos(&far), None);
    }
}
