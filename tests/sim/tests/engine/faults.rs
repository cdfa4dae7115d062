//! Everything that can be made to go wrong.

use std::time::Duration;

use pulsetail_sim::{Container, Driver, Ending, Endpoint, Engine, Fault, Sim};
use tokio::time::{Instant, timeout};

use crate::client::{End, frames, get, lines, request};

const FOLLOW: &str = "/containers/web/logs?stdout=1&follow=1";
const SNAPSHOT: &str = "/containers/web/logs?stdout=1";
const MINUTE: Duration = Duration::from_secs(60);

fn running() -> (Sim, Container) {
    let sim = Sim::new(Engine::current());
    let web = sim.container("web").run();
    web.stdout("1\n2\n3\n4\n");
    (sim, web)
}

/// The digits that a request returned, whatever its end.
async fn digits(sim: &Sim, target: &str) -> (String, End) {
    let (body, end) = get(sim, target).await.whole().await;
    let digit = |(_, payload): (u8, Vec<u8>)| char::from(payload[0]);
    (frames(&body).into_iter().map(digit).collect(), end)
}

#[tokio::test(start_paused = true)]
async fn a_head_can_be_withheld_late_refused_or_replaced_by_a_hang_up() {
    let (sim, web) = running();
    web.fault(Fault::no_head());
    assert!(timeout(MINUTE, get(&sim, SNAPSHOT)).await.is_err());
    web.fault(Fault::late_head(MINUTE));
    let started = Instant::now();
    assert_eq!(get(&sim, SNAPSHOT).await.status, 200);
    assert_eq!(started.elapsed(), MINUTE);
    web.fault(Fault::refuse(503, "too busy"));
    let refused = get(&sim, SNAPSHOT).await;
    assert_eq!(refused.status, 503);
    assert_eq!(refused.json().await["message"], "too busy");
    web.fault(Fault::hang_up());
    assert!(request(&sim, "GET", SNAPSHOT).await.is_err());
    assert_eq!(
        digits(&sim, SNAPSHOT).await,
        ("1234".to_owned(), End::Clean)
    );
}

#[tokio::test(start_paused = true)]
async fn a_fault_strikes_once_and_a_sticky_one_until_it_is_cleared() {
    let sim = Sim::new(Engine::current());
    sim.fault(Fault::refuse(500, "no").on(Endpoint::Ping).sticky());
    sim.fault(Fault::refuse(502, "once"));
    assert_eq!(get(&sim, "/info").await.status, 502);
    for _ in 0..2 {
        assert_eq!(get(&sim, "/info").await.status, 200);
        assert_eq!(get(&sim, "/_ping").await.status, 500);
    }
    sim.clear_faults();
    assert_eq!(get(&sim, "/_ping").await.status, 200);
    assert_eq!(sim.stats().faults, 3);
}

#[tokio::test(start_paused = true)]
async fn a_containers_fault_spares_other_containers_and_other_kinds_of_reads() {
    let (sim, web) = running();
    sim.container("job").run().stdout("j\n");
    web.fault(Fault::end(Ending::Clean).on_follow());
    assert_eq!(lines(&sim, "job", "stdout=1").await, ["j\n"]);
    assert_eq!(digits(&sim, SNAPSHOT).await.0, "1234");
    assert_eq!(digits(&sim, FOLLOW).await, (String::new(), End::Clean));
    web.fault(Fault::end(Ending::Clean).on_snapshot());
    let mut follow = get(&sim, FOLLOW).await;
    assert!(follow.next().await.is_ok());
    assert_eq!(digits(&sim, SNAPSHOT).await.0, "");
}

#[tokio::test(start_paused = true)]
async fn a_stream_can_stall_behind_the_head_or_after_some_records() {
    let (sim, web) = running();
    web.fault(Fault::stall());
    assert!(get(&sim, FOLLOW).await.is_silent().await);
    web.fault(Fault::stall().after(2));
    let mut follow = get(&sim, FOLLOW).await;
    assert!(follow.next().await.is_ok() && follow.next().await.is_ok());
    assert!(follow.is_silent().await);
}

#[tokio::test(start_paused = true)]
async fn a_fault_strikes_a_stream_that_is_open_already() {
    let (sim, web) = running();
    let mut follow = get(&sim, "/containers/web/logs?stdout=1&follow=1&tail=0").await;
    assert!(follow.is_silent().await);
    web.fault(Fault::end(Ending::Torn));
    assert_eq!(follow.next().await, Err(End::Torn));
}

#[tokio::test(start_paused = true)]
async fn a_pause_ends_by_itself() {
    let (sim, web) = running();
    web.fault(Fault::pause(MINUTE).after(1));
    let started = Instant::now();
    assert_eq!(digits(&sim, SNAPSHOT).await.0, "1234");
    assert_eq!(started.elapsed(), MINUTE);
}

#[tokio::test(start_paused = true)]
async fn a_body_can_end_early_with_and_without_the_last_chunk() {
    let (sim, web) = running();
    for (ending, end) in [(Ending::Clean, End::Clean), (Ending::Torn, End::Torn)] {
        web.fault(Fault::end(ending).after(2));
        assert_eq!(digits(&sim, FOLLOW).await, ("12".to_owned(), end));
    }
}

