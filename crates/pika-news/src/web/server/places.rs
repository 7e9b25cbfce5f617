//! How many connections there are, and of whom.
//!
//! Invariants: an address has a part of the places at most, so that it keeps nobody else out; of a proxy, which speaks for
//! many, that is not asked.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use crate::web::limits::network;

/// Who is connected. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// The place of one connection; free again when it is dropped.
pub(super) struct Place {
    address: IpAddr,
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Places {
    /// Gives a connection its place; `None` when its address has `of_address_max` already.
    pub(super) fn take(&self, address: IpAddr, of_address_max: usize) -> Option<Place> {
        let address = network(address);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.get(&address).copied().unwrap_or_default();
        if count >= of_address_max {
            return None;
        }
        taken.insert(address, count + 1);
        Some(Place { address, taken: Arc::clone(&self.taken) })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_part_of_the_places_and_leaves_nothing_behind() {
        let (places, of) = (Places::default(), |text: &str| text.parse::<IpAddr>().unwrap());
        let first = places.take(of("2001:db8::1"), 2).unwrap();
        let _second = places.take(of("2001:db8::2"), 2).unwrap();
        assert!(places.take(of("2001:db8::3"), 2).is_none());
        let other = places.take(of("192.0.2.1"), 2).unwrap();
        drop((first, other));
        assert!(places.take(of("2001:db8::3"), 2).is_some());
        assert_eq!(places.taken.lock().unwrap().len(), 1);
    }
}
