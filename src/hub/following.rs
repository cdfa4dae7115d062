//! A subscriber's hold on a log that is being read.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use super::log::{Ended, Head};
use super::registry::Attendance;
use super::subscription::OpenError;
use crate::docker::Reach;

/// A log that is not being read yet is waited for, at most so long.
const ORIENTATION: Duration = Duration::from_secs(10);

/// The hold, and what wakes for it.
#[derive(Debug)]
pub(super) struct Following {
    pub(super) attendance: Attendance,
    pub(super) changes: watch::Receiver<u64>,
}

impl Following {
    pub(super) fn of(attendance: Attendance) -> Self {
        let changes = attendance.log().changes();
        Self {
            attendance,
            changes,
        }
    }
}

/// Where a log stands, once its reader knows.
pub(super) async fn oriented(
    following: &mut Following,
    mut reach: watch::Receiver<Reach>,
) -> Result<Head, OpenError> {
    let known = async { known(following).await.map_err(OpenError::Ended) };
    let slow = || OpenError::Unavailable("it did not show the log in time".to_owned());
    tokio::select! {
        known = timeout(ORIENTATION, known) => known.map_err(|_| slow())?,
        cause = lost(&mut reach) => Err(OpenError::Unavailable(cause)),
    }
}

/// The same, however long it takes. Cancel safe.
pub(super) async fn known(following: &mut Following) -> Result<Head, Ended> {
    loop {
        following.changes.mark_unchanged();
        let log = following.attendance.log();
        if let Some(ended) = log.ended() {
            return Err(ended);
        }
        if let Some(head) = log.head() {
            return Ok(head);
        }
        let _alive = following.changes.changed().await;
    }
}

/// Resolves while the engine is away, with the cause.
pub(crate) async fn lost(reach: &mut watch::Receiver<Reach>) -> String {
    match reach.wait_for(|reach| !reach.is_here()).await.as_deref() {
        Ok(Reach::Away(cause)) => cause.clone(),
        _ => "the service stops".to_owned(),
    }
}
