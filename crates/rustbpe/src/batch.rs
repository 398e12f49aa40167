//! Many texts at once, on several threads.

use std::any::Any;
use std::iter;
use std::mem;
use std::ops::Range;
use std::str;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, ScopedJoinHandle};

use crate::encode::Encoder;
use crate::error::EncodeError;

/// Text handed to a thread at a time: enough to make the handing over cheap, little enough that all threads end
/// together.
const UNIT_BYTES: usize = 1 << 18;

/// Documents by number.
pub trait Documents: Sync {
    /// How many.
    fn count(&self) -> usize;
    /// Bytes of document `index`.
    fn size(&self, index: usize) -> usize;
    /// Document `index`.
    fn text(&self, index: usize) -> Result<&str, EncodeError>;
}

impl<S: AsRef<str> + Sync> Documents for [S] {
    fn count(&self) -> usize {
        self.len()
    }

    fn size(&self, index: usize) -> usize {
        self[index].as_ref().len()
    }

    fn text(&self, index: usize) -> Result<&str, EncodeError> {
        Ok(self[index].as_ref())
    }
}

/// Documents as Arrow has them: all bytes in a row, and where each document begins and ends.
pub struct Column<'a> {
    data: &'a [u8],
    offsets: &'a [i64],
}

impl<'a> Column<'a> {
    /// A column of `offsets.len() - 1` documents. Checks the offsets; the text is checked when it is used.
    pub fn new(data: &'a [u8], offsets: &'a [i64]) -> Result<Self, EncodeError> {
        let (Some(&first), Some(&last)) = (offsets.first(), offsets.last()) else {
            return Err(EncodeError::Column("there is none; even an empty column has one".into()));
        };
        if first < 0 || !offsets.is_sorted() {
            return Err(EncodeError::Column("they must grow from 0 or more".into()));
        }
        if last as u64 > data.len() as u64 {
            return Err(EncodeError::Column(format!("they end at {last}, the data at {}", data.len())));
        }
        Ok(Self { data, offsets })
    }
}

impl Documents for Column<'_> {
    fn count(&self) -> usize {
        self.offsets.len() - 1
    }

    fn size(&self, index: usize) -> usize {
        (self.offsets[index + 1] - self.offsets[index]) as usize
    }

    fn text(&self, index: usize) -> Result<&str, EncodeError> {
        let bytes = &self.data[self.offsets[index] as usize..self.offsets[index + 1] as usize];
        str::from_utf8(bytes)
            .map_err(|error| EncodeError::Utf8 { document: index, byte: error.valid_up_to() })
    }
}

/// The ids of many texts in a row; those of text `i` are `ids[offsets[i]..offsets[i + 1]]`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Batch {
    pub ids: Vec<u32>,
    pub offsets: Vec<i64>,
}

impl Encoder {
    /// Encodes texts on at most `threads` threads, 0 meaning one per core. The result does not depend on how
    /// many, nor does the error: it is that of the first text that has one.
    pub fn encode_batch<D: Documents + ?Sized>(
        &self,
        texts: &D,
        threads: usize,
    ) -> Result<Batch, EncodeError> {
        let threads = match threads {
            0 => thread::available_parallelism().map_or(1, usize::from),
            some => some,
        };
        let units = units(texts, if threads == 1 { usize::MAX } else { UNIT_BYTES });
        let threads = threads.min(units.len()).max(1);
        let next = AtomicUsize::new(0);
        let done = on_threads(threads, || self.encode_units(texts, &units, &next))?;

        let mut parts = Vec::with_capacity(units.len());
        let mut failures = Vec::new();
        for (encoded, failure) in done {
            parts.extend(encoded);
            failures.extend(failure);
        }
        if let Some((_, error)) = failures.into_iter().min_by_key(|&(unit, _)| unit) {
            return Err(error);
        }
        parts.sort_unstable_by_key(|part| part.unit);
        joined(parts, texts.count(), threads)
    }

    /// Encodes the units that no other thread has taken, until none is left or one fails. Units are taken in
    /// order, so when a unit fails all before it are finished all the same.
    fn encode_units<D: Documents + ?Sized>(
        &self,
        texts: &D,
        units: &[Range<usize>],
        next: &AtomicUsize,
    ) -> (Vec<Part>, Option<(usize, EncodeError)>) {
        let mut worker = self.worker();
        let mut parts = Vec::new();
        let mut failure = None;
        loop {
            let unit = next.fetch_add(1, Ordering::Relaxed);
            let Some(range) = units.get(unit) else { break };
            let size: usize = range.clone().map(|index| texts.size(index)).sum();
            let mut ids = Vec::with_capacity(size / 4); // a token of plain text is a little longer
            let mut ends = Vec::with_capacity(range.len());
            let done = range.clone().try_for_each(|index| {
                worker.encode(self, texts.text(index)?, &mut ids)?;
                ends.push(ids.len());
                Ok(())
            });
            if let Err(error) = done {
                failure = Some((unit, error));
                next.fetch_add(units.len(), Ordering::Relaxed); // nobody takes another
                break;
            }
            parts.push(Part { unit, ids, ends });
        }
        self.rest(worker);
        (parts, failure)
    }
}

/// The ids of a unit and where in them its documents end.
struct Part {
    unit: usize,
    ids: Vec<u32>,
    ends: Vec<usize>,
}

/// Ranges of documents that hold at least `size` bytes each, the last one excepted.
fn units<D: Documents + ?Sized>(texts: &D, size: usize) -> Vec<Range<usize>> {
    let mut units = Vec::new();
    let mut start = 0;
    let mut bytes: usize = 0;
    for index in 0..texts.count() {
        bytes = bytes.saturating_add(texts.size(index));
        if bytes >= size || index + 1 == texts.count() {
            units.push(start..index + 1);
            (start, bytes) = (index + 1, 0);
        }
    }
    units
}

