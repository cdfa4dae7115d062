//! Documents, versions, errors, and what tests can observe.

use pulsetail_sim::{Driver, Endpoint, Engine, Sim};

use crate::client::{get, json, request, request_over};

#[tokio::test(start_paused = true)]
async fn a_ping_is_answered_with_the_engines_headers_and_without_a_body_to_head() {
    let sim = Sim::new(Engine::docker_20_10());
    let pong = get(&sim, "/_ping").await;
    assert_eq!(pong.headers["api-version"], "1.41");
    assert_eq!(pong.headers["server"], "Docker/20.10.24 (linux)");
    assert_eq!(pong.whole().await.0, b"OK");
    let head = request(&sim, "HEAD", "/_ping").await.unwrap();
    assert_eq!(head.status, 200);
    assert_eq!(head.whole().await.0, b"");
}

#[tokio::test(start_paused = true)]
async fn a_version_out_of_range_is_a_bad_request() {
    let sim = Sim::new(Engine::docker_29());
    assert_eq!(get(&sim, "/v1.55/_ping").await.status, 200);
    assert_eq!(get(&sim, "/v1.40/containers/json").await.status, 200);
    let new = get(&sim, "/v1.56/version").await;
    assert_eq!(new.status, 400);
    let message = "client version 1.56 is too new. Maximum supported API version is 1.55";
    assert_eq!(new.json().await["message"], message);
    let old = json(&sim, "/v1.39/version").await;
    assert!(
        old["message"]
            .as_str()
            .unwrap()
            .starts_with("client version 1.39 is too old.")
    );
    let narrow = Sim::new(Engine::docker_20_10().api(30, 31));
    assert_eq!(get(&narrow, "/v1.32/info").await.status, 400);
}

#[tokio::test(start_paused = true)]
async fn version_and_info_tell_who_the_engine_is() {
    let sim = Sim::new(Engine::docker_28().named("alpha"));
    sim.container("web").run();
    let version = json(&sim, "/version").await;
    assert_eq!(version["Version"], "28.5.1");
    assert_eq!(
        (&version["ApiVersion"], &version["MinAPIVersion"]),
        (&"1.51".into(), &"1.24".into())
    );
    let info = json(&sim, "/v1.51/info").await;
    assert_eq!(
        (&info["Name"], &info["ContainersRunning"]),
        (&"alpha".into(), &1.into())
    );
    assert_eq!(info["ID"], Engine::docker_28().named("alpha").id());
    assert_ne!(info["ID"], Engine::docker_28().named("beta").id());
}

#[tokio::test(start_paused = true)]
async fn the_list_has_running_containers_and_all_of_them_on_request() {
    let sim = Sim::new(Engine::current());
    let web = sim
        .container("web")
        .image("nginx:1")
        .label("app", "shop")
        .run();
    sim.container("job").run().exit(3);
    let running = json(&sim, "/containers/json").await;
    assert_eq!(running.as_array().unwrap().len(), 1);
    assert_eq!(running[0]["Id"], web.id());
    assert_eq!(running[0]["Names"][0], "/web");
    assert_eq!(
        (&running[0]["State"], &running[0]["Labels"]["app"]),
        (&"running".into(), &"shop".into())
    );
    let all = json(&sim, "/containers/json?all=1").await;
    assert_eq!(all[0]["Names"][0], "/job");
    assert_eq!(all[0]["Status"], "Exited (3) Less than a second ago");
    let filtered = get(
        &sim,
        "/containers/json?filters=%7B%22status%22%3A%5B%22dead%22%5D%7D",
    )
    .await;
    assert_eq!(filtered.status, 501);
}

#[tokio::test(start_paused = true)]
async fn inspect_follows_the_containers_life() {
    let sim = Sim::new(Engine::current());
    let web = sim
        .container("web")
        .tty()
        .driver(Driver::local().max_size(99))
        .auto_remove()
        .create();
    let inspect = async || json(&sim, "/containers/web/json").await;
    let created = inspect().await;
    assert_eq!(created["State"]["Status"], "created");
    assert_eq!(created["State"]["StartedAt"], "0001-01-01T00:00:00Z");
    assert_eq!(
        (
            &created["Config"]["Tty"],
            &created["HostConfig"]["AutoRemove"]
        ),
        (&true.into(), &true.into())
    );
    assert_eq!(
        created["HostConfig"]["LogConfig"]["Config"]["max-size"],
        "99"
    );
    web.start();
    web.pause();
    let paused = inspect().await;
    assert_eq!(
        (&paused["State"]["Running"], &paused["State"]["Paused"]),
        (&true.into(), &true.into())
    );
    web.unpause();
    let first_start = inspect().await["State"]["StartedAt"].clone();
    web.restart();
    assert_ne!(inspect().await["State"]["StartedAt"], first_start);
    web.kill(9);
    assert_eq!(get(&sim, "/containers/web/json").await.status, 404);
}

