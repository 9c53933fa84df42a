//! Runs to whoever collects telemetry, by OTLP over HTTP: unprivileged, bounded, and nothing
//! is deleted before the server has said that it has it.

mod endpoint;
mod spool;

pub use endpoint::{Endpoint, Only, SendError};
pub use spool::{After, send_all};
