//! Selectors choose by every group of the contract, and stay alive: containers join and leave as they come to match.

mod churn;
mod limits;
mod resuming;

use pulsetail::proto::{
    ContainerChange, ContainerChangeKind as Change, Selector, StreamLogsRequest,
    stream_logs_response::Event,
};
use pulsetail_sim::{Container, NewContainer, Sim};

use crate::harness::{Server, engine};
use crate::requests::{refusal, told};
use crate::subscriber::Subscriber;

/// A request for whatever a selector chooses, from now on.
pub(super) fn following(selector: Selector) -> StreamLogsRequest {
    StreamLogsRequest {
        selector: Some(selector),
        follow: true,
        ..StreamLogsRequest::default()
    }
}

/// Every container.
pub(super) fn every() -> Selector {
    Selector {
        all: true,
        ..Selector::default()
    }
}

pub(super) fn named(names: &[&str]) -> Selector {
    Selector {
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        ..Selector::default()
    }
}

/// The changes of one container, in order.
pub(super) fn changes_of<'a>(heard: &'a Subscriber, id: &str) -> Vec<&'a ContainerChange> {
    let changes = heard.events.iter().filter_map(|event| match event {
        Event::ContainerChange(change) => Some(change),
        _ => None,
    });
    let of = |change: &&ContainerChange| change.container.as_ref().is_some_and(|c| c.id == id);
    changes.filter(of).collect()
}

pub(super) fn kinds_of(heard: &Subscriber, id: &str) -> Vec<Change> {
    let changes = changes_of(heard, id);
    changes.iter().map(|change| change.kind()).collect()
}

/// Reads to the end of a stream that cannot tell what came and went.
pub(super) async fn knows_no_further(heard: &mut Subscriber) {
    let status = heard.end().await.expect_err("it knows no further");
    assert_eq!(told(&status).1, "SLOW_CONSUMER");
    let closing = heard.closing();
    assert!(closing.message.contains("came and went"), "{closing:?}");
}

/// Reads until a container has changed in this way.
pub(super) async fn until_changed(heard: &mut Subscriber, container: &Container, kind: Change) {
    let id = container.id().to_owned();
    heard
        .until(|heard| kinds_of(heard, &id).contains(&kind))
        .await;
}

/// Names of the members that a stream was opened with.
fn members(heard: &Subscriber) -> Vec<String> {
    let members = heard.first().members.iter();
    let mut names: Vec<_> = members
        .map(|member| member.container.clone().unwrap_or_default().name)
        .collect();
    names.sort();
    names
}

fn composed(sim: &Sim, name: &str, project: &str, service: &str) -> NewContainer {
    let container = sim.container(name).image(format!("{service}:1"));
    let container = container.label("com.docker.compose.project", project);
    container.label("com.docker.compose.service", service)
}

fn of_labels(set: impl FnOnce(&mut Selector)) -> Selector {
    let mut selector = Selector::default();
    set(&mut selector);
    selector
}

/// Selectors, whom they choose at first, and whether they choose a late one.
fn choices() -> Vec<(Selector, &'static [&'static str], bool)> {
    let [db, web, old] = ["shop-db-1", "shop-web-1", "shop-old-1"];
    let shop = of_labels(|s| s.compose_project = "shop".into());
    let with_stopped = Selector {
        include_stopped: true,
        ..shop.clone()
    };
    let without_db = Selector {
        exclude: vec!["*-db-*".into()],
        ..every()
    };
    let labelled = of_labels(|s| s.labels = [("keep".into(), "no".into())].into());
    let of_services = of_labels(|s| s.compose_services = vec!["web".into()]);
    vec![
        (shop, &["shop-db-1", "shop-web-1"], true),
        (
            with_stopped,
            &["shop-db-1", "shop-old-1", "shop-web-1"],
            true,
        ),
        (of_services, &["blog-web-1", "shop-web-1"], false),
        (
            of_labels(|s| s.images = vec!["db:*".into()]),
            &["shop-db-1"],
            true,
        ),
        (labelled, &["shop-db-1"], true),
        (without_db, &["blog-web-1", "shop-web-1"], false),
        (
            named(&["shop-*", "blog-web-1"]),
            &["blog-web-1", "shop-db-1", "shop-web-1"],
            true,
        ),
        (named(&[old]), &["shop-old-1"], false),
        (named(&[db, web]), &["shop-db-1", "shop-web-1"], false),
    ]
}

#[tokio::test]
async fn each_group_chooses_at_the_opening_and_later() {
    let sim = engine();
    composed(&sim, "shop-web-1", "shop", "web").run();
    let db = |name| composed(&sim, name, "shop", "db").label("keep", "no");
    db("shop-db-1").run();
    composed(&sim, "blog-web-1", "blog", "web").run();
    composed(&sim, "shop-old-1", "shop", "web").create();
    let server = Server::start(&sim).await;
    let mut streams = Vec::new();
    for (selector, expected, chooses_late) in choices() {
        let heard = server.open(following(selector.clone())).await;
        assert_eq!(members(&heard), expected, "{selector:?}");
        streams.push((heard, chooses_late));
    }
    let late = db("shop-db-2").run();
    late.stdout("late\n");
    for (nth, (heard, chooses_late)) in streams.iter_mut().enumerate() {
        if *chooses_late {
            heard.entries(1).await;
            assert_eq!(heard.texts_of("shop-db-2"), ["late"], "selector {nth}");
        }
        let kinds = kinds_of(heard, late.id());
        let joins = chooses_late.then_some(Change::Joined);
        assert_eq!(
            kinds,
            joins.into_iter().collect::<Vec<_>>(),
            "selector {nth}"
        );
    }
    server.stop().await;
}

