//! A page token leads to one place of one log, for one request; bad requests are refused before the engine hears of them.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use prost_types::Timestamp;
use pulsetail::proto::{GapCause, ListLogEntriesRequest};
use pulsetail_sim::{Driver, Ending, Engine, Fault};
use tonic::Code;

use crate::harness::{Server, engine, engine_of, until, within, write};
use crate::page_bounds::tails;
use crate::pages::{before, joined, paged, texts};
use crate::requests::{assert_untouched, told};
use crate::subscriber::{lines_of, text};

async fn reason(server: &Server, request: &ListLogEntriesRequest) -> (Code, String) {
    let status = server.try_page(request).await.unwrap_err();
    let (code, reason, _) = told(&status);
    (code, reason)
}

const fn time(seconds: i64, nanos: i32) -> Option<Timestamp> {
    Some(Timestamp { seconds, nanos })
}

/// A reason, the field it is told of, and what a request for `web` is made of it.
type Wrong = (&'static str, &'static str, fn(&mut ListLogEntriesRequest));

const WRONG: [Wrong; 15] = [
    ("FIELD_INVALID", "container", |r| {
        r.container = String::new();
    }),
    ("FIELD_INVALID", "container", |r| r.container = "we*".into()),
    ("FIELD_INVALID", "container", |r| r.container = "we?".into()),
    ("FIELD_INVALID", "container", |r| {
        r.container = "../info".into();
    }),
    ("FIELD_INVALID", "container", |r| {
        r.container = "x".repeat(100_000);
    }),
    ("FIELD_INVALID", "since", |r| r.since = time(1, -1)),
    ("FIELD_INVALID", "until", |r| r.until = time(i64::MAX, 0)),
    ("TIME_RANGE_INVALID", "until", |r| {
        (r.since, r.until) = (time(20, 0), time(19, 999_999_999));
    }),
    ("FIELD_INVALID", "streams[1]", |r| r.streams = vec![1, 0]),
    ("PAGE_TOKEN_INVALID", "page_token", |r| {
        r.page_token = "x".into();
    }),
    ("PAGE_TOKEN_INVALID", "page_token", |r| {
        r.page_token = "A".repeat(300);
    }),
    ("PAGE_TOKEN_INVALID", "page_token", |r| {
        r.page_token = "A".repeat(100_000);
    }),
    ("REGEX_INVALID", "filter.regex", |r| {
        r.filter.get_or_insert_default().regex = "(".into();
    }),
    ("NOT_IMPLEMENTED", "filter.min_level", |r| {
        r.filter.get_or_insert_default().min_level = 77;
    }),
    ("NOT_IMPLEMENTED", "streams[0]", |r| r.streams = vec![99]),
];

#[tokio::test]
async fn a_bad_page_request_names_its_field_and_costs_the_engine_nothing() {
    let sim = engine();
    sim.container("web").run();
    let server = Server::start(&sim).await;
    for (reason, field, spoil) in WRONG {
        let mut request = paged("web", 10);
        spoil(&mut request);
        let status = server.try_page(&request).await.unwrap_err();
        let (code, said, fields) = told(&status);
        let expected = match reason {
            "NOT_IMPLEMENTED" => Code::Unimplemented,
            _ => Code::InvalidArgument,
        };
        let shown = format!("{request:.200?}");
        assert_eq!(
            (code, &*said, &*fields[0]),
            (expected, reason, field),
            "{shown}"
        );
        assert!(status.message().len() < 500, "{shown}");
    }
    for absent in ["absent", "0123", &"f".repeat(64)] {
        let refused = reason(&server, &paged(absent, 10)).await;
        assert_eq!(refused, (Code::NotFound, "CONTAINER_NOT_FOUND".into()));
    }
    assert_untouched(&sim);
    server.stop().await;
}

