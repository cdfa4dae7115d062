//! What engines tell of themselves and their containers, under every version of the API.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::http::{Answer, End};
use super::logs::Script;
use super::{Pair, differences};

const PREFIXES: [&str; 18] = [
    "", "/v1.11", "/v1.12", "/v1.23", "/v1.24", "/v1.39", "/v1.40", "/v1.41", "/v1.42", "/v1.43",
    "/v1.44", "/v1.51", "/v1.52", "/v1.55", "/v1.99", "/v1.9", "/v2.0", "/v0.9",
];

/// Where nothing is, whatever the version; below 1.24 the engines differ in how they say so.
const NOWHERE: [&str; 10] = [
    "/",
    "/unknown",
    "/v1.24/unknown",
    "/v1.41/unknown",
    "/v1.99/unknown",
    "/containers/json-file/json",
    "/containers/a/b/json",
    "/containers//json",
    "/containers//json-file-both/json",
    "/v1.41/containers/%2Fjson-file-both/logs?stdout=1",
];

const TARGETS: [&str; 13] = [
    "/_ping",
    "/version",
    "/containers/json",
    "/containers/json?all=1",
    "/containers/json-file-both/json",
    "/containers/unknown/json",
    "/containers/local-both/logs?stdout=1",
    "/containers/local-tty/logs?stdout=1",
    "/events?since=0&until=1",
    "/events?since=-1&until=0",
    "/events?since=1&until=2",
    "/events?since=now&until=2",
    "/events?since=2&until=1",
];

#[tokio::test]
async fn every_version_of_the_api_is_taken_or_refused_alike() {
    let mut found = Vec::new();
    for pair in Pair::all() {
        let versions = PREFIXES
            .iter()
            .flat_map(|prefix| TARGETS.map(|target| format!("{prefix}{target}")));
        for target in versions.chain(NOWHERE.map(str::to_owned)) {
            let [real, simulated] = pair.ask(&target).await.unwrap();
            found.extend(pair.difference(&target, &head(&real), &head(&simulated)));
        }
    }
    assert!(found.is_empty(), "{}", differences(&found));
}

#[tokio::test]
async fn every_container_is_described_alike() {
    let mut found = Vec::new();
    for pair in Pair::all() {
        for script in Script::all() {
            let target = format!("/containers/{}/json", script.name);
            let [real, simulated] = pair
                .ask(&target)
                .await
                .unwrap()
                .map(|answer| fields(&document(&answer), &INSPECTED));
            found.extend(pair.difference(&target, &real, &simulated));
        }
        for target in [
            "/containers/json",
            "/containers/json?all=1",
            "/containers/json?all=0",
            "/v1.41/containers/json?all=true",
        ] {
            let [real, simulated] = pair
                .ask(target)
                .await
                .unwrap()
                .map(|answer| listed(&document(&answer)));
            found.extend(pair.difference(target, &real, &simulated));
        }
    }
    assert!(found.is_empty(), "{}", differences(&found));
}

#[tokio::test]
async fn the_engine_describes_itself_alike() {
    let mut found = Vec::new();
    for pair in Pair::all() {
        let [real, simulated] = pair
            .ask("/version")
            .await
            .unwrap()
            .map(|answer| fields(&document(&answer), &VERSION));
        found.extend(pair.difference("/version", &real, &simulated));
        let [real, simulated] = pair.ask("/_ping").await.unwrap().map(|answer| answer.body);
        found.extend(pair.difference("/_ping", &real, &simulated));
    }
    assert!(found.is_empty(), "{}", differences(&found));
}

const INSPECTED: [&str; 20] = [
    "/Id",
    "/Name",
    "/Created",
    "/Image",
    "/RestartCount",
    "/State/Status",
    "/State/Running",
    "/State/Paused",
    "/State/Restarting",
    "/State/Dead",
    "/State/OOMKilled",
    "/State/Pid",
    "/State/ExitCode",
    "/State/Error",
    "/State/StartedAt",
    "/State/FinishedAt",
    "/Config/Tty",
    "/Config/Image",
    "/Config/Labels",
    "/HostConfig",
];

const LISTED: [&str; 8] = [
    "/Id", "/Names", "/Image", "/ImageID", "/Created", "/Labels", "/State", "/Status",
];

const VERSION: [&str; 11] = [
    "/ApiVersion",
    "/MinAPIVersion",
    "/Os",
    "/Arch",
    "/Version",
    "/Platform",
    "/Components/0/Name",
    "/Components/0/Version",
    "/Components/0/Details/ApiVersion",
    "/Components/0/Details/MinAPIVersion",
    "/Components/0/Details/Os",
];

fn document(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_default()
}

/// Those of the table, by name: other tests' containers come and go.
fn listed(list: &Value) -> Vec<Vec<(&'static str, Value)>> {
    let names = Script::all().into_iter().map(|script| script.name);
    let names: BTreeSet<_> = names.collect();
    let is_known = |container: &&Value| {
        let name = container["Labels"]["script"].as_str();
        name.is_some_and(|name| names.contains(name))
    };
    let containers = list.as_array().into_iter().flatten();
    let mut known: Vec<_> = containers.filter(is_known).collect();
    known.sort_by_key(|container| container["Names"].to_string());
    known
        .into_iter()
        .map(|container| fields(container, &LISTED))
        .collect()
}

fn fields(document: &Value, paths: &[&'static str]) -> Vec<(&'static str, Value)> {
    let field = |path: &&'static str| Some((*path, form(path, document.pointer(path)?)));
    paths.iter().filter_map(field).collect()
}

/// What two values have in common that stand for the same in two engines.
fn form(path: &str, value: &Value) -> Value {
    let text = value.as_str().unwrap_or_default();
    let is_id =
        |text: &str| text.len() == 64 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    match path {
        "/Id" if is_id(text) => "an id".into(),
        "/Image" | "/ImageID" if text.strip_prefix("sha256:").is_some_and(is_id) => {
            "an image id".into()
        }
        "/Created" if value.is_u64() => "seconds".into(),
        "/Created" | "/State/StartedAt" | "/State/FinishedAt" if !text.starts_with("0001") => {
            time(text).into()
        }
        "/Status" => text.split_inclusive(')').next().into(),
        "/Version" | "/Components/0/Version" => (!text.is_empty()).into(),
        "/Platform" => value["Name"].is_string().into(),
        "/HostConfig" => json!([value["LogConfig"], value["AutoRemove"]]),
        _ => value.clone(),
    }
}

/// The form of a time. The real engines leave out the zeros at the end of its fraction.
fn time(text: &str) -> String {
    let whole = text.trim_end_matches('Z').split('.').next();
    let whole = whole.unwrap_or_default().chars();
    whole
        .map(|digit| if digit.is_ascii_digit() { '0' } else { digit })
        .collect()
}

/// Everything but the body, of which only the form of a refusal counts.
fn head(answer: &Answer) -> (u16, Vec<Option<&str>>, End, bool) {
    let header = |name| answer.headers.get(name)?.to_str().ok()?.split('/').next();
    let names = ["server", "api-version", "docker-experimental", "ostype"];
    let document = serde_json::from_slice::<Value>(&answer.body);
    let told = document.is_ok_and(|document| document["message"].is_string());
    let content_type = answer
        .headers
        .get("content-type")
        .and_then(|value| value.to_str().ok());
    let headers = names.map(header).into_iter().chain([content_type]);
    (answer.status, headers.collect(), answer.end, told)
}
