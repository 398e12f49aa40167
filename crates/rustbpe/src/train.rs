//! Chunks with counts to merges.
//!
//! All chunks stand one after another in an array of cells, one cell per byte, with a fence before, between and
//! after them. A token shows its id in its first and in its last cell; how long it is tells the id. So both
//! neighbours of a token are found without looking at anything else, and a merge writes four cells.
//!
//! A merge visits the places where its pair occurs, sums up what that does to each neighbouring id, and only then
//! touches the table of pairs: once per neighbour, not once per place.
//!
//! Most pairs are too rare ever to be merged, and are not kept at all. How rare that is follows from the chunks:
//! m merges make at most m chunks into single tokens, so of the m + 1 most frequent chunks of two bytes or more one
//! still holds a pair, which occurs at least as often. Thus none of M merges is rarer than the M-th of these chunks.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::ControlFlow;

use crate::error::TrainError;
use crate::pairs::{Pairs, joined, parted};

/// Two neighbouring ids; as the n-th merge it makes id `FIRST_MERGE_ID + n`.
pub type Pair = (u32, u32);

/// Ids below are the 256 bytes.
pub const FIRST_MERGE_ID: u32 = 256;

/// Merges between two calls of the progress callback.
const MERGES_PER_CALL: usize = 64;

/// Cells looked at between two calls of it, so that it is also called in the first, slow merges: some 20 ms.
const WORK_PER_CALL: usize = 1 << 20;

/// Stands between chunks.
const FENCE: u32 = u32::MAX;

/// Stands in cells that no longer begin or end a token.
const GONE: u32 = u32::MAX - 1;

/// Weights from here on are indices into `Chunks::heavy`.
const HEAVY: u32 = 1 << 31;

/// Learns up to `num_merges` merges; fewer when every chunk has become one token.
///
/// `on_progress` receives the number of merges made so far, every 64 merges or more often, and at the end; `Break`
/// ends training.
///
/// # Errors
/// `TooLarge`: more bytes of distinct chunks, or more ids, than 32 bits can number. `Interrupted`: see above.
pub fn train<C: AsRef<[u8]>>(
    chunks: impl IntoIterator<Item = (C, u64)>,
    num_merges: usize,
    mut on_progress: impl FnMut(usize) -> ControlFlow<()>,
) -> Result<Vec<Pair>, TrainError> {
    let mut merges = Vec::new();
    let mut tell = |made| match on_progress(made) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(TrainError::Interrupted),
    };
    tell(0)?;
    if num_merges > 0 {
        let mut state = Trainer::new(chunks, num_merges, || tell(0))?;
        while merges.len() < num_merges {
            let Some(pair) = state.most_frequent() else { break };
            let id = u32::try_from(merges.len())
                .ok()
                .and_then(|made| made.checked_add(FIRST_MERGE_ID))
                .filter(|&id| id < GONE)
                .ok_or(TrainError::TooLarge)?;
            let made = merges.len();
            state.merge(pair, id, || tell(made))?;
            merges.push(pair);
            if merges.len() % MERGES_PER_CALL == 0 {
                tell(merges.len())?;
            }
        }
    }
    tell(merges.len())?;
    Ok(merges)
}

/// A byte of a chunk: the id of the token that begins or ends here, and how often the chunk was seen.
#[derive(Debug, Clone, Copy)]
struct Cell {
    id: u32,
    weight: u32,
}

/// All chunks of two bytes or more.
struct Chunks {
    cells: Vec<Cell>,
    heavy: Vec<u64>,
}

impl Chunks {
    #[inline(always)]
    fn weight(&self, weight: u32) -> u64 {
        if weight < HEAVY { weight.into() } else { self.heavy[(weight - HEAVY) as usize] }
    }
}

/// What a merge does to one neighbouring id.
#[derive(Debug, Clone, Copy, Default)]
struct Change {
    /// How often the neighbour stood there, by weight. Later: 1 + the list of the new pair, or 0 for none.
    count: u64,
    places: u32,
}

/// The changes on one side of the places of a merge.
#[derive(Default)]
struct Side {
    /// By id.
    changes: Vec<Change>,
    touched: Vec<u32>,
    /// The neighbour, and where the new pair begins.
    events: Vec<(u32, u32)>,
}

