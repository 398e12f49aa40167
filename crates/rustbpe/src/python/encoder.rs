//! The encoder's Python face. `src/nanochat/_rustbpe.pyi` describes it to type checkers.

use std::ffi::{c_int, c_void};

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::pybacked::{PyBackedBytes, PyBackedStr};
use pyo3::types::{PyBytes, PyList, PyMemoryView};

use crate::batch::{Batch, Column};
use crate::encode::Encoder;
use crate::error::EncodeError;
use crate::split::Splitter;
use crate::vocab::Vocab;

impl From<EncodeError> for PyErr {
    fn from(error: EncodeError) -> Self {
        match error {
            EncodeError::Split(inner) => inner.into(),
            EncodeError::Bug(_) => PyRuntimeError::new_err(error.to_string()),
            _ => PyValueError::new_err(error.to_string()),
        }
    }
}

/// Numbers in a row as a buffer: the memory of Rust as it is, without a copy. Python sees a `memoryview` of it.
#[pyclass(module = "nanochat._rustbpe")]
struct Words {
    numbers: Numbers,
}

enum Numbers {
    Ids(Vec<u32>),
    Offsets(Vec<i64>),
}

#[pymethods]
impl Words {
    /// # Safety
    /// Called by the interpreter, with a view to fill.
    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        let (start, bytes): (*mut c_void, usize) = match &mut slf.borrow_mut().numbers {
            Numbers::Ids(ids) => (ids.as_mut_ptr().cast(), size_of_val(&ids[..])),
            Numbers::Offsets(offsets) => (offsets.as_mut_ptr().cast(), size_of_val(&offsets[..])),
        };
        // SAFETY: the view keeps this object alive, and with it the memory: nothing ever resizes or replaces the
        // vector, nor reads or writes its numbers once they are in here. Any bytes are valid numbers.
        let status =
            unsafe { ffi::PyBuffer_FillInfo(view, slf.as_ptr(), start, bytes as ffi::Py_ssize_t, 0, flags) };
        if status == 0 { Ok(()) } else { Err(PyErr::fetch(slf.py())) }
    }
}

/// Text to ids and back.
///
/// Args:
///     tokens: the bytes of every token that text can become, in the order of their ids; all single bytes among them.
///     pattern: the regular expression whose matches are the chunks that no token crosses.
///     names: what further ids decode to. Text never becomes one of these.
///     num_threads: threads for batches; 0 means one per core. The ids do not depend on it.
///
/// Raises:
///     ValueError: a missing byte, an empty or doubled token, or a pattern that is not valid.
#[pyclass(module = "nanochat._rustbpe", frozen)]
pub struct BpeEncoder {
    encoder: Encoder,
    num_threads: usize,
}

#[pymethods]
impl BpeEncoder {
    #[new]
    #[pyo3(signature = (tokens, pattern, *, names = Vec::new(), num_threads = 0))]
    fn new(
        py: Python<'_>,
        tokens: Vec<PyBackedBytes>,
        pattern: &str,
        names: Vec<PyBackedBytes>,
        num_threads: usize,
    ) -> PyResult<Self> {
        let encoder =
            detached(py, || Ok(Encoder::new(Vocab::new(&tokens, &names)?, Splitter::new(pattern)?)))?;
        Ok(Self { encoder, num_threads })
    }

    /// The ids of a text.
    fn encode(&self, py: Python<'_>, text: &str) -> PyResult<Vec<u32>> {
        detached(py, || {
            let mut ids = Vec::with_capacity(text.len() / 4);
            self.encoder.encode(text, &mut ids)?;
            Ok(ids)
        })
    }

    /// The ids of many texts in a row, and where those of each begin: the bytes of uint32 and int64, one more than
    /// texts.
    #[pyo3(signature = (texts, num_threads = None))]
    fn encode_batch<'py>(
        &self,
        py: Python<'py>,
        texts: Vec<PyBackedStr>,
        num_threads: Option<usize>,
    ) -> PyResult<TwoViews<'py>> {
        let threads = num_threads.unwrap_or(self.num_threads);
        views(py, detached(py, || self.encoder.encode_batch(&texts[..], threads))?)
    }

    /// `encode_batch` of a column of texts as Arrow keeps it.
    ///
    /// Args:
    ///     data: the UTF-8 bytes of all texts (uint8).
    ///     offsets: where each begins in them, and where the last ends (int32 or int64).
    ///     num_threads: None means that of the encoder.
    #[pyo3(signature = (data, offsets, num_threads = None))]
    fn encode_column<'py>(
        &self,
        py: Python<'py>,
        data: &Bound<'py, PyAny>,
        offsets: &Bound<'py, PyAny>,
        num_threads: Option<usize>,
    ) -> PyResult<TwoViews<'py>> {
        let threads = num_threads.unwrap_or(self.num_threads);
        // Copied, at a few per cent of the time encoding takes: others might write to this memory meanwhile.
        let data = PyBuffer::<u8>::get(data)?.to_vec(py)?;
        let offsets = match PyBuffer::<i32>::get(offsets) {
            Ok(offsets) => offsets.to_vec(py)?.into_iter().map(i64::from).collect(),
            Err(_) => PyBuffer::<i64>::get(offsets)?.to_vec(py)?,
        };
        views(py, detached(py, || self.encoder.encode_batch(&Column::new(&data, &offsets)?, threads))?)
    }

    /// The bytes of the tokens and names with these ids, joined. Ids are a list or another sequence of integers,
    /// or an array of uint32 or int64.
    fn decode<'py>(&self, py: Python<'py>, ids: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
        let ids = numbers(py, ids)?;
        let bytes = detached(py, || {
            let mut bytes = Vec::with_capacity(ids.len() * 4);
            self.encoder.vocab().decode(&ids, &mut bytes)?;
            Ok(bytes)
        })?;
        Ok(PyBytes::new(py, &bytes))
    }
}

type TwoViews<'py> = (Bound<'py, PyMemoryView>, Bound<'py, PyMemoryView>);

/// Views of ids and offsets.
fn views<'py>(py: Python<'py>, batch: Batch) -> PyResult<TwoViews<'py>> {
    let view = |numbers| PyMemoryView::from(Bound::new(py, Words { numbers })?.as_any());
    Ok((view(Numbers::Ids(batch.ids))?, view(Numbers::Offsets(batch.offsets))?))
}

fn numbers(py: Python<'_>, ids: &Bound<'_, PyAny>) -> PyResult<Vec<u32>> {
    if !ids.is_instance_of::<PyList>() {
        if let Ok(buffer) = PyBuffer::<u32>::get(ids) {
            return buffer.to_vec(py);
        }
        if let Ok(buffer) = PyBuffer::<i64>::get(ids) {
            return checked(buffer.to_vec(py)?);
        }
    }
    match ids.extract() {
        Ok(ids) => Ok(ids),
        Err(_) => checked(ids.extract()?),
    }
}

fn checked(ids: Vec<i64>) -> PyResult<Vec<u32>> {
    ids.into_iter().map(|id| u32::try_from(id).map_err(|_| EncodeError::UnknownId(id).into())).collect()
}

/// Runs work while other Python threads go on. A panic, which would be a fault of this crate, becomes an error.
fn detached<T: Send>(py: Python<'_>, work: impl FnOnce() -> Result<T, EncodeError> + Send) -> PyResult<T> {
    super::guarded(|| py.detach(work).map_err(PyErr::from))
}
