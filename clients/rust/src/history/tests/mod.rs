//! The validator against histories that were tampered with.

mod messages;
mod rules;
mod script;
mod tampering;
