//! Work that is done in threads of this process, where there are no workers.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use maskline_foundation::{ByteBudget, ByteRoom};
use parking_lot::Mutex;
use tokio::{runtime::Handle, sync::OwnedSemaphorePermit, task::spawn_blocking};

use crate::{Failed, Role, Room, Work};

/// What takes the place of workers.
pub(crate) struct Threads {
    role: &'static Role,
    setup: Vec<u8>,
    idle: Mutex<Vec<Box<dyn Work>>>,
}

impl Threads {
    pub(crate) fn new(role: &'static Role, setup: Vec<u8>) -> Self {
        Self {
            role,
            setup,
            idle: Mutex::default(),
        }
    }

    /// Makes what answers one request at a time, unless there is one that is idle.
    pub(crate) fn begin(&self) -> Result<Box<dyn Work>, Failed> {
        let idle = self.idle.lock().pop();
        match idle {
            Some(work) => Ok(work),
            None => (self.role.start)(&self.setup).map_err(Failed::NotStarted),
        }
    }

    pub(crate) fn give_back(&self, work: Box<dyn Work>) {
        self.idle.lock().push(work);
    }

    /// Has a request answered by a thread, which goes on with it whoever waits, and holds `place`
    /// meanwhile.
    pub(crate) async fn ask(
        &self,
        request: Bytes,
        memory: &ByteBudget,
        place: OwnedSemaphorePermit,
    ) -> Result<Vec<u8>, Failed> {
        let mut work = self.begin()?;
        let mut room = SharedRoom {
            memory: memory.clone(),
            runtime: Handle::current(),
            given: None,
        };
        let answered = spawn_blocking(move || {
            let _place = place;
            let answer = catch_unwind(AssertUnwindSafe(|| work.answer(&request, &mut room)));
            answer.map(|answer| (answer, work))
        });
        match answered.await {
            Ok(Ok((answer, work))) => {
                self.give_back(work);
                Ok(answer)
            }
            Ok(Err(_)) | Err(_) => Err(Failed::Crashed { signal: None }),
        }
    }
}

struct SharedRoom {
    memory: ByteBudget,
    runtime: Handle,
    given: Option<ByteRoom>,
}

impl Room for SharedRoom {
    fn claim(&mut self, bytes: u64) {
        let room = self.runtime.block_on(self.memory.room(bytes));
        self.given = Some(room);
    }
}
