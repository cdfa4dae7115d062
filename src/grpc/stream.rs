//! One subscription as it goes over the wire.
//!
//! A task of its own merges the members, so that a client that does not read
//! delays nobody else: `opened` first, `closing` last, `progress` in between, and
//! the status behind all of it.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, interval_at, sleep_until, timeout};
use tokio_stream::Stream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::convert::{self, now, timestamp};
use super::status::Reason;
use crate::docker::{Container, ContainerId, Reach, Stream as Source};
use crate::hub::{Content, Ended, Item, Subscription, Unit};
use crate::proto::{self, ClosingReason, stream_logs_response::Event};
use crate::tail::{Cursor, Position};

/// Silence between messages is never longer.
pub(crate) const PROGRESS: Duration = Duration::from_secs(10);
/// A client that takes nothing for so long is closed.
pub(crate) const WRITE_DEADLINE: Duration = Duration::from_secs(15);
/// How long a stream waits for an engine that is away.
pub(crate) const ENGINE_LOST: Duration = Duration::from_secs(300);
/// How long `closing` waits for a client that does not read.
const CLOSING: Duration = Duration::from_secs(1);
/// Stored by the engine later than stamped: what `until` still waits for.
const UNTIL_GRACE: Duration = Duration::from_secs(1);
/// Messages made ahead of the client.
const AHEAD: usize = 2;

/// What a stream does, beside its members.
#[derive(Debug)]
pub(crate) struct Terms {
    pub(crate) follow: bool,
    pub(crate) until: Option<i64>,
    pub(crate) streams: Vec<Source>,
    pub(crate) until_exit: bool,
    pub(crate) deadline: Option<Instant>,
    pub(crate) engine: u64,
    pub(crate) reach: watch::Receiver<Reach>,
    pub(crate) draining: CancellationToken,
}

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
struct End {
    closing: ClosingReason,
    status: Result<(), Reason>,
    message: &'static str,
}

impl End {
    const COMPLETED: End = End {
        closing: ClosingReason::Completed,
        status: Ok(()),
        message: "all that was asked for is delivered",
    };
    const DRAIN: End = End {
        closing: ClosingReason::Drain,
        status: Err(Reason::Draining),
        message: "the server stops",
    };
    const DEADLINE: End = End {
        closing: ClosingReason::Unspecified,
        status: Err(Reason::DeadlineExceeded),
        message: "the client's deadline has passed",
    };
    const ENGINE_LOST: End = End {
        closing: ClosingReason::EngineLost,
        status: Err(Reason::EngineLost),
        message: "the container engine has been away for 300 s",
    };
    const SLOW_CONSUMER: End = End {
        closing: ClosingReason::SlowConsumer,
        status: Err(Reason::SlowConsumer),
        message: "the client took nothing for 15 s",
    };
}

/// The client has cancelled.
struct Gone;

/// Makes a stream out of members; the second part is to be run as a task.
pub(crate) fn stream(
    opened: proto::Opened,
    subscriptions: Vec<Subscription>,
    gaps: Vec<proto::Gap>,
    terms: Terms,
) -> (Responses, impl Future<Output = ()> + Send) {
    let (sender, messages) = mpsc::channel(AHEAD);
    let outcome = Arc::new(OnceLock::new());
    let responses = Responses {
        messages,
        outcome: Arc::clone(&outcome),
        over: false,
    };
    let mut writer = Writer {
        sender,
        members: BTreeMap::new(),
        entries_sent: 0,
        messages_sent: 0,
        catching_up: subscriptions.len(),
        terms,
    };
    let task = async move {
        // Gone: nobody is left to be told.
        if let Ok(end) = writer.run(opened, subscriptions, gaps).await {
            let status = end.status.map_err(|reason| reason.status(end.message));
            // Set before the channel closes; set once, here.
            let _first = outcome.set(status);
        }
    };
    (responses, task)
}

/// What is known of a member.
struct Member {
    container: Arc<Container>,
    position: Position,
    /// The position moved without a message that said so.
    untold: bool,
    /// Nothing more will come before it runs again.
    settled: bool,
    caught_up: bool,
    fell_behind: bool,
}

struct Writer {
    sender: mpsc::Sender<proto::StreamLogsResponse>,
    members: BTreeMap<ContainerId, Member>,
    entries_sent: u64,
    messages_sent: u64,
    /// Members of `opened` that are not live yet.
    catching_up: usize,
    terms: Terms,
}

type Step = Result<Option<End>, Gone>;

impl Writer {
    async fn run(
        &mut self,
        opened: proto::Opened,
        subscriptions: Vec<Subscription>,
        gaps: Vec<proto::Gap>,
    ) -> Result<End, Gone> {
        for subscription in &subscriptions {
            let container = Arc::clone(subscription.container());
            let member = Member {
                settled: subscription.was_settled(),
                position: subscription.position(),
                untold: false,
                caught_up: false,
                fell_behind: false,
                container,
            };
            self.members.insert(member.container.id, member);
        }
        let first = [Event::Opened(opened)].into_iter();
        for event in first.chain(gaps.into_iter().map(Event::Gap)) {
            if let Some(end) = self.send(event).await? {
                return self.close(end).await;
            }
        }
        let end = self.merge(subscriptions).await?;
        self.close(end).await
    }

