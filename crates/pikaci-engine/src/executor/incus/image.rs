//! Images: what an alias means, whether an image keeps the contract, and which one an instance was made from.

use std::collections::BTreeMap;

use incus_client::{Client, Error};
use pikaci::RemoteLinuxVmImageRecord;
use tokio::sync::Mutex;

use super::RemoteLinuxVmContext;

const FINGERPRINT_DIGITS: usize = 64;

/// What images are called and what they are: each name is resolved once, so that all jobs of a run have the same image
/// even when the alias moves meanwhile.
#[derive(Debug, Default)]
pub(crate) struct Images {
    known: Mutex<BTreeMap<String, String>>,
}

impl Images {
    /// The fingerprint of an alias, or of a fingerprint.
    pub(crate) async fn resolve(&self, client: &Client, image: &str) -> Result<String, Error> {
        let mut known = self.known.lock().await;
        if let Some(fingerprint) = known.get(image) {
            return Ok(fingerprint.clone());
        }
        let fingerprint = resolve(client, image).await?;
        known.insert(image.to_owned(), fingerprint.clone());
        Ok(fingerprint)
    }
}

/// The fingerprint that a name means now. An alias comes first; what reads like a fingerprint may be one.
pub(crate) async fn resolve(client: &Client, image: &str) -> Result<String, Error> {
    match client.resolve_alias(image).await {
        Err(Error::NotFound { .. }) if is_fingerprint(image) => {
            client.image(image).await.map(|found| found.fingerprint)
        }
        found => found,
    }
}

fn is_fingerprint(text: &str) -> bool {
    (12..=FINGERPRINT_DIGITS).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The image that *this instance* was made from, whatever its alias means by now. What can't be learned is said in the
/// record, and fails nothing.
pub async fn load_remote_incus_image_record(
    client: &Client,
    context: &RemoteLinuxVmContext,
    alias: &str,
) -> RemoteLinuxVmImageRecord {
    let instance = &context.instance;
    let (fingerprint, message) = match &context.base_image {
        Some(fingerprint) => (Some(fingerprint.clone()), None),
        None => match client.instance(instance).await {
            Ok(found) => match found.value.base_image() {
                Some(fingerprint) => (Some(fingerprint.to_owned()), None),
                None => (None, Some(format!("instance {instance} does not say what it was made from"))),
            },
            Err(error) => (None, Some(super::described(&error))),
        },
    };
    RemoteLinuxVmImageRecord {
        project: client.project().to_owned(),
        alias: alias.to_owned(),
        fingerprint,
        message,
    }
}
