//! The collector: takes what shims say, writes it to trace files, and answers questions about those.
//!
//! Data flows one way: [`live`] (sockets, programs) → [`ingest`] (rings, decoding) → [`trace`] (files) → [`analysis`] →
//! [`query`] → [`export`] → [`server`] and [`cli`]. [`model`] says what the model's file knows,
//! [`host`] what this machine can do, `page` holds the files of the page.

pub mod analysis;
pub mod cli;
pub mod compute;
mod estimate;
pub mod export;
pub mod host;
pub mod ingest;
pub mod inside;
pub mod live;
pub mod model;
mod page;
pub mod query;
pub mod server;
pub mod trace;
