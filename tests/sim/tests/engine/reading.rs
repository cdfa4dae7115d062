//! Which records a request for logs returns, and in which form.

use hyper::StatusCode;
use pulsetail_sim::{Container, Driver, Endpoint, Engine, Sim, Stream, Timestamp};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::client::{End, frames, get, lines};

const BOTH: &str = "stdout=1&stderr=1";

pub(crate) fn scripted(engine: Engine, seconds: &[i64]) -> (Sim, Container) {
    let sim = Sim::new(engine);
    let web = sim.container("web").run();
    for second in seconds {
        web.record(
            Stream::Stdout,
            Timestamp::from_secs(*second),
            format!("{second}\n"),
        );
    }
    (sim, web)
}

pub(crate) async fn read(sim: &Sim, more: &str) -> String {
    lines(sim, "web", &format!("{BOTH}{more}"))
        .await
        .concat()
        .replace('\n', " ")
}

#[tokio::test(start_paused = true)]
async fn tail_counts_stored_records_of_both_streams_before_the_filter() {
    let (sim, web) = scripted(Engine::current(), &[]);
    web.stdout("o1\n");
    web.stderr("e1\n");
    web.stdout("o2\n");
    web.stderr("e2\n");
    assert_eq!(read(&sim, "&tail=3").await, "e1 o2 e2 ");
    assert_eq!(lines(&sim, "web", "stdout=1&tail=3").await, ["o2\n"]);
    assert_eq!(lines(&sim, "web", "stderr=1&tail=1").await, ["e2\n"]);
}

