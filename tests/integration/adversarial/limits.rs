//! Cases 30 and 31: what a client forgot, and what nobody can know.

use pulsetail_sim::Driver;

use super::{assert_exact, write_until_rotated};
use crate::harness::{Server, all, engine, stored, write};
use crate::resume::resuming;
use crate::subscriber::{Subscriber, cursors_after, lines_of};

#[tokio::test]
async fn case_30_a_crash_between_acknowledging_and_persisting() {
    let sim = engine();
    let web = sim.container("web").run();
    let server = Server::start(&sim).await;
    let mut first = server.open(all("web")).await;
    for n in 0..20 {
        write(&web, n..n + 1);
        first.entries(n + 1).await;
    }
    // The client had handled all of it when both died; its disk is older.
    let persisted: Vec<_> = [1, 7, 15]
        .map(|at| (at, cursors_after(&first.events[..at])))
        .into();
    drop(first);
    drop(server);
    write(&web, 20..25);
    let server = Server::start(&sim).await;
    for (at, cursors) in persisted {
        let again: Subscriber = server.read(resuming(cursors)).await;
        let handled = again.lines().len();
        // `at` messages were `opened` and perhaps `caught_up`, then a line each.
        assert!(handled >= 25 - at && handled <= 25, "{handled}");
        let lines = lines_of(&web);
        assert_eq!(again.lines(), lines[25 - handled..], "behind message {at}");
        assert!(again.gaps().is_empty());
    }
    server.stop().await;
}

#[tokio::test]
async fn case_31_lines_that_a_non_blocking_driver_dropped_are_not_claimed_to_be_known() {
    let sim = engine();
    let driver = Driver::json_file().max_size(5_000).max_file(50);
    let web = sim.container("web").driver(driver).run();
    let server = Server::start_with(&sim, &["--rotation=100ms"]).await;
    let mut subscriber = server.open(all("web")).await;
    let (mut written, mut lost) = (0, 0);
    for _ in 0..10 {
        write(&web, written..written + 20);
        web.lose(50);
        write(&web, written + 20..written + 70);
        (written, lost) = (written + 70, lost + 50);
        written = write_until_rotated(&server, &web, written).await;
        subscriber.entries(written - lost).await;
    }
    // Nothing says that five hundred lines were written which nobody will see.
    assert_exact(&subscriber, &web);
    assert_exact(&server.read(stored("web")).await, &web);
    server.stop().await;
}
