//! Waits until the guest has an address: who starts a job does not wait for the guest's own set-up, which asks for one.
//!
//! The tables are the kernel's text (proc(5), `/proc/net/route`; net/ipv6/route.c, `rt6_info_route`), so that no socket and
//! no tool of the image is needed.

use std::fs;
use std::time::{Duration, Instant};

const IPV4_ROUTES: &str = "/proc/net/route";
const IPV6_ROUTES: &str = "/proc/net/ipv6_route";
pub(crate) const LOOKS_EVERY: Duration = Duration::from_millis(5);
/// How long an address has to be there without a default route before it is taken for a network that leads no further.
const NO_ROUTE_PATIENCE: Duration = Duration::from_millis(500);

const LOOPBACK: &str = "lo";
/// `RTF_UP` and `RTF_REJECT` (linux/route.h).
const UP: u32 = 0x1;
const REJECT: u32 = 0x200;

/// How far the guest's network has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    Nothing,
    /// Its own network.
    Neighbours,
    /// A default route: images set it last.
    Beyond,
}

/// Looks again and again at how far the network has come.
pub(crate) struct Watch {
    neighbours_since: Option<Instant>,
}

impl Watch {
    pub(crate) fn new() -> Watch {
        Watch { neighbours_since: None }
    }

    /// Whether jobs can count on the network.
    pub(crate) fn is_there(&mut self) -> bool {
        // A kernel without one of both has no such table.
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        match reach(&read(IPV4_ROUTES), &read(IPV6_ROUTES)) {
            Reach::Beyond => true,
            Reach::Neighbours => {
                self.neighbours_since.get_or_insert_with(Instant::now).elapsed() >= NO_ROUTE_PATIENCE
            }
            Reach::Nothing => {
                self.neighbours_since = None;
                false
            }
        }
    }
}

fn reach(ipv4_routes: &str, ipv6_routes: &str) -> Reach {
    // Interface, destination, gateway, flags, references, use, metric, mask, …
    let ipv4 = ipv4_routes.lines().skip(1).filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let is_default = *fields.get(1)? == "00000000" && *fields.get(7)? == "00000000";
        Some((*fields.first()?, u32::from_str_radix(fields.get(3)?, 16).ok()?, is_default))
    });
    // Destination, its length, source, its length, gateway, metric, references, use, flags, interface.
    let ipv6 = ipv6_routes.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let is_default = *fields.get(1)? == "00" && fields.first()?.bytes().all(|digit| digit == b'0');
        Some((*fields.get(9)?, u32::from_str_radix(fields.get(8)?, 16).ok()?, is_default))
    });
    let leads_out = |(interface, flags, _): &(&str, u32, bool)| {
        *interface != LOOPBACK && flags & UP != 0 && flags & REJECT == 0
    };
    let mut neighbours = false;
    for (_, _, is_default) in ipv4.filter(leads_out) {
        if is_default {
            return Reach::Beyond;
        }
        neighbours = true;
    }
    // Every interface has addresses of IPv6 at once, which reach nobody; only a router's word counts.
    if ipv6.filter(leads_out).any(|(_, _, is_default)| is_default) {
        return Reach::Beyond;
    }
    if neighbours { Reach::Neighbours } else { Reach::Nothing }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n";
    const NEIGHBOURS: &str = "eth0\t0008090A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
    const DEFAULT: &str = "eth0\t00000000\t0108090A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n";
    /// What a namespace has that has nothing.
    const REJECTED: &str = "00000000000000000000000000000000 00 00000000000000000000000000000000 00 \
        00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo\n";
    const LINK_LOCAL: &str = "fe800000000000000000000000000000 40 00000000000000000000000000000000 00 \
        00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0\n";
    const ADVERTISED: &str = "00000000000000000000000000000000 00 00000000000000000000000000000000 00 \
        fe800000000000000000000000000001 00000400 00000001 00000000 00450003     eth0\n";

    #[test]
    fn a_default_route_is_all_there_is_to_wait_for() {
        let of = |ipv4: &str, ipv6: &str| reach(&format!("{HEAD}{ipv4}"), ipv6);
        assert_eq!(of("", REJECTED), Reach::Nothing);
        assert_eq!(of("", &format!("{REJECTED}{LINK_LOCAL}")), Reach::Nothing);
        assert_eq!(of(NEIGHBOURS, REJECTED), Reach::Neighbours);
        assert_eq!(of(&format!("{NEIGHBOURS}{DEFAULT}"), REJECTED), Reach::Beyond);
        assert_eq!(of("", &format!("{LINK_LOCAL}{ADVERTISED}")), Reach::Beyond);
    }

    #[test]
    fn what_is_no_table_reaches_nothing() {
        for text in ["", "x", "a b c\nd e f\n", "\n\n\n"] {
            assert_eq!(reach(text, text), Reach::Nothing, "{text:?}");
        }
    }
}
