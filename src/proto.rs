//! The contract of `proto/`, generated.

#![allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::clone_on_ref_ptr,
    clippy::map_unwrap_or,
    clippy::too_many_lines,
    clippy::unwrap_used,
    reason = "generated; the comments are in proto/"
)]

tonic::include_proto!("pulsetail.v1");

/// Descriptors of every file of the contract, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
