//! Chunks that were encoded before. Text repeats itself: of a hundred chunks about two are new.
//!
//! A table with two places per hash. An entry holds its chunk whole, so a collision can cost time, never a wrong
//! id; a newcomer pushes out the one of two not used last, so nobody can make the table slow by choosing chunks. It
//! begins small and grows to a limit, so that a few words cost little memory and terabytes no more than the limit.

use crate::vocab::NONE;

/// A chunk as machine words: the bytes, zeros, and the length in the last byte. Distinct chunks have distinct
/// keys.
pub(crate) type Key<const WORDS: usize> = [u64; WORDS];

/// Longest chunk that fits a key of this many words.
pub(crate) const fn longest(words: usize) -> usize {
    8 * words - 1
}

/// Masks for the first 0 to 15 of sixteen bytes.
const MASKS: [u128; 16] = {
    let mut masks = [0; 16];
    let mut length = 0;
    while length < 16 {
        masks[length] = (1 << (8 * length)) - 1;
        length += 1;
    }
    masks
};

/// The key of `text[from..from + len]`, `len` at most 15. Reads sixteen bytes at once where the text has them.
#[inline]
pub(crate) fn short_key(text: &[u8], from: usize, len: usize) -> Key<2> {
    let bytes = match text.get(from..).and_then(|rest| rest.first_chunk::<16>()) {
        Some(wide) => u128::from_le_bytes(*wide) & MASKS[len & 15],
        None => {
            let mut wide = [0; 16];
            wide[..len].copy_from_slice(&text[from..from + len]);
            u128::from_le_bytes(wide)
        }
    };
    [bytes as u64, (bytes >> 64) as u64 | (len as u64) << 56]
}

/// The key of a chunk of at most `longest(WORDS)` bytes.
pub(crate) fn long_key<const WORDS: usize>(chunk: &[u8]) -> Key<WORDS> {
    let mut key = [0; WORDS];
    for (word, bytes) in key.iter_mut().zip(chunk.chunks(8)) {
        let mut eight = [0; 8];
        eight[..bytes.len()].copy_from_slice(bytes);
        *word = u64::from_le_bytes(eight);
    }
    key[WORDS - 1] |= (chunk.len() as u64) << 56;
    key
}

/// A chunk's ids. Fewer than `IDS` leave the last place free for their number, as `NONE` less that.
#[derive(Clone, Copy)]
pub(crate) struct Entry<const WORDS: usize, const IDS: usize> {
    key: Key<WORDS>,
    /// The ids, and behind them what is no id.
    pub ids: [u32; IDS],
}

impl<const WORDS: usize, const IDS: usize> Entry<WORDS, IDS> {
    /// No chunk: none has a key of zeros.
    const FREE: Self = Self { key: [0; WORDS], ids: [0; IDS] };

    /// An entry for a key and at most `IDS` ids.
    fn new(key: &Key<WORDS>, ids: &[u32]) -> Self {
        let mut entry = Self { key: *key, ..Self::FREE };
        entry.ids[IDS - 1] = NONE - ids.len() as u32;
        entry.ids[..ids.len()].copy_from_slice(ids);
        entry
    }

    /// How many of `ids` are ids.
    #[inline]
    pub fn count(&self) -> usize {
        IDS.min((NONE - self.ids[IDS - 1]) as usize) // no id comes so close to NONE, see Vocab::new
    }

    #[inline]
    fn is_for(&self, key: &Key<WORDS>) -> bool {
        self.key.iter().zip(key).fold(0, |different, (own, other)| different | (own ^ other)) == 0
    }
}

/// Two places that share a hash, the one used last in front; made to lie in as few cache lines as possible.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Places<const WORDS: usize, const IDS: usize>([Entry<WORDS, IDS>; 2]);

/// Where in a table a key belongs.
#[derive(Clone, Copy)]
pub(crate) struct Place(u32);

/// Keys of `WORDS` words to up to `IDS` ids.
pub(crate) struct Table<const WORDS: usize, const IDS: usize> {
    places: Vec<Places<WORDS, IDS>>,
    /// The size is two to the power of 64 less this.
    shift: u32,
    most_bits: u32,
    /// How many may still be put in before the table grows.
    room: usize,
}

impl<const WORDS: usize, const IDS: usize> Table<WORDS, IDS> {
    /// An empty table that grows from two to the power of `bits` pairs of places to `most_bits`.
    pub fn new(bits: u32, most_bits: u32) -> Self {
        Self {
            places: vec![Places([Entry::FREE; 2]); 1 << bits],
            shift: 64 - bits,
            most_bits,
            room: 1 << bits,
        }
    }

    /// Where the entry of a key would be, until something is put in.
    #[inline]
    pub fn place(&self, key: &Key<WORDS>) -> Place {
        Place((hash(key) >> self.shift) as u32)
    }

