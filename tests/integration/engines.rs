//! Every way to an engine: unix socket, TCP, TLS, in memory.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use pulsetail::docker::{Engine, Surroundings, find};
use pulsetail_sim::Sim;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// The names of the containers behind an engine URL.
async fn listed(url: &str, around: &Surroundings) -> Result<usize, String> {
    let engine = Engine::new(find(Some(url), around)?).map_err(|e| e.to_string())?;
    engine.identify().await.map_err(|e| e.to_string())?;
    engine
        .list()
        .await
        .map(|ids| ids.len())
        .map_err(|e| e.to_string())
}

fn sim() -> Sim {
    let sim = Sim::new(pulsetail_sim::Engine::current());
    sim.container("web").run();
    sim
}

async fn relay(sim: &Sim, mut client: impl AsyncRead + AsyncWrite + Unpin) {
    let mut engine = sim.connect().unwrap();
    // Either side may hang up.
    let _over = copy_bidirectional(&mut client, &mut engine).await;
}

/// A TCP address before the simulated engine, with TLS if told how.
async fn listen(sim: Sim, tls: Option<TlsAcceptor>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let (sim, tls) = (sim.clone(), tls.clone());
            tokio::spawn(async move {
                match tls {
                    None => relay(&sim, tcp).await,
                    // A client without a certificate is turned away.
                    Some(tls) => {
                        if let Ok(tls) = tls.accept(tcp).await {
                            relay(&sim, tls).await;
                        }
                    }
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn an_engine_is_reached_by_unix_socket_and_by_tcp() {
    let sim = sim();
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("docker.sock");
    sim.listen_unix(&socket).unwrap();
    let around = Surroundings::default();
    let unix = format!("unix://{}", socket.display());
    assert_eq!(listed(&unix, &around).await, Ok(1));
    let address = listen(sim, None).await;
    assert_eq!(listed(&format!("tcp://{address}"), &around).await, Ok(1));
}

/// The three files of a docker certificate folder, and the server that wants them.
fn certificates(folder: &Path) -> TlsAcceptor {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let issue = |name: &str| {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        (params.signed_by(&key, &ca).unwrap(), key)
    };
    let ((server, server_key), (client, client_key)) = (issue("127.0.0.1"), issue("client"));
    fs::write(folder.join("ca.pem"), ca.pem()).unwrap();
    fs::write(folder.join("cert.pem"), client.pem()).unwrap();
    fs::write(folder.join("key.pem"), client_key.serialize_pem()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(ca.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let key = PrivatePkcs8KeyDer::from(server_key.serialize_der());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(vec![server.der().clone()], key.into())
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

#[tokio::test]
async fn a_tls_engine_is_reached_with_the_certificates_and_not_without() {
    let folder = tempfile::tempdir().unwrap();
    let acceptor = certificates(folder.path());
    let address = listen(sim(), Some(acceptor)).await;
    let url = format!("tcp://{address}");
    let around = Surroundings {
        tls_verify: true,
        cert_path: Some(folder.path().into()),
        ..Surroundings::default()
    };
    assert_eq!(listed(&url, &around).await, Ok(1));
    assert!(listed(&url, &Surroundings::default()).await.is_err());
    fs::remove_file(folder.path().join("cert.pem")).unwrap();
    fs::remove_file(folder.path().join("key.pem")).unwrap();
    assert!(listed(&url, &around).await.is_err());
    fs::remove_file(folder.path().join("ca.pem")).unwrap();
    let missing = listed(&url, &around).await.unwrap_err();
    assert!(missing.contains("ca.pem"), "{missing}");
}
