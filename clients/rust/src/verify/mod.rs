//! Judges a live server: follows it, cuts its own stream, resumes, and compares
//! what came with what is stored.

mod selection;

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::time::Duration;

use prost_types::Timestamp;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, Streaming};

use crate::Cursors;
use crate::cursors::id;
use crate::history::{History, Report, Rules, Truth};
use crate::proto::log_service_client::LogServiceClient;
use crate::proto::stream_logs_request::Start;
use crate::proto::stream_logs_response::Event;
use crate::proto::{Selector, StreamLogsRequest, StreamLogsResponse};
use selection::Selection;

/// What to do.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Where the server listens: a URL, `http` or `unix`.
    pub server: String,
    /// Whose logs; `None`: every readable container that the server lists now.
    pub selector: Option<Selector>,
    /// How long to follow; `None`: until told to stop.
    pub length: Option<Duration>,
    /// The mean time between two cuts; up to hours.
    pub cut_every: Duration,
    /// Chooses where to cut.
    pub seed: u64,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The judgement.
    pub report: Report,
    /// Containers that were members at any time.
    pub containers: usize,
    /// Streams that this client cut.
    pub cuts: u64,
    /// Streams that ended otherwise: by the server, the network, or in silence.
    pub interruptions: u64,
}

/// Why there is no outcome.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The address is none.
    #[error("{server:?} is no server's address: {source}")]
    Address {
        /// As given.
        server: String,
        /// What is wrong with it.
        source: tonic::transport::Error,
    },
    /// The server refuses, or cannot be reached any more.
    #[error("{:?}: {}", .0.code(), .0.message())]
    Refused(Box<Status>),
    /// There is nothing to follow.
    #[error("the server lists no container")]
    NoContainer,
}

impl From<Status> for VerifyError {
    fn from(status: Status) -> Self {
        Self::Refused(Box::new(status))
    }
}

/// A stream that brings nothing for so long is given up: three times the longest
/// interval of `progress`.
const SILENCE: Duration = Duration::from_secs(30);
/// How long a server may be away.
const PATIENCE: Duration = Duration::from_secs(30);
const RETRY: Duration = Duration::from_millis(250);

/// Follows a server until it is time, or told to stop, and judges what came.
///
/// # Errors
/// The server cannot be reached, refuses the request, or has nothing to follow.
pub async fn run(
    settings: &Settings,
    stop: impl Future<Output = ()>,
) -> Result<Outcome, VerifyError> {
    let endpoint = Endpoint::from_shared(settings.server.clone());
    let endpoint = endpoint.map_err(|source| VerifyError::Address {
        server: settings.server.clone(),
        source,
    })?;
    let channel = endpoint.connect_timeout(PATIENCE).connect_lazy();
    let mut verifier = Verifier {
        selection: Selection::new(channel.clone(), settings.selector.as_ref()).await?,
        client: LogServiceClient::new(channel),
        history: History::new(Rules::default()),
        cursors: Cursors::default(),
        verified: None,
        is_whole: false,
        random: fastrand::Rng::with_seed(settings.seed),
        cuts: 0,
        interruptions: 0,
    };
    verifier.follow(settings, stop).await?;
    verifier.finish().await
}

/// How a stream ended.
enum Ended {
    /// With OK: there is nothing more to follow.
    Completed,
    /// By this client.
    Cut,
    Interrupted,
    /// It is time.
    Stopped,
}

struct Verifier {
    selection: Selection,
    client: LogServiceClient<Channel>,
    history: History,
    cursors: Cursors,
    /// The newest `verified_time`: from where to go on without a cursor.
    verified: Option<Timestamp>,
    /// All members of some opening were told.
    is_whole: bool,
    random: fastrand::Rng,
    cuts: u64,
    interruptions: u64,
}

impl Verifier {
    async fn follow(
        &mut self,
        settings: &Settings,
        stop: impl Future<Output = ()>,
    ) -> Result<(), VerifyError> {
        let length = async {
            match settings.length {
                Some(length) => sleep(length).await,
                None => std::future::pending().await,
            }
        };
        let mut stop = pin!(async {
            tokio::select! {
                () = stop => {}
                () = length => {}
            }
        });
        let mut give_up = Instant::now() + PATIENCE;
        loop {
            let opening = self.open(true);
            let opened = tokio::select! {
                opened = opening => opened,
                () = &mut stop => return Ok(()),
            };
            let mut stream = match opened {
                Ok(stream) => stream,
                Err(status) => match self.is_final(&status) || Instant::now() > give_up {
                    true => return Err(status.into()),
                    false => {
                        sleep(RETRY).await;
                        continue;
                    }
                },
            };
            let cut = settings.cut_every.mul_f64(2.0 * self.random.f64());
            match self.read(&mut stream, cut, stop.as_mut()).await {
                Ended::Completed | Ended::Stopped => return Ok(()),
                Ended::Cut => self.cuts += 1,
                Ended::Interrupted => self.interruptions += 1,
            }
            give_up = Instant::now() + PATIENCE;
        }
    }

    async fn open(&mut self, follow: bool) -> Result<Streaming<StreamLogsResponse>, Status> {
        let cursors = self.cursors.to_vec();
        let mut selector = self.selection.selector();
        // Who was there may be gone.
        selector.allow_missing |= self.is_whole;
        let request = request(selector, cursors.clone(), self.verified, follow);
        let stream = self.client.stream_logs(request).await?.into_inner();
        self.history.begin(cursors.iter().map(String::as_str));
        Ok(stream)
    }

