//! Text to chunks, the pieces that no token crosses.
//!
//! Patterns in common use are cut by a scanner written for them (`scanner`): it reads every character at most
//! three times, needs no stack and knows no limit. Every other pattern goes to a regular expression engine
//! (fancy-regex), which may give up on a document. Both cut alike; the tests compare them.

mod scanner;

use std::ops::{ControlFlow, Range};

use fancy_regex::{Regex, RegexBuilder};

use crate::error::TrainError;
use scanner::Scanner;

/// Ends patterns that would run for hours; the engine's stack ends runs of a million before this limit does.
const BACKTRACK_LIMIT: usize = 1 << 32;

/// Cuts text by a pattern. Shared by all threads.
#[derive(Debug, Clone)]
pub struct Splitter {
    way: Way,
}

#[derive(Debug, Clone)]
enum Way {
    Scanner(Scanner),
    Engine(Box<Regex>),
}

impl Splitter {
    /// A splitter for a pattern, whose matches are the chunks.
    ///
    /// # Errors
    /// `Pattern`: it is not a regular expression.
    pub fn new(pattern: &str) -> Result<Self, TrainError> {
        if let Some(scanner) = Scanner::of_pattern(pattern) {
            return Ok(Self { way: Way::Scanner(scanner) });
        }
        Self::by_engine(pattern)
    }

    fn by_engine(pattern: &str) -> Result<Self, TrainError> {
        let regex = RegexBuilder::new(pattern)
            .backtrack_limit(BACKTRACK_LIMIT)
            .build()
            .map_err(|error| TrainError::Pattern(error.to_string()))?;
        Ok(Self { way: Way::Engine(regex.into()) })
    }

    /// Calls `f` with every chunk of the text, from left to right.
    ///
    /// # Errors
    /// `Split`: the engine gave up; `f` has seen the chunks before that place. Never with a known pattern.
    #[inline]
    pub fn for_each_chunk<'t>(&self, text: &'t str, mut f: impl FnMut(&'t str)) -> Result<(), TrainError> {
        self.try_for_each_range(text, |chunk| {
            f(&text[chunk]);
            ControlFlow::Continue(())
        })
    }

    /// Calls `f` with the bytes where every chunk begins and ends, from left to right, until it says break.
    ///
    /// # Errors
    /// `Split`, as above; `Interrupted`: `f` said break.
    #[inline]
    pub fn try_for_each_range(
        &self,
        text: &str,
        mut f: impl FnMut(Range<usize>) -> ControlFlow<()>,
    ) -> Result<(), TrainError> {
        match &self.way {
            Way::Scanner(scanner) => {
                let mut at = 0;
                while at < text.len() {
                    let end = scanner.chunk_end(text.as_bytes(), at);
                    if f(at..end).is_break() {
                        return Err(TrainError::Interrupted);
                    }
                    at = end;
                }
            }
            Way::Engine(regex) => {
                for found in regex.find_iter(text) {
                    let found = found.map_err(|error| TrainError::Split(error.to_string()))?;
                    if f(found.range()).is_break() {
                        return Err(TrainError::Interrupted);
                    }
                }
            }
        }
        Ok(())
    }

    /// Is the pattern one that has its own scanner? Then no text can make it fail.
    pub fn is_scanner(&self) -> bool {
        matches!(self.way, Way::Scanner(_))
    }

    /// A place at or after `from` where the text may be cut in two without changing any chunk: the chunks of
    /// both parts, one after the other, are those of the whole. None where no such place is known.
    pub fn cut_after(&self, text: &str, from: usize) -> Option<usize> {
        match &self.way {
            Way::Scanner(scanner) => scanner.cut_after(text.as_bytes(), from),
            Way::Engine(_) => None,
        }
    }
}

#[cfg(test)]
mod tests;
