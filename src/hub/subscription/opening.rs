//! How a subscription begins.

use std::sync::Arc;
use std::time::Duration;

use super::{Item, Mode, OpenError, Subscription};
use crate::docker::Container;
use crate::hub::catch_up::Piece;
use crate::hub::following::{Following, known, lost, oriented};
use crate::hub::lifecycle::Lifecycle;
use crate::hub::log::Head;
use crate::hub::registry::Registry;
use crate::tail::{From, GapCause, Position, Until};

impl Subscription {
    /// Follows a log from `from`, or from now. Under load its entries wait at most
    /// `latency` for others; the shortest of all its subscribers holds.
    ///
    /// # Errors
    /// The engine is away, or the log cannot be read.
    pub async fn follow(
        registry: &Arc<Registry>,
        container: Arc<Container>,
        from: Option<From>,
        latency: Duration,
    ) -> Result<Self, OpenError> {
        let mut following = Following::of(registry.attend(&container, latency));
        let head = oriented(&mut following, registry.reach()).await?;
        let mut subscription = Self::new(registry, container, from);
        subscription.following = Some(following);
        subscription.lifecycle = head.lifecycle;
        subscription.begin(from, head);
        if let Some(From::Lines(_)) = from {
            subscription.located().await?;
        }
        Ok(subscription)
    }

    /// The same for a container that joins, of which nothing else was told than
    /// whether it runs: it waits for nothing, and what is wrong comes as an item.
    pub fn join(
        registry: &Arc<Registry>,
        container: Arc<Container>,
        from: From,
        latency: Duration,
    ) -> Self {
        let following = Following::of(registry.attend(&container, latency));
        let mut subscription = Self::new(registry, container, Some(from));
        subscription.following = Some(following);
        subscription.mode = Mode::Joining(from);
        subscription
    }

    /// Reads what is stored now. `issued`: up to when its subscriber knows
    /// containers.
    pub fn history(
        registry: &Arc<Registry>,
        container: Arc<Container>,
        from: From,
        issued: i64,
    ) -> Self {
        let mut subscription = Self::new(registry, container, Some(from));
        subscription.issued = Some(issued);
        subscription.read(from, Until::End, None, GapCause::RotatedOut);
        subscription
    }

    fn new(registry: &Arc<Registry>, container: Arc<Container>, from: Option<From>) -> Self {
        Self {
            registry: Arc::clone(registry),
            position: match from {
                Some(From::After(position)) => position,
                _ => Position::default(),
            },
            since: match from {
                Some(From::Since(instant)) => Some(instant),
                _ => None,
            },
            issued: None,
            lifecycle: Lifecycle::of(container.is_running()),
            container,
            mode: Mode::Over(Item::Complete),
            following: None,
            joined: 0,
            was_live: false,
        }
    }

    /// Reads from `from` on, or from the head.
    fn begin(&mut self, from: Option<From>, head: Head) {
        self.joined = head.taken;
        match from {
            None => self.join_ring(head),
            // What is in doubt there was not skipped here alone: it is read again.
            Some(From::After(position))
                if position == head.position && position.verified.is_none() =>
            {
                self.join_ring(head);
            }
            Some(from) => self.catch_up_to(from, head, GapCause::RotatedOut),
        }
    }

    /// Waits until a catch-up knows where it starts.
    ///
    /// # Errors
    /// The engine is away, or the log cannot be read; that comes as an item too.
    pub async fn located(&mut self) -> Result<(), OpenError> {
        let Mode::CatchingUp { pieces, task, .. } = &mut self.mode else {
            return Ok(());
        };
        let mut reach = self.registry.reach();
        let piece = tokio::select! {
            piece = pieces.recv() => piece,
            cause = lost(&mut reach) => return Err(OpenError::Unavailable(cause)),
        };
        match piece {
            Some(Piece::Located(position)) => self.reached(position),
            Some(Piece::Ended(ended)) => {
                task.let_end();
                self.cut_off(ended.clone());
                return Err(OpenError::Ended(ended));
            }
            _ => {}
        }
        Ok(())
    }

    /// Begins once the log's reader knows where the log ends. Cancel safe.
    pub(super) async fn enter(&mut self, from: From) {
        let Some(following) = self.following.as_mut() else {
            return;
        };
        let known = known(following).await;
        // All of it may be in the ring: then the engine is not asked, nor missed.
        let root = following.attendance.log().root();
        if let Some(root) = root.filter(|_| from == From::Beginning) {
            self.lifecycle = root.lifecycle.told(self.lifecycle.running);
            return self.join_ring(root);
        }
        match known {
            Ok(head) => {
                self.lifecycle = head.lifecycle.told(self.lifecycle.running);
                self.begin(Some(from), head);
            }
            Err(ended) => self.cut_off(ended),
        }
    }
}
