//! Chunks that were encoded before. Text repeats itself: of a hundred chunks about two are new.
//!
//! A table with two places per hash. An entry holds its chunk whole, so a collision can cost time, never a wrong
//! id; a newcomer pushes out the one of two not used last, so nobody can make the table slow by choosing chunks. It
//! begins small and grows to a limit, so that a few words cost little memory and terabytes no more than the limit.

use crate::ids::NONE;
use crate::key::{Key, hash};

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::long_key;
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

    proptest! {
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
