//! The allocator of a program that has pools.

use std::alloc::{GlobalAlloc, Layout, System};

/// The program's own allocator `A`. In a worker it is the system's in its place, which grows by
/// what is needed, so that a bound on memory can be counted, and a worker whose memory is used up
/// ends at once and says so, whatever a library would make of it.
///
/// ```
/// use std::alloc::System;
/// use maskline_sandbox::Allocator;
///
/// #[global_allocator]
/// static ALLOCATOR: Allocator<System> = Allocator(System);
/// ```
#[derive(Debug, Default)]
pub struct Allocator<A>(pub A);

// SAFETY: every call goes to the same of two allocators, because a process is a worker from its
// first allocation on or never, and both keep the promises of `GlobalAlloc`.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Allocator<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match is_worker() {
            // SAFETY: the caller keeps the promises, here and below.
            true => there(unsafe { System.alloc(layout) }),
            false => unsafe { self.0.alloc(layout) },
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        match is_worker() {
            true => there(unsafe { System.alloc_zeroed(layout) }),
            false => unsafe { self.0.alloc_zeroed(layout) },
        }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        match is_worker() {
            true => there(unsafe { System.realloc(old, layout, size) }),
            false => unsafe { self.0.realloc(old, layout, size) },
        }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        match is_worker() {
            true => unsafe { System.dealloc(memory, layout) },
            false => unsafe { self.0.dealloc(memory, layout) },
        }
    }
}

#[cfg(target_os = "linux")]
use crate::system::is_worker;

#[cfg(not(target_os = "linux"))]
const fn is_worker() -> bool {
    false
}

/// Ends a worker that gets no memory.
fn there(memory: *mut u8) -> *mut u8 {
    #[cfg(target_os = "linux")]
    if memory.is_null() {
        crate::system::exit_without_memory();
    }
    memory
}
