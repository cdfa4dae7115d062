//! What ended the ancestor, done to Pulsetail. Each of its failures, and the test with the fault injected, or why our
//! design cannot come to it:
//!
//! | root cause | shown by |
//! |---|---|
//! | (a) a task forgot its heartbeat | `a_frozen_read_shows_no_heartbeat`, `turns_without_proof_are_no_heartbeat`; a proof of one's own does not compile: `tests/compile/` |
//! | (b) a blocked read could not be interrupted | `a_blocked_read_ends_at_once_when_nobody_wants_it`, `whatever_ends_any_task_at_any_time_it_is_replaced_in_its_bound_and_alone` |
//! | (c) times in a wrong order | `each_order_alone_is_refused_with_its_values`, `what_is_accepted_is_in_order`, `whatever_the_flags_allow_is_in_order_but_for_a_hasty_drain` |
//!
//! | task manager | shown by |
//! |---|---|
//! | E1.1 a kill was final | `a_reader_that_is_replaced_costs_no_line_and_repeats_none`, `a_task_hung_at_any_await_is_replaced_in_time_and_alone` |
//! | E1.2 success wiped the evidence | `turns_without_proof_are_no_heartbeat`, `a_watch_tells_a_restart_and_keeps_how_it_came` |
//! | E1.3 an old task was killed and forgotten at once | `a_task_that_hangs_after_hours_is_replaced_and_its_name_remembered` |
//! | E1.4 a name used again dead-locked the manager | `a_name_that_comes_back_keeps_its_history_and_never_waits_for_ever`, `a_task_that_does_not_stop_holds_up_neither_who_stops_it_nor_others` |
//! | E1.5 a stop took 5 s per task | `a_thousand_tasks_that_hang_are_stopped_at_once` |
//! | E1.6 a task waited 10 s for its own end | `a_task_that_stops_itself_ends_at_once_and_its_name_is_free` |
//! | E1.7 a timer beat for a frozen read; a long healthy pass was killed | `a_frozen_read_shows_no_heartbeat`, `a_list_that_takes_longer_than_the_heartbeats_timeout_is_progress_all_the_while` |
//! | E1.8 a lock was held over a stop and over calls of the engine | `a_task_that_does_not_stop_holds_up_neither_who_stops_it_nor_others`; clippy's `await_holding_lock` is an error |
//! | E1.9 status was reachable from nowhere | `tasks_are_listed_in_pages_and_one_is_told_whole`, `a_watch_tells_a_restart_and_keeps_how_it_came` |
//!
//! | container monitor | shown by |
//! |---|---|
//! | E2.1 lines split before frames; a terminal's bytes taken for a header | `frames_pass_unchanged_however_they_are_cut`, `case_26_a_terminals_bytes_look_like_frames_and_stamps_stand_inside_lines` |
//! | E2.2 stream and stamp lost, spaces trimmed, parts cut | `only_the_streams_asked_for_come_and_cursors_pass_the_others`, `case_27_bytes_of_every_kind_come_as_they_were_stored`, `parts_of_a_long_line_are_joined_in_history_and_live` |
//! | E2.3 an open last line was thrown away | `case_04_a_line_is_held_over_rotations_while_the_other_stream_writes`, `a_stopped_container_is_read_and_followed_into_its_next_run` |
//! | E2.4 resumed by the wall clock's seconds | `wherever_a_stream_is_cut_its_two_halves_are_the_whole`, `case_08_the_clock_is_set_back_and_forward` |
//! | E2.5 any failed look meant "gone" | `an_engine_that_hangs_or_restarts_costs_no_task_its_budget`, `a_look_that_fails_takes_no_container_away` |
//! | E2.6 a broken event feed killed its task, and what it missed was lost | `an_event_feed_that_breaks_is_followed_again`, `the_list_goes_on_behind_the_end_of_whoever_keeps_it` |
//! | E2.7 bodies left open; fields shared without a lock; a failed start ignored | `dropping_a_client_closes_its_engine_connection`; the compiler forbids the second; a start cannot fail |
//! | E2.8 a stopped container was opened every 2 s; a failed first scan was final | `a_stopped_container_is_not_asked_for_again_and_again`, `nothing_is_serving_before_the_engine_was_pinged_and_listed` |
//! | E2.9 a container restarted soon after its start was lost | `a_container_that_is_restarted_at_once_and_often_is_read_on` |
//! | E2.10 counted what was not delivered, and did not try again | `what_a_stopped_task_tries_to_publish_is_refused`, `a_reader_that_is_replaced_costs_no_line_and_repeats_none` |
//! | E2.11 restarts never counted; settings taken and ignored | `a_panic_is_told_with_its_place_and_touches_nobody_else`, `a_field_of_a_later_release_is_refused_by_name_and_never_ignored`, `the_settings_in_the_readme_are_the_programs_own_help` |

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pulsetail::proto::ContainerChangeKind;
use pulsetail::supervisor::{Kind, State, Status};
use pulsetail_sim::{Ending, Endpoint, Fault};
use tokio::time::sleep;

