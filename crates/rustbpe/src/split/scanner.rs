//! The scanner for nanochat's pattern and its relatives. They have seven alternatives, tried in this order:
//!
//! ```text
//! '(?i:[sdmt]|ll|ve|re)             a contraction
//! [^\r\n\p{L}\p{N}]?+\p{L}+         letters, with one character before them that is no line end or number
//! \p{N}{1,2}                        numbers, two or three at a time
//!  ?[^\s\p{L}\p{N}]++[\r\n]*        anything else, with a space before and line ends after it
//! \s++$                             white space that ends the text (only GPT-4's newer spelling)
//! \s*[\r\n]                         white space up to its last line end
//! \s+(?!\S)|\s+                     other white space but for its last character, which the next chunk takes
//! ```
//!
//! The first character decides which apply, so nothing is tried in vain. Every character begins or continues
//! a chunk, so the chunks cover the text. A run of white space is read three times at most: up to its last
//! line end, then without its last character, then that character.

use crate::unicode::{Kind, Kinds, kinds};

/// How a known pattern differs from its relatives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Dialect {
    pattern: &'static str,
    /// Numbers in a chunk at most.
    numbers: usize,
    /// White space at the end of the text is one chunk, even with line ends in it.
    whole_end: bool,
}

const DIALECTS: [Dialect; 4] = [
    // nanochat
    Dialect {
        pattern: r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,2}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+",
        numbers: 2,
        whole_end: false,
    },
    Dialect {
        pattern: r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+",
        numbers: 3,
        whole_end: false,
    },
    // GPT-4 as first published
    Dialect {
        pattern: r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        numbers: 3,
        whole_end: false,
    },
    // GPT-4 in tiktoken of today
    Dialect {
        pattern: r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s",
        numbers: 3,
        whole_end: true,
    },
];

/// Patterns with a scanner, for tests.
#[cfg(test)]
pub(super) fn patterns() -> impl Iterator<Item = &'static str> {
    DIALECTS.iter().map(|dialect| dialect.pattern)
}

/// Cuts text by one of the known patterns.
#[derive(Clone)]
pub(super) struct Scanner {
    dialect: Dialect,
    kinds: &'static Kinds,
}

impl std::fmt::Debug for Scanner {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_tuple("Scanner").field(&self.dialect.pattern).finish()
    }
}

impl Scanner {
    /// The scanner for a pattern, if it is a known one.
    pub(super) fn of_pattern(pattern: &str) -> Option<Self> {
        let &dialect = DIALECTS.iter().find(|dialect| dialect.pattern == pattern)?;
        Some(Self { dialect, kinds: kinds() })
    }

    /// The end of the chunk that begins at `at`, which is before the end of the text.
    #[inline]
    pub(super) fn chunk_end(&self, text: &[u8], at: usize) -> usize {
        let Some((kind, width)) = self.kinds.at(text, at) else { return text.len() };
        let next = at + width;
        match kind {
            Kind::Letter => self.letters(text, next),
            Kind::Space => {
                let first = text[at];
                if first != b'\r' && first != b'\n' {
                    match self.kinds.at(text, next) {
                        Some((Kind::Letter, width)) => return self.letters(text, next + width),
                        Some((Kind::Other, width)) if first == b' ' => {
                            return self.others(text, next + width);
                        }
                        _ => {}
                    }
                }
                self.spaces(text, at, next)
            }
            Kind::Other => {
                if text[at] == b'\''
                    && let Some(end) = contraction(text, next)
                {
                    return end;
                }
                match self.kinds.at(text, next) {
                    Some((Kind::Letter, width)) => self.letters(text, next + width),
                    Some((Kind::Other, width)) => self.others(text, next + width),
                    _ => line_ends(text, next),
                }
            }
            Kind::Number => {
                let mut end = next;
                for _ in 1..self.dialect.numbers {
                    match self.kinds.at(text, end) {
                        Some((Kind::Number, width)) => end += width,
                        _ => break,
                    }
                }
                end
            }
        }
    }

