//! Calls of the C library for which no library of ours has a safe function.

use std::{
    ffi::CStr,
    io,
    sync::atomic::{AtomicU8, Ordering},
    time::Duration,
};

/// The variable by which a process knows that it is a worker, and of which role. It is the only
/// one that a worker has.
pub(crate) const VARIABLE: &CStr = c"MASKLINE_SANDBOXED_WORKER";

/// The same as the standard library has it.
pub(crate) fn variable() -> &'static str {
    VARIABLE.to_str().expect("a name of ASCII letters")
}

/// Whether this process is a worker. The answer is the same from the first allocation on.
pub(crate) fn is_worker() -> bool {
    const UNKNOWN: u8 = 0;
    const NO: u8 = 1;
    const YES: u8 = 2;
    static ANSWER: AtomicU8 = AtomicU8::new(UNKNOWN);
    match ANSWER.load(Ordering::Relaxed) {
        UNKNOWN => {
            // SAFETY: the name ends with a zero. This runs before `main`, for the first
            // allocation of the standard library, when nobody changes the environment.
            let variable = unsafe { libc::getenv(VARIABLE.as_ptr()) };
            let answer = if variable.is_null() { NO } else { YES };
            ANSWER.store(answer, Ordering::Relaxed);
            answer == YES
        }
        answer => answer == YES,
    }
}

/// Ends a worker whose memory is used up, from within its allocator.
pub(crate) fn exit_without_memory() -> ! {
    // SAFETY: this needs no memory and runs nothing of the program.
    unsafe { libc::_exit(OUT_OF_MEMORY) }
}

/// The exit code of a worker that has used up its memory.
pub(crate) const OUT_OF_MEMORY: i32 = 86;

/// Closes all descriptors but the standard ones.
pub(crate) fn close_inherited() -> io::Result<()> {
    // SAFETY: nothing has opened a descriptor in this process yet.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, 0u32) };
    match closed {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Ignores the signals that a terminal or a service manager sends to all processes together. The
/// pool decides when a worker ends.
pub(crate) fn ignore_signals() {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT] {
        // SAFETY: no function of ours runs in a signal handler.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// Makes glibc keep so many bytes of freed memory, so that the kernel need not clear fresh pages
/// for each request, and give back the rest.
pub(crate) fn keep_heap(bytes: u64) {
    #[cfg(target_env = "gnu")]
    {
        /// The most that glibc allows. Larger buffers are mapped and given back.
        const MAPPED_FROM: libc::c_int = 32 << 20;
        const GROWS_BY: libc::c_int = 1 << 20;
        let kept = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
        // SAFETY: these set numbers in the allocator while there is no other thread.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_FROM);
            libc::mallopt(libc::M_TRIM_THRESHOLD, kept);
            libc::mallopt(libc::M_TOP_PAD, GROWS_BY);
        }
    }
    #[cfg(not(target_env = "gnu"))]
    let _ = bytes;
}

/// The clock of the processor time that a process takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ProcessorClock(libc::clockid_t);

impl ProcessorClock {
    /// The clock of the process of this id.
    pub(crate) fn of(process: u32) -> io::Result<Self> {
        let process = libc::pid_t::try_from(process).map_err(io::Error::other)?;
        let mut clock = 0;
        // SAFETY: the clock is written to a variable that is there.
        match unsafe { libc::clock_getcpuclockid(process, &raw mut clock) } {
            0 => Ok(Self(clock)),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }

    /// The time that the process has taken. It is zero once the process has ended.
    pub(crate) fn now(self) -> Duration {
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: the time is written to a variable that is there.
        match unsafe { libc::clock_gettime(self.0, &raw mut time) } {
            0 => Duration::new(time.tv_sec as u64, time.tv_nsec as u32),
            _ => Duration::ZERO,
        }
    }
}
