//! Campaigns: many updates, in turns, between many kernels, and what came of them.

pub(crate) mod matrix;
mod place;
mod reason;
mod runner;
mod scenario;
mod settings;
mod steps;
pub mod summary;
pub(crate) mod turns;

pub(crate) use runner::Bench;
pub(crate) use scenario::Scenario;
pub(crate) use settings::{Campaign, Host, MachineOptions};
