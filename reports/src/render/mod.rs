//! Runs as something to look at.

mod figure;
pub mod text;
