//! `jail_*`: what a process gives up before it runs model-written code (`nanochat.runtime.sandbox`).

use std::path::PathBuf;

use pyo3::prelude::*;

/// The kernel sends this process a signal when the thread that started it is gone.
#[pyfunction]
pub(super) fn jail_die_with_parent(signal: i32) -> PyResult<()> {
    Ok(jail::die_with_parent(signal)?)
}

/// What descendants of this process leave behind when they end becomes its own child.
#[pyfunction]
pub(super) fn jail_adopt_orphans() -> PyResult<()> {
    Ok(jail::adopt_orphans()?)
}

/// Nobody but root reads or traces this process from now on.
#[pyfunction]
pub(super) fn jail_hide_memory() -> PyResult<()> {
    Ok(jail::hide_memory()?)
}

/// Gives up every capability for good.
#[pyfunction]
pub(super) fn jail_drop_capabilities() -> PyResult<()> {
    Ok(jail::drop_capabilities()?)
}

/// Puts this process into namespaces with a root of its own.
#[pyfunction]
#[pyo3(signature = (readable, *, scratch, bytes, files, owner, own_user))]
pub(super) fn jail_new_root(
    readable: Vec<PathBuf>,
    scratch: PathBuf,
    bytes: u64,
    files: u64,
    owner: u32,
    own_user: bool,
) -> PyResult<()> {
    Ok(jail::new_root(&jail::View { readable, scratch, bytes, files, owner }, own_user)?)
}

/// Confines this process to some files. False where the kernel has no Landlock.
#[pyfunction]
#[pyo3(signature = (readable, writable, *, alone))]
pub(super) fn jail_restrict_files(
    readable: Vec<PathBuf>,
    writable: Vec<PathBuf>,
    alone: bool,
) -> PyResult<bool> {
    Ok(jail::restrict_files(&readable, &writable, alone)?)
}

/// Confines this process to the system calls it needs.
#[pyfunction]
#[pyo3(signature = (*, start, write, signal))]
pub(super) fn jail_restrict_calls(start: bool, write: bool, signal: bool) -> PyResult<()> {
    Ok(jail::restrict_calls(jail::Calls { start, write, signal })?)
}
