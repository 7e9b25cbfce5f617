-- What happened, told once: one row each, written by the statement that changes what it tells of, so that nothing can change
-- without it. The numbers grow for as long as the database lives, whatever is removed.

CREATE TABLE event (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ms INTEGER NOT NULL,
    repository_id INTEGER NOT NULL REFERENCES repository (id) ON DELETE CASCADE,
    branch_id INTEGER NOT NULL,
    -- A word of forge/event.rs such as `lane.finished`.
    kind TEXT NOT NULL,
    -- JSON: the fields of forge/event.rs::EventDetail that are known.
    detail TEXT NOT NULL
) STRICT;
CREATE INDEX event_of_repository ON event (repository_id, id);

-- What a head was last judged to be, so that it is told when that changes; and the heads to be judged at the end of this transaction.
ALTER TABLE head ADD COLUMN verdict TEXT;
CREATE TABLE verdict_due (
    head_id INTEGER PRIMARY KEY REFERENCES head (id) ON DELETE CASCADE,
    at_ms INTEGER NOT NULL
) STRICT;

CREATE TRIGGER event_of_branch_state AFTER UPDATE OF state, head_id ON branch
WHEN NEW.head_id IS NOT NULL AND (OLD.head_id IS NULL OR NEW.head_id <> OLD.head_id OR NEW.state <> OLD.state)
BEGIN
    INSERT INTO event (at_ms, repository_id, branch_id, kind, detail)
    SELECT NEW.updated_at_ms, NEW.repository_id, NEW.id,
           CASE WHEN OLD.head_id IS NULL THEN 'branch.created'
                WHEN NEW.state = 'open' THEN 'branch.reopened'
                ELSE 'branch.' || NEW.state END,
           json_object('branch', NEW.name, 'head_oid', head.oid, 'merge_oid', NEW.merge_oid)
    FROM head WHERE head.id = NEW.head_id AND (OLD.head_id IS NULL OR NEW.state <> OLD.state);
    INSERT INTO event (at_ms, repository_id, branch_id, kind, detail)
    SELECT NEW.updated_at_ms, NEW.repository_id, NEW.id, 'head.pushed',
           json_object('branch', NEW.name, 'head_oid', head.oid, 'subject', head.subject, 'actor', head.pushed_by,
                       'previous_oid', (SELECT oid FROM head WHERE id = OLD.head_id))
    FROM head WHERE head.id = NEW.head_id AND OLD.head_id IS NOT NEW.head_id;
    INSERT OR REPLACE INTO verdict_due (head_id, at_ms)
    SELECT NEW.head_id, NEW.updated_at_ms WHERE OLD.head_id IS NOT NEW.head_id;
END;

CREATE TRIGGER event_of_lane_queued AFTER INSERT ON lane_run WHEN NEW.status = 'queued'
BEGIN
    INSERT INTO event (at_ms, repository_id, branch_id, kind, detail)
    SELECT NEW.queued_at_ms, branch.repository_id, branch.id, 'lane.queued',
           json_object('branch', branch.name, 'head_oid', head.oid, 'lane', lane.target, 'lane_run_id', NEW.id,
                       'attempt', NEW.attempt, 'cause', NEW.cause, 'actor', NEW.requested_by)
    FROM lane JOIN head ON head.id = lane.head_id JOIN branch ON branch.id = head.branch_id WHERE lane.id = NEW.lane_id;
    INSERT OR REPLACE INTO verdict_due (head_id, at_ms)
    SELECT head_id, NEW.queued_at_ms FROM lane WHERE id = NEW.lane_id;
END;

CREATE TRIGGER event_of_lane_changed AFTER UPDATE OF status ON lane_run WHEN NEW.status <> OLD.status
BEGIN
    INSERT INTO event (at_ms, repository_id, branch_id, kind, detail)
    SELECT CASE NEW.status WHEN 'running' THEN NEW.started_at_ms ELSE NEW.finished_at_ms END,
           branch.repository_id, branch.id, CASE NEW.status WHEN 'running' THEN 'lane.started' ELSE 'lane.finished' END,
           json_object('branch', branch.name, 'head_oid', head.oid, 'lane', lane.target, 'lane_run_id', NEW.id,
                       'attempt', NEW.attempt, 'run_id', NEW.run_id, 'outcome', NEW.outcome, 'fault', NEW.fault,
                       'message', NEW.message)
    FROM lane JOIN head ON head.id = lane.head_id JOIN branch ON branch.id = head.branch_id WHERE lane.id = NEW.lane_id;
    INSERT OR REPLACE INTO verdict_due (head_id, at_ms)
    SELECT head_id, COALESCE(NEW.finished_at_ms, NEW.started_at_ms) FROM lane WHERE id = NEW.lane_id;
END;

CREATE TRIGGER event_of_tutorial_queued AFTER INSERT ON tutorial WHEN NEW.status = 'queued'
BEGIN
    INSERT INTO event (at_ms, repository_id, branch_id, kind, detail)
    SELECT NEW.queued_at_ms, branch.repository_id, branch.id, 'tutorial.queued',
           json_object('branch', branch.name, 'head_oid', head.oid, 'actor', NEW.requested_by)
    FROM head JOIN branch ON branch.id = head.branch_id WHERE head.id = NEW.head_id;
END;

CREATE TRIGGER event_of_tutorial_changed AFTER UPDATE OF status ON tutorial WHEN NEW.status <> OLD.status
BEGIN
    INSERT INTO event (at_ms, repository_id, branch_id, kind, detail)
    SELECT CASE NEW.status WHEN 'running' THEN NEW.started_at_ms
                           WHEN 'finished' THEN NEW.finished_at_ms
                           -- No column says when it was given back.
                           ELSE CAST(unixepoch('subsec') * 1000 AS INTEGER) END,
           branch.repository_id, branch.id,
           'tutorial.' || CASE NEW.status WHEN 'running' THEN 'started' ELSE NEW.status END,
           json_object('branch', branch.name, 'head_oid', head.oid, 'tutorial', NEW.outcome,
                       'message', CASE NEW.status WHEN 'running' THEN NULL ELSE NEW.failure END)
    FROM head JOIN branch ON branch.id = head.branch_id WHERE head.id = NEW.head_id;
END;

CREATE TRIGGER event_of_merge_started AFTER INSERT ON merge_intent
BEGIN
    INSERT INTO event (at_ms, repository_id, branch_id, kind, detail)
    SELECT NEW.created_at_ms, branch.repository_id, branch.id, 'merge.started',
           json_object('branch', branch.name, 'head_oid', NEW.head_oid, 'target', NEW.target, 'merge_oid', NEW.merge_oid,
                       'actor', NEW.actor)
    FROM branch WHERE branch.id = NEW.branch_id;
END;

CREATE TRIGGER event_of_merge_ended AFTER UPDATE OF state ON merge_intent WHEN NEW.state <> OLD.state
BEGIN
    INSERT INTO event (at_ms, repository_id, branch_id, kind, detail)
    SELECT NEW.finished_at_ms, branch.repository_id, branch.id,
           CASE NEW.state WHEN 'merged' THEN 'merge.finished' ELSE 'merge.failed' END,
           json_object('branch', branch.name, 'head_oid', NEW.head_oid, 'target', NEW.target, 'merge_oid', NEW.merge_oid,
                       'actor', NEW.actor, 'message', NEW.message)
    FROM branch WHERE branch.id = NEW.branch_id;
END;
