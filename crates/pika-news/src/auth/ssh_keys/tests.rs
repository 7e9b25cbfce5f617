//! Keys as people paste them.

use super::*;
use crate::store::Store;

const ED25519: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti ada@laptop";

async fn authenticator() -> (Authenticator, User, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let auth = Authenticator::new(Store::open(&folder.path().join("forge.sqlite")).unwrap());
    let ada = auth.ensure_user("ada", false).await.unwrap();
    (auth, ada, folder)
}

#[tokio::test]
async fn a_key_stands_for_its_user_until_it_is_revoked() {
    let (auth, ada, _folder) = authenticator().await;
    let key = auth.add_ssh_key(&ada, ED25519, "").await.unwrap();
    // What `ssh-keygen -lf` prints for it.
    assert_eq!(key.fingerprint, "SHA256:UCUiLr7Pjs9wFFJMDByLgc3NrtdU344OgUM45wZPcIQ");
    assert_eq!(key.comment, "ada@laptop");
    assert!(!key.public_key.contains("ada"));
    let principal = auth.ssh_key(&key.fingerprint).await.unwrap().unwrap();
    assert_eq!(principal.user(), Some(&ada));
    assert!(auth.list_ssh_keys(&ada).await.unwrap()[0].used_at_ms.is_some());
    let bob = auth.ensure_user("bob", false).await.unwrap();
    assert!(matches!(auth.add_ssh_key(&bob, ED25519, "mine").await, Err(AuthError::SshKeyTaken)));
    assert!(!auth.revoke_ssh_key(&bob, key.id).await.unwrap());
    assert!(auth.revoke_ssh_key(&ada, key.id).await.unwrap());
    assert_eq!(auth.ssh_key(&key.fingerprint).await.unwrap(), None);
    let actions: Vec<_> =
        auth.list_audit(None, None, 10).await.unwrap().into_iter().map(|entry| entry.action).collect();
    assert_eq!(actions, ["ssh_key.revoked", "ssh_key.added"]);
}

#[tokio::test]
async fn the_key_of_a_disabled_user_opens_nothing() {
    let (auth, ada, _folder) = authenticator().await;
    let key = auth.add_ssh_key(&ada, ED25519, "laptop").await.unwrap();
    auth.disable_user("ada").await.unwrap();
    assert_eq!(auth.ssh_key(&key.fingerprint).await.unwrap(), None);
    assert!(auth.add_ssh_key(&ada, ED25519, "laptop").await.is_err());
}

#[tokio::test]
async fn what_is_no_public_key_is_not_taken() {
    let (auth, ada, _folder) = authenticator().await;
    let two = format!("{ED25519}\n{ED25519}");
    let private = "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----";
    let options = format!("command=\"sh\" {ED25519}");
    for line in ["", "ada", "ssh-ed25519 AAAA", &two, private, &options, &"a".repeat(20_000)] {
        assert!(matches!(auth.add_ssh_key(&ada, line, "").await, Err(AuthError::SshKey { .. })), "{line}");
    }
}
