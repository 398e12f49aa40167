//! How often was each chunk seen: a hash table made for short keys.
//!
//! Nearly all chunks have at most 15 bytes. Such a chunk is kept in its slot, as two words that hold its bytes
//! and its length: finding it is one multiplication and, as a rule, one comparison. Longer ones lie in a common
//! `arena`, and the slot says where.

use std::hash::{BuildHasher, RandomState};

/// Bytes of a chunk that a slot can hold; one more holds their number.
pub(crate) const SHORT: usize = 15;

/// What stands in the place of the length when the chunk lies in the arena.
const LONG: u64 = 0xFF << 56;

const FIRST_SLOTS_LOG: u32 = 6;

/// A chunk with its count. Short: `low` and `high` are its bytes in order, the last byte of `high` its length.
/// Long: `low` is its place in the arena, `high` the mark and 56 bits of its hash. An empty slot has `high` 0.
#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    low: u64,
    high: u64,
    count: u64,
}

/// The bytes of a chunk ready to be looked up.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Key<'t> {
    /// As in `Slot`.
    Short(u64, u64),
    /// More than `SHORT` bytes.
    Long(&'t [u8]),
}

impl<'t> Key<'t> {
    /// The key of `text[start..end]`, which is not empty. Reading past its end is what makes it fast.
    #[inline(always)]
    pub(crate) fn of(text: &'t [u8], start: usize, end: usize) -> Self {
        let len = end - start;
        if len > SHORT {
            return Self::Long(&text[start..end]);
        }
        let bytes = match text[start..].first_chunk::<16>() {
            Some(bytes) => *bytes,
            None => {
                let mut bytes = [0; 16];
                bytes[..len].copy_from_slice(&text[start..end]);
                bytes
            }
        };
        let (low, high) = MASKS[len];
        let word = |at: usize| u64::from_le_bytes([0, 1, 2, 3, 4, 5, 6, 7].map(|index| bytes[at + index]));
        Self::Short(word(0) & low, word(8) & high | (len as u64) << 56)
    }
}

/// The bytes of a chunk.
#[derive(Debug, Clone, Copy)]
pub struct Chunk<'t>(Bytes<'t>);

#[derive(Debug, Clone, Copy)]
enum Bytes<'t> {
    Short([u8; 16]),
    Long(&'t [u8]),
}

impl<'t> Chunk<'t> {
    fn of(key: Key<'t>) -> Self {
        Self(match key {
            Key::Short(low, high) => Bytes::Short((u128::from(high) << 64 | u128::from(low)).to_le_bytes()),
            Key::Long(bytes) => Bytes::Long(bytes),
        })
    }
}

impl AsRef<[u8]> for Chunk<'_> {
    fn as_ref(&self) -> &[u8] {
        match &self.0 {
            Bytes::Short(bytes) => &bytes[..usize::from(bytes[SHORT])],
            Bytes::Long(bytes) => bytes,
        }
    }
}

/// By the length of a short chunk: the bits of both words that belong to it.
const MASKS: [(u64, u64); SHORT + 1] = {
    let mut masks = [(0, 0); SHORT + 1];
    let mut len = 1;
    while len <= SHORT {
        let bits: u128 = (1 << (8 * len)) - 1;
        masks[len] = (bits as u64, (bits >> 64) as u64);
        len += 1;
    }
    masks
};

/// What hashes depend on; tables that exchange entries share it. Drawn anew for each counter, so that no text
/// can be written to make all its chunks collide.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seed(u64, u64);

impl Seed {
    pub(crate) fn random() -> Self {
        let state = RandomState::new();
        Self(state.hash_one(0), state.hash_one(1))
    }

    #[inline(always)]
    fn short(self, low: u64, high: u64) -> u64 {
        fold(low ^ self.0, high ^ self.1)
    }

    /// 56 bits, in the high part of the word.
    fn long(self, bytes: &[u8]) -> u64 {
        let word = |part: &[u8]| {
            let mut eight = [0; 8];
            eight[..part.len()].copy_from_slice(part);
            u64::from_le_bytes(eight)
        };
        let mut hash = bytes.len() as u64;
        for part in bytes.chunks(16) {
            let (low, high) = part.split_at(part.len().min(8));
            hash = fold(word(low) ^ self.0 ^ hash, word(high) ^ self.1).wrapping_add(hash.rotate_left(32));
        }
        fold(hash ^ self.1, self.0 | 1) << 8
    }

