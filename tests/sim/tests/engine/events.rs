//! The events of a life, their replay, and their form.

use std::time::Duration;

use pulsetail_sim::{Ending, Endpoint, Engine, Fault, Sim};
use serde_json::Value;

use crate::client::{End, Response, get, json};

const CONTAINERS: &str = "filters=%7B%22type%22%3A%5B%22container%22%5D%7D";

async fn event(feed: &mut Response) -> Value {
    serde_json::from_str(&feed.text().await).expect("an event is JSON")
}

/// What was replayed of all that happened until now.
async fn past(sim: &Sim, query: &str) -> Vec<Value> {
    let until = sim.now();
    let target = format!(
        "/events?until={}.{:09}&{query}",
        until.secs(),
        until.nanos() % 1_000_000_000
    );
    let (body, end) = get(sim, &target).await.whole().await;
    assert_eq!(end, End::Clean);
    let text = String::from_utf8(body).expect("events are text");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("an event is JSON"))
        .collect()
}

fn actions(events: &[Value]) -> String {
    let actions: Vec<_> = events
        .iter()
        .map(|event| event["Action"].as_str().expect("an event has an action"))
        .collect();
    actions.join(" ")
}

#[tokio::test(start_paused = true)]
async fn a_life_has_its_events_in_the_measured_order() {
    let sim = Sim::new(Engine::current());
    let web = sim.container("web").run();
    web.pause();
    web.unpause();
    web.rename("shop");
    web.restart();
    web.exit(7);
    web.remove();
    let events = past(&sim, "since=1").await;
    let expected = "create start pause unpause rename kill die stop start restart die destroy";
    assert_eq!(actions(&events), expected);
    assert_eq!(events[4]["Actor"]["Attributes"]["oldName"], "/web");
    assert_eq!(events[4]["Actor"]["Attributes"]["name"], "shop");
    assert_eq!(events[5]["Actor"]["Attributes"]["signal"], "15");
    assert_eq!(events[10]["Actor"]["Attributes"]["exitCode"], "7");
    assert_eq!(events[10]["Actor"]["Attributes"]["execDuration"], "0");
}

#[tokio::test(start_paused = true)]
async fn removing_a_running_container_kills_it_first() {
    let sim = Sim::new(Engine::current());
    sim.container("web").run().remove();
    sim.container("job").auto_remove().run().stop();
    let events = past(&sim, "since=1").await;
    assert_eq!(
        actions(&events),
        "create start kill die destroy create start kill die stop destroy"
    );
    assert_eq!(
        json(&sim, "/containers/json?all=1").await,
        Value::Array(Vec::new())
    );
}

#[tokio::test(start_paused = true)]
async fn a_step_that_does_not_apply_has_no_event() {
    let sim = Sim::new(Engine::current());
    let dead = sim.container("dead").create();
    dead.mark_dead();
    dead.restart();
    dead.rename("dead");
    let web = sim.container("web").create();
    web.exit(0);
    web.stop();
    web.pause();
    web.start();
    web.start();
    assert_eq!(actions(&past(&sim, "since=1").await), "create create start");
}

#[tokio::test(start_paused = true)]
async fn follow_streams_end_before_the_event_of_the_death() {
    let sim = Sim::new(Engine::current());
    let web = sim.container("web").run();
    let mut follow = get(&sim, "/containers/web/logs?stdout=1&follow=1").await;
    let mut feed = get(&sim, "/events").await;
    let (arrived, mut arrivals) = tokio::sync::mpsc::unbounded_channel();
    let mut readers = tokio::task::JoinSet::new();
    let first = arrived.clone();
    readers.spawn(async move {
        first
            .send(event(&mut feed).await["Action"].to_string())
            .unwrap();
    });
    readers.spawn(async move { arrived.send(format!("{:?}", follow.next().await)).unwrap() });
    tokio::time::sleep(Duration::from_secs(1)).await;
    web.exit(0);
    assert_eq!(arrivals.recv().await.unwrap(), "Err(Clean)");
    assert_eq!(arrivals.recv().await.unwrap(), "\"die\"");
}

#[tokio::test(start_paused = true)]
async fn events_lose_their_legacy_fields_at_api_1_52() {
    let sim = Sim::new(Engine::docker_29());
    let mut old = get(&sim, "/v1.51/events").await;
    let mut new = get(&sim, "/v1.52/events").await;
    let web = sim
        .container("web")
        .image("nginx")
        .label("app", "shop")
        .create();
    let (old, new) = (event(&mut old).await, event(&mut new).await);
    assert_eq!(
        (&old["status"], &old["id"], &old["from"]),
        (&"create".into(), &web.id().into(), &"nginx".into())
    );
    assert_eq!(
        (&new["status"], &new["id"], &new["from"]),
        (&Value::Null, &Value::Null, &Value::Null)
    );
    for event in [old, new] {
        assert_eq!(
            (&event["Type"], &event["scope"]),
            (&"container".into(), &"local".into())
        );
        assert_eq!(event["Actor"]["ID"], web.id());
        assert_eq!(event["Actor"]["Attributes"]["app"], "shop");
        assert_eq!(
            event["time"].as_i64().unwrap(),
            event["timeNano"].as_i64().unwrap() / 1_000_000_000
        );
    }
}

