//! Runs as something to look at.

mod figure;
pub mod gate;
pub mod text;
