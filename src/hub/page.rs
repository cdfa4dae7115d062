//! One page of a log, read from the engine for one call.

use std::pin::pin;
use std::sync::Arc;

use futures_util::StreamExt;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::debug;

use super::following::lost;
use super::registry::Registry;
use super::source::{SILENCE, Source};
use super::unit::UNIT_BYTES;
use crate::docker::{Container, EngineError, Record, Tail};
use crate::supervisor::Backoff;
use crate::tail::{Border, Event, Next, Page, Paging, Query};

/// Records taken per turn.
const TURN: usize = 512;
/// Reads that may break before the caller is told: it can repeat the call itself.
const ATTEMPTS: u32 = 3;

/// Why there is no page.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    /// The engine is away or cannot read its log; its cause.
    #[error("the container engine does not answer: {0}")]
    Unavailable(String),
    /// The container is gone.
    #[error("the container has been removed")]
    Missing,
    /// The container is being removed.
    #[error("the container is being removed")]
    Removing,
    /// The container's log driver cannot be read; the engine's words.
    #[error("{0}")]
    Unreadable(String),
}

impl From<EngineError> for PageError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::NotFound => PageError::Missing,
            EngineError::Removing => PageError::Removing,
            EngineError::Unreadable(words) => PageError::Unreadable(words),
            error => PageError::Unavailable(error.to_string()),
        }
    }
}

impl Registry {
    /// Bytes of lines at which a page closes: the longest line and one unit more,
    /// so that a page is no larger a message than a batch can be.
    pub fn page_bytes(&self) -> usize {
        self.max_line() + UNIT_BYTES
    }

    /// Reads the page that ends at `upper`, or at the log's end. The read takes a
    /// catch-up's slot, and ends when the caller no longer waits.
    ///
    /// # Errors
    /// The engine is away, or the log cannot be read.
    pub async fn page(
        &self,
        container: Arc<Container>,
        query: Query,
        upper: Option<Border>,
    ) -> Result<Page, PageError> {
        let settings = self.settings_for(&container);
        let (paging, first) = Paging::new(query, upper, settings.max_line, settings.dialect);
        let (mut answer, page) = oneshot::channel();
        let (mut slot, mut source) = (self.slot(), self.source());
        let mut reach = self.reach();
        self.spawn(async move {
            let read = async {
                slot.take().await;
                read(&mut source, &container, paging, first).await
            };
            tokio::select! {
                () = answer.closed() => {}
                // The caller may leave at this moment: then nobody needs it.
                page = read => drop(answer.send(page)),
            }
        });
        tokio::select! {
            // A page that is read counts, whatever became of the engine since.
            biased;
            page = page => page.unwrap_or_else(|_| Err(stopping())),
            cause = lost(&mut reach) => Err(PageError::Unavailable(cause)),
        }
    }
}

async fn read(
    source: &mut Source,
    container: &Container,
    mut paging: Paging,
    first: Next,
) -> Result<Page, PageError> {
    let (mut next, mut backoff, mut left) = (first, Backoff::default(), ATTEMPTS);
    loop {
        let step = match next {
            Next::Snapshot(tail) => snapshot(source, container, &mut paging, tail).await,
            Next::Ask => match source.engine.inspect(&container.id).await {
                Ok(now) if now.is_running() => Ok(paging.on(Event::Running)),
                Ok(_) => Ok(paging.on(Event::Stopped)),
                Err(error) => Err(error),
            },
            _ => return paging.page().ok_or_else(stopping),
        };
        left -= u32::from(step.is_err());
        next = match step {
            Ok(next) => next,
            Err(error) if left > 0 && !error.is_lasting() => {
                debug!(container = %container.id, %error, "page interrupted");
                source.pause(&mut backoff).await;
                paging.on(Event::Broken)
            }
            Err(error) => return Err(error.into()),
        };
    }
}

/// Reads one snapshot until the machine wants another or is done.
async fn snapshot(
    source: &Source,
    container: &Container,
    paging: &mut Paging,
    tail: Tail,
) -> Result<Next, EngineError> {
    let records = source.engine.snapshot(&container.id, container.tty, tail);
    let mut chunks = pin!(records.ready_chunks(TURN).peekable());
    let is_end = matches!(tail, Tail::Last(_));
    if is_end && timeout(SILENCE, chunks.as_mut().peek()).await.is_err() && source.is_well().await {
        return Ok(paging.on(Event::Silent));
    }
    while let Some(chunk) = chunks.next().await {
        let next = take(paging, chunk)?;
        if next != Next::More {
            return Ok(next);
        }
    }
    Ok(paging.on(Event::End))
}

fn take(paging: &mut Paging, chunk: Vec<Result<Record, EngineError>>) -> Result<Next, EngineError> {
    for record in chunk {
        let next = paging.on(Event::Record(record?));
        if next != Next::More {
            return Ok(next);
        }
    }
    Ok(Next::More)
}

fn stopping() -> PageError {
    PageError::Unavailable("the service stops".to_owned())
}
