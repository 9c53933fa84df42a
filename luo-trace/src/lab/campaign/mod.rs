//! Campaigns: many updates, in turns, between many kernels, and what came of them.

pub mod matrix;
mod place;
mod reason;
mod runner;
mod scenario;
mod settings;
mod steps;
pub mod summary;
pub mod turns;

pub use reason::Reason;
pub use runner::{Progress, Runner};
pub use scenario::Scenario;
pub use settings::Campaign;
