//! What can go wrong in training.

use std::fmt;

/// Every failure of this crate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrainError {
    /// The split pattern is not a regular expression.
    Pattern(String),
    /// The split pattern gave up on a document (too much backtracking).
    Split(String),
    /// A document of a batch, counted from 0, is not UTF-8 from this byte on.
    Utf8 { document: usize, byte: usize },
    /// The buffers of a batch do not hold the documents they are said to.
    Buffers(String),
    /// The threads could not be started.
    Threads(String),
    /// More distinct chunks, or more ids, than 32 bits can number, or counts beyond 64 bits.
    TooLarge,
    /// The caller asked to stop.
    Interrupted,
}

impl fmt::Display for TrainError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pattern(why) => write!(out, "the split pattern is not valid: {why}"),
            Self::Split(why) => write!(out, "the split pattern failed on a document: {why}"),
            Self::Utf8 { document, byte } => {
                write!(out, "document {document} of the batch is not valid UTF-8 (byte {byte})")
            }
            Self::Buffers(why) => write!(out, "the buffers hold no documents: {why}"),
            Self::Threads(why) => write!(out, "the worker threads could not be started: {why}"),
            Self::TooLarge => {
                write!(out, "the text is too large: its distinct chunks need more than 32 bits to number")
            }
            Self::Interrupted => write!(out, "training was interrupted"),
        }
    }
}

impl std::error::Error for TrainError {}
