//! Landlock: which files a process may open.

use std::io::{Error, Result};
use std::path::PathBuf;

use landlock::{
    ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus,
    Scope, path_beneath_rules,
};

/// The newest version whose rights we name; an older kernel enforces those it knows.
const NEWEST: ABI = ABI::V6;

/// From now on this process opens, makes and removes nothing but what is named here, and uses no TCP port. Not covered,
/// and left to `restrict_calls`: looking at what a file is, changing its owner, times and mode.
///
/// # Arguments
///
/// * `readable`: files and folders with all they hold; those that do not exist are left out.
/// * `writable`: folders in which everything is allowed but to run files.
/// * `alone`: nor does it send a signal, or a message over an abstract socket, to a process that is not confined with it.
///   That includes the signal which the kernel sends its children when it dies.
///
/// # Returns
///
/// Whether the kernel has Landlock; where it has not, nothing changed.
///
/// # Errors
///
/// The kernel has it and refuses.
pub fn restrict_files(readable: &[PathBuf], writable: &[PathBuf], alone: bool) -> Result<bool> {
    let status = restrict(readable, writable, alone).map_err(|error| Error::other(error.to_string()))?;
    Ok(status != RulesetStatus::NotEnforced)
}

fn restrict(
    readable: &[PathBuf],
    writable: &[PathBuf],
    alone: bool,
) -> std::result::Result<RulesetStatus, RulesetError> {
    let run = AccessFs::Execute;
    let mut rules = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?;
    if alone {
        rules = rules.scope(Scope::from_all(NEWEST))?;
    }
    let status = rules
        .create()?
        .add_rules(path_beneath_rules(readable, AccessFs::from_read(NEWEST) & !run))?
        .add_rules(path_beneath_rules(writable, AccessFs::from_all(NEWEST) & !run))?
        .restrict_self()?;
    Ok(status.ruleset)
}
