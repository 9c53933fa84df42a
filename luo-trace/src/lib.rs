//! Blackout-window profiler and tracing toolkit for Linux live update.
//!
//! Data goes one way: kernel → [`probes`] → [`record`] → [`carrier`] ═kexec═>
//! [`collect`] → [`join`] → a [`reports::model::Run`], which `reports` renders.

pub mod boot_trace;
pub mod carrier;
pub mod cli;
pub mod clock;
pub mod collect;
pub mod ending;
pub mod exit;
pub mod facts;
pub mod join;
pub mod kexec;
pub mod kmsg;
pub mod lab;
pub mod liveupdate;
pub mod marks;
pub mod probes;
pub mod ready;
pub mod record;
pub mod tracefs;