#[tokio::test]
async fn a_token_that_was_changed_anywhere_is_refused() {
    let sim = engine();
    write(&sim.container("web").run(), 0..50);
    let server = Server::start(&sim).await;
    let request = paged("web", 10);
    let page = server.page(&request).await;
    let token = URL_SAFE_NO_PAD.decode(&page.next_page_token).unwrap();
    let asked = sim.requests().len();
    for at in 0..token.len() {
        let mut changed = token.clone();
        changed[at] ^= 0x10;
        for bytes in [&changed[..], &token[..at]] {
            let request = ListLogEntriesRequest {
                page_token: URL_SAFE_NO_PAD.encode(bytes),
                ..request.clone()
            };
            if request.page_token.is_empty() {
                continue;
            }
            let refused = reason(&server, &request).await;
            assert_eq!(refused.1, "PAGE_TOKEN_INVALID", "byte {at}");
        }
    }
    // A cursor is no token.
    let cursor = ListLogEntriesRequest {
        page_token: page.cursor.clone(),
        ..request.clone()
    };
    assert_eq!(reason(&server, &cursor).await.1, "PAGE_TOKEN_INVALID");
    assert_eq!(tails(&sim, &mut asked.clone()), [""; 0]);
    server.stop().await;
}

#[tokio::test]
async fn a_token_serves_its_own_request_with_any_page_size_and_no_other() {
    let sim = engine();
    let web = sim.container("web").run();
    write(&web, 0..50);
    sim.container("other").run();
    let server = Server::start(&sim).await;
    let request = paged("web", 10);
    let page = server.page(&request).await;
    let next = before(&request, &page);
    let others: [fn(&mut ListLogEntriesRequest); 5] = [
        |r| r.container = "other".into(),
        |r| r.since = time(0, 1),
        |r| r.until = time(4_000_000_000, 0),
        |r| r.streams = vec![1],
        |r| r.streams = vec![1, 2],
    ];
    for change in others {
        let mut other = next.clone();
        change(&mut other);
        let refused = reason(&server, &other).await;
        assert_eq!(
            refused,
            (Code::InvalidArgument, "PAGE_TOKEN_INVALID".into())
        );
    }
    let longer = ListLogEntriesRequest {
        page_size: 30,
        ..next.clone()
    };
    assert_eq!(server.page(&longer).await.entries.len(), 30);
    assert_eq!(texts(&server.page(&next).await)[9], "39");
    server.stop().await;
}

#[tokio::test]
async fn a_token_outlives_the_server_that_gave_it_and_is_refused_beside_another_engine() {
    let sim = engine();
    write(&sim.container("web").run(), 0..50);
    let server = Server::start(&sim).await;
    let request = paged("web", 10);
    let next = before(&request, &server.page(&request).await);
    server.stop().await;
    let server = Server::start(&sim).await;
    assert_eq!(texts(&server.page(&next).await)[0], "30");
    server.stop().await;
    let elsewhere = engine_of(Engine::current().named("elsewhere"));
    write(&elsewhere.container("web").run(), 0..50);
    let server = Server::start(&elsewhere).await;
    let refused = reason(&server, &next).await;
    assert_eq!(
        refused,
        (Code::InvalidArgument, "PAGE_TOKEN_INVALID".into())
    );
    server.stop().await;
}

#[tokio::test]
async fn a_later_page_is_of_the_container_that_the_first_one_found() {
    let sim = engine();
    let web = sim.container("web").run();
    write(&web, 0..50);
    let server = Server::start(&sim).await;
    let request = paged("web", 10);
    let first = server.page(&request).await;
    web.rename("old");
    let usurper = sim.container("web").run();
    usurper.stdout("not this\n");
    server.until_listed("old").await;
    server.until_listed(usurper.id()).await;
    let second = server.page(&before(&request, &first)).await;
    assert_eq!(texts(&second)[9], "39");
    assert_eq!(second.container.clone().unwrap().name, "old");
    assert_eq!(second.container.clone().unwrap().id, web.id());
    web.remove();
    let third = before(&request, &second);
    let refused = reason(&server, &third).await;
    assert_eq!(refused, (Code::NotFound, "CONTAINER_NOT_FOUND".into()));
    assert_eq!(texts(&server.page(&request).await), ["not this"]);
    server.stop().await;
}

#[tokio::test]
async fn a_place_that_retention_deleted_is_a_gap_and_the_end() {
    let sim = engine();
    let driver = Driver::json_file().max_size(1_000_000).max_file(2);
    let web = sim.container("web").driver(driver).run();
    write(&web, 0..100);
    let server = Server::start(&sim).await;
    let request = paged("web", 10);
    let first = server.page(&request).await;
    web.rotate_log();
    write(&web, 100..200);
    // Rotation alone hides nothing.
    let second = server.page(&before(&request, &first)).await;
    assert_eq!(texts(&second)[9], "89");
    web.rotate_log();
    write(&web, 200..210);
    let lost = server.page(&before(&request, &second)).await;
    assert!(lost.entries.is_empty());
    assert_eq!(lost.next_page_token, "");
    assert_eq!(lost.gaps.len(), 1);
    assert_eq!(lost.gaps[0].cause(), GapCause::RotatedOut);
    assert_eq!(lost.gaps[0].before_time, second.entries[0].time);
    assert_eq!(lost.gaps[0].container.as_ref().unwrap().id, web.id());
    let pages = server.walk(&request).await;
    let all = joined(&pages);
    assert_eq!(all.len(), lines_of(&web).len());
    assert_eq!(text(&all[0]), "100");
    server.stop().await;
}

