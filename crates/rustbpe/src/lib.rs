//! Byte-level BPE: training and encoding.
//!
//! # Training
//!
//! 1. A regular expression cuts every document into chunks; no token ever crosses a chunk. Equal chunks are
//!    kept once, with a count (`split`, `count`).
//! 2. A chunk begins as its UTF-8 bytes: ids 0 to 255. A pair is two neighbouring ids of a chunk.
//! 3. The pair with the highest count, over all chunks and weighted by theirs, becomes the next id (256,
//!    257, ...); of equal counts the lower pair of ids wins. Its occurrences are replaced from left to right.
//! 4. Repeat until enough merges are made or no pair is left (`train`).
//!
//! A step costs no pass over the chunks: each pair knows its places, and counts change by what the
//! replacement added and removed. A heap holds the pairs with the count they had when they were pushed. Counts
//! of old pairs only fall, so an outdated top is pushed again with its present count, and a top whose count
//! is still right is the true maximum. The result depends on counts and ids alone: never on the order of
//! documents, on hashing or on the number of threads.
//!
//! # Encoding
//!
//! Text is cut into the same chunks. A chunk that is a token becomes its id; in any other the pair that forms the
//! token with the lowest id is merged, again and again (`merge`, `windows`), which only needs the one pair that each
//! token comes from (`vocab`). Chunks repeat, so each thread remembers them (`key`, `cache`, `encode`); many texts are
//! shared out to threads (`batch`). The ids are those of tiktoken for every text.

mod batch;
mod cache;
mod count;
mod documents;
mod encode;
mod error;
mod ids;
mod key;
mod merge;
mod pairs;
mod parquet;
mod python;
mod split;
mod table;
mod train;
mod unicode;
mod vocab;
mod windows;

pub use batch::{Batch, Column, Documents};
pub use count::ChunkCounter;
pub use documents::{ArrowTexts, Cut, Limits};
pub use encode::Encoder;
pub use error::{EncodeError, TrainError};
pub use parquet::{ParquetTexts, ReadError, Texts};
pub use split::Splitter;
pub use table::Chunk;
pub use train::{FIRST_MERGE_ID, Pair, train};
pub use vocab::Vocab;
