//! Text to ids. A chunk that is a token as a whole becomes that token; any other is merged (`merge`). Chunks met
//! before are looked up (`cache`). The ids depend on vocabulary, pattern and text alone, and are those of tiktoken.

use std::sync::{Mutex, PoisonError};

use crate::cache::{Place, Table};
use crate::error::EncodeError;
use crate::ids::NONE;
use crate::key::{Key, long_key, longest, short_key};
use crate::split::Splitter;
use crate::vocab::Vocab;
use crate::windows::Merger;

/// Words and ids of the cache for chunks of up to 15 bytes, nearly all of plain text, and the powers of two between
/// which its size lies: 32 bytes an entry, 256 KB to 16 MB.
const SHORT_WORDS: usize = 2;
const SHORT_IDS: usize = 4;
const SHORT_BITS: [u32; 2] = [12, 18];

/// The same for up to 47 bytes and 20 ids: rare words, and those of scripts with three bytes a letter. 128 bytes an
/// entry, 64 KB to 4 MB.
const LONG_WORDS: usize = 6;
const LONG_IDS: usize = 20;
const LONG_BITS: [u32; 2] = [8, 14];

/// Chunks that are split before they are looked up. Where a chunk ends is hard to foresee for the processor; what
/// it waits for in memory when looking them up overlaps if nothing unforeseen comes between.
const BLOCK: usize = 256;

/// Encodes and decodes. Threads may share it.
pub struct Encoder {
    vocab: Vocab,
    splitter: Splitter,
    /// Workers not in use, with what they remember.
    idle: Mutex<Vec<Worker>>,
}

impl Encoder {
    /// An encoder for a vocabulary and a way to split.
    pub fn new(vocab: Vocab, splitter: Splitter) -> Self {
        Self { vocab, splitter, idle: Mutex::default() }
    }

    /// The vocabulary.
    pub fn vocab(&self) -> &Vocab {
        &self.vocab
    }

    /// Appends the ids of a text. On an error nothing is appended.
    pub fn encode(&self, text: &str, out: &mut Vec<u32>) -> Result<(), EncodeError> {
        let mut worker = self.worker();
        worker.encode(self, text, out)?;
        self.rest(worker);
        Ok(())
    }

    /// A worker from the pool or a new one.
    pub(crate) fn worker(&self) -> Worker {
        let rested = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        rested.unwrap_or_default()
    }

    /// Takes a worker back.
    pub(crate) fn rest(&self, worker: Worker) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(worker);
    }
}

/// A chunk that was split off but not yet looked up. Key and place are for chunks that fit the short cache.
#[derive(Clone, Copy)]
struct Waiting<'t> {
    chunk: &'t str,
    key: Key<SHORT_WORDS>,
    place: Place,
}

/// What one thread needs and remembers.
pub(crate) struct Worker {
    short: Table<SHORT_WORDS, SHORT_IDS>,
    long: Table<LONG_WORDS, LONG_IDS>,
    merger: Merger,
}

impl Default for Worker {
    fn default() -> Self {
        let [short, short_most] = SHORT_BITS;
        let [long, long_most] = LONG_BITS;
        Self {
            short: Table::new(short, short_most),
            long: Table::new(long, long_most),
            merger: Merger::default(),
        }
    }
}

impl Worker {
    /// Appends the ids of a text. On an error nothing is appended.
    pub fn encode(&mut self, encoder: &Encoder, text: &str, out: &mut Vec<u32>) -> Result<(), EncodeError> {
        let before = out.len();
        let mut waiting =
            [Waiting { chunk: "", key: [0; SHORT_WORDS], place: self.short.place(&[0; SHORT_WORDS]) }; BLOCK];
        let mut count = 0;
        let mut failed = Ok(());
        let split = encoder.splitter.for_each_chunk(text, |chunk| {
            let next = &mut waiting[count];
            next.chunk = chunk;
            if chunk.len() <= longest(SHORT_WORDS) {
                let from = chunk.as_ptr() as usize - text.as_ptr() as usize;
                next.key = short_key(text.as_bytes(), from, chunk.len());
                next.place = self.short.place(&next.key);
                self.short.fetch(next.place);
            }
            count += 1;
            if count == BLOCK {
                count = 0;
                if failed.is_ok() {
                    failed = self.encode_waiting(&encoder.vocab, &waiting, out);
                }
            }
        });
        let result = split
            .map_err(EncodeError::from)
            .and(failed)
            .and_then(|()| self.encode_waiting(&encoder.vocab, &waiting[..count], out));
        if result.is_err() {
            out.truncate(before);
        }
        result
    }

