//! Which addresses may be sent to.
//!
//! Invariant: a name is looked up once for a connection, and the addresses that were looked at are those that are connected to.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

const URL_BYTES_MAX: usize = 2048;

/// Reads an address that events may be sent to; else says what is wrong with it.
pub(crate) fn check_url(text: &str, allow_private: bool) -> Result<Url, String> {
    if text.len() > URL_BYTES_MAX {
        return Err(format!("an address has at most {URL_BYTES_MAX} bytes"));
    }
    let url = Url::parse(text).map_err(|error| format!("this is no address: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("an address begins with https:// or http://".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("an address holds no user and no password; the signature says who sends".to_owned());
    }
    let literal = url.host_str().and_then(|host| {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        host.parse::<IpAddr>().ok()
    });
    match literal {
        Some(address) if !allow_private && !is_public(address) => Err(refused()),
        _ if url.host_str().is_none_or(str::is_empty) => Err("this address has no host".to_owned()),
        _ => Ok(url),
    }
}

fn refused() -> String {
    "events are not sent to private addresses; `allow_private` below [webhooks] would allow it".to_owned()
}

/// Looks names up, and leaves out what may not be connected to.
#[derive(Clone, Copy, Debug)]
pub(super) struct PublicResolver {
    pub(super) allow_private: bool,
}

impl Resolve for PublicResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let allow_private = self.allow_private;
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let allowed = found.into_iter().filter(|address| allow_private || is_public(address.ip()));
            let allowed: Vec<SocketAddr> = allowed.collect();
            if allowed.is_empty() {
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, refused()).into());
            }
            let addresses: Addrs = Box::new(allowed.into_iter());
            Ok(addresses)
        })
    }
}

/// Whether an address is of the public internet (the IANA registries of special-purpose addresses name the others).
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_special = matches!(
        (a, b, c),
        (0 | 10 | 127, _, _)
            | (100, 64..=127, _)
            | (169, 254, _)
            | (172, 16..=31, _)
            | (192, 0, 0 | 2)
            | (192, 88, 99)
            | (192, 168, _)
            | (198, 18 | 19, _)
            | (198, 51, 100)
            | (203, 0, 113)
            | (224..=255, _, _)
    );
    !is_special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match segments {
        // Of IPv4, written as IPv6, and translated.
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => embedded(high, low),
        [0x2002, high, low, ..] => embedded(high, low),
        // Teredo, documentation, and what is left for protocols.
        [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => false,
        // Global unicast is all that is given out.
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_of_the_public_internet_is_told_from_what_is() {
        for text in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "198.18.0.1",
            "192.0.2.1",
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "fd12:3456::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001:0:1::1",
            "2001:db8::1",
            "::7f00:1",
            "64:ff9b:1::1",
        ] {
            assert!(!is_public(text.parse().unwrap()), "{text}");
        }
        for text in [
            "1.1.1.1",
            "172.32.0.1",
            "100.128.0.1",
            "192.0.1.1",
            "2606:4700::1111",
            "2002:101:101::",
            "::ffff:1.1.1.1",
        ] {
            assert!(is_public(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn an_address_is_of_the_web_has_no_password_and_is_not_private() {
        for text in [
            "ftp://example.org/",
            "file:///etc/passwd",
            "https://user@example.org/",
            "https://:secret@example.org/",
            "nothing",
            "http://127.0.0.1/",
            "http://[::1]:80/",
            "http://0x7f.1/",
            "http://2130706433/",
            "http://[::ffff:10.0.0.1]/",
        ] {
            assert!(check_url(text, false).is_err(), "{text}");
        }
        for text in ["https://example.org/hook", "http://1.1.1.1:8080/"] {
            assert!(check_url(text, false).is_ok(), "{text}");
        }
        assert!(check_url("http://127.0.0.1:9/", true).is_ok());
    }

    #[tokio::test]
    async fn a_name_that_leads_to_this_machine_is_not_connected_to() {
        let resolve = |allow_private| PublicResolver { allow_private }.resolve("localhost".parse().unwrap());
        assert!(resolve(false).await.is_err());
        assert!(resolve(true).await.is_ok());
    }
}