    /// Asks the processor to bring a place into its cache, where it can be asked.
    #[inline]
    pub fn fetch(&self, place: Place) {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let places = &raw const self.places[place.0 as usize];
            // SAFETY: a hint: it neither reads nor writes as far as the language knows, and never faults.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(places.cast()) };
        }
    }

    /// The entry of a key that was put in and not pushed out since. The place should be that of the key.
    #[inline]
    pub fn get(&mut self, place: Place, key: &Key<WORDS>) -> Option<&Entry<WORDS, IDS>> {
        let Places(two) = &mut self.places[place.0 as usize];
        if !two[0].is_for(key) {
            if !two[1].is_for(key) {
                return None;
            }
            two.swap(0, 1);
        }
        Some(&two[0])
    }

    /// Puts in a key that is absent, unless it has more ids than an entry holds.
    pub fn put(&mut self, key: &Key<WORDS>, ids: &[u32]) {
        if ids.len() > IDS {
            return;
        }
        if self.room == 0 {
            self.grow();
        }
        self.room = self.room.saturating_sub(1);
        self.put_entry(Entry::new(key, ids));
    }

    fn put_entry(&mut self, entry: Entry<WORDS, IDS>) {
        let Place(at) = self.place(&entry.key);
        let Places(two) = &mut self.places[at as usize];
        *two = [entry, two[0]];
    }

    fn grow(&mut self) {
        let bits = 64 - self.shift;
        if bits >= self.most_bits {
            return;
        }
        let mut larger = Self::new((bits + 2).min(self.most_bits), self.most_bits);
        for Places([first, second]) in self.places.drain(..) {
            for entry in [second, first] {
                if entry.key != Entry::<WORDS, IDS>::FREE.key {
                    larger.put_entry(entry);
                }
            }
        }
        *self = larger;
    }
}

/// A number whose upper bits depend on the whole key.
#[inline]
pub(crate) fn hash<const WORDS: usize>(key: &Key<WORDS>) -> u64 {
    let mut hash = 0;
    for two in key.chunks_exact(2) {
        hash = folded(two[0] ^ hash ^ 0x243F_6A88_85A3_08D3, two[1] ^ 0x1319_8A2E_0370_7344);
    }
    hash
}

/// Both halves of the product: every bit of the operands reaches every bit of the result.
#[inline]
fn folded(left: u64, right: u64) -> u64 {
    let product = u128::from(left) * u128::from(right);
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    #[test]
    fn a_table_grows_to_its_limit_and_keeps_what_it_has() {
        let mut table = Table::<2, 4>::new(1, 9);
        let keys: Vec<_> = (0_u32..200).map(|number| long_key::<2>(&number.to_le_bytes())).collect();
        for (key, number) in keys.iter().zip(0_u32..) {
            table.put(key, &[number]);
        }
        assert_eq!(table.places.len(), 1 << 9);
        let kept = keys.iter().filter(|key| table.get(table.place(key), key).is_some()).count();
        assert!(kept > 150, "{kept}"); // a table that lost all when it grew would have at most 128
        for number in 200_u32..10_000 {
            table.put(&long_key::<2>(&number.to_le_bytes()), &[number]);
        }
        assert_eq!(table.places.len(), 1 << 9);
    }

    #[test]
    fn zeros_at_the_end_are_part_of_the_key() {
        assert_ne!(short_key(b"a", 0, 1), short_key(b"a\0", 0, 2));
        assert_ne!(long_key::<6>(b"a"), long_key::<6>(b"a\0"));
        assert_ne!(long_key::<6>(&[0; 46]), long_key::<6>(&[0; 47]));
    }

    proptest! {
        #[test]
        fn a_key_does_not_depend_on_what_follows(before in ".{0,9}", chunk in "\\PC{0,5}", after in ".{0,20}") {
            let len = chunk.len();
            prop_assume!(len <= longest(2));
            let text = format!("{before}{chunk}{after}");
            let key = short_key(text.as_bytes(), before.len(), len);
            prop_assert_eq!(key, short_key(chunk.as_bytes(), 0, len));
            prop_assert_eq!(key, long_key::<2>(chunk.as_bytes()));
        }

        #[test]
        fn what_is_found_was_put_in(words in prop::collection::vec("[a-c]{1,6}", 0..200)) {
            let mut table = Table::<2, 4>::new(1, 3); // sixteen places at last: most are pushed out
            let mut ids: HashMap<String, Vec<u32>> = HashMap::new();
            for (word, number) in words.iter().zip(1_u32..) {
                let key = long_key::<2>(word.as_bytes());
                match table.get(table.place(&key), &key) {
                    Some(entry) => prop_assert_eq!(&entry.ids[..entry.count()], &ids[word][..]),
                    None => {
                        let new = vec![number; number as usize % 4 + 1];
                        table.put(&key, &new);
                        prop_assert_eq!(table.get(table.place(&key), &key).map(|entry| entry.ids[..entry.count()].to_vec()), Some(new.clone()));
                        ids.insert(word.clone(), new);
                    }
                }
            }
        }
    }
}
