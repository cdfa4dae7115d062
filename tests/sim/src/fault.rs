//! What may go wrong, by script: with one request, with an open stream, or with every one of them.

use std::time::Duration;

use bytes::Bytes;

use crate::Endpoint;

/// How a streaming body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With the last chunk: to HTTP a whole body.
    Clean,
    /// The connection is torn down in the middle of the body.
    Torn,
}

/// One thing going wrong.
///
/// A fault strikes once, as soon as a request or an open stream matches; a [sticky](Self::sticky) one strikes each request and
/// each stream once. Faults before the head match any endpoint, faults in a body match logs; [`on`](Self::on) says otherwise.
#[derive(Clone, Debug)]
pub struct Fault {
    act: Act,
    endpoint: Option<Endpoint>,
    follow: Option<bool>,
    after: usize,
    sticky: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum Act {
    Head(HeadAct),
    Body(BodyAct),
}

#[derive(Clone, Debug)]
pub(crate) enum HeadAct {
    Withhold,
    Delay(Duration),
    WithBody,
    Refuse(u16, String),
    HangUp,
}

#[derive(Clone, Debug)]
pub(crate) enum BodyAct {
    Stall,
    Delay(Duration),
    Inject(Bytes),
    InjectAndEnd(Bytes),
    End(Ending),
    CutNext(usize, Ending),
    Skip(usize),
    SkipRotated,
    Repeat(usize),
    RereadFile,
}

impl Fault {
    /// The request is taken, a response head never comes.
    #[must_use]
    pub fn no_head() -> Self {
        Self::head(HeadAct::Withhold)
    }

    /// The response comes that much later.
    #[must_use]
    pub fn late_head(by: Duration) -> Self {
        Self::head(HeadAct::Delay(by))
    }

    /// The response head comes with the first byte of the body, as through a proxy that waits for it.
    #[must_use]
    pub fn head_with_body() -> Self {
        Self::head(HeadAct::WithBody)
    }

    /// The answer is this status with `{"message": …}`.
    #[must_use]
    pub fn refuse(status: u16, message: impl Into<String>) -> Self {
        Self::head(HeadAct::Refuse(status, message.into()))
    }

    /// The connection is closed instead of an answer.
    #[must_use]
    pub fn hang_up() -> Self {
        Self::head(HeadAct::HangUp)
    }

    /// The stream stays open and silent for good. Without [`after`](Self::after): silence right behind the head.
    #[must_use]
    pub fn stall() -> Self {
        Self::body(BodyAct::Stall)
    }

    /// The stream pauses, then goes on.
    #[must_use]
    pub fn pause(length: Duration) -> Self {
        Self::body(BodyAct::Delay(length))
    }

    /// The stream ends although there is more to come.
    #[must_use]
    pub fn end(ending: Ending) -> Self {
        Self::body(BodyAct::End(ending))
    }

    /// Of the next chunk (one record with its frame header, or one event) only `keep` bytes are sent, then the stream ends.
    #[must_use]
    pub fn cut(keep: usize, ending: Ending) -> Self {
        Self::body(BodyAct::CutNext(keep, ending))
    }

    /// These bytes are sent as a chunk of their own, then the stream goes on.
    #[must_use]
    pub fn inject(bytes: impl Into<Bytes>) -> Self {
        Self::body(BodyAct::Inject(bytes.into()))
    }

    /// A frame of that type is sent, whatever it means, then the stream goes on.
    #[must_use]
    pub fn frame(frame_type: u8, payload: &[u8]) -> Self {
        Self::inject(frame(frame_type, payload))
    }

    /// The daemon's own error is sent as a frame of type 3, then the stream ends cleanly, as it does behind a real one.
    #[must_use]
    pub fn daemon_error(message: &str) -> Self {
        Self::body(BodyAct::InjectAndEnd(frame(3, message.as_bytes())))
    }

    /// A frame header that announces 4 GiB.
    #[must_use]
    pub fn oversized_frame() -> Self {
        Self::inject(&[1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff][..])
    }

    /// The next so many records or events are never sent.
    #[must_use]
    pub fn skip(count: usize) -> Self {
        Self::body(BodyAct::Skip(count))
    }

    /// From now on the stream behaves as the engine's follower: having finished its file, and more than one rotation
    /// behind, it goes on with the current file and skips all between. Means nothing to an event stream.
    #[must_use]
    pub fn skip_rotated_files() -> Self {
        Self::body(BodyAct::SkipRotated)
    }

    /// The stream goes back by so many stored records, or events of its own, and reads on from there. It may return
    /// records that its tail had left out.
    #[must_use]
    pub fn repeat(count: usize) -> Self {
        Self::body(BodyAct::Repeat(count))
    }

