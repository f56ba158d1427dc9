//! Which addresses may be asked: only public ones, unless the operator says otherwise.
//!
//! A list of URLs is somebody else's text. Without this check it could make the
//! scraper ask its own host, the neighbours in its network or a cloud's metadata
//! service. Names are checked where they are resolved, and the connection is made
//! to the very addresses that passed, so a name that resolves to something else a
//! moment later (DNS rebinding) gains nothing.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use maskline_messages::{Reason, shown};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use thiserror::Error;
use url::{Host, Url};

/// The address is not one that a crawler may ask.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0} is not a public address (--allow-private-hosts lets it through)")]
pub struct Refused(pub String);

/// Whether the address is reachable from everywhere, by the IANA registries of
/// special-purpose addresses (RFC 6890 and what was added since).
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let special = matches!(
        address.octets(),
        [0, ..]                     // this network
            | [10, ..]              // private
            | [100, 64..=127, ..]   // shared by carriers' NAT
            | [127, ..]             // loopback
            | [169, 254, ..]        // link-local, and clouds' metadata
            | [172, 16..=31, ..]    // private
            | [192, 0, 0, _]        // protocol assignments
            | [192, 0, 2, _]        // documentation
            | [192, 88, 99, _]      // 6to4 relays, deprecated
            | [192, 168, ..]        // private
            | [198, 18..=19, ..]    // benchmarks
            | [198, 51, 100, _]     // documentation
            | [203, 0, 113, _]      // documentation
            | [224..=255, ..] // multicast, reserved, broadcast
    );
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    if let Some(v4) = address.to_ipv4_mapped() {
        return is_public_v4(v4);
    }
    let segments = address.segments();
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match segments {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => embedded(high, low), // NAT64
        [0x2002, high, low, ..] => embedded(high, low),               // 6to4
        [0x2001, 0..=0x1ff, ..] => false, // protocol assignments, Teredo, ORCHID
        [0x2001, 0xdb8, ..] => false,     // documentation
        [0x3fff, 0..=0xfff, ..] => false, // documentation
        // Everything else that is global unicast today. Loopback, unspecified,
        // unique local, link-local, site-local and multicast lie outside.
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

/// Refuses other schemes than http(s) and, unless `allow_private`, hosts written
/// as an address that is not public. Names are checked by [`PublicOnly`].
pub fn check(url: &Url, allow_private: bool) -> Result<(), Reason> {
    let refused = || Reason::RefusedAddress {
        address: shown(url),
    };
    if !matches!(url.scheme(), "http" | "https") {
        return Err(refused());
    }
    let public = match url.host() {
        Some(Host::Ipv4(v4)) => is_public(v4.into()),
        Some(Host::Ipv6(v6)) => is_public(v6.into()),
        Some(Host::Domain(_)) => true,
        None => return Err(refused()),
    };
    if public || allow_private {
        Ok(())
    } else {
        Err(refused())
    }
}

/// At most `most` characters of `text`, with an ellipsis where some were cut.
pub fn shortened(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Resolves names with `inner` and lets only public addresses through, unless
/// `allow_private`.
pub struct PublicOnly {
    inner: Arc<dyn Resolve>,
    allow_private: bool,
}

impl PublicOnly {
    pub fn new(inner: Arc<dyn Resolve>, allow_private: bool) -> Self {
        Self {
            inner,
            allow_private,
        }
    }
}

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        let host = name.as_str().to_owned();
        let resolving = self.inner.resolve(name);
        let allow_private = self.allow_private;
        Box::pin(async move {
            let mut found: Vec<SocketAddr> = resolving.await?.collect();
            let all = found.len();
            found.retain(|address| allow_private || is_public(address.ip()));
            if found.is_empty() && all > 0 {
                return Err(Refused(host).into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// The operating system's resolver.
pub struct System;

impl Resolve for System {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found: Vec<_> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_global_unicast_addresses_are_public() {
        let public = [
            "1.1.1.1",
            "8.8.8.8",
            "93.184.215.14",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "198.17.255.255",
            "198.20.0.1",
            "223.255.255.255",
            "2606:4700:4700::1111",
            "2a00:1450:4001:80b::200e",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
            "2002:808:808::1",
        ];
        for text in public {
            assert!(is_public(text.parse().unwrap()), "{text} is public");
        }
        let special = [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:10.1.2.3",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:20::1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "2002:a00:1::",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd12:3456::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ];
        for text in special {
            assert!(!is_public(text.parse().unwrap()), "{text} is not public");
        }
    }

    #[test]
    fn a_url_is_refused_by_scheme_and_by_literal_address_however_it_is_written() {
        let refused = [
            "ftp://example.org/a.jpg",
            "file:///etc/passwd",
            "data:image/png;base64,AAAA",
            "http://127.0.0.1/a.jpg",
            "http://2130706433/a.jpg",
            "http://0x7f.1/a.jpg",
            "http://0177.0.0.1/a.jpg",
            "http://[::1]/a.jpg",
            "http://[::ffff:169.254.169.254]/latest",
            "https://user:word@10.0.0.1/a.jpg",
        ];
        for text in refused {
            let reason = check(&text.parse().unwrap(), false).unwrap_err();
            let Reason::RefusedAddress { address } = reason else {
                panic!("{text}: {reason}");
            };
            assert!(!address.contains("word"), "credentials are not shown");
        }
        for text in ["http://example.org/a.jpg", "https://1.1.1.1/a.jpg"] {
            assert_eq!(check(&text.parse().unwrap(), false), Ok(()), "{text}");
        }
        let loopback = "http://127.0.0.1/a.jpg".parse().unwrap();
        assert_eq!(check(&loopback, true), Ok(()));
        let file = "file:///etc/passwd".parse().unwrap();
        assert!(check(&file, true).is_err(), "whatever is allowed");
    }

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
        let resolver = PublicOnly::new(changing, false);
        let name: Name = "rebind.example".parse().unwrap();

        let first: Vec<_> = resolver.resolve(name).await.unwrap().collect();
        assert_eq!(first, ["8.8.8.8:0".parse().unwrap()]);

        let name: Name = "rebind.example".parse().unwrap();
        let Err(error) = resolver.resolve(name).await else {
            panic!("a loopback address passed");
        };
        assert_eq!(
            error.downcast_ref(),
            Some(&Refused("rebind.example".to_owned()))
        );
    }
}
