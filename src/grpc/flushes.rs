//! The way of a stream's flushes from its task to its body, and the outcome behind
//! them.
//!
//! A channel of tokio's has room for 32 messages and for any number of senders: 800
//! bytes in each stream, most of which have nothing to send for long. This one keeps what is
//! on its way, and whom to wake.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use tokio::task::coop::poll_proceed;
use tonic::Status;

use crate::supervisor::sync::{Mutex, MutexGuard};

/// Flushes made ahead of the client, beside the last.
pub(crate) const AHEAD: usize = 2;

/// Framed messages that leave together.
pub(crate) type Parts = Vec<Bytes>;

/// The client has gone.
#[derive(Debug)]
pub(crate) struct Gone;

/// Both ends of a stream's way.
pub(crate) fn flushes() -> (Sender, Receiver) {
    let way = Arc::new(Way::default());
    (Sender(Arc::clone(&way)), Receiver(way))
}

#[derive(Debug, Default)]
struct Way(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    flushes: VecDeque<Parts>,
    /// Who is to hear that the client has gone, and of room if it waits for that.
    task: Option<Waker>,
    wants_room: bool,
    /// Who is to hear of flushes and of the end.
    body: Option<Waker>,
    is_over: bool,
    is_gone: bool,
    outcome: Option<Result<(), Status>>,
}

impl Way {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state, and wakes whoever is to hear of it once it can be looked at.
    fn change(&self, change: impl FnOnce(&mut State) -> Option<Waker>) {
        let waker = change(&mut self.state());
        waker.into_iter().for_each(Waker::wake);
    }
}

/// The task's end. Whoever drops it without an outcome has failed.
#[derive(Debug)]
pub(crate) struct Sender(Arc<Way>);

/// Room for a flush.
#[derive(Debug)]
pub(crate) struct Room<'a>(&'a Sender);

impl Sender {
    /// Resolves once the client has gone. Cancel safe.
    pub(crate) async fn closed(&self) {
        poll_fn(|cx| {
            let mut state = self.0.state();
            if state.is_gone {
                return Poll::Ready(());
            }
            wait(&mut state.task, cx);
            Poll::Pending
        })
        .await;
    }

    /// Room, once there is some. Cancel safe.
    pub(crate) async fn room(&mut self) -> Result<Room<'_>, Gone> {
        poll_fn(|cx| {
            let turn = ready!(poll_proceed(cx));
            let mut state = self.0.state();
            if !state.is_gone && state.flushes.len() >= AHEAD {
                state.wants_room = true;
                wait(&mut state.task, cx);
                return Poll::Pending;
            }
            turn.made_progress();
            Poll::Ready(if state.is_gone { Err(Gone) } else { Ok(()) })
        })
        .await?;
        Ok(Room(self))
    }

    /// The end: one more flush, for which there always is room, and the outcome.
    pub(crate) fn end(self, last: Parts, outcome: Result<(), Status>) {
        let mut state = self.0.state();
        state.flushes.push_back(last);
        state.outcome = Some(outcome);
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.0.change(|state| {
            state.is_over = true;
            state.body.take()
        });
    }
}

impl Room<'_> {
    pub(crate) fn send(self, flush: Parts) {
        self.0.0.change(|state| {
            state.flushes.push_back(flush);
            state.body.take()
        });
    }
}

/// The body's end.
#[derive(Debug)]
pub(crate) struct Receiver(Arc<Way>);

