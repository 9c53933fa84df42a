//! Reports of runs, for people.

pub mod gate;
pub mod html;
pub mod markdown;
pub mod matrix;
pub mod picture;
pub mod text;
