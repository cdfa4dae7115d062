//! As many members and changes as there may be, and one more.

use std::collections::BTreeSet;
use std::time::Duration;

use prost::Message;
use pulsetail::proto::server_service_client::ServerServiceClient;
use pulsetail::proto::{
    ClosingReason, GetContainerRequest, GetServerInfoRequest, Selector, StreamLogsRequest,
    stream_logs_request::Start, stream_logs_response::Event,
};
use pulsetail_sim::{Container, Ending, Endpoint, Fault, Sim};
use tokio::time::{sleep, timeout};
use tonic::Code;

use super::{every, following, knows_no_further, named};
use crate::harness::{Server, engine};
use crate::requests::{refusal, told};
use crate::subscriber::Subscriber;

const MOST: usize = 4_096;
/// So much of so many takes its time on a machine that has little.
const PATIENCE: Duration = Duration::from_secs(240);

fn stopped() -> StreamLogsRequest {
    let mut request = following(Selector {
        include_stopped: true,
        ..every()
    });
    request.start = Some(Start::FromBeginning(true));
    request
}

fn create(sim: &Sim, numbers: std::ops::Range<usize>) {
    for n in numbers {
        let name = format!("a-container-of-some-name-{n:04}");
        drop(sim.container(name).create());
    }
}

/// Bytes of members that `opened` holds at the most.
const OPENED: usize = 3 << 20;
/// A label this long makes a member too large for many of them to fit.
const PROJECT: usize = 100_000;

#[tokio::test]
async fn members_that_do_not_fit_into_the_opening_join_behind_it() {
    let sim = engine();
    let project = "p".repeat(PROJECT);
    let create = |n: usize| {
        let container = sim.container(format!("web-{n:02}"));
        container
            .label("com.docker.compose.project", &project)
            .run()
    };
    let all: Vec<_> = (0..OPENED / PROJECT + 10).map(create).collect();
    let server = Server::start_with(&sim, &["--rotation=10m"]).await;
    let mut heard = server.open(following(every())).await;
    heard.caught_up().await;
    let opened = heard.first();
    assert!(opened.encoded_len() <= OPENED, "{}", opened.encoded_len());
    let is_full = opened.encoded_len() + 2 * PROJECT > OPENED;
    assert!(is_full && opened.members.len() < all.len());
    // Before anything else comes, everybody is told once, with a cursor.
    let behind = heard.events[1..].iter().map_while(|event| match event {
        Event::ContainerChange(change) => change.member.as_ref(),
        _ => None,
    });
    let members: Vec<_> = opened.members.iter().chain(behind).collect();
    assert!(members.iter().all(|member| !member.cursor.is_empty()));
    let ids = members
        .iter()
        .filter_map(|member| member.container.as_ref());
    let ids: BTreeSet<_> = ids.map(|container| &*container.id).collect();
    assert_eq!((members.len(), ids.len()), (all.len(), all.len()));
    for web in &all {
        web.stdout("line\n");
    }
    heard.entries(all.len()).await;
    server.stop().await;
}

#[ignore = "run by tests/long.sh: 4,096 readers take their time"]
#[tokio::test]
async fn one_member_too_many_ends_a_stream_that_holds_all_others() {
    let sim = engine();
    create(&sim, 0..MOST);
    // At the short rotation of other tests it would probe without a pause.
    let server = Server::start_with(&sim, &["--rotation=10m"]).await;
    let mut info = ServerServiceClient::new(server.channel.clone());
    let info = info.get_server_info(GetServerInfoRequest {}).await.unwrap();
    let limit = info.into_inner().limits.unwrap().max_response_bytes as usize;
    let mut stream = server
        .logs()
        .stream_logs(stopped())
        .await
        .unwrap()
        .into_inner();
    let (mut opened, mut closing) = (None, None);
    let status = loop {
        match timeout(PATIENCE, stream.message())
            .await
            .expect("it goes on")
        {
            Ok(message) => match message.and_then(|message| message.event) {
                Some(Event::Opened(first)) => {
                    opened = Some(first);
                    create(&sim, MOST..MOST + 1);
                }
                Some(Event::Closing(last)) => closing = Some(last),
                Some(_) => {}
                None => panic!("it ended well"),
            },
            Err(status) => break status,
        }
    };
    let expected = (Code::ResourceExhausted, "CONTAINER_LIMIT");
    assert_eq!((status.code(), &*told(&status).1), expected);
    let (opened, closing) = (opened.unwrap(), closing.unwrap());
    assert_eq!(closing.reason(), ClosingReason::Unspecified);
    assert_eq!(opened.members.len(), MOST);
    let positions = &closing.progress.as_ref().unwrap().positions;
    assert_eq!(positions.len(), MOST);
    let largest = opened.encoded_len().max(closing.encoded_len());
    assert!(largest <= limit && limit <= 4 << 20, "{largest} of {limit}");
    // Nor does a stream begin that would have one too many.
    let status = refusal(&server, stopped()).await;
    assert_eq!((status.code(), &*told(&status).1), expected);
    server.stop().await;
}

/// Changes that are kept for a stream which has not read them.
const KEPT: usize = 8_192;

/// Ends the engine's events, so that it is a list that tells of whatever changes from now on.
async fn unheard(sim: &Sim, web: &Container) {
    let faults = sim.stats().faults;
    sim.fault(Fault::end(Ending::Clean).on(Endpoint::Events));
    let refused = Fault::refuse(500, "no events").on(Endpoint::Events);
    sim.fault(refused.sticky());
    web.emit("update");
    sim.wait_until(|stats| stats.faults > faults).await;
}

/// One list tells of one change more than are kept, another of as many as are.
#[tokio::test]
async fn a_stream_ends_where_more_changes_are_unread_than_are_kept() {
    let sim = engine();
    let web = sim.container("web").run();
    let server = Server::start_with(&sim, &["--rotation=10m"]).await;
    let mut heard = server.open(following(named(&["web"]))).await;
    heard.caught_up().await;
    unheard(&sim, &web).await;
    let new = |n| sim.container(format!("new-{n}")).create();
    let others: Vec<_> = (0..=KEPT).map(new).collect();
    sim.clear_faults();
    let closing = |event: &Event| matches!(event, Event::Closing(_));
    let over = |heard: &Subscriber| heard.events.iter().any(closing);
    heard.until_within(PATIENCE, over).await;
    knows_no_further(&mut heard).await;
    let request = StreamLogsRequest {
        cursors: heard.cursors(),
        ..following(named(&["web"]))
    };
    let mut heard = server.open(request).await;
    unheard(&sim, &web).await;
    others[1..].iter().for_each(Container::remove);
    sim.clear_faults();
    let is_gone = async || {
        let name = "new-1".to_owned();
        let mut client = server.containers();
        let known = client.get_container(GetContainerRequest { name }).await;
        known.is_err_and(|status| status.code() == Code::NotFound)
    };
    let listed = timeout(PATIENCE, async {
        while !is_gone().await {
            sleep(Duration::from_millis(10)).await;
        }
    });
    listed.await.expect("it is listed");
    web.stdout("one\n");
    heard.entries(1).await;
    server.stop().await;
}
