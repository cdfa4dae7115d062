//! `LogService`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::time::Instant;
use tokio_stream::Empty;
use tonic::{Request, Response, Status};

use super::body::Enclosed;
use super::convert;
use super::outlet::outlet;
use super::request::{MAX_CONTAINERS, Plan, plan, resolve};
use super::server::Server;
use super::status::{Reason, quote};
use super::stream::stream;
use super::terms::Terms;
use crate::docker::{Container, ContainerId, Inventory};
use crate::hub::{Ended, OpenError, Subscription, cursor};
use crate::proto;
use crate::tail::{Cursor, From};

/// Who is read, and from where.
struct Membership {
    members: Vec<(Arc<Container>, Option<From>)>,
    unmatched: Vec<String>,
    gaps: Vec<proto::Gap>,
}

#[tonic::async_trait]
impl proto::log_service_server::LogService for Server {
    /// Nothing: what it sends are shared bytes, not messages. See `Enclosed`.
    type StreamLogsStream = Empty<Result<proto::StreamLogsResponse, Status>>;

    async fn stream_logs(
        &self,
        request: Request<proto::StreamLogsRequest>,
    ) -> Result<Response<Self::StreamLogsStream>, Status> {
        let deadline = deadline_of(&request);
        let gzip = self.compresses() && accepts_gzip(&request);
        let plan = plan(request.into_inner())?;
        self.refuse_while_draining()?;
        let place = self.place()?;
        let inventory = self.inventory()?;
        let membership = membership(&plan, &inventory, self.engine_tag(&inventory))?;
        let (shared, latency) = plan.delivery.shares(membership.members.len());
        let subscriptions = self.open(&plan, membership.members, shared).await?;
        let engine = self.engine_tag(&inventory);
        let members = subscriptions.iter().map(|subscription| {
            let container = subscription.container();
            let cursor = cursor(engine, container.id, subscription.position());
            convert::member(container, subscription.was_running(), cursor)
        });
        let opened = proto::Opened {
            subscription_id: format!("{:016x}", fastrand::u64(..)),
            instance_id: self.instance_id().to_owned(),
            host_id: format!("{engine:016x}"),
            host_name: self.host_name(&inventory),
            members: members.collect(),
            unmatched: membership.unmatched,
            effective: Some(plan.effective),
        };
        let terms = Terms {
            follow: plan.follow,
            until: plan.until,
            streams: plan.streams,
            filter: plan.filter,
            gzip,
            disconnect: plan.delivery.disconnect,
            until_exit: plan.until_exit,
            engine,
            reach: self.registry().reach(),
        };
        let (outlet, body) = outlet(deadline, self.draining(), latency);
        self.spawn(async move {
            let _place = place;
            stream(outlet, opened, subscriptions, membership.gaps, terms).await;
        });
        let mut response = Response::new(tokio_stream::empty());
        response.extensions_mut().insert(Enclosed::new(body, gzip));
        Ok(response)
    }

    async fn list_log_entries(
        &self,
        request: Request<proto::ListLogEntriesRequest>,
    ) -> Result<Response<proto::ListLogEntriesResponse>, Status> {
        let deadline = deadline_of(&request);
        let page = self.list(request.into_inner(), deadline).await?;
        Ok(Response::new(page))
    }
}

impl Server {
    async fn open(
        &self,
        plan: &Plan,
        members: Vec<(Arc<Container>, Option<From>)>,
        latency: Duration,
    ) -> Result<Vec<Subscription>, Status> {
        let opening = members.into_iter().map(|(container, from)| async move {
            let name = container.name.clone();
            let opened = match (plan.follow, from) {
                (true, from) => {
                    Subscription::follow(self.registry(), container, from, latency).await
                }
                (false, Some(from)) => {
                    Subscription::history(self.registry(), container, from).await
                }
                // Nothing is asked for but cursors.
                (false, None) => {
                    let none = From::Lines(0);
                    Subscription::history(self.registry(), container, none).await
                }
            };
            opened.map_err(|error| refused(&name, error))
        });
        try_join_all(opening).await
    }
}

fn refused(name: &str, error: OpenError) -> Status {
    match error {
        OpenError::Unavailable(_) => Reason::EngineUnavailable.status(error.to_string()),
        OpenError::Ended(Ended::Removed) => {
            Reason::ContainerRemoving.status(format!("{} has been removed", quote(name)))
        }
        OpenError::Ended(Ended::Unreadable(words)) => Reason::LogDriverUnreadable.status(words),
    }
}

