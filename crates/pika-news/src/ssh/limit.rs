//! What clients may cost: connections in all, by address and in time.
//!
//! Invariant: an address that fails to sign in pays more than one that does; IPv6 counts by its /64, which is one customer.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

/// How many connections a failure to sign in counts for.
const FAILURE_COST: NonZeroU32 = NonZeroU32::new(5).unwrap();
/// How many addresses are remembered before the old ones are let go.
const ADDRESSES_KEPT: usize = 4096;

/// The bounds of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshLimits {
    /// The largest pack that a push may bring.
    pub pack_bytes_max: u64,
    /// How many clones and pushes run at once; more wait for their turn.
    pub exchanges_max: usize,
    /// How many connections there are at once.
    pub connections_max: usize,
    /// How many of them one address may have.
    pub connections_of_address_max: usize,
    /// How many connections one address may open in a minute.
    pub connections_per_minute: NonZeroU32,
    /// How many keys a connection may try in vain.
    pub auth_attempts_max: usize,
    /// How long signing in may take.
    pub login_deadline: Duration,
    /// How long neither side of an exchange may move a byte, and how long a connection may be without one.
    pub idle_max: Duration,
    /// How often a silent client is asked whether it is there.
    pub keepalive: Duration,
    /// How long one fetch or push may take.
    pub deadline: Duration,
}

impl Default for SshLimits {
    fn default() -> SshLimits {
        SshLimits {
            pack_bytes_max: 4 << 30,
            exchanges_max: 16,
            connections_max: 256,
            connections_of_address_max: 64,
            connections_per_minute: NonZeroU32::new(240).unwrap_or(NonZeroU32::MIN),
            auth_attempts_max: 10,
            login_deadline: Duration::from_secs(30),
            idle_max: Duration::from_secs(120),
            keepalive: Duration::from_secs(20),
            deadline: Duration::from_secs(3600),
        }
    }
}

/// Who is connected, and how often each address came lately.
pub(super) struct Addresses {
    rate: DefaultKeyedRateLimiter<IpAddr>,
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
    connections_max: usize,
    connections_of_address_max: usize,
}

impl Addresses {
    pub(super) fn new(limits: &SshLimits) -> Addresses {
        Addresses {
            rate: RateLimiter::keyed(Quota::per_minute(limits.connections_per_minute)),
            open: Arc::default(),
            connections_max: limits.connections_max,
            connections_of_address_max: limits.connections_of_address_max,
        }
    }

    /// Gives a connection its place; `None` when there is none for it.
    pub(super) fn admit(&self, address: IpAddr) -> Option<Place> {
        let address = network(address);
        if self.rate.len() > ADDRESSES_KEPT {
            self.rate.retain_recent();
        }
        self.rate.check_key(&address).ok()?;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let total: usize = open.values().sum();
        let of_address = open.entry(address).or_default();
        if total >= self.connections_max || *of_address >= self.connections_of_address_max {
            return None;
        }
        *of_address += 1;
        Some(Place { address, open: Arc::clone(&self.open) })
    }

    /// Notes that a connection ended without anybody having signed in.
    pub(super) fn note_failure(&self, address: IpAddr) {
        // One that has nothing left to pay with is turned away as it is.
        let _ = self.rate.check_key_n(&network(address), FAILURE_COST);
    }
}

/// The place of one connection; free again when it is dropped.
pub(super) struct Place {
    address: IpAddr,
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.address);
            }
        }
    }
}

fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_places_and_gets_them_back() {
        let limits = SshLimits { connections_of_address_max: 2, connections_max: 3, ..SshLimits::default() };
        let addresses = Addresses::new(&limits);
        let [one, two] = ["192.0.2.1", "192.0.2.2"].map(|text| text.parse::<IpAddr>().unwrap());
        let first = addresses.admit(one);
        let second = addresses.admit(one);
        assert!(first.is_some() && second.is_some() && addresses.admit(one).is_none());
        let third = addresses.admit(two);
        assert!(third.is_some() && addresses.admit(two).is_none(), "three are all there are");
        drop(second);
        assert!(addresses.admit(one).is_some());
    }

    #[test]
    fn who_fails_to_sign_in_is_turned_away_sooner() {
        let limits =
            SshLimits { connections_per_minute: NonZeroU32::new(12).unwrap(), ..SshLimits::default() };
        let addresses = Addresses::new(&limits);
        let tries = |address: &str| {
            let address = address.parse().unwrap();
            let try_it = || addresses.admit(address).map(|_| addresses.note_failure(address));
            std::iter::from_fn(try_it).count()
        };
        assert!(tries("192.0.2.1") < 6);
        assert!(tries("2001:db8::1") < 6);
        assert_eq!(tries("2001:db8::2"), 0, "the same network");
        assert!(tries("2001:db8:0:1::1") > 0);
    }
}