    #[inline(always)]
    pub(crate) fn of(self, key: &Key) -> u64 {
        match *key {
            Key::Short(low, high) => self.short(low, high),
            Key::Long(bytes) => self.long(bytes),
        }
    }
}

/// Both halves of the product, mixed.
#[inline(always)]
fn fold(left: u64, right: u64) -> u64 {
    let product = u128::from(left) * u128::from(right);
    product as u64 ^ (product >> 64) as u64
}

/// Chunks with counts. Slots are in the order of their hashes but for collisions.
#[derive(Debug)]
pub(crate) struct Counts {
    seed: Seed,
    /// Bits of the hash to pass over before those that choose the slot.
    skip: u32,
    slots: Vec<Slot>,
    slots_log: u32,
    len: usize,
    arena: Vec<u8>,
}

impl Counts {
    /// An empty table for chunks whose hashes share their first `skip` bits.
    pub(crate) fn new(seed: Seed, skip: u32) -> Self {
        let slots = vec![Slot::default(); 1 << FIRST_SLOTS_LOG];
        Self { seed, skip, slots, slots_log: FIRST_SLOTS_LOG, len: 0, arena: Vec::new() }
    }

    /// Distinct chunks.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Bytes of chunks that no slot holds.
    pub(crate) fn arena_bytes(&self) -> usize {
        self.arena.len()
    }

    /// Forgets everything but keeps its memory.
    pub(crate) fn clear(&mut self) {
        self.slots.fill(Slot::default());
        self.arena.clear();
        self.len = 0;
    }

    /// Adds `count`, which is above 0, to a chunk. `hash` is that of the seed.
    #[inline(always)]
    pub(crate) fn add(&mut self, key: Key, hash: u64, count: u64) {
        match key {
            Key::Short(low, high) => self.add_short(low, high, hash, count),
            Key::Long(bytes) => self.add_long(bytes, hash, count),
        }
    }

    #[inline(always)]
    fn add_short(&mut self, low: u64, high: u64, hash: u64, count: u64) {
        let mask = self.slots.len() - 1;
        let mut index = self.home(hash);
        loop {
            let slot = &mut self.slots[index & mask];
            if slot.low == low && slot.high == high {
                slot.count += count;
                return;
            }
            if slot.high == 0 {
                *slot = Slot { low, high, count };
                return self.one_more();
            }
            index += 1;
        }
    }

    fn add_long(&mut self, bytes: &[u8], hash: u64, count: u64) {
        let mask = self.slots.len() - 1;
        let mut index = self.home(hash);
        let high = LONG | hash >> 8;
        loop {
            let slot = &mut self.slots[index & mask];
            if slot.high == 0 {
                *slot = Slot { low: self.arena.len() as u64, high, count };
                self.arena.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
                self.arena.extend_from_slice(bytes);
                return self.one_more();
            }
            if slot.high == high && in_arena(&self.arena, slot.low) == bytes {
                slot.count += count;
                return;
            }
            index += 1;
        }
    }

    /// Makes room for so many chunks more. Without it, adding entries in the order of their hashes would crowd
    /// the front of a table that has yet to grow.
    pub(crate) fn reserve(&mut self, more: usize) {
        let mut slots_log = self.slots_log;
        while (self.len + more) * 3 > 2 << slots_log {
            slots_log += 1;
        }
        if slots_log > self.slots_log {
            self.grow(slots_log);
        }
    }

