//! What can go wrong in training.

use std::fmt;

/// Every failure of this crate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrainError {
    /// The split pattern is not a regular expression.
    Pattern(String),
    /// The split pattern gave up on a document (too much backtracking).
    Split(String),
    /// The threads could not be started.
    Threads(String),
    /// More distinct chunks, or more ids, than 32 bits can number.
    TooLarge,
    /// The caller asked to stop.
    Interrupted,
}

impl fmt::Display for TrainError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pattern(why) => write!(out, "the split pattern is not valid: {why}"),
            Self::Split(why) => write!(out, "the split pattern failed on a document: {why}"),
            Self::Threads(why) => write!(out, "the worker threads could not be started: {why}"),
            Self::TooLarge => write!(out, "the text has more distinct chunks than 32 bits can number"),
            Self::Interrupted => write!(out, "training was interrupted"),
        }
    }
}

impl std::error::Error for TrainError {}
