-- The forge's first schema. Times are milliseconds since the Unix epoch; words are those of forge/state.rs.

CREATE TABLE repository (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    created_at_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE branch (
    id INTEGER PRIMARY KEY,
    repository_id INTEGER NOT NULL REFERENCES repository (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    state TEXT NOT NULL,
    head_id INTEGER REFERENCES head (id),
    merge_oid TEXT,
    updated_at_ms INTEGER NOT NULL,
    UNIQUE (repository_id, name)
) STRICT;
CREATE INDEX branch_by_change ON branch (repository_id, state, updated_at_ms DESC);

-- One commit that a branch pointed at. What was selected for it never changes.
CREATE TABLE head (
    id INTEGER PRIMARY KEY,
    branch_id INTEGER NOT NULL REFERENCES branch (id) ON DELETE CASCADE,
    oid TEXT NOT NULL,
    base_oid TEXT,
    is_orphan INTEGER NOT NULL,
    subject TEXT NOT NULL,
    author TEXT NOT NULL,
    selection TEXT NOT NULL,
    selection_message TEXT,
    selection_line INTEGER,
    selection_column INTEGER,
    pushed_by TEXT,
    pushed_at_ms INTEGER NOT NULL,
    UNIQUE (branch_id, oid)
) STRICT;

CREATE TABLE lane (
    id INTEGER PRIMARY KEY,
    head_id INTEGER NOT NULL REFERENCES head (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    target TEXT NOT NULL,
    title TEXT NOT NULL,
    is_required INTEGER NOT NULL,
    kind TEXT NOT NULL,
    reason TEXT,
    group_name TEXT,
    group_size INTEGER,
    UNIQUE (head_id, target)
) STRICT;

CREATE TABLE lane_run (
    id INTEGER PRIMARY KEY,
    lane_id INTEGER NOT NULL REFERENCES lane (id) ON DELETE CASCADE,
    attempt INTEGER NOT NULL,
    cause TEXT NOT NULL,
    requested_by TEXT,
    -- The run of pikaci that is repeated, and whether only its failed jobs are.
    rerun_of TEXT,
    is_failed_only INTEGER NOT NULL DEFAULT 0,
    status TEXT NOT NULL,
    -- Named when it is claimed, before anything is spawned.
    run_id TEXT UNIQUE,
    claim TEXT,
    lease_until_ms INTEGER,
    pid INTEGER,
    is_cancel_requested INTEGER NOT NULL DEFAULT 0,
    is_superseded INTEGER NOT NULL DEFAULT 0,
    cancel_message TEXT,
    not_before_ms INTEGER NOT NULL DEFAULT 0,
    waits TEXT,
    outcome TEXT,
    fault TEXT,
    message TEXT,
    queued_at_ms INTEGER NOT NULL,
    started_at_ms INTEGER,
    finished_at_ms INTEGER,
    UNIQUE (lane_id, attempt)
) STRICT;
CREATE INDEX lane_run_unfinished ON lane_run (status) WHERE status <> 'finished';

-- Written before a merge moves a ref; `state` is pending, merged or failed.
CREATE TABLE merge_intent (
    id INTEGER PRIMARY KEY,
    branch_id INTEGER NOT NULL REFERENCES branch (id) ON DELETE CASCADE,
    head_oid TEXT NOT NULL,
    target TEXT NOT NULL,
    target_oid TEXT NOT NULL,
    merge_oid TEXT NOT NULL,
    actor TEXT NOT NULL,
    state TEXT NOT NULL,
    message TEXT,
    created_at_ms INTEGER NOT NULL,
    finished_at_ms INTEGER
) STRICT;
CREATE UNIQUE INDEX merge_pending ON merge_intent (branch_id) WHERE state = 'pending';

-- Secrets are kept as SHA-256 hashes only.
CREATE TABLE user (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    is_admin INTEGER NOT NULL,
    is_disabled INTEGER NOT NULL DEFAULT 0,
    created_at_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE session (
    id INTEGER PRIMARY KEY,
    user_id INTEGER NOT NULL REFERENCES user (id) ON DELETE CASCADE,
    secret_hash BLOB NOT NULL UNIQUE,
    created_at_ms INTEGER NOT NULL,
    used_at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX session_of_user ON session (user_id);

CREATE TABLE token (
    id INTEGER PRIMARY KEY,
    user_id INTEGER NOT NULL REFERENCES user (id) ON DELETE CASCADE,
    title TEXT NOT NULL,
    secret_hash BLOB NOT NULL UNIQUE,
    created_at_ms INTEGER NOT NULL,
    used_at_ms INTEGER,
    expires_at_ms INTEGER
) STRICT;
CREATE INDEX token_of_user ON token (user_id);

CREATE TABLE sign_in_link (
    id INTEGER PRIMARY KEY,
    user_id INTEGER NOT NULL REFERENCES user (id) ON DELETE CASCADE,
    secret_hash BLOB NOT NULL UNIQUE,
    created_at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER NOT NULL,
    used_at_ms INTEGER
) STRICT;