fn membership(plan: &Plan, inventory: &Inventory, engine: u64) -> Result<Membership, Status> {
    let (mut starts, mut unmatched, mut gaps) = (BTreeMap::new(), Vec::new(), Vec::new());
    let mut members: Vec<Arc<Container>> = Vec::new();
    for name in &plan.names {
        match resolve(inventory, name) {
            Ok(container) => members.push(Arc::clone(container)),
            // Whoever resumes has seen it; it may come back.
            Err(status) if plan.cursors.is_empty() => return Err(status),
            Err(_) => unmatched.push(name.clone()),
        }
    }
    for (place, (text, cursor)) in plan.cursors.iter().enumerate() {
        if cursor.engine != engine {
            let message = format!("cursors[{place}]: of another engine");
            return Err(Reason::CursorWrongHost.status(message));
        }
        starts.insert(cursor.container, From::After(cursor.position));
        match inventory.containers.get(&cursor.container) {
            Some(container) if plan.names.is_empty() => members.push(Arc::clone(container)),
            Some(container) if members.iter().any(|m| m.id == container.id) => {}
            Some(_) => unmatched.push(text.clone()),
            None => {
                unmatched.push(text.clone());
                gaps.push(removed(cursor));
            }
        }
    }
    members.sort_by_key(|container| container.id);
    members.dedup_by_key(|container| container.id);
    if members.len() > MAX_CONTAINERS {
        let message = format!("{} containers; at most {MAX_CONTAINERS}", members.len());
        return Err(Reason::ContainerLimit.status(message));
    }
    members
        .iter()
        .try_for_each(|container| readable(container))?;
    let start = |id: &ContainerId| starts.get(id).copied().or(plan.from);
    let members = members.into_iter().map(|container| {
        let from = start(&container.id);
        (container, from)
    });
    Ok(Membership {
        members: members.collect(),
        unmatched,
        gaps,
    })
}

pub(crate) fn readable(container: &Container) -> Result<(), Status> {
    match container.unreadable {
        Some(why) => {
            let message = format!("{}: {why}", quote(&container.name));
            Err(Reason::LogDriverUnreadable.status(message))
        }
        None => Ok(()),
    }
}

/// The container of a cursor is gone, and whether its end was read is unknown.
fn removed(cursor: &Cursor) -> proto::Gap {
    let anchor = cursor.position.anchor;
    proto::Gap {
        container: Some(proto::ContainerRef {
            id: cursor.container.to_string(),
            name: String::new(),
        }),
        cause: proto::GapCause::ContainerRemoved.into(),
        after_time: anchor.map(|anchor| convert::timestamp(anchor.time)),
        message: "the container is gone; whether its end was read is unknown".to_owned(),
        ..proto::Gap::default()
    }
}

fn accepts_gzip<T>(request: &Request<T>) -> bool {
    let accepted = request.metadata().get("grpc-accept-encoding");
    let accepted = accepted.and_then(|text| text.to_str().ok());
    let mut names = accepted.unwrap_or_default().split(',');
    names.any(|name| name.trim() == "gzip")
}

/// When the client gives up. tonic reads this header and does nothing with it
/// while a response streams.
pub(crate) fn deadline_of<T>(request: &Request<T>) -> Option<Instant> {
    let text = request.metadata().get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let value: u64 = digits.parse().ok().filter(|_| digits.len() <= 8)?;
    let nanos: u64 = match unit {
        "H" => 3_600_000_000_000,
        "M" => 60_000_000_000,
        "S" => 1_000_000_000,
        "m" => 1_000_000,
        "u" => 1_000,
        "n" => 1,
        _ => return None,
    };
    let left = Duration::from_nanos(value.saturating_mul(nanos));
    Instant::now().checked_add(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(text: &str) -> Option<Duration> {
        let mut request = Request::new(());
        request
            .metadata_mut()
            .insert("grpc-timeout", text.parse().unwrap());
        deadline_of(&request).map(|at| at.saturating_duration_since(Instant::now()))
    }

    #[test]
    fn a_clients_deadline_is_read_in_every_unit() {
        let close = |text: &str, seconds: u64| {
            let left = left(text).unwrap();
            let want = Duration::from_secs(seconds);
            assert!(
                left <= want && left + Duration::from_secs(1) > want,
                "{text}: {left:?}"
            );
        };
        close("2H", 7_200);
        close("3M", 180);
        close("9S", 9);
        close("5000m", 5);
        close("5000000u", 5);
        assert_eq!(left("S"), None);
        assert_eq!(left("5x"), None);
        assert_eq!(left("123456789S"), None);
    }
}
