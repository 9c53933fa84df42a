//! The crate as its callers use it.

mod check;
mod file;
mod html;
mod made;
mod markdown;
mod outside;
mod picture;
mod recorded;
mod schema;
mod set;
mod text;
mod whatever;
