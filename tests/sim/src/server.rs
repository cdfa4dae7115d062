//! The HTTP side: which path is what, and the engine's answers.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderValue, LOCATION, SERVER};
use hyper::{Method, Request, Response, StatusCode, Uri};
use serde_json::{Value, json};

use crate::body::{Body, Written};
use crate::engine::Api;
use crate::events::{EventStream, EventsQuery, filters};
use crate::fault::{HeadAct, Victim};
use crate::query::{Query, percent_decode};
use crate::refusal::Refusal;
use crate::stream::{LogStream, LogsQuery, readable};
use crate::world::World;
use crate::{Endpoint, Engine, describe};

const JSON: &str = "application/json";
const JSON_LINES: &str = "application/jsonl";
const MULTIPLEXED: &str = "application/vnd.docker.multiplexed-stream";
const RAW: &str = "application/vnd.docker.raw-stream";

/// Answers one request. An error closes the connection instead.
pub(crate) async fn answer<B>(
    world: Arc<World>,
    request: Request<B>,
) -> io::Result<Response<Body>> {
    let route = Route::of(&request);
    let target = request
        .uri()
        .path_and_query()
        .map_or("/", |target| target.as_str());
    world.witness(route.endpoint, request.method().as_str(), target);
    let mut with_body = false;
    let suffered = suffer(&world, &route, &mut with_body).await?;
    if let Some(response) = moved(request.uri()) {
        return Ok(response);
    }
    if route.endpoint == Endpoint::Unknown {
        // Known before the version is looked at, and answered by none of the engine's own.
        let refusal = suffered
            .err()
            .unwrap_or_else(|| Refusal::not_found("page not found".to_owned()));
        return Ok(route.refused(&refusal));
    }
    let engine = world.state().engine.clone();
    let api = route.api(&engine);
    let accepted = api.is_ok();
    let mut response = suffered
        .and(api)
        .and_then(|api| dispatch(&world, &route, api))
        .unwrap_or_else(|refusal| route.refused(&refusal));
    sign(&mut response, &engine, accepted);
    if with_body || engine.habits.is_podman && route.endpoint == Endpoint::Logs {
        response = begun(response).await;
    }
    Ok(response)
}

/// What a request is about.
struct Route {
    endpoint: Endpoint,
    /// What stands before the path, as in `/v1.41/info`.
    version: Option<String>,
    /// The container it names: an id, a name or a prefix.
    container: String,
    query: Query,
}

impl Route {
    fn of<B>(request: &Request<B>) -> Self {
        let path = request.uri().path();
        let (version, path) = split_version(path);
        let mut container = String::new();
        let parts: Vec<_> = path.split('/').skip(1).collect();
        let endpoint = match (request.method(), parts.as_slice()) {
            (&Method::GET | &Method::HEAD, ["_ping"]) => Endpoint::Ping,
            (&Method::GET, ["version"]) => Endpoint::Version,
            (&Method::GET, ["info"]) => Endpoint::Info,
            (&Method::GET, ["events"]) => Endpoint::Events,
            (&Method::GET, ["containers", "json"]) => Endpoint::List,
            (&Method::GET, ["containers", named @ .., last @ ("json" | "logs")])
                if !named.is_empty() =>
            {
                container = percent_decode(&named.join("/"));
                if *last == "json" {
                    Endpoint::Inspect
                } else {
                    Endpoint::Logs
                }
            }
            _ => Endpoint::Unknown,
        };
        let version = version.map(str::to_owned);
        Self {
            endpoint,
            version,
            container,
            query: Query::parse(request.uri().query().unwrap_or("")),
        }
    }

    /// The API version that was asked for; without one, the newest.
    fn api(&self, engine: &Engine) -> Result<Api, Refusal> {
        let Some(text) = &self.version else {
            return Ok(engine.api_max);
        };
        let (min, max) = (engine.api_min, engine.api_max);
        match Api::parse(text) {
            Some(api) if api > max => Err(Refusal::bad(format!(
                "client version {text} is too new. Maximum supported API version is {max}"
            ))),
            Some(api) if api >= min => Ok(api),
            _ => Err(Refusal::bad(format!(
                "client version {text} is too old. Minimum supported API version is {min}, \
                 please upgrade your client to a newer version"
            ))),
        }
    }

    /// Below the first API version that has JSON errors, also below the oldest one that is taken, they are plain text.
    fn refused(&self, refusal: &Refusal) -> Response<Body> {
        let plain = self
            .version
            .as_ref()
            .is_some_and(|version| Api::parse(version).is_none_or(|api| api < Api::JSON_ERRORS));
        let mut response = if plain {
            text(format!("{}\n", refusal.message))
        } else {
            document(&json!({ "message": refusal.message }))
        };
        *response.status_mut() = refusal.status;
        response
    }
}

fn split_version(path: &str) -> (Option<&str>, &str) {
    let versioned = path.strip_prefix("/v").and_then(|rest| {
        let end = rest.find('/')?;
        let digits = rest[..end]
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.');
        (end > 0 && digits).then(|| (Some(&rest[..end]), &rest[end..]))
    });
    versioned.unwrap_or((None, path))
}

/// Holds a head back until its body has begun.
async fn begun(response: Response<Body>) -> Response<Body> {
    let (head, body) = response.into_parts();
    let body = match body {
        Body::Right(written) => Body::Right(written.begun().await),
        known => known,
    };
    Response::from_parts(head, body)
}

