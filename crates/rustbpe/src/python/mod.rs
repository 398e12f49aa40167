//! The Python face: the only modules that know pyo3. `src/nanochat/_rustbpe.pyi` describes it to type checkers.

mod encoder;
mod jail;
mod parquet;
mod trainer;

use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::exceptions::{PyOverflowError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;

use crate::error::TrainError;

impl From<TrainError> for PyErr {
    fn from(error: TrainError) -> Self {
        let message = error.to_string();
        match error {
            TrainError::Pattern(_) | TrainError::Split(_) | TrainError::Buffers(_) => {
                PyValueError::new_err(message)
            }
            TrainError::Utf8 { document, byte } => trainer::BadUtf8::new_err((message, document, byte)),
            TrainError::TooLarge => PyOverflowError::new_err(message),
            TrainError::Threads(_) | TrainError::Interrupted => PyRuntimeError::new_err(message),
        }
    }
}

/// Runs `f` so that a panic in it, which would be a fault of this crate, becomes an ordinary `RuntimeError`. pyo3
/// would make an exception of it that `except Exception` does not catch.
fn guarded<R>(f: impl FnOnce() -> PyResult<R>) -> PyResult<R> {
    // What a panic leaves in disorder is in our hands: a trainer that saw one refuses further work.
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|panic| {
        let why =
            panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        let why = why.unwrap_or("no reason given");
        Err(PyRuntimeError::new_err(format!("a fault in the tokenizer's native half: {why}")))
    })
}

#[pymodule]
mod _rustbpe {
    #[pymodule_export]
    use super::encoder::BpeEncoder;
    #[pymodule_export]
    use super::jail::{
        jail_adopt_orphans, jail_die_with_parent, jail_drop_capabilities, jail_hide_memory, jail_new_root,
        jail_restrict_calls, jail_restrict_files,
    };
    #[pymodule_export]
    use super::parquet::{ParquetTexts, Texts};
    #[pymodule_export]
    use super::trainer::BadUtf8;
    #[pymodule_export]
    use super::trainer::BpeTrainer;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_ordinary_error() {
        Python::initialize();
        let result = guarded::<()>(|| panic!("seven is {}", 8));
        Python::attach(|py| {
            let error = result.expect_err("it panicked");
            assert!(error.is_instance_of::<PyRuntimeError>(py));
            assert!(error.to_string().ends_with("seven is 8"));
        });
        assert!(guarded(|| Ok(7)).is_ok_and(|found| found == 7));
    }
}
