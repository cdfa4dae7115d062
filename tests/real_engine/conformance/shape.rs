//! What two answers have in common if the engines agree: everything but the moments at which things happened.

use std::fmt;

use serde_json::Value;

use super::http::{Answer, End};

/// `2026-01-01T00:00:00.000000000Z`
const STAMP: usize = 30;
const FRAME_HEADER: usize = 8;
/// How much of a long payload is shown.
const SHOWN: usize = 60;

/// An answer to a request for logs, without its times.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    status: u16,
    content_type: Option<String>,
    chunked: bool,
    end: End,
    body: Body,
}

#[derive(Debug, PartialEq, Eq)]
enum Body {
    /// Type byte, rank of the stamp and payload of each frame.
    Frames(Vec<(u8, Option<usize>, Payload)>),
    /// Of a terminal: ranks stand for stamps.
    Raw(Payload),
    /// The object that holds an error's message.
    Refusal,
    /// Neither of these.
    Broken(Payload),
}

#[derive(PartialEq, Eq)]
struct Payload(Vec<u8>);

/// The distinct stamps of one log, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stamps(Vec<Vec<u8>>);

impl Stamps {
    /// All that are found at the beginning of frames, or anywhere in a raw body.
    pub(crate) fn of(answer: &Answer, tty: bool) -> Self {
        let mut found: Vec<Vec<u8>> = if tty {
            answer
                .body
                .windows(STAMP + 1)
                .filter(|window| is_stamp(window))
                .map(|window| window[..STAMP].to_vec())
                .collect()
        } else {
            let frames = frames(&answer.body).unwrap_or_default();
            frames
                .into_iter()
                .filter(|(_, payload)| is_stamp(payload))
                .map(|(_, payload)| payload[..STAMP].to_vec())
                .collect()
        };
        found.sort();
        found.dedup();
        Self(found)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// In nanoseconds since the epoch.
    pub(crate) fn nanos(&self) -> Vec<i64> {
        self.0.iter().map(|stamp| nanos(stamp)).collect()
    }

    fn rank(&self, text: &[u8]) -> Option<usize> {
        is_stamp(text).then(|| self.0.iter().position(|stamp| text.starts_with(stamp)))?
    }
}

impl Shape {
    pub(crate) fn of(answer: &Answer, tty: bool, stamps: &Stamps) -> Self {
        let header = |name| Some(answer.headers.get(name)?.to_str().ok()?.to_owned());
        let body = if answer.status != 200 {
            refusal(&answer.body)
        } else if tty {
            Some(Body::Raw(Payload(ranked(&answer.body, stamps))))
        } else {
            frames(&answer.body).map(|frames| {
                Body::Frames(
                    frames
                        .into_iter()
                        .map(|frame| ranked_frame(frame, stamps))
                        .collect(),
                )
            })
        };
        Self {
            status: answer.status,
            content_type: header("content-type"),
            chunked: header("transfer-encoding").is_some(),
            end: answer.end,
            body: body.unwrap_or_else(|| Body::Broken(Payload(answer.body.clone()))),
        }
    }
}

fn refusal(body: &[u8]) -> Option<Body> {
    let document: Value = serde_json::from_slice(body).ok()?;
    let object = document.as_object()?;
    (object.len() == 1 && object.get("message")?.is_string()).then_some(Body::Refusal)
}

fn ranked_frame((kind, payload): (u8, &[u8]), stamps: &Stamps) -> (u8, Option<usize>, Payload) {
    let rank = stamps.rank(payload);
    let payload = if rank.is_some() {
        &payload[STAMP + 1..]
    } else {
        payload
    };
    (kind, rank, Payload(payload.to_vec()))
}

fn ranked(mut body: &[u8], stamps: &Stamps) -> Vec<u8> {
    let mut ranked = Vec::new();
    while let Some((&first, rest)) = body.split_first() {
        if let Some(rank) = stamps.rank(body) {
            ranked.extend(format!("[stamp {rank}] ").into_bytes());
            body = &body[STAMP + 1..];
        } else {
            ranked.push(first);
            body = rest;
        }
    }
    ranked
}

/// `None` if the last one is cut or a header is no header.
fn frames(mut body: &[u8]) -> Option<Vec<(u8, &[u8])>> {
    let mut frames = Vec::new();
    while !body.is_empty() {
        let (header, rest) = body.split_at_checked(FRAME_HEADER)?;
        let [kind, 0, 0, 0, length @ ..] = header else {
            return None;
        };
        let length = u32::from_be_bytes(length.try_into().ok()?);
        let (payload, rest) = rest.split_at_checked(length as usize)?;
        frames.push((*kind, payload));
        body = rest;
    }
    Some(frames)
}

fn is_stamp(text: &[u8]) -> bool {
    let shape = b"0000-00-00T00:00:00.000000000Z ";
    let fits = |(byte, shape): (&u8, &u8)| {
        if *shape == b'0' {
            byte.is_ascii_digit()
        } else {
            byte == shape
        }
    };
    text.len() >= shape.len() && text.iter().zip(shape).all(fits)
}

fn nanos(stamp: &[u8]) -> i64 {
    let number = |from: usize, to: usize| {
        stamp[from..to]
            .iter()
            .fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'))
    };
    let (year, month) = (number(0, 4), number(5, 7));
    // Years begin in March here, so that the leap day is their last.
    let year = if month < 3 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + number(8, 10) - 1;
    let days = 365 * year + year / 4 - year / 100 + year / 400 + day_of_year - 719_468;
    let seconds = ((days * 24 + number(11, 13)) * 60 + number(14, 16)) * 60 + number(17, 19);
    seconds * 1_000_000_000 + number(20, 29)
}

impl fmt::Debug for Payload {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.len().min(SHOWN);
        write!(out, "\"{}\"", self.0[..shown].escape_ascii())?;
        if shown < self.0.len() {
            let last = self.0.len().saturating_sub(SHOWN / 2).max(shown);
            write!(
                out,
                "..{} bytes..\"{}\"",
                self.0.len(),
                self.0[last..].escape_ascii()
            )?;
        }
        Ok(())
    }
}
