-- Runs that the clock asks for: one row for each time that was due and came to something.
CREATE TABLE nightly (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    repository_id INTEGER NOT NULL REFERENCES repository (id) ON DELETE CASCADE,
    due_at_ms INTEGER NOT NULL,
    began_at_ms INTEGER NOT NULL,
    -- What the default branch pointed at; none when it pointed at nothing.
    head_id INTEGER REFERENCES head (id) ON DELETE SET NULL,
    -- Why nothing was run.
    message TEXT,
    UNIQUE (repository_id, due_at_ms)
) STRICT;

-- Since when a repository has nightlies: what was due before was not missed.
CREATE TABLE nightly_since (
    repository_id INTEGER PRIMARY KEY REFERENCES repository (id) ON DELETE CASCADE,
    since_ms INTEGER NOT NULL
) STRICT;

-- The nightly that an attempt belongs to. A push does not stop it.
ALTER TABLE lane_run ADD COLUMN nightly_id INTEGER;
CREATE INDEX lane_run_of_nightly ON lane_run (nightly_id) WHERE nightly_id IS NOT NULL;