#[tokio::test(start_paused = true)]
async fn tail_counts_parts_and_reaches_over_files() {
    let sim = Sim::new(Engine::current());
    let web = sim
        .container("web")
        .driver(Driver::json_file().max_size(1).max_file(3))
        .run();
    web.stdout("a\nb\nc\nd\n");
    assert_eq!(read(&sim, "&tail=2").await, "c d ");
    assert_eq!(read(&sim, "&tail=9").await, "b c d ");
    let long = sim.container("long").run();
    long.stdout("x".repeat(16_384 * 2));
    assert_eq!(lines(&sim, "long", "stdout=1&tail=1").await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn tail_is_everything_unless_it_is_a_number() {
    let (sim, _web) = scripted(Engine::current(), &[1, 2]);
    for tail in ["", "&tail=all", "&tail=-1", "&tail=x", "&tail="] {
        assert_eq!(read(&sim, tail).await, "1 2 ", "{tail}");
    }
    assert_eq!(read(&sim, "&tail=0").await, "");
}

#[tokio::test(start_paused = true)]
async fn since_filters_each_record_before_24_and_seeks_from_24() {
    let stored = [100, 101, 50, 51, 52, 102];
    let (old, _web) = scripted(Engine::docker_23(), &stored);
    let (new, _web) = scripted(Engine::docker_24(), &stored);
    assert_eq!(read(&old, "&since=51").await, "100 101 51 52 102 ");
    assert_eq!(read(&new, "&since=51").await, "100 101 50 51 52 102 ");
    assert_eq!(read(&old, "&since=101").await, "101 102 ");
    assert_eq!(read(&new, "&since=101").await, "101 50 51 52 102 ");
}

#[tokio::test(start_paused = true)]
async fn since_is_inclusive_to_the_nanosecond_and_zero_is_none() {
    let (sim, _web) = scripted(Engine::current(), &[7, 8]);
    assert_eq!(read(&sim, "&since=8").await, "8 ");
    assert_eq!(read(&sim, "&since=8.000000001").await, "");
    assert_eq!(read(&sim, "&since=7.000000001").await, "8 ");
    assert_eq!(read(&sim, "&since=0").await, "7 8 ");
}

#[tokio::test(start_paused = true)]
async fn tail_is_taken_before_since() {
    let (sim, _web) = scripted(Engine::current(), &[1, 2, 3, 4]);
    assert_eq!(read(&sim, "&tail=2&since=2").await, "3 4 ");
    assert_eq!(read(&sim, "&tail=3&since=4").await, "4 ");
}

#[tokio::test(start_paused = true)]
async fn until_ends_the_whole_stream_at_the_first_later_record() {
    let (sim, _web) = scripted(Engine::current(), &[100, 101, 50, 51]);
    assert_eq!(read(&sim, "&until=51").await, "");
    assert_eq!(read(&sim, "&until=100").await, "100 ");
    assert_eq!(read(&sim, "&until=0").await, "100 101 50 51 ");
}

#[tokio::test(start_paused = true)]
async fn a_malformed_time_is_500_on_20_10_and_400_later() {
    for (engine, status) in [(Engine::docker_20_10(), 500), (Engine::current(), 400)] {
        let (sim, _web) = scripted(engine, &[]);
        let refused = get(
            &sim,
            "/containers/web/logs?stdout=1&since=2026-01-01T00:00:00Z",
        )
        .await;
        assert_eq!(refused.status, status);
    }
}

#[tokio::test(start_paused = true)]
async fn since_loses_compressed_files_on_20_10_only() {
    for (engine, expected) in [
        (Engine::docker_20_10(), "4 "),
        (Engine::docker_23(), "2 3 4 "),
    ] {
        let sim = Sim::new(engine);
        let web = sim.container("web").driver(Driver::local()).run();
        for second in 1..=4 {
            web.record(
                Stream::Stdout,
                Timestamp::from_secs(second),
                format!("{second}\n"),
            );
            if second < 4 {
                web.rotate_log();
            }
        }
        assert_eq!(read(&sim, "&since=2").await, expected);
        assert_eq!(read(&sim, "&tail=3").await, "2 3 4 ");
    }
}

#[tokio::test(start_paused = true)]
async fn a_record_is_one_frame_with_its_stamp_in_front_if_wanted() {
    let (sim, web) = scripted(Engine::current(), &[]);
    web.record(Stream::Stdout, Timestamp::from_nanos(1), "a\n");
    web.record(Stream::Stderr, Timestamp::from_nanos(2), "b");
    let body = get(&sim, "/containers/web/logs?stdout=1&stderr=1&timestamps=1")
        .await
        .whole()
        .await
        .0;
    assert_eq!(
        frames(&body),
        [
            (1, b"1970-01-01T00:00:00.000000001Z a\n".to_vec()),
            (2, b"1970-01-01T00:00:00.000000002Z b".to_vec())
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_terminal_is_read_raw_with_a_stamp_per_record() {
    let sim = Sim::new(Engine::current());
    let tty = sim.container("tty").tty().run();
    for (nanos, bytes) in [(1, &b"\x01part"[..]), (1, b""), (2, b"end\r\n")] {
        tty.record(Stream::Stdout, Timestamp::from_nanos(nanos), bytes);
    }
    let plain = get(&sim, "/containers/tty/logs?stdout=1")
        .await
        .whole()
        .await;
    assert_eq!(plain, (b"\x01partend\r\n".to_vec(), End::Clean));
    let stamped = get(&sim, "/containers/tty/logs?stdout=1&timestamps=1&tail=2")
        .await
        .whole()
        .await
        .0;
    let expected = "1970-01-01T00:00:00.000000001Z 1970-01-01T00:00:00.000000002Z end\r\n";
    assert_eq!(String::from_utf8(stamped).unwrap(), expected);
}

#[tokio::test(start_paused = true)]
async fn every_record_is_an_http_chunk_of_its_own() {
    let (sim, web) = scripted(Engine::current(), &[]);
    web.stdout("a\nbb\n");
    let mut io = sim.connect().unwrap();
    let request =
        "GET /containers/web/logs?stdout=1 HTTP/1.1\r\nhost: docker\r\nconnection: close\r\n\r\n";
    io.write_all(request.as_bytes()).await.unwrap();
    let mut response = Vec::new();
    io.read_to_end(&mut response).await.unwrap();
    let response = String::from_utf8(response).unwrap();
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    assert!(head.to_lowercase().contains("transfer-encoding: chunked"));
    assert_eq!(
        body,
        "A\r\n\x01\0\0\0\0\0\0\x02a\n\r\nB\r\n\x01\0\0\0\0\0\0\x03bb\n\r\n0\r\n\r\n"
    );
}

#[tokio::test(start_paused = true)]
async fn a_content_type_is_told_from_23_and_never_multiplexed_below_api_1_42() {
    let old = Sim::new(Engine::docker_20_10());
    old.container("web").create();
    let untold = get(&old, "/containers/web/logs?stdout=1").await;
    assert!(!untold.headers.contains_key("content-type"));
    let sim = Sim::new(Engine::docker_24());
    sim.container("web").create();
    sim.container("tty").tty().create();
    let told = async |target: &str| {
        let response = get(&sim, target).await;
        response
            .headers
            .get("content-type")
            .map(|value| value.to_str().unwrap().to_owned())
    };
    let raw = Some("application/vnd.docker.raw-stream".to_owned());
    assert_eq!(told("/v1.41/containers/web/logs?stdout=1").await, raw);
    let multiplexed = Some("application/vnd.docker.multiplexed-stream".to_owned());
    assert_eq!(
        told("/v1.42/containers/web/logs?stdout=1").await,
        multiplexed
    );
    assert_eq!(told("/containers/web/logs?stdout=1").await, multiplexed);
    assert_eq!(told("/v1.43/containers/tty/logs?stdout=1").await, raw);
}

#[tokio::test(start_paused = true)]
async fn a_corrupt_record_hides_the_rest_of_its_file_except_from_a_tail_behind_it() {
    let (sim, web) = scripted(Engine::current(), &[1]);
    web.corrupt_log();
    web.stdout("2\n3\n");
    assert_eq!(read(&sim, "").await, "1 ");
    assert_eq!(read(&sim, "&since=1").await, "1 ");
    assert_eq!(read(&sim, "&tail=3").await, "");
    assert_eq!(read(&sim, "&tail=2").await, "2 3 ");
    let mut follow = get(&sim, "/containers/web/logs?stdout=1&follow=1&tail=0").await;
    web.stdout("4\n");
    assert!(follow.text().await.ends_with("4\n"));
}

#[tokio::test(start_paused = true)]
async fn a_corrupt_record_does_not_hide_the_next_file() {
    let sim = Sim::new(Engine::current());
    let web = sim
        .container("web")
        .driver(Driver::json_file().max_size(1_000).max_file(2))
        .run();
    web.stdout("1\n");
    web.corrupt_log();
    web.stdout("2\n");
    web.rotate_log();
    web.stdout("3\n");
    assert_eq!(read(&sim, "").await, "1 3 ");
}

#[tokio::test(start_paused = true)]
async fn unreadable_logs_are_refused_as_the_engine_does() {
    let sim = Sim::new(Engine::current());
    sim.container("none").driver(Driver::none()).run();
    let dead = sim.container("dead").run();
    dead.mark_dead();
    sim.container("removing").run().mark_removing();
    let gone = sim.container("gone").auto_remove().run();
    gone.exit(0);
    let refused = [
        (
            "none",
            501,
            "configured logging driver does not support reading",
        ),
        (
            "dead",
            409,
            "can not get logs from container which is dead or marked for removal",
        ),
        (
            "removing",
            409,
            "can not get logs from container which is dead or marked for removal",
        ),
        ("gone", 404, "No such container: gone"),
    ];
    for (name, status, message) in refused {
        let response = get(&sim, &format!("/containers/{name}/logs?stdout=1")).await;
        assert_eq!(response.status, status, "{name}");
        assert_eq!(response.json().await["message"], message);
    }
}

#[tokio::test(start_paused = true)]
async fn no_stream_at_all_is_a_bad_request_and_details_are_refused() {
    let (sim, _web) = scripted(Engine::current(), &[]);
    assert_eq!(
        get(&sim, "/containers/web/logs").await.status,
        StatusCode::BAD_REQUEST
    );
    let details = get(&sim, "/containers/web/logs?stdout=1&details=1").await;
    assert_eq!(details.status, StatusCode::NOT_IMPLEMENTED);
    assert_eq!(sim.stats().requests(Endpoint::Logs), 2);
}

#[tokio::test(start_paused = true)]
async fn a_malformed_time_is_judged_after_the_container_on_20_10_and_before_it_now() {
    for (engine, unknown, unreadable) in [
        (Engine::docker_20_10(), 404, 501),
        (Engine::current(), 400, 400),
    ] {
        let sim = Sim::new(engine);
        sim.container("none").driver(Driver::none()).create();
        let status = async |name: &str| {
            let target = format!("/containers/{name}/logs?stdout=1&since=now");
            get(&sim, &target).await.status
        };
        assert_eq!(status("unknown").await, unknown);
        assert_eq!(status("none").await, unreadable);
    }
}

#[tokio::test(start_paused = true)]
async fn an_until_of_zero_is_none_only_as_that_one_word() {
    let (sim, web) = scripted(Engine::current(), &[]);
    web.stdout("1\n");
    assert_eq!(read(&sim, "&until=0").await, "1 ");
    assert_eq!(read(&sim, "&until=0.0").await, "");
}

#[tokio::test(start_paused = true)]
async fn an_empty_record_of_the_local_driver_has_a_frame_only_with_its_stamp() {
    let sim = Sim::new(Engine::docker_20_10());
    let web = sim.container("web").driver(Driver::local()).run();
    web.stdout([b'x'; 16 * 1024]);
    web.stdout("\n");
    assert_eq!(lines(&sim, "web", "stdout=1&tail=1").await, [""; 0]);
    let stamped = lines(&sim, "web", "stdout=1&tail=1&timestamps=1").await;
    assert_eq!(stamped[0].len(), 31);
}
