//! What a worker may do besides computing: read its model, use its graphics cards and answer on its socket.
//!
//! A model's file comes from a stranger and is read by C++. Should that be made to do another's
//! will, it does it in a process that can open no other file, reach no network, start no program
//! and touch no other process.

use std::fmt;
use std::path::PathBuf;

/// How far this process is confined.
#[derive(Debug)]
pub(crate) struct Confinement {
    /// What it can open: by how much of Landlock, or why it is not confined.
    pub(crate) files: Result<&'static str, String>,
    /// What it can ask of the kernel: why it is not confined, when it is not.
    pub(crate) calls: Result<(), String>,
    /// What it may do as root: why it may more than it needs, when it may.
    pub(crate) capabilities: Result<(), String>,
}

impl fmt::Display for Confinement {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.files {
            Ok(extent) => write!(out, "files by {extent}, ")?,
            Err(reason) => write!(out, "files not at all ({reason}), ")?,
        }
        match &self.calls {
            Ok(()) => out.write_str("system calls by seccomp")?,
            Err(reason) => write!(out, "system calls not at all ({reason})")?,
        }
        match &self.capabilities {
            Ok(()) => Ok(()),
            Err(reason) => write!(out, ", with all capabilities that it has ({reason})"),
        }
    }
}

/// Confines this process for the rest of its life, to the files of its `model` and what the engine needs.
/// `may_split` leaves it processes like itself, as confined.
///
/// It confines the calling thread and those that it starts: call it before there are others.
/// What must be open, the log and the socket, is opened before. A kernel that cannot confine is no error.
pub(crate) fn confine(model: &[PathBuf], may_split: bool) -> Confinement {
    system::confine(model, may_split)
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::path::PathBuf;

    use super::Confinement;

    pub(super) fn confine(_model: &[PathBuf], _may_split: bool) -> Confinement {
        let reason = || "only Linux can".to_owned();
        Confinement { files: Err(reason()), calls: Err(reason()), capabilities: Ok(()) }
    }
}

#[cfg(target_os = "linux")]
mod system {
    use std::collections::BTreeMap;
    use std::path::{Path, PathBuf};

