//! Documents to chunks with counts, on all threads, batch by batch.
//!
//! Each thread counts in a table of its own, small enough for its cache. A table that is full empties itself into
//! the common ones, of which there are 64, by the first bits of the hash: so a chunk is kept once in the end,
//! however many threads there are, and no lock is held for long.

use std::ops::{ControlFlow, Range};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use crate::error::TrainError;
use crate::split::Splitter;
use crate::table::{Chunk, Counts, Key, Seed};

const PART_BITS: u32 = 6;

/// Chunks in the table of a thread before it is emptied. Its slots take 786 KB, which fits a core's own cache.
const LOCAL_CHUNKS: usize = 20_000;

/// The same for bytes of long chunks.
const LOCAL_ARENA: usize = 1 << 20;

/// Bytes that a thread takes at a time: some tenths of a millisecond.
const PIECE: usize = 64 << 10;

/// Below this many bytes a batch is not worth a thread.
const WORTH_A_THREAD: usize = 64 << 10;

/// More would only take memory.
const MOST_THREADS: usize = 256;

/// How often the caller is asked whether to go on.
const POLL: Duration = Duration::from_millis(50);

/// Counts the chunks of documents.
#[derive(Debug)]
pub struct ChunkCounter {
    splitter: Splitter,
    seed: Seed,
    locals: Vec<Counts>,
    parts: Vec<Mutex<Counts>>,
    total_bytes: u64,
    /// Bytes times weight: no count of a chunk or a pair is higher, so if it fits in 64 bits, they do.
    total_weight: u64,
    /// Only a part of some batch was counted.
    interrupted: bool,
}

impl ChunkCounter {
    /// A counter that has seen nothing. `num_threads` 0 means one thread per core.
    ///
    /// # Errors
    /// `Pattern`: it is not a regular expression.
    pub fn new(pattern: &str, num_threads: usize) -> Result<Self, TrainError> {
        let splitter = Splitter::new(pattern)?;
        let cores = || thread::available_parallelism().map_or(1, usize::from);
        let num_threads = if num_threads == 0 { cores() } else { num_threads }.min(MOST_THREADS);
        let seed = Seed::random();
        Ok(Self {
            splitter,
            seed,
            locals: (0..num_threads).map(|_| Counts::new(seed, 0)).collect(),
            parts: (0..1 << PART_BITS).map(|_| Mutex::new(Counts::new(seed, PART_BITS))).collect(),
            total_bytes: 0,
            total_weight: 0,
            interrupted: false,
        })
    }

    /// Adds the chunks of these documents, each `weight` times. On an error nothing is added.
    ///
    /// `go_on` is called every 50 ms, on this thread; once it says break the counter is of no use any more.
    ///
    /// # Errors
    /// `Split`: the pattern gave up on a document. `TooLarge`: counts might exceed 64 bits. `Threads`: none could be
    /// started. `Interrupted`: `go_on` said break, now or before.
    pub fn count<S: AsRef<str> + Sync>(
        &mut self,
        documents: &[S],
        weight: u64,
        go_on: impl FnMut() -> ControlFlow<()>,
    ) -> Result<(), TrainError> {
        if self.interrupted {
            return Err(TrainError::Interrupted);
        }
        let bytes = documents.iter().map(|document| document.as_ref().len() as u64).sum::<u64>();
        let total_weight = bytes.checked_mul(weight).and_then(|added| self.total_weight.checked_add(added));
        let total_weight = total_weight.ok_or(TrainError::TooLarge)?;
        if weight > 0 {
            if !self.splitter.is_scanner() {
                self.settle()?; // so that a failure can be undone by forgetting what the threads have
            }
            if let Err(error) = self.count_pieces(&self.pieces(documents), weight, go_on) {
                match error {
                    TrainError::Split(_) => self.locals.iter_mut().for_each(Counts::clear),
                    TrainError::Interrupted => self.interrupted = true,
                    _ => {}
                }
                return Err(error);
            }
        }
        self.total_bytes += bytes;
        self.total_weight = total_weight;
        Ok(())
    }

