//! The merge of chunks of any length, in overlapping windows of those that are long, so that the work stays in the
//! processor's cache and is linear in the length.
//!
//! Windows are exact: a list of tokens is the merge of its bytes if and only if every two neighbours are the merge of
//! theirs. (Take the first merge across a border of the list. Until then the bytes of the two tokens beside it were
//! merged as they would have been alone, so alone they would have merged across it too.) Two lists that share a token at
//! the same place can therefore be joined there.

use std::mem;

use crate::error::EncodeError;
use crate::merge::{HeapMerger, SHORT, merge_short};
use crate::vocab::Vocab;

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
        merge_window(&mut self.heap, vocab, bytes, start, size, &mut self.held)?;
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
                merge_window(&mut self.heap, vocab, bytes, border, size, &mut self.ahead)?;
                self.ahead.first() == self.held.get(kept)
            };
            if joined {
                out.extend_from_slice(&self.held[..kept]);
                mem::swap(&mut self.held, &mut self.ahead);
                start = border;
            } else {
                size *= 2;
                merge_window(&mut self.heap, vocab, bytes, start, size, &mut self.held)?;
            }
        }
        out.extend_from_slice(&self.held);
        Ok(())
    }
}

/// The merge of the first `size` bytes from `start` on, in place of what `ids` held.
fn merge_window(
    heap: &mut HeapMerger,
    vocab: &Vocab,
    bytes: &[u8],
    start: usize,
    size: usize,
    ids: &mut Vec<u32>,
) -> Result<(), EncodeError> {
    ids.clear();
    ids.extend(bytes[start..].iter().take(size).map(|&byte| vocab.byte(byte)));
    heap.merge(ids, |left, right| vocab.pair(left, right))
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
