//! Containers that come and go: each end is told, and told once.

use std::time::Duration;

use pulsetail::proto::ContainerChangeKind as Change;
use pulsetail_sim::{Ending, Endpoint, Fault};
use tokio::time::sleep;

use crate::harness::{Server, engine};
use crate::selectors::{every, following, kinds_of, until_changed};

/// Its hints are still to be looked at as a list finds that it is gone.
#[tokio::test]
async fn a_container_that_a_list_finds_gone_is_told_so_once() {
    let sim = engine();
    let [web, other] = ["web", "other"].map(|name| sim.container(name).run());
    let server = Server::start(&sim).await;
    let mut heard = server.open(following(every())).await;
    heard.caught_up().await;
    // Whoever looks is held up, and events come to be missed.
    sim.fault(Fault::late_head(Duration::from_millis(500)).on(Endpoint::Inspect));
    let faults = sim.stats().faults;
    other.emit("update");
    sim.wait_until(|stats| stats.faults > faults).await;
    web.restart();
    web.remove();
    // These are heard; the list behind them comes first nevertheless.
    sleep(Duration::from_millis(100)).await;
    sim.fault(Fault::end(Ending::Clean).on(Endpoint::Events));
    other.emit("update");
    until_changed(&mut heard, &web, Change::Removed).await;
    let new = sim.container("new").run();
    new.stdout("line\n");
    heard.entries(1).await;
    let kinds = kinds_of(&heard, web.id());
    let told = |kind| kinds.iter().filter(|told| **told == kind).count();
    assert_eq!(
        (told(Change::Joined), told(Change::Removed)),
        (0, 1),
        "{kinds:?}"
    );
    server.stop().await;
}
