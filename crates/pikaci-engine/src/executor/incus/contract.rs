//! Whether an image has the C library and the loader that an output was built for.
//!
//! Asked before there is an instance: a program that misses its loader says only that it does not exist.

use incus_client::Client;
use jiff::Timestamp;
use pikaci::GuestExit;
use pikaci::guest::{CONTRACT_ID_STATIC, GuestResult, GuestStatus, IMAGE_CONTRACT_ID_PROPERTY};

use super::{Attempt, described};

/// Why the outputs of an attempt can't run in its image; `None`: they can, or nothing is known against it.
pub(super) async fn mismatch(client: &Client, fingerprint: &str, attempt: &Attempt) -> Option<String> {
    let says_so = attempt.shares.iter().filter_map(|share| share.contract.as_ref());
    let needed: Vec<_> = says_so.filter(|(_, id)| id != CONTRACT_ID_STATIC).collect();
    if needed.is_empty() {
        return None;
    }
    let image = match client.image(fingerprint).await {
        Ok(image) => image,
        Err(error) => {
            attempt.host_log.line(format!("what the image offers is not known: {}", described(&error)));
            return None;
        }
    };
    // Programs of Nix bring their loader along in their closure; an image that says nothing promises nothing.
    let offered = image.properties.get(IMAGE_CONTRACT_ID_PROPERTY)?;
    let (name, id) = needed.into_iter().find(|(_, id)| id != offered)?;
    Some(format!(
        "prepared output {name} was built for {id}, and image {} has {offered}; build both from the same revision",
        attempt.job.image
    ))
}

/// The end of an attempt that was never started: it would fail in every instance of this image.
pub(super) fn refused(message: String) -> GuestExit {
    let now = Timestamp::now();
    let (status, exit_code, message) = (GuestStatus::Failed, None, Some(message));
    GuestExit::Result(GuestResult { status, exit_code, started_at: now, finished_at: now, message })
}
