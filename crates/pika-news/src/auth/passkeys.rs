//! Passkeys: signing in with a key that a device keeps, and lets be used by who unlocks it.
//!
//! Invariants: what a ceremony was begun with stays here, is used once, in the browser that began it, and not for long; the
//! device has made sure of its user; a key whose counter goes back signs nobody in.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;
use webauthn_rs::prelude::{
    DiscoverableAuthentication, Passkey, PasskeyRegistration, PublicKeyCredential,
    RegisterPublicKeyCredential, Url, Uuid, Webauthn, WebauthnBuilder, WebauthnError,
};

use super::{Audit, AuthError, Authenticator, SESSION_LIFETIME, Secret, User, millis};
use crate::store::{AddedCredential, FoundPasskey, NewPasskey};

/// How long somebody may take to unlock their device.
pub const CEREMONY_LIFETIME: Duration = Duration::from_secs(300);
/// How many strangers are signing in at once.
const SIGN_INS_MAX: usize = 10_000;
/// How many passkeys a user is adding at once; one more, and the oldest can't be finished.
const ADDITIONS_PER_USER_MAX: usize = 4;
const NAME_CHARS_MAX: usize = 100;
const PASSKEYS_PER_USER_MAX: u32 = 20;
/// Before a user's number in the handle that their device keeps: "pika".
const HANDLE_PREFIX: u64 = 0x7069_6b61;

/// A passkey of a user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PasskeyEntry {
    /// Its number.
    pub id: i64,
    /// What its owner calls it.
    pub name: String,
    /// When it was added, in milliseconds since the Unix epoch.
    pub created_at_ms: i64,
    /// When somebody last signed in with it.
    pub used_at_ms: Option<i64>,
}

