//! What a follow stream shows, and when it ends.

use std::time::Duration;

use pulsetail_sim::{Driver, Engine, Sim, Stream, Timestamp};

use crate::client::{End, frames, get, json};
use crate::reading::{read, scripted};

#[tokio::test(start_paused = true)]
async fn a_follow_with_until_ends_only_when_a_newer_record_comes() {
    let (sim, web) = scripted(Engine::current(), &[1]);
    let mut follow = get(&sim, "/containers/web/logs?stdout=1&follow=1&until=5").await;
    follow.next().await.unwrap();
    assert!(follow.is_silent().await);
    web.record(Stream::Stderr, Timestamp::from_secs(6), "6\n");
    assert_eq!(follow.next().await, Err(End::Clean));
}

#[tokio::test(start_paused = true)]
async fn a_follow_has_its_head_before_any_record_then_the_tail_then_all_that_is_new() {
    let (sim, web) = scripted(Engine::current(), &[1, 2, 3]);
    let mut none = get(&sim, "/containers/web/logs?stdout=1&follow=1&tail=0").await;
    assert!(none.is_silent().await);
    let mut follow = get(&sim, "/containers/web/logs?stdout=1&follow=1&tail=1").await;
    web.stdout("new\n");
    for mut body in [
        follow.next().await.unwrap(),
        follow.next().await.unwrap(),
        none.next().await.unwrap(),
    ] {
        assert!([&b"3\n"[..], b"new\n"].contains(&&body.split_off(8)[..]));
    }
    web.stdout("last");
    web.exit(0);
    assert!(follow.text().await.ends_with("last"));
    assert_eq!(follow.next().await, Err(End::Clean));
}

#[tokio::test(start_paused = true)]
async fn a_follow_ends_at_exit_and_never_shows_the_next_run() {
    let (sim, web) = scripted(Engine::current(), &[]);
    let follow = get(&sim, "/containers/web/logs?stdout=1&follow=1").await;
    web.stdout("first run\n");
    web.restart();
    web.stdout("second run\n");
    let (body, end) = follow.whole().await;
    assert_eq!((frames(&body).len(), end), (1, End::Clean));
    assert_eq!(read(&sim, "").await, "first run second run ");
}

#[tokio::test(start_paused = true)]
async fn pause_and_rename_leave_a_follow_open() {
    let (sim, web) = scripted(Engine::current(), &[]);
    let mut follow = get(&sim, "/containers/web/logs?stdout=1&follow=1").await;
    web.pause();
    web.rename("other");
    web.unpause();
    web.stdout("on\n");
    assert!(follow.text().await.ends_with("on\n"));
}

#[tokio::test(start_paused = true)]
async fn a_follow_of_a_container_that_does_not_run_ends_at_once() {
    let sim = Sim::new(Engine::current());
    let web = sim.container("web").create();
    assert_eq!(read(&sim, "&follow=1").await, "");
    web.start();
    web.stdout("line\n");
    web.exit(1);
    assert_eq!(read(&sim, "&follow=1").await, "line ");
}

#[tokio::test(start_paused = true)]
async fn a_slow_follower_still_gets_what_rotated_away() {
    let sim = Sim::new(Engine::current());
    let web = sim
        .container("web")
        .driver(Driver::json_file().max_size(1))
        .run();
    let follow = get(&sim, "/containers/web/logs?stdout=1&follow=1").await;
    web.stdout("a\nb\nc\n");
    web.exit(0);
    assert_eq!(frames(&follow.whole().await.0).len(), 3);
    assert_eq!(read(&sim, "").await, "c ");
}

#[tokio::test(start_paused = true)]
async fn a_follow_ends_at_a_corrupt_record_while_the_container_runs() {
    let (sim, web) = scripted(Engine::current(), &[1]);
    let mut follow = get(&sim, "/containers/web/logs?stdout=1&follow=1").await;
    follow.next().await.unwrap();
    web.corrupt_log();
    assert_eq!(follow.next().await, Err(End::Clean));
    assert_eq!(
        json(&sim, "/containers/web/json").await["State"]["Running"],
        true
    );
}

#[tokio::test(start_paused = true)]
async fn a_truncated_log_makes_new_engines_deaf_until_it_rotates() {
    let (sim, web) = scripted(Engine::current(), &[1]);
    let mut follow = get(&sim, "/containers/web/logs?stdout=1&follow=1&tail=0").await;
    web.truncate_log();
    web.stdout("2\n");
    assert!(follow.is_silent().await);
    assert_eq!(read(&sim, "").await, "2 ");
    assert!(
        get(&sim, "/containers/web/logs?stdout=1&tail=1")
            .await
            .is_silent()
            .await
    );
    let mut reopened = get(&sim, "/containers/web/logs?stdout=1&follow=1").await;
    assert!(reopened.text().await.ends_with("2\n"));
    web.stdout("3\n");
    assert!(reopened.is_silent().await);
    web.rotate_log();
    web.stdout("4\n");
    assert_eq!(read(&sim, "&tail=1").await, "4 ");
    web.exit(0);
    assert_eq!(reopened.next().await, Err(End::Clean));
}

#[tokio::test(start_paused = true)]
async fn a_truncated_log_does_not_trouble_20_10() {
    let (sim, web) = scripted(Engine::docker_20_10(), &[1]);
    let mut follow = get(&sim, "/containers/web/logs?stdout=1&follow=1&tail=0").await;
    web.truncate_log();
    web.stdout("2\n");
    assert!(follow.text().await.ends_with("2\n"));
    assert_eq!(read(&sim, "&tail=1").await, "2 ");
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_reads_nothing_holds_up_neither_the_container_nor_others() {
    let (sim, web) = scripted(Engine::current(), &[]);
    let slow = get(&sim, "/containers/web/logs?stdout=1&follow=1").await;
    let mut fast = get(&sim, "/containers/web/logs?stdout=1&follow=1").await;
    for _ in 0..100 {
        web.stdout(format!("{}\n", "x".repeat(10_000)));
        tokio::time::timeout(Duration::from_secs(1), fast.next())
            .await
            .unwrap()
            .unwrap();
    }
    web.exit(0);
    assert_eq!(frames(&slow.whole().await.0).len(), 100);
}