    /// The end of the letters that go on at `at`.
    #[inline(always)]
    fn letters(&self, text: &[u8], mut at: usize) -> usize {
        loop {
            at = ascii_letters(text, at);
            // Past the letters of ASCII: the end, or one of the others.
            if text.get(at).is_none_or(u8::is_ascii) {
                return at;
            }
            while text.get(at).is_some_and(|byte| !byte.is_ascii()) {
                match self.kinds.of_wide(text, at) {
                    (Kind::Letter, width) => at += width,
                    _ => return at,
                }
            }
        }
    }

    /// The end of a chunk of neither letters, numbers nor white space that goes on at `at`.
    fn others(&self, text: &[u8], mut at: usize) -> usize {
        while let Some((Kind::Other, width)) = self.kinds.at(text, at) {
            at += width;
        }
        line_ends(text, at)
    }

    /// The end of a chunk of white space that began at `start` and goes on at `at`.
    fn spaces(&self, text: &[u8], start: usize, mut at: usize) -> usize {
        let mut last = start; // where the last character of the run begins
        let mut after_line_end = if is_line_end(text[start]) { Some(at) } else { None };
        while let Some((Kind::Space, width)) = self.kinds.at(text, at) {
            last = at;
            at += width;
            if is_line_end(text[last]) {
                after_line_end = Some(at);
            }
        }
        let ends_text = at == text.len();
        match after_line_end {
            _ if self.dialect.whole_end && ends_text => at,
            Some(end) => end,
            None if ends_text || last == start => at,
            None => last,
        }
    }

    /// A place at or after `from` where a letter is followed by another kind of character. A chunk always ends
    /// there, and what ends with a letter does not look at what comes after it.
    pub(super) fn cut_after(&self, text: &[u8], from: usize) -> Option<usize> {
        let mut at = from;
        while text.get(at).is_some_and(|byte| byte & 0xC0 == 0x80) {
            at += 1; // to the beginning of a character
        }
        let mut after_letter = false;
        while let Some((kind, width)) = self.kinds.at(text, at) {
            if after_letter && kind != Kind::Letter {
                return Some(at);
            }
            after_letter = kind == Kind::Letter;
            at += width;
        }
        None
    }
}

fn is_line_end(byte: u8) -> bool {
    byte == b'\n' || byte == b'\r'
}

/// The end of the line ends that begin at `at`, if any.
#[inline]
fn line_ends(text: &[u8], mut at: usize) -> usize {
    while text.get(at).is_some_and(|&byte| is_line_end(byte)) {
        at += 1;
    }
    at
}

/// The end of `s`, `d`, `m`, `t`, `ll`, `ve` or `re` at `at`, in upper or lower case. The long s (U+017F) is an
/// s too: that is how Unicode folds it.
#[inline]
fn contraction(text: &[u8], at: usize) -> Option<usize> {
    let lower = |index: usize| text.get(at + index).map_or(0, u8::to_ascii_lowercase);
    match lower(0) {
        b's' | b'd' | b'm' | b't' => Some(at + 1),
        b'l' if lower(1) == b'l' => Some(at + 2),
        b'v' | b'r' if lower(1) == b'e' => Some(at + 2),
        0xC5 if lower(1) == 0xBF => Some(at + 2),
        _ => None,
    }
}

/// The end of the letters of ASCII that begin at `at`: eight bytes at a time.
#[inline(always)]
fn ascii_letters(text: &[u8], mut at: usize) -> usize {
    while let Some(eight) = text.get(at..).and_then(<[u8]>::first_chunk) {
        let others = not_ascii_letters(u64::from_le_bytes(*eight));
        if others != 0 {
            return at + others.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    while text.get(at).is_some_and(u8::is_ascii_alphabetic) {
        at += 1;
    }
    at
}

/// The high bit of every byte that is no letter of ASCII.
#[inline(always)]
fn not_ascii_letters(bytes: u64) -> u64 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x80 * EACH;
    let lower = (bytes | (0x20 * EACH)) & !HIGH;
    // No sum passes into the next byte: both terms are below 128.
    let from_a = lower + (0x80 - b'a' as u64) * EACH;
    let beyond_z = lower + (0x80 - b'z' as u64 - 1) * EACH;
    !(from_a & !beyond_z & !bytes) & HIGH
}