#[tokio::test(start_paused = true)]
async fn filters_choose_types_actions_and_containers() {
    let sim = Sim::new(Engine::current());
    sim.emit("image", "pull", "nginx");
    sim.container("web").run().emit("exec_start: sh");
    sim.container("job").create();
    assert_eq!(past(&sim, "since=1").await.len(), 5);
    assert_eq!(
        actions(&past(&sim, &format!("since=1&{CONTAINERS}")).await),
        "create start exec_start: sh create"
    );
    let chosen = past(
        &sim,
        "since=1&filters=%7B%22event%22%3A%7B%22create%22%3Atrue%7D%7D",
    )
    .await;
    assert_eq!(actions(&chosen), "create create");
    let chosen = past(
        &sim,
        "since=1&filters=%7B%22container%22%3A%5B%22job%22%5D%7D",
    )
    .await;
    assert_eq!(actions(&chosen), "create");
    let unknown = get(&sim, "/events?filters=%7B%22colour%22%3A%5B%22red%22%5D%7D").await;
    assert_eq!(unknown.status, 400);
}

#[tokio::test(start_paused = true)]
async fn the_last_256_events_of_all_types_are_replayed() {
    let sim = Sim::new(Engine::current());
    let web = sim.container("web").run();
    for _ in 0..280 {
        web.emit("health_status: healthy");
    }
    assert_eq!(past(&sim, "since=1").await.len(), 256);
    assert_eq!(past(&sim, "").await.len(), 256);
}

#[tokio::test(start_paused = true)]
async fn a_feed_without_times_has_only_what_is_new_and_since_is_inclusive() {
    let sim = Sim::new(Engine::current());
    let web = sim.container("web").run();
    let mut feed = get(&sim, &format!("/events?{CONTAINERS}")).await;
    web.pause();
    let paused = event(&mut feed).await;
    assert_eq!(paused["Action"], "pause");
    let nanos = paused["timeNano"].as_i64().unwrap();
    let since = format!(
        "since={}.{:09}",
        nanos / 1_000_000_000,
        nanos % 1_000_000_000
    );
    assert_eq!(actions(&past(&sim, &since).await), "pause");
    let mut replayed = get(&sim, &format!("/events?{since}")).await;
    web.unpause();
    assert_eq!(event(&mut replayed).await["Action"], "pause");
    assert_eq!(event(&mut replayed).await["Action"], "unpause");
}

#[tokio::test(start_paused = true)]
async fn a_replay_stops_at_the_first_older_stamp() {
    let sim = Sim::new(Engine::current());
    let web = sim.container("web").run();
    let since = sim.now().secs() - 60;
    sim.step_clock_back(Duration::from_secs(3600));
    web.pause();
    sim.step_clock_forward(Duration::from_secs(3600));
    web.unpause();
    assert_eq!(
        actions(&past(&sim, &format!("since={since}")).await),
        "unpause"
    );
}

#[tokio::test(start_paused = true)]
async fn a_feed_ends_at_until() {
    let sim = Sim::new(Engine::current());
    let until = sim.now().secs() + 30;
    let mut feed = get(&sim, &format!("/events?until={until}")).await;
    let started = tokio::time::Instant::now();
    assert_eq!(feed.next().await, Err(End::Clean));
    assert!(started.elapsed() >= Duration::from_secs(29));
}

#[tokio::test(start_paused = true)]
async fn events_can_be_dropped_repeated_and_cut() {
    let sim = Sim::new(Engine::current());
    let web = sim.container("web").run();
    let mut feed = get(&sim, "/events").await;
    sim.fault(Fault::skip(1).on(Endpoint::Events));
    web.pause();
    web.unpause();
    assert_eq!(event(&mut feed).await["Action"], "unpause");
    sim.fault(Fault::repeat(1).on(Endpoint::Events));
    assert_eq!(event(&mut feed).await["Action"], "unpause");
    sim.fault(Fault::end(Ending::Torn).on(Endpoint::Events));
    assert_eq!(feed.next().await, Err(End::Torn));
    assert_eq!(sim.stats().faults, 3);
}

#[tokio::test(start_paused = true)]
async fn events_are_lines_of_json_from_api_1_52_and_a_bad_time_is_refused_like_that_of_a_log() {
    for (engine, kind, status) in [
        (Engine::docker_20_10(), "application/json", 500),
        (Engine::docker_28(), "application/json", 400),
        (Engine::current(), "application/jsonl", 400),
    ] {
        let sim = Sim::new(engine);
        let feed = get(&sim, "/events?since=1&until=2").await;
        assert_eq!(feed.headers["content-type"], kind);
        assert_eq!(get(&sim, "/events?since=now").await.status, status);
    }
}

#[tokio::test(start_paused = true)]
async fn a_since_of_zero_replays_and_deaths_tell_their_duration_from_24() {
    let sim = Sim::new(Engine::docker_20_10());
    sim.container("web").run().exit(0);
    let events = past(&sim, "since=0").await;
    assert_eq!(actions(&events), "create start die");
    let attributes = events[2]["Actor"]["Attributes"].as_object().unwrap();
    assert!(!attributes.contains_key("execDuration"));
}
