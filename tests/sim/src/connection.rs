//! Connections: served while the engine runs, left alone while it is frozen, dropped when it stops.

use std::future::pending;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::{fs, io};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::server;
use crate::world::{Open, World};

/// What the engine process is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Power {
    /// Counts the starts: no connection outlives the run it was made in.
    pub(crate) boot: u64,
    pub(crate) mode: Mode,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    On,
    /// Connects succeed and nothing moves: a process under SIGSTOP.
    Frozen,
    Off,
}

impl Power {
    pub(crate) fn first() -> Self {
        Self {
            boot: 0,
            mode: Mode::On,
        }
    }
}

/// One connection of the engine's present run, counted from the moment it was made.
pub(crate) struct Connection {
    world: Arc<World>,
    power: watch::Receiver<Power>,
    boot: u64,
    _open: Open,
}

impl Connection {
    /// None while the engine is stopped.
    pub(crate) fn accept(world: &Arc<World>) -> Option<Self> {
        let power = world.power.subscribe();
        let Power { boot, mode } = *power.borrow();
        let connection = || Self {
            world: Arc::clone(world),
            power,
            boot,
            _open: world.open(|stats| &mut stats.connections),
        };
        (mode != Mode::Off).then(connection)
    }

    pub(crate) async fn serve(mut self, io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let world = Arc::clone(&self.world);
        let answer = service_fn(move |request| server::answer(Arc::clone(&world), request));
        let mut http = pin!(http1::Builder::new().serve_connection(TokioIo::new(io), answer));
        loop {
            let power = *self.power.borrow_and_update();
            if power.boot != self.boot || power.mode == Mode::Off {
                return;
            }
            tokio::select! {
                // Power first: a stopped or frozen engine sends nothing more.
                biased;
                changed = self.power.changed() => if changed.is_err() { return },
                // How a client ends its connection does not matter.
                _ = &mut http, if power.mode == Mode::On => return,
            }
        }
    }
}

/// A unix socket that exists while the engine runs.
pub(crate) struct Socket {
    world: Arc<World>,
    file: SocketFile,
    listener: Option<UnixListener>,
}

struct SocketFile(PathBuf);

impl Socket {
    pub(crate) fn bind(world: &Arc<World>, path: &Path) -> io::Result<Self> {
        let listener = Some(UnixListener::bind(path)?);
        Ok(Self {
            world: Arc::clone(world),
            file: SocketFile(path.to_owned()),
            listener,
        })
    }

    pub(crate) async fn accept(mut self) {
        let mut power = self.world.power.subscribe();
        let mut connections = JoinSet::new();
        loop {
            let mode = power.borrow_and_update().mode;
            self.listen(mode);
            tokio::select! {
                // Power first: a stopped engine takes nobody.
                biased;
                changed = power.changed() => if changed.is_err() { return },
                Some(_) = connections.join_next() => (),
                accepted = next_client(self.listener.as_ref()) => {
                    if let (Ok(client), Some(connection)) = (accepted, Connection::accept(&self.world)) {
                        connections.spawn(connection.serve(client));
                    }
                }
            }
        }
    }

    /// Refuses clients while the engine is off. The file stays, as a killed daemon leaves it.
    fn listen(&mut self, mode: Mode) {
        match (mode, &self.listener) {
            (Mode::Off, _) => self.listener = None,
            (_, None) => {
                self.file.remove();
                self.listener = UnixListener::bind(&self.file.0).ok();
            }
            (_, Some(_)) => (),
        }
    }
}

async fn next_client(listener: Option<&UnixListener>) -> io::Result<tokio::net::UnixStream> {
    match listener {
        Some(listener) => listener.accept().await.map(|(client, _)| client),
        None => pending().await,
    }
}

impl SocketFile {
    fn remove(&self) {
        // Whoever removed it before has done the same.
        drop(fs::remove_file(&self.0));
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        self.remove();
    }
}
