//! How a worker gives up what it could do, so that nobody who takes it over by a file can do more
//! than give a wrong answer.

use std::{collections::BTreeMap, fs, io};

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetStatus,
    Scope,
};
use rustix::{
    process::{
        DumpableBehavior, Resource, Rlimit, Signal, set_dumpable_behavior,
        set_parent_process_death_signal, setrlimit,
    },
    thread::set_no_new_privs,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

use crate::system;

/// A limit under which there is nothing.
const NONE: Rlimit = Rlimit {
    current: Some(0),
    maximum: Some(0),
};

/// The first step, before a worker reads anything: nothing of its parent is left to it, it ends
/// with its parent, and signals that are for its parent do not reach it. Returns what could not
/// be done.
pub(crate) fn leave_parent() -> io::Result<Vec<String>> {
    system::ignore_signals();
    set_parent_process_death_signal(Some(Signal::KILL))?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    set_no_new_privs(true)?;
    for resource in [Resource::Core, Resource::Fsize] {
        setrlimit(resource, NONE)?;
    }
    Ok(match system::close_inherited() {
        Ok(()) => vec![],
        Err(error) => vec![format!("closing inherited files ({error})")],
    })
}

/// The last step, before a worker reads a request. Returns what could not be done.
///
/// # Errors
/// If a limit can't be set, or if there is another thread, which would keep its rights.
pub(crate) fn confine() -> io::Result<Vec<String>> {
    let threads = fs::read_dir("/proc/self/task")?.count();
    if threads != 1 {
        return Err(io::Error::other(format!(
            "a worker has one thread, and this one has {threads}"
        )));
    }
    let mut missing = vec![];
    // This opens a descriptor, and so comes before the limit on them.
    if let Err(problem) = give_up_files_and_network() {
        missing.push(format!("Landlock ({problem})"));
    }
    // No descriptor can be opened and no thread be started any more, whatever the kernel knows of
    // the other steps.
    for resource in [Resource::Nofile, Resource::Nproc] {
        setrlimit(resource, NONE)?;
    }
    if let Err(problem) = give_up_system_calls() {
        missing.push(format!("seccomp ({problem})"));
    }
    Ok(missing)
}

/// Landlock: no file can be opened, no port bound or connected to, and no signal or message be
/// sent to another process. An older kernel knows a part of that.
fn give_up_files_and_network() -> Result<(), String> {
    const NEWEST: ABI = ABI::V6;
    let restricted = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))
        .and_then(|rules| rules.handle_access(AccessNet::from_all(NEWEST)))
        .and_then(|rules| rules.scope(Scope::from_all(NEWEST)))
        .and_then(|rules| rules.create())
        .and_then(|rules| rules.restrict_self())
        .map_err(|error| error.to_string())?;
    match restricted.ruleset {
        RulesetStatus::NotEnforced => Err("this kernel does not have it".to_owned()),
        _ => Ok(()),
    }
}

/// seccomp: all system calls fail that are not needed to compute, to take memory and to use what
/// is open.
fn give_up_system_calls() -> Result<(), String> {
    let text = |error: seccompiler::BackendError| error.to_string();
    let architecture = TargetArch::try_from(std::env::consts::ARCH).map_err(text)?;
    let denied = SeccompAction::Errno(libc::EPERM as u32);
    let filter = SeccompFilter::new(
        rules().map_err(text)?,
        denied,
        SeccompAction::Allow,
        architecture,
    );
    let filter: BpfProgram = filter.and_then(TryInto::try_into).map_err(text)?;
    seccompiler::apply_filter(&filter).map_err(|error| error.to_string())
}

/// The system calls that are left, each with the rules of which one has to hold, if there are any.
fn rules() -> Result<BTreeMap<i64, Vec<SeccompRule>>, seccompiler::BackendError> {
    const ALWAYS: [i64; 22] = [
        libc::SYS_read,
        libc::SYS_write,
        libc::SYS_close,
        libc::SYS_brk,
        libc::SYS_munmap,
        libc::SYS_mremap,
        libc::SYS_madvise,
        libc::SYS_futex,
        libc::SYS_sched_yield,
        libc::SYS_sched_getaffinity,
        libc::SYS_getrandom,
        libc::SYS_clock_gettime,
        libc::SYS_clock_nanosleep,
        libc::SYS_rt_sigaction,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigreturn,
        libc::SYS_sigaltstack,
        libc::SYS_restart_syscall,
        libc::SYS_getpid,
        libc::SYS_gettid,
        libc::SYS_exit,
        libc::SYS_exit_group,
    ];
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        ALWAYS.into_iter().map(|call| (call, vec![])).collect();
    let without = |argument: u8, bits: libc::c_int| {
        let bits = bits as u64;
        SeccompCondition::new(
            argument,
            SeccompCmpArgLen::Dword,
            SeccompCmpOp::MaskedEq(bits),
            0,
        )
    };
    // Memory is never run as code, and never shared: a bound on memory does not count what is.
    let private_data = vec![without(2, libc::PROT_EXEC)?, without(3, libc::MAP_SHARED)?];
    rules.insert(libc::SYS_mmap, vec![SeccompRule::new(private_data)?]);
    let data = vec![without(2, libc::PROT_EXEC)?];
    rules.insert(libc::SYS_mprotect, vec![SeccompRule::new(data)?]);
    // A worker that aborts sends a signal to itself.
    let itself = SeccompCondition::new(
        0,
        SeccompCmpArgLen::Dword,
        SeccompCmpOp::Eq,
        std::process::id().into(),
    );
    rules.insert(libc::SYS_tgkill, vec![SeccompRule::new(vec![itself?])?]);
    Ok(rules)
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::ErrorKind, net::UdpSocket, thread};

    use super::*;

    /// Each of the two ways restricts the thread that takes it, and no other of this process.
    fn in_a_thread(work: impl FnOnce() + Send + 'static) {
        thread::spawn(work).join().expect("the thread ends");
    }

    #[test]
    fn landlock_alone_denies_files() {
        in_a_thread(|| match give_up_files_and_network() {
            Ok(()) => {
                let opened = File::open("/proc/self/status").map_err(|error| error.kind());
                assert_eq!(opened.err(), Some(ErrorKind::PermissionDenied));
                assert!(fs::read_dir("/").is_err());
            }
            Err(problem) => assert!(problem.contains("does not have it"), "{problem}"),
        });
        assert!(File::open("/proc/self/status").is_ok());
    }

    #[test]
    fn seccomp_alone_denies_files_and_sockets_and_leaves_memory() {
        in_a_thread(|| {
            give_up_system_calls().expect("a kernel with seccomp");
            let opened = File::open("/proc/self/status").map_err(|error| error.kind());
            assert_eq!(opened.err(), Some(ErrorKind::PermissionDenied));
            let bound = UdpSocket::bind("127.0.0.1:0").map_err(|error| error.kind());
            assert_eq!(bound.err(), Some(ErrorKind::PermissionDenied));
            assert_eq!(
                vec![7u8; 64 << 20]
                    .iter()
                    .map(|byte| u64::from(*byte))
                    .max(),
                Some(7)
            );
        });
        assert!(UdpSocket::bind("127.0.0.1:0").is_ok());
    }
}
