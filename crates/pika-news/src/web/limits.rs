//! How often somebody may try to sign in.
//!
//! Invariants: an address and an account each have a budget of their own, so that neither one address for many accounts nor
//! many addresses for one account goes on for long; what is remembered is bounded.

use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use super::Web;
use super::code::Code;
use super::error::{ApiError, PageError, WebError};

/// Tries at once, and per minute after that.
const ADDRESS_TRIES: NonZeroU32 = NonZeroU32::new(30).unwrap();
const ACCOUNT_TRIES: NonZeroU32 = NonZeroU32::new(10).unwrap();
/// So many are remembered before those are forgotten that have their whole budget again.
const REMEMBERED_MAX: usize = 10_000;

/// Where a connection comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) IpAddr);

/// The budgets.
pub(super) struct SignInLimits {
    addresses: DefaultKeyedRateLimiter<IpAddr>,
    accounts: DefaultKeyedRateLimiter<i64>,
}

impl SignInLimits {
    pub(super) fn new() -> SignInLimits {
        SignInLimits {
            addresses: RateLimiter::keyed(Quota::per_minute(ADDRESS_TRIES)),
            accounts: RateLimiter::keyed(Quota::per_minute(ACCOUNT_TRIES)),
        }
    }

    fn address(&self, address: IpAddr) -> Result<(), u64> {
        take(&self.addresses, &network(address))
    }

    /// Takes one try of an account; otherwise says after how many seconds there is one.
    pub(super) fn account(&self, user_id: i64) -> Result<(), u64> {
        take(&self.accounts, &user_id)
    }
}

fn take<K: Hash + Eq + Clone>(limiter: &DefaultKeyedRateLimiter<K>, key: &K) -> Result<(), u64> {
    if limiter.len() > REMEMBERED_MAX {
        limiter.retain_recent();
    }
    limiter.check_key(key).map_err(|until| {
        let wait = until.wait_time_from(DefaultClock::default().now());
        wait.as_secs() + 1
    })
}

/// An address as it is counted: of version 6 everybody has 2^64.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(address) => IpAddr::V4(address),
            None => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        },
    }
}

/// Who asks, behind the proxies that are trusted.
fn client(peer: IpAddr, headers: &HeaderMap, trusted: &[IpAddr]) -> IpAddr {
    let lines = headers.get_all("x-forwarded-for").into_iter().filter_map(|value| value.to_str().ok());
    let forwarded: Vec<&str> = lines.flat_map(|line| line.split(',')).map(str::trim).collect();
    // A proxy that came over a socket of version 6 is the one of version 4 that is listed.
    let mut address = peer.to_canonical();
    // Each proxy adds whom it heard at the end; what stands before an untrusted one is its own invention.
    for text in forwarded.into_iter().rev() {
        match text.parse::<IpAddr>() {
            Ok(next) if trusted.contains(&address) => address = next.to_canonical(),
            _ => break,
        }
    }
    address
}

/// Lets a request to sign in through when its address has tries left; otherwise answers with a page.
pub(super) async fn by_address(State(web): State<Web>, request: Request, next: Next) -> Response {
    match take_of_address(&web, &request) {
        Ok(()) => next.run(request).await,
        Err(wait_s) => too_many(wait_s),
    }
}

/// The same for what a script asks.
pub(super) async fn by_address_in_json(State(web): State<Web>, request: Request, next: Next) -> Response {
    match take_of_address(&web, &request) {
        Ok(()) => next.run(request).await,
        Err(wait_s) => too_many_in_json(wait_s),
    }
}

fn take_of_address(web: &Web, request: &Request) -> Result<(), u64> {
    let peer = request.extensions().get::<Peer>().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0);
    let trusted = &web.forge().config().auth.trusted_proxies;
    web.limits().address(client(peer, request.headers(), trusted))
}

/// The answer to one try too many.
pub(super) fn too_many(wait_s: u64) -> Response {
    until(wait_s, PageError::from(refusal(wait_s)).into_response())
}

/// The same to a script.
pub(super) fn too_many_in_json(wait_s: u64) -> Response {
    until(wait_s, ApiError(refusal(wait_s)).into_response())
}

fn refusal(wait_s: u64) -> WebError {
    let message = format!("There were too many tries to sign in. Try again in {wait_s} seconds.");
    WebError::Refused(Code::TooManyRequests, message)
}

fn until(wait_s: u64, mut response: Response) -> Response {
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait_s));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_has_a_budget_and_others_have_their_own() {
        let limits = SignInLimits::new();
        for _ in 0..ADDRESS_TRIES.get() {
            limits.address(address("2001:db8::1")).unwrap();
        }
        let wait_s = limits.address(address("2001:db8::2")).unwrap_err();
        assert!((1..=60).contains(&wait_s), "{wait_s}");
        limits.address(address("2001:db8:0:1::1")).unwrap();
        limits.address(address("192.0.2.1")).unwrap();
        limits.address(address("::ffff:192.0.2.1")).unwrap();
    }

    #[test]
    fn only_a_trusted_proxy_is_believed_about_who_asks() {
        let headers = HeaderMap::from_iter([(
            header::HeaderName::from_static("x-forwarded-for"),
            HeaderValue::from_static("10.9.9.9, 198.51.100.7, 10.0.0.2"),
        )]);
        let proxies = [address("10.0.0.1"), address("10.0.0.2")];
        assert_eq!(client(address("10.0.0.1"), &headers, &proxies), address("198.51.100.7"));
        assert_eq!(client(address("::ffff:10.0.0.1"), &headers, &proxies), address("198.51.100.7"));
        assert_eq!(client(address("203.0.113.5"), &headers, &proxies), address("203.0.113.5"));
        assert_eq!(client(address("10.0.0.1"), &headers, &[]), address("10.0.0.1"));
    }
}
