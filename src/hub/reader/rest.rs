//! Whether the container runs, and what a reader does while it does not.

use std::sync::Arc;

use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use super::{Reader, Step, Stop};
use crate::docker::EngineError;
use crate::hub::log::Ended;
use crate::hub::runs::Runs;
use crate::hub::unit::Content;
use crate::tail::{Event, Next};

impl Reader {
    /// Whether the container runs: the inventory may be a moment behind.
    pub(super) async fn look(&mut self) -> Result<Next, Stop> {
        let found = self.source.engine.inspect(&self.container.id).await;
        let container = found.map_err(|error| self.set_back(error))?;
        let told = self.log.opened(container.is_running(), container.started);
        self.runs = Runs::told(told);
        self.arrived = true;
        self.packer.label(&container);
        self.container = Arc::new(container);
        Ok(self.first)
    }

    /// A lease ended: does the container still run?
    pub(super) async fn ask(&mut self) -> Result<Next, Stop> {
        self.reading = None;
        let now = match self.source.engine.inspect(&self.container.id).await {
            Ok(container) => container,
            Err(error) => return Err(self.failed(error)),
        };
        let again = !self.runs.is_new(&now);
        self.runs.tell(&now, self.live.position(), &mut self.packer);
        let runs = now.is_running();
        self.packer.label(&now);
        self.container = Arc::new(now);
        if !runs {
            return Ok(self.tell(Event::Stopped));
        }
        if again {
            // An engine that ends streams of a running container at once must
            // not be asked in a loop.
            self.publish();
            sleep(self.backoff.next_delay().min(self.patience)).await;
        }
        Ok(self.tell(Event::Running))
    }

    /// All is read, and nothing comes before the container runs again.
    pub(super) fn lie_down(&mut self) {
        self.reading = None;
        let at = self.live.position();
        self.runs.end(&self.container, at, &mut self.packer);
        self.publish();
        self.step = Step::Rest(0);
    }

    /// Waits for another run, which may be over before it is seen. The inventory
    /// may be a moment behind: the engine decides.
    pub(super) async fn rest(&mut self, verified: i64) -> Result<Option<Next>, Stop> {
        let (id, at) = (self.container.id, self.live.position());
        let inventory = Arc::clone(&self.source.inventory.borrow_and_update());
        let known = inventory.containers.get(&id);
        if known.is_none_or(|known| self.runs.is_new(known)) {
            let found = self.source.engine.inspect(&id).await;
            let now = found.map_err(|error| self.set_back(error))?;
            if self.runs.is_new(&now) {
                self.runs.tell(&now, at, &mut self.packer);
                return Ok(Some(self.tell(Event::Running)));
            }
        }
        // It was listed, and nothing has begun that could write.
        if inventory.listed > verified && known.is_some() {
            self.step = Step::Rest(inventory.listed);
            self.packer.content(Content::Verified(inventory.listed), at);
            self.publish();
        }
        // An error means that the service ends.
        let _either = timeout(self.patience, self.source.inventory.changed()).await;
        Ok(None)
    }

    fn removed(&mut self) -> Ended {
        self.runs.release(&mut self.packer);
        self.tell(Event::Gone);
        self.runs.release(&mut self.packer);
        Ended::Removed
    }

    /// Whether there can be another attempt.
    pub(super) fn set_back(&mut self, error: EngineError) -> Stop {
        match error {
            EngineError::NotFound | EngineError::Removing => return Stop::Ended(self.removed()),
            EngineError::Unreadable(words) => return Stop::Ended(Ended::Unreadable(words)),
            EngineError::Protocol(_) | EngineError::Reported(_) => {
                warn!(container = %self.container.id, %error, "log stream broken");
            }
            EngineError::Unavailable(_) => {
                debug!(container = %self.container.id, %error, "log stream broken");
            }
        }
        self.words = error.words();
        Stop::Blocked(error.to_string())
    }
}
