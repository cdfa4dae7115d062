//! The client's end of a stream: messages in order, then the status.
//!
//! A client that does not read is closed at the write deadline; its own deadline
//! and the server's drain end the stream as well. Nothing waits for it longer.

use std::time::Duration;

use bytes::{BufMut, Bytes};
use prost::Message;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

use super::body::LogBody;
use super::flushes::{Gone, Parts, Sender, flushes};
use super::status::Reason;
use crate::hub::Pace;
use crate::proto::{self, ClosingReason, stream_logs_response::Event};

/// A client that takes nothing for so long is closed.
pub(crate) const WRITE_DEADLINE: Duration = Duration::from_secs(15);

/// Why the server ends a stream.
pub(crate) struct End {
    pub(crate) closing: ClosingReason,
    pub(crate) status: Result<(), Reason>,
    pub(crate) message: &'static str,
}

impl End {
    pub(crate) const COMPLETED: End = End {
        closing: ClosingReason::Completed,
        status: Ok(()),
        message: "all that was asked for is delivered",
    };
    pub(crate) const DRAIN: End = End {
        closing: ClosingReason::Drain,
        status: Err(Reason::Draining),
        message: "the server stops",
    };
    pub(crate) const DEADLINE: End = End {
        closing: ClosingReason::Unspecified,
        status: Err(Reason::DeadlineExceeded),
        message: "the client's deadline has passed",
    };
    pub(crate) const ENGINE_LOST: End = End {
        closing: ClosingReason::EngineLost,
        status: Err(Reason::EngineLost),
        message: "the container engine has been away for 300 s",
    };
    pub(crate) const FELL_BEHIND: End = End {
        closing: ClosingReason::SlowConsumer,
        status: Err(Reason::SlowConsumer),
        message: "fell out of the live entries",
    };
    /// Changes were missed: the client took nothing meanwhile, or the server could not
    /// look at all of them.
    pub(crate) const CHURN: End = End {
        closing: ClosingReason::SlowConsumer,
        status: Err(Reason::SlowConsumer),
        message: "more containers came and went than are remembered",
    };
    pub(crate) const CONTAINER_LIMIT: End = End {
        closing: ClosingReason::Unspecified,
        status: Err(Reason::ContainerLimit),
        message: "a container joined that is one too many; narrow the selector",
    };
    pub(crate) const SLOW_CONSUMER: End = End {
        closing: ClosingReason::SlowConsumer,
        status: Err(Reason::SlowConsumer),
        message: "the client took nothing for 15 s",
    };
}

/// Bytes that leave without waiting for more.
const FLUSH_BYTES: usize = 64 * 1024;

/// How long news of several members gathers under load: each by itself would wake
/// their stream.
const GATHER: Duration = Duration::from_millis(2);
/// So far behind the times at which logs publish: the first one's entries wait for the
/// others'.
const BEHIND: Duration = Duration::from_millis(1);

/// How a step of a stream went: on, over, or with nobody left.
pub(crate) type Step = Result<Option<End>, Gone>;

/// The server's end.
#[derive(Debug)]
pub(crate) struct Outlet {
    flushes: Sender,
    messages_sent: u64,
    deadline: Option<Instant>,
    draining: CancellationToken,
    /// How long batches wait for others, and when some left last.
    latency: Duration,
    pace: Pace,
    due: Option<Instant>,
    /// Whether batches come from several members, and until when their news gathers.
    several: bool,
    gather: Option<Instant>,
    /// Messages sent before what has gathered was begun to be taken, if it is.
    taking: Option<u64>,
    held: Parts,
    held_bytes: usize,
}

/// Both ends of a stream. `latency`: how long batches wait for others under load.
pub(crate) fn outlet(
    deadline: Option<Instant>,
    draining: CancellationToken,
    latency: Duration,
) -> (Outlet, LogBody) {
    let (sender, flushes) = flushes();
    let body = LogBody::new(flushes);
    let outlet = Outlet {
        flushes: sender,
        messages_sent: 0,
        deadline,
        draining,
        latency,
        pace: Pace::default(),
        due: None,
        several: false,
        gather: None,
        taking: None,
        held: Parts::new(),
        held_bytes: 0,
    };
    (outlet, body)
}

