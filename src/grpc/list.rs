//! `ListLogEntries`: one container's log in pages, the newest first.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tonic::Status;

use super::convert;
use super::filter::filter;
use super::membership::readable;
use super::outlet::at;
use super::page_token::{PageToken, digest};
use super::request::{instant, resolve, streams};
use super::selector::check_exact_name;
use super::server::Server;
use super::status::{Reason, Violations, quote};
use crate::docker::Container;
use crate::hub::{PageError, cursor};
use crate::proto;
use crate::tail::{Gap, GapCause, Page, Place, Query};

const DEFAULT_PAGE: usize = 100;
const MAX_PAGE: usize = 1_000;
/// How long before a call's deadline it is answered: tonic ends a late one with a
/// status of its own, which says nothing.
const ANSWER: Duration = Duration::from_millis(20);

/// What a `ListLogEntries` request asks for.
struct Plan {
    container: String,
    query: Query,
    token: Option<PageToken>,
    /// Digest of what its pages have in common.
    request: u64,
}

impl Server {
    pub(crate) async fn list(
        &self,
        request: proto::ListLogEntriesRequest,
        deadline: Option<Instant>,
    ) -> Result<proto::ListLogEntriesResponse, Status> {
        let plan = plan(request, self.registry().page_bytes())?;
        self.refuse_while_draining()?;
        let inventory = self.inventory()?;
        let engine = self.engine_tag(&inventory);
        let mut found = Violations::default();
        let here = plan.token.is_none_or(|token| token.engine == engine);
        let what = "of another engine";
        found.require(here, Reason::PageTokenInvalid, "page_token", what);
        found.check()?;
        let container = match &plan.token {
            None => resolve(&inventory, &plan.container)?,
            Some(token) => inventory.containers.get(&token.container).ok_or_else(|| {
                let name = quote(&plan.container);
                Reason::ContainerNotFound.status(format!("{name} has been removed"))
            })?,
        };
        readable(container)?;
        let query = Query {
            stopped: !container.is_running(),
            ..plan.query
        };
        let upper = plan.token.map(|token| token.border);
        let reading = self.registry().page(Arc::clone(container), query, upper);
        let draining = self.draining();
        let page = tokio::select! {
            // What is read is worth more than the reason to end.
            biased;
            page = reading => page.map_err(|error| refused(container, error))?,
            () = draining.cancelled() => return Err(Reason::Draining.status("the server stops")),
            () = at(deadline.and_then(|at| at.checked_sub(ANSWER))) => {
                let message = "the deadline passed before the page was read";
                return Err(Reason::DeadlineExceeded.status(message));
            }
        };
        let issued = self.registry().inventory().listed;
        Ok(shown(
            page,
            container,
            (engine, issued),
            plan.request,
            plan.token,
        ))
    }
}

/// Checks a request by itself.
fn plan(request: proto::ListLogEntriesRequest, bytes: usize) -> Result<Plan, Status> {
    let mut found = Violations::default();
    check_exact_name(&request.container, "container", &mut found);
    let filter = filter(request.filter.as_ref(), &mut found);
    let streams = streams(&request.streams, &mut found);
    let mut bound = |time: &Option<_>, field| {
        let time = time.as_ref();
        time.and_then(|time| instant(time, field, &mut found))
    };
    let since = bound(&request.since, "since");
    let until = bound(&request.until, "until");
    let right = since.zip(until).is_none_or(|(since, until)| since <= until);
    let what = "before since";
    found.require(right, Reason::TimeRangeInvalid, "until", what);
    let same = digest(&request);
    let token = PageToken::decode(&request.page_token);
    if !request.page_token.is_empty() {
        let right = token.is_some_and(|token| token.request == same);
        let what = "no token of this request, or damaged";
        found.require(right, Reason::PageTokenInvalid, "page_token", what);
    }
    found.check()?;
    let size = match usize::try_from(request.page_size).unwrap_or(MAX_PAGE) {
        0 => DEFAULT_PAGE,
        size => size.min(MAX_PAGE),
    };
    Ok(Plan {
        container: request.container,
        query: Query {
            size,
            bytes,
            since,
            until,
            streams,
            filter,
            // The container is not known yet.
            stopped: false,
        },
        token,
        request: same,
    })
}

fn refused(container: &Container, error: PageError) -> Status {
    let name = quote(&container.name);
    match error {
        PageError::Unavailable(_) => Reason::EngineUnavailable.status(error.to_string()),
        PageError::Missing => Reason::ContainerNotFound.status(format!("{name} has been removed")),
        PageError::Removing => Reason::ContainerRemoving.status(format!("{name} is being removed")),
        PageError::Unreadable(words) => Reason::LogDriverUnreadable.status(words),
    }
}

fn shown(
    page: Page,
    container: &Container,
    (engine, issued): (u64, i64),
    request: u64,
    token: Option<PageToken>,
) -> proto::ListLogEntriesResponse {
    let before = token.and_then(|token| token.behind);
    let behind = page.entries.first().map(|entry| entry.time).or(before);
    let gap = Gap::possible(GapCause::RotatedOut, None, before);
    let older = page.older.map(|border| PageToken {
        engine,
        container: container.id,
        request,
        border,
        behind,
    });
    proto::ListLogEntriesResponse {
        container: Some(convert::container_ref(container)),
        entries: page.entries.iter().map(convert::entry).collect(),
        // A page's gap resumes nothing: its cursor is empty.
        gaps: page
            .lost
            .then(|| convert::gap(container, &gap, String::new()))
            .into_iter()
            .collect(),
        next_page_token: older.map_or_else(String::new, |token| token.encode()),
        cursor: cursor(engine, container.id, issued, Place::At(page.position)),
    }
}