    /// Brings together what the threads have counted. `chunks` and `unique_chunks` need it.
    ///
    /// # Errors
    /// `Interrupted`: a batch was only counted in part.
    pub fn settle(&mut self) -> Result<(), TrainError> {
        if self.interrupted {
            return Err(TrainError::Interrupted);
        }
        let parts = &self.parts;
        thread::scope(|scope| {
            let mut full = self.locals.iter_mut().filter(|local| local.len() > 0);
            let mine = full.next();
            for local in full {
                scope.spawn(|| empty(local, parts));
            }
            if let Some(local) = mine {
                empty(local, parts);
            }
        });
        Ok(())
    }

    /// Calls `f` with an iterator over the distinct chunks and how often each was seen, in no particular order.
    /// Only what was settled.
    pub fn with_chunks<R>(&self, f: impl FnOnce(&mut dyn Iterator<Item = (Chunk<'_>, u64)>) -> R) -> R {
        let parts: Vec<_> = self.parts.iter().map(lock).collect();
        f(&mut parts.iter().flat_map(|part| part.chunks()))
    }

    /// Distinct chunks that were settled.
    pub fn unique_chunks(&self) -> usize {
        self.parts.iter().map(|part| lock(part).len()).sum()
    }

    /// Bytes of UTF-8 text counted so far.
    pub fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    /// The documents, long ones cut where that changes nothing, in groups of about `PIECE` bytes.
    fn pieces<'t, S: AsRef<str>>(&self, documents: &'t [S]) -> Pieces<'t> {
        let mut texts = Vec::with_capacity(documents.len());
        for document in documents {
            let mut text = document.as_ref();
            while text.len() > 2 * PIECE {
                let Some(cut) = self.splitter.cut_after(text, PIECE) else { break };
                let (piece, rest) = text.split_at(cut);
                texts.push(piece);
                text = rest;
            }
            texts.push(text);
        }
        let mut groups = Vec::new();
        let (mut start, mut bytes) = (0, 0);
        for (index, text) in texts.iter().enumerate() {
            bytes += text.len() + 1;
            if bytes >= PIECE {
                groups.push(start..index + 1);
                (start, bytes) = (index + 1, 0);
            }
        }
        if start < texts.len() {
            groups.push(start..texts.len());
        }
        Pieces { texts, groups }
    }

    fn count_pieces(
        &mut self,
        pieces: &Pieces,
        weight: u64,
        mut go_on: impl FnMut() -> ControlFlow<()>,
    ) -> Result<(), TrainError> {
        let (splitter, parts, seed) = (&self.splitter, &self.parts, self.seed);
        let work = Work {
            splitter,
            parts,
            seed,
            weight,
            pieces,
            next: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
        };
        let small = pieces.groups.len() == 1 && splitter.is_scanner();
        if small && pieces.texts.iter().map(|text| text.len()).sum::<usize>() < WORTH_A_THREAD {
            return work.run(&mut self.locals[0]);
        }
        thread::scope(|scope| {
            let (sender, results) = mpsc::channel();
            let mut running = 0;
            let mut outcome = Ok(());
            for local in self.locals.iter_mut().take(pieces.groups.len()) {
                let (sender, work) = (sender.clone(), &work);
                let spawned = thread::Builder::new().spawn_scoped(scope, move || {
                    let result = work.run(local);
                    let _ = sender.send(result); // the receiver outlives the threads
                });
                match spawned {
                    Ok(_) => running += 1,
                    // With one thread at least the work is done, only later.
                    Err(error) if running == 0 => return Err(TrainError::Threads(error.to_string())),
                    Err(_) => break,
                }
            }
            drop(sender);
            while running > 0 {
                match results.recv_timeout(POLL) {
                    Ok(result) => {
                        running -= 1;
                        if result.is_err() && outcome.is_ok() {
                            work.stop.store(true, Ordering::Relaxed);
                            outcome = result;
                        }
                    }
                    Err(mpsc::RecvTimeoutError::Timeout) => {
                        if outcome.is_ok() && go_on().is_break() {
                            work.stop.store(true, Ordering::Relaxed);
                            outcome = Err(TrainError::Interrupted);
                        }
                    }
                    Err(mpsc::RecvTimeoutError::Disconnected) => break, // a thread panicked; the scope will too
                }
            }
            outcome
        })
    }
}

/// Texts and which of them are taken together.
struct Pieces<'t> {
    texts: Vec<&'t str>,
    groups: Vec<Range<usize>>,
}

