//! How output becomes records, and which records stay.

use std::time::Duration;

use pulsetail_sim::{Container, Driver, Engine, Record, Sim, Stream};

const PART: usize = 16_384;

fn sim() -> Sim {
    Sim::new(Engine::current())
}

fn web(sim: &Sim) -> Container {
    sim.container("web").run()
}

fn stored(container: &Container) -> Vec<String> {
    let text =
        |record: Record| String::from_utf8(record.bytes.to_vec()).expect("the record is text");
    container.records().into_iter().map(text).collect()
}

fn lengths(container: &Container) -> Vec<usize> {
    container
        .records()
        .iter()
        .map(|record| record.bytes.len())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_write_is_stored_line_by_line_and_an_open_line_waits() {
    let web = web(&sim());
    web.stdout("one\ntwo\n\nthr");
    assert_eq!(stored(&web), ["one\n", "two\n", "\n"]);
    web.stdout("ee\n");
    assert_eq!(stored(&web)[3], "three\n");
}

#[tokio::test(start_paused = true)]
async fn lines_of_one_write_have_growing_stamps() {
    let web = web(&sim());
    web.stdout("a\nb\n");
    let records = web.records();
    assert!(records[0].time < records[1].time);
}

#[tokio::test(start_paused = true)]
async fn a_long_line_is_stored_in_parts_that_share_its_first_stamp() {
    let web = web(&sim());
    web.stdout("x".repeat(PART));
    tokio::time::advance(Duration::from_secs(7)).await;
    web.stderr("between\n");
    web.stdout(format!("{}\n", "x".repeat(PART + 10)));
    let records = web.records();
    assert_eq!(lengths(&web), [PART, 8, PART, 11]);
    assert_eq!(records[1].stream, Stream::Stderr);
    assert!(records[1].time > records[0].time);
    assert_eq!([records[2].time, records[3].time], [records[0].time; 2]);
    assert!(records[3].bytes.ends_with(b"\n") && !records[2].bytes.ends_with(b"\n"));
}

#[tokio::test(start_paused = true)]
async fn the_line_after_a_long_one_has_a_stamp_of_its_own() {
    let web = web(&sim());
    web.stdout(format!("{}\nnext\n", "x".repeat(PART + 1)));
    let records = web.records();
    assert!(records[2].time > records[1].time);
}

#[tokio::test(start_paused = true)]
async fn a_line_of_exactly_one_part_leaves_a_record_with_only_its_newline() {
    let web = web(&sim());
    web.stdout(format!("{}\n", "x".repeat(PART)));
    assert_eq!(lengths(&web), [PART, 1]);
    web.stdout(format!("{}\n", "y".repeat(PART - 1)));
    assert_eq!(lengths(&web), [PART, 1, PART]);
}

#[tokio::test(start_paused = true)]
async fn an_old_local_driver_drops_the_newline_of_a_last_part() {
    for (engine, expected) in [
        (Engine::docker_20_10(), [PART, 0, 2]),
        (Engine::docker_23(), [PART, 1, 2]),
    ] {
        let web = Sim::new(engine)
            .container("web")
            .driver(Driver::local())
            .run();
        web.stdout(format!("{}\nz\n", "x".repeat(PART)));
        assert_eq!(lengths(&web), expected);
    }
    let json = Sim::new(Engine::docker_20_10()).container("web").run();
    json.stdout(format!("{}\n", "x".repeat(PART)));
    assert_eq!(lengths(&json), [PART, 1]);
}

#[tokio::test(start_paused = true)]
async fn an_unterminated_line_is_stored_at_exit_and_a_restart_begins_a_new_one() {
    let web = web(&sim());
    web.stdout("rest");
    assert_eq!(stored(&web), Vec::<String>::new());
    web.exit(0);
    web.start();
    web.stdout("new\n");
    assert_eq!(stored(&web), ["rest", "new\n"]);
    let records = web.records();
    assert!(records[0].time < records[1].time);
}

#[tokio::test(start_paused = true)]
async fn the_unterminated_rest_of_a_long_line_keeps_its_stamp() {
    let web = web(&sim());
    web.stdout("x".repeat(PART + 5));
    tokio::time::advance(Duration::from_secs(1)).await;
    web.exit(0);
    let records = web.records();
    assert_eq!(lengths(&web), [PART, 5]);
    assert_eq!(records[0].time, records[1].time);
}

#[tokio::test(start_paused = true)]
async fn a_sequence_cut_by_a_part_is_lost_in_json_file_and_kept_in_local() {
    let line = format!("{}é\n", "x".repeat(PART - 1));
    let sim = sim();
    let json = web(&sim);
    json.stdout(&line);
    assert!(json.records()[0].bytes.ends_with("\u{fffd}".as_bytes()));
    let local = sim.container("local").driver(Driver::local()).run();
    local.stdout(&line);
    assert!(local.records()[0].bytes.ends_with(&[0xc3]));
}

#[tokio::test(start_paused = true)]
async fn a_terminal_merges_both_outputs() {
    let tty = sim().container("tty").tty().run();
    tty.stdout("a");
    tty.stderr("b\r\n");
    assert_eq!(stored(&tty), ["ab\r\n"]);
    assert_eq!(tty.records()[0].stream, Stream::Stdout);
}

#[tokio::test(start_paused = true)]
async fn a_full_file_rotates_before_the_next_record_and_only_max_file_files_stay() {
    let web = sim()
        .container("web")
        .driver(Driver::json_file().max_size(146).max_file(2))
        .run();
    // Each record takes 73 bytes on disk: two fill a file exactly.
    for line in 0..7 {
        web.stdout(format!("{line:02}\n"));
    }
    assert_eq!(stored(&web), ["04\n", "05\n", "06\n"]);
}

#[tokio::test(start_paused = true)]
async fn one_file_at_most_means_that_a_rotation_loses_everything() {
    let web = sim()
        .container("web")
        .driver(Driver::json_file().max_size(1))
        .run();
    web.stdout("a\nb\n");
    assert_eq!(stored(&web), ["b\n"]);
}

#[tokio::test(start_paused = true)]
async fn the_clock_may_step_back_between_records() {
    let sim = sim();
    let web = web(&sim);
    web.stdout("a\n");
    sim.step_clock_back(Duration::from_secs(3600));
    web.stdout("b\n");
    let records = web.records();
    assert!(records[1].time < records[0].time);
}

#[tokio::test(start_paused = true)]
async fn a_driver_of_none_stores_nothing() {
    let web = sim().container("web").driver(Driver::none()).run();
    web.stdout("a\n");
    assert_eq!(web.records(), []);
}
