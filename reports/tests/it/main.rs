//! The crate as its callers use it.

mod chain;
mod check;
mod compare;
mod file;
mod foreign;
mod formats;
mod gate;
mod history;
mod hostile;
mod html;
mod made;
mod markdown;
mod matrix;
mod otlp;
mod outside;
mod picture;
mod recorded;
mod schema;
mod scipy;
mod set;
mod text;
mod tracks;
mod whatever;
