//! Exit codes, and the errors that choose them.

use std::fmt;

/// What a command's exit status means, everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Success = 0,
    /// This machine or kernel cannot do it, or a gate saw a regression.
    Environment = 1,
    /// Wrong usage or bad input.
    BadInput = 2,
    /// Done in part: degraded, or inconclusive.
    Partial = 3,
    /// `git bisect run`: this commit cannot be judged.
    Skip = 125,
    /// `git bisect run`: no commit can be judged here.
    Abort = 128,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An error with the exit status it ends the program with.
///
/// Made at the place that knows whose fault it is; an error that reaches `main`
/// without one is ours and exits like the environment's.
#[derive(Debug)]
pub struct Failure {
    /// The exit status.
    pub exit: Exit,
    message: String,
}

impl Failure {
    /// A failure of the machine or kernel (exit 1).
    pub fn environment(message: impl fmt::Display) -> anyhow::Error {
        Self {
            exit: Exit::Environment,
            message: message.to_string(),
        }
        .into()
    }

    /// Wrong usage or bad input (exit 2).
    pub fn bad_input(message: impl fmt::Display) -> anyhow::Error {
        Self {
            exit: Exit::BadInput,
            message: message.to_string(),
        }
        .into()
    }

    /// The exit status that an error chain asks for.
    #[must_use]
    pub fn exit_of(error: &anyhow::Error) -> Exit {
        error
            .chain()
            .find_map(|e| e.downcast_ref::<Self>())
            .map_or(Exit::Environment, |f| f.exit)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}
