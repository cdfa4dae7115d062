//! Of a whole selection each container is judged, whenever it comes and goes.

use std::time::Duration;

use pulsetail_client::history::{Least, Report, Rule, Verdict};
use pulsetail_client::proto::Selector;
use pulsetail_client::verify::{Settings, run};
use pulsetail_sim::{Container, NewContainer, Sim};
use tokio::time::{sleep, timeout};

use super::liar::{Tamper, Tampering};
use super::{PATIENCE, settings, verify, writing};
use crate::harness::{Server, engine, within};

/// Containers that come and go.
const CHURN: usize = 20;

fn of_shop(sim: &Sim, name: &str) -> NewContainer {
    let container = sim.container(name).image("shop/web:1");
    container.label("com.docker.compose.project", "shop")
}

fn shop() -> Selector {
    Selector {
        compose_project: "shop".to_owned(),
        exclude: vec!["*-tmp".to_owned()],
        ..Selector::default()
    }
}

fn of_shop_all(server: String) -> Settings {
    Settings {
        selector: Some(shop()),
        ..settings(server)
    }
}

/// Some lines, a few at a time.
async fn writes(container: &Container, lines: usize) {
    for n in 0..lines {
        container.stdout(format!("out {n}\n"));
        sleep(Duration::from_millis(2)).await;
    }
}

/// Containers that come and go, each way of joining and leaving there is, until so many have.
fn churn(sim: &Sim, count: usize) -> impl Future<Output = ()> + use<> {
    let sim = sim.clone();
    async move {
        for n in 0..count {
            let name = format!("shop-{n}");
            let container = of_shop(&sim, &name).run();
            writes(&container, 10).await;
            // It leaves, and joins again.
            container.rename(format!("{name}-tmp"));
            writes(&container, 5).await;
            container.rename(&name);
            writes(&container, 5).await;
            container.exit(0);
            container.start();
            writes(&container, 5).await;
            container.exit(0);
            if n % 2 == 0 {
                container.remove();
            }
        }
    }
}

#[tokio::test]
async fn a_selection_whose_containers_come_and_go_is_valid() {
    let sim = engine();
    let stays = ["stays-1", "stays-2"].map(|name| of_shop(&sim, name).run());
    let _not_chosen = sim.container("other").run();
    let writing = stays.each_ref().map(writing);
    let server = Server::start(&sim).await;
    let settings = Settings {
        length: None,
        ..of_shop_all(server.url())
    };
    let judged = timeout(PATIENCE, run(&settings, churn(&sim, CHURN)));
    let judged = judged.await.expect("it is over in time");
    let judged = judged.expect("there is a verdict");
    // Every second one is kept, and read again.
    judged.report.assert_valid(&Least {
        entries: 25 * CHURN as u64,
        gaps: 0,
        resumes: 10,
        compared: 25 * CHURN as u64 / 2,
    });
    assert!(
        judged.cuts >= 3 && judged.containers >= CHURN / 2,
        "{judged:?}"
    );
    drop(writing);
    server.stop().await;
}

fn tells(report: &Report, rule: Rule, id: &str) -> bool {
    let mut told = report.violations.iter();
    told.any(|told| told.rule == rule && told.container == id)
}

#[tokio::test]
async fn a_lie_about_one_of_many_is_told_of_that_one() {
    let left_out = |follow, read| (Tamper::LeaveOut { follow, read }, Rule::Covered);
    let cases = [
        (Tamper::Drop, Rule::Covered),
        (Tamper::Repeat, Rule::Unique),
        left_out(true, false),
        left_out(false, true),
        left_out(true, true),
    ];
    let sim = engine();
    let [one, other] = ["one", "other"].map(|name| of_shop(&sim, name).run());
    let writing = [&one, &other].map(writing);
    let server = Server::start(&sim).await;
    for (tamper, rule) in cases {
        let liar = Tampering::about(&server, "other", tamper).await;
        let settings = of_shop_all(liar.url.clone());
        let judged = within(run(&settings, std::future::pending())).await;
        let report = judged.expect("there is a verdict").report;
        assert_eq!(report.verdict(&Least::default()), Verdict::Violated);
        assert!(tells(&report, rule, other.id()), "{tamper:?}: {report}");
        let of_one = tells(&report, rule, one.id());
        assert!(!of_one, "{tamper:?}: {report}");
    }
    drop(writing);
    server.stop().await;
}

#[tokio::test]
async fn whoever_was_chosen_by_name_and_is_removed_meanwhile_is_judged() {
    let sim = engine();
    let web = of_shop(&sim, "web").run();
    let server = Server::start(&sim).await;
    let lives = tokio::spawn(async move {
        writes(&web, 100).await;
        web.exit(0);
        web.remove();
    });
    let settings = settings(server.url());
    let judged = within(run(&settings, std::future::pending())).await;
    let report = judged.expect("there is a verdict").report;
    report.assert_valid(&Least::default());
    lives.await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn it_takes_a_selector_as_the_contract_writes_it() {
    let sim = engine();
    let web = of_shop(&sim, "web").run();
    let _not_chosen = sim.container("other").run();
    let writing = writing(&web);
    let server = Server::start(&sim).await;
    let cases = [
        (
            r#"{"composeProject":"shop","images":["shop/*"]}"#,
            0,
            "1 container,",
        ),
        (r#"{"all":true}"#, 0, "2 containers,"),
        (r#"{"names":["nobody-*"]}"#, 3, "void: 0 entries"),
        (r#"{"names":["nobody"]}"#, 2, ""),
        (r#"{}"#, 2, ""),
        (r#"{"project":"shop"}"#, 2, ""),
    ];
    let url = server.url();
    for (selector, status, words) in cases {
        let flags = ["--server", &url, "--for=1s", "--min-entries=10"];
        let output = verify(&[&flags[..], &["--selector", selector]].concat()).await;
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(status), "{selector}: {output:?}");
        assert!(told.contains(words), "{selector}: {told}");
    }
    let both = ["--selector={\"all\":true}", "--container=web", "--for=1s"];
    assert_eq!(verify(&both).await.status.code(), Some(2));
    drop(writing);
    server.stop().await;
}
