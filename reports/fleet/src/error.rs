//! Errors that choose an exit status, as those of luo-trace do.

use std::fmt;

/// Wrong usage or bad input: exit 2. Every other error is the machine's: exit 1.
#[derive(Debug)]
pub struct BadInput(String);

impl fmt::Display for BadInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadInput {}

/// The error that an input is wrong, and what to do.
pub fn bad_input(message: impl fmt::Display) -> anyhow::Error {
    BadInput(message.to_string()).into()
}

/// The exit status of an error.
#[must_use]
pub fn exit_of(error: &anyhow::Error) -> u8 {
    if error.chain().any(<dyn std::error::Error>::is::<BadInput>) {
        2
    } else {
        1
    }
}
