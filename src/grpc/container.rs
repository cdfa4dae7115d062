//! `ContainerService`.

use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::sync::watch::Receiver;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::convert;
use super::log::deadline_of;
use super::request::resolve;
use super::selector::{Criteria, Selector, check_exact_name, criteria};
use super::server::Server;
use super::status::{Reason, Violations};
use super::versions::Versions;
use super::watch::{self, Event, Selected, Watched};
use crate::docker::{Container, ContainerId, Inventory};
use crate::proto;

const DEFAULT_PAGE: usize = 100;
const MAX_PAGE: usize = 1_000;

#[tonic::async_trait]
impl proto::container_service_server::ContainerService for Server {
    type WatchContainersStream = ReceiverStream<Result<proto::WatchContainersResponse, Status>>;

    async fn list_containers(
        &self,
        request: Request<proto::ListContainersRequest>,
    ) -> Result<Response<proto::ListContainersResponse>, Status> {
        let request = request.into_inner();
        let mut found = Violations::default();
        let criteria = criteria(request.selector.as_ref(), &mut found);
        let after = page_token(&request.page_token, &mut found);
        found.check()?;
        self.refuse_while_draining()?;
        let inventory = self.inventory()?;
        let selector = self.bind(criteria, &inventory)?;
        let selected = selected(&inventory, selector.as_ref());
        let page = match usize::try_from(request.page_size).unwrap_or(MAX_PAGE) {
            0 => DEFAULT_PAGE,
            size => size.min(MAX_PAGE),
        };
        let rest = selected
            .iter()
            .filter(|c| after.as_ref().is_none_or(|after| key(c) > *after));
        let mut shown: Vec<_> = rest.take(page + 1).collect();
        let more = shown.len() > page;
        shown.truncate(page);
        let last = shown.last().filter(|_| more);
        Ok(Response::new(proto::ListContainersResponse {
            next_page_token: last.map_or_else(String::new, |last| token(last)),
            containers: shown.into_iter().map(|c| self.shown(c)).collect(),
        }))
    }

    async fn get_container(
        &self,
        request: Request<proto::GetContainerRequest>,
    ) -> Result<Response<proto::GetContainerResponse>, Status> {
        let name = request.into_inner().name;
        let mut found = Violations::default();
        check_exact_name(&name, "name", &mut found);
        found.check()?;
        self.refuse_while_draining()?;
        let inventory = self.inventory()?;
        let container = Some(self.shown(resolve(&inventory, &name)?));
        Ok(Response::new(proto::GetContainerResponse { container }))
    }

    async fn watch_containers(
        &self,
        request: Request<proto::WatchContainersRequest>,
    ) -> Result<Response<Self::WatchContainersStream>, Status> {
        let deadline = deadline_of(&request);
        let request = request.into_inner();
        let mut found = Violations::default();
        let criteria = criteria(request.selector.as_ref(), &mut found);
        found.check()?;
        self.refuse_while_draining()?;
        let inventory = self.inventory()?;
        let containers = Containers {
            server: self.clone(),
            selector: self.bind(criteria, &inventory)?.map(Mutex::new),
            changes: self.registry().inventory_changes(),
        };
        let answers = watch::open(self, containers, request.resume, deadline)?;
        Ok(Response::new(ReceiverStream::new(answers)))
    }
}

/// The containers as one watcher sees them.
struct Containers {
    server: Server,
    /// `None`: all. Its names may come to stand for something.
    selector: Option<Mutex<Selector>>,
    changes: Receiver<Arc<Inventory>>,
}

impl Watched for Containers {
    type Key = ContainerId;
    type Mark = Arc<Container>;
    type Thing = proto::Container;
    type Response = proto::WatchContainersResponse;

    fn versions(&self) -> &Versions<ContainerId, Arc<Container>> {
        self.server.container_versions()
    }

    fn read(&self) -> Vec<(ContainerId, Arc<Container>, Selected<proto::Container>)> {
        let inventory = self.server.registry().inventory();
        let selector = self.selector.as_ref();
        let mut selector = selector.map(|s| s.lock().unwrap_or_else(PoisonError::into_inner));
        let shown = inventory.containers.values().map(|container| {
            let choice = selector.as_mut().map(|s| s.choose(container));
            let chosen =
                choice.is_none_or(|choice| choice.is_some_and(|choice| choice.holds(container)));
            // It may be selected at another time.
            let shown = match chosen {
                true => Selected::Yes(self.server.shown(container)),
                false => Selected::Not,
            };
            (container.id, Arc::clone(container), shown)
        });
        shown.collect()
    }

    async fn changed(&mut self) {
        if self.changes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    fn settle(&mut self) {
        self.changes.mark_unchanged();
    }

    fn tell(
        &self,
        position: Option<proto::WatchPosition>,
        event: Event<ContainerId, proto::Container>,
    ) -> Self::Response {
        use proto::watch_containers_response::Event as Told;
        let event = Some(match event {
            Event::Snapshot(containers, complete) => Told::Snapshot(proto::ContainerSnapshot {
                containers,
                complete,
            }),
            Event::Delta(upserted, removed) => Told::Delta(proto::ContainerDelta {
                upserted,
                removed_ids: removed.iter().map(ToString::to_string).collect(),
            }),
            Event::Bookmark(time) => Told::Bookmark(time),
        });
        Self::Response { position, event }
    }
}

impl Server {
    fn bind(
        &self,
        criteria: Option<Criteria>,
        inventory: &Inventory,
    ) -> Result<Option<Selector>, Status> {
        let own = self.own(inventory);
        let bind = |criteria| Selector::bind(criteria, inventory, own, false);
        criteria.map(bind).transpose()
    }

    fn shown(&self, container: &Container) -> proto::Container {
        convert::container(container, self.registry().subscribers(&container.id))
    }
}

/// Pages are ordered by name, then id.
fn key(container: &Container) -> (String, ContainerId) {
    (container.name.clone(), container.id)
}

/// What is listed without a selector is all there is.
fn selected(inventory: &Inventory, selector: Option<&Selector>) -> Vec<Arc<Container>> {
    let all = inventory.containers.values();
    let is_selected = |container: &&Arc<Container>| {
        let choice = selector.map(|selector| selector.chosen(container));
        choice.is_none_or(|choice| choice.is_some_and(|choice| choice.holds(container)))
    };
    let mut selected: Vec<_> = all.filter(is_selected).map(Arc::clone).collect();
    selected.sort_by_key(|container| key(container));
    selected
}

/// The key of a page's last container.
fn token(last: &Container) -> String {
    URL_SAFE_NO_PAD.encode(format!("{} {}", last.id, last.name))
}

fn page_token(token: &str, found: &mut Violations) -> Option<(String, ContainerId)> {
    if token.is_empty() {
        return None;
    }
    let key = URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| {
        let text = String::from_utf8(bytes).ok()?;
        let (id, name) = text.split_once(' ')?;
        Some((name.to_owned(), ContainerId::parse(id)?))
    });
    let what = "not a token of ListContainers";
    found.require(key.is_some(), Reason::PageTokenInvalid, "page_token", what);
    key
}
