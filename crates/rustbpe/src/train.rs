//! Chunks with counts to merges.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::ControlFlow;

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use crate::error::TrainError;

/// Two neighbouring ids; as the n-th merge it makes id `FIRST_MERGE_ID + n`.
pub type Pair = (u32, u32);

/// Ids below are the 256 bytes.
pub const FIRST_MERGE_ID: u32 = 256;

/// Merges between two calls of the progress callback.
const MERGES_PER_CALL: usize = 64;

/// A chunk: `len` ids from `start` in the common array. Merging shortens it in place.
struct Word {
    start: usize,
    len: usize,
    count: u64,
}

/// How often a pair occurs, weighted by the counts of its words, and where it does or once did.
#[derive(Default)]
struct PairInfo {
    count: u64,
    words: Vec<u32>,
}

impl PairInfo {
    fn add(&mut self, word: u32, count: u64) {
        self.count += count;
        if self.words.last() != Some(&word) {
            self.words.push(word);
        }
    }
}

/// Learns up to `num_merges` merges; fewer when every chunk has become one token.
///
/// `on_progress` receives the number of merges made so far, every 64 merges and at the end; `Break` ends
/// training with `TrainError::Interrupted`.
pub fn train<'t>(
    chunks: impl IntoIterator<Item = (&'t str, u64)>,
    num_merges: usize,
    mut on_progress: impl FnMut(usize) -> ControlFlow<()>,
) -> Result<Vec<Pair>, TrainError> {
    let mut state = Trainer::new(chunks)?;
    let mut merges = Vec::new();
    while merges.len() < num_merges {
        if merges.len() % MERGES_PER_CALL == 0 && on_progress(merges.len()).is_break() {
            return Err(TrainError::Interrupted);
        }
        let Some(pair) = state.most_frequent() else { break };
        let id = u32::try_from(merges.len())
            .ok()
            .and_then(|made| made.checked_add(FIRST_MERGE_ID))
            .ok_or(TrainError::TooLarge)?;
        state.merge(pair, id);
        merges.push(pair);
    }
    match on_progress(merges.len()) {
        ControlFlow::Continue(()) => Ok(merges),
        ControlFlow::Break(()) => Err(TrainError::Interrupted),
    }
}

struct Trainer {
    ids: Vec<u32>,
    words: Vec<Word>,
    pairs: HashMap<Pair, PairInfo>,
    /// Highest count first, then the lowest pair. Never below the present count of a pair.
    heap: BinaryHeap<(u64, Reverse<Pair>)>,
    /// Pairs that the merge under way has brought into being.
    fresh: Vec<Pair>,
}

impl Trainer {
    fn new<'t>(chunks: impl IntoIterator<Item = (&'t str, u64)>) -> Result<Self, TrainError> {
        let mut ids = Vec::new();
        let mut words = Vec::new();
        let mut pairs: HashMap<Pair, PairInfo> = HashMap::new();
        // A chunk of one byte has no pair.
        for (chunk, count) in chunks.into_iter().filter(|(chunk, _)| chunk.len() > 1) {
            let index = u32::try_from(words.len()).map_err(|_| TrainError::TooLarge)?;
            words.push(Word { start: ids.len(), len: chunk.len(), count });
            ids.extend(chunk.bytes().map(u32::from));
            for two in chunk.as_bytes().windows(2) {
                pairs.entry((two[0].into(), two[1].into())).or_default().add(index, count);
            }
        }
        let heap = pairs.iter().map(|(&pair, info)| (info.count, Reverse(pair))).collect();
        Ok(Self { ids, words, pairs, heap, fresh: Vec::new() })
    }

    /// The pair to merge next: the highest count, of equal counts the lowest pair of ids.
    fn most_frequent(&mut self) -> Option<Pair> {
        while let Some((count, Reverse(pair))) = self.heap.pop() {
            match self.pairs.get(&pair).map_or(0, |info| info.count) {
                0 => {
                    self.pairs.remove(&pair); // its list of words is no longer needed
                }
                now if now == count => return Some(pair),
                now => self.heap.push((now, Reverse(pair))),
            }
        }
        None
    }

    /// Replaces `pair` by `id` in every word and brings counts and heap up to date.
    fn merge(&mut self, pair: Pair, id: u32) {
        let words = self.pairs.remove(&pair).unwrap_or_default().words;
        for index in words {
            self.merge_in_word(index, pair, id);
        }
        for pair in self.fresh.drain(..) {
            if let Some(info) = self.pairs.get(&pair) {
                self.heap.push((info.count, Reverse(pair)));
            }
        }
    }

    fn merge_in_word(&mut self, index: u32, pair: Pair, id: u32) {
        let Word { start, len, count } = self.words[index as usize];
        let ids = &mut self.ids[start..start + len];
        let mut written = 0; // ids[..written] is the new word, ids[read..] what is left of the old one
        let mut read = 0;
        while read < len {
            let before = if written > 0 { Some(ids[written - 1]) } else { None };
            if read + 1 < len && (ids[read], ids[read + 1]) == pair {
                // Between two replacements in a row the old pair was taken off by the first.
                if let Some(before) = before {
                    if before != id {
                        remove(&mut self.pairs, (before, pair.0), count);
                    }
                    add(&mut self.pairs, &mut self.fresh, (before, id), index, count);
                }
                if read + 2 < len {
                    remove(&mut self.pairs, (pair.1, ids[read + 2]), count);
                }
                ids[written] = id;
                read += 2;
            } else {
                if before == Some(id) {
                    add(&mut self.pairs, &mut self.fresh, (id, ids[read]), index, count);
                }
                ids[written] = ids[read];
                read += 1;
            }
            written += 1;
        }
        self.words[index as usize].len = written;
    }
}