use crate::harness::{Server, all, engine, followed, until, until_so, within};

fn readers(server: &Server) -> Vec<Status> {
    let all = server.supervisor.statuses().into_iter();
    all.filter(|status| status.spec.kind == Kind::Container)
        .collect()
}

/// It detached every container at an outage of 5 s, and nothing brought them back.
#[tokio::test]
async fn an_engine_that_hangs_or_restarts_costs_no_task_its_budget() {
    let sim = engine();
    let webs: Vec<_> = (0..20)
        .map(|n| sim.container(format!("c{n}")).run())
        .collect();
    let server = Server::start(&sim).await;
    let mut subscribers = Vec::new();
    for n in 0..webs.len() {
        subscribers.push(server.open(followed(&format!("c{n}"))).await);
    }
    let generations = |server: &Server| {
        let all = server.supervisor.statuses().into_iter();
        let mut all: Vec<_> = all
            .map(|status| (status.spec.name, status.generation))
            .collect();
        all.sort();
        all
    };
    let before = generations(&server);
    for round in 1..=3 {
        match round {
            2 => sim.freeze(),
            _ => sim.stop(),
        }
        until_so(async || server.admin_get("/readyz").await.0 == 503).await;
        assert_eq!(server.admin_get("/livez").await.0, 200);
        webs.iter().for_each(|web| web.stdout(format!("{round}\n")));
        match round {
            2 => sim.thaw(),
            _ => sim.start(),
        }
        until_so(async || server.admin_get("/readyz").await.0 == 200).await;
        for subscriber in &mut subscribers {
            subscriber.entries(round).await;
        }
    }
    for subscriber in &subscribers {
        assert_eq!(subscriber.texts(), ["1", "2", "3"]);
        assert!(subscriber.gaps().is_empty());
    }
    assert_eq!(generations(&server), before, "nobody was replaced");
    until(|| {
        readers(&server)
            .iter()
            .all(|status| status.state == State::Running)
    })
    .await;
    server.stop().await;
}

/// Its heartbeat came from a timer beside the reader: a frozen read looked alive.
#[tokio::test]
async fn a_frozen_read_shows_no_heartbeat() {
    let sim = engine();
    let web = sim.container("web").run();
    web.stdout("line\n");
    let server = Server::start(&sim).await;
    let mut subscriber = server.open(all("web")).await;
    subscriber.entries(1).await;
    let beat = || {
        let status = readers(&server).pop().expect("it is read");
        status.heartbeat_age.unwrap_or(Duration::MAX)
    };
    // Records are heartbeats,
    until(|| {
        web.stdout("more\n");
        beat() < Duration::from_millis(500)
    })
    .await;
    // and nothing else is: not the turns, which go on.
    web.fault(Fault::stall().sticky());
    sim.fault(Fault::stall().on(Endpoint::Logs).sticky());
    let seen = beat();
    sleep(Duration::from_secs(2)).await;
    let aged = beat();
    assert!(aged >= seen + Duration::from_secs(1), "{seen:?} {aged:?}");
    server.stop().await;
}

/// It could not interrupt a blocked read, and waited 10 s for each task.
#[tokio::test]
async fn a_blocked_read_ends_at_once_when_nobody_wants_it() {
    let sim = engine();
    let web = sim.container("web").run();
    let server = Server::start_with(&sim, &["--linger=0s", "--rotation=600s"]).await;
    let mut subscriber = server.open(followed("web")).await;
    subscriber.caught_up().await;
    sim.freeze();
    drop(subscriber);
    until_so(async || {
        server
            .admin_get("/health")
            .await
            .1
            .contains("\"open_logs\":0")
    })
    .await;
    sim.thaw();
    // Its lease would have lasted for 600 s.
    within(sim.wait_until(|stats| stats.log_streams == 0)).await;
    // And at once again: nothing waits for the old one's end.
    for _ in 0..5 {
        let mut again = server.open(all("web")).await;
        web.stdout("line\n");
        again.entries(1).await;
    }
    within(server.stop()).await;
}

