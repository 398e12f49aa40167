//! Seccomp: which system calls a process may make. Every other one fails with ENOSYS, as on a kernel that lacks it,
//! which is the answer that lets the C library fall back to an older call.
//!
//! The list is of what is allowed, so that what the kernel learns in future is refused. It is what CPython and its
//! standard library use to compute, to read and write files, to wait, and to start processes and threads that are
//! copies of themselves. Absent on purpose: running programs (`execve`), sockets, shared memory that outlives its
//! memory limit (`memfd_create`, `shmget`), new sessions and groups (`setsid`, `setpgid`), which would outlive a kill,
//! and everything that administers a machine.

use std::collections::BTreeMap;
use std::io::{Error, Result};

use libc::c_long;
use seccompiler::SeccompCmpArgLen::{Dword, Qword};
use seccompiler::SeccompCmpOp::{Eq, MaskedEq};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter,
};

use crate::Calls;

const ALWAYS: &[c_long] = &[
    // files that are open, and what there is
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_preadv2,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_pwritev2,
    libc::SYS_lseek,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlinkat,
    libc::SYS_getdents64,
    libc::SYS_getcwd,
    libc::SYS_chdir,
    libc::SYS_fchdir,
    libc::SYS_umask,
    libc::SYS_flock,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_pipe2,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_eventfd2,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    // the two ends of a socketpair, which asyncio wakes itself with
    libc::SYS_sendto,
    libc::SYS_recvfrom,
    libc::SYS_sendmsg,
    libc::SYS_recvmsg,
    libc::SYS_shutdown,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    // memory
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_msync,
    // time
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_gettimeofday,
    libc::SYS_times,
    libc::SYS_getitimer,
    libc::SYS_setitimer,
    // itself, its limits, its threads
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getppid,
    libc::SYS_getpgid,
    libc::SYS_getsid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getgroups,
    libc::SYS_getresuid,
    libc::SYS_getresgid,
    libc::SYS_uname,
    libc::SYS_sysinfo,
    libc::SYS_getrandom,
    libc::SYS_getrusage,
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_get_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_rseq,
    libc::SYS_membarrier,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_getcpu,
    libc::SYS_wait4,
    libc::SYS_waitid,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // signals that it receives
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigpending,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_rt_sigsuspend,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
];

const SIGNAL: &[c_long] = &[libc::SYS_kill, libc::SYS_tkill, libc::SYS_tgkill];

const WRITE: &[c_long] = &[
    libc::SYS_openat,
    libc::SYS_mkdirat,
    libc::SYS_unlinkat,
    libc::SYS_renameat2,
    libc::SYS_symlinkat,
    libc::SYS_linkat,
    libc::SYS_truncate,
    libc::SYS_utimensat,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
];

/// Calls that only older kinds of processor have.
#[cfg(target_arch = "x86_64")]
mod older {
    use libc::c_long;

    pub const ALWAYS: &[c_long] = &[
        libc::SYS_stat,
        libc::SYS_lstat,
        libc::SYS_access,
        libc::SYS_readlink,
        libc::SYS_dup2,
        libc::SYS_pipe,
        libc::SYS_poll,
        libc::SYS_select,
        libc::SYS_epoll_wait,
        libc::SYS_alarm,
        libc::SYS_time,
        libc::SYS_getpgrp,
        libc::SYS_arch_prctl,
        libc::SYS_pause,
        libc::SYS_getrlimit,
        libc::SYS_setrlimit,
    ];
    pub const WRITE: &[c_long] = &[
        libc::SYS_open,
        libc::SYS_mkdir,
        libc::SYS_rmdir,
        libc::SYS_unlink,
        libc::SYS_rename,
        libc::SYS_renameat,
        libc::SYS_symlink,
        libc::SYS_link,
        libc::SYS_chmod,
        libc::SYS_creat,
    ];
}
#[cfg(target_arch = "aarch64")]
mod older {
    use libc::c_long;

    pub const ALWAYS: &[c_long] = &[];
    pub const WRITE: &[c_long] = &[libc::SYS_renameat];
}
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod older {
    use libc::c_long;

    pub const ALWAYS: &[c_long] = &[];
    pub const WRITE: &[c_long] = &[];
}

/// Bits of `clone` that make namespaces, or a process that is not the caller's own child.
const FOREIGN: i32 = libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_PARENT
    | libc::CLONE_PTRACE;

/// Bits of `open` that change or make a file.
const CHANGING: i32 =
    libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC | (libc::O_TMPFILE & !libc::O_DIRECTORY);

/// `fcntl`: copies of descriptors, flags, locks; not who is told by a signal when there is something to read.
const FCNTL: [i32; 9] = [
    libc::F_DUPFD,
    libc::F_DUPFD_CLOEXEC,
    libc::F_GETFD,
    libc::F_SETFD,
    libc::F_GETFL,
    libc::F_SETFL,
    libc::F_GETLK,
    libc::F_SETLK,
    libc::F_SETLKW,
];

