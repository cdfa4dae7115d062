//! Judges a live server: follows it, cuts its own stream, resumes, and compares
//! what came with what is stored.

use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until, timeout};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, Streaming};

use crate::Cursors;
use crate::history::{History, Report, Rules, Truth};
use crate::proto::container_service_client::ContainerServiceClient;
use crate::proto::log_service_client::LogServiceClient;
use crate::proto::stream_logs_response::Event;
use crate::proto::{
    Container, ListContainersRequest, Selector, StreamLogsRequest, StreamLogsResponse,
};

/// What to do.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Where the server listens: a URL, `http` or `unix`.
    pub server: String,
    /// Names, ids or id prefixes; empty: every readable container that the
    /// server lists.
    pub containers: Vec<String>,
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
        containers: selected(settings, channel.clone()).await?,
        client: LogServiceClient::new(channel),
        history: History::new(Rules::default()),
        first: Cursors::default(),
        cursors: Cursors::default(),
        random: fastrand::Rng::with_seed(settings.seed),
        cuts: 0,
        interruptions: 0,
    };
    verifier.follow(settings, stop).await?;
    verifier.finish().await
}

async fn selected(settings: &Settings, channel: Channel) -> Result<Vec<String>, VerifyError> {
    if !settings.containers.is_empty() {
        return Ok(settings.containers.clone());
    }
    let mut client = ContainerServiceClient::new(channel);
    let mut request = ListContainersRequest::default();
    let mut ids = Vec::new();
    loop {
        let page = client.list_containers(request.clone()).await?.into_inner();
        let readable = |container: &Container| container.unreadable_reason.is_empty();
        let readable = page.containers.into_iter().filter(readable);
        ids.extend(readable.filter_map(|container| Some(container.container?.id)));
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    match ids.is_empty() {
        true => Err(VerifyError::NoContainer),
        false => Ok(ids),
    }
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
    containers: Vec<String>,
    client: LogServiceClient<Channel>,
    history: History,
    /// Of each container the cursor that its chain began with.
    first: Cursors,
    cursors: Cursors,
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
        let request = match cursors.is_empty() {
            true => StreamLogsRequest {
                selector: Some(Selector {
                    names: self.containers.clone(),
                    ..Selector::default()
                }),
                follow,
                ..StreamLogsRequest::default()
            },
            false => StreamLogsRequest {
                cursors: cursors.clone(),
                follow,
                ..StreamLogsRequest::default()
            },
        };
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
        self.first.keep_first(message);
    }

    /// Reads what is left, then all of it again from the first cursors on.
    async fn finish(mut self) -> Result<Outcome, VerifyError> {
        let mut truths = BTreeMap::new();
        if !self.cursors.is_empty() {
            let mut rest = self.open(false).await?;
            while let Some(message) = rest.message().await? {
                self.take(&message);
            }
            self.history.completed();
            self.cursors = std::mem::take(&mut self.first);
            let all = self.client.stream_logs(StreamLogsRequest {
                cursors: self.cursors.to_vec(),
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
        }
        Ok(Outcome {
            report: self.history.judge_against(&truths),
            cuts: self.cuts,
            interruptions: self.interruptions,
        })
    }
}

/// What is stored, as the lines there are.
fn store(truths: &mut BTreeMap<String, Truth>, message: &StreamLogsResponse) {
    match &message.event {
        Some(Event::Opened(opened)) => {
            let members = opened
                .members
                .iter()
                .filter_map(|member| member.container.as_ref());
            truths.extend(members.map(|member| (member.id.clone(), Truth::new().from_first())));
        }
        Some(Event::Batch(batch)) => {
            let id = batch
                .container
                .as_ref()
                .map_or("", |container| &container.id);
            let truth = truths.entry(id.to_owned()).or_default();
            batch
                .entries
                .iter()
                .for_each(|entry| truth.push_entry(entry));
        }
        Some(Event::Gap(gap)) => {
            let id = gap.container.as_ref().map_or("", |container| &container.id);
            truths.insert(id.to_owned(), Truth::new().stored());
        }
        _ => {}
    }
}
