//! `LogService`.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream as futures};
use tokio::time::Instant;
use tokio_stream::Empty;
use tonic::{Request, Response, Status};

use super::body::Enclosed;
use super::membership::{Opened, Opening};
use super::outlet::outlet;
use super::request::{Plan, plan};
use super::server::Server;
use super::status::{Reason, quote};
use super::stream::{Beginning, Joins, Knowledge, stream};
use super::terms::Terms;
use crate::docker::Container;
use crate::hub::{Ended, OpenError, Subscription};
use crate::proto;
use crate::tail::From;

/// Members that are opened at a time.
const OPENINGS: usize = 64;

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
        // Before the inventory is read: it holds whatever these do not tell.
        let changes = self.registry().container_changes();
        let inventory = self.inventory()?;
        let engine = self.engine_tag(&inventory);
        let opening = Opening::of(&plan, &inventory, engine, self.own(&inventory))?;
        self.refuse_without_engine()?;
        let knowledge = Knowledge::new(self.registry(), changes, &plan, &inventory);
        let (shared, latency) = plan.delivery.shares(plan.is_of_one());
        let (subscriptions, lost) = self
            .open(&plan, opening.members, shared, knowledge.issued())
            .await?;
        let opened = proto::Opened {
            subscription_id: format!("{:016x}", fastrand::u64(..)),
            instance_id: self.instance_id().to_owned(),
            host_id: format!("{engine:016x}"),
            host_name: self.host_name(&inventory),
            members: Vec::new(),
            unmatched: opening.unmatched,
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
        let beginning = Box::new(Beginning {
            opened,
            subscriptions,
            gaps: opening.gaps,
            unreadable: opening.unreadable,
            lost,
        });
        let joins = Joins {
            registry: Arc::clone(self.registry()),
            membership: opening.membership,
            knowledge,
            latency: shared,
        };
        self.spawn(stream(place, outlet, beginning, joins, terms));
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

/// A member that was lost as it was opened, and why.
pub(crate) type Lost = (Arc<Container>, Ended);

impl Server {
    /// Opens members, some at a time; those that are lost meanwhile, unless they
    /// were named exactly, come with the others.
    async fn open(
        &self,
        plan: &Plan,
        members: Vec<Opened>,
        latency: Duration,
        issued: i64,
    ) -> Result<(Vec<Subscription>, Vec<Lost>), Status> {
        let opening = members.into_iter().map(|member| async move {
            let (container, exact) = (Arc::clone(&member.container), member.exact);
            match self.open_one(plan, member, latency, issued).await {
                Ok(subscription) => Ok(Ok(subscription)),
                Err(OpenError::Ended(ended)) if !exact => Ok(Err((container, ended))),
                Err(error) => Err(refused(&container.name, error)),
            }
        });
        let opened = futures::iter(opening).buffered(OPENINGS);
        let opened: Vec<Result<Subscription, Lost>> = opened.try_collect().await?;
        let (mut subscriptions, mut lost) = (Vec::new(), Vec::new());
        for one in opened {
            match one {
                Ok(subscription) => subscriptions.push(subscription),
                Err(one) => lost.push(one),
            }
        }
        Ok((subscriptions, lost))
    }

    async fn open_one(
        &self,
        plan: &Plan,
        member: Opened,
        latency: Duration,
        issued: i64,
    ) -> Result<Subscription, OpenError> {
        let Opened {
            container,
            from,
            exact,
        } = member;
        let has_place = matches!(
            from,
            Some(From::Beginning | From::After(_) | From::Since(_))
        );
        match (plan.follow, from) {
            (true, Some(from)) if has_place && !exact => {
                let registry = self.registry();
                Ok(Subscription::join(registry, container, from, latency))
            }
            (true, from) => Subscription::follow(self.registry(), container, from, latency).await,
            (false, from) => {
                // From now on nothing is asked for but cursors.
                let from = from.unwrap_or(From::Lines(0));
                let mut subscription =
                    Subscription::history(self.registry(), container, from, issued);
                if exact || !has_place {
                    subscription.located().await?;
                }
                Ok(subscription)
            }
        }
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
