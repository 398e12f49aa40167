//! The same functions where the system has nothing of the kind.

use std::io::{Error, ErrorKind, Result};
use std::path::PathBuf;

use crate::{Calls, View};

fn unsupported<T>() -> Result<T> {
    Err(Error::new(ErrorKind::Unsupported, "only Linux can do this"))
}

/// See the module `process` of Linux.
pub fn die_with_parent(_signal: i32) -> Result<()> {
    unsupported()
}

/// See the module `process` of Linux.
pub fn adopt_orphans() -> Result<()> {
    unsupported()
}

/// See the module `process` of Linux.
pub fn hide_memory() -> Result<()> {
    unsupported()
}

/// See the module `process` of Linux.
pub fn drop_capabilities() -> Result<()> {
    unsupported()
}

/// See the module `root` of Linux.
pub fn new_root(_view: &View, _own_user: bool) -> Result<()> {
    unsupported()
}

/// See the module `files` of Linux.
pub fn restrict_files(_readable: &[PathBuf], _writable: &[PathBuf], _alone: bool) -> Result<bool> {
    unsupported()
}

/// See the module `calls` of Linux.
pub fn restrict_calls(_calls: Calls) -> Result<()> {
    unsupported()
}
