//! Bytes to tokens by merging: of all neighbouring pairs that form a token the one with the lowest id is
//! merged, the leftmost of equal ones, until no pair forms a token.
//!
//! Two ways to the same ids, by length: a scan finds the lowest pair of a short chunk, a heap that of a longer one.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::error::EncodeError;
use crate::ids::NONE;

/// Longest input for the scan, which is quadratic but has no overhead.
pub(crate) const SHORT: usize = 64;

/// Merges up to `SHORT` ids in place; returns how many are left. `pair` gives the id of a pair or `NONE`.
pub(crate) fn merge_short(ids: &mut [u32], mut pair: impl FnMut(u32, u32) -> u32) -> usize {
    let mut pairs = [NONE; SHORT]; // pairs[i] is the id of ids[i] with ids[i + 1]
    let mut len = ids.len();
    for at in 1..len {
        pairs[at - 1] = pair(ids[at - 1], ids[at]);
    }
    while len > 1 {
        let mut at = 0;
        let mut best = NONE;
        for (position, &id) in pairs[..len - 1].iter().enumerate() {
            if id < best {
                (at, best) = (position, id);
            }
        }
        if best == NONE {
            break;
        }
        ids[at] = best;
        ids.copy_within(at + 2..len, at + 1);
        len -= 1;
        pairs.copy_within(at + 1..len, at);
        if at + 1 < len {
            pairs[at] = pair(best, ids[at + 1]);
        }
        if at > 0 {
            pairs[at - 1] = pair(ids[at - 1], best);
        }
    }
    len
}

/// Merges with a heap of pairs and a list of what is left.
#[derive(Default)]
pub(crate) struct HeapMerger {
    /// The id of the pair that begins here, `NONE` if there is none. Entries of the heap that differ are outdated.
    pairs: Vec<u32>,
    next: Vec<u32>,
    previous: Vec<u32>,
    /// Lowest id first, then leftmost: id in the upper half, position in the lower.
    heap: BinaryHeap<Reverse<u64>>,
}

impl HeapMerger {
    /// Merges ids in place, as `merge_short` does, at any length.
    pub fn merge(
        &mut self,
        ids: &mut Vec<u32>,
        mut pair: impl FnMut(u32, u32) -> u32,
    ) -> Result<(), EncodeError> {
        let len = u32::try_from(ids.len()).ok().filter(|&len| len < NONE).ok_or(EncodeError::TooLarge)?;
        let Self { pairs, next, previous, heap } = self;
        next.clear();
        next.extend((1..len).chain([NONE]).take(ids.len()));
        previous.clear();
        previous.extend([NONE].into_iter().chain(0..len).take(ids.len()));
        pairs.clear();
        pairs.extend(ids.windows(2).map(|two| pair(two[0], two[1])));
        pairs.push(NONE);
        heap.clear();
        let found = pairs.iter().zip(0_u32..).filter(|&(&id, _)| id != NONE);
        heap.extend(found.map(|(&id, at)| Reverse(entry(id, at))));

        while let Some(Reverse(top)) = heap.pop() {
            let (id, at) = ((top >> 32) as u32, top as u32);
            let here = at as usize;
            if pairs[here] != id {
                continue;
            }
            let gone = next[here];
            let after = next[gone as usize];
            ids[here] = id;
            pairs[gone as usize] = NONE;
            next[here] = after;
            pairs[here] = NONE;
            if after != NONE {
                previous[after as usize] = at;
                let new = pair(id, ids[after as usize]);
                pairs[here] = new;
                if new != NONE {
                    heap.push(Reverse(entry(new, at)));
                }
            }
            let before = previous[here];
            if before != NONE {
                let new = pair(ids[before as usize], id);
                pairs[before as usize] = new;
                if new != NONE {
                    heap.push(Reverse(entry(new, before)));
                }
            }
        }
        let mut written = 0;
        let mut at = if ids.is_empty() { NONE } else { 0 };
        while at != NONE {
            ids[written] = ids[at as usize];
            written += 1;
            at = next[at as usize];
        }
        ids.truncate(written);
        Ok(())
    }
}

fn entry(id: u32, at: u32) -> u64 {
    u64::from(id) << 32 | u64::from(at)
}