/// It lost a container that was restarted soon after its start.
#[tokio::test]
async fn a_container_that_is_restarted_at_once_and_often_is_read_on() {
    let sim = engine();
    let web = sim.container("web").run();
    let server = Server::start(&sim).await;
    let mut subscriber = server.open(all("web")).await;
    let expected: Vec<_> = (0..20).map(|n| n.to_string()).collect();
    for line in &expected {
        web.stdout(format!("{line}\n"));
        web.restart();
    }
    subscriber.entries(expected.len()).await;
    assert_eq!(subscriber.texts(), expected);
    assert_eq!(readers(&server).len(), 1);
    assert_eq!(readers(&server)[0].restarts, 0);
    server.stop().await;
}

/// It took whatever it could not look at for gone.
#[tokio::test]
async fn a_look_that_fails_takes_no_container_away() {
    let sim = engine();
    let webs: Vec<_> = (0..5)
        .map(|n| sim.container(format!("c{n}")).run())
        .collect();
    let server = Server::start(&sim).await;
    let mut subscribers = Vec::new();
    for n in 0..webs.len() {
        subscribers.push(server.open(followed(&format!("c{n}"))).await);
    }
    let before: Vec<_> = readers(&server).iter().map(|s| s.generation).collect();
    for fault in [Fault::refuse(500, "cannot look"), Fault::hang_up()] {
        let faults = sim.stats().faults;
        sim.fault(fault.on(Endpoint::Inspect).sticky());
        // Each is looked at, and all of them behind a feed that broke.
        webs.iter().for_each(|web| web.emit("update"));
        sim.fault(Fault::end(Ending::Torn).on(Endpoint::Events));
        webs.iter().for_each(|web| web.emit("update"));
        within(sim.wait_until(|stats| stats.faults > faults + 5)).await;
        for n in 0..webs.len() {
            server.until_listed(&format!("c{n}")).await;
        }
        sim.clear_faults();
    }
    webs.iter().for_each(|web| web.stdout("line\n"));
    for subscriber in &mut subscribers {
        subscriber.entries(1).await;
    }
    let after: Vec<_> = readers(&server).iter().map(|s| s.generation).collect();
    assert_eq!(after, before, "nobody was replaced");
    server.stop().await;
}

/// It opened the log of a container that had stopped every 2 s.
#[tokio::test]
async fn a_stopped_container_is_not_asked_for_again_and_again() {
    let sim = engine();
    let web = sim.container("web").run();
    let server = Server::start_with(&sim, &["--rotation=100ms"]).await;
    let mut subscriber = server.open(all("web")).await;
    web.stdout("line\n");
    subscriber.entries(1).await;
    web.exit(0);
    subscriber
        .until(|heard| heard.changes().contains(&ContainerChangeKind::Exited))
        .await;
    let asked = || sim.stats().requests(Endpoint::Logs);
    let before = asked();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(asked(), before);
    web.start();
    web.stdout("again\n");
    subscriber.entries(2).await;
    server.stop().await;
}

fn files_of(folder: PathBuf) -> Vec<PathBuf> {
    let items = fs::read_dir(folder).expect("it is readable");
    let of = |path: PathBuf| match path.is_dir() {
        true => files_of(path),
        false => vec![path],
    };
    items
        .flat_map(|item| of(item.expect("it is readable").path()))
        .collect()
}

#[test]
fn every_test_that_is_named_here_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = ["src", "tests"].map(|folder| files_of(root.join(folder)));
    let sources = files.into_iter().flatten();
    let sources: Vec<_> = sources
        .filter_map(|file| fs::read_to_string(file).ok())
        .collect();
    let table = include_str!("ancestor.rs").lines();
    let rows = table.take_while(|line| line.starts_with("//!"));
    let rows: Vec<_> = rows
        .filter(|line| line.starts_with("//! | (") || line.starts_with("//! | E"))
        .collect();
    assert_eq!(rows.len(), 3 + 9 + 11);
    for row in rows {
        let quoted: Vec<_> = row.split('`').skip(1).step_by(2).collect();
        let tests: Vec<_> = quoted
            .iter()
            .filter(|name| name.contains("_a_") || name.matches('_').count() > 3)
            .collect();
        assert!(!tests.is_empty(), "{row}");
        for test in tests {
            // Those of proptest take arguments.
            let function = format!("fn {test}(");
            assert!(
                sources.iter().any(|source| source.contains(&function)),
                "{test}"
            );
        }
    }
}