impl Side {
    #[inline(always)]
    fn note(&mut self, neighbour: u32, count: u64, place: u32) {
        let change = &mut self.changes[neighbour as usize];
        if change.count == 0 {
            self.touched.push(neighbour);
        }
        change.count += count;
        change.places += 1;
        self.events.push((neighbour, place));
    }
}

struct Trainer {
    chunks: Chunks,
    pairs: Pairs,
    /// Bytes of each token.
    lengths: Vec<u32>,
    /// Highest count first, then the lowest pair. Never below the present count of a pair.
    heap: BinaryHeap<(u64, Reverse<u64>)>,
    /// Pairs that occur less often will never be merged.
    rarest: u64,
    left: Side,
    right: Side,
}

impl Trainer {
    fn new<C: AsRef<[u8]>>(
        chunks: impl IntoIterator<Item = (C, u64)>,
        num_merges: usize,
        mut tell: impl FnMut() -> Result<(), TrainError>,
    ) -> Result<Self, TrainError> {
        let mut cells = vec![Cell { id: FENCE, weight: 0 }];
        let mut heavy = Vec::new();
        let mut weights = Vec::new();
        let mut told = 0;
        for (chunk, count) in chunks {
            let chunk = chunk.as_ref();
            if chunk.len() < 2 || count == 0 {
                continue; // no pair in it
            }
            let weight = if count < HEAVY.into() {
                count as u32
            } else {
                heavy.push(count);
                (heavy.len() - 1) as u32 + HEAVY // a chunk has three cells, so 31 bits number them
            };
            weights.push(count);
            cells.extend(chunk.iter().map(|&byte| Cell { id: byte.into(), weight }));
            cells.push(Cell { id: FENCE, weight: 0 });
            if cells.len() > u32::MAX as usize {
                return Err(TrainError::TooLarge);
            }
            if cells.len() - told > WORK_PER_CALL {
                told = cells.len();
                tell()?;
            }
        }
        let rarest = if weights.len() < num_merges {
            1
        } else {
            *weights.select_nth_unstable_by(num_merges - 1, |one, other| other.cmp(one)).1
        };
        drop(weights);
        let mut state = Self {
            chunks: Chunks { cells, heavy },
            pairs: Pairs::new(),
            lengths: vec![1; FIRST_MERGE_ID as usize],
            heap: BinaryHeap::new(),
            rarest,
            left: Side::default(),
            right: Side::default(),
        };
        state.find_pairs(tell)?;
        Ok(state)
    }

    /// Counts the pairs of bytes and notes the places of those that are kept.
    fn find_pairs(&mut self, mut tell: impl FnMut() -> Result<(), TrainError>) -> Result<(), TrainError> {
        const BYTES: usize = 256;
        let cells = &self.chunks.cells;
        let index = |two: &[Cell]| {
            let (left, right) = (two[0].id as usize, two[1].id as usize);
            if left < BYTES && right < BYTES { Some(left * BYTES + right) } else { None }
        };
        let mut changes = vec![Change::default(); BYTES * BYTES];
        // Parts overlap by the one cell that makes a pair of their ends.
        let parts = || {
            (0..cells.len())
                .step_by(WORK_PER_CALL)
                .map(|start| start..cells.len().min(start + WORK_PER_CALL + 1))
        };
        for part in parts() {
            tell()?;
            for two in cells[part].windows(2) {
                if let Some(index) = index(two) {
                    changes[index].count += self.chunks.weight(two[0].weight);
                    changes[index].places += 1;
                }
            }
        }
        for (index, change) in changes.iter_mut().enumerate() {
            let Change { count, places } = *change;
            change.count = 0;
            if count >= self.rarest {
                let pair = joined((index / BYTES) as u32, (index % BYTES) as u32);
                change.count = self.pairs.insert(pair, count, places as usize) as u64 + 1;
                self.heap.push((count, Reverse(pair)));
            }
        }
        for part in parts() {
            tell()?;
            for (place, two) in part.clone().zip(cells[part].windows(2)) {
                let list = index(two).map_or(0, |index| changes[index].count as usize);
                if list > 0 {
                    self.pairs.places(list - 1).push(place as u32);
                }
            }
        }
        Ok(())
    }

