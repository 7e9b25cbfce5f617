-- Keys of people's devices, with which they sign in.

CREATE TABLE passkey (
    id INTEGER PRIMARY KEY,
    user_id INTEGER NOT NULL REFERENCES user (id) ON DELETE CASCADE,
    -- What the device calls it. One key stands for one user.
    credential_id BLOB NOT NULL UNIQUE,
    -- What is needed to check it, and how often it was used: JSON.
    credential TEXT NOT NULL,
    name TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    used_at_ms INTEGER
) STRICT;
CREATE INDEX passkey_of_user ON passkey (user_id);
