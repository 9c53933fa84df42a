//! The crate as its callers use it.

mod check;
mod compare;
mod file;
mod formats;
mod gate;
mod history;
mod made;
mod recorded;
mod scipy;
mod set;
mod text;
mod whatever;
