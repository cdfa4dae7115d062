//! What a client received, held against the contract and the engine's own log.

use std::collections::BTreeMap;

use prost::Message;
use pulsetail::docker::{Record, Stream};
use pulsetail::proto::StreamLogsResponse;
use pulsetail::proto::stream_logs_response::Event;
use pulsetail_client::history::{History, Line, Report, Rules, Truth};
use pulsetail_client::proto;

/// The records of a log as the lines that a stream from its beginning to its end must bring. Each record is a line.
pub(crate) fn truth(records: &[Record]) -> Truth {
    let mut truth = Truth::new().from_first().to_last();
    for record in records {
        let stream = match record.stream {
            Stream::Stdout => proto::Stream::Stdout,
            Stream::Stderr => proto::Stream::Stderr,
            Stream::Tty => proto::Stream::Tty,
        };
        truth.push(&Line {
            stream,
            time: Some(record.time),
            bytes: record.payload.strip_suffix(b"\n").unwrap(),
            unterminated: false,
        });
    }
    truth
}

/// Judges a stream that ended with OK, against the lines of containers by their ids.
pub(crate) fn judged(events: &[Event], truths: &BTreeMap<String, Truth>) -> Report {
    let mut history = History::new(Rules::default());
    history.begin([]);
    for event in events {
        let event = Some(event.clone());
        let message = StreamLogsResponse { event }.encode_to_vec();
        history.message(&proto::StreamLogsResponse::decode(&*message).unwrap());
    }
    history.completed();
    history.judge_against(truths)
}
