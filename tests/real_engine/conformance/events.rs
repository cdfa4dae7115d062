//! The events of a container's life, as they happen and replayed.

use std::collections::BTreeMap;
use std::io;

use pulsetail_sim::{Sim, Timestamp};
use serde_json::Value;
use tokio::task::block_in_place;

use super::http::Address;
use super::logs::IMAGE;
use super::{Pair, differences};
use crate::engine::{Dockerd, text};

/// It ends by itself when it is told to.
const SHELL: &str = "trap 'exit 143' TERM; while :; do usleep 20000; done";
const QUERIES: [&str; 3] = [
    "/events?",
    "/v1.41/events?filters=%7B%22type%22%3A%5B%22container%22%5D%7D",
    "/v1.41/events?filters=%7B%22event%22%3A%7B%22start%22%3Atrue%2C%22die%22%3Atrue%2C%22destroy%22%3Atrue%7D%7D",
];

/// One event, without what differs by nature.
#[derive(Debug, PartialEq, Eq)]
struct Event {
    action: String,
    /// Those fields that have the same value in every engine.
    values: Vec<Value>,
    /// The names of all its fields.
    fields: Vec<String>,
    attributes: BTreeMap<String, Value>,
    /// Whether `time` and `timeNano` tell the same second.
    times_agree: bool,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_life_has_the_same_events() {
    let mut found = Vec::new();
    for pair in Pair::all() {
        let [real, simulated] = pair.addresses();
        let real = observe(&real, Timestamp::now, || live_really(&pair.real))
            .await
            .unwrap();
        let simulated = observe(&simulated, || pair.sim.now(), || live_simulated(&pair.sim))
            .await
            .unwrap();
        for ((question, real), (_, simulated)) in real.iter().zip(&simulated) {
            assert!(real.len() > 2, "{question}: {real:?}");
            found.extend(pair.difference(question, real, simulated));
        }
    }
    assert!(found.is_empty(), "{}", differences(&found));
}

/// Runs a life, and tells its events: those that were seen, then those that are replayed.
async fn observe(
    address: &Address,
    now: impl Fn() -> Timestamp,
    live: impl FnOnce() -> String,
) -> io::Result<Vec<(String, Vec<Event>)>> {
    let mut streams = Vec::new();
    for query in QUERIES {
        streams.push(address.open(query).await?);
    }
    let begin = now();
    let id = block_in_place(live);
    let end = now();
    let mut observed = Vec::new();
    let is_last = |event: &Value| event["Action"] == "destroy";
    for (stream, query) in streams.into_iter().zip(QUERIES) {
        let answer = stream.until(|body| of(body, &id).iter().any(is_last)).await;
        observed.push((
            query.to_owned(),
            of(&answer.body, &id).iter().map(Event::of).collect(),
        ));
    }
    for query in QUERIES {
        let query = format!("{query}&since={}&until={}", seconds(begin), seconds(end));
        let answer = address.get(&query).await?;
        observed.push((query, of(&answer.body, &id).iter().map(Event::of).collect()));
    }
    Ok(observed)
}

fn live_really(engine: &Dockerd) -> String {
    let id = text(&engine.docker(&[
        "create",
        "--network=none",
        "--name=life",
        "--label=of.life=yes",
        IMAGE,
        "/bin/sh",
        "-c",
        SHELL,
    ]));
    for step in [
        &["start", "life"][..],
        &["pause", "life"],
        &["unpause", "life"],
        &["rename", "life", "afterlife"],
    ] {
        engine.docker(step);
    }
    engine.docker(&["restart", "afterlife"]);
    engine.docker(&["kill", "afterlife"]);
    engine.wait("afterlife");
    engine.remove("afterlife");
    id
}

fn live_simulated(sim: &Sim) -> String {
    let life = sim
        .container("life")
        .image(IMAGE)
        .label("of.life", "yes")
        .create();
    life.start();
    life.pause();
    life.unpause();
    life.rename("afterlife");
    life.restart();
    life.kill(9);
    life.remove();
    life.id().to_owned()
}

/// The events of one container.
fn of(lines: &[u8], id: &str) -> Vec<Value> {
    let lines = lines.split(|byte| *byte == b'\n');
    let events = lines.filter_map(|line| serde_json::from_slice::<Value>(line).ok());
    let mut events: Vec<_> = events.filter(|event| event["Actor"]["ID"] == id).collect();
    // Two tasks of the engine publish these two: 20.10 was only seen to do it in this order, a current engine only in the other.
    for at in 1..events.len() {
        if events[at - 1]["Action"] == "stop" && events[at]["Action"] == "die" {
            events.swap(at - 1, at);
        }
    }
    events
}

fn seconds(time: Timestamp) -> String {
    format!("{}.{:09}", time.secs(), time.nanos() % 1_000_000_000)
}

impl Event {
    fn of(event: &Value) -> Self {
        let fields = event
            .as_object()
            .into_iter()
            .flat_map(|event| event.keys().cloned());
        let attributes = event["Actor"]["Attributes"]
            .as_object()
            .cloned()
            .unwrap_or_default();
        let attribute = |(name, value): (String, Value)| {
            let differs = name == "execDuration" && value.is_string();
            (name, if differs { "seconds".into() } else { value })
        };
        let second = event["timeNano"]
            .as_i64()
            .map(|nanos| nanos / 1_000_000_000);
        Self {
            action: event["Action"].as_str().unwrap_or_default().to_owned(),
            values: ["Type", "scope", "status", "from"]
                .map(|name| event[name].clone())
                .to_vec(),
            fields: fields.collect(),
            attributes: attributes.into_iter().map(attribute).collect(),
            times_agree: second.is_some() && second == event["time"].as_i64(),
        }
    }
}
