-- Where each mirrored repository stands, and up to which event its commits were told their state.
CREATE TABLE mirror (
    repository_id INTEGER PRIMARY KEY REFERENCES repository (id) ON DELETE CASCADE,
    status TEXT NOT NULL,
    message TEXT,
    started_at_ms INTEGER,
    finished_at_ms INTEGER,
    succeeded_at_ms INTEGER,
    next_try_at_ms INTEGER,
    failures INTEGER NOT NULL DEFAULT 0,
    pushed INTEGER NOT NULL DEFAULT 0,
    deleted INTEGER NOT NULL DEFAULT 0,
    told_event INTEGER NOT NULL,
    statuses_message TEXT
) STRICT;
