//! Blackout-window profiler and tracing toolkit for Linux live update.
//!
//! Data goes one way: kernel → `probes` → `record` → [`carrier`] ═kexec═>
//! [`collect`] → `join` → a [`reports::model::Run`], which `reports` renders.

pub(crate) mod arch;
pub mod carrier;
pub mod cli;
pub mod clock;
pub mod collect;
pub mod exit;
pub(crate) mod host;
pub(crate) mod join;
pub mod kexec;
pub mod lab;
pub(crate) mod liveupdate;
pub(crate) mod probes;
pub(crate) mod quantity;
pub(crate) mod record;
pub(crate) mod shared_memory;
pub(crate) mod ship;
pub mod sources;
pub(crate) mod watch;
