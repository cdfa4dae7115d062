//! The client's end of a stream: messages in order, then the status.
//!
//! A client that does not read is closed at the write deadline; its own deadline
//! and the server's drain end the stream as well. Nothing waits for it longer.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_stream::Stream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};
use tonic::Status;

use super::status::Reason;
use crate::proto::{self, ClosingReason, stream_logs_response::Event};

/// A client that takes nothing for so long is closed.
const WRITE_DEADLINE: Duration = Duration::from_secs(15);
/// Messages made ahead of the client, beside `closing`, which has its place from
/// the beginning.
const AHEAD: usize = 2;

/// The client's end: messages, then the status.
#[derive(Debug)]
pub struct Responses {
    messages: mpsc::Receiver<proto::StreamLogsResponse>,
    outcome: Arc<OnceLock<Result<(), Status>>>,
    over: bool,
}

impl Stream for Responses {
    type Item = Result<proto::StreamLogsResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(message) = ready!(self.messages.poll_recv(cx)) {
            return Poll::Ready(Some(Ok(message)));
        }
        if std::mem::replace(&mut self.over, true) {
            return Poll::Ready(None);
        }
        Poll::Ready(match self.outcome.get() {
            Some(Ok(())) => None,
            Some(Err(status)) => Some(Err(status.clone())),
            // The task ended without a word: it panicked.
            None => Some(Err(Reason::Fault.status("the stream failed; resume it"))),
        })
    }
}

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
    pub(crate) const SLOW_CONSUMER: End = End {
        closing: ClosingReason::SlowConsumer,
        status: Err(Reason::SlowConsumer),
        message: "the client took nothing for 15 s",
    };
}

/// The client has cancelled.
#[derive(Debug)]
pub(crate) struct Gone;

/// How a step of a stream went: on, over, or with nobody left.
pub(crate) type Step = Result<Option<End>, Gone>;

/// The server's end.
#[derive(Debug)]
pub(crate) struct Outlet {
    messages: mpsc::Sender<proto::StreamLogsResponse>,
    closing: mpsc::OwnedPermit<proto::StreamLogsResponse>,
    outcome: Arc<OnceLock<Result<(), Status>>>,
    messages_sent: u64,
    deadline: Option<Instant>,
    draining: CancellationToken,
}

/// Both ends of a stream.
pub(crate) fn outlet(
    deadline: Option<Instant>,
    draining: CancellationToken,
) -> (Outlet, Responses) {
    let (sender, messages) = mpsc::channel(AHEAD + 1);
    let place = sender.clone().try_reserve_owned();
    let closing = place.expect("nothing is in the channel yet");
    let outcome = Arc::new(OnceLock::new());
    let responses = Responses {
        messages,
        outcome: Arc::clone(&outcome),
        over: false,
    };
    let outlet = Outlet {
        messages: sender,
        closing,
        outcome,
        messages_sent: 0,
        deadline,
        draining,
    };
    (outlet, responses)
}

impl Outlet {
    /// Messages sent so far.
    pub(crate) fn messages_sent(&self) -> u64 {
        self.messages_sent
    }

    /// Resolves once the client has gone.
    pub(crate) async fn closed(&self) {
        self.messages.closed().await;
    }

    /// Resolves once the server drains.
    pub(crate) fn draining(&self) -> WaitForCancellationFuture<'_> {
        self.draining.cancelled()
    }

    /// Resolves at the client's own deadline.
    pub(crate) async fn deadline(&self) {
        at(self.deadline).await;
    }

    /// Hands a message to the client, within every deadline.
    pub(crate) async fn send(&mut self, event: Event) -> Step {
        let permit = tokio::select! {
            // A client that reads gets what is there, whatever else happens.
            biased;
            permit = timeout(WRITE_DEADLINE, self.messages.reserve()) => permit,
            () = self.draining() => return Ok(Some(End::DRAIN)),
            () = self.deadline() => return Ok(Some(End::DEADLINE)),
        };
        match permit {
            Err(_elapsed) => Ok(Some(End::SLOW_CONSUMER)),
            Ok(Err(_closed)) => Err(Gone),
            Ok(Ok(permit)) => {
                permit.send(proto::StreamLogsResponse { event: Some(event) });
                self.messages_sent += 1;
                Ok(None)
            }
        }
    }

    /// Ends the stream. A client that does not read is not waited for.
    pub(crate) fn close(self, end: &End, progress: proto::Progress) {
        let delay = end.status.err().and_then(Reason::retry_delay);
        let closing = proto::Closing {
            reason: end.closing.into(),
            retry_delay: delay.and_then(|delay| delay.try_into().ok()),
            progress: Some(progress),
            message: end.message.to_owned(),
        };
        let event = Some(Event::Closing(closing));
        let sender = self.closing.send(proto::StreamLogsResponse { event });
        let status = end.status.map_err(|reason| reason.status(end.message));
        // Before the channel closes with its senders; nobody else sets it.
        let _first = self.outcome.set(status);
        drop(sender);
    }
}

/// Resolves at an instant, if there is one.
pub(crate) async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