#[tokio::test]
async fn a_joined_container_has_its_cursor_before_its_first_line() {
    let sim = engine();
    let server = Server::start(&sim).await;
    let mut heard = server.open(following(every())).await;
    heard.caught_up().await;
    assert!(heard.first().members.is_empty());
    let web = composed(&sim, "web", "shop", "web").run();
    web.stdout("one\n");
    heard.entries(1).await;
    let joined = changes_of(&heard, web.id())[0];
    let member = joined.member.as_ref().expect("set for JOINED");
    assert_eq!(
        (joined.kind(), &member.cursor),
        (Change::Joined, &joined.cursor)
    );
    assert!(member.running && !member.cursor.is_empty() && joined.time.is_some());
    assert_eq!(
        (&*member.compose_project, &*member.compose_service),
        ("shop", "web")
    );
    let cursors = vec![member.cursor.clone()];
    web.exit(3);
    until_changed(&mut heard, &web, Change::Exited).await;
    web.remove();
    until_changed(&mut heard, &web, Change::Removed).await;
    let kinds = [Change::Joined, Change::Exited, Change::Removed];
    assert_eq!(kinds_of(&heard, web.id()), kinds);
    let removed = changes_of(&heard, web.id())[2];
    assert!(removed.cursor.is_empty() && removed.time.is_some());
    assert!(heard.gaps().is_empty(), "{:?}", heard.gaps());
    // What a client keeps of it is no cursor of anything any more.
    let resumed = server.read(StreamLogsRequest {
        cursors: cursors.clone(),
        ..Default::default()
    });
    assert_eq!(resumed.await.first().unmatched, cursors);
    server.stop().await;
}

#[tokio::test]
async fn exact_names_must_be_there_unless_they_are_awaited() {
    let sim = engine();
    sim.container("web").run();
    let server = Server::start(&sim).await;
    let status = refusal(&server, following(named(&["web", "api"]))).await;
    assert_eq!(told(&status).1, "CONTAINER_NOT_FOUND");
    let awaited = Selector {
        allow_missing: true,
        ..named(&["api", "w*", "x*"])
    };
    let read = StreamLogsRequest {
        follow: false,
        ..following(awaited.clone())
    };
    let read = server.read(read).await;
    assert_eq!(read.first().unmatched, ["api", "x*"]);
    let until_exit = StreamLogsRequest {
        until_exit: true,
        ..following(Selector {
            names: vec!["api".into()],
            ..awaited
        })
    };
    let mut heard = server.open(until_exit).await;
    assert_eq!(heard.first().unmatched, ["api"]);
    let api = sim.container("api").run();
    api.stdout("one\n");
    api.exit(0);
    heard.end().await.expect("it has come and gone");
    assert_eq!(heard.texts(), ["one"]);
    server.stop().await;
}

#[tokio::test]
async fn a_new_name_is_told_and_one_that_matches_no_more_ends_a_membership() {
    let sim = engine();
    let [web, other] = ["web-1", "web-2"].map(|name| sim.container(name).run());
    let server = Server::start(&sim).await;
    let mut heard = server.open(following(named(&["web-*"]))).await;
    web.stdout("one\n");
    heard.entries(1).await;
    web.rename("web-9");
    until_changed(&mut heard, &web, Change::Renamed).await;
    let renamed = changes_of(&heard, web.id())[0];
    assert_eq!(renamed.container.as_ref().unwrap().name, "web-9");
    assert!(!renamed.cursor.is_empty() && renamed.time.is_some());
    web.rename("db");
    until_changed(&mut heard, &web, Change::Deselected).await;
    web.stdout("two\n");
    other.stdout("other\n");
    heard.entries(2).await;
    assert_eq!(heard.texts(), ["one", "other"]);
    web.rename("web-3");
    until_changed(&mut heard, &web, Change::Joined).await;
    web.stdout("three\n");
    heard.entries(4).await;
    assert_eq!(heard.texts(), ["one", "other", "two", "three"]);
    // What comes bears the name of its time.
    assert_eq!(heard.texts_of("web-1"), ["one"]);
    assert_eq!(heard.texts_of("web-3").last(), Some(&"three"));
    let kinds = [Change::Renamed, Change::Deselected, Change::Joined];
    assert_eq!(kinds_of(&heard, web.id()), kinds);
    assert!(heard.gaps().is_empty());
    server.stop().await;
}

#[tokio::test]
async fn one_that_left_joins_again_as_it_matches_though_it_is_over() {
    let sim = engine();
    let web = sim.container("web-1").run();
    let server = Server::start(&sim).await;
    // Of ids alone a stream ends with its containers, but not while one may come back.
    let by_id = Selector {
        exclude: vec!["db".into()],
        ..named(&[web.id()])
    };
    let mut streams = Vec::new();
    for selector in [named(&["web-*"]), by_id] {
        streams.push(server.open(following(selector)).await);
    }
    web.exit(0);
    for heard in &mut streams {
        until_changed(heard, &web, Change::Exited).await;
    }
    web.rename("db");
    for heard in &mut streams {
        until_changed(heard, &web, Change::Deselected).await;
    }
    web.rename("web-2");
    for heard in &mut streams {
        until_changed(heard, &web, Change::Joined).await;
        let kinds = [Change::Exited, Change::Deselected, Change::Joined];
        assert_eq!(kinds_of(heard, web.id()), kinds);
    }
    server.stop().await;
}
