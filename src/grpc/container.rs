//! `ContainerService`.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio_stream::Pending;
use tonic::{Request, Response, Status};

use super::convert;
use super::request::{check_name, names, resolve};
use super::server::Server;
use super::status::{Reason, Violations};
use crate::docker::{Container, ContainerId, Inventory};
use crate::proto;

const DEFAULT_PAGE: usize = 100;
const MAX_PAGE: usize = 1_000;

#[tonic::async_trait]
impl proto::container_service_server::ContainerService for Server {
    type WatchContainersStream = Pending<Result<proto::WatchContainersResponse, Status>>;

    async fn list_containers(
        &self,
        request: Request<proto::ListContainersRequest>,
    ) -> Result<Response<proto::ListContainersResponse>, Status> {
        let request = request.into_inner();
        let mut found = Violations::default();
        let names = names(request.selector.as_ref(), false, &mut found);
        let after = page_token(&request.page_token, &mut found);
        found.check()?;
        self.refuse_while_draining()?;
        let inventory = self.inventory()?;
        let selected = selected(&inventory, &names)?;
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
        if name.contains(['*', '?']) {
            found.add(
                Reason::FieldInvalid,
                "name",
                "globs name no single container",
            );
        } else {
            check_name(&name, "name", &mut found);
        }
        found.check()?;
        self.refuse_while_draining()?;
        let inventory = self.inventory()?;
        let container = Some(self.shown(resolve(&inventory, &name)?));
        Ok(Response::new(proto::GetContainerResponse { container }))
    }

    async fn watch_containers(
        &self,
        _request: Request<proto::WatchContainersRequest>,
    ) -> Result<Response<Self::WatchContainersStream>, Status> {
        let message = "WatchContainers is not implemented by this release";
        Err(Reason::NotImplemented.status(message))
    }
}

impl Server {
    fn shown(&self, container: &Container) -> proto::Container {
        convert::container(container, self.registry().subscribers(&container.id))
    }
}

/// Pages are ordered by name, then id.
fn key(container: &Container) -> (String, ContainerId) {
    (container.name.clone(), container.id)
}

fn selected(inventory: &Inventory, names: &[String]) -> Result<Vec<Arc<Container>>, Status> {
    let mut selected: Vec<_> = match names {
        [] => inventory.containers.values().map(Arc::clone).collect(),
        names => names
            .iter()
            .map(|name| resolve(inventory, name).map(Arc::clone))
            .collect::<Result<_, _>>()?,
    };
    selected.sort_by_key(|container| key(container));
    selected.dedup_by_key(|container| container.id);
    Ok(selected)
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
