//! Connections to the engine: unix, TCP, TLS and in memory.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

const CONNECT: Duration = Duration::from_secs(5);
/// A half-open TCP engine is noticed within 30 s + 3 × 10 s.
const KEEPALIVE: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_secs(30))
    .with_interval(Duration::from_secs(10))
    .with_retries(3);

/// A byte stream to the engine.
pub(crate) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Wire for S {}

type Dial = dyn Fn() -> BoxFuture<'static, io::Result<DuplexStream>> + Send + Sync;

/// How to reach an engine.
#[derive(Clone)]
pub enum Connector {
    /// A unix socket.
    Unix(PathBuf),
    /// `host:port`, plaintext.
    Tcp(String),
    /// `host:port` and the TLS settings for it.
    Tls(String, TlsSettings),
    /// Streams made by a function, for engines in the same process.
    Memory(Arc<Dial>),
}

/// Certificates for a TLS engine, as the docker CLI keeps them in one folder.
#[derive(Clone)]
pub struct TlsSettings {
    server_name: ServerName<'static>,
    config: Arc<ClientConfig>,
}

impl TlsSettings {
    /// Reads `ca.pem`, `cert.pem` and `key.pem` of `folder`; the last two may
    /// both be absent.
    ///
    /// # Errors
    /// What is missing or unreadable, in words.
    pub fn read(folder: &Path, address: &str) -> Result<Self, String> {
        let at = |name: &str| folder.join(name);
        let mut roots = RootCertStore::empty();
        for root in certificates(&at("ca.pem"))? {
            roots
                .add(root)
                .map_err(|e| format!("{}: {e}", at("ca.pem").display()))?;
        }
        let builder =
            ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .map_err(|e| e.to_string())?
                .with_root_certificates(roots);
        let config = if at("cert.pem").exists() || at("key.pem").exists() {
            let key = PrivateKeyDer::from_pem_file(at("key.pem"))
                .map_err(|e| format!("{}: {e}", at("key.pem").display()))?;
            builder
                .with_client_auth_cert(certificates(&at("cert.pem"))?, key)
                .map_err(|e| format!("{}: {e}", folder.display()))?
        } else {
            builder.with_no_client_auth()
        };
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let host = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let server_name = ServerName::try_from(host).map_err(|e| e.to_string())?;
        Ok(Self {
            server_name,
            config: Arc::new(config),
        })
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|e| format!("{}: {e}", path.display()))
}

impl Connector {
    pub(crate) async fn connect(&self) -> io::Result<Box<dyn Wire>> {
        let refused = || {
            io::Error::new(
                io::ErrorKind::TimedOut,
                "the engine took no connection in time",
            )
        };
        timeout(CONNECT, self.dial()).await.map_err(|_| refused())?
    }

    async fn dial(&self) -> io::Result<Box<dyn Wire>> {
        Ok(match self {
            Connector::Unix(path) => Box::new(UnixStream::connect(path).await?),
            Connector::Tcp(address) => Box::new(dial_tcp(address).await?),
            Connector::Tls(address, tls) => {
                let tcp = dial_tcp(address).await?;
                let connector = TlsConnector::from(Arc::clone(&tls.config));
                Box::new(connector.connect(tls.server_name.clone(), tcp).await?)
            }
            Connector::Memory(dial) => Box::new(dial().await?),
        })
    }
}

async fn dial_tcp(address: &str) -> io::Result<TcpStream> {
    let tcp = TcpStream::connect(address).await?;
    tcp.set_nodelay(true)?;
    SockRef::from(&tcp).set_tcp_keepalive(&KEEPALIVE)?;
    Ok(tcp)
}

impl fmt::Display for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Connector::Unix(path) => write!(f, "unix://{}", path.display()),
            Connector::Tcp(address) => write!(f, "tcp://{address}"),
            Connector::Tls(address, _) => write!(f, "tcp://{address} (TLS)"),
            Connector::Memory(_) => f.write_str("the embedded engine"),
        }
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