/// Takes `count` off a pair. The pair being merged is no longer in the table and needs no counting.
fn remove(pairs: &mut HashMap<Pair, PairInfo>, pair: Pair, count: u64) {
    if let Some(info) = pairs.get_mut(&pair) {
        info.count -= count;
    }
}

/// Adds `count` to a pair with the new id, which is thus fresh in this merge.
fn add(pairs: &mut HashMap<Pair, PairInfo>, fresh: &mut Vec<Pair>, pair: Pair, word: u32, count: u64) {
    let info = match pairs.entry(pair) {
        Entry::Occupied(entry) => entry.into_mut(),
        Entry::Vacant(entry) => {
            fresh.push(pair);
            entry.insert(PairInfo::default())
        }
    };
    info.add(word, count);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn fast(chunks: &[(String, u64)], num_merges: usize) -> Vec<Pair> {
        let chunks = chunks.iter().map(|(chunk, count)| (chunk.as_str(), *count));
        train(chunks, num_merges, |_| ControlFlow::Continue(())).expect("small input")
    }

    /// The slow twin: count everything again before each merge.
    fn slow(chunks: &[(String, u64)], num_merges: usize) -> Vec<Pair> {
        let mut words: Vec<(Vec<u32>, u64)> =
            chunks.iter().map(|(chunk, count)| (chunk.bytes().map(u32::from).collect(), *count)).collect();
        let mut merges = Vec::new();
        for id in (FIRST_MERGE_ID..).take(num_merges) {
            let mut counts: BTreeMap<Pair, u64> = BTreeMap::new();
            for (ids, count) in &words {
                for two in ids.windows(2) {
                    *counts.entry((two[0], two[1])).or_default() += count;
                }
            }
            let best = counts.into_iter().max_by_key(|&(pair, count)| (count, Reverse(pair)));
            let Some((pair, _)) = best else { break };
            for (ids, _) in &mut words {
                let mut next = Vec::new();
                let mut rest = ids.as_slice();
                while let Some((&first, tail)) = rest.split_first() {
                    if tail.first().is_some_and(|&second| (first, second) == pair) {
                        next.push(id);
                        rest = &tail[1..];
                    } else {
                        next.push(first);
                        rest = tail;
                    }
                }
                *ids = next;
            }
            merges.push(pair);
        }
        merges
    }

    fn chunks(list: &[(&str, u64)]) -> Vec<(String, u64)> {
        list.iter().map(|&(chunk, count)| (chunk.to_owned(), count)).collect()
    }

    proptest! {
        #[test]
        fn equal_to_the_slow_twin(
            chunks in prop::collection::vec(("[ab]{0,12}|[abcdé🙂]{0,6}|\\PC{0,4}", 1_u64..4), 0..12),
            num_merges in 0_usize..40,
        ) {
            prop_assert_eq!(fast(&chunks, num_merges), slow(&chunks, num_merges));
        }
    }

    #[test]
    fn equal_counts_go_to_the_lower_pair() {
        assert_eq!(fast(&chunks(&[("yz", 3), ("ab", 3), ("ac", 3)]), 2), [(97, 98), (97, 99)]);
    }

    #[test]
    fn a_run_of_one_letter_is_replaced_from_the_left() {
        assert_eq!(fast(&chunks(&[("aaaaa", 1)]), 9), [(97, 97), (256, 97), (256, 257)]);
    }

    #[test]
    fn ends_early_when_every_chunk_is_one_token() {
        assert_eq!(fast(&chunks(&[("ab", 1), ("c", 9)]), 100), [(97, 98)]);
        assert_eq!(fast(&[], 100), []);
    }

    #[test]
    fn counts_beyond_32_bits_do_not_overflow() {
        assert_eq!(fast(&chunks(&[("ab", 1 << 40), ("ac", 1 << 41)]), 1), [(97, 99)]);
    }

    #[test]
    fn progress_is_told_and_may_stop() {
        let letters = (0_u32..2000).map(|i| char::from(b'a' + (i * i % 1009 % 26) as u8));
        let word: String = letters.collect();
        let mut seen = Vec::new();
        let result = train([(word.as_str(), 1)], 100, |made| {
            seen.push(made);
            ControlFlow::Continue(())
        });
        assert!(result.is_ok_and(|merges| merges.len() >= 64));
        assert_eq!(seen.first(), Some(&0));
        assert!(seen.contains(&64));
        let stopped = train([(word.as_str(), 1)], 100, |_| ControlFlow::Break(()));
        assert_eq!(stopped, Err(TrainError::Interrupted));
    }
}
