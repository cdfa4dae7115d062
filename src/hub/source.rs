//! What logs are read with.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::pack::{Issue, Packer};
use super::registry::Reading;
use super::slots::Resyncs;
use crate::docker::{Container, Engine, Inventory, Reach};
use crate::supervisor::Backoff;
use crate::tail::{Cursor, Dialect, GapCause, Settings, Skips};

/// Opening a log must cost no more than a few short tails: most containers write
/// one stream, and looking further for the other would cost them all.
const ORIENTATION: u32 = 64;

/// The log's end is found sooner by any engine that is well. A look at what is
/// stored that brings nothing for so long gives its place up; it may go on.
pub(crate) const SILENCE: Duration = Duration::from_secs(3);
/// An engine that is well answers sooner.
const WELL: Duration = Duration::from_secs(1);

/// What a reader reads with.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) engine: Engine,
    pub(crate) reach: watch::Receiver<Reach>,
    pub(crate) inventory: watch::Receiver<Arc<Inventory>>,
    /// Who may look at what is stored.
    pub(crate) resyncs: Resyncs,
}

impl Source {
    /// What packs a container's entries. A deletion before they begin means `cause`.
    /// `issued`: up to when their reader knows containers; `None`: it is told of new
    /// ones.
    pub(crate) fn packer(
        &self,
        container: &Container,
        issued: Option<i64>,
        cause: GapCause,
    ) -> Packer {
        let inventory = self.inventory.borrow();
        let engine = inventory.engine.as_ref();
        let tag = engine.map_or(0, |engine| Cursor::tag(&engine.id));
        let listed = || Issue::Listed(self.inventory.clone());
        Packer::new(container, tag, issued.map_or_else(listed, Issue::At), cause)
    }

    /// How a container's log is read.
    pub(crate) fn settings_for(&self, container: &Container, reading: &Reading) -> Settings {
        let inventory = self.inventory.borrow();
        let engine = inventory.engine.as_ref();
        let major = engine.map_or(0, |engine| engine.major());
        // Before 23 a stream can lose its place anywhere as files rotate.
        let is_exact = engine.is_some_and(|engine| engine.kind == "docker" && major >= 23);
        let is_podman = engine.is_some_and(|engine| engine.kind == "podman");
        let skips = match (container.files.bytes, is_exact) {
            // Podman empties a file that is full.
            _ if is_podman => Skips::Anywhere,
            (0, _) if container.log_driver == "json-file" => Skips::Never,
            (0, _) | (_, false) => Skips::Anywhere,
            (bytes, true) => Skips::Files(bytes),
        };
        Settings {
            rotation: reading.rotation,
            max_line: reading.max_line,
            orientation: ORIENTATION,
            skips,
            kept: if is_podman { 0 } else { container.files.kept() },
            dialect: match is_podman {
                true => Dialect::PODMAN,
                false => Dialect::of(&container.log_driver, major),
            },
            seed: fastrand::u64(..),
        }
    }

    /// Whether the engine is well: then a log's end that does not come is looked for
    /// in vain.
    pub(crate) async fn is_well(&self) -> bool {
        matches!(timeout(WELL, self.engine.ping()).await, Ok(Ok(())))
    }

    /// Waits before the next attempt: out of step with others, and not at all
    /// while the engine is known to be away.
    pub(crate) async fn pause(&mut self, backoff: &mut Backoff) {
        sleep(backoff.next_delay()).await;
        // An error means that the service ends.
        if self.reach.wait_for(Reach::is_here).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
