//! The checks that `/readyz` makes.

use std::{fmt, sync::Arc};

use futures::future::BoxFuture;

/// A check whether something that a service needs, such as a store, answers now.
#[derive(Clone)]
pub struct Probe {
    /// What is checked. `/readyz` names it when it does not answer.
    pub name: &'static str,
    check: Arc<dyn Fn() -> BoxFuture<'static, anyhow::Result<()>> + Send + Sync>,
}

impl Probe {
    /// A probe that calls `check` whenever somebody asks.
    pub fn new<F, Fut>(name: &'static str, check: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        Self {
            name,
            check: Arc::new(move || Box::pin(check())),
        }
    }

    /// Checks now. There is no time limit: the caller sets one.
    pub async fn check(&self) -> anyhow::Result<()> {
        (self.check)().await
    }
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Probe").field(&self.name).finish()
    }
}
