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

/// Every failure of encoding and decoding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EncodeError {
    /// The list of tokens is no vocabulary.
    Vocab(String),
    /// The splitter refused the pattern or a document.
    Split(TrainError),
    /// A document is not UTF-8 from this byte on.
    Utf8 { document: usize, byte: usize },
    /// The bounds of a column of documents do not fit its bytes.
    Column(String),
    /// No token has this id.
    UnknownId(i64),
    /// A chunk too long for 32-bit positions.
    TooLarge,
    /// A fault of this crate.
    Bug(String),
}

impl fmt::Display for EncodeError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vocab(why) => write!(out, "the tokens are no vocabulary: {why}"),
            Self::Split(why) => why.fmt(out),
            Self::Utf8 { document, byte } => write!(out, "document {document} is not UTF-8 at byte {byte}"),
            Self::Column(why) => write!(out, "the offsets of the column are wrong: {why}"),
            Self::UnknownId(id) => write!(out, "token id {id} is not in the vocabulary"),
            Self::TooLarge => write!(out, "a chunk is longer than 32 bits can number"),
            Self::Bug(what) => write!(out, "the encoder failed, which is a fault of nanochat: {what}"),
        }
    }
}

impl std::error::Error for EncodeError {}

impl From<TrainError> for EncodeError {
    fn from(error: TrainError) -> Self {
        Self::Split(error)
    }
}
