//! Checks the addresses that are asked. Only public ones may be, unless the operator says
//! otherwise.
//!
//! A list of URLs is written by somebody else. Without this check it could make the
//! scraper ask its own host, the other machines of its network or a cloud's metadata
//! service. Hosts that are written as a name are checked where the name is resolved:
//! [`resolver`](super::resolver).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use maskline_messages::{Reason, shown};
use url::{Host, Url};

/// Returns whether an address can be reached from everywhere, by IANA's registries of
/// special-purpose addresses (RFC 6890). `IpAddr::is_global` of the standard library would
/// say so too, but is not stable.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let is_special = matches!(
        address.octets(),
        [0, ..]                     // this network: RFC 791, section 3.2
            | [10, ..]              // private: RFC 1918
            | [100, 64..=127, ..]   // shared by carriers' NAT: RFC 6598
            | [127, ..]             // loopback: RFC 1122, section 3.2.1.3
            | [169, 254, ..]        // link-local, and clouds' metadata: RFC 3927
            | [172, 16..=31, ..]    // private: RFC 1918
            | [192, 0, 0, _]        // protocol assignments: RFC 6890, section 2.1
            | [192, 0, 2, _]        // documentation: RFC 5737
            | [192, 88, 99, _]      // 6to4 relays, deprecated: RFC 7526
            | [192, 168, ..]        // private: RFC 1918
            | [198, 18..=19, ..]    // benchmarks: RFC 2544
            | [198, 51, 100, _]     // documentation: RFC 5737
            | [203, 0, 113, _]      // documentation: RFC 5737
            | [224..=239, ..]       // multicast: RFC 5771
            | [240..=255, ..] // reserved, and broadcast: RFC 1112, section 4; RFC 919
    );
    !is_special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    // IPv4-mapped: RFC 4291, section 2.5.5.2.
    if let Some(v4) = address.to_ipv4_mapped() {
        return is_public_v4(v4);
    }
    let segments = address.segments();
    let is_public_embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match segments {
        // NAT64, which holds an IPv4 address: RFC 6052.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => is_public_embedded(high, low),
        // 6to4, which holds one, too: RFC 3056.
        [0x2002, high, low, ..] => is_public_embedded(high, low),
        // Protocol assignments (RFC 2928), Teredo (RFC 4380) and ORCHIDv2 (RFC 7343).
        [0x2001, 0..=0x1ff, ..] => false,
        // Documentation: RFC 3849 and RFC 9637.
        [0x2001, 0xdb8, ..] => false,
        [0x3fff, 0..=0xfff, ..] => false,
        // Global unicast, as far as it is assigned: RFC 4291, section 2.4. Loopback,
        // unspecified, unique local (RFC 4193), link-local, site-local and multicast
        // addresses lie outside.
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

/// Refuses other schemes than http(s) and, unless `allow_private`, hosts written as an
/// address that is not public.
pub(super) fn check(url: &Url, allow_private: bool) -> Result<(), Reason> {
    let refused = || Reason::RefusedAddress {
        address: shown(url),
    };
    if !matches!(url.scheme(), "http" | "https") {
        return Err(refused());
    }
    let is_public = match url.host() {
        Some(Host::Ipv4(v4)) => is_public(v4.into()),
        Some(Host::Ipv6(v6)) => is_public(v6.into()),
        Some(Host::Domain(_)) => true,
        None => return Err(refused()),
    };
    if is_public || allow_private {
        Ok(())
    } else {
        Err(refused())
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
}