/// One batch from its parts in order.
fn joined(mut parts: Vec<Part>, count: usize, threads: usize) -> Result<Batch, EncodeError> {
    let mut offsets = Vec::with_capacity(count + 1);
    offsets.push(0);
    let mut total = 0;
    for part in &parts {
        offsets.extend(part.ends.iter().map(|end| (total + end) as i64));
        total += part.ids.len();
    }
    if let [part] = &mut parts[..] {
        return Ok(Batch { ids: mem::take(&mut part.ids), offsets });
    }
    // Zeros cost nothing: the system hands them out when they are first written to, which is then done by all.
    let mut ids = vec![0; total];
    let mut rest = &mut ids[..];
    let mut copies = Vec::with_capacity(parts.len());
    for part in &parts {
        let (place, after) = rest.split_at_mut(part.ids.len());
        copies.push((place, &part.ids));
        rest = after;
    }
    let copies = Mutex::new(copies);
    on_threads(threads, || {
        loop {
            let Some((place, from)) = copies.lock().unwrap_or_else(PoisonError::into_inner).pop() else {
                break;
            };
            place.copy_from_slice(from);
        }
    })?;
    Ok(Batch { ids, offsets })
}

/// Runs a function that takes its share of some common work on this thread and on up to `threads - 1` more. The
/// threads live as long as the call: nothing is left over that a fork of the process would break.
fn on_threads<R: Send>(threads: usize, run: impl Fn() -> R + Sync) -> Result<Vec<R>, EncodeError> {
    thread::scope(|scope| {
        // should the system refuse a thread, the others do its share
        let others: Vec<_> =
            (1..threads).map_while(|_| thread::Builder::new().spawn_scoped(scope, &run).ok()).collect();
        let own = run();
        let joined: Vec<_> = others.into_iter().map(ScopedJoinHandle::join).collect(); // all, or the scope panics
        let joined =
            joined.into_iter().map(|result| result.map_err(|panic| EncodeError::Bug(message(&*panic))));
        iter::once(Ok(own)).chain(joined).collect()
    })
}

/// What a panic said.
pub(crate) fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::split::Splitter;
    use crate::vocab::Vocab;

    fn encoder() -> Encoder {
        let mut tokens: Vec<Vec<u8>> = (0..=255).map(|byte| vec![byte]).collect();
        tokens.extend(["th", "the", " the", "er"].map(|token| token.as_bytes().to_vec()));
        let vocab = Vocab::new(&tokens, &["<|bos|>"]).expect("a vocabulary");
        Encoder::new(vocab, Splitter::new(r"\s?\S+|\s").expect("a pattern"))
    }

    fn texts() -> Vec<String> {
        (0..400).map(|number| "the other the ".repeat(number % 97 * (number % 13))).collect()
    }

    #[test]
    fn threads_change_nothing() {
        let encoder = encoder();
        let texts = texts();
        let one = encoder.encode_batch(&texts[..], 1).expect("text");
        assert_eq!(one.offsets.len(), texts.len() + 1);
        for threads in [0, 2, 7] {
            assert_eq!(encoder.encode_batch(&texts[..], threads).as_ref(), Ok(&one));
        }
        for (text, range) in texts.iter().zip(one.offsets.windows(2)) {
            let mut alone = Vec::new();
            encoder.encode(text, &mut alone).expect("text");
            assert_eq!(alone, one.ids[range[0] as usize..range[1] as usize]);
        }
    }

    #[test]
    fn a_column_is_its_documents() {
        let encoder = encoder();
        let texts = texts();
        let data = texts.concat();
        let mut offsets = vec![0];
        offsets.extend(texts.iter().scan(0, |end, text| {
            *end += text.len() as i64;
            Some(*end)
        }));
        let column = Column::new(data.as_bytes(), &offsets).expect("a column");
        assert_eq!(encoder.encode_batch(&column, 3), encoder.encode_batch(&texts[..], 2));
    }

    #[test]
    fn nothing_gives_nothing() {
        let none: [&str; 0] = [];
        assert_eq!(encoder().encode_batch(&none[..], 4), Ok(Batch { ids: vec![], offsets: vec![0] }));
        assert_eq!(encoder().encode_batch(&[""][..], 4), Ok(Batch { ids: vec![], offsets: vec![0, 0] }));
    }

    #[test]
    fn the_first_bad_document_is_named_whatever_the_threads() {
        let mut data = "the other ".repeat(200_000).into_bytes();
        for bad in [700_004, 700_009, 1_999_999] {
            data[bad] = 0xC3;
        }
        let offsets: Vec<i64> = (0..=2000).map(|document| document * 1000).collect();
        let column = Column::new(&data, &offsets).expect("a column");
        for threads in 1..5 {
            let error = encoder().encode_batch(&column, threads);
            assert_eq!(error, Err(EncodeError::Utf8 { document: 700, byte: 4 }));
        }
    }

    #[test]
    fn wrong_offsets_are_refused() {
        for offsets in [&[][..], &[-1, 2], &[0, 2, 1], &[0, 4], &[0, i64::MAX]] {
            assert!(matches!(Column::new(b"abc", offsets), Err(EncodeError::Column(_))), "{offsets:?}");
        }
        assert!(Column::new(b"abc", &[1, 1, 3]).is_ok());
    }

    #[test]
    fn a_panic_on_a_thread_is_an_error() {
        let main = thread::current().id();
        let result = on_threads(3, || {
            assert!(thread::current().id() == main, "oh dear");
        });
        assert!(result.is_err_and(|error| error.to_string().contains("oh dear")));
    }
}
