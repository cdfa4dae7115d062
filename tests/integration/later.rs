//! What later releases will serve: refused by name, never accepted and ignored.

use prost_types::Duration as Ago;
use pulsetail::proto::task_service_client::TaskServiceClient;
use pulsetail::proto::{self, Selector, StreamLogsRequest};
use tonic::Code;

use crate::harness::{Server, engine, stored};
use crate::requests::{assert_untouched, refusal, told};

#[allow(clippy::too_many_lines, reason = "a table, read top to bottom")]
fn later_fields() -> Vec<(&'static str, StreamLogsRequest)> {
    let selecting = |change: fn(&mut Selector)| {
        let mut request = stored("web");
        change(request.selector.as_mut().unwrap());
        request
    };
    let asking = |change: fn(&mut StreamLogsRequest)| {
        let mut request = stored("web");
        change(&mut request);
        request
    };
    vec![
        (
            "filter",
            asking(|r| r.filter = Some(proto::LogFilter::default())),
        ),
        (
            "max_latency",
            asking(|r| r.max_latency = Some(Ago::default())),
        ),
        (
            "overflow_policy",
            asking(|r| r.overflow_policy = proto::OverflowPolicy::Disconnect.into()),
        ),
        ("overflow_policy", asking(|r| r.overflow_policy = 77)),
        ("streams[0]", asking(|r| r.streams = vec![99])),
        (
            "selector.labels",
            selecting(|s| s.labels = [("a".into(), "b".into())].into()),
        ),
        (
            "selector.label_requirements",
            selecting(|s| s.label_requirements = vec![proto::LabelRequirement::default()]),
        ),
        (
            "selector.compose_project",
            selecting(|s| s.compose_project = "shop".into()),
        ),
        (
            "selector.compose_services",
            selecting(|s| s.compose_services = vec!["web".into()]),
        ),
        (
            "selector.images",
            selecting(|s| s.images = vec!["nginx".into()]),
        ),
        ("selector.all", selecting(|s| s.all = true)),
        (
            "selector.exclude",
            selecting(|s| s.exclude = vec!["db".into()]),
        ),
        (
            "selector.include_stopped",
            selecting(|s| s.include_stopped = true),
        ),
        (
            "selector.allow_missing",
            selecting(|s| s.allow_missing = true),
        ),
        (
            "selector.names[0]",
            selecting(|s| s.names = vec!["web-*".into()]),
        ),
        (
            "selector.names[1]",
            selecting(|s| s.names.push("we?".into())),
        ),
    ]
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
        assert_eq!(fields, [field]);
        assert!(status.message().contains(field), "{}", status.message());
    }
    let selector = Some(Selector {
        all: true,
        ..Selector::default()
    });
    let listing = proto::ListContainersRequest {
        selector,
        ..Default::default()
    };
    let status = server
        .containers()
        .list_containers(listing)
        .await
        .unwrap_err();
    assert_eq!(
        told(&status),
        (
            Code::Unimplemented,
            "NOT_IMPLEMENTED".into(),
            vec!["selector.all".into()]
        )
    );
    assert_untouched(&sim);
    server.stop().await;
}

#[tokio::test]
async fn a_method_of_a_later_release_is_refused_by_name() {
    let sim = engine();
    let server = Server::start(&sim).await;
    let mut tasks = TaskServiceClient::new(server.channel.clone());
    let (mut logs, mut containers) = (server.logs(), server.containers());
    let refusals = [
        (
            "ListLogEntries",
            logs.list_log_entries(proto::ListLogEntriesRequest::default())
                .await
                .err(),
        ),
        (
            "WatchContainers",
            containers
                .watch_containers(proto::WatchContainersRequest::default())
                .await
                .err(),
        ),
        (
            "ListTasks",
            tasks
                .list_tasks(proto::ListTasksRequest::default())
                .await
                .err(),
        ),
        (
            "GetTask",
            tasks.get_task(proto::GetTaskRequest::default()).await.err(),
        ),
        (
            "WatchTasks",
            tasks
                .watch_tasks(proto::WatchTasksRequest::default())
                .await
                .err(),
        ),
    ];
    for (method, refusal) in refusals {
        let status = refusal.expect("it is refused");
        assert!(status.message().contains(method), "{}", status.message());
        let (code, reason, _) = told(&status);
        assert_eq!(
            (code, &*reason),
            (Code::Unimplemented, "NOT_IMPLEMENTED"),
            "{method}"
        );
    }
    server.stop().await;
}
