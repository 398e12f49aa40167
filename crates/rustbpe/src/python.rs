//! The Python face: the only module that knows pyo3. `src/nanochat/_rustbpe.pyi` describes it to type checkers.

use std::ops::ControlFlow;

use pyo3::exceptions::{PyOverflowError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;

use crate::count::ChunkCounter;
use crate::error::TrainError;
use crate::train::{Pair, train};

impl From<TrainError> for PyErr {
    fn from(error: TrainError) -> Self {
        let message = error.to_string();
        match error {
            TrainError::Pattern(_) | TrainError::Split(_) => PyValueError::new_err(message),
            TrainError::TooLarge => PyOverflowError::new_err(message),
            TrainError::Threads(_) | TrainError::Interrupted => PyRuntimeError::new_err(message),
        }
    }
}

/// Counts the chunks of documents, batch by batch, then learns merges from them.
///
/// Args:
///     pattern: the regular expression whose matches are the chunks.
///     num_threads: threads that split and count; 0 means one per core. The merges do not depend on it.
///
/// Raises:
///     ValueError: the pattern is not valid.
#[pyclass(module = "nanochat._rustbpe")]
struct BpeTrainer {
    counter: ChunkCounter,
}

#[pymethods]
impl BpeTrainer {
    #[new]
    #[pyo3(signature = (pattern, num_threads = 0))]
    fn new(pattern: &str, num_threads: usize) -> PyResult<Self> {
        Ok(Self { counter: ChunkCounter::new(pattern, num_threads)? })
    }

    /// Adds documents. Other Python threads run meanwhile; on an error nothing is added.
    fn count(&mut self, py: Python<'_>, documents: Vec<PyBackedStr>) -> PyResult<()> {
        let counter = &mut self.counter;
        Ok(py.detach(|| counter.count(&documents))?)
    }

    /// Learns up to `num_merges` merges from what was counted; fewer when no pair is left.
    ///
    /// Args:
    ///     num_merges: how many to learn.
    ///     progress: called with the number made so far, every 64 merges; an exception in it ends training.
    ///
    /// Returns:
    ///     Pairs of ids; the n-th makes id 256 + n.
    #[pyo3(signature = (num_merges, progress = None))]
    fn merge(&self, py: Python<'_>, num_merges: usize, progress: Option<Py<PyAny>>) -> PyResult<Vec<Pair>> {
        let mut raised = None;
        let counter = &self.counter;
        let result = py.detach(|| {
            train(counter.chunks(), num_merges, |made| {
                let told = Python::attach(|py| {
                    py.check_signals()?;
                    progress.as_ref().map_or(Ok(()), |call| call.call1(py, (made,)).map(drop))
                });
                match told {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(error) => {
                        raised = Some(error);
                        ControlFlow::Break(())
                    }
                }
            })
        });
        match raised {
            Some(error) => Err(error),
            None => Ok(result?),
        }
    }

    /// Distinct chunks counted so far.
    #[getter]
    fn unique_chunks(&self) -> usize {
        self.counter.chunks().len()
    }

    /// Bytes of UTF-8 text counted so far.
    #[getter]
    fn total_bytes(&self) -> u64 {
        self.counter.total_bytes()
    }
}

#[pymodule]
mod _rustbpe {
    #[pymodule_export]
    use super::BpeTrainer;
    #[pymodule_export]
    use crate::encoder::BpeEncoder;
}