    /// Encodes chunks in order.
    fn encode_waiting(
        &mut self,
        vocab: &Vocab,
        waiting: &[Waiting<'_>],
        out: &mut Vec<u32>,
    ) -> Result<(), EncodeError> {
        for Waiting { chunk, key, place } in waiting {
            if chunk.len() <= longest(SHORT_WORDS)
                && let Some(entry) = self.short.get(*place, key)
            {
                // all and then fewer: a copy of fixed length needs no loop
                let len = out.len() + entry.count();
                out.extend_from_slice(&entry.ids);
                out.truncate(len);
            } else {
                self.look_further(vocab, chunk.as_bytes(), out)?;
            }
        }
        Ok(())
    }

    /// Encodes a chunk that the short cache does not have.
    #[cold]
    #[inline(never)]
    fn look_further(&mut self, vocab: &Vocab, chunk: &[u8], out: &mut Vec<u32>) -> Result<(), EncodeError> {
        let is_short = chunk.len() <= longest(SHORT_WORDS);
        if is_short {
            let key = short_key(chunk, 0, chunk.len());
            let whole = vocab.whole_short(&key);
            if whole != NONE {
                out.push(whole);
                self.short.put(&key, &[whole]);
                return Ok(());
            }
        }
        if chunk.len() > longest(LONG_WORDS) {
            return self.without_cache(vocab, chunk, out);
        }
        let key = long_key::<LONG_WORDS>(chunk);
        if let Some(entry) = self.long.get(self.long.place(&key), &key) {
            out.extend_from_slice(&entry.ids[..entry.count()]);
            return Ok(());
        }
        let before = out.len();
        if is_short {
            self.merger.merge(vocab, chunk, out)?;
        } else {
            self.without_cache(vocab, chunk, out)?;
        }
        let ids = &out[before..];
        if is_short && ids.len() <= SHORT_IDS {
            self.short.put(&short_key(chunk, 0, chunk.len()), ids);
        } else {
            self.long.put(&key, ids);
        }
        Ok(())
    }

    fn without_cache(&mut self, vocab: &Vocab, chunk: &[u8], out: &mut Vec<u32>) -> Result<(), EncodeError> {
        let whole = vocab.whole(chunk);
        if whole == NONE {
            return self.merger.merge(vocab, chunk, out);
        }
        out.push(whole);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::TrainError;
    use crate::windows::tests::{slow, tokens};
    use proptest::prelude::*;

    const WORDS: &str = r"\s?\S+|\s";

    fn encoder(tokens: &[Vec<u8>]) -> Encoder {
        let vocab = Vocab::new(tokens, &["<|bos|>"]).expect("a vocabulary");
        Encoder::new(vocab, Splitter::new(WORDS).expect("a pattern"))
    }

    /// The slow twin: chunk by chunk, whole or merged, nothing remembered.
    fn slowly(tokens: &[Vec<u8>], text: &str) -> Vec<u32> {
        let mut ids = Vec::new();
        let splitter = Splitter::new(WORDS).expect("a pattern");
        let one = |chunk: &str| match tokens.iter().position(|token| token == chunk.as_bytes()) {
            Some(whole) => ids.push(whole as u32),
            None => ids.extend(slow(tokens, chunk.as_bytes())),
        };
        splitter.for_each_chunk(text, one).expect("text");
        ids
    }

    proptest! {
        #[test]
        fn equal_to_the_slow_twin(
            tokens in tokens(),
            texts in prop::collection::vec("([abc]{1,4} ?){0,20}|[ab]{14,18} [ab]{40,70}|\\PC{0,30}", 1..8),
        ) {
            let encoder = encoder(&tokens);
            for text in texts.iter().chain(&texts) {
                let mut ids = vec![7];
                encoder.encode(text, &mut ids).expect("text");
                prop_assert_eq!(&ids[1..], slowly(&tokens, text));
                let mut bytes = Vec::new();
                encoder.vocab().decode(&ids[1..], &mut bytes).expect("known ids");
                prop_assert_eq!(bytes, text.as_bytes());
            }
        }
    }

    #[test]
    fn more_chunks_than_wait_at_a_time() {
        let tokens: Vec<Vec<u8>> =
            (0..=255).map(|byte| vec![byte]).chain([b" a".to_vec(), b"bb".to_vec()]).collect();
        let encoder = encoder(&tokens);
        for count in [BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 7] {
            let text: String = (0..count).map(|number| format!(" a{}", "b".repeat(number % 9))).collect();
            let mut ids = Vec::new();
            encoder.encode(&text, &mut ids).expect("text");
            assert_eq!(ids, slowly(&tokens, &text));
        }
    }

    #[test]
    fn a_text_that_cannot_be_split_adds_nothing() {
        let tokens: Vec<Vec<u8>> = (0..=255).map(|byte| vec![byte]).collect();
        let vocab = Vocab::new(&tokens, &[""; 0]).expect("a vocabulary");
        let encoder = Encoder::new(vocab, Splitter::new(r"x|\s+(?!\S)|\s+").expect("a pattern"));
        let mut ids = vec![1];
        let text = "x".repeat(2 * BLOCK) + &" ".repeat(3_000_000);
        let error = encoder.encode(&text, &mut ids);
        assert!(matches!(error, Err(EncodeError::Split(TrainError::Split(_)))));
        assert_eq!(ids, [1]);
        encoder.encode("xx", &mut ids).expect("text");
        assert_eq!(ids, [1, 120, 120]);
    }
}
