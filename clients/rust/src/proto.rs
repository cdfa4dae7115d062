//! The contract of `proto/`, generated: messages and clients.

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