impl Receiver {
    /// The next flush; `None`: that was all.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Parts>> {
        let turn = ready!(poll_proceed(cx));
        let mut state = self.0.state();
        let Some(flush) = state.flushes.pop_front() else {
            if !state.is_over {
                wait(&mut state.body, cx);
                return Poll::Pending;
            }
            turn.made_progress();
            return Poll::Ready(None);
        };
        if state.flushes.is_empty() {
            // It may be the last for long.
            state.flushes = VecDeque::new();
        }
        // A task that waits for other things is not disturbed.
        let wants_room = std::mem::take(&mut state.wants_room);
        let task = state.task.take_if(|_| wants_room);
        drop(state);
        task.into_iter().for_each(Waker::wake);
        turn.made_progress();
        Poll::Ready(Some(flush))
    }

    /// How the stream ended; `None`: its task has not said.
    pub(crate) fn outcome(&self) -> Option<Result<(), Status>> {
        self.0.state().outcome.clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let mut unread = VecDeque::new();
        self.0.change(|state| {
            state.is_gone = true;
            unread = std::mem::take(&mut state.flushes);
            state.task.take()
        });
    }
}

/// Has this task woken next.
fn wait(who: &mut Option<Waker>, cx: &Context<'_>) {
    match who {
        // It knows its own, and then does nothing.
        Some(waker) => waker.clone_from(cx.waker()),
        None => *who = Some(cx.waker().clone()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use futures_util::FutureExt;

    use super::*;
    use crate::grpc::status::Reason;

    /// Counts how often it is woken.
    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Woken {
        fn waker(self: &Arc<Self>) -> Waker {
            Waker::from(Arc::clone(self))
        }

        fn times(&self) -> usize {
            self.0.load(Ordering::Relaxed)
        }
    }

    fn flush(byte: u8) -> Parts {
        vec![Bytes::from(vec![byte])]
    }

    fn sends(sender: &mut Sender, byte: u8) -> bool {
        let room = sender.room().now_or_never();
        room.is_some_and(|room| {
            room.expect("the client is there").send(flush(byte));
            true
        })
    }

    fn taken(receiver: &mut Receiver, waker: &Waker) -> Poll<Option<Parts>> {
        receiver.poll_next(&mut Context::from_waker(waker))
    }

    #[test]
    fn a_few_are_made_ahead_and_the_last_always_is() {
        let (mut sender, mut receiver) = flushes();
        let sent = (0..10).take_while(|byte| sends(&mut sender, *byte));
        assert_eq!(sent.count(), AHEAD);
        let noop = Waker::noop();
        assert_eq!(taken(&mut receiver, noop), Poll::Ready(Some(flush(0))));
        assert!(sends(&mut sender, 2), "one has left");
        assert!(!sends(&mut sender, 3));
        sender.end(flush(4), Err(Reason::Draining.status("x")));
        for byte in [1, 2, 4] {
            assert!(receiver.outcome().is_some());
            assert_eq!(taken(&mut receiver, noop), Poll::Ready(Some(flush(byte))));
        }
        assert_eq!(taken(&mut receiver, noop), Poll::Ready(None));
        assert_eq!(taken(&mut receiver, noop), Poll::Ready(None));
    }

    #[test]
    fn the_body_hears_of_each_flush_and_of_an_end_without_a_word() {
        let (mut sender, mut receiver) = flushes();
        let woken = Arc::new(Woken::default());
        for times in 1..=3 {
            assert!(taken(&mut receiver, &woken.waker()).is_pending());
            assert!(sends(&mut sender, 1));
            assert_eq!(woken.times(), times);
            assert!(taken(&mut receiver, &woken.waker()).is_ready());
        }
        assert!(taken(&mut receiver, &woken.waker()).is_pending());
        drop(sender);
        assert_eq!(woken.times(), 4);
        assert_eq!(taken(&mut receiver, &woken.waker()), Poll::Ready(None));
        assert!(receiver.outcome().is_none());
    }

    /// A stream's task waits for its client to go, and for more, all the time.
    #[test]
    fn what_is_taken_wakes_who_waits_for_room_and_nobody_else() {
        let (mut sender, mut receiver) = flushes();
        let (woken, noop) = (Arc::new(Woken::default()), Waker::noop());
        let waker = woken.waker();
        let mut cx = Context::from_waker(&waker);
        for _ in 0..3 {
            assert!(Box::pin(sender.closed()).poll_unpin(&mut cx).is_pending());
            assert!(sends(&mut sender, 1));
            assert!(taken(&mut receiver, noop).is_ready());
        }
        assert_eq!(woken.times(), 0, "it does not wait for room");
        while sends(&mut sender, 1) {}
        assert!(Box::pin(sender.room()).poll_unpin(&mut cx).is_pending());
        assert!(taken(&mut receiver, noop).is_ready());
        assert_eq!(woken.times(), 1);
        assert!(taken(&mut receiver, noop).is_ready());
        assert_eq!(woken.times(), 1, "it knows");
    }

    #[test]
    fn a_client_that_goes_is_heard_of_and_keeps_nothing() {
        let kept = Bytes::from(vec![1; 100]);
        for waits_for_room in [false, true] {
            let (mut sender, receiver) = flushes();
            for _ in 0..AHEAD {
                let room = sender.room().now_or_never().expect("there is some");
                room.expect("the client is there").send(vec![kept.clone()]);
            }
            let woken = Arc::new(Woken::default());
            let waker = woken.waker();
            let mut cx = Context::from_waker(&waker);
            let waits = match waits_for_room {
                true => Box::pin(sender.room()).poll_unpin(&mut cx).is_pending(),
                false => Box::pin(sender.closed()).poll_unpin(&mut cx).is_pending(),
            };
            assert!(waits);
            drop(receiver);
            assert_eq!(woken.times(), 1);
            assert!(kept.is_unique(), "nobody will read it");
            assert!(sender.closed().now_or_never().is_some());
            let room = sender.room().now_or_never();
            assert!(matches!(room, Some(Err(Gone))));
        }
    }

    #[test]
    fn an_idle_stream_keeps_little() {
        let (mut sender, mut receiver) = flushes();
        assert!(sends(&mut sender, 1));
        assert!(taken(&mut receiver, Waker::noop()).is_ready());
        assert_eq!(receiver.0.state().flushes.capacity(), 0);
        assert!(size_of::<Way>() <= 128, "{}", size_of::<Way>());
    }
}

#[cfg(all(test, feature = "schedules"))]
mod schedules {
    use shuttle::{future, thread};

    use super::*;
    use crate::supervisor::sync::in_any_order;

    const FLUSHES: u8 = 4;

    fn flush(byte: u8) -> Parts {
        vec![Bytes::from(vec![byte])]
    }

    async fn next(receiver: &mut Receiver) -> Option<Parts> {
        poll_fn(|cx| receiver.poll_next(cx)).await
    }

    #[test]
    fn all_that_is_sent_arrives_and_the_outcome_behind_it() {
        in_any_order(|| {
            let (mut sender, mut receiver) = flushes();
            let task = thread::spawn(move || {
                future::block_on(async {
                    for byte in 0..FLUSHES {
                        sender.room().await.expect("it reads").send(flush(byte));
                    }
                    sender.end(flush(FLUSHES), Ok(()));
                });
            });
            future::block_on(async {
                for byte in 0..=FLUSHES {
                    assert_eq!(next(&mut receiver).await, Some(flush(byte)));
                }
                assert_eq!(next(&mut receiver).await, None);
            });
            assert!(matches!(receiver.outcome(), Some(Ok(()))));
            task.join().expect("it does not panic");
        });
    }

    #[test]
    fn a_task_whose_client_goes_waits_no_longer() {
        in_any_order(|| {
            let (mut sender, mut receiver) = flushes();
            let task = thread::spawn(move || {
                future::block_on(async {
                    while let Ok(room) = sender.room().await {
                        room.send(flush(1));
                    }
                    sender.closed().await;
                });
            });
            let idle = thread::spawn(|| {
                let (sender, receiver) = flushes();
                let gone = thread::spawn(move || drop(receiver));
                future::block_on(sender.closed());
                gone.join().expect("it does not panic");
            });
            assert!(future::block_on(next(&mut receiver)).is_some());
            drop(receiver);
            // Whoever is not woken waits for ever, which ends the test.
            task.join().expect("it does not panic");
            idle.join().expect("it does not panic");
        });
    }
}
