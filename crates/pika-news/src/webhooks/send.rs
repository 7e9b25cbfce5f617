//! Sends one delivery, once.

use std::sync::Arc;
use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::header::{CONTENT_TYPE, HeaderName};
use sha2::Sha256;

use super::address::{PublicResolver, check_url};
use crate::outgoing;
use crate::store::DeliveryRecord;

/// For the connection, the request and the head of the answer together.
const DEADLINE: Duration = Duration::from_secs(10);

const EVENT: HeaderName = HeaderName::from_static("pika-event");
const DELIVERY: HeaderName = HeaderName::from_static("pika-delivery");
const TIMESTAMP: HeaderName = HeaderName::from_static("pika-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("pika-signature");

/// Sends deliveries. Clones share its connections.
#[derive(Clone)]
pub(super) struct Sender {
    http: reqwest::Client,
    allow_private: bool,
}

/// Why a delivery was not taken.
#[derive(Debug)]
pub(super) struct Failed {
    /// What the receiver answered, if it did.
    pub(super) status: Option<u16>,
    /// What went wrong.
    pub(super) problem: String,
}

impl Sender {
    pub(super) fn new(allow_private: bool) -> Result<Sender, reqwest::Error> {
        let resolver = Arc::new(PublicResolver { allow_private });
        let client = outgoing::builder(DEADLINE, true).dns_resolver(resolver);
        Ok(Sender { http: client.build()?, allow_private })
    }

    /// Sends, and returns the status that says that it was taken.
    pub(super) async fn send(
        &self,
        url: &str,
        key: &[u8],
        delivery: &DeliveryRecord,
        now_s: i64,
    ) -> Result<u16, Failed> {
        // Again: what was allowed may not be any more.
        let url = check_url(url, self.allow_private).map_err(|problem| Failed { status: None, problem })?;
        let request = self
            .http
            .post(url)
            .header(CONTENT_TYPE, "application/json")
            .header(EVENT, &delivery.kind)
            .header(DELIVERY, delivery.id)
            .header(TIMESTAMP, now_s)
            .header(SIGNATURE, signature(key, now_s, &delivery.body))
            .body(delivery.body.clone());
        // The answer's body is not read.
        let response =
            request.send().await.map_err(|error| Failed { status: None, problem: told(&error) })?;
        let status = response.status();
        if status.is_success() {
            return Ok(status.as_u16());
        }
        Err(Failed { status: Some(status.as_u16()), problem: format!("the receiver answered {status}") })
    }
}

/// What went wrong, without what the client calls it, down to the cause.
fn told(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return format!("the receiver did not answer within {} s", DEADLINE.as_secs());
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    format!("the receiver can't be reached: {cause}")
}

/// `v1=` and the HMAC-SHA-256 of time, a dot and body, as hex.
pub(super) fn signature(key: &[u8], now_s: i64, body: &str) -> String {
    // HMAC takes keys of all lengths.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return String::new() };
    mac.update(format!("{now_s}.{body}").as_bytes());
    let digits: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("v1={digits}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_what_other_programs_make_of_the_same() {
        // printf '1700000000.{"id":1}' | openssl dgst -sha256 -hmac secret
        let expected = "v1=3dd1b9aef568d75f6790a84bd2e5dfa1f44409eef3cbdbd3f10b837376100c11";
        assert_eq!(signature(b"secret", 1_700_000_000, "{\"id\":1}"), expected);
    }
}
