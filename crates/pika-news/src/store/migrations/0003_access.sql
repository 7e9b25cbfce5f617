-- Roles per repository, what tokens may be used for, and who did what.

CREATE TABLE membership (
    repository_id INTEGER NOT NULL REFERENCES repository (id) ON DELETE CASCADE,
    user_id INTEGER NOT NULL REFERENCES user (id) ON DELETE CASCADE,
    -- read, write or admin; each includes the ones before it.
    role TEXT NOT NULL,
    granted_at_ms INTEGER NOT NULL,
    granted_by TEXT NOT NULL,
    PRIMARY KEY (repository_id, user_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX membership_of_user ON membership (user_id);

-- Before there were roles everybody might write everywhere, and nobody loses that.
INSERT INTO membership (repository_id, user_id, role, granted_at_ms, granted_by)
SELECT repository.id, user.id, 'write', user.created_at_ms, 'upgrade' FROM repository, user WHERE NOT user.is_admin;

-- Words that are separated by spaces. A token from before there were scopes keeps what it was good for.
ALTER TABLE token ADD COLUMN scopes TEXT NOT NULL DEFAULT 'read push write admin';

-- Who did what to whose rights and secrets. Nothing in it is ever changed.
CREATE TABLE audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ms INTEGER NOT NULL,
    actor TEXT NOT NULL,
    -- A word such as `user.disabled`.
    action TEXT NOT NULL,
    -- What it was done to: `user ada`, `repository sample`.
    subject TEXT NOT NULL,
    repository_id INTEGER REFERENCES repository (id) ON DELETE SET NULL,
    -- JSON, without secrets.
    detail TEXT NOT NULL
) STRICT;
CREATE INDEX audit_of_repository ON audit (repository_id, id);
CREATE TRIGGER audit_is_never_changed BEFORE UPDATE OF id, at_ms, actor, action, subject, detail ON audit
BEGIN SELECT RAISE(ABORT, 'the audit log is never changed'); END;
CREATE TRIGGER audit_is_never_shortened BEFORE DELETE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit log is never shortened'); END;
