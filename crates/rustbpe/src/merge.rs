//! Bytes to tokens by merging: of all neighbouring pairs that form a token the one with the lowest id is
//! merged, the leftmost of equal ones, until no pair forms a token.
//!
//! Three ways to the same ids, by length. Up to `SHORT` bytes a scan finds the lowest pair. Up to `WINDOW` a
//! heap does. Longer input is merged in overlapping windows, so that the work stays in the processor's cache
//! and is linear in the length. Windows are exact: a list of tokens is the merge of its bytes if and only if
//! every two neighbours are the merge of theirs. (Take the first merge across a border of the list. Until then
//! the bytes of the two tokens beside it were merged as they would have been alone, so alone they would have
//! merged across it too.) Two lists that share a token at the same place can therefore be joined there.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::mem;

use crate::error::EncodeError;
use crate::vocab::{NONE, Vocab};

/// Longest input for the scan, which is quadratic but has no overhead.
pub(crate) const SHORT: usize = 64;

/// Bytes of a window: large against tokens, small against the first-level cache.
const WINDOW: usize = 2048;

/// Working memory, kept between calls.
#[derive(Default)]
pub(crate) struct Merger {
    heap: HeapMerger,
    held: Vec<u32>,
    ahead: Vec<u32>,
}

impl Merger {
    /// Appends the ids of `bytes` to `out`.
    pub fn merge(&mut self, vocab: &Vocab, bytes: &[u8], out: &mut Vec<u32>) -> Result<(), EncodeError> {
        if bytes.len() > SHORT {
            return self.merge_long(vocab, bytes, WINDOW, out);
        }
        let mut ids = [0; SHORT];
        for (id, &byte) in ids.iter_mut().zip(bytes) {
            *id = vocab.byte(byte);
        }
        let count = merge_short(&mut ids[..bytes.len()], |left, right| vocab.pair(left, right));
        out.extend_from_slice(&ids[..count]);
        Ok(())
    }

    fn merge_long(
        &mut self,
        vocab: &Vocab,
        bytes: &[u8],
        window: usize,
        out: &mut Vec<u32>,
    ) -> Result<(), EncodeError> {
        let mut size = window;
        let mut start = 0; // of the window whose tokens are held; all before it is done
        self.heap.merge_window(vocab, bytes, start, size, &mut self.held)?;
        while bytes.len() - start > size {
            // what ends in the first three quarters of a window hardly depends on its end
            let mut kept = 0;
            let mut border = start;
            for &id in &self.held {
                let end = border + vocab.token(id).len();
                if end - start > size / 4 * 3 {
                    break;
                }
                (kept, border) = (kept + 1, end);
            }
            let joined = kept > 0 && {
                self.heap.merge_window(vocab, bytes, border, size, &mut self.ahead)?;
                self.ahead.first() == self.held.get(kept)
            };
            if joined {
                out.extend_from_slice(&self.held[..kept]);
                mem::swap(&mut self.held, &mut self.ahead);
                start = border;
            } else {
                size *= 2;
                self.heap.merge_window(vocab, bytes, start, size, &mut self.held)?;
            }
        }
        out.extend_from_slice(&self.held);
        Ok(())
    }
}

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
    fn merge_window(
        &mut self,
        vocab: &Vocab,
        bytes: &[u8],
        start: usize,
        size: usize,
        ids: &mut Vec<u32>,
    ) -> Result<(), EncodeError> {
        ids.clear();
        ids.extend(bytes[start..].iter().take(size).map(|&byte| vocab.byte(byte)));
        self.merge(ids, |left, right| vocab.pair(left, right))
    }

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

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    /// The slow twin: look for the lowest of all pairs before each merge.
    pub(crate) fn slow(tokens: &[Vec<u8>], bytes: &[u8]) -> Vec<u32> {
        let ids: HashMap<&[u8], u32> = tokens.iter().map(Vec::as_slice).zip(0..).collect();
        let mut bounds: Vec<usize> = (0..=bytes.len()).collect();
        loop {
            let pairs = bounds.windows(3).zip(1..);
            let found = pairs.filter_map(|(three, at)| Some((*ids.get(&bytes[three[0]..three[2]])?, at)));
            let Some((_, at)) = found.min() else { break };
            bounds.remove(at);
        }
        bounds.windows(2).map(|two| ids[&bytes[two[0]..two[1]]]).collect()
    }

    /// Vocabularies as no trainer would make them: any tokens of two letters and of three, in any order.
    pub(crate) fn tokens() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let more = prop::collection::btree_set("[ab]{2,7}|[abc]{2,4}", 0..40);
        more.prop_flat_map(|more| {
            let bytes = (0..=255).map(|byte| vec![byte]);
            Just(bytes.chain(more.into_iter().map(String::into_bytes)).collect()).prop_shuffle()
        })
    }

    fn vocab(tokens: &[Vec<u8>]) -> Vocab {
        Vocab::new(tokens, &[""; 0]).expect("all bytes, none twice")
    }

    proptest! {
        #[test]
        fn every_way_is_the_slow_one(tokens in tokens(), text in "[ab]{0,150}|[abc]{0,150}", window in 4_usize..40) {
            let vocab = vocab(&tokens);
            let bytes = text.as_bytes();
            let expected = slow(&tokens, bytes);
            let mut merger = Merger::default();
            let mut found = Vec::new();
            merger.merge(&vocab, bytes, &mut found).expect("short");
            prop_assert_eq!(&found, &expected);
            found.clear();
            merger.merge_long(&vocab, bytes, window, &mut found).expect("short");
            prop_assert_eq!(&found, &expected);
            if bytes.len() <= SHORT {
                let mut ids: Vec<u32> = bytes.iter().map(|&byte| vocab.byte(byte)).collect();
                merger.heap.merge(&mut ids, |left, right| vocab.pair(left, right)).expect("short");
                prop_assert_eq!(&ids, &expected);
            }
        }
    }

    #[test]
    fn tokens_longer_than_any_window() {
        let mut tokens: Vec<Vec<u8>> = (0..=255).map(|byte| vec![byte]).collect();
        tokens.extend((1..=13).map(|power| vec![b'a'; 1 << power]));
        let vocab = vocab(&tokens);
        for length in [8191, 8192, 8193, 20_000, 100_001] {
            let mut found = Vec::new();
            Merger::default().merge(&vocab, &vec![b'a'; length], &mut found).expect("fits");
            let mut expected = vec![268; length >> 13];
            expected.extend((1..13).rev().filter(|power| length >> power & 1 == 1).map(|power| 255 + power));
            expected.extend((length & 1 == 1).then_some(u32::from(b'a')));
            assert_eq!(found, expected, "{length}");
        }
    }
}