    /// The stream goes back to the beginning of the current log file. Means nothing to an event stream.
    #[must_use]
    pub fn reread_file() -> Self {
        Self::body(BodyAct::RereadFile)
    }

    /// Strikes only requests to that endpoint; for faults in a body that is [`Endpoint::Logs`] or [`Endpoint::Events`].
    #[must_use]
    pub fn on(mut self, endpoint: Endpoint) -> Self {
        self.endpoint = Some(endpoint);
        self
    }

    /// Strikes only requests with `follow`.
    #[must_use]
    pub fn on_follow(mut self) -> Self {
        self.follow = Some(true);
        self.on(Endpoint::Logs)
    }

    /// Strikes only requests for logs without `follow`.
    #[must_use]
    pub fn on_snapshot(mut self) -> Self {
        self.follow = Some(false);
        self.on(Endpoint::Logs)
    }

    /// Strikes a stream when it has sent so many records or events, or more.
    #[must_use]
    pub fn after(mut self, sent: usize) -> Self {
        self.after = sent;
        self
    }

    /// Strikes again and again, until the faults are cleared.
    #[must_use]
    pub fn sticky(mut self) -> Self {
        self.sticky = true;
        self
    }

    fn head(act: HeadAct) -> Self {
        Self {
            act: Act::Head(act),
            endpoint: None,
            follow: None,
            after: 0,
            sticky: false,
        }
    }

    fn body(act: BodyAct) -> Self {
        Self {
            act: Act::Body(act),
            ..Self::head(HeadAct::Withhold)
        }
        .on(Endpoint::Logs)
    }
}

fn frame(frame_type: u8, payload: &[u8]) -> Bytes {
    let length = u32::try_from(payload.len()).expect("a frame's length fits in 32 bits");
    let header = [[frame_type, 0, 0, 0], length.to_be_bytes()].concat();
    [&header, payload].concat().into()
}

/// A request as faults see it.
pub(crate) struct Victim {
    pub(crate) endpoint: Endpoint,
    /// The id of the container that the request names, if there is one.
    pub(crate) container: Option<String>,
    pub(crate) follow: bool,
    /// Records or events sent in its body.
    pub(crate) sent: usize,
    /// The numbers of the sticky faults that it suffered already.
    suffered: Vec<u64>,
}

impl Victim {
    pub(crate) fn new(endpoint: Endpoint, container: Option<String>, follow: bool) -> Self {
        Self {
            endpoint,
            container,
            follow,
            sent: 0,
            suffered: Vec::new(),
        }
    }
}

/// The faults that wait for a victim, oldest first.
#[derive(Default)]
pub(crate) struct Armory {
    armed: Vec<Armed>,
    next_number: u64,
}

struct Armed {
    number: u64,
    /// None for the whole engine.
    container: Option<String>,
    fault: Fault,
}

impl Armory {
    pub(crate) fn arm(&mut self, container: Option<String>, fault: Fault) {
        self.armed.push(Armed {
            number: self.next_number,
            container,
            fault,
        });
        self.next_number += 1;
    }

    /// Disarms what aims at that container, or at the whole engine; who was struck stays struck.
    pub(crate) fn clear(&mut self, container: Option<&str>) {
        self.armed
            .retain(|armed| armed.container.as_deref() != container);
    }

    pub(crate) fn strike_head(&mut self, victim: &mut Victim) -> Option<HeadAct> {
        self.strike(victim, |act| match act {
            Act::Head(act) => Some(act.clone()),
            Act::Body(_) => None,
        })
    }

    pub(crate) fn strike_body(&mut self, victim: &mut Victim) -> Option<BodyAct> {
        self.strike(victim, |act| match act {
            Act::Body(act) => Some(act.clone()),
            Act::Head(_) => None,
        })
    }

    fn strike<T>(&mut self, victim: &mut Victim, pick: impl Fn(&Act) -> Option<T>) -> Option<T> {
        let mut matching = self
            .armed
            .iter()
            .enumerate()
            .filter(|(_, armed)| armed.hits(victim));
        let (index, act) =
            matching.find_map(|(index, armed)| Some((index, pick(&armed.fault.act)?)))?;
        if self.armed[index].fault.sticky {
            victim.suffered.push(self.armed[index].number);
        } else {
            self.armed.remove(index);
        }
        Some(act)
    }
}

impl Armed {
    fn hits(&self, victim: &Victim) -> bool {
        let fault = &self.fault;
        fault
            .endpoint
            .is_none_or(|endpoint| endpoint == victim.endpoint)
            && fault.follow.is_none_or(|follow| follow == victim.follow)
            && (self.container.is_none() || self.container == victim.container)
            && fault.after <= victim.sent
            && !victim.suffered.contains(&self.number)
    }
}
