//! What kind of character is it: a letter (`\p{L}`), a number (`\p{N}`), white space (`\s`) or something else?
//!
//! The answers are those of the regular expression engine, from the same tables (`regex-syntax`), so a scanner
//! written by hand and a pattern run by the engine agree on every character. The three classes do not overlap.

use std::sync::LazyLock;

use regex_syntax::hir::{Class, HirKind};

/// The kind of a character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// None of the others: punctuation, marks, symbols, control characters, code points without a character.
    Other = 0,
    /// `\p{L}`
    Letter = 1,
    /// `\p{N}`
    Number = 2,
    /// `\s`
    Space = 3,
}

const KINDS: [(&str, Kind); 3] = [(r"\p{L}", Kind::Letter), (r"\p{N}", Kind::Number), (r"\s", Kind::Space)];

/// Code points of a block are looked up together: their high bits choose the block.
const BLOCK_BITS: u32 = 8;
const BLOCK: usize = 1 << BLOCK_BITS;

/// The kinds of all characters in about 40 KB: equal blocks are kept once.
pub struct Kinds {
    ascii: [Kind; BLOCK],
    block_of: Box<[u16]>,
    blocks: Vec<[Kind; BLOCK]>,
}

static KINDS_OF_ALL: LazyLock<Kinds> = LazyLock::new(Kinds::from_engine);

/// The table; made at the first call.
pub fn kinds() -> &'static Kinds {
    &KINDS_OF_ALL
}

impl Kinds {
    /// The kind of a byte below 128, which is a character of its own. Others have no meaning here.
    #[inline(always)]
    pub fn of_ascii(&self, byte: u8) -> Kind {
        self.ascii[usize::from(byte)]
    }

    /// The kind of a code point.
    #[inline]
    pub fn of(&self, code: u32) -> Kind {
        let block = self.block_of.get((code >> BLOCK_BITS) as usize).copied().unwrap_or(0);
        self.blocks[usize::from(block)][code as usize % BLOCK]
    }

    /// The kind of the character that begins at `at`, and its length in bytes; None at the end.
    ///
    /// `text` is UTF-8 and `at` a boundary of characters in it.
    #[inline(always)]
    pub fn at(&self, text: &[u8], at: usize) -> Option<(Kind, usize)> {
        let &first = text.get(at)?;
        Some(if first < 0x80 { (self.of_ascii(first), 1) } else { self.of_wide(text, at) })
    }

    /// As `at`, for a character of several bytes.
    #[inline]
    pub fn of_wide(&self, text: &[u8], at: usize) -> (Kind, usize) {
        let tail = |index: usize| u32::from(text.get(at + index).copied().unwrap_or(0) & 0x3F);
        let first = u32::from(text[at]);
        match first {
            0..0xE0 => (self.of((first & 0x1F) << 6 | tail(1)), 2),
            0xE0..0xF0 => (self.of((first & 0x0F) << 12 | tail(1) << 6 | tail(2)), 3),
            _ => (self.of((first & 0x07) << 18 | tail(1) << 12 | tail(2) << 6 | tail(3)), 4),
        }
    }

    fn from_engine() -> Self {
        let mut all = vec![Kind::Other; char::MAX as usize + 1];
        for (pattern, kind) in KINDS {
            for (first, last) in ranges(pattern) {
                all[first as usize..=last as usize].fill(kind);
            }
        }
        let mut blocks: Vec<[Kind; BLOCK]> = Vec::new();
        let mut block_of = Vec::with_capacity(all.len() / BLOCK);
        for part in all.chunks_exact(BLOCK) {
            let known = blocks.iter().position(|block| block == part).unwrap_or_else(|| {
                let mut block = [Kind::Other; BLOCK];
                block.copy_from_slice(part);
                blocks.push(block);
                blocks.len() - 1
            });
            block_of.push(known as u16); // there are 4,352 blocks
        }
        Self { ascii: blocks[usize::from(block_of[0])], block_of: block_of.into(), blocks }
    }
}

/// The characters of a class of the engine.
fn ranges(pattern: &str) -> Vec<(u32, u32)> {
    let class = regex_syntax::parse(pattern).map(regex_syntax::hir::Hir::into_kind);
    let Ok(HirKind::Class(Class::Unicode(class))) = class else {
        unreachable!("{pattern} is a class of characters") // built with the tables, see Cargo.toml
    };
    class.ranges().iter().map(|range| (range.start().into(), range.end().into())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use fancy_regex::Regex;

    #[test]
    fn every_character_is_of_the_kind_the_engine_says() {
        let patterns = KINDS.map(|(pattern, kind)| (Regex::new(pattern).expect("a class"), kind));
        for character in '\0'..=char::MAX {
            let mut buffer = [0; 4];
            let text = &*character.encode_utf8(&mut buffer);
            let expected = patterns
                .iter()
                .find(|(pattern, _)| pattern.is_match(text).expect("a class"))
                .map_or(Kind::Other, |&(_, kind)| kind);
            assert_eq!(kinds().at(text.as_bytes(), 0), Some((expected, text.len())), "{character:?}");
        }
    }

    #[test]
    fn the_table_is_small() {
        assert!(kinds().blocks.len() < 256);
        assert_eq!(kinds().at(b"", 0), None);
    }
}
