-- Keys of people, and who they are elsewhere.

-- The public keys that stand for a user over SSH.
CREATE TABLE ssh_key (
    id INTEGER PRIMARY KEY,
    user_id INTEGER NOT NULL REFERENCES user (id) ON DELETE CASCADE,
    -- SHA256:…, as ssh-keygen -l prints it. One key stands for one user.
    fingerprint TEXT NOT NULL UNIQUE,
    -- Kind and base64, as in authorized_keys, without the comment.
    public_key TEXT NOT NULL,
    comment TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    used_at_ms INTEGER
) STRICT;
CREATE INDEX ssh_key_of_user ON ssh_key (user_id);

-- Who a user is to an OpenID provider. A name is never an identity.
CREATE TABLE oidc_identity (
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    user_id INTEGER NOT NULL REFERENCES user (id) ON DELETE CASCADE,
    created_at_ms INTEGER NOT NULL,
    used_at_ms INTEGER NOT NULL,
    PRIMARY KEY (issuer, subject)
) STRICT, WITHOUT ROWID;
CREATE INDEX oidc_identity_of_user ON oidc_identity (user_id);
