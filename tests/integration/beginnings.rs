//! Cursors given out before anything was stored: what was deleted since is told, and nothing else.

use pulsetail::proto::GapCause;
use pulsetail_sim::{Driver, Engine};

use crate::harness::{Server, engine_of, followed};
use crate::resume::resuming;
use crate::subscriber::Subscriber;

/// A resume from a cursor of an empty log, behind so many lines.
async fn behind(driver: Driver, lines: usize) -> Subscriber {
    let sim = engine_of(Engine::current());
    let web = sim.container("web").driver(driver).run();
    let server = Server::start(&sim).await;
    let mut early = server.open(followed("web")).await;
    early.caught_up().await;
    let cursors = early.cursors();
    drop(early);
    (0..lines).for_each(|n| web.stdout(format!("{n:0100}\n")));
    let rest = server.read(resuming(cursors)).await;
    assert_eq!(rest.lines().len(), web.records().len());
    server.stop().await;
    rest
}

#[tokio::test]
async fn a_cursor_of_an_empty_log_tells_of_what_was_deleted_since() {
    let driver = || Driver::json_file().max_size(20_000).max_file(4);
    let rest = behind(driver(), 2_000).await;
    assert!(rest.lines().len() < 2_000, "void: nothing was deleted");
    let gaps = rest.gaps();
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    assert_eq!(gaps[0].cause(), GapCause::RotatedOut);
    assert!(!gaps[0].certain && gaps[0].after_time.is_none());

    let rest = behind(driver(), 20).await;
    assert_eq!((rest.lines().len(), rest.gaps().len()), (20, 0));
    let rest = behind(Driver::json_file(), 500).await;
    assert_eq!((rest.lines().len(), rest.gaps().len()), (500, 0));
}
