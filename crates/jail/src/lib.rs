//! What a process gives up before it runs code that nobody has read.
//!
//! Each function takes something from the calling process for good, and from whatever it starts later. None needs root
//! or a daemon. A process should have one thread when it calls them: the kernel confines threads, not processes.
//!
//! - `process`: its capabilities, its life after its parent's, and that others look into its memory.
//! - `root` (namespaces): the sight of other processes, networks and files than those it is shown.
//! - `files` (Landlock): access to other files than those it is shown, also where namespaces are not to be had.
//! - `calls` (seccomp): every system call that a Python program can do without.
//!
//! Left out: limits of memory, time and number, which Python's `resource` sets, and macOS, where `sandbox-exec` does it
//! all. There, and on any other system than Linux, every function fails with `ErrorKind::Unsupported`.

#[cfg(target_os = "linux")]
mod calls;
#[cfg(target_os = "linux")]
mod files;
#[cfg(target_os = "linux")]
mod process;
#[cfg(target_os = "linux")]
mod root;

#[cfg(target_os = "linux")]
pub use self::{calls::*, files::*, process::*, root::*};

#[cfg(not(target_os = "linux"))]
mod elsewhere;
#[cfg(not(target_os = "linux"))]
pub use elsewhere::*;

/// What a program may do beside computing.
#[derive(Clone, Copy, Debug)]
pub struct Calls {
    /// Start processes and threads.
    pub start: bool,
    /// Open files to write, make and remove them.
    pub write: bool,
    /// Send signals to other processes than itself.
    pub signal: bool,
}

/// What a new root shows.
#[derive(Clone, Debug)]
pub struct View {
    /// Files and folders that are shown, for reading alone, where they are; those that do not exist are left out.
    pub readable: Vec<std::path::PathBuf>,
    /// Where a small empty folder is put, which is the only place for writing.
    pub scratch: std::path::PathBuf,
    /// Bytes that fit into it.
    pub bytes: u64,
    /// Files that fit into it.
    pub files: u64,
    /// User and group it belongs to.
    pub owner: u32,
}
