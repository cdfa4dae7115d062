//! From the engine's bytes to records.

use futures_util::StreamExt;
use pulsetail::docker::{Connector, ContainerId, Engine, Tail};
use tokio::runtime::Builder;

use crate::results::Results;
use crate::{LINES, Replay, STORED, blocking, cost, paced, plain};

const CASE: &str = "2M lines replayed";
/// Records taken at once, as the reader does.
const TURN: usize = 1_024;

pub(crate) fn measure(results: &mut Results) {
    let replay = Replay::new();
    replay.start();
    let costs = [
        ("source layer", cost(|| ours(&replay), LINES)),
        ("bollard alone", cost(|| theirs(&replay), LINES)),
        ("parser by hand", cost(|| by_hand(&replay), LINES)),
    ];
    for (subject, (all, user)) in costs {
        results.put(CASE, subject, "ns/line", all);
        results.put(CASE, subject, "user ns/line", user);
    }
}

fn ours(replay: &Replay) {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let engine = Engine::new(Connector::Unix(replay.socket())).unwrap();
        let id = ContainerId::parse(&paced::id(0)).unwrap();
        let mut chunks = std::pin::pin!(engine.follow(&id, false, Tail::All).chunks(TURN));
        let mut seen = 0;
        while seen < LINES + STORED {
            let chunk = chunks.next().await.unwrap();
            seen += chunk
                .records()
                .map(|record| assert!(record.is_ok()))
                .count() as u64;
        }
    });
}

fn theirs(replay: &Replay) {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let docker = plain::docker(&replay.socket());
        let lines = plain::follow(&docker, &paced::id(0), "all");
        let lines = lines.take(usize::try_from(LINES + STORED).unwrap());
        assert_eq!(lines.count().await as u64, LINES + STORED);
    });
}

fn by_hand(replay: &Replay) {
    let mut seen = 0;
    let each = |_: u64, _: &[u8]| {
        seen += 1;
        seen < LINES + STORED
    };
    blocking::follow(&replay.socket(), &paced::id(0), "all", each).unwrap();
    assert_eq!(seen, LINES + STORED);
}
