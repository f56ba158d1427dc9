//! The workers of one role that a program has.

use std::{path::PathBuf, sync::Arc, thread::available_parallelism};

use bytes::Bytes;
use maskline_foundation::ByteBudget;
use thiserror::Error;
use tokio::sync::Semaphore;

use crate::{Limit, Limits, Role, in_process::Threads};

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Failed {
    /// The request reached this limit.
    #[error("it takes more than {0}")]
    TooCostly(Limit),
    /// The worker died of the request, by this signal if it was one.
    #[error("the worker crashed{}", signal.map(|signal| format!(" (signal {signal})")).unwrap_or_default())]
    Crashed { signal: Option<i32> },
    /// There is no worker, which is no fault of the request's.
    #[error("no worker can be started: {0}")]
    NotStarted(String),
}

impl From<Limit> for Failed {
    fn from(limit: Limit) -> Self {
        Self::TooCostly(limit)
    }
}

/// This says where the work is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In workers, which are this program.
    ThisProgram,
    /// In workers, which are another program of the same roles.
    Program(PathBuf),
    /// In threads of this process, without bounds but that on claimed memory.
    InProcess,
}

impl Default for Place {
    /// In workers if this program can be one, else in threads.
    fn default() -> Self {
        #[cfg(target_os = "linux")]
        if crate::worker::can_serve() {
            return Self::ThisProgram;
        }
        Self::InProcess
    }
}

/// Workers of one role. They are started when they are needed, and live long. Clones share them.
#[derive(Clone)]
pub struct Pool(Arc<Shared>);

struct Shared {
    limits: Limits,
    workers: usize,
    memory: ByteBudget,
    places: Arc<Semaphore>,
    engine: Engine,
}

enum Engine {
    #[cfg(target_os = "linux")]
    Processes(workers::Workers),
    Threads(Threads),
}

impl Pool {
    /// A pool with a worker for each core. `setup` is what its workers begin with.
    pub fn new(role: &'static Role, setup: Vec<u8>, limits: Limits, place: Place) -> Self {
        let workers = available_parallelism().map_or(1, usize::from);
        let engine = match place {
            #[cfg(target_os = "linux")]
            Place::ThisProgram => Engine::Processes(workers::Workers::new(
                // This stays the same program when another version of it is installed.
                "/proc/self/exe".into(),
                role,
                setup,
                workers,
            )),
            #[cfg(target_os = "linux")]
            Place::Program(program) => {
                Engine::Processes(workers::Workers::new(program, role, setup, workers))
            }
            _ => Engine::Threads(Threads::new(role, setup)),
        };
        Self(Arc::new(Shared {
            limits,
            workers,
            memory: ByteBudget::new(limits.claimed),
            places: Arc::new(Semaphore::new(workers)),
            engine,
        }))
    }

    /// The number of requests that are answered at the same time.
    pub fn workers(&self) -> usize {
        self.0.workers
    }

    /// Starts a worker, so that an error comes before the first request.
    pub async fn warm_up(&self) -> Result<(), Failed> {
        match &self.0.engine {
            #[cfg(target_os = "linux")]
            Engine::Processes(workers) => {
                let worker = workers.take().await?;
                workers.give_back(worker);
            }
            Engine::Threads(threads) => {
                let work = threads.begin()?;
                threads.give_back(work);
            }
        }
        Ok(())
    }

    /// Has a request answered. If the future is dropped, the worker is killed: it would go on with
    /// what nobody waits for.
    pub async fn ask(&self, request: Bytes) -> Result<Vec<u8>, Failed> {
        let Shared {
            limits,
            memory,
            places,
            engine,
            ..
        } = &*self.0;
        let place = places.clone().acquire_owned().await.expect("never closed");
        match engine {
            #[cfg(target_os = "linux")]
            Engine::Processes(workers) => {
                let mut worker = workers.take().await?;
                let answer = worker.ask(&request, limits, memory).await?;
                workers.give_back(worker);
                drop(place);
                Ok(answer)
            }
            Engine::Threads(threads) => threads.ask(request, memory, place).await,
        }
    }
}

#[cfg(target_os = "linux")]
mod workers {
    use std::{path::PathBuf, sync::Once};

    use parking_lot::Mutex;

    use super::Failed;
    use crate::{
        Role,
        process::{Process, Start},
    };

    /// The freed memory that all workers of a pool together keep, in bytes.
    const KEPT: u64 = 48 << 20;

    /// The number of requests after which a worker is replaced, so that nothing adds up that a
    /// library keeps.
    const MOST_REQUESTS: u32 = 1000;

    /// The workers that wait for a request.
    pub(super) struct Workers {
        start: Start,
        idle: Mutex<Vec<Process>>,
    }

    impl Workers {
        pub(super) fn new(
            program: PathBuf,
            role: &'static Role,
            setup: Vec<u8>,
            workers: usize,
        ) -> Self {
            let kept = KEPT / workers as u64;
            Self {
                start: Start {
                    program,
                    role,
                    setup,
                    kept,
                },
                idle: Mutex::default(),
            }
        }

        /// A worker that is idle, or a new one.
        pub(super) async fn take(&self) -> Result<Process, Failed> {
            loop {
                let idle = self.idle.lock().pop();
                let Some(mut worker) = idle else {
                    break;
                };
                if worker.is_alive() {
                    return Ok(worker);
                }
            }
            let worker = Process::start(&self.start).await;
            let worker = worker.map_err(Failed::NotStarted)?;
            log_once(&worker.missing);
            Ok(worker)
        }

        pub(super) fn give_back(&self, worker: Process) {
            if worker.answered < MOST_REQUESTS {
                self.idle.lock().push(worker);
            }
        }
    }

    /// Says in the log what the workers of this process could not give up.
    fn log_once(missing: &[String]) {
        static LOGGED: Once = Once::new();
        LOGGED.call_once(|| match missing {
            [] => tracing::debug!("workers have no files, no network and no other system calls"),
            missing => tracing::warn!(
                missing = missing.join(", "),
                "workers are not confined as well as they could be on another kernel"
            ),
        });
    }
}