#[tokio::test(start_paused = true)]
async fn a_container_is_found_by_id_name_or_unambiguous_prefix() {
    let sim = Sim::new(Engine::current());
    let web = sim.container("web").run();
    for reference in [web.id(), "web", "%77eb", &web.id()[..12]] {
        let found = json(&sim, &format!("/containers/{reference}/json")).await;
        assert_eq!(found["Id"], web.id(), "{reference}");
    }
    for number in 0..17 {
        sim.container(format!("n{number}")).create();
    }
    let ids = json(&sim, "/containers/json?all=1").await;
    let first = |id: &serde_json::Value| id["Id"].as_str().unwrap()[..1].to_owned();
    let mut digits: Vec<_> = ids.as_array().unwrap().iter().map(first).collect();
    digits.sort();
    let twice = digits.windows(2).find(|pair| pair[0] == pair[1]).unwrap()[0].clone();
    assert_eq!(
        get(&sim, &format!("/containers/{twice}/json")).await.status,
        400
    );
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_used_again_has_another_id() {
    let sim = Sim::new(Engine::current());
    let old = sim.container("web").run();
    old.stdout("old\n");
    old.remove();
    let new = sim.container("web").run();
    assert_ne!(old.id(), new.id());
    assert_eq!(new.records(), []);
}

#[tokio::test(start_paused = true)]
async fn unknown_paths_and_methods_are_not_found() {
    let sim = Sim::new(Engine::current());
    sim.container("web").run();
    for (method, target) in [
        ("GET", "/"),
        ("GET", "/v1.55/images/json"),
        ("POST", "/containers/web/start"),
        ("GET", "/containers/web/export"),
        ("GET", "/vx/info"),
        ("DELETE", "/info"),
    ] {
        let response = request(&sim, method, target).await.unwrap();
        assert_eq!(response.status, 404, "{method} {target}");
        assert_eq!(response.json().await["message"], "page not found");
    }
}

#[tokio::test(start_paused = true)]
async fn requests_are_kept_as_they_came_and_counted() {
    let sim = Sim::new(Engine::current());
    drop(get(&sim, "/v1.55/containers/a%20b/logs?stdout=1&tail=5").await);
    drop(get(&sim, "/info").await);
    let requests = sim.requests();
    assert_eq!(
        requests[0].target,
        "/v1.55/containers/a%20b/logs?stdout=1&tail=5"
    );
    assert_eq!(
        (requests[0].method.as_str(), requests[0].endpoint),
        ("GET", Endpoint::Logs)
    );
    assert_eq!(requests[1].endpoint, Endpoint::Info);
    assert_eq!(
        (
            sim.stats().requests(Endpoint::Info),
            sim.stats().all_requests()
        ),
        (1, 2)
    );
}

#[tokio::test(start_paused = true)]
async fn open_connections_and_streams_are_counted_until_the_client_leaves() {
    let sim = Sim::new(Engine::current());
    sim.container("web").run();
    let follow = get(&sim, "/containers/web/logs?stdout=1&follow=1").await;
    let events = get(&sim, "/events").await;
    let stats = sim.stats();
    assert_eq!(
        (stats.connections, stats.log_streams, stats.event_streams),
        (2, 1, 1)
    );
    drop(follow);
    let stats = sim.wait_until(|stats| stats.log_streams == 0).await;
    assert_eq!(stats.event_streams, 1);
    drop(events);
    sim.wait_until(|stats| stats.connections == 0).await;
}

#[tokio::test(start_paused = true)]
async fn one_connection_serves_many_requests() {
    let sim = Sim::new(Engine::current());
    let io = sim.connect().unwrap();
    let pong = request_over(io, "GET", "/_ping").await.unwrap();
    assert_eq!(pong.status, 200);
    assert_eq!(sim.stats().connections, 1);
}

#[tokio::test(start_paused = true)]
async fn dropping_the_last_handle_ends_every_connection() {
    let sim = Sim::new(Engine::current());
    let web = sim.container("web").run();
    let mut follow = get(&sim, "/containers/web/logs?stdout=1&follow=1").await;
    let other = sim.clone();
    drop(sim);
    web.stdout("still here\n");
    assert!(follow.next().await.is_ok());
    drop(other);
    assert!(follow.next().await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_serves_on_many_threads_too() {
    let sim = Sim::new(Engine::current());
    let web = sim.container("web").run();
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let follow = get(&sim, "/containers/web/logs?stdout=1&follow=1").await;
        readers.spawn(async { follow.whole().await.0.len() });
    }
    for _ in 0..1_000 {
        web.stdout("line\n");
    }
    web.exit(0);
    assert_eq!(readers.join_all().await, [13_000; 8]);
}

#[tokio::test(start_paused = true)]
async fn a_doubled_slash_is_answered_with_the_clean_path() {
    let sim = Sim::new(Engine::current());
    sim.container("web").run();
    for target in ["/containers//web/json?a=1", "/containers/%2Fweb/json?a=1"] {
        let moved = get(&sim, target).await;
        assert_eq!(moved.status, 301);
        assert_eq!(moved.headers["location"], "/containers/web/json?a=1");
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_below_api_1_24_is_plain_text() {
    let sim = Sim::new(Engine::docker_20_10());
    let refused = async |target: &str| {
        let response = get(&sim, target).await;
        let kind = response.headers["content-type"].clone();
        (response.status, kind)
    };
    let (status, kind) = refused("/v1.23/containers/unknown/json").await;
    assert_eq!(
        (status.as_u16(), kind.to_str().unwrap()),
        (404, "text/plain; charset=utf-8")
    );
    assert_eq!(
        refused("/v1.11/version").await.1,
        "text/plain; charset=utf-8"
    );
    assert_eq!(
        refused("/v1.24/containers/unknown/json").await.1,
        "application/json"
    );
}

#[tokio::test(start_paused = true)]
async fn only_who_accepts_the_version_tells_that_it_is_not_experimental() {
    let sim = Sim::new(Engine::docker_20_10());
    let taken = get(&sim, "/v1.41/containers/unknown/json").await;
    assert_eq!(taken.headers["docker-experimental"], "false");
    let refused = get(&sim, "/v1.42/containers/unknown/json").await;
    assert!(!refused.headers.contains_key("docker-experimental"));
    assert_eq!(refused.headers["api-version"], "1.41");
    let nowhere = get(&sim, "/v1.42/unknown").await;
    assert_eq!(nowhere.status, 404);
    assert!(!nowhere.headers.contains_key("api-version"));
}
