//! The engine as a process: stopped, started, frozen, thawed, and reached over a socket.

use std::time::Duration;

use pulsetail_sim::{Container, Engine, Sim};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::client::{End, get, request_over};

const FOLLOW: &str = "/containers/web/logs?stdout=1&follow=1";

fn running() -> (Sim, Container) {
    let sim = Sim::new(Engine::current());
    let web = sim.container("web").run();
    (sim, web)
}

#[tokio::test(start_paused = true)]
async fn a_stopped_engine_tears_its_connections_and_refuses_new_ones() {
    let (sim, web) = running();
    let mut follow = get(&sim, FOLLOW).await;
    sim.stop();
    assert_eq!(follow.next().await, Err(End::Torn));
    assert!(sim.connect().is_err());
    web.stdout("meanwhile\n");
    sim.start();
    let mut follow = get(&sim, FOLLOW).await;
    assert!(follow.text().await.ends_with("meanwhile\n"));
}

#[tokio::test(start_paused = true)]
async fn no_connection_outlives_a_restart_and_events_are_forgotten() {
    let (sim, _web) = running();
    let mut follow = get(&sim, FOLLOW).await;
    sim.stop();
    sim.start();
    assert_eq!(follow.next().await, Err(End::Torn));
    let events = get(&sim, &format!("/events?since=1&until={}", sim.now().secs())).await;
    assert_eq!(events.whole().await, (Vec::new(), End::Clean));
}

#[tokio::test(start_paused = true)]
async fn a_frozen_engine_is_silent_and_goes_on_where_it_was() {
    let (sim, web) = running();
    let mut follow = get(&sim, FOLLOW).await;
    sim.freeze();
    web.stdout("later\n");
    assert!(follow.is_silent().await);
    assert!(
        timeout(Duration::from_secs(60), get(&sim, "/_ping"))
            .await
            .is_err()
    );
    sim.thaw();
    assert!(follow.text().await.ends_with("later\n"));
    assert_eq!(get(&sim, "/_ping").await.status, 200);
}

#[tokio::test]
async fn a_unix_socket_serves_refuses_while_stopped_and_goes_with_the_engine() {
    let (sim, _web) = running();
    let path = std::env::temp_dir().join(format!("pulsetail-sim-{}.sock", std::process::id()));
    sim.listen_unix(&path).unwrap();
    let connect = || UnixStream::connect(&path);
    let pong = request_over(connect().await.unwrap(), "GET", "/_ping")
        .await
        .unwrap();
    assert_eq!(pong.whole().await.0, b"OK");
    assert!(sim.listen_unix(&path).is_err());

    let idle = connect().await.unwrap();
    sim.wait_until(|stats| stats.connections == 1).await;
    sim.stop();
    sim.wait_until(|stats| stats.connections == 0).await;
    drop(idle);
    assert!(connect().await.is_err());

    sim.start();
    let served = async {
        loop {
            match connect().await {
                Ok(io) => break request_over(io, "GET", "/_ping").await.unwrap(),
                Err(_) => tokio::task::yield_now().await,
            }
        }
    };
    let pong = timeout(Duration::from_secs(10), served).await.unwrap();
    assert_eq!(pong.status, 200);
    drop((pong, sim));
    let gone = async {
        while path.exists() {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(10), gone).await.unwrap();
}