    /// Whether trying again is of no use. A cursor that its own server refuses is
    /// a promise broken.
    fn is_final(&mut self, status: &Status) -> bool {
        if status.code() == Code::InvalidArgument && !self.cursors.is_empty() {
            self.history.refused(status.message());
        }
        !matches!(
            status.code(),
            Code::Unavailable | Code::Internal | Code::ResourceExhausted | Code::Unknown
        )
    }

    /// Reads until the stream is cut, ends, or is to stop. The next one resumes from
    /// the last cursors, or at times from those of any moment of this one.
    async fn read(
        &mut self,
        stream: &mut Streaming<StreamLogsResponse>,
        cut: Duration,
        mut stop: std::pin::Pin<&mut impl Future<Output = ()>>,
    ) -> Ended {
        let cut = Instant::now() + cut;
        let (mut earlier, mut messages) = (None, 0);
        let ended = loop {
            let received = tokio::select! {
                received = timeout(SILENCE, stream.message()) => received,
                () = sleep_until(cut) => break Ended::Cut,
                () = stop.as_mut() => break Ended::Stopped,
            };
            match received {
                Ok(Ok(Some(message))) => self.take(&message),
                Ok(Ok(None)) => {
                    self.history.completed();
                    break Ended::Completed;
                }
                Ok(Err(_)) | Err(_) => break Ended::Interrupted,
            }
            messages += 1;
            // Each moment with the same chance.
            if self.random.u64(..messages) == 0 {
                earlier = Some(self.cursors.clone());
            }
        };
        if let (Ended::Cut, Some(earlier), 0) = (&ended, earlier, self.random.u8(..4)) {
            self.cursors = earlier;
        }
        ended
    }

    fn take(&mut self, message: &StreamLogsResponse) {
        self.history.message(message);
        self.cursors.keep(message);
        match &message.event {
            Some(Event::Progress(progress)) => {
                self.verified = progress.verified_time.or(self.verified);
            }
            Some(Event::CaughtUp(whom)) if whom.container.is_none() => self.is_whole = true,
            _ => {}
        }
    }

    /// Reads what is left, then all of it again from where each chain began.
    async fn finish(mut self) -> Result<Outcome, VerifyError> {
        let mut truths = BTreeMap::new();
        if !self.cursors.is_empty() || self.is_whole {
            self.read_rest().await?;
            truths = self.read_again().await?;
        }
        Ok(Outcome {
            report: self.history.judge_against(&truths),
            containers: self.history.containers().count(),
            cuts: self.cuts,
            interruptions: self.interruptions,
        })
    }

    /// Reads to the end, and sees whether anybody was left out.
    async fn read_rest(&mut self) -> Result<(), VerifyError> {
        let followed: BTreeSet<String> = self.history.containers().map(str::to_owned).collect();
        let mut rest = self.open(false).await?;
        while let Some(message) = rest.message().await? {
            self.take(&message);
        }
        self.history.completed();
        for id in self.selection.ran_all_along().await? {
            let was_followed = followed.contains(&id) || !self.is_whole;
            if !was_followed || !self.history.members().contains(&id) {
                self.history.left_out(&id);
            }
        }
        Ok(())
    }

    /// What is stored of whoever is still there.
    async fn read_again(&mut self) -> Result<BTreeMap<String, Truth>, VerifyError> {
        let kept = self.cursors.containers();
        let chains = kept.filter_map(|id| self.history.chain(id));
        let cursors: Vec<_> = chains.map(|chain| chain.beginning().to_owned()).collect();
        let mut truths = BTreeMap::new();
        if cursors.is_empty() {
            return Ok(truths);
        }
        let all = self.client.stream_logs(StreamLogsRequest {
            cursors,
            ..StreamLogsRequest::default()
        });
        let mut all = all.await?.into_inner();
        let mut stored = History::new(Rules::default());
        while let Some(message) = all.message().await? {
            stored.message(&message);
            store(&mut truths, &message);
        }
        stored.completed();
        self.history.also(stored.judge());
        Ok(truths)
    }
}

/// Goes on with all cursors, or without one from what is verified.
fn request(
    selector: Selector,
    cursors: Vec<String>,
    verified: Option<Timestamp>,
    follow: bool,
) -> StreamLogsRequest {
    let since = verified.filter(|_| cursors.is_empty());
    StreamLogsRequest {
        selector: Some(selector),
        cursors,
        follow,
        start: since.map(Start::Since),
        ..StreamLogsRequest::default()
    }
}

/// What is stored, as the lines there are.
fn store(truths: &mut BTreeMap<String, Truth>, message: &StreamLogsResponse) {
    match &message.event {
        Some(Event::Opened(opened)) => {
            let ids = opened.members.iter().map(|m| id(m.container.as_ref()));
            truths.extend(ids.map(|id| (id.to_owned(), Truth::new().from_first())));
        }
        Some(Event::Batch(batch)) => {
            let id = id(batch.container.as_ref()).to_owned();
            let truth = truths.entry(id).or_default();
            batch
                .entries
                .iter()
                .for_each(|entry| truth.push_entry(entry));
        }
        Some(Event::Gap(gap)) => {
            let id = id(gap.container.as_ref()).to_owned();
            truths.insert(id, Truth::new().stored());
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_cursor_it_goes_on_from_what_is_verified() {
        let verified = Some(Timestamp {
            seconds: 7,
            nanos: 0,
        });
        let start = |cursors: &[&str], verified| {
            let cursors = cursors.iter().map(|cursor| (*cursor).to_owned()).collect();
            request(Selector::default(), cursors, verified, true).start
        };
        assert_eq!(start(&[], verified), verified.map(Start::Since));
        assert_eq!(start(&[], None), None);
        assert_eq!(start(&["a"], verified), None);
    }
}