/// From now on this process makes no system calls but those it needs. It gains no privileges any more.
///
/// # Errors
///
/// The kernel was built without it, or the processor is not one of x86-64, arm64 and riscv64.
pub fn restrict_calls(calls: Calls) -> Result<()> {
    let program = compile(calls).map_err(|error| Error::other(error.to_string()))?;
    rustix::thread::set_no_new_privs(true)?;
    apply_filter(&program).map_err(|error| Error::other(error.to_string()))
}

fn compile(calls: Calls) -> std::result::Result<BpfProgram, BackendError> {
    let mut rules: BTreeMap<c_long, Vec<SeccompRule>> = BTreeMap::new();
    let mut groups = vec![ALWAYS, older::ALWAYS];
    if calls.write {
        groups.extend([WRITE, older::WRITE]);
    } else {
        rules.insert(libc::SYS_openat, vec![rule(2, Dword, MaskedEq(bits(CHANGING)), 0)?]);
        #[cfg(target_arch = "x86_64")]
        rules.insert(libc::SYS_open, vec![rule(1, Dword, MaskedEq(bits(CHANGING)), 0)?]);
    }
    if calls.signal {
        groups.push(SIGNAL);
    } else {
        // `raise` and `abort`; a child of this process has another number, and cannot even that
        let own = u64::from(std::process::id());
        rules.insert(libc::SYS_tgkill, vec![rule(0, Dword, Eq, own)?]);
    }
    if calls.start {
        rules.insert(libc::SYS_clone, vec![rule(0, Qword, MaskedEq(bits(FOREIGN)), 0)?]);
    }
    for call in groups.into_iter().flatten() {
        rules.insert(*call, Vec::new());
    }
    let fcntl: std::result::Result<_, _> =
        FCNTL.map(|command| rule(1, Dword, Eq, bits(command))).into_iter().collect();
    rules.insert(libc::SYS_fcntl, fcntl?);
    let terminal =
        [libc::FIOCLEX, libc::FIONCLEX, libc::FIONBIO, libc::FIONREAD, libc::TCGETS, libc::TIOCGWINSZ];
    let ioctl: std::result::Result<_, _> =
        terminal.map(|request| rule(1, Dword, Eq, request)).into_iter().collect();
    rules.insert(libc::SYS_ioctl, ioctl?);
    let name = [libc::PR_SET_NAME, libc::PR_GET_NAME].map(|option| rule(0, Dword, Eq, bits(option)));
    rules.insert(libc::SYS_prctl, name.into_iter().collect::<std::result::Result<_, _>>()?);
    // pages of shared memory stay when no process has them in its table any more, and count towards none
    rules.insert(libc::SYS_mmap, vec![rule(3, Dword, MaskedEq(bits(libc::MAP_SHARED)), 0)?]);
    // what frees memory; other advice would move it to where it is not counted
    let advice = [libc::MADV_DONTNEED, libc::MADV_FREE, libc::MADV_HUGEPAGE, libc::MADV_NOHUGEPAGE];
    let advice: std::result::Result<_, _> =
        advice.map(|kind| rule(2, Dword, Eq, bits(kind))).into_iter().collect();
    rules.insert(libc::SYS_madvise, advice?);
    rules.insert(libc::SYS_prlimit64, vec![rule(0, Dword, Eq, 0)?]);
    // a stream has an other end from the start, so nothing can be sent to a name
    let kind = MaskedEq(!bits(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC) & u64::from(u32::MAX));
    let pair = vec![
        SeccompCondition::new(0, Dword, Eq, bits(libc::AF_UNIX))?,
        SeccompCondition::new(1, Dword, kind, bits(libc::SOCK_STREAM))?,
    ];
    rules.insert(libc::SYS_socketpair, vec![SeccompRule::new(pair)?]);
    let refused = SeccompAction::Errno(libc::ENOSYS as u32);
    SeccompFilter::new(rules, refused, SeccompAction::Allow, std::env::consts::ARCH.try_into()?)?.try_into()
}

/// Allows a call when one of its arguments compares so.
fn rule(
    argument: u8,
    length: SeccompCmpArgLen,
    how: SeccompCmpOp,
    value: u64,
) -> std::result::Result<SeccompRule, BackendError> {
    SeccompRule::new(vec![SeccompCondition::new(argument, length, how, value)?])
}

fn bits(value: i32) -> u64 {
    u64::from(value.cast_unsigned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_compiles_and_what_is_allowed_adds_to_it() {
        let length = |start, write, signal| {
            compile(Calls { start, write, signal }).expect("a filter for this processor").len()
        };
        let least = length(false, false, false);
        assert!(least > ALWAYS.len());
        for more in [length(true, false, false), length(false, true, false), length(false, false, true)] {
            assert!(more > least);
            assert!(more < length(true, true, true));
        }
    }
}
