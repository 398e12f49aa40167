//! `ParquetTexts` and `Texts`: documents that go from a file to the trainer without becoming Python objects.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::{PyKeyError, PyNotImplementedError, PyValueError};
use pyo3::prelude::*;

use super::guarded;
use crate::parquet;

impl From<parquet::ReadError> for PyErr {
    fn from(error: parquet::ReadError) -> Self {
        match error {
            parquet::ReadError::Io(error) => error.into(),
            parquet::ReadError::Damaged(why) => PyValueError::new_err(why),
            parquet::ReadError::NoColumn => PyKeyError::new_err("text"),
            parquet::ReadError::Unsupported(why) => PyNotImplementedError::new_err(why),
        }
    }
}

/// Documents that were read together.
#[pyclass(module = "nanochat._rustbpe", frozen)]
pub(super) struct Texts(pub(super) parquet::Texts);

#[pymethods]
impl Texts {
    fn __len__(&self) -> usize {
        self.0.len()
    }

    /// Bytes of all documents.
    #[getter]
    fn nbytes(&self) -> usize {
        self.0.bytes()
    }
}

/// Reads the column `text` of a parquet file, batch by batch.
#[pyclass(module = "nanochat._rustbpe", frozen)]
pub(super) struct ParquetTexts {
    /// The library's readers may move from thread to thread but not be shared.
    file: Mutex<parquet::ParquetTexts>,
}

impl ParquetTexts {
    fn file(&self) -> MutexGuard<'_, parquet::ParquetTexts> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl ParquetTexts {
    #[new]
    fn new(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        // The library that reads is known to panic at some damage; here that is damage too.
        sound(|| Ok(Self { file: Mutex::new(py.detach(|| parquet::ParquetTexts::open(&path))?) }))
    }

    /// Bytes that the column takes before compression.
    #[getter]
    fn size(&self) -> u64 {
        self.file().size()
    }

    /// The next documents, about `max_bytes` of them; None at the end.
    fn next(&self, py: Python<'_>, max_bytes: u64) -> PyResult<Option<Texts>> {
        sound(|| Ok(py.detach(|| self.file().next(max_bytes))?.map(Texts)))
    }
}

/// Runs `f`; a panic in it becomes a `ValueError`.
fn sound<R>(f: impl FnOnce() -> PyResult<R>) -> PyResult<R> {
    let mut done = None;
    match guarded(|| {
        done = Some(f());
        Ok(())
    }) {
        Ok(()) => done.unwrap_or_else(|| Err(PyValueError::new_err("unreadable"))),
        Err(panic) => Err(PyValueError::new_err(panic.to_string())),
    }
}
