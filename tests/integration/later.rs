//! What later releases will serve: refused by name, never accepted and ignored.

use pulsetail::proto::{self, Selector, StreamLogsRequest};
use tonic::Code;

use crate::harness::{Server, engine, stored};
use crate::requests::{assert_untouched, refusal, told};

/// A field, and what sets it.
type Setting<T> = (&'static str, fn(&mut T));

const OF_REQUESTS: [Setting<StreamLogsRequest>; 3] = [
    ("filter.min_level", |r| {
        let filter = r.filter.get_or_insert_default();
        filter.min_level = 77;
    }),
    ("overflow_policy", |r| r.overflow_policy = 77),
    ("streams[0]", |r| r.streams = vec![99]),
];

const OF_SELECTORS: [Setting<Selector>; 1] = [("label_requirements[0].operator", |s| {
    s.label_requirements = vec![proto::LabelRequirement {
        key: "a".into(),
        operator: 77,
        values: Vec::new(),
    }];
})];

fn later_fields() -> Vec<(String, StreamLogsRequest)> {
    let request = |(field, set): Setting<StreamLogsRequest>| {
        let mut request = stored("web");
        set(&mut request);
        (field.to_owned(), request)
    };
    let selector = |(field, set): Setting<Selector>| {
        let mut request = stored("web");
        set(request.selector.as_mut().unwrap());
        (format!("selector.{field}"), request)
    };
    let requests = OF_REQUESTS.into_iter().map(request);
    requests
        .chain(OF_SELECTORS.into_iter().map(selector))
        .collect()
}

#[tokio::test]
async fn a_field_of_a_later_release_is_refused_by_name_and_never_ignored() {
    let sim = engine();
    sim.container("web").run();
    let server = Server::start(&sim).await;
    for (field, request) in later_fields() {
        let status = refusal(&server, request).await;
        let (code, reason, fields) = told(&status);
        assert_eq!(
            (code, &*reason),
            (Code::Unimplemented, "NOT_IMPLEMENTED"),
            "{field}"
        );
        assert_eq!(fields, [&*field]);
        assert!(status.message().contains(&field), "{}", status.message());
    }
    assert_untouched(&sim);
    server.stop().await;
}