    async fn merge(&mut self, subscriptions: Vec<Subscription>) -> Result<End, Gone> {
        let mut items: FuturesUnordered<_> = subscriptions.into_iter().map(take).collect();
        let mut progress = interval_at(Instant::now() + PROGRESS, PROGRESS);
        let until = self.terms.until.filter(|_| self.terms.follow).map(passed);
        let (mut reach, mut lost_at) = (self.terms.reach.clone(), None);
        reach.mark_unchanged();
        loop {
            if let Some(end) = self.is_complete(items.is_empty()) {
                return Ok(end);
            }
            let step = tokio::select! {
                // What ends the stream first, entries last: they may never pause.
                biased;
                () = self.sender.closed() => return Err(Gone),
                () = self.terms.draining.cancelled() => return Ok(End::DRAIN),
                () = at(self.terms.deadline) => return Ok(End::DEADLINE),
                () = at(lost_at) => return Ok(End::ENGINE_LOST),
                () = at(until), if self.is_live() => return Ok(End::COMPLETED),
                _ = progress.tick() => self.progress().await?,
                Ok(()) = reach.changed() => {
                    let here = reach.borrow_and_update().is_here();
                    self.engine(here, &mut lost_at).await?
                }
                Some((item, subscription)) = items.next() => {
                    let over = matches!(item, Item::Complete | Item::Ended(_));
                    let step = self.item(item, &subscription).await?;
                    if !over {
                        items.push(take(subscription));
                    }
                    step
                }
            };
            if let Some(end) = step {
                return Ok(end);
            }
        }
    }

    fn is_complete(&self, no_items: bool) -> Option<End> {
        let mut members = self.members.values();
        let exited = self.terms.until_exit && members.all(|m| m.caught_up && m.settled);
        (no_items || exited).then_some(End::COMPLETED)
    }

    /// Whether everything stored before now has been delivered.
    fn is_live(&self) -> bool {
        self.members.values().all(|m| m.caught_up && !m.fell_behind)
    }

    async fn item(&mut self, item: Item, subscription: &Subscription) -> Step {
        let id = subscription.container().id;
        match item {
            Item::Unit(unit) => self.unit(&id, &unit).await,
            Item::CaughtUp => self.caught_up(&id).await,
            Item::FellBehind => {
                let Some(member) = self.members.get_mut(&id) else {
                    return Ok(None);
                };
                member.fell_behind = true;
                let message = "fell out of the live entries; catching up from the engine";
                let who = Some(convert::container_ref(&member.container));
                self.notice(proto::NoticeKind::FellBehind, who, message)
                    .await
            }
            Item::Complete => Ok(None),
            Item::Ended(Ended::Removed) => {
                self.left(&id, proto::ContainerChangeKind::Removed, "")
                    .await
            }
            Item::Ended(Ended::Unreadable(words)) => {
                self.left(&id, proto::ContainerChangeKind::Unreadable, &words)
                    .await
            }
        }
    }

    async fn unit(&mut self, id: &ContainerId, unit: &Unit) -> Step {
        let Some(member) = self.members.get_mut(id) else {
            return Ok(None);
        };
        member.position = unit.after;
        let cursor = self.terms.cursor(id, unit.after);
        let who = Some(convert::container_ref(&member.container));
        let event = match &unit.content {
            Content::Entries(entries) => {
                let passing = entries.iter().filter(|entry| self.terms.passes(entry));
                let entries: Vec<_> = passing.map(convert::entry).collect();
                if entries.is_empty() {
                    member.untold = true;
                    return Ok(None);
                }
                self.entries_sent += entries.len() as u64;
                Event::Batch(proto::LogBatch {
                    container: who,
                    entries,
                    cursor,
                })
            }
            Content::Gap(gap, cause) => {
                Event::Gap(convert::gap(&member.container, gap, *cause, cursor))
            }
            Content::LeaseReplaced => Event::Notice(proto::Notice {
                kind: proto::NoticeKind::LeaseReplaced.into(),
                container: who,
                message: "a stuck or unordered engine stream was replaced".to_owned(),
            }),
            Content::Settled => {
                member.settled = true;
                return Ok(None);
            }
            Content::Started(time) => {
                member.settled = false;
                change(
                    proto::ContainerChangeKind::Started,
                    who,
                    *time,
                    None,
                    cursor,
                )
            }
            Content::Exited(time, code) => change(
                proto::ContainerChangeKind::Exited,
                who,
                *time,
                *code,
                cursor,
            ),
        };
        member.untold = false;
        self.send(event).await
    }

    async fn caught_up(&mut self, id: &ContainerId) -> Step {
        let Some(member) = self.members.get_mut(id) else {
            return Ok(None);
        };
        let first = !std::mem::replace(&mut member.caught_up, true);
        let again = std::mem::replace(&mut member.fell_behind, false);
        let who = convert::container_ref(&member.container);
        self.catching_up -= usize::from(first);
        let container = match (first && self.catching_up == 0, again) {
            (true, _) => None,
            (false, true) => Some(who),
            (false, false) => return Ok(None),
        };
        self.send(Event::CaughtUp(proto::CaughtUp { container }))
            .await
    }