impl Outlet {
    /// Messages sent so far.
    pub(crate) fn messages_sent(&self) -> u64 {
        self.messages_sent
    }

    /// Resolves once the client has gone.
    pub(crate) async fn closed(&self) {
        self.flushes.closed().await;
    }

    /// Resolves once the server drains.
    pub(crate) fn draining(&self) -> WaitForCancellationFuture<'_> {
        self.draining.cancelled()
    }

    /// The client's own deadline.
    pub(crate) fn expiry(&self) -> Option<Instant> {
        self.deadline
    }

    /// Hands a message to the client, within every deadline.
    pub(crate) fn send(&mut self, event: Event) -> impl Future<Output = Step> {
        // Not in the future: it would take an event's room in every stream.
        self.hold(vec![framed(event)]);
        self.write()
    }

    /// From now on several members bring batches.
    pub(crate) fn serve_several(&mut self) {
        self.several = true;
        self.pace.stay_behind(BEHIND);
    }

    /// Hands over a batch that is framed already, in one part or several: at once
    /// after an idle moment, with others under load.
    pub(crate) async fn pass(&mut self, message: Parts) -> Step {
        self.hold(message);
        match self.taking {
            Some(_) if self.held_bytes < FLUSH_BYTES => Ok(None),
            Some(_) => self.flush().await,
            None => self.flush_in_time().await,
        }
    }

    /// When there is something to do, if there is: what has gathered is to be taken,
    /// what is held back is to be flushed.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.gather.or(self.due)
    }

    /// Whether members' news is better taken later.
    pub(crate) fn gathers(&self) -> bool {
        self.gather.is_some()
    }

    /// It is taken now, all of it before any of it leaves.
    pub(crate) fn take_gathered(&mut self) {
        self.gather = None;
        self.taking = Some(self.messages_sent);
    }

    /// All of it is taken.
    pub(crate) async fn took_gathered(&mut self) -> Step {
        let came = self.taking.take() != Some(self.messages_sent);
        let is_due = self.due.is_some_and(|due| due <= Instant::now());
        if self.held_bytes > 0 && (came || is_due) {
            return self.flush_in_time().await;
        }
        // Nothing came: what is next may wake the stream.
        Ok(None)
    }

    fn hold(&mut self, message: Parts) {
        self.messages_sent += 1;
        self.held_bytes += message.iter().map(Bytes::len).sum::<usize>();
        self.held.extend(message);
    }

    /// Sends the batches held back, unless some left a moment ago: then they wait for
    /// more.
    async fn flush_in_time(&mut self) -> Step {
        let now = Instant::now();
        self.due = self.pace.due(now, self.latency);
        if let Some(due) = self.due
            && self.held_bytes < FLUSH_BYTES
        {
            self.gather = self.several.then(|| due.min(now + GATHER));
            return Ok(None);
        }
        self.flush().await
    }

    async fn flush(&mut self) -> Step {
        self.pace.left(Instant::now());
        self.write().await
    }

    async fn write(&mut self) -> Step {
        (self.due, self.gather) = (None, None);
        let room = tokio::select! {
            // A client that reads gets what is there, whatever else happens.
            biased;
            room = timeout(WRITE_DEADLINE, self.flushes.room()) => room,
            () = self.draining.cancelled() => return Ok(Some(End::DRAIN)),
            () = at(self.deadline) => return Ok(Some(End::DEADLINE)),
        };
        match room {
            Err(_elapsed) => Ok(Some(End::SLOW_CONSUMER)),
            Ok(Err(gone)) => Err(gone),
            Ok(Ok(room)) => {
                room.send(std::mem::take(&mut self.held));
                self.held_bytes = 0;
                Ok(None)
            }
        }
    }

    /// Ends the stream. A client that does not read is not waited for.
    pub(crate) fn close(mut self, end: &End, progress: proto::Progress) {
        let delay = end.status.err().and_then(Reason::retry_delay);
        let closing = proto::Closing {
            reason: end.closing.into(),
            retry_delay: delay.and_then(|delay| delay.try_into().ok()),
            progress: Some(progress),
            message: end.message.to_owned(),
        };
        self.held.push(framed(Event::Closing(closing)));
        let status = end.status.map_err(|reason| reason.status(end.message));
        self.flushes.end(self.held, status);
    }
}

