//! The worker itself: it begins, gives up what it could do, and answers requests until its pool
//! closes the pipe.

use std::{
    fs::{self, File},
    io,
    os::fd::AsFd,
    panic::{AssertUnwindSafe, catch_unwind},
    process::{abort, exit},
    sync::atomic::{AtomicBool, Ordering},
};

use rustix::{param::page_size, thread::set_name};

use crate::{
    confinement::{confine, leave_parent},
    frame::{self, Ready, Tag, nonsense},
    role::{Role, Room, Work},
    system::{self, VARIABLE},
};

/// Whether `main` has called [`serve_if_worker`], so that this program can be its own worker.
static CAN_SERVE: AtomicBool = AtomicBool::new(false);

/// Whether this program can be started again as a worker.
pub(crate) fn can_serve() -> bool {
    CAN_SERVE.load(Ordering::Relaxed)
}

pub(crate) fn serve_if_worker(roles: &[&Role]) {
    match std::env::var(system::variable()) {
        Err(_) => CAN_SERVE.store(true, Ordering::Relaxed),
        Ok(name) => exit(match serve(&name, roles) {
            Ok(()) => 0,
            // The pool sees that the pipe is closed, and nobody reads anything else from here.
            Err(_) => 1,
        }),
    }
}

/// The two ends of the pipes that the worker has.
struct Pipes {
    requests: File,
    answers: File,
}

fn serve(name: &str, roles: &[&Role]) -> io::Result<()> {
    let mut missing = leave_parent()?;
    // A panic is a crash, which the pool sees. Nobody reads what is printed here.
    std::panic::set_hook(Box::new(|_| {}));
    let _ = set_name(c"maskline-worker");
    let mut pipes = Pipes {
        requests: File::from(io::stdin().as_fd().try_clone_to_owned()?),
        answers: File::from(io::stdout().as_fd().try_clone_to_owned()?),
    };
    let Some(setup) = frame::read(&mut pipes.requests, Tag::Setup)? else {
        return Ok(());
    };
    let (kept, setup) = setup
        .split_first_chunk()
        .ok_or_else(|| nonsense("no setup"))?;
    system::keep_heap(u64::from_le_bytes(*kept));
    // Libraries ask rayon for threads, and a worker may start none: this one is all there are.
    let one = rayon::ThreadPoolBuilder::new().num_threads(1);
    one.use_current_thread()
        .build_global()
        .map_err(io::Error::other)?;
    let begun = begin(name, roles, setup).and_then(|work| {
        let idle_data = idle_data().map_err(|error| format!("/proc/self/statm: {error}"))?;
        missing.extend(confine().map_err(|error| error.to_string())?);
        let ready = Ready { idle_data, missing };
        Ok((
            work,
            serde_json::to_vec(&ready).map_err(|error| error.to_string())?,
        ))
    });
    let mut work = match begun {
        Ok((work, ready)) => {
            frame::write(&mut pipes.answers, Tag::Ready, &ready)?;
            work
        }
        Err(problem) => return frame::write(&mut pipes.answers, Tag::Failed, problem.as_bytes()),
    };
    while let Some(request) = frame::read(&mut pipes.requests, Tag::Request)? {
        let answer = catch_unwind(AssertUnwindSafe(|| work.answer(&request, &mut pipes)));
        let answer = answer.unwrap_or_else(|_| abort());
        drop(request);
        frame::write(&mut pipes.answers, Tag::Answer, &answer)?;
    }
    Ok(())
}

fn begin(name: &str, roles: &[&Role], setup: &[u8]) -> Result<Box<dyn Work>, String> {
    let role = roles.iter().find(|role| role.name == name);
    let role = role.ok_or_else(|| {
        let variable = VARIABLE.to_string_lossy();
        format!("this program has no workers of the role {name:?}, which {variable} names")
    })?;
    catch_unwind(|| (role.start)(setup)).unwrap_or_else(|_| Err("a panic".to_owned()))
}

/// The bytes of memory that the kernel counts as this process's data, see proc(5).
fn idle_data() -> io::Result<u64> {
    let statm = fs::read_to_string("/proc/self/statm")?;
    let pages = statm
        .split(' ')
        .nth(5)
        .and_then(|pages| pages.trim().parse::<u64>().ok());
    let pages = pages.ok_or_else(|| nonsense("no number of pages"))?;
    Ok(pages * page_size() as u64)
}

impl Room for Pipes {
    fn claim(&mut self, bytes: u64) {
        let asked = frame::write(&mut self.answers, Tag::Claim, &bytes.to_le_bytes());
        let given = asked.and_then(|()| frame::read(&mut self.requests, Tag::Room));
        // Without its pool there is nothing more to do.
        if !matches!(given, Ok(Some(_))) {
            exit(1);
        }
    }
}
