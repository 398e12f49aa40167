//! `BpeTrainer`: documents in, merges out.

use std::ops::ControlFlow;

use pyo3::buffer::PyUntypedBuffer;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;

use super::guarded;
use super::parquet::Texts;
use crate::count::ChunkCounter;
use crate::documents::{ArrowTexts, Limits};
use crate::train::{Pair, train};

pyo3::create_exception!(
    _rustbpe,
    BadUtf8,
    PyValueError,
    "A document is not UTF-8. Arguments: the message, the document's index in the batch, the first bad byte."
);

/// Counts the chunks of documents, batch by batch, then learns merges from them.
///
/// Args:
///     pattern: the regular expression whose matches are the chunks.
///     num_threads: threads that split and count; 0 means one per core. The merges do not depend on it.
///
/// Raises:
///     ValueError: the pattern is not valid.
#[pyclass(module = "nanochat._rustbpe")]
pub(super) struct BpeTrainer {
    counter: ChunkCounter,
    /// A call is under way, or one ended in a panic: the counter may be in disorder.
    busy: bool,
}

#[pymethods]
impl BpeTrainer {
    #[new]
    #[pyo3(signature = (pattern, num_threads = 0))]
    fn new(pattern: &str, num_threads: usize) -> PyResult<Self> {
        guarded(|| Ok(Self { counter: ChunkCounter::new(pattern, num_threads)?, busy: false }))
    }

    /// Adds documents. Other Python threads run meanwhile; on an error nothing is added.
    #[pyo3(signature = (documents, weight = 1))]
    fn count(&mut self, py: Python<'_>, documents: Vec<PyBackedStr>, weight: u64) -> PyResult<()> {
        self.work(|counter| interruptible(py, |go_on| Ok(counter.count(&documents, weight, go_on)?)))
    }

    /// Adds documents that lie in Arrow buffers, without making strings of them.
    #[pyo3(signature = (data, offsets, validity, *, offset, length, wide, doc_cap, max_chars))]
    #[expect(clippy::too_many_arguments, reason = "the parts of an Arrow array and the two limits")]
    fn count_arrow(
        &mut self,
        py: Python<'_>,
        data: Option<Bound<'_, PyAny>>,
        offsets: Option<Bound<'_, PyAny>>,
        validity: Option<Bound<'_, PyAny>>,
        offset: usize,
        length: usize,
        wide: bool,
        doc_cap: u64,
        max_chars: u64,
    ) -> PyResult<(usize, u64)> {
        let held = |buffer: Option<Bound<'_, PyAny>>| buffer.as_ref().map(Bytes::of).transpose();
        let (data, offsets, validity) = (held(data)?, held(offsets)?, held(validity)?);
        let texts = ArrowTexts {
            data: data.as_ref().map_or(&[], Bytes::get),
            offsets: offsets.as_ref().map_or(&[], Bytes::get),
            wide,
            validity: validity.as_ref().map(Bytes::get),
            offset,
            length,
        };
        self.work(|counter| {
            interruptible(py, |go_on| {
                let cut = texts.cut(Limits { doc_cap, max_chars })?;
                counter.count(&cut.texts, 1, go_on)?;
                Ok((cut.texts.len(), cut.chars))
            })
        })
    }

    /// Adds documents that a `ParquetTexts` has read.
    fn count_texts(
        &mut self,
        py: Python<'_>,
        texts: &Bound<'_, Texts>,
        doc_cap: u64,
        max_chars: u64,
    ) -> PyResult<(usize, u64)> {
        let texts = &texts.get().0;
        self.work(|counter| {
            interruptible(py, |go_on| {
                let cut = texts.cut(Limits { doc_cap, max_chars })?;
                counter.count(&cut.texts, 1, go_on)?;
                Ok((cut.texts.len(), cut.chars))
            })
        })
    }

    /// Learns up to `num_merges` merges from what was counted; fewer when no pair is left.
    #[pyo3(signature = (num_merges, progress = None))]
    fn merge(
        &mut self,
        py: Python<'_>,
        num_merges: usize,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Vec<Pair>> {
        self.work(|counter| {
            let mut raised = None;
            let result = py.detach(|| {
                counter.settle()?;
                counter.with_chunks(|chunks| {
                    train(chunks, num_merges, |made| {
                        let told = Python::attach(|py| {
                            py.check_signals()?;
                            progress.as_ref().map_or(Ok(()), |call| call.call1(py, (made,)).map(drop))
                        });
                        stop_on(told, &mut raised)
                    })
                })
            });
            raised.map_or_else(|| Ok(result?), Err)
        })
    }

    /// Distinct chunks counted so far.
    #[getter]
    fn unique_chunks(&mut self, py: Python<'_>) -> PyResult<usize> {
        self.work(|counter| {
            py.detach(|| counter.settle())?;
            Ok(counter.unique_chunks())
        })
    }

    /// Bytes of UTF-8 text counted so far.
    #[getter]
    fn total_bytes(&self) -> u64 {
        self.counter.total_bytes()
    }
}

impl BpeTrainer {
    /// Runs `f` unless an earlier call never came to its end.
    fn work<R>(&mut self, f: impl FnOnce(&mut ChunkCounter) -> PyResult<R>) -> PyResult<R> {
        if std::mem::replace(&mut self.busy, true) {
            return Err(PyRuntimeError::new_err("this trainer has failed before; make a new one"));
        }
        guarded(|| {
            let result = f(&mut self.counter);
            self.busy = false;
            result
        })
    }
}

/// Runs `f` without the interpreter lock. What it is given asks Python whether a signal has come, such as that of
/// Ctrl-C; the exception that its handler raises is the error then.
fn interruptible<R: Send>(
    py: Python<'_>,
    f: impl Send + FnOnce(&mut (dyn FnMut() -> ControlFlow<()> + Send)) -> PyResult<R>,
) -> PyResult<R> {
    let mut raised = None;
    let result = py.detach(|| f(&mut || stop_on(Python::attach(|py| py.check_signals()), &mut raised)));
    raised.map_or(result, Err)
}

/// Keeps the exception and says break.
fn stop_on(told: PyResult<()>, raised: &mut Option<PyErr>) -> ControlFlow<()> {
    match told {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => {
            *raised = Some(error);
            ControlFlow::Break(())
        }
    }
}

/// A buffer of Python, held as long as this lives.
struct Bytes(PyUntypedBuffer);

impl Bytes {
    fn of(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        let buffer = PyUntypedBuffer::get(object)?;
        if !buffer.is_c_contiguous() {
            return Err(PyValueError::new_err("a buffer is not contiguous"));
        }
        Ok(Self(buffer))
    }

    fn get(&self) -> &[u8] {
        if self.0.len_bytes() == 0 {
            return &[]; // the address may be null then
        }
        // SAFETY: the buffer is contiguous, so `len_bytes` bytes lie at `buf_ptr`; while `self` holds it, Python
        // neither frees nor moves it. Nobody may write to it meanwhile: that is the caller's promise, as with every
        // library that reads buffers without the interpreter lock, and Arrow buffers that are shared are never
        // written to. The gain is that no text is copied and other threads run.
        unsafe { std::slice::from_raw_parts(self.0.buf_ptr().cast_const().cast(), self.0.len_bytes()) }
    }
}
