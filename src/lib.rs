//! Pulsetail: the logs of Docker containers over gRPC, without silent gaps.
//!
//! A line travels top to bottom: [`docker`] makes records of what the engine
//! sends, [`tail`] makes one exact log of many short streams, [`hub`] gives it to
//! any number of subscribers, [`grpc`] puts it on the wire. [`app`] wires them.

#![forbid(unsafe_code)]

pub mod supervisor;

pub mod docker;
pub mod tail;

pub mod hub;

pub mod admin;
pub mod grpc;
pub mod proto;

pub mod app;
pub mod config;
#[cfg(feature = "demo")]
pub mod demo;
pub mod shutdown;
#[cfg(test)]
mod simulation;
pub mod telemetry;