/// Lets the faults before the head have their way.
async fn suffer(
    world: &Arc<World>,
    route: &Route,
    with_body: &mut bool,
) -> io::Result<Result<(), Refusal>> {
    let container = world
        .state()
        .find(&route.container)
        .ok()
        .map(|instance| instance.id.clone());
    let mut victim = Victim::new(route.endpoint, container, route.query.flag("follow"));
    while let Some(act) = world.strike_head(&mut victim) {
        match act {
            HeadAct::Withhold => std::future::pending().await,
            HeadAct::Delay(by) => tokio::time::sleep(by).await,
            HeadAct::WithBody => *with_body = true,
            HeadAct::Refuse(status, message) => return Ok(Err(Refusal::new(status, message))),
            HeadAct::HangUp => return Err(io::Error::other("the simulated engine hung up")),
        }
    }
    Ok(Ok(()))
}

fn dispatch(world: &Arc<World>, route: &Route, api: Api) -> Result<Response<Body>, Refusal> {
    match route.endpoint {
        Endpoint::Ping => Ok(ping()),
        Endpoint::Version => Ok(document(&describe::version(&world.state()))),
        Endpoint::Info => Ok(document(&describe::info(&mut world.state()))),
        Endpoint::List => list(world, route),
        Endpoint::Inspect => Ok(document(&describe::inspect(
            world.state().find(&route.container)?,
        ))),
        Endpoint::Logs => logs(world, route, api),
        Endpoint::Events => events(world, route, api),
        Endpoint::Unknown => unreachable!("it was answered before"),
    }
}

fn ping() -> Response<Body> {
    let mut response = text("OK");
    let headers = response.headers_mut();
    headers.insert(
        "cache-control",
        HeaderValue::from_static("no-cache, no-store, must-revalidate"),
    );
    headers.insert("pragma", HeaderValue::from_static("no-cache"));
    response
}

fn list(world: &World, route: &Route) -> Result<Response<Body>, Refusal> {
    let narrowed = route.query.get("limit").is_some() || !filters(&route.query)?.is_empty();
    if narrowed {
        return Err(Refusal::new(
            501,
            "the simulated engine lists without filters or limit".to_owned(),
        ));
    }
    Ok(document(&describe::list(
        &mut world.state(),
        route.query.flag("all"),
    )))
}

fn logs(world: &Arc<World>, route: &Route, api: Api) -> Result<Response<Body>, Refusal> {
    let mut state = world.state();
    let habits = state.engine.habits;
    let mut query = LogsQuery::parse(&route.query)?;
    if habits.judges_times_first {
        query.limit(&route.query, habits)?;
    }
    let id = state.find(&route.container)?.id.clone();
    let index = state
        .position(&id)
        .expect("it was found under the same lock");
    let instance = &mut state.instances[index];
    readable(instance, habits)?;
    query.limit(&route.query, habits)?;
    let kind = if instance.tty || api < Api::MULTIPLEXED {
        RAW
    } else {
        MULTIPLEXED
    };
    let stream = LogStream::open(world, instance, query);
    let mut response = Response::new(Body::Right(Written::by(|chunks| stream.write(chunks))));
    if habits.logs_have_content_type {
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    Ok(response)
}

fn events(world: &Arc<World>, route: &Route, api: Api) -> Result<Response<Body>, Refusal> {
    let query = EventsQuery::parse(&route.query, world.state().engine.habits)?;
    let legacy = api < Api::NO_LEGACY_EVENTS;
    let kind = if legacy { JSON } else { JSON_LINES };
    let victim = Victim::new(Endpoint::Events, None, false);
    let stream = EventStream::open(world, query, legacy, victim);
    let mut response = Response::new(Body::Right(Written::by(|chunks| stream.write(chunks))));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    Ok(response)
}

/// Where a slash is doubled, also one that is escaped, the engine looks for nothing and names the clean path.
fn moved(uri: &Uri) -> Option<Response<Body>> {
    let path = percent_decode(uri.path());
    let mut clean = path.clone();
    while clean.contains("//") {
        clean = clean.replace("//", "/");
    }
    if clean == path {
        return None;
    }
    if let Some(query) = uri.query() {
        clean = format!("{clean}?{query}");
    }
    let mut response = Response::new(Body::Left(Full::default()));
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    let location = HeaderValue::try_from(clean).ok()?;
    response.headers_mut().insert(LOCATION, location);
    Some(response)
}

fn text(text: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::Left(Full::from(text.into())));
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}

fn document(value: &Value) -> Response<Body> {
    let mut response = Response::new(Body::Left(Full::from(Bytes::from(format!("{value}\n")))));
    *response.status_mut() = StatusCode::OK;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
    response
}

/// The headers that every answer of an engine has; one of them only where the API version was accepted.
fn sign(response: &mut Response<Body>, engine: &Engine, accepted: bool) {
    let headers = response.headers_mut();
    let signatures = [
        (
            SERVER.as_str(),
            format!("Docker/{} (linux)", engine.version),
        ),
        ("api-version", engine.api_max.to_string()),
        ("docker-experimental", "false".to_owned()),
        ("ostype", "linux".to_owned()),
    ];
    for (name, value) in signatures {
        if name == "docker-experimental" && !accepted {
            continue;
        }
        let name =
            hyper::header::HeaderName::from_bytes(name.as_bytes()).expect("these names are valid");
        headers.insert(
            name,
            HeaderValue::from_str(&value).expect("versions are printable"),
        );
    }
}