#[tokio::test]
async fn retention_that_reached_only_what_lies_before_a_token_is_no_gap() {
    let sim = engine();
    let driver = Driver::json_file().max_size(1_000_000).max_file(2);
    let web = sim.container("web").driver(driver).run();
    write(&web, 0..50);
    web.rotate_log();
    write(&web, 50..100);
    let server = Server::start(&sim).await;
    let request = paged("web", 20);
    let first = server.page(&request).await;
    web.rotate_log();
    let second = server.page(&before(&request, &first)).await;
    assert_eq!(texts(&second)[0], "60");
    let third = server.page(&before(&request, &second)).await;
    assert_eq!(texts(&third)[0], "50");
    assert!(third.gaps.is_empty() && third.next_page_token.is_empty());
    server.stop().await;
}

#[tokio::test]
async fn pages_of_a_log_that_cannot_be_read_are_refused_with_the_reason() {
    let sim = engine();
    sim.container("mute").driver(Driver::none()).run();
    sim.container("dead").run().mark_dead();
    let strange = sim.container("strange").run();
    let server = Server::start(&sim).await;
    let words = "configured logging driver does not support reading";
    strange.fault(Fault::refuse(501, words).sticky());
    for (name, expected) in [
        ("mute", "LOG_DRIVER_UNREADABLE"),
        ("dead", "CONTAINER_REMOVING"),
        ("strange", "LOG_DRIVER_UNREADABLE"),
    ] {
        let refused = reason(&server, &paged(name, 5)).await;
        assert_eq!(
            refused,
            (Code::FailedPrecondition, expected.into()),
            "{name}"
        );
    }
    server.stop().await;
}

#[tokio::test]
async fn while_the_engine_is_away_a_page_is_unavailable_and_its_token_stays_valid() {
    let sim = engine();
    let web = sim.container("web").run();
    write(&web, 0..50);
    let server = Server::start(&sim).await;
    let request = paged("web", 10);
    let next = before(&request, &server.page(&request).await);
    sim.stop();
    let refused = reason(&server, &next).await;
    assert_eq!(refused, (Code::Unavailable, "ENGINE_UNAVAILABLE".into()));
    sim.start();
    server.until_ready().await;
    assert_eq!(texts(&server.page(&next).await)[0], "30");
    server.stop().await;
}

#[tokio::test]
async fn a_read_that_broke_is_read_again() {
    let sim = engine();
    let web = sim.container("web").run();
    write(&web, 0..50);
    let server = Server::start(&sim).await;
    web.fault(Fault::end(Ending::Torn).after(30));
    let page = server.page(&paged("web", 40)).await;
    assert_eq!(page.entries.len(), 40);
    assert_eq!(texts(&page)[0], "10");
    web.fault(Fault::daemon_error("cannot decode").after(30).sticky());
    let refused = reason(&server, &paged("web", 40)).await;
    assert_eq!(refused, (Code::Unavailable, "ENGINE_UNAVAILABLE".into()));
    server.stop().await;
}

#[tokio::test]
async fn a_deadline_that_passes_ends_the_call_and_the_read() {
    let sim = engine();
    let web = sim.container("web").run();
    write(&web, 0..50);
    let server = Server::start(&sim).await;
    web.fault(Fault::stall().after(3).sticky());
    let mut request = tonic::Request::new(paged("web", 40));
    request.set_timeout(Duration::from_millis(300));
    let mut client = server.logs();
    let status = within(client.list_log_entries(request)).await.unwrap_err();
    let (code, reason, _) = told(&status);
    assert_eq!(
        (code, &*reason),
        (Code::DeadlineExceeded, "DEADLINE_EXCEEDED")
    );
    until(|| sim.stats().log_streams == 0).await;
    server.stop().await;
}