/// An event as a gRPC message with its prefix: no compression, and its length.
fn framed(event: Event) -> Bytes {
    let message = proto::StreamLogsResponse { event: Some(event) };
    let len = message.encoded_len();
    let mut bytes = Vec::with_capacity(len + 5);
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(len).unwrap_or(u32::MAX));
    let fits = message.encode(&mut bytes);
    fits.expect("a vector grows");
    Bytes::from(bytes)
}

/// Resolves at an instant, if there is one.
pub(crate) async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::time::advance;

    use super::super::flushes::AHEAD;
    use super::*;
    use crate::hub::MAX_LATENCY;

    fn message() -> Parts {
        vec![Bytes::from_static(b"batch")]
    }

    /// An outlet that has just sent something, and what it sends.
    async fn loaded(several: bool) -> (Outlet, LogBody) {
        let (mut outlet, body) = outlet(None, CancellationToken::new(), MAX_LATENCY);
        if several {
            outlet.serve_several();
        }
        // It is at most so far to the next common time, and then an idle moment.
        advance(MAX_LATENCY * 2).await;
        assert!(outlet.pass(message()).await.is_ok_and(|end| end.is_none()));
        assert_eq!(outlet.held_bytes, 0, "the first leaves at once");
        (outlet, body)
    }

    async fn held(outlet: &mut Outlet) -> Instant {
        assert!(outlet.pass(message()).await.is_ok_and(|end| end.is_none()));
        assert!(outlet.held_bytes > 0, "it waits for others");
        outlet.due.expect("not for ever")
    }

    #[tokio::test(start_paused = true)]
    async fn one_members_batches_are_taken_as_they_come() {
        let (mut outlet, _body) = loaded(false).await;
        let due = held(&mut outlet).await;
        assert!(!outlet.gathers());
        assert_eq!(outlet.due(), Some(due));
    }

    /// Lets time pass until something is to be done, and does it with these batches.
    async fn take(outlet: &mut Outlet, batches: usize) {
        let until = outlet.due().expect("somebody may wait");
        advance(until - Instant::now()).await;
        outlet.take_gathered();
        for _ in 0..batches {
            assert!(outlet.pass(message()).await.is_ok_and(|end| end.is_none()));
            assert!(outlet.held_bytes > 0, "it leaves with the others");
        }
        let flushed = outlet.took_gathered().await;
        assert!(flushed.is_ok_and(|end| end.is_none()));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_made_ahead_of_a_client_that_takes_nothing_is_bounded() {
        const MESSAGE: usize = 1_000;
        let (mut outlet, _body) = loaded(false).await;
        let mut made = 0;
        while made < 100 * FLUSH_BYTES {
            let message = vec![Bytes::from(vec![0; MESSAGE])];
            made += MESSAGE;
            // The last one made is held, and waits for room.
            if outlet.pass(message).now_or_never().is_none() {
                break;
            }
        }
        assert!(made <= AHEAD * (FLUSH_BYTES + MESSAGE), "{made}");
    }

    #[tokio::test(start_paused = true)]
    async fn batches_of_several_members_gather_and_leave_in_time() {
        let (mut outlet, _body) = loaded(true).await;
        let due = held(&mut outlet).await;
        let mut taken = 0;
        while Instant::now() < due {
            assert!(outlet.gathers(), "each would wake the stream");
            assert!(outlet.due() <= Some(due.min(Instant::now() + GATHER)));
            take(&mut outlet, 3).await;
            taken += 1;
        }
        assert!(taken <= 1 + (MAX_LATENCY + BEHIND).as_millis() / GATHER.as_millis());
        assert_eq!((outlet.held_bytes, outlet.due()), (0, None));
    }

    #[tokio::test(start_paused = true)]
    async fn where_nothing_has_gathered_the_next_batch_wakes_the_stream() {
        let (mut outlet, _body) = loaded(true).await;
        let due = held(&mut outlet).await;
        take(&mut outlet, 0).await;
        if Instant::now() < due {
            assert!(!outlet.gathers());
            take(&mut outlet, 0).await;
        }
        assert_eq!((outlet.held_bytes, outlet.due()), (0, None));
        assert_eq!(Instant::now(), due);
    }
}
