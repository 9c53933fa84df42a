//! Runs as something to look at.

pub mod text;
