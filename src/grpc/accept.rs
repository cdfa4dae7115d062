//! Connections, bounded in number and in the time they may stay silent.
//!
//! tonic's own accept loop spins when descriptors run out, and keeps a connection
//! for ever that never sends a byte; such a one also blocks its shutdown.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;
use tonic::transport::server::Connected;
use tracing::warn;

/// Connections at once, of all listeners together.
const MAX_CONNECTIONS: usize = 1_024;
/// A connection that sends nothing for so long at first is closed.
const PREFACE: Duration = Duration::from_secs(5);
/// Rest after a failed accept: most often there are no descriptors left.
const REST: Duration = Duration::from_millis(50);

/// An address to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// TCP; port 0 takes a free one.
    Tcp(SocketAddr),
    /// A unix socket.
    Unix(PathBuf),
}

/// A bound listener.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// A unix socket, removed when it is dropped.
    Unix(UnixListener, Socket),
}

/// The file of a unix socket.
#[derive(Debug)]
pub struct Socket(PathBuf);

impl Drop for Socket {
    fn drop(&mut self) {
        // It may have been removed by somebody else.
        let _gone = std::fs::remove_file(&self.0);
    }
}

impl Listener {
    /// Binds an address.
    ///
    /// # Errors
    /// The address is taken, or not ours to bind.
    pub async fn bind(address: &Address) -> io::Result<Self> {
        match address {
            Address::Tcp(address) => Ok(Listener::Tcp(TcpListener::bind(address).await?)),
            Address::Unix(path) => {
                clear(path).await?;
                let listener = UnixListener::bind(path)?;
                Ok(Listener::Unix(listener, Socket(path.clone())))
            }
        }
    }

    /// The address it is bound to.
    ///
    /// # Errors
    /// The operating system's.
    pub fn address(&self) -> io::Result<Address> {
        match self {
            Listener::Tcp(listener) => listener.local_addr().map(Address::Tcp),
            Listener::Unix(_, Socket(path)) => Ok(Address::Unix(path.clone())),
        }
    }

    async fn accept(&self) -> io::Result<Wire> {
        match self {
            Listener::Tcp(listener) => {
                let (tcp, _peer) = listener.accept().await?;
                // Not set by tonic for listeners it did not make.
                tcp.set_nodelay(true)?;
                Ok(Wire::Tcp(tcp))
            }
            Listener::Unix(listener, _) => Ok(Wire::Unix(listener.accept().await?.0)),
        }
    }
}

/// Removes a socket that nobody listens on any more.
async fn clear(path: &Path) -> io::Result<()> {
    match UnixStream::connect(path).await {
        Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)
        }
        Err(_) => Ok(()),
    }
}

/// Accepts connections as tasks of `tasks` until the receiver is dropped.
pub(crate) fn accept(
    listeners: Vec<Listener>,
    tasks: &TaskTracker,
) -> mpsc::Receiver<io::Result<Connection>> {
    let (sender, connections) = mpsc::channel(1);
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    for listener in listeners {
        let (sender, places, tasks) = (sender.clone(), Arc::clone(&places), tasks.clone());
        tasks.clone().spawn(async move {
            tokio::select! {
                () = sender.closed() => {}
                () = accept_all(&listener, &sender, &places, &tasks) => {}
            }
        });
    }
    connections
}

async fn accept_all(
    listener: &Listener,
    sender: &mpsc::Sender<io::Result<Connection>>,
    places: &Arc<Semaphore>,
    tasks: &TaskTracker,
) {
    loop {
        // Waits in the operating system's queue while all places are taken.
        let Ok(place) = Arc::clone(places).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok(wire) => {
                let sender = sender.clone();
                tasks.spawn(async move {
                    if let Ok(Ok(())) = timeout(PREFACE, wire.readable()).await {
                        // The server may have stopped meanwhile.
                        let connection = Connection {
                            wire,
                            _place: place,
                        };
                        let _stopped = sender.send(Ok(connection)).await;
                    }
                });
            }
            Err(error) => {
                warn!(%error, "connection not accepted");
                sleep(REST).await;
            }
        }
    }
}

#[derive(Debug)]
enum Wire {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Wire {
    async fn readable(&self) -> io::Result<()> {
        match self {
            Wire::Tcp(tcp) => tcp.readable().await,
            Wire::Unix(unix) => unix.readable().await,
        }
    }
}

/// An accepted connection, with its place.
#[derive(Debug)]
pub(crate) struct Connection {
    wire: Wire,
    _place: OwnedSemaphorePermit,
}

impl Connected for Connection {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.wire {
            Wire::Tcp(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Wire::Unix(unix) => Pin::new(unix).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.wire {
            Wire::Tcp(tcp) => Pin::new(tcp).poll_write(cx, buf),
            Wire::Unix(unix) => Pin::new(unix).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.wire {
            Wire::Tcp(tcp) => Pin::new(tcp).poll_write_vectored(cx, bufs),
            Wire::Unix(unix) => Pin::new(unix).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.wire {
            Wire::Tcp(tcp) => Pin::new(tcp).poll_flush(cx),
            Wire::Unix(unix) => Pin::new(unix).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.wire {
            Wire::Tcp(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Wire::Unix(unix) => Pin::new(unix).poll_shutdown(cx),
        }
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Address::Tcp(address) => address.fmt(f),
            Address::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}
