//! Containers and the server itself, as they are listed.

use std::collections::HashMap;

use pulsetail::proto::server_service_client::ServerServiceClient;
use pulsetail::proto::{
    self, Container, ContainerState as State, GetContainerRequest, GetServerInfoRequest,
    ListContainersRequest, Selector,
};
use pulsetail_sim::{Driver, Engine, Sim};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::harness::{Server, engine, engine_of, stored, until_so};

async fn get(server: &Server, name: &str) -> Result<Container, Status> {
    let name = name.to_owned();
    let mut client = server.containers();
    let answer = client.get_container(GetContainerRequest { name }).await?;
    Ok(answer.into_inner().container.expect("always set"))
}

async fn page(
    server: &Server,
    page_size: u32,
    page_token: &str,
) -> Result<(Vec<String>, String), Status> {
    let request = ListContainersRequest {
        selector: None,
        page_size,
        page_token: page_token.to_owned(),
    };
    let answer = server.containers().list_containers(request).await?;
    let answer = answer.into_inner();
    let name = |c: Container| c.container.expect("always set").name;
    let names = answer.containers.into_iter().map(name).collect();
    Ok((names, answer.next_page_token))
}

#[tokio::test]
async fn pages_hold_every_container_once_ordered_by_name() {
    let sim = engine();
    let mut names: Vec<_> = (0..205).map(|n| format!("c{}", n * 7919 % 1000)).collect();
    for name in &names {
        sim.container(name).create();
    }
    names.sort();
    let server = Server::start(&sim).await;
    for (size, first) in [
        (0, 100),
        (1, 1),
        (50, 50),
        (204, 204),
        (205, 205),
        (5_000, 205),
    ] {
        let (mut listed, mut token, mut pages) = (Vec::new(), String::new(), 0);
        loop {
            let (names, next) = page(&server, size, &token).await.unwrap();
            assert!(pages > 0 || names.len() == first, "page of {size}");
            assert!(!names.is_empty());
            listed.extend(names);
            (token, pages) = (next, pages + 1);
            if token.is_empty() || size == 1 && pages == 3 {
                break;
            }
        }
        assert_eq!(listed, names[..listed.len()]);
        assert!(size == 1 || listed.len() == names.len());
    }
    for token in ["x", "AAAA", "\r\n", &"A".repeat(100_000)] {
        let status = page(&server, 10, token).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        let details = status.get_error_details();
        assert_eq!(details.error_info().unwrap().reason, "PAGE_TOKEN_INVALID");
        let bad = details.bad_request().unwrap();
        assert_eq!(bad.field_violations[0].field, "page_token");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_selector_lists_what_it_names_once_and_an_empty_one_is_refused() {
    let sim = engine();
    let web = sim.container("web").run();
    sim.container("api").run();
    sim.container("db").run();
    let server = Server::start(&sim).await;
    let listed = async |names: &[&str]| {
        let names = names.iter().map(|n| (*n).to_owned()).collect();
        let selector = Some(Selector {
            names,
            ..Selector::default()
        });
        let request = ListContainersRequest {
            selector,
            ..Default::default()
        };
        let answer = server.containers().list_containers(request).await?;
        let containers = answer.into_inner().containers.into_iter();
        let names = containers.map(|c| c.container.unwrap().name);
        Ok::<Vec<_>, Status>(names.collect())
    };
    assert_eq!(
        listed(&["web", &web.id()[..8], "api"]).await.unwrap(),
        ["api", "web"]
    );
    assert_eq!(listed(&[]).await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(
        listed(&["web", "x"]).await.unwrap_err().code(),
        Code::NotFound
    );
    server.stop().await;
}

/// Two names whose ids begin alike if they are the first and second container.
fn alike() -> (String, String) {
    let id = |before: &[&str], name: &str| {
        let sim = Sim::new(Engine::current());
        before
            .iter()
            .for_each(|name| drop(sim.container(*name).create()));
        sim.container(name).create().id()[..4].to_owned()
    };
    let firsts = (0..600).map(|n| format!("first{n}"));
    let firsts: HashMap<_, _> = firsts.map(|name| (id(&[], &name), name)).collect();
    let mut seconds = (0..5_000).map(|n| format!("second{n}"));
    let pair = seconds.find_map(|second| {
        let first = firsts.get(&id(&["x"], &second))?;
        Some((first.clone(), second))
    });
    pair.expect("four hex digits soon repeat")
}

#[tokio::test]
async fn a_container_is_found_by_name_id_and_prefix_that_only_it_has() {
    let (first, second) = alike();
    let sim = engine();
    let first = sim.container(first).run();
    let second = sim.container(second).run();
    // A name is tried before an id prefix.
    let named = sim.container(&first.id()[..12]).run();
    let server = Server::start(&sim).await;
    let found = async |text: &str| get(&server, text).await.map(|c| c.container.unwrap().id);
    assert_eq!(found(first.id()).await.unwrap(), first.id());
    assert_eq!(found(&first.id()[..40]).await.unwrap(), first.id());
    assert_eq!(found(&first.id()[..12]).await.unwrap(), named.id());
    assert_eq!(found(&second.id()[..24]).await.unwrap(), second.id());
    assert_eq!(
        found(&first.id()[..3]).await.unwrap_err().code(),
        Code::NotFound
    );
    let upper = first.id().to_uppercase();
    assert_eq!(found(&upper).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(
        found("web-*").await.unwrap_err().code(),
        Code::InvalidArgument
    );
    let prefix = &first.id()[..4];
    let streamed = server.try_open(stored(prefix)).await.err().unwrap();
    for status in [found(prefix).await.unwrap_err(), streamed] {
        assert_eq!(status.code(), Code::FailedPrecondition);
        let reason = status
            .get_error_details()
            .error_info()
            .unwrap()
            .reason
            .clone();
        assert_eq!(reason, "CONTAINER_AMBIGUOUS");
    }
    server.stop().await;
}

#[tokio::test]
async fn what_is_shown_of_a_container_is_what_the_engine_says() {
    let sim = engine();
    let driver = Driver::json_file().max_size(1_000_000).max_file(3);
    let web = sim
        .container("web")
        .image("demo/web:1")
        .driver(driver)
        .tty();
    let web = web
        .label("com.docker.compose.project", "shop")
        .label("com.docker.compose.service", "front");
    let web = web.run();
    sim.container("mute").driver(Driver::none()).create();
    let server = Server::start(&sim).await;
    let shown = get(&server, "web").await.unwrap();
    assert_eq!(
        shown.container,
        Some(proto::ContainerRef {
            id: web.id().into(),
            name: "web".into()
        })
    );
    assert_eq!(
        (&*shown.image, &*shown.log_driver, shown.tty),
        ("demo/web:1", "json-file", true)
    );
    assert_eq!(
        (&*shown.compose_project, &*shown.compose_service),
        ("shop", "front")
    );
    assert_eq!((shown.state(), shown.exit_code), (State::Running, None));
    assert_eq!(
        (shown.retention_bytes, &*shown.unreadable_reason),
        (3_000_000, "")
    );
    assert!(shown.create_time.is_some() && shown.start_time.is_some());
    let mute = get(&server, "mute").await.unwrap();
    assert_eq!((mute.state(), mute.start_time), (State::Created, None));
    assert!(!mute.unreadable_reason.is_empty());
    server.stop().await;
}

#[tokio::test]
async fn the_list_follows_the_engine() {
    let sim = engine();
    let server = Server::start(&sim).await;
    let web = sim.container("web").run();
    let is = async |name: &str, state: State| {
        let shown = get(&server, name).await;
        shown.is_ok_and(|shown| shown.state() == state)
    };
    until_so(async || is("web", State::Running).await).await;
    web.pause();
    until_so(async || is("web", State::Paused).await).await;
    web.unpause();
    web.exit(9);
    until_so(async || is("web", State::Exited).await).await;
    assert_eq!(get(&server, "web").await.unwrap().exit_code, Some(9));
    web.rename("shop");
    until_so(async || is("shop", State::Exited).await).await;
    assert_eq!(
        get(&server, "web").await.unwrap_err().code(),
        Code::NotFound
    );
    web.remove();
    until_so(async || get(&server, "shop").await.is_err()).await;
    server.stop().await;
}

#[tokio::test]
async fn the_server_says_who_it_is_and_which_engine_it_reads() {
    let sim = engine_of(Engine::docker_20_10().named("host-a"));
    let server = Server::start(&sim).await;
    let info = async |server: &Server| {
        let mut client = ServerServiceClient::new(server.channel.clone());
        let answer = client.get_server_info(GetServerInfoRequest {}).await;
        answer.expect("it answers from memory").into_inner()
    };
    let told = info(&server).await;
    let engine = told.engine.clone().unwrap();
    assert_eq!(
        (&*engine.kind, &*engine.version, &*engine.api_version),
        ("docker", "20.10.24", "1.41")
    );
    assert!(engine.reachable);
    assert_eq!(told.host_name, "host-a");
    let limits = told.limits.unwrap();
    assert_eq!(
        (limits.max_line_bytes, limits.max_cursor_bytes),
        (1 << 20, 160)
    );
    assert!(limits.max_response_bytes <= 4 << 20);
    server.stop().await;
    let server = Server::start(&sim).await;
    let again = info(&server).await;
    assert_eq!(again.host_id, told.host_id);
    assert_ne!(again.instance_id, told.instance_id);
    server.stop().await;
    let away = engine_of(Engine::current());
    away.stop();
    let server = Server::launch(&away, &[]).await;
    assert!(!info(&server).await.engine.unwrap().reachable);
    server.stop().await;
}