    use landlock::{
        ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, Ruleset, RulesetAttr, RulesetCreatedAttr,
        RulesetError, RulesetStatus, Scope, path_beneath_rules,
    };
    use rustix::process::getpid;
    use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};
    use seccompiler::{
        BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
        SeccompRule, TargetArch, apply_filter_all_threads, sock_filter,
    };

    use super::Confinement;

    pub(super) fn confine(model: &[PathBuf], may_split: bool) -> Confinement {
        // Where rbee runs as root: of that, a worker needs only to read models that belong to others.
        let capabilities = drop_capabilities().map_err(|error| error.to_string());
        let files = confine_files(model).map_err(|error| error.to_string()).and_then(|status| {
            let reason = match (status.ruleset, status.landlock) {
                (RulesetStatus::FullyEnforced, _) => return Ok("Landlock"),
                (RulesetStatus::PartiallyEnforced, _) => return Ok("an older Landlock"),
                (_, LandlockStatus::NotEnabled) => "Landlock is not enabled",
                _ => "this kernel has no Landlock",
            };
            Err(reason.to_owned())
        });
        Confinement { files, calls: confine_calls(may_split), capabilities }
    }

    fn drop_capabilities() -> rustix::io::Result<()> {
        let kept = capabilities(None)?.permitted & CapabilitySet::DAC_READ_SEARCH;
        set_capabilities(
            None,
            CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() },
        )
    }

    /// The newest version of Landlock of which all is used; older ones do what they can.
    const LANDLOCK: ABI = ABI::V6;

    /// What may be read besides the model. Libraries are also loaded late: graphics drivers, and what unwinds
    /// the stack.
    const READ: [&str; 17] = [
        "/lib",
        "/lib64",
        "/usr/lib",
        "/usr/lib64",
        "/usr/local/lib",
        "/usr/local/cuda",
        "/opt/cuda",
        "/opt/rocm",
        "/etc/ld.so.cache",
        "/proc/self",
        "/proc/cpuinfo",
        "/proc/meminfo",
        "/proc/stat",
        "/sys/devices/system/cpu",
        "/sys/devices/system/node",
        "/sys/fs/cgroup",
        "/dev/urandom",
    ];
    /// What drivers of graphics cards read of the cards and of themselves.
    const READ_FOR_DEVICES: [&str; 13] = [
        "/sys/bus",
        "/sys/class",
        "/sys/dev",
        "/sys/devices",
        "/sys/module",
        "/proc/devices",
        "/proc/driver/nvidia",
        "/etc/OpenCL",
        "/etc/vulkan",
        "/usr/share/drirc.d",
        "/usr/share/libdrm",
        "/usr/share/nvidia",
        "/usr/share/vulkan",
    ];

    fn confine_files(model: &[PathBuf]) -> Result<landlock::RestrictionStatus, RulesetError> {
        let read = AccessFs::ReadFile | AccessFs::ReadDir;
        let write = AccessFs::ReadFile | AccessFs::WriteFile;
        let devices = devices();
        let for_devices = if devices.is_empty() { &[][..] } else { &READ_FOR_DEVICES };
        let own_program = std::env::current_exe().ok();
        // Where llama.cpp's parts are libraries, they lie beside it.
        let own_folder =
            own_program.as_deref().and_then(Path::parent).filter(|_| cfg!(feature = "dynamic-backends"));
        let own_folder = own_folder.map(Path::to_owned);
        let all: BitFlags<AccessFs> = AccessFs::from_all(LANDLOCK);
        Ruleset::default()
            .handle_access(all)?
            .handle_access(AccessNet::from_all(LANDLOCK))?
            .scope(Scope::from_all(LANDLOCK))?
            .create()?
            .add_rules(path_beneath_rules(model, AccessFs::ReadFile))?
            .add_rules(path_beneath_rules(own_program, AccessFs::ReadFile))?
            .add_rules(path_beneath_rules(own_folder, read))?
            .add_rules(path_beneath_rules(READ.iter().chain(for_devices), read))?
            .add_rules(path_beneath_rules(["/dev/null"], write))?
            .add_rules(path_beneath_rules(devices, write | AccessFs::ReadDir | AccessFs::IoctlDev))?
            .restrict_self()
    }

    /// The graphics cards.
    fn devices() -> Vec<PathBuf> {
        let nvidia = std::fs::read_dir("/dev").into_iter().flatten().flatten();
        let nvidia = nvidia.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"nvidia"));
        let others = ["/dev/dri", "/dev/kfd", "/dev/dxg"].map(PathBuf::from);
        let others = others.into_iter().filter(|path| Path::exists(path));
        nvidia.map(|entry| entry.path()).chain(others).collect()
    }

    /// Other programs, and other processes' memory.
    const PROCESSES: [i64; 14] = [
        libc::SYS_execve,
        libc::SYS_execveat,
        libc::SYS_ptrace,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_kcmp,
        libc::SYS_pidfd_open,
        libc::SYS_pidfd_getfd,
        libc::SYS_pidfd_send_signal,
        libc::SYS_rt_sigqueueinfo,
        libc::SYS_rt_tgsigqueueinfo,
        libc::SYS_tkill,
        libc::SYS_setpgid,
        libc::SYS_setsid,
    ];
    /// Its socket, and the connections that it accepts, are all that a worker has of the network.
    const SOCKETS: [i64; 4] = [libc::SYS_socket, libc::SYS_connect, libc::SYS_bind, libc::SYS_listen];
    /// Memory, messages and signals between processes that need no file: what is shared so has no owner but the user.
    const SHARED: [i64; 18] = [
        libc::SYS_shmget,
        libc::SYS_shmat,
        libc::SYS_shmctl,
        libc::SYS_shmdt,
        libc::SYS_msgget,
        libc::SYS_msgsnd,
        libc::SYS_msgrcv,
        libc::SYS_msgctl,
        libc::SYS_semget,
        libc::SYS_semop,
        libc::SYS_semtimedop,
        libc::SYS_semctl,
        libc::SYS_mq_open,
        libc::SYS_mq_unlink,
        libc::SYS_mq_timedsend,
        libc::SYS_mq_timedreceive,
        libc::SYS_mq_notify,
        libc::SYS_mq_getsetattr,
    ];
    /// Changes to files: those that Landlock does not know, and where there is no Landlock, those that
    /// nothing here needs.
    const FILES: [i64; 21] = [
        libc::SYS_fchmod,
        libc::SYS_fchmodat,
        SYS_FCHMODAT2,
        SYS_SETXATTRAT,
        SYS_REMOVEXATTRAT,
        SYS_FILE_SETATTR,
        libc::SYS_fchown,
        libc::SYS_fchownat,
        libc::SYS_setxattr,
        libc::SYS_lsetxattr,
        libc::SYS_fsetxattr,
        libc::SYS_removexattr,
        libc::SYS_lremovexattr,
        libc::SYS_fremovexattr,
        libc::SYS_utimensat,
        libc::SYS_mkdirat,
        libc::SYS_mknodat,
        libc::SYS_linkat,
        libc::SYS_symlinkat,
        libc::SYS_unlinkat,
        libc::SYS_truncate,
    ];
    // On all architectures the same, and newer than what names them.
    const SYS_QUOTACTL_FD: i64 = 443;
    const SYS_FCHMODAT2: i64 = 452;
    const SYS_SETXATTRAT: i64 = 463;
    const SYS_REMOVEXATTRAT: i64 = 466;
    const SYS_OPEN_TREE_ATTR: i64 = 467;
    const SYS_FILE_SETATTR: i64 = 469;
    /// Another view of the files, and files by other means than their paths.
    const VIEWS: [i64; 16] = [
        SYS_OPEN_TREE_ATTR,
        libc::SYS_chroot,
        libc::SYS_pivot_root,
        libc::SYS_mount,
        libc::SYS_umount2,
        libc::SYS_open_tree,
        libc::SYS_move_mount,
        libc::SYS_mount_setattr,
        libc::SYS_fsopen,
        libc::SYS_fspick,
        libc::SYS_fsconfig,
        libc::SYS_fsmount,
        libc::SYS_setns,
        libc::SYS_unshare,
        libc::SYS_open_by_handle_at,
        libc::SYS_fanotify_init,
    ];
    const IDENTITY: [i64; 10] = [
        libc::SYS_setuid,
        libc::SYS_setgid,
        libc::SYS_setreuid,
        libc::SYS_setregid,
        libc::SYS_setresuid,
        libc::SYS_setresgid,
        libc::SYS_setfsuid,
        libc::SYS_setfsgid,
        libc::SYS_setgroups,
        libc::SYS_capset,
    ];
    /// The machine itself, and parts of the kernel that have let programs in.
    const MACHINE: [i64; 28] = [
        SYS_QUOTACTL_FD,
        libc::SYS_acct,
        libc::SYS_add_key,
        libc::SYS_adjtimex,
        libc::SYS_bpf,
        libc::SYS_clock_adjtime,
        libc::SYS_clock_settime,
        libc::SYS_delete_module,
        libc::SYS_finit_module,
        libc::SYS_init_module,
        libc::SYS_io_uring_enter,
        libc::SYS_io_uring_register,
        libc::SYS_io_uring_setup,
        libc::SYS_kexec_file_load,
        libc::SYS_kexec_load,
        libc::SYS_keyctl,
        libc::SYS_perf_event_open,
        libc::SYS_personality,
        libc::SYS_quotactl,
        libc::SYS_reboot,
        libc::SYS_request_key,
        libc::SYS_setdomainname,
        libc::SYS_sethostname,
        libc::SYS_settimeofday,
        libc::SYS_swapoff,
        libc::SYS_swapon,
        libc::SYS_syslog,
        libc::SYS_userfaultfd,
    ];
    /// What newer calls than these do.
    #[cfg(target_arch = "x86_64")]
    const OLD: [i64; 21] = [
        libc::SYS_fork,
        libc::SYS_vfork,
        libc::SYS_creat,
        libc::SYS_chmod,
        libc::SYS_chown,
        libc::SYS_lchown,
        libc::SYS_utime,
        libc::SYS_utimes,
        libc::SYS_futimesat,
        libc::SYS_mkdir,
        libc::SYS_rmdir,
        libc::SYS_mknod,
        libc::SYS_link,
        libc::SYS_symlink,
        libc::SYS_unlink,
        libc::SYS_rename,
        libc::SYS_renameat,
        libc::SYS_renameat2,
        libc::SYS_ioperm,
        libc::SYS_iopl,
        libc::SYS_modify_ldt,
    ];
    /// The first is `renameat`, where there is one.
    #[cfg(not(target_arch = "x86_64"))]
    const OLD: [i64; 2] = [38, libc::SYS_renameat2];

    // Of what the `libc` crate has no names for.
    const PRIO_PROCESS: u64 = 0;
    const IOPRIO_WHO_PROCESS: u64 = 1;
    const F_SETSIG: u64 = 10;
    const F_SETOWN_EX: u64 = 15;
    const FIOSETOWN: u64 = 0x8901;
    const SIOCSPGRP: u64 = 0x8902;

    /// Their arguments lie in memory, where a filter cannot see them. Programs take these for an older
    /// kernel's answer, and use what came before.
    const UNSEEN: [i64; 2] = [libc::SYS_clone3, libc::SYS_openat2];

    fn confine_calls(may_split: bool) -> Result<(), String> {
        for filter in filters(may_split).map_err(|error| error.to_string())? {
            apply_filter_all_threads(&filter).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// Filters of system calls, of which the strictest decides.
    fn filters(may_split: bool) -> Result<Vec<BpfProgram>, seccompiler::Error> {
        let mut denied: BTreeMap<i64, Vec<SeccompRule>> =
            [&PROCESSES[..], &SOCKETS, &SHARED, &FILES, &VIEWS, &IDENTITY, &MACHINE, &OLD]
                .concat()
                .into_iter()
                .map(|call| (call, Vec::new()))
                .chain(denied_in_part()?)
                .collect();
        if may_split {
            denied.remove(&libc::SYS_clone);
        }
        let unseen = UNSEEN.into_iter().map(|call| (call, Vec::new())).collect();
        let mut filters = vec![filter(denied, libc::EPERM)?, filter(unseen, libc::ENOSYS)?];
        if cfg!(target_arch = "x86_64") {
            filters.push(no_other_numbers());
        }
        Ok(filters)
    }

    fn filter(
        rules: BTreeMap<i64, Vec<SeccompRule>>,
        errno: libc::c_int,
    ) -> Result<BpfProgram, seccompiler::Error> {
        let arch = TargetArch::try_from(std::env::consts::ARCH)?;
        let denied = SeccompAction::Errno(errno as u32);
        Ok(SeccompFilter::new(rules, SeccompAction::Allow, denied, arch)?.try_into()?)
    }

    /// Calls that are denied with some arguments.
    fn denied_in_part() -> Result<Vec<(i64, Vec<SeccompRule>)>, seccompiler::Error> {
        use SeccompCmpArgLen::{Dword, Qword};
        use SeccompCmpOp::{Eq, MaskedEq, Ne};

        let own = getpid().as_raw_nonzero().get() as u64;
        let when = |conditions: &[(u8, SeccompCmpArgLen, SeccompCmpOp, u64)]| {
            let conditions = conditions.iter().cloned();
            let conditions: Result<Vec<_>, _> = conditions
                .map(|(index, len, operator, value)| SeccompCondition::new(index, len, operator, value))
                .collect();
            SeccompRule::new(conditions?)
        };
        // Of another process or thread.
        let of_another =
            || Ok::<_, seccompiler::Error>(vec![when(&[(0, Dword, Ne, 0), (0, Dword, Ne, own)])?]);
        let of_another_of = |process: u64| {
            let other_kind = when(&[(0, Dword, Ne, process)])?;
            Ok::<_, seccompiler::Error>(vec![other_kind, when(&[(1, Dword, Ne, 0), (1, Dword, Ne, own)])?])
        };
        let thread = libc::CLONE_THREAD as u64;
        let create = libc::O_CREAT as u64;
        let mut rules = vec![
            // Only threads.
            (libc::SYS_clone, vec![when(&[(0, Qword, MaskedEq(thread), 0)])?]),
            (libc::SYS_kill, vec![when(&[(0, Dword, Ne, own)])?]),
            (libc::SYS_tgkill, vec![when(&[(0, Dword, Ne, own)])?]),
            (libc::SYS_prlimit64, of_another()?),
            // Not on which processors another runs: with that call OpenMP places its threads, where it is told to, and ends
            // the process when it cannot.
            (libc::SYS_sched_setattr, of_another()?),
            (libc::SYS_sched_setparam, of_another()?),
            (libc::SYS_sched_setscheduler, of_another()?),
            // Their first argument says whether the second is a process, or a group, or all of a user.
            (libc::SYS_setpriority, of_another_of(PRIO_PROCESS)?),
            (libc::SYS_ioprio_set, of_another_of(IOPRIO_WHO_PROCESS)?),
            (libc::SYS_openat, vec![when(&[(2, Dword, MaskedEq(create), create)])?]),
            // A pair of the kind that cannot send elsewhere.
            (
                libc::SYS_socketpair,
                vec![
                    when(&[(0, Dword, Ne, libc::AF_UNIX as u64)])?,
                    when(&[(1, Dword, MaskedEq(0xf), libc::SOCK_DGRAM as u64)])?,
                    // Which the kernel takes for the same.
                    when(&[(1, Dword, MaskedEq(0xf), libc::SOCK_RAW as u64)])?,
                    when(&[(1, Dword, MaskedEq(0xf), libc::SOCK_SEQPACKET as u64)])?,
                ],
            ),
            (
                libc::SYS_prctl,
                vec![
                    when(&[(0, Dword, Eq, libc::PR_SET_DUMPABLE as u64)])?,
                    when(&[(0, Dword, Eq, libc::PR_SET_PTRACER as u64)])?,
                ],
            ),
            // Signals to whom one likes, when there is something to read.
            (
                libc::SYS_fcntl,
                vec![
                    when(&[(1, Dword, Eq, libc::F_SETOWN as u64)])?,
                    when(&[(1, Dword, Eq, F_SETSIG)])?,
                    when(&[(1, Dword, Eq, F_SETOWN_EX)])?,
                ],
            ),
            (
                libc::SYS_ioctl,
                vec![
                    when(&[(1, Dword, Eq, FIOSETOWN)])?,
                    when(&[(1, Dword, Eq, SIOCSPGRP)])?,
                    // Typing into the terminal that a worker may have been started in.
                    when(&[(1, Dword, Eq, libc::TIOCSTI)])?,
                ],
            ),
        ];
        #[cfg(target_arch = "x86_64")]
        rules.push((libc::SYS_open, vec![when(&[(1, Dword, MaskedEq(create), create)])?]));
        #[cfg(not(target_arch = "x86_64"))]
        rules.extend([]);
        Ok(rules)
    }

    /// Denies the calls of the x32 kind, which are the same ones under other numbers.
    fn no_other_numbers() -> BpfProgram {
        const X32: u32 = 0x4000_0000;
        let errno = u32::from(SeccompAction::Errno(libc::EPERM as u32));
        let instruction = |code: u32, jt, jf, k| sock_filter { code: code as u16, jt, jf, k };
        vec![
            // The call's number is what a filter gets first.
            instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
            instruction(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 0, 1, X32),
            instruction(libc::BPF_RET | libc::BPF_K, 0, 0, errno),
            instruction(libc::BPF_RET | libc::BPF_K, 0, 0, u32::from(SeccompAction::Allow)),
        ]
    }
}
