//! Documents to chunks with counts, on all threads, batch by batch.

use compact_str::CompactString;
use fancy_regex::{Regex, RegexBuilder};
use hashbrown::HashMap;
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::error::TrainError;

/// Ends patterns that would run for hours. Those in use backtrack once over a run of spaces; the engine's stack
/// ends runs of a million before this limit does.
const BACKTRACK_LIMIT: usize = 1 << 32;

/// Counts the chunks of documents. Chunks of up to 24 bytes, which is nearly all, need no allocation of their own.
pub struct ChunkCounter {
    pattern: Regex,
    pool: ThreadPool,
    counts: HashMap<CompactString, u64>,
    total_bytes: u64,
}

impl ChunkCounter {
    /// A counter that has seen nothing. `num_threads` 0 means one thread per core.
    pub fn new(pattern: &str, num_threads: usize) -> Result<Self, TrainError> {
        let pattern = RegexBuilder::new(pattern)
            .backtrack_limit(BACKTRACK_LIMIT)
            .build()
            .map_err(|error| TrainError::Pattern(error.to_string()))?;
        let pool = ThreadPoolBuilder::new()
            .num_threads(num_threads)
            .build()
            .map_err(|error| TrainError::Threads(error.to_string()))?;
        Ok(Self { pattern, pool, counts: HashMap::new(), total_bytes: 0 })
    }

    /// Adds the chunks of these documents. On an error nothing is added.
    pub fn count<S: AsRef<str> + Sync>(&mut self, documents: &[S]) -> Result<(), TrainError> {
        let pattern = &self.pattern;
        let batch = self.pool.install(|| {
            documents
                .par_iter()
                .try_fold(HashMap::new, |mut counts, document| {
                    count_document(pattern, document.as_ref(), &mut counts)?;
                    Ok(counts)
                })
                .try_reduce(HashMap::new, |left, right| Ok(merged(left, right)))
        })?;
        for (chunk, count) in batch {
            match self.counts.get_mut(chunk) {
                Some(total) => *total += count,
                None => {
                    self.counts.insert(chunk.into(), count);
                }
            }
        }
        self.total_bytes += documents.iter().map(|document| document.as_ref().len() as u64).sum::<u64>();
        Ok(())
    }

    /// The distinct chunks and how often each was seen, in no particular order.
    pub fn chunks(&self) -> impl ExactSizeIterator<Item = (&str, u64)> {
        self.counts.iter().map(|(chunk, &count)| (chunk.as_str(), count))
    }

    /// Bytes of UTF-8 text counted so far.
    pub fn total_bytes(&self) -> u64 {
        self.total_bytes
    }
}

fn count_document<'t>(
    pattern: &Regex,
    document: &'t str,
    counts: &mut HashMap<&'t str, u64>,
) -> Result<(), TrainError> {
    for found in pattern.find_iter(document) {
        let chunk = found.map_err(|error| TrainError::Split(error.to_string()))?.as_str();
        *counts.entry(chunk).or_insert(0) += 1;
    }
    Ok(())
}

/// Adds the smaller map to the larger one.
fn merged<'t>(left: HashMap<&'t str, u64>, right: HashMap<&'t str, u64>) -> HashMap<&'t str, u64> {
    let (mut large, small) = if left.len() >= right.len() { (left, right) } else { (right, left) };
    for (chunk, count) in small {
        *large.entry(chunk).or_insert(0) += count;
    }
    large
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATTERN: &str = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,2}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+";

    fn counted(documents: &[&str], num_threads: usize) -> Result<Vec<(String, u64)>, TrainError> {
        let mut counter = ChunkCounter::new(PATTERN, num_threads)?;
        counter.count(documents)?;
        let mut chunks: Vec<_> = counter.chunks().map(|(chunk, count)| (chunk.to_owned(), count)).collect();
        chunks.sort();
        Ok(chunks)
    }

    fn expect(documents: &[&str], chunks: &[(&str, u64)]) {
        let chunks: Vec<_> = chunks.iter().map(|&(chunk, count)| (chunk.to_owned(), count)).collect();
        assert_eq!(counted(documents, 2), Ok(chunks));
    }

    #[test]
    fn digits_come_in_twos_and_words_with_their_space() {
        expect(&["to 1234 to"], &[(" ", 1), (" to", 1), ("12", 1), ("34", 1), ("to", 1)]);
    }

    #[test]
    fn the_last_space_of_a_run_belongs_to_the_word() {
        expect(&["a   b"], &[("  ", 1), (" b", 1), ("a", 1)]);
    }

    #[test]
    fn a_lone_carriage_return_and_a_nul_are_chunks() {
        expect(&["a\rb\0"], &[("\0", 1), ("\r", 1), ("a", 1), ("b", 1)]);
    }

    #[test]
    fn batches_add_up_and_empty_documents_add_nothing() {
        let mut counter = ChunkCounter::new(PATTERN, 1).expect("the pattern is valid");
        for batch in [&["x x", ""][..], &["x"], &[]] {
            counter.count(batch).expect("plain text");
        }
        let mut chunks: Vec<_> = counter.chunks().collect();
        chunks.sort_unstable();
        assert_eq!(chunks, [(" x", 1), ("x", 2)]);
        assert_eq!(counter.total_bytes(), 4);
    }

    #[test]
    fn runs_of_spaces_work_up_to_the_stack_of_the_engine() {
        let spaces = " ".repeat(900_000);
        assert_eq!(counted(&[&spaces], 1), Ok(vec![(spaces.clone(), 1)]));
        let spaces = " ".repeat(3_000_000);
        assert!(matches!(counted(&[&spaces], 1), Err(TrainError::Split(_))));
    }

    #[test]
    fn a_broken_pattern_is_an_error() {
        assert!(matches!(ChunkCounter::new("(", 1), Err(TrainError::Pattern(_))));
    }

    #[test]
    fn threads_do_not_change_the_counts() {
        let documents: Vec<String> = (0..500).map(|i| format!("w{} the {} end", i % 7, i % 31)).collect();
        let documents: Vec<&str> = documents.iter().map(String::as_str).collect();
        assert_eq!(counted(&documents, 1), counted(&documents, 4));
    }
}
