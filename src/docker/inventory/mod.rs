//! The engine's containers, kept in memory and up to date.
//!
//! Events make it quick, a list every 30 s makes it right: the engine drops
//! events in silence. Whoever needs a container reads it here; a client's text is
//! matched against this list and goes no further.

mod feed;
mod keeper;
mod ledger;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::container::{Container, ContainerId};
use super::engine::Identity;

pub use feed::{Feed, Seen};
pub use keeper::Keeper;
pub use ledger::{Change, Changes, Ledger};

/// Shortest id prefix that names a container; the engine's own limit is 1.
const MIN_PREFIX: usize = 4;

/// What is known of the engine and its containers.
#[derive(Debug, Clone, Default)]
pub struct Inventory {
    /// Who the engine is; `None` until the first list is complete.
    pub engine: Option<Arc<Identity>>,
    /// Every container by id.
    pub containers: BTreeMap<ContainerId, Arc<Container>>,
    /// When the last list was asked for, ns since the Unix epoch, our clock: each
    /// container that was there then is known, or has gone since.
    pub listed: i64,
    /// That of the last change in it.
    pub revision: u64,
}

/// Why a name names no container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FindError {
    /// None has it.
    Missing,
    /// Several ids start with it: the names of some of them.
    Ambiguous(Vec<String>),
}

impl Inventory {
    /// The container of this exact name, id or unique id prefix (4 or more).
    ///
    /// # Errors
    /// None, or several.
    pub fn find(&self, text: &str) -> Result<&Arc<Container>, FindError> {
        match self.containers.values().find(|c| c.name == text) {
            Some(named) => Ok(named),
            None => self.find_id(text),
        }
    }

    /// The container of this id or unique id prefix (4 or more).
    ///
    /// # Errors
    /// None, or several.
    pub fn find_id(&self, text: &str) -> Result<&Arc<Container>, FindError> {
        let Some((first, last)) = ContainerId::range(text).filter(|_| text.len() >= MIN_PREFIX)
        else {
            return Err(FindError::Missing);
        };
        let mut found = self.containers.range(first..=last).map(|(_, found)| found);
        match (found.next(), found.next()) {
            (None, _) => Err(FindError::Missing),
            (Some(only), None) => Ok(only),
            (Some(first), Some(second)) => Err(FindError::Ambiguous(
                [first, second].map(|c| c.name.clone()).to_vec(),
            )),
        }
    }
}