    /// The pair to merge next: the highest count, of equal counts the lowest pair of ids.
    fn most_frequent(&mut self) -> Option<Pair> {
        while let Some((count, Reverse(pair))) = self.heap.pop() {
            let now = self.pairs.count(pair);
            if now == count {
                return Some(parted(pair));
            }
            if now >= self.rarest {
                self.heap.push((now, Reverse(pair)));
            }
        }
        None
    }

    /// Replaces `pair` by `id` wherever it occurs and brings pairs and heap up to date.
    fn merge(
        &mut self,
        pair: Pair,
        id: u32,
        mut tell: impl FnMut() -> Result<(), TrainError>,
    ) -> Result<(), TrainError> {
        let (first, second) = pair;
        let (first_len, second_len) = (self.length(first), self.length(second));
        let length = first_len + second_len;
        self.lengths.push(length as u32);
        let ids = self.lengths.len();
        self.left.changes.resize(ids, Change::default());
        self.right.changes.resize(ids, Change::default());

        let mut doubled = 0; // how often the new token follows itself
        let mut doubled_places = Vec::new();
        let places = self.pairs.take(joined(first, second));
        for part in places.chunks(WORK_PER_CALL) {
            if places.len() > WORK_PER_CALL {
                tell()?;
            }
            for &place in part {
                let start = place as usize;
                let middle = start + first_len;
                // Another merge may have used up one of the two since this place was noted.
                if self.chunks.cells[start].id != first || self.chunks.cells[middle].id != second {
                    continue;
                }
                let end = middle + second_len;
                let count = self.chunks.weight(self.chunks.cells[start].weight);
                let cells = &mut self.chunks.cells;
                cells[middle - 1].id = GONE;
                cells[middle].id = GONE;
                cells[start].id = id;
                cells[end - 1].id = id;

                let before = cells[start - 1].id;
                if before == id {
                    doubled += count;
                    doubled_places.push((start - length) as u32);
                } else if before != FENCE {
                    self.left.note(before, count, (start - self.lengths[before as usize] as usize) as u32);
                }
                let after = cells[end].id;
                // Where the next two are replaced as well, their turn comes, and this is what stands before them.
                let again = after == first && cells[end + first_len].id == second;
                if after != FENCE && !again {
                    self.right.note(after, count, place);
                }
            }
        }
        if doubled > 0 {
            self.pairs.subtract(joined(second, first), doubled);
            if doubled >= self.rarest {
                let double = joined(id, id);
                let list = self.pairs.insert(double, doubled, 0);
                *self.pairs.places(list) = doubled_places;
                self.heap.push((doubled, Reverse(double)));
            }
        }
        self.apply(|trainer| &mut trainer.left, |before| (joined(before, first), joined(before, id)));
        self.apply(|trainer| &mut trainer.right, |after| (joined(second, after), joined(id, after)));
        Ok(())
    }

    /// Takes the noted changes of one side to the table: for each neighbour, what it made pairs with before and now.
    fn apply(&mut self, side: impl Fn(&mut Self) -> &mut Side, pairs_of: impl Fn(u32) -> (u64, u64)) {
        let mut noted = std::mem::take(side(self));
        for &neighbour in &noted.touched {
            let change = &mut noted.changes[neighbour as usize];
            let (old, new) = pairs_of(neighbour);
            self.pairs.subtract(old, change.count);
            let kept = change.count >= self.rarest;
            if kept {
                self.heap.push((change.count, Reverse(new)));
            }
            change.count = if kept {
                self.pairs.insert(new, change.count, change.places as usize) as u64 + 1
            } else {
                0
            };
        }
        for &(neighbour, place) in &noted.events {
            let list = noted.changes[neighbour as usize].count;
            if list > 0 {
                self.pairs.places(list as usize - 1).push(place);
            }
        }
        for neighbour in noted.touched.drain(..) {
            noted.changes[neighbour as usize] = Change::default();
        }
        noted.events.clear();
        *side(self) = noted;
    }

    fn length(&self, id: u32) -> usize {
        self.lengths[id as usize] as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn fast(chunks: &[(String, u64)], num_merges: usize) -> Vec<Pair> {
        let chunks = chunks.iter().map(|(chunk, count)| (chunk, *count));
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