    /// All entries with their hashes, nearly in the order of these.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (Key<'_>, u64, u64)> {
        self.slots.iter().filter(|slot| slot.high != 0).map(|slot| {
            if slot.high < LONG {
                let hash = self.seed.short(slot.low, slot.high);
                (Key::Short(slot.low, slot.high), hash, slot.count)
            } else {
                (Key::Long(in_arena(&self.arena, slot.low)), slot.high << 8, slot.count)
            }
        })
    }

    /// The chunks with their counts, in no particular order.
    pub(crate) fn chunks(&self) -> impl Iterator<Item = (Chunk<'_>, u64)> {
        self.entries().map(|(key, _, count)| (Chunk::of(key), count))
    }

    #[inline(always)]
    fn home(&self, hash: u64) -> usize {
        (hash << self.skip >> (64 - self.slots_log)) as usize
    }

    #[inline(always)]
    fn one_more(&mut self) {
        self.len += 1;
        // Two thirds full at most: chains stay short.
        if self.len * 3 > self.slots.len() * 2 {
            self.grow(self.slots_log + 1);
        }
    }

    #[cold]
    fn grow(&mut self, slots_log: u32) {
        let old = std::mem::replace(&mut self.slots, vec![Slot::default(); 1 << slots_log]);
        self.slots_log = slots_log;
        let mask = self.slots.len() - 1;
        for slot in old {
            if slot.high != 0 {
                let hash =
                    if slot.high < LONG { self.seed.short(slot.low, slot.high) } else { slot.high << 8 };
                let mut index = self.home(hash);
                while self.slots[index & mask].high != 0 {
                    index += 1;
                }
                self.slots[index & mask] = slot;
            }
        }
    }
}

fn in_arena(arena: &[u8], place: u64) -> &[u8] {
    let start = place as usize + 8;
    let mut len = [0; 8];
    len.copy_from_slice(&arena[start - 8..start]);
    &arena[start..start + u64::from_le_bytes(len) as usize]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn counted(texts: &[Vec<u8>]) -> BTreeMap<Vec<u8>, u64> {
        let mut counts = Counts::new(Seed::random(), 0);
        for text in texts {
            let key = Key::of(text, 0, text.len());
            counts.add(key, counts.seed.of(&key), 1);
        }
        let found: BTreeMap<_, _> =
            counts.chunks().map(|(chunk, count)| (chunk.as_ref().to_vec(), count)).collect();
        assert_eq!(found.len(), counts.len());
        found
    }

    proptest! {
        #[test]
        fn equal_to_an_ordered_map(
            texts in prop::collection::vec(prop::collection::vec(0_u8..3, 1..40), 0..300),
        ) {
            let mut expected: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
            for text in &texts {
                *expected.entry(text.clone()).or_default() += 1;
            }
            prop_assert_eq!(counted(&texts), expected);
        }

        #[test]
        fn a_key_holds_its_bytes_wherever_they_stand(
            text in prop::collection::vec(any::<u8>(), 1..60), place: (prop::sample::Index, prop::sample::Index),
        ) {
            let (first, last) = (place.0.index(text.len()), place.1.index(text.len()));
            let (start, end) = (first.min(last), first.max(last) + 1);
            let chunk = Chunk::of(Key::of(&text, start, end));
            prop_assert_eq!(chunk.as_ref(), &text[start..end]);
        }
    }

    #[test]
    fn many_chunks_of_every_length_and_a_megabyte() {
        let mut texts: Vec<Vec<u8>> =
            (0..20_000_u32).map(|i| i.to_string().repeat(1 + i as usize % 7).into()).collect();
        texts.push(vec![b'x'; 1 << 20]);
        texts.push(vec![b'x'; (1 << 20) + 1]);
        texts.push(vec![0; 15]);
        texts.push(vec![0; 14]);
        texts.push(vec![0xFF; 15]);
        texts.push(vec![0xFF; 16]);
        let distinct: std::collections::BTreeSet<_> = texts.iter().cloned().collect();
        let doubled: Vec<_> = texts.iter().chain(&texts).cloned().collect();
        let found = counted(&doubled);
        assert_eq!(found.len(), distinct.len());
        assert_eq!(found.values().sum::<u64>(), doubled.len() as u64);
        assert_eq!(found[&vec![b'x'; 1 << 20]], 2);
    }

    #[test]
    fn entries_of_one_table_may_fill_another_in_order() {
        let seed = Seed::random();
        let mut from = Counts::new(seed, 0);
        for i in 0..100_000_u32 {
            let text = i.to_string();
            let key = Key::of(text.as_bytes(), 0, text.len());
            from.add(key, seed.of(&key), u64::from(i) + 1);
        }
        let mut to = Counts::new(seed, 0);
        to.reserve(from.len());
        for (key, hash, count) in from.entries() {
            to.add(key, hash, count);
        }
        let total = |counts: &Counts| counts.chunks().map(|(_, count)| count).sum::<u64>();
        assert_eq!((to.len(), total(&to)), (from.len(), total(&from)));
        from.clear();
        assert_eq!((from.len(), from.chunks().count(), from.arena_bytes()), (0, 0, 0));
    }
}
