//! The tokens of a vocabulary: their bytes by id, their ids by bytes, and which pairs merge.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::error::EncodeError;
use crate::ids::NONE;
use crate::key::{Key, hash, longest, short_key};
use crate::merge::{HeapMerger, SHORT, merge_short};

/// Tokens that text can become, whose ids are their ranks, and after them names that it cannot: those are for
/// decoding alone.
pub struct Vocab {
    bytes: Vec<u8>,
    /// Token `id` is `bytes[bounds[id]..bounds[id + 1]]`.
    bounds: Vec<usize>,
    ranks: usize,
    hasher: DefaultHashBuilder,
    by_bytes: HashTable<u32>,
    shorts: ShortTable,
    byte_ids: [u32; 256],
    pairs: PairTable,
}

impl Vocab {
    /// A vocabulary of tokens in the order of their ids, and names, whose ids follow.
    pub fn new<T: AsRef<[u8]>, N: AsRef<[u8]>>(tokens: &[T], names: &[N]) -> Result<Self, EncodeError> {
        // the caches count with the numbers just below NONE
        if tokens.len() + names.len() >= NONE as usize - 64 {
            return Err(EncodeError::Vocab("more than 32 bits can number".into()));
        }
        let all = tokens.iter().map(AsRef::as_ref).chain(names.iter().map(AsRef::as_ref));
        let mut vocab = Self {
            bytes: Vec::new(),
            bounds: vec![0],
            ranks: tokens.len(),
            hasher: DefaultHashBuilder::default(),
            by_bytes: HashTable::with_capacity(tokens.len()),
            shorts: ShortTable::new(tokens.len()),
            byte_ids: [NONE; 256],
            pairs: PairTable::new(tokens.len()),
        };
        for token in all {
            vocab.bytes.extend_from_slice(token);
            vocab.bounds.push(vocab.bytes.len());
        }
        for id in 0..tokens.len() as u32 {
            vocab.index(id)?;
        }
        if let Some(missing) = vocab.byte_ids.iter().position(|&id| id == NONE) {
            return Err(EncodeError::Vocab(format!("the byte {missing} is no token")));
        }
        vocab.find_pairs()?;
        Ok(vocab)
    }

    /// Tokens that text can become: every id of an encoding is below.
    pub fn ranks(&self) -> usize {
        self.ranks
    }

    /// The bytes of a token or name that exists.
    pub(crate) fn token(&self, id: u32) -> &[u8] {
        &self.bytes[self.bounds[id as usize]..self.bounds[id as usize + 1]]
    }

    /// The id of a single byte.
    #[inline]
    pub(crate) fn byte(&self, byte: u8) -> u32 {
        self.byte_ids[byte as usize]
    }

    /// The id of the token with exactly these bytes, or `NONE`.
    pub(crate) fn whole(&self, bytes: &[u8]) -> u32 {
        let hash = self.hasher.hash_one(bytes);
        self.by_bytes.find(hash, |&id| self.token(id) == bytes).map_or(NONE, |&id| id)
    }

    /// `whole` for the key of a chunk of up to 15 bytes.
    #[inline]
    pub(crate) fn whole_short(&self, key: &Key<2>) -> u32 {
        self.shorts.get(key)
    }

    /// The id that two neighbouring tokens merge to, or `NONE`.
    #[inline]
    pub(crate) fn pair(&self, left: u32, right: u32) -> u32 {
        self.pairs.get(left, right)
    }

    /// Appends the bytes of tokens and names.
    pub fn decode(&self, ids: &[u32], out: &mut Vec<u8>) -> Result<(), EncodeError> {
        for &id in ids {
            let bounds = self.bounds.get(id as usize..).and_then(|rest| rest.get(..2));
            let &[start, end] = bounds.unwrap_or_default() else {
                return Err(EncodeError::UnknownId(id.into()));
            };
            out.extend_from_slice(&self.bytes[start..end]);
        }
        Ok(())
    }

    fn index(&mut self, id: u32) -> Result<(), EncodeError> {
        let Self { bytes, bounds, hasher, shorts, .. } = self;
        let token = |id: u32| &bytes[bounds[id as usize]..bounds[id as usize + 1]];
        let own = token(id);
        match own {
            [] => return Err(EncodeError::Vocab(format!("token {id} is empty"))),
            &[byte] => self.byte_ids[byte as usize] = id,
            _ => {}
        }
        if own.len() <= longest(2) {
            shorts.insert(short_key(own, 0, own.len()), id);
        }
        let hash = hasher.hash_one(own);
        if let Some(&first) = self.by_bytes.find(hash, |&other| token(other) == own) {
            return Err(EncodeError::Vocab(format!("tokens {first} and {id} are the same bytes")));
        }
        self.by_bytes.insert_unique(hash, id, |&other| hasher.hash_one(token(other)));
        Ok(())
    }

    /// Finds, for every token, the one pair that ever merges to it: the last one when its own bytes are merged.
    /// (Before two neighbours merge to it in any text, their bytes were merged as they would have been alone.)
    /// A token without such a pair only stands for a chunk that equals it.
    fn find_pairs(&mut self) -> Result<(), EncodeError> {
        let mut heap = HeapMerger::default();
        let mut ids = Vec::new();
        let mut joined = Vec::new();
        for id in 0..self.ranks as u32 {
            let mut last = None;
            let pair = |left: u32, right: u32| {
                joined.clear();
                joined.extend_from_slice(self.token(left));
                joined.extend_from_slice(self.token(right));
                let found = self.whole(&joined);
                if found == id {
                    last = Some((left, right));
                }
                found
            };
            ids.clear();
            ids.extend(self.token(id).iter().map(|&byte| self.byte(byte)));
            if ids.len() <= SHORT {
                merge_short(&mut ids, pair);
            } else {
                heap.merge(&mut ids, pair)?;
            }
            if let Some((left, right)) = last {
                self.pairs.insert(left, right, id);
            }
        }
        Ok(())
    }
}

