//! The requests that may leave: an allow list of exact paths.
//!
//! bollard 0.21.1 joins names into URLs unescaped, so that a name such as
//! `x/export?` becomes another request. What is not a [`Route`] is never sent.

use std::time::Duration;

use hyper::{Method, Uri};

use super::frames::Framing;
use super::io::Silence;
use super::response::Body;
use crate::docker::container::ContainerId;

/// Largest JSON answer: a list of some 20,000 containers.
const MAX_DOCUMENT: usize = 64 * 1024 * 1024;
const MAX_EVENT: usize = 1024 * 1024;

pub(crate) const HEAD: Duration = Duration::from_secs(5);
const FIRST_BYTE: Duration = Duration::from_secs(5);
pub(crate) const BETWEEN: Duration = Duration::from_secs(10);
/// Health promises the truth within 5 s: two of these and their interval fit.
pub(crate) const PING: Duration = Duration::from_secs(1);

/// One request of the allow list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    Ping,
    Version,
    Info,
    Events,
    List,
    Inspect,
    Snapshot,
    Follow,
}

impl Route {
    /// `None`: not on the list.
    pub(crate) fn of(method: &Method, uri: &Uri) -> Option<Route> {
        if method != Method::GET {
            return None;
        }
        match uri.path() {
            "/_ping" => Some(Route::Ping),
            "/version" => Some(Route::Version),
            "/info" => Some(Route::Info),
            "/events" => Some(Route::Events),
            "/containers/json" => Some(Route::List),
            path => of_container(path.strip_prefix("/containers/")?, uri.query()),
        }
    }

    /// Whether the path takes the agreed API version as prefix. Without one the
    /// engine answers whoever asks, which is how the version is agreed upon.
    pub(crate) fn is_versioned(self) -> bool {
        !matches!(self, Route::Ping | Route::Version)
    }

    pub(crate) fn body(self, framing: Framing) -> Body {
        match self {
            Route::Snapshot | Route::Follow => Body::Log(framing),
            Route::Events => Body::Lines(MAX_EVENT),
            _ => Body::Document(MAX_DOCUMENT),
        }
    }

    pub(crate) fn silence(self) -> Silence {
        let (head, first_byte, between) = match self {
            Route::Ping => (Some(PING), Some(PING), Some(PING)),
            // A quiet container or engine sends nothing, and Podman, or a proxy,
            // not even a head before the first line; probes and relists notice
            // when that is a fault.
            Route::Follow | Route::Events => (None, None, None),
            _ => (Some(HEAD), Some(FIRST_BYTE), Some(BETWEEN)),
        };
        Silence {
            head,
            first_byte,
            between,
        }
    }
}

fn of_container(rest: &str, query: Option<&str>) -> Option<Route> {
    let (id, what) = rest.split_once('/')?;
    ContainerId::parse(id)?;
    let follows = query
        .unwrap_or("")
        .split('&')
        .any(|pair| pair == "follow=true");
    match (what, follows) {
        ("json", _) => Some(Route::Inspect),
        ("logs", true) => Some(Route::Follow),
        ("logs", false) => Some(Route::Snapshot),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(uri: &str) -> Option<Route> {
        Route::of(&Method::GET, &uri.parse().unwrap())
    }

    #[test]
    fn only_exact_paths_with_whole_ids_pass() {
        let id = "0123456789abcdef".repeat(4);
        let logs = format!("http://docker/containers/{id}/logs");
        assert_eq!(
            route(&format!("{logs}?follow=true&tail=1")),
            Some(Route::Follow)
        );
        assert_eq!(
            route(&format!("{logs}?follow=false")),
            Some(Route::Snapshot)
        );
        assert_eq!(
            route(&format!("http://docker/containers/{id}/json?size=false")),
            Some(Route::Inspect)
        );
        let refused = [
            format!("http://docker/containers/{id}/export?"),
            format!("http://docker/containers/{id}/archive?path=/"),
            format!("http://docker/containers/{}/json?", &id[1..]),
            format!("http://docker/containers/{id}/logs/x?"),
            "http://docker/containers/web/json?".to_owned(),
            "http://docker/images/json".to_owned(),
            "http://docker//info".to_owned(),
        ];
        for uri in refused {
            assert_eq!(route(&uri), None, "{uri}");
        }
    }

    #[test]
    fn nothing_but_get_passes() {
        let uri = "http://docker/_ping".parse().unwrap();
        assert_eq!(Route::of(&Method::POST, &uri), None);
    }
}