    async fn left(
        &mut self,
        id: &ContainerId,
        kind: proto::ContainerChangeKind,
        words: &str,
    ) -> Step {
        let Some(member) = self.members.remove(id) else {
            return Ok(None);
        };
        self.catching_up -= usize::from(!member.caught_up);
        self.send(Event::ContainerChange(proto::ContainerChange {
            container: Some(convert::container_ref(&member.container)),
            kind: kind.into(),
            message: words.to_owned(),
            ..proto::ContainerChange::default()
        }))
        .await
    }

    async fn engine(&mut self, here: bool, lost_at: &mut Option<Instant>) -> Step {
        let was_lost = lost_at.is_some();
        if here != was_lost {
            return Ok(None);
        }
        *lost_at = (!here).then(|| Instant::now() + ENGINE_LOST);
        let (kind, message) = match here {
            true => (
                proto::NoticeKind::EngineRestored,
                "the container engine is back",
            ),
            false => (
                proto::NoticeKind::EngineLost,
                "the container engine does not answer",
            ),
        };
        self.notice(kind, None, message).await
    }

    async fn notice(
        &mut self,
        kind: proto::NoticeKind,
        container: Option<proto::ContainerRef>,
        message: &str,
    ) -> Step {
        self.send(Event::Notice(proto::Notice {
            kind: kind.into(),
            container,
            message: message.to_owned(),
        }))
        .await
    }

    async fn progress(&mut self) -> Step {
        let told = self.positions(|member| std::mem::replace(&mut member.untold, false));
        let progress = self.counts(told);
        self.send(Event::Progress(progress)).await
    }

    fn positions(&mut self, mut which: impl FnMut(&mut Member) -> bool) -> Vec<proto::Position> {
        let terms = &self.terms;
        let members = self.members.iter_mut();
        members
            .filter_map(|(id, member)| {
                which(member).then(|| proto::Position {
                    container_id: id.to_string(),
                    cursor: terms.cursor(id, member.position),
                })
            })
            .collect()
    }

    fn counts(&self, positions: Vec<proto::Position>) -> proto::Progress {
        proto::Progress {
            server_time: Some(timestamp(now())),
            // Told once skips inside an engine's stream are looked for.
            verified_time: None,
            positions,
            entries_sent: self.entries_sent,
            messages_sent: self.messages_sent,
        }
    }

    async fn close(&mut self, end: End) -> Result<End, Gone> {
        let positions = self.positions(|_| true);
        let delay = end.status.err().and_then(Reason::retry_delay);
        let closing = proto::Closing {
            reason: end.closing.into(),
            retry_delay: delay.and_then(|delay| delay.try_into().ok()),
            progress: Some(self.counts(positions)),
            message: end.message.to_owned(),
        };
        // A client that does not read is not waited for long: the status says it
        // too.
        let event = Some(Event::Closing(closing));
        let closing = self.sender.send(proto::StreamLogsResponse { event });
        match timeout(CLOSING, closing).await {
            Ok(Err(_gone)) => Err(Gone),
            Ok(Ok(())) | Err(_) => Ok(end),
        }
    }

    /// Hands a message to the client, within the write deadline and the drain.
    async fn send(&mut self, event: Event) -> Step {
        let permit = tokio::select! {
            biased;
            permit = timeout(WRITE_DEADLINE, self.sender.reserve()) => permit,
            () = self.terms.draining.cancelled() => return Ok(Some(End::DRAIN)),
            () = at(self.terms.deadline) => return Ok(Some(End::DEADLINE)),
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
}

impl Terms {
    fn passes(&self, entry: &crate::tail::Entry) -> bool {
        let wanted = self.streams.is_empty() || self.streams.contains(&entry.stream);
        wanted && self.until.is_none_or(|until| entry.time <= until)
    }

    fn cursor(&self, id: &ContainerId, position: Position) -> String {
        cursor(self.engine, *id, position)
    }
}

/// A cursor issued now.
pub(crate) fn cursor(engine: u64, container: ContainerId, position: Position) -> String {
    let issued = now();
    Cursor {
        engine,
        container,
        issued,
        position,
    }
    .encode()
}

fn change(
    kind: proto::ContainerChangeKind,
    container: Option<proto::ContainerRef>,
    time: Option<i64>,
    exit_code: Option<i32>,
    cursor: String,
) -> Event {
    Event::ContainerChange(proto::ContainerChange {
        container,
        kind: kind.into(),
        time: time.map(timestamp),
        cursor,
        exit_code,
        ..proto::ContainerChange::default()
    })
}

async fn take(mut subscription: Subscription) -> (Item, Subscription) {
    (subscription.next().await, subscription)
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

/// When nothing stamped before `until` is to be expected any more.
fn passed(until: i64) -> Instant {
    let left = u64::try_from(until.saturating_sub(now())).unwrap_or(0);
    Instant::now() + Duration::from_nanos(left) + UNTIL_GRACE
}
