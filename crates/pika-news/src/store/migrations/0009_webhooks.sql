-- Whom a repository's events are sent to, and what came of each.

CREATE TABLE webhook (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    repository_id INTEGER NOT NULL REFERENCES repository (id) ON DELETE CASCADE,
    url TEXT NOT NULL,
    -- Words of forge/event.rs, separated by spaces; none: all.
    kinds TEXT NOT NULL,
    -- The key of its signatures, sealed as secrets are.
    nonce BLOB NOT NULL,
    ciphertext BLOB NOT NULL,
    key_id TEXT NOT NULL,
    -- The last event that was turned into a delivery, or passed over.
    position INTEGER NOT NULL,
    created_at_ms INTEGER NOT NULL,
    created_by TEXT NOT NULL
) STRICT;
CREATE INDEX webhook_of_repository ON webhook (repository_id, id);

-- Written before anything is sent: one that a forge is at when it ends is sent again by the next. `status` is waiting, delivered
-- or failed.
CREATE TABLE webhook_delivery (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    webhook_id INTEGER NOT NULL REFERENCES webhook (id) ON DELETE CASCADE,
    event_id INTEGER NOT NULL,
    kind TEXT NOT NULL,
    body TEXT NOT NULL,
    status TEXT NOT NULL,
    tries INTEGER NOT NULL DEFAULT 0,
    not_before_ms INTEGER NOT NULL,
    response_status INTEGER,
    -- What went wrong at the last try.
    problem TEXT,
    duration_ms INTEGER,
    queued_at_ms INTEGER NOT NULL,
    finished_at_ms INTEGER
) STRICT;
CREATE INDEX webhook_delivery_of ON webhook_delivery (webhook_id, id);
CREATE INDEX webhook_delivery_waiting ON webhook_delivery (not_before_ms) WHERE status = 'waiting';
