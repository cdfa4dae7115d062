//! Who is verified: the containers that a selector chooses.

use std::collections::BTreeMap;

use prost_types::Timestamp;
use tonic::Status;
use tonic::transport::Channel;

use super::VerifyError;
use crate::proto::container_service_client::ContainerServiceClient;
use crate::proto::{Container, ContainerState, ListContainersRequest, Selector};

/// A selector, and who ran when it was first asked for.
pub(super) struct Selection {
    client: ContainerServiceClient<Channel>,
    selector: Selector,
    running: Runs,
}

/// Of readable containers that run, by their ids, the name and when the run began.
type Runs = BTreeMap<String, (String, Timestamp)>;

impl Selection {
    /// # Errors
    /// The server does not answer, refuses the selector, or has no container for
    /// want of one.
    pub(super) async fn new(
        channel: Channel,
        selector: Option<&Selector>,
    ) -> Result<Self, VerifyError> {
        let mut client = ContainerServiceClient::new(channel);
        let listed = listed(&mut client, selector).await?;
        let selector = match selector {
            Some(selector) => selector.clone(),
            None if listed.is_empty() => return Err(VerifyError::NoContainer),
            None => Selector {
                names: listed.iter().map(|(id, _)| id.clone()).collect(),
                ..Selector::default()
            },
        };
        Ok(Self {
            client,
            selector,
            running: runs(listed),
        })
    }

    pub(super) fn selector(&self) -> Selector {
        self.selector.clone()
    }

    /// Those whose run at the beginning is still the present one: they are members
    /// of every stream in between.
    pub(super) async fn ran_all_along(&mut self) -> Result<Vec<String>, Status> {
        let now = runs(listed(&mut self.client, Some(&self.selector)).await?);
        let mut running = std::mem::take(&mut self.running);
        running.retain(|id, run| now.get(id) == Some(run));
        Ok(running.into_keys().collect())
    }
}

/// The readable containers that the server lists, with their ids.
async fn listed(
    client: &mut ContainerServiceClient<Channel>,
    selector: Option<&Selector>,
) -> Result<Vec<(String, Container)>, Status> {
    let mut request = ListContainersRequest {
        selector: selector.map(|selector| Selector {
            // One that is removed meanwhile is no error.
            allow_missing: true,
            ..selector.clone()
        }),
        ..ListContainersRequest::default()
    };
    let mut listed = Vec::new();
    loop {
        let page = client.list_containers(request.clone()).await?.into_inner();
        let readable = |container: &Container| container.unreadable_reason.is_empty();
        let readable = page.containers.into_iter().filter(readable);
        let id = |container: &Container| container.container.as_ref().map(|named| named.id.clone());
        listed.extend(readable.filter_map(|container| Some((id(&container)?, container))));
        if page.next_page_token.is_empty() {
            return Ok(listed);
        }
        request.page_token = page.next_page_token;
    }
}

fn runs(listed: Vec<(String, Container)>) -> Runs {
    let running =
        |(_, container): &(String, Container)| container.state() == ContainerState::Running;
    let running = listed.into_iter().filter(running);
    running
        .filter_map(|(id, container)| {
            let name = container.container?.name;
            Some((id, (name, container.start_time?)))
        })
        .collect()
}
