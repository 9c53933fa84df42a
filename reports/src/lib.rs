//! Runs of luo-trace: the file format, statistics and reports.
//!
//! A [`model::Run`] is one live update. This crate reads, writes, summarises and
//! renders runs; it knows no kernel and builds on any desktop.
#![forbid(unsafe_code)]

pub mod chain;
pub mod compare;
pub mod escape;
pub mod export;
pub mod files;
mod findings;
pub mod gate;
pub mod history;
pub mod matrix;
pub mod model;
pub mod overview;
pub mod render;
pub mod schema;
pub mod stats;
mod units;
pub mod whatif;
