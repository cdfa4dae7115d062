//! Client library of Pulsetail.
//!
//! [`proto`] is the contract; [`history`] judges whether what a client received
//! keeps what the contract promises.

#![forbid(unsafe_code)]

pub mod history;
pub mod proto;
