//! As many members as there may be, and one more.

use std::time::Duration;

use prost::Message;
use pulsetail::proto::server_service_client::ServerServiceClient;
use pulsetail::proto::{
    ClosingReason, GetServerInfoRequest, Selector, StreamLogsRequest, stream_logs_request::Start,
    stream_logs_response::Event,
};
use pulsetail_sim::Sim;
use tokio::time::timeout;
use tonic::Code;

use super::{every, following};
use crate::harness::{Server, engine};
use crate::requests::{refusal, told};

const MOST: usize = 4_096;
/// Its progress comes every 10 s, if the machine has the time.
const PATIENCE: Duration = Duration::from_secs(120);

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
