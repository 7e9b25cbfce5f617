-- Tutorials of heads, what readers ticked off, and what they last looked at.

-- One per head. `status` is queued, running or finished; `outcome`, of a finished one, is written, partial, carried_over,
-- failed or cancelled. `claim` is the fencing token of whoever writes it.
CREATE TABLE tutorial (
    head_id INTEGER PRIMARY KEY REFERENCES head (id) ON DELETE CASCADE,
    status TEXT NOT NULL,
    outcome TEXT,
    -- What failed last, while it waits for its next try too.
    failure TEXT,
    -- The checked tutorial as JSON; absent when the builtin one is all there is, which is made from the diff.
    content TEXT,
    requested_by TEXT,
    claim TEXT,
    lease_until_ms INTEGER,
    not_before_ms INTEGER NOT NULL DEFAULT 0,
    -- Since it was last asked for, and in all.
    tries INTEGER NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0,
    queued_at_ms INTEGER NOT NULL,
    started_at_ms INTEGER,
    finished_at_ms INTEGER,
    -- What all attempts took together.
    duration_ms INTEGER NOT NULL DEFAULT 0,
    input_tokens INTEGER NOT NULL DEFAULT 0,
    output_tokens INTEGER NOT NULL DEFAULT 0,
    cost_usd REAL
) STRICT;
CREATE INDEX tutorial_unfinished ON tutorial (status) WHERE status <> 'finished';

-- A step that a reader is done with. The key is of the step's words and evidence, so that it holds on a later head too.
CREATE TABLE tutorial_tick (
    user_id INTEGER NOT NULL REFERENCES user (id) ON DELETE CASCADE,
    branch_id INTEGER NOT NULL REFERENCES branch (id) ON DELETE CASCADE,
    step_key TEXT NOT NULL,
    ticked_at_ms INTEGER NOT NULL,
    PRIMARY KEY (user_id, branch_id, step_key)
) STRICT;

-- The head of a branch that a reader saw last, and the one before that, which the difference is shown to.
CREATE TABLE branch_look (
    user_id INTEGER NOT NULL REFERENCES user (id) ON DELETE CASCADE,
    branch_id INTEGER NOT NULL REFERENCES branch (id) ON DELETE CASCADE,
    head_id INTEGER NOT NULL REFERENCES head (id) ON DELETE CASCADE,
    previous_head_id INTEGER REFERENCES head (id) ON DELETE SET NULL,
    looked_at_ms INTEGER NOT NULL,
    PRIMARY KEY (user_id, branch_id)
) STRICT;
