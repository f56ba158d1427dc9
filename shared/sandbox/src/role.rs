//! What a worker does.

/// A kind of worker. The pool and the worker find each other by its name.
#[derive(Debug)]
pub struct Role {
    /// The name, which `ps` shows.
    pub name: &'static str,
    /// Makes what a worker does from the pool's setup, once for each worker. The setup is from
    /// this program and can be trusted, and files can still be read here. The error is a
    /// sentence for the log.
    pub start: fn(setup: &[u8]) -> Started,
}

/// What a worker does, or the reason why it can't begin.
pub type Started = Result<Box<dyn Work>, String>;

/// What a worker does with its requests, one after the other.
pub trait Work: Send {
    /// The answer to a request. A panic counts as a crash.
    ///
    /// Before it takes more memory than [`Limits::unclaimed`](crate::Limits::unclaimed), it
    /// claims the whole of what it will take from `room`.
    fn answer(&mut self, request: &[u8], room: &mut dyn Room) -> Vec<u8>;
}

/// The memory that the workers of a pool share.
pub trait Room {
    /// Waits until this request may take so many bytes of memory beside
    /// [`Limits::unclaimed`](crate::Limits::unclaimed). More than
    /// [`Limits::claimed`](crate::Limits::claimed) is never given. A request claims once.
    fn claim(&mut self, bytes: u64);
}
