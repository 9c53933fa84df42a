//! Blackout-window profiler and tracing toolkit for Linux live update.
//!
//! Data goes one way: kernel → [`probes`] → [`record`] → [`carrier`] ═kexec═>
//! [`collect`] → [`join`] → a [`reports::model::Run`], which `reports` renders.

pub mod arch;
pub mod carrier;
pub mod cli;
pub mod clock;
pub mod collect;
pub mod exit;
pub mod host;
pub mod join;

pub mod kexec;
pub mod lab;
pub mod liveupdate;
pub mod probes;
pub(crate) mod quantity;
pub mod record;
pub mod sources;
