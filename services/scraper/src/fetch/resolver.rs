//! Resolving names to addresses that may be asked.
//!
//! The client connects to the very addresses that passed here. So a name that resolves to
//! something else a moment later (DNS rebinding) gains nothing.

use std::{net::SocketAddr, sync::Arc};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use thiserror::Error;

use super::address::is_public;

/// A host has only addresses that a crawler may not ask.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{host} does not have a public address: start the services with `maskline run \
     --allow-private-hosts` to fetch from this machine or its network"
)]
pub(super) struct NotPublic {
    pub(super) host: String,
}

/// Resolves names with `inner` and lets only public addresses through, unless
/// `allow_private`.
pub(super) struct PublicOnlyResolver {
    inner: Arc<dyn Resolve>,
    allow_private: bool,
}

impl PublicOnlyResolver {
    pub(super) fn new(inner: Arc<dyn Resolve>, allow_private: bool) -> Self {
        Self {
            inner,
            allow_private,
        }
    }
}

impl Resolve for PublicOnlyResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let host = name.as_str().to_owned();
        let resolving = self.inner.resolve(name);
        let allow_private = self.allow_private;
        Box::pin(async move {
            let mut addresses: Vec<SocketAddr> = resolving.await?.collect();
            let has_any = !addresses.is_empty();
            addresses.retain(|address| allow_private || is_public(address.ip()));
            if addresses.is_empty() && has_any {
                return Err(NotPublic { host }.into());
            }
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

/// The operating system's resolver.
pub(super) struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let addresses: Vec<_> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    /// Answers with the next of a list of addresses each time it is asked.
    struct Changing(parking_lot::Mutex<Vec<IpAddr>>);

    impl Resolve for Changing {
        fn resolve(&self, _: Name) -> Resolving {
            let next = self.0.lock().remove(0);
            let addrs: Addrs = Box::new(std::iter::once(SocketAddr::new(next, 0)));
            Box::pin(async move { Ok(addrs) })
        }
    }

    #[tokio::test]
    async fn a_name_that_turns_private_is_refused_when_it_does() {
        let addresses = vec!["8.8.8.8".parse().unwrap(), "127.0.0.1".parse().unwrap()];
        let changing = Arc::new(Changing(parking_lot::Mutex::new(addresses)));
        let resolver = PublicOnlyResolver::new(changing, false);
        let name: Name = "rebind.example".parse().unwrap();

        let first: Vec<_> = resolver.resolve(name).await.unwrap().collect();
        assert_eq!(first, ["8.8.8.8:0".parse().unwrap()]);

        let name: Name = "rebind.example".parse().unwrap();
        let Err(error) = resolver.resolve(name).await else {
            panic!("a loopback address passed");
        };
        assert_eq!(
            error.downcast_ref(),
            Some(&NotPublic {
                host: "rebind.example".to_owned()
            })
        );
    }
}