/// Tokens of up to 15 bytes to ids, in a table at most half full: one look into memory where the general table
/// takes three.
struct ShortTable {
    slots: Vec<(Key<2>, u32)>,
    shift: u32,
}

impl ShortTable {
    fn new(capacity: usize) -> Self {
        let size = table_size(capacity);
        Self { slots: vec![([0; 2], NONE); size], shift: 64 - size.ilog2() }
    }

    fn get(&self, key: &Key<2>) -> u32 {
        self.slots[self.find(key)].1
    }

    fn insert(&mut self, key: Key<2>, id: u32) {
        let at = self.find(&key);
        self.slots[at] = (key, id);
    }

    /// The slot of a key, or the free one where it would go.
    #[inline]
    fn find(&self, key: &Key<2>) -> usize {
        let mut at = (hash(key) >> self.shift) as usize;
        loop {
            at &= self.slots.len() - 1;
            let (other, id) = &self.slots[at];
            if other == key || *id == NONE {
                return at;
            }
            at += 1;
        }
    }
}

/// Slots for this many entries, so that half stay free and a search ends.
fn table_size(capacity: usize) -> usize {
    (capacity * 2).next_power_of_two().max(2)
}

/// Pairs to ids. A pair of ids below 256, which is nearly every first look at a chunk, has its place in a plain
/// table; the others are found by hashing, in a table at most half full.
struct PairTable {
    bytes: Vec<u32>,
    slots: Vec<Slot>,
    shift: u32,
}

#[derive(Clone, Copy)]
struct Slot {
    left: u32,
    right: u32,
    id: u32,
}

impl PairTable {
    fn new(capacity: usize) -> Self {
        let size = table_size(capacity);
        let empty = Slot { left: NONE, right: NONE, id: NONE };
        Self { bytes: vec![NONE; 1 << 16], slots: vec![empty; size], shift: 64 - size.ilog2() }
    }

    #[inline]
    fn get(&self, left: u32, right: u32) -> u32 {
        if (left | right) < 256 {
            return self.bytes[(left << 8 | right) as usize];
        }
        let mut at = self.home(left, right);
        loop {
            let slot = &self.slots[at & (self.slots.len() - 1)];
            if (slot.left == left && slot.right == right) || slot.id == NONE {
                return slot.id;
            }
            at += 1;
        }
    }

    fn insert(&mut self, left: u32, right: u32, id: u32) {
        if (left | right) < 256 {
            self.bytes[(left << 8 | right) as usize] = id;
            return;
        }
        let mut at = self.home(left, right);
        while self.slots[at & (self.slots.len() - 1)].id != NONE {
            at += 1;
        }
        let size = self.slots.len();
        self.slots[at & (size - 1)] = Slot { left, right, id };
    }

    #[inline]
    fn home(&self, left: u32, right: u32) -> usize {
        // Fibonacci hashing: the upper bits of the product depend on every bit of the pair
        let product = (u64::from(left) << 32 | u64::from(right)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (product >> self.shift) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes_and(more: &[&str]) -> Vec<Vec<u8>> {
        (0..=255).map(|byte| vec![byte]).chain(more.iter().map(|token| token.as_bytes().to_vec())).collect()
    }

    fn vocab(more: &[&str]) -> Result<Vocab, EncodeError> {
        Vocab::new(&bytes_and(more), &["<|bos|>"])
    }

    #[test]
    fn a_token_has_one_pair_or_none() {
        let vocab =
            vocab(&["ab", "bc", "abc", "xyz", "a token of more than fifteen bytes"]).expect("a vocabulary");
        let [a, b, c] = [b'a', b'b', b'c'].map(u32::from);
        assert_eq!([vocab.pair(a, b), vocab.pair(b, c), vocab.pair(256, c)], [256, 257, 258]);
        assert_eq!(vocab.pair(a, 257), NONE); // "ab" merges before "bc", so these two never meet
        assert_eq!([vocab.whole(b"xyz"), vocab.whole(b"xy"), vocab.whole(b"")], [259, NONE, NONE]);
        assert_eq!(vocab.whole(b"a token of more than fifteen bytes"), 260);
        let short = |text: &[u8]| vocab.whole_short(&short_key(text, 0, text.len()));
        assert_eq!([short(b"xyz"), short(b"xyz\0"), short(b"x")], [259, NONE, u32::from(b'x')]);
    }

    #[test]
    fn names_are_for_decoding_alone() {
        let vocab = vocab(&["ab"]).expect("a vocabulary");
        assert_eq!(vocab.ranks(), 257);
        assert_eq!(vocab.whole(b"<|bos|>"), NONE);
        let mut bytes = Vec::new();
        vocab.decode(&[256, 257, 33], &mut bytes).expect("known ids");
        assert_eq!(bytes, b"ab<|bos|>!");
        for wrong in [258, NONE - 1, NONE] {
            assert_eq!(vocab.decode(&[97, wrong], &mut bytes), Err(EncodeError::UnknownId(wrong.into())));
        }
    }

    #[test]
    fn what_is_no_vocabulary_is_named() {
        let says = |tokens: &[Vec<u8>], what: &str| {
            let error = Vocab::new(tokens, &[""; 0]).err().expect("an error").to_string();
            assert!(error.contains(what), "{error}");
        };
        says(&bytes_and(&["ab", "cd", "ab"]), "tokens 256 and 258 are the same");
        says(&bytes_and(&["ab", ""]), "token 257 is empty");
        says(&bytes_and(&[])[..65], "the byte 65 is no token");
    }
}
