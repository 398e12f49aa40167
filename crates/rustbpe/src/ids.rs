//! What stands where no token does.

/// No token: never an id.
pub(crate) const NONE: u32 = u32::MAX;