#[tokio::test(start_paused = true)]
async fn a_frame_can_be_cut_in_its_header_and_in_its_payload() {
    let (sim, web) = running();
    let whole = 2 * (8 + 2);
    for keep in [3, 9] {
        for (ending, end) in [(Ending::Clean, End::Clean), (Ending::Torn, End::Torn)] {
            web.fault(Fault::cut(keep, ending).after(2));
            let (body, ended) = get(&sim, SNAPSHOT).await.whole().await;
            assert_eq!((body.len(), ended), (whole + keep, end));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_big_body_is_delivered_before_it_is_torn() {
    let (sim, web) = running();
    for _ in 0..100 {
        web.stdout(format!("{}\n", "x".repeat(10_000)));
    }
    web.fault(Fault::end(Ending::Torn).after(104));
    let (body, end) = get(&sim, SNAPSHOT).await.whole().await;
    assert_eq!((frames(&body).len(), end), (104, End::Torn));
}

#[tokio::test(start_paused = true)]
async fn foreign_bytes_and_frames_can_be_injected() {
    let (sim, web) = running();
    web.fault(Fault::frame(3, b"Error grabbing logs: EOF").after(1));
    web.fault(Fault::frame(9, b"?").after(1));
    let (body, _) = get(&sim, SNAPSHOT).await.whole().await;
    let frames = frames(&body);
    assert_eq!(frames[1], (3, b"Error grabbing logs: EOF".to_vec()));
    assert_eq!(frames[2], (9, b"?".to_vec()));
    assert_eq!(frames.len(), 6);
    web.fault(Fault::daemon_error("gone").after(1));
    let (body, end) = get(&sim, SNAPSHOT).await.whole().await;
    assert_eq!(
        (body.len(), &body[10..], end),
        (22, &b"\x03\0\0\0\0\0\0\x04gone"[..], End::Clean)
    );
    web.fault(Fault::oversized_frame());
    let (body, _) = get(&sim, SNAPSHOT).await.whole().await;
    assert_eq!(body[..8], [1, 0, 0, 0, 255, 255, 255, 255]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_can_skip_and_repeat_records() {
    let (sim, web) = running();
    web.fault(Fault::skip(2).after(1));
    assert_eq!(digits(&sim, SNAPSHOT).await.0, "14");
    web.fault(Fault::repeat(2).after(3));
    assert_eq!(digits(&sim, SNAPSHOT).await.0, "123234");
    web.fault(Fault::repeat(3).after(1).sticky());
    assert_eq!(
        digits(&sim, "/containers/web/logs?stdout=1&tail=2").await.0,
        "31234"
    );
    assert_eq!(
        digits(&sim, "/containers/web/logs?stdout=1&tail=1").await.0,
        "4234"
    );
}

#[tokio::test(start_paused = true)]
async fn a_follow_can_go_back_to_the_beginning_of_its_file() {
    let sim = Sim::new(Engine::current());
    let web = sim
        .container("web")
        .driver(Driver::json_file().max_size(1_000).max_file(2))
        .run();
    web.stdout("1\n2\n");
    web.rotate_log();
    web.stdout("3\n4\n");
    web.fault(Fault::reread_file().after(4));
    web.exit(0);
    assert_eq!(digits(&sim, SNAPSHOT).await.0, "123434");
}

#[tokio::test(start_paused = true)]
async fn a_follow_can_skip_the_files_that_rotated_while_it_did_not_read() {
    let sim = Sim::new(Engine::current());
    let web = sim
        .container("web")
        .driver(Driver::json_file().max_size(1).max_file(9))
        .run();
    web.stdout("1\n");
    web.fault(Fault::skip_rotated_files().on_follow());
    let follow = get(&sim, FOLLOW).await;
    web.stdout("2\n3\n4\n");
    web.exit(0);
    let skipped: String = frames(&follow.whole().await.0)
        .iter()
        .map(|(_, line)| char::from(line[0]))
        .collect();
    assert_eq!(skipped, "14");
    assert_eq!(digits(&sim, SNAPSHOT).await.0, "1234");
}

#[tokio::test(start_paused = true)]
async fn a_follow_that_skips_files_still_reads_its_open_file_to_the_end() {
    let sim = Sim::new(Engine::current());
    let web = sim
        .container("web")
        .driver(Driver::json_file().max_file(9))
        .run();
    web.fault(Fault::skip_rotated_files());
    let mut follow = get(&sim, FOLLOW).await;
    web.stdout("1\n");
    assert!(follow.text().await.ends_with("1\n"));
    web.rotate_log();
    web.stdout("2\n");
    assert!(follow.text().await.ends_with("2\n"));
    web.stdout("3\n");
    web.rotate_log();
    web.stdout("4\n");
    web.rotate_log();
    web.stdout("5\n");
    web.exit(0);
    assert!(follow.text().await.ends_with("3\n"));
    assert!(follow.text().await.ends_with("5\n"));
    assert_eq!(follow.next().await, Err(End::Clean));
}

#[tokio::test(start_paused = true)]
async fn a_sticky_fault_in_a_body_strikes_every_stream_once() {
    let (sim, web) = running();
    web.fault(Fault::skip(1).after(1).sticky());
    for _ in 0..2 {
        assert_eq!(digits(&sim, SNAPSHOT).await.0, "134");
    }
    web.clear_faults();
    assert_eq!(digits(&sim, SNAPSHOT).await.0, "1234");
}