/// Why a passkey was not added, or signed nobody in.
#[derive(Debug, thiserror::Error)]
pub enum PasskeyError {
    /// The answer belongs to no question of this browser.
    #[error("this was not begun in this browser, or took too long; begin again")]
    Ceremony,
    /// Too many have begun.
    #[error("too many people are signing in; try again in a minute")]
    Busy,
    /// The device's answer does not hold.
    #[error("what the device answered does not hold")]
    Answer(#[source] WebauthnError),
    /// Nobody's, or nobody's any more.
    #[error("this passkey is not known here any more; sign in another way and add it again")]
    Unknown,
    /// It has been used elsewhere than here.
    #[error("this passkey seems to have been copied and was removed; sign in another way and add another")]
    Copied,
    /// Empty, or too long.
    #[error("a passkey needs a name of 1 to {NAME_CHARS_MAX} characters, such as the device's")]
    Name,
    /// It stands for somebody already.
    #[error("this passkey is here already")]
    Taken,
    /// They have enough.
    #[error("{PASSKEYS_PER_USER_MAX} passkeys are the limit; remove one that is not used")]
    TooMany,
    /// Our own part failed.
    #[error(transparent)]
    Auth(#[from] AuthError),
}

impl From<crate::store::StoreError> for PasskeyError {
    fn from(source: crate::store::StoreError) -> PasskeyError {
        PasskeyError::Auth(source.into())
    }
}

/// What a browser is asked, and what ties its answer to the question.
#[derive(Debug)]
pub struct Asked {
    /// The `publicKey` of `navigator.credentials.create` or `get`, its bytes in base64url.
    pub options: Value,
    /// What the browser keeps in a cookie.
    pub browser: Secret,
}

/// The ceremonies that have begun. Clones share them.
#[derive(Clone)]
pub struct Passkeys {
    inner: Arc<Inner>,
}

struct Inner {
    webauthn: Webauthn,
    begun: Mutex<HashMap<Vec<u8>, Begun>>,
}

struct Begun {
    ceremony: Ceremony,
    until: Instant,
}

enum Ceremony {
    Addition { user_id: i64, state: Box<PasskeyRegistration> },
    SignIn(Box<DiscoverableAuthentication>),
}

impl Passkeys {
    /// For a forge at this address; `None` where browsers offer no passkeys: without TLS, unless it is this machine, and
    /// without a name.
    pub fn new(public_url: &str) -> Option<Passkeys> {
        let origin = Url::parse(public_url).ok()?;
        let name = origin.domain()?;
        if origin.scheme() != "https" && name != "localhost" {
            return None;
        }
        let builder = WebauthnBuilder::new(name, &origin).ok()?.rp_name("pika").timeout(CEREMONY_LIFETIME);
        let inner = Inner { webauthn: builder.build().ok()?, begun: Mutex::default() };
        Some(Passkeys { inner: Arc::new(inner) })
    }

    fn begin(&self, ceremony: Ceremony, asked: &impl Serialize) -> Result<Asked, PasskeyError> {
        let browser = Secret::random().map_err(AuthError::Random)?;
        let mut options = serde_json::to_value(asked).unwrap_or_default()["publicKey"].take();
        if let Ceremony::Addition { .. } = ceremony {
            // Found by the device itself, so that nobody has to say a name to sign in.
            options["authenticatorSelection"]["residentKey"] = Value::from("required");
            options["authenticatorSelection"]["requireResidentKey"] = Value::from(true);
        }
        let now = Instant::now();
        let mut begun = self.inner.begun.lock().unwrap_or_else(PoisonError::into_inner);
        begun.retain(|_, begun| begun.until > now);
        match ceremony {
            Ceremony::Addition { user_id, .. } => make_room_for_addition(&mut begun, user_id),
            Ceremony::SignIn(_) => {
                let sign_ins = begun.values().filter(|begun| matches!(begun.ceremony, Ceremony::SignIn(_)));
                if sign_ins.count() >= SIGN_INS_MAX {
                    return Err(PasskeyError::Busy);
                }
            }
        }
        begun.insert(browser.hash().as_bytes().to_vec(), Begun { ceremony, until: now + CEREMONY_LIFETIME });
        Ok(Asked { options, browser })
    }

    /// Takes what this browser has begun; the second time there is nothing.
    fn take(&self, browser: &Secret) -> Result<Ceremony, PasskeyError> {
        let mut begun = self.inner.begun.lock().unwrap_or_else(PoisonError::into_inner);
        let found = begun.remove(browser.hash().as_bytes());
        let found = found.filter(|begun| begun.until > Instant::now());
        found.map(|begun| begun.ceremony).ok_or(PasskeyError::Ceremony)
    }
}

/// Forgets the user's oldest addition when there are as many as there may be.
fn make_room_for_addition(begun: &mut HashMap<Vec<u8>, Begun>, user: i64) {
    let theirs = begun
        .iter()
        .filter(|(_, begun)| matches!(begun.ceremony, Ceremony::Addition { user_id, .. } if user_id == user));
    let mut theirs: Vec<(Instant, Vec<u8>)> = theirs.map(|(key, begun)| (begun.until, key.clone())).collect();
    if theirs.len() >= ADDITIONS_PER_USER_MAX {
        theirs.sort();
        begun.remove(&theirs[0].1);
    }
}

/// What a user's devices call the user. It says nothing of them to others.
fn handle(user_id: i64) -> Uuid {
    Uuid::from_u64_pair(HANDLE_PREFIX, user_id.cast_unsigned())
}

/// A passkey that a device has answered with, before the answer was checked.
#[derive(Debug)]
pub struct AnsweredPasskey {
    found: FoundPasskey,
    state: DiscoverableAuthentication,
    credential: Box<PublicKeyCredential>,
}

impl AnsweredPasskey {
    /// Whom it would sign in.
    pub fn user(&self) -> &User {
        &self.found.user
    }
}

impl Authenticator {
    /// Begins to add a passkey.
    pub async fn begin_passkey(&self, passkeys: &Passkeys, user: &User) -> Result<Asked, PasskeyError> {
        let known = self.store.list_credential_ids(user.id).await?;
        if known.len() >= PASSKEYS_PER_USER_MAX as usize {
            return Err(PasskeyError::TooMany);
        }
        let (asked, state) = passkeys
            .inner
            .webauthn
            .start_passkey_registration(handle(user.id), &user.name, &user.name, Some(known))
            .map_err(PasskeyError::Answer)?;
        passkeys.begin(Ceremony::Addition { user_id: user.id, state: Box::new(state) }, &asked)
    }

    /// Adds the passkey that a device has made.
    pub async fn add_passkey(
        &self,
        passkeys: &Passkeys,
        user: &User,
        browser: &Secret,
        name: &str,
        answer: &RegisterPublicKeyCredential,
    ) -> Result<i64, PasskeyError> {
        let name = name.trim();
        let is_name =
            (1..=NAME_CHARS_MAX).contains(&name.chars().count()) && !name.chars().any(char::is_control);
        if !is_name {
            return Err(PasskeyError::Name);
        }
        let Ceremony::Addition { user_id, state } = passkeys.take(browser)? else {
            return Err(PasskeyError::Ceremony);
        };
        if user_id != user.id {
            return Err(PasskeyError::Ceremony);
        }
        let webauthn = &passkeys.inner.webauthn;
        let passkey = webauthn.finish_passkey_registration(answer, &state).map_err(PasskeyError::Answer)?;
        let new = NewPasskey {
            user_id: user.id,
            credential_id: passkey.cred_id().to_vec(),
            credential: stored(&passkey),
            name: name.to_owned(),
        };
        let entry = audit(user, "passkey.added", serde_json::json!({ "name": name }));
        match self.store.add_passkey(new, PASSKEYS_PER_USER_MAX, entry, self.now_ms()).await? {
            AddedCredential::Added(id) => Ok(id),
            AddedCredential::Taken => Err(PasskeyError::Taken),
            AddedCredential::TooMany => Err(PasskeyError::TooMany),
            AddedCredential::NoUser => Err(AuthError::UserDisabled { name: user.name.clone() }.into()),
        }
    }

    /// Lists a user's passkeys, the newest first.
    pub async fn list_passkeys(&self, user: &User) -> Result<Vec<PasskeyEntry>, AuthError> {
        Ok(self.store.list_passkeys(user.id).await?)
    }

    /// Removes a user's passkey; `false` when they have no such passkey.
    pub async fn remove_passkey(&self, user: &User, passkey: i64) -> Result<bool, AuthError> {
        let entry = audit(user, "passkey.removed", serde_json::json!({ "passkey": passkey }));
        Ok(self.store.remove_passkey(user.id, passkey, entry, self.now_ms()).await?)
    }

    /// Begins to sign somebody in, whoever it turns out to be.
    pub fn begin_passkey_sign_in(&self, passkeys: &Passkeys) -> Result<Asked, PasskeyError> {
        let (asked, state) =
            passkeys.inner.webauthn.start_discoverable_authentication().map_err(PasskeyError::Answer)?;
        passkeys.begin(Ceremony::SignIn(Box::new(state)), &asked)
    }

    /// Finds whose passkey a device has answered with. Whether it has it is seen by [`Authenticator::sign_in_with_passkey`].
    pub async fn find_passkey(
        &self,
        passkeys: &Passkeys,
        browser: &Secret,
        credential: PublicKeyCredential,
    ) -> Result<AnsweredPasskey, PasskeyError> {
        let Ceremony::SignIn(state) = passkeys.take(browser)? else { return Err(PasskeyError::Ceremony) };
        let identified = passkeys.inner.webauthn.identify_discoverable_authentication(&credential);
        let (given, credential_id) = identified.map_err(PasskeyError::Answer)?;
        let found = self.store.find_passkey(credential_id.to_vec()).await?;
        let found = found.filter(|found| handle(found.user.id) == given).ok_or(PasskeyError::Unknown)?;
        Ok(AnsweredPasskey { found, state: *state, credential: Box::new(credential) })
    }

    /// Opens a session for whose passkey it is, if the answer holds.
    pub async fn sign_in_with_passkey(
        &self,
        passkeys: &Passkeys,
        answered: AnsweredPasskey,
    ) -> Result<Secret, PasskeyError> {
        let AnsweredPasskey { found, state, credential } = answered;
        let Ok(mut passkey) = serde_json::from_str::<Passkey>(&found.credential) else {
            return Err(PasskeyError::Unknown);
        };
        let webauthn = &passkeys.inner.webauthn;
        let checked = match webauthn.finish_discoverable_authentication_v2(&credential, state, &passkey) {
            Ok(checked) => checked,
            Err(WebauthnError::CredentialPossibleCompromise) => {
                let detail = serde_json::json!({ "passkey": found.id, "why": "its counter went back" });
                // Whether this one or the other is the thief's can't be known.
                let entry = audit(&found.user, "passkey.refused", detail);
                self.store.remove_passkey(found.user.id, found.id, entry, self.now_ms()).await?;
                return Err(PasskeyError::Copied);
            }
            Err(error) => return Err(PasskeyError::Answer(error)),
        };
        passkey.update_credential(&checked);
        let (session, now) = (Secret::random().map_err(AuthError::Random)?, self.now_ms());
        let until = now + millis(SESSION_LIFETIME);
        let opened =
            self.store.open_passkey_session(found, stored(&passkey), session.hash(), now, until).await?;
        if opened { Ok(session) } else { Err(PasskeyError::Unknown) }
    }
}

fn stored(passkey: &Passkey) -> String {
    serde_json::to_string(passkey).unwrap_or_default()
}

fn audit(user: &User, action: &'static str, detail: Value) -> Audit {
    let subject = format!("user {}", user.name);
    Audit { actor: user.name.clone(), action, subject, repository: None, detail }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_passkeys_where_browsers_offer_them() {
        for (url, is_there) in [
            ("https://pika.example.org", true),
            ("https://pika.example.org:8443", true),
            ("http://localhost:7800", true),
            ("http://pika.example.org", false),
            ("http://127.0.0.1:7800", false),
            ("https://192.0.2.1", false),
        ] {
            assert_eq!(Passkeys::new(url).is_some(), is_there, "{url}");
        }
    }

    #[test]
    fn a_user_adds_so_many_at_once_and_keeps_no_stranger_out() {
        let passkeys = Passkeys::new("http://localhost:7800").unwrap();
        let begin = |user_id: i64| {
            let webauthn = &passkeys.inner.webauthn;
            let (asked, state) =
                webauthn.start_passkey_registration(handle(user_id), "ada", "ada", None).unwrap();
            passkeys.begin(Ceremony::Addition { user_id, state: Box::new(state) }, &asked).unwrap()
        };
        let (first, others) = (begin(1), begin(2));
        let later: Vec<Asked> = (0..ADDITIONS_PER_USER_MAX).map(|_| begin(1)).collect();
        assert!(matches!(passkeys.take(&first.browser), Err(PasskeyError::Ceremony)));
        assert!(passkeys.take(&others.browser).is_ok());
        assert!(later.iter().all(|asked| passkeys.take(&asked.browser).is_ok()));
    }

    #[test]
    fn what_was_begun_is_taken_once_by_the_browser_that_began_it() {
        let passkeys = Passkeys::new("http://localhost:7800").unwrap();
        let begin = || {
            let (asked, state) = passkeys.inner.webauthn.start_discoverable_authentication().unwrap();
            passkeys.begin(Ceremony::SignIn(Box::new(state)), &asked).unwrap()
        };
        let (one, other) = (begin(), begin());
        assert_eq!(one.options["userVerification"], "required");
        assert_ne!(one.options["challenge"], other.options["challenge"]);
        assert!(matches!(passkeys.take(&Secret::random().unwrap()), Err(PasskeyError::Ceremony)));
        assert!(passkeys.take(&one.browser).is_ok());
        assert!(matches!(passkeys.take(&one.browser), Err(PasskeyError::Ceremony)));
        let hash = other.browser.hash().as_bytes().to_vec();
        passkeys.inner.begun.lock().unwrap().get_mut(&hash).unwrap().until = Instant::now();
        assert!(matches!(passkeys.take(&other.browser), Err(PasskeyError::Ceremony)));
    }
}
