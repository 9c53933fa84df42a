//! Reports of runs, for people.

mod figure;
pub mod picture;
pub mod text;
