//! The pairs that may yet be merged: how often each occurs, and where it did when it came into being.

/// A pair as one number; the numbers are in the order of the pairs.
#[inline(always)]
pub(crate) fn joined(left: u32, right: u32) -> u64 {
    u64::from(left) << 32 | u64::from(right)
}

/// The inverse of `joined`.
pub(crate) fn parted(pair: u64) -> (u32, u32) {
    ((pair >> 32) as u32, pair as u32)
}

/// No pair has this number, as no token has the id `u32::MAX`.
const EMPTY: u64 = u64::MAX;

const FIRST_SLOTS_LOG: u32 = 12;

#[derive(Debug, Clone, Copy)]
struct Slot {
    pair: u64,
    count: u64,
    list: u32,
}

const EMPTY_SLOT: Slot = Slot { pair: EMPTY, count: 0, list: 0 };

/// A hash table of pairs. None is ever taken out: a count of 0 will do.
#[derive(Debug)]
pub(crate) struct Pairs {
    slots: Vec<Slot>,
    slots_log: u32,
    lists: Vec<Vec<u32>>,
}

impl Pairs {
    pub(crate) fn new() -> Self {
        Self { slots: vec![EMPTY_SLOT; 1 << FIRST_SLOTS_LOG], slots_log: FIRST_SLOTS_LOG, lists: Vec::new() }
    }

    /// How often the pair occurs; 0 for one that was never kept.
    pub(crate) fn count(&self, pair: u64) -> u64 {
        self.slots[self.find(pair)].count
    }

    /// Takes `count` off a pair, if it is kept.
    #[inline]
    pub(crate) fn subtract(&mut self, pair: u64, count: u64) {
        let index = self.find(pair);
        let slot = &mut self.slots[index];
        slot.count = slot.count.saturating_sub(count); // an empty slot has 0 and keeps it
    }

    /// Adds a pair that is not there, with an empty list of places.
    ///
    /// Returns:
    ///     The number of its list.
    pub(crate) fn insert(&mut self, pair: u64, count: u64, places: usize) -> usize {
        self.lists.push(Vec::with_capacity(places));
        let list = self.lists.len() - 1;
        // Half full at most.
        if self.lists.len() * 2 > self.slots.len() {
            self.grow();
        }
        let index = self.find(pair);
        self.slots[index] = Slot { pair, count, list: list as u32 };
        list
    }

    /// The places of a pair by the number of its list, in ascending order: where its first token begins.
    #[inline(always)]
    pub(crate) fn places(&mut self, list: usize) -> &mut Vec<u32> {
        &mut self.lists[list]
    }

    /// Takes the places of a pair and sets its count to 0.
    pub(crate) fn take(&mut self, pair: u64) -> Vec<u32> {
        let index = self.find(pair);
        let slot = &mut self.slots[index];
        slot.count = 0;
        if slot.pair == pair { std::mem::take(&mut self.lists[slot.list as usize]) } else { Vec::new() }
    }

    /// The slot of a pair, or the empty one where it would be.
    #[inline(always)]
    fn find(&self, pair: u64) -> usize {
        let mask = self.slots.len() - 1;
        // The high bits of the product depend on all bits of both ids.
        let mut index =
            (pair.rotate_left(20).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - self.slots_log)) as usize;
        while self.slots[index & mask].pair != pair && self.slots[index & mask].pair != EMPTY {
            index += 1;
        }
        index & mask
    }

    #[cold]
    fn grow(&mut self) {
        self.slots_log += 1;
        let old = std::mem::replace(&mut self.slots, vec![EMPTY_SLOT; 1 << self.slots_log]);
        for slot in old {
            if slot.pair != EMPTY {
                let index = self.find(slot.pair);
                self.slots[index] = slot;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_found_again_after_growth() {
        let mut pairs = Pairs::new();
        let all = || (0..300_u32).flat_map(|left| (0..100).map(move |right| joined(left, right * 7)));
        for (list, pair) in all().enumerate() {
            assert_eq!(pairs.insert(pair, list as u64 + 1, 0), list);
            pairs.places(list).push(list as u32);
        }
        for (list, pair) in all().enumerate() {
            assert_eq!(pairs.count(pair), list as u64 + 1);
            pairs.subtract(pair, 1);
            assert_eq!(pairs.count(pair), list as u64);
            assert_eq!(pairs.take(pair), [list as u32]);
            assert_eq!(pairs.count(pair), 0);
        }
    }

    #[test]
    fn a_pair_that_is_not_there_has_no_count_and_no_places() {
        let mut pairs = Pairs::new();
        pairs.subtract(joined(1, 2), 9);
        assert_eq!((pairs.count(joined(1, 2)), pairs.take(joined(1, 2))), (0, vec![]));
        pairs.insert(joined(1, 2), 3, 1);
        pairs.subtract(joined(1, 2), 9);
        assert_eq!(pairs.count(joined(1, 2)), 0);
    }

    #[test]
    fn numbers_and_pairs() {
        assert_eq!(parted(joined(7, u32::MAX - 2)), (7, u32::MAX - 2));
        assert!(joined(1, 9) < joined(2, 0));
    }
}
