//! The validator against histories that were tampered with.

mod lines;
mod members;
mod messages;
mod resumes;
mod rules;
mod script;
mod tampering;
