//! The crate as its callers use it.

mod check;
mod file;
mod made;
mod set;
mod text;
mod whatever;
