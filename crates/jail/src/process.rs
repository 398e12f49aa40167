//! What a process is to others: how long it lives, who reads it, what the kernel grants it.

use std::io::{Error, ErrorKind, Result};

use rustix::process::{
    DumpableBehavior, Signal, getpid, set_child_subreaper, set_dumpable_behavior,
    set_parent_process_death_signal,
};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities, set_no_new_privs};

/// The kernel sends this process a signal when the thread that started it is gone. A later change of user undoes it.
///
/// # Errors
///
/// The number is none of a signal.
pub fn die_with_parent(signal: i32) -> Result<()> {
    let signal = Signal::from_named_raw(signal)
        .ok_or_else(|| Error::new(ErrorKind::InvalidInput, format!("{signal} is no signal")))?;
    Ok(set_parent_process_death_signal(Some(signal))?)
}

/// What descendants of this process leave behind when they end becomes its own child, not that of the machine's first
/// process: whoever looks for its descendants finds them all.
///
/// # Errors
///
/// The kernel refuses, which it has no reason to.
pub fn adopt_orphans() -> Result<()> {
    Ok(set_child_subreaper(Some(getpid()))?)
}

/// Nobody but root reads or traces this process from now on, and it leaves no core file.
///
/// # Errors
///
/// The kernel refuses, which it has no reason to.
pub fn hide_memory() -> Result<()> {
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// Gives up every capability, and with it that a program it runs gains any.
///
/// # Errors
///
/// The kernel refuses, which it has no reason to.
pub fn drop_capabilities() -> Result<()> {
    set_no_new_privs(true)?;
    let none = CapabilitySet::empty();
    Ok(set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?)
}