/// What the threads share while they count a batch.
struct Work<'a, 't> {
    splitter: &'a Splitter,
    parts: &'a [Mutex<Counts>],
    seed: Seed,
    weight: u64,
    pieces: &'a Pieces<'t>,
    next: AtomicUsize,
    stop: AtomicBool,
}

impl Work<'_, '_> {
    /// Counts piece after piece until none is left.
    fn run(&self, local: &mut Counts) -> Result<(), TrainError> {
        // Emptying tables while the batch may yet fail would make it impossible to undo.
        let may_empty = self.splitter.is_scanner();
        while let Some(group) = self.pieces.groups.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            if self.stop.load(Ordering::Relaxed) {
                return Err(TrainError::Interrupted);
            }
            for text in &self.pieces.texts[group.clone()] {
                self.count_text(text, local)?;
            }
            if may_empty && (local.len() > LOCAL_CHUNKS || local.arena_bytes() > LOCAL_ARENA) {
                empty(local, self.parts);
            }
        }
        Ok(())
    }

    fn count_text(&self, text: &str, local: &mut Counts) -> Result<(), TrainError> {
        let (seed, weight) = (self.seed, self.weight);
        let bytes = text.as_bytes();
        let mut add = |chunk: Range<usize>| {
            if !chunk.is_empty() {
                let key = Key::of(bytes, chunk.start, chunk.end);
                local.add(key, seed.of(&key), weight);
            }
        };
        if self.splitter.is_scanner() {
            return self.splitter.try_for_each_range(text, |chunk| {
                add(chunk);
                ControlFlow::Continue(())
            });
        }
        // The engine may take minutes for a text, so the order to stop must be heard on the way.
        self.splitter.try_for_each_range(text, |chunk| {
            add(chunk);
            if self.stop.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
    }
}

/// Moves all entries of a table to the common ones.
fn empty(local: &mut Counts, parts: &[Mutex<Counts>]) {
    let share = local.len() / parts.len() + 1;
    let mut held: Option<(usize, MutexGuard<Counts>)> = None;
    for (key, hash, count) in local.entries() {
        let index = (hash >> (64 - PART_BITS)) as usize;
        if held.as_ref().is_none_or(|(held, _)| *held != index) {
            drop(held.take()); // two threads that each held one and wanted the other's would wait forever
            let mut part = lock(&parts[index]);
            part.reserve(share);
            held = Some((index, part));
        }
        if let Some((_, part)) = &mut held {
            part.add(key, hash, count);
        }
    }
    drop(held);
    local.clear();
}

/// A panic elsewhere ends training anyway; nothing here can be left in disorder by it.
fn lock(part: &Mutex<Counts>) -> MutexGuard<'_, Counts> {
    part.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATTERN: &str = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,2}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+";

    fn on() -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn sorted(counter: &mut ChunkCounter) -> Vec<(String, u64)> {
        counter.settle().expect("not interrupted");
        let text = |chunk: Chunk| String::from_utf8(chunk.as_ref().to_vec()).expect("documents are UTF-8");
        let mut chunks: Vec<_> =
            counter.with_chunks(|chunks| chunks.map(|(chunk, count)| (text(chunk), count)).collect());
        chunks.sort();
        assert_eq!(chunks.len(), counter.unique_chunks());
        chunks
    }

    fn counted(
        pattern: &str,
        documents: &[&str],
        num_threads: usize,
    ) -> Result<Vec<(String, u64)>, TrainError> {
        let mut counter = ChunkCounter::new(pattern, num_threads)?;
        counter.count(documents, 1, on)?;
        Ok(sorted(&mut counter))
    }

    fn expect(documents: &[&str], chunks: &[(&str, u64)]) {
        let chunks: Vec<_> = chunks.iter().map(|&(chunk, count)| (chunk.to_owned(), count)).collect();
        assert_eq!(counted(PATTERN, documents, 2), Ok(chunks));
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
            counter.count(batch, 1, on).expect("plain text");
        }
        assert_eq!(sorted(&mut counter), [(" x".to_owned(), 1), ("x".to_owned(), 2)]);
        assert_eq!(counter.total_bytes(), 4);
    }

    #[test]
    fn weights_carry_counts_beyond_32_bits_and_never_beyond_64() {
        let mut counter = ChunkCounter::new(PATTERN, 2).expect("the pattern is valid");
        counter.count(&["ab"], 1 << 40, on).expect("plain text");
        counter.count(&["ab"], 3, on).expect("plain text");
        counter.count(&["ab"], 0, on).expect("plain text");
        assert_eq!(sorted(&mut counter), [("ab".to_owned(), (1 << 40) + 3)]);
        assert_eq!(counter.count(&["ab"], u64::MAX / 2, on), Err(TrainError::TooLarge));
        assert_eq!(counter.count(&["ab"], u64::MAX, on), Err(TrainError::TooLarge));
        assert_eq!(sorted(&mut counter), [("ab".to_owned(), (1 << 40) + 3)]);
    }

    #[test]
    fn runs_of_spaces_have_no_limit_but_that_of_the_engine() {
        let spaces = " ".repeat(3_000_000);
        assert_eq!(counted(PATTERN, &[&spaces], 1), Ok(vec![(spaces.clone(), 1)]));
        let other = format!("{PATTERN}|x");
        assert!(matches!(counted(&other, &[&spaces], 1), Err(TrainError::Split(_))));
    }

    #[test]
    fn a_batch_that_fails_adds_nothing() {
        let spaces = " ".repeat(3_000_000);
        let mut counter = ChunkCounter::new(r"a|\s+(?!\S)|\s+", 2).expect("the pattern is valid");
        counter.count(&["a a"], 1, on).expect("plain text");
        let many = vec!["a"; 300_000];
        let bad: Vec<&str> = many.iter().copied().chain([spaces.as_str()]).collect();
        assert!(matches!(counter.count(&bad, 1, on), Err(TrainError::Split(_))));
        counter.count(&["a"], 1, on).expect("plain text");
        assert_eq!(sorted(&mut counter), [(" ".to_owned(), 1), ("a".to_owned(), 3)]);
        assert_eq!(counter.total_bytes(), 4);
    }

    #[test]
    fn a_broken_pattern_is_an_error() {
        assert!(matches!(ChunkCounter::new("(", 1), Err(TrainError::Pattern(_))));
    }

    /// Text with many distinct chunks, in documents from one byte to a megabyte.
    fn documents() -> Vec<String> {
        let words =
            |from: u32, to: u32| (from..to).map(|i| format!("w{} the é{}x, ", i % 5077, i * 7919 % 31_000));
        let cuts = [0, 1, 2, 50, 51, 3_000, 3_001, 70_000, 71_000];
        cuts.windows(2).map(|two| words(two[0], two[1]).collect()).collect()
    }

    #[test]
    fn threads_and_cuts_do_not_change_the_counts() {
        let documents = documents();
        let documents: Vec<&str> = documents.iter().map(String::as_str).collect();
        assert!(documents.iter().any(|document| document.len() > 4 * PIECE));
        let alone = counted(PATTERN, &documents, 1);
        for num_threads in [2, 3, 8] {
            assert_eq!(counted(PATTERN, &documents, num_threads), alone);
        }
        // the engine counts the same with a pattern that means the same
        assert_eq!(counted(&format!("(?:{PATTERN})"), &documents, 2), alone);
    }

    #[test]
    fn full_tables_are_emptied_into_the_common_ones() {
        let letters =
            |i: u32| -> String { i.to_string().bytes().map(|digit| char::from(digit + 49)).collect() };
        let words: Vec<String> = (0..400_000).map(letters).collect();
        let text = words.join(" ");
        let found = counted(PATTERN, &[&text, &text], 3).expect("plain text");
        assert_eq!(found.len(), 400_000); // the first word has no space before it
        assert!(found.iter().all(|(_, count)| *count == 2));
    }

    #[test]
    fn the_caller_may_stop() {
        let text = "word ".repeat(4_000_000);
        for pattern in [PATTERN, r"\S+|\s+"] {
            let mut counter = ChunkCounter::new(pattern, 1).expect("the pattern is valid");
            let texts = vec![text.as_str(); 20];
            assert_eq!(counter.count(&texts, 1, || ControlFlow::Break(())), Err(TrainError::Interrupted));
            assert_eq!(counter.count(&["a"], 1, on), Err(TrainError::Interrupted));
            assert_eq!(counter.settle(), Err(TrainError::Interrupted));
        }
    }
}
