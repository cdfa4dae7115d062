//! Client library of Pulsetail.
//!
//! [`proto`] is the contract, [`Cursors`] keeps what a resume needs, [`history`]
//! judges whether what a client received keeps what the contract promises, and
//! [`verify`] does so with a live server.

#![forbid(unsafe_code)]

#[cfg(feature = "command")]
pub mod command;
mod cursors;
pub mod history;
pub mod proto;
pub mod verify;

pub use cursors::Cursors;
