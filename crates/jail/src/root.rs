//! Namespaces: a process sees a root of its own, with the files it is shown and a small folder in memory, no network,
//! no other user's objects; the next process it starts is the first of its own numbering, and takes all it started
//! with it when it ends.

use std::ffi::CString;
use std::fs;
use std::io::{Error, Result};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{StatVfsMountFlags, statvfs};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind_recursive, mount_change,
    mount_remount, unmount,
};
use rustix::process::pivot_root;
use rustix::thread::{UnshareFlags, unshare_unsafe};

use crate::View;

/// Covered by the first new file system; any folder that exists everywhere would do, since only we see it covered.
const STAGE: &str = "/tmp";
/// Where the machine's root is while ours is being built.
const OLD: &str = "/.old";
/// Files and bytes of the root itself: the names of what is shown.
const SKELETON: &str = "mode=0755,size=1m,nr_inodes=1k";

/// Puts the calling process under a root of its own. Its working directory is then the scratch folder.
///
/// # Arguments
///
/// * `own_user`: take a user namespace too, which whoever is not root needs; the user keeps his number.
///
/// # Errors
///
/// What the kernel does not allow, and which step that was. The process may then be half way in and must end.
pub fn new_root(view: &View, own_user: bool) -> Result<()> {
    // links are followed while the root they belong to is in its place
    let real = |path: &'_ PathBuf| path.canonicalize().ok();
    let shown: Vec<_> = view.readable.iter().filter_map(|path| Some((real(path)?, path))).collect();
    let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let mut spaces = UnshareFlags::NEWNS
        | UnshareFlags::NEWPID
        | UnshareFlags::NEWNET
        | UnshareFlags::NEWIPC
        | UnshareFlags::NEWUTS;
    spaces.set(UnshareFlags::NEWUSER, own_user);
    // SAFETY: descriptors stay shared as they were; the flag for them is not among these.
    unsafe { unshare_unsafe(spaces) }.map_err(at("unshare"))?;
    if own_user {
        fs::write("/proc/self/setgroups", "deny").map_err(at("setgroups"))?;
        fs::write("/proc/self/uid_map", format!("{user} {user} 1")).map_err(at("uid_map"))?;
        fs::write("/proc/self/gid_map", format!("{group} {group} 1")).map_err(at("gid_map"))?;
    }
    mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE).map_err(at("private"))?;
    memory(STAGE, MountFlags::empty(), SKELETON)?;
    fs::create_dir(format!("{STAGE}{OLD}")).map_err(at("old"))?;
    std::env::set_current_dir(STAGE).map_err(at("stage"))?;
    pivot_root(".", &OLD[1..]).map_err(at("pivot_root"))?;
    std::env::set_current_dir("/").map_err(at("root"))?;
    for (real, path) in shown {
        show(&real, path)?;
    }
    folders(&view.scratch)?;
    let View { bytes, files, owner, .. } = view;
    let data = format!("mode=0700,size={bytes},nr_inodes={files},uid={owner},gid={owner}");
    memory(&view.scratch, MountFlags::NOEXEC, &data)?;
    unmount(OLD, UnmountFlags::DETACH).map_err(at("detach"))?;
    fs::remove_dir(OLD).map_err(at("old"))?;
    remount("/", MountFlags::NOSUID | MountFlags::NODEV | MountFlags::RDONLY)?;
    std::env::set_current_dir(&view.scratch).map_err(at("scratch"))
}

/// Binds one file or folder of the old root to a name in the new one, for reading.
fn show(real: &Path, path: &Path) -> Result<()> {
    let source = PathBuf::from(format!("{OLD}{}", real.display()));
    if source.is_dir() {
        folders(path)?;
    } else {
        folders(path.parent().unwrap_or(Path::new("/")))?;
        fs::write(path, "").map_err(at("file"))?;
    }
    mount_bind_recursive(&source, path).map_err(at("bind"))?;
    remount(path, MountFlags::NOSUID | MountFlags::RDONLY)
}

/// Changes what a mount allows. Flags that it has stay: in a user namespace they must.
fn remount(path: impl AsRef<Path>, more: MountFlags) -> Result<()> {
    let has = statvfs(path.as_ref()).map_err(at("statvfs"))?.f_flag;
    let mut flags = MountFlags::BIND | more;
    for (kept, flag) in [
        (StatVfsMountFlags::RDONLY, MountFlags::RDONLY),
        (StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
        (StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
        (StatVfsMountFlags::NOATIME, MountFlags::NOATIME),
        (StatVfsMountFlags::NODIRATIME, MountFlags::NODIRATIME),
        (StatVfsMountFlags::RELATIME, MountFlags::RELATIME),
    ] {
        flags.set(flag, flags.contains(flag) || has.contains(kept));
    }
    mount_remount(path.as_ref(), flags, "").map_err(at("remount"))
}

/// A file system in memory.
fn memory(path: impl AsRef<Path>, flags: MountFlags, data: &str) -> Result<()> {
    let data = CString::new(data)?;
    let flags = flags | MountFlags::NOSUID | MountFlags::NODEV;
    mount("tmpfs", path.as_ref(), "tmpfs", flags, data.as_c_str()).map_err(at("tmpfs"))
}

fn folders(path: &Path) -> Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o755).create(path).map_err(at("folders"))
}

/// The same error, with the step in front.
fn at<E: Into<Error>>(step: &'static str) -> impl FnOnce(E) -> Error {
    move |error| {
        let error = error.into();
        Error::new(error.kind(), format!("{step}: {error}"))
    }
}
