//! A worker as its pool sees it: a process, its pipes, and what its memory is bounded to.

use std::{io, os::unix::process::ExitStatusExt, path::PathBuf, process::Stdio, time::Duration};

use maskline_foundation::ByteBudget;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use tokio::{
    io::BufReader,
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

use crate::{
    Failed, Limit, Limits, Role,
    frame::{self, Ready, Tag},
    meter::Meter,
    system::{self, OUT_OF_MEMORY, ProcessorClock},
};

/// How long a worker may take to begin. It reads its program from the disk meanwhile.
const BEGINS_WITHIN: Duration = Duration::from_secs(60);

/// How long a worker that has closed its pipes may take to end.
const ENDS_WITHIN: Duration = Duration::from_secs(1);

/// A running worker. It is killed when this is dropped.
pub(crate) struct Process {
    child: Child,
    id: u32,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
    clock: ProcessorClock,
    /// What the kernel counted as its data before the first request, and what it keeps since.
    idle_data: u64,
    /// The number of requests that it has answered.
    pub(crate) answered: u32,
    /// What it could not give up.
    pub(crate) missing: Vec<String>,
}

/// What a new worker is started from.
pub(crate) struct Start {
    /// The program, which calls [`serve_if_worker`](crate::serve_if_worker) first.
    pub(crate) program: PathBuf,
    pub(crate) role: &'static Role,
    pub(crate) setup: Vec<u8>,
    /// The bytes of freed memory that it keeps.
    pub(crate) kept: u64,
}

impl Process {
    pub(crate) async fn start(start: &Start) -> Result<Self, String> {
        let mut command = Command::new(&start.program);
        command
            .env_clear()
            .env(system::variable(), start.role.name)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        // The kernel ends a worker with the thread that has started it. A task of its own runs on
        // a thread that lives as long as the runtime, wherever this is called from.
        let spawned = tokio::spawn(async move { command.spawn() }).await;
        let spawned = spawned.map_err(|error| error.to_string())?;
        let mut child =
            spawned.map_err(|error| format!("the program can't be started: {error}"))?;
        let id = child.id().ok_or("it ended at once")?;
        let text = |error: io::Error| error.to_string();
        let mut process = Self {
            requests: child.stdin.take().ok_or("it has no pipe")?,
            answers: BufReader::new(child.stdout.take().ok_or("it has no pipe")?),
            clock: ProcessorClock::of(id).map_err(text)?,
            child,
            id,
            idle_data: 0,
            answered: 0,
            missing: vec![],
        };
        let begun = timeout(BEGINS_WITHIN, process.begin(start)).await;
        begun.map_err(|_| format!("it did not begin within {BEGINS_WITHIN:?}"))??;
        Ok(process)
    }

    async fn begin(&mut self, start: &Start) -> Result<(), String> {
        let setup = [&start.kept.to_le_bytes()[..], &start.setup].concat();
        let exchanged = async {
            frame::send(&mut self.requests, Tag::Setup, &setup).await?;
            frame::receive(&mut self.answers, 1 << 16).await
        };
        match exchanged.await {
            Ok((Tag::Ready, ready)) => {
                let ready: Ready = serde_json::from_slice(&ready).map_err(|e| e.to_string())?;
                self.idle_data = ready.idle_data + start.kept;
                self.missing = ready.missing;
                Ok(())
            }
            Ok((Tag::Failed, problem)) => Err(String::from_utf8_lossy(&problem).into_owned()),
            Ok(_) => Err("it began with something else".to_owned()),
            Err(_) => Err(match self.child.wait().await {
                Ok(status) => format!("it ended with {status}"),
                Err(error) => error.to_string(),
            }),
        }
    }

    /// Whether it can take a request.
    pub(crate) fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Has a request answered. Memory that it claims comes out of `memory`. After an error this
    /// is of no more use.
    pub(crate) async fn ask(
        &mut self,
        request: &[u8],
        limits: &Limits,
        memory: &ByteBudget,
    ) -> Result<Vec<u8>, Failed> {
        let mut bound = limits.unclaimed;
        let own = request.len() as u64;
        self.bound_data(own + bound)?;
        let mut meter = Meter::start(self.clock);
        let mut room = None;
        let sending = frame::send(&mut self.requests, Tag::Request, request);
        let sent = meter.wait(limits, sending).await?;
        if sent.is_err() {
            return Err(self.failed(bound).await);
        }
        loop {
            let receiving = frame::receive(&mut self.answers, limits.answer);
            match meter.wait(limits, receiving).await? {
                Ok((Tag::Answer, answer)) => {
                    self.answered += 1;
                    return Ok(answer);
                }
                Ok((Tag::Claim, bytes)) if room.is_none() => {
                    let bytes = bytes
                        .first_chunk()
                        .map_or(0, |bytes| u64::from_le_bytes(*bytes));
                    let bytes = bytes.min(limits.claimed);
                    // The others have what it waits for, so this is no time of the request's.
                    room = Some(memory.room(bytes).await);
                    bound += bytes;
                    self.bound_data(own + bound)?;
                    if frame::send(&mut self.requests, Tag::Room, &[])
                        .await
                        .is_err()
                    {
                        return Err(self.failed(bound).await);
                    }
                }
                // Nothing of ours says anything else.
                Ok(_) => return Err(Failed::Crashed { signal: None }),
                Err(_) => return Err(self.failed(bound).await),
            }
        }
    }

    /// Lets the worker take so many bytes of memory beside what it has when it is idle.
    fn bound_data(&self, bytes: u64) -> Result<(), Failed> {
        let most = getrlimit(Resource::Data).maximum;
        let wanted = self.idle_data.saturating_add(bytes);
        let limit = Rlimit {
            current: Some(most.map_or(wanted, |most| wanted.min(most))),
            maximum: most,
        };
        let process = i32::try_from(self.id).ok().and_then(Pid::from_raw);
        match prlimit(process, Resource::Data, limit) {
            // It has ended, which the pipes tell.
            Ok(_) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(Failed::NotStarted(format!(
                "its memory can't be bounded: {error}"
            ))),
        }
    }

    /// Why the worker has closed its pipes. `bound` is the memory that the request had.
    async fn failed(&mut self, bound: u64) -> Failed {
        let ended = timeout(ENDS_WITHIN, self.child.wait()).await;
        match ended {
            Ok(Ok(status)) if status.code() == Some(OUT_OF_MEMORY) => {
                Failed::TooCostly(Limit::Memory(bound))
            }
            Ok(Ok(status)) => Failed::Crashed {
                signal: status.signal(),
            },
            Ok(Err(_)) | Err(_) => Failed::Crashed { signal: None },
        }
    }
}
