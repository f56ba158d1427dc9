//! Work on bytes from outside, done in worker processes where it can do no harm. This crate
//! knows nothing of what the bytes are.
//!
//! ```text
//! Pool ──request──▶ worker: this program, started again, with nothing but two pipes
//!      ◀─claim────   "I need so many bytes of memory"
//!      ──room─────▶  now there is room for them
//!      ◀─answer───
//! ```
//!
//! A worker has no file, no network, no secret and no thread but one, and a bound on memory,
//! processor time and time for each request. One that reaches a bound is killed, and the
//! request [fails](Failed) with it; the next request gets a new worker.
//!
//! * [`role`]: what a worker does.
//! * [`limits`]: the bounds of a request.
//! * [`pool`]: the workers of a program; [`parts`]: an answer that has bytes beside its JSON.
//! * [`serve_if_worker`]: what `main` calls first, because a worker is the same program.
//! * [`allocator`]: the program's allocator, which is another one in a worker.
//! * `process`: a worker as its pool sees it; `meter`: what a request has taken so far.
//! * `worker`, `confinement`: the worker itself, and how it gives up what it could do.
//! * `frame`: what goes through the pipes. `system`: calls of the C library.
//!
//! Elsewhere than on Linux, and in programs that do not call [`serve_if_worker`], such as
//! tests, the work is done in threads of the process, without these bounds.

pub mod allocator;
#[cfg(target_os = "linux")]
mod confinement;
#[cfg(target_os = "linux")]
mod frame;
mod in_process;
pub mod limits;
#[cfg(target_os = "linux")]
mod meter;
pub mod parts;
pub mod pool;
#[cfg(target_os = "linux")]
mod process;
pub mod role;
#[cfg(target_os = "linux")]
mod system;
#[cfg(target_os = "linux")]
mod worker;

pub use allocator::Allocator;
pub use limits::{Limit, Limits};
pub use pool::{Failed, Place, Pool};
pub use role::{Role, Room, Work};

/// Makes this process a worker if a [`Pool`] has started it as one, and does not return then.
/// The `main` function of a program that has pools calls this before anything else, because a
/// worker needs no flags, no runtime and no thread. `roles` are all that the program's pools
/// have.
pub fn serve_if_worker(roles: &[&Role]) {
    #[cfg(target_os = "linux")]
    worker::serve_if_worker(roles);
    #[cfg(not(target_os = "linux"))]
    let _ = roles;
}
