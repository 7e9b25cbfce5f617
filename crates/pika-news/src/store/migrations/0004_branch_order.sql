-- A list of branches follows an index, whatever their state: of five thousand, fifty are read. The table's own key comes last in
-- each index, which is the order of those that changed at the same time.
CREATE INDEX branch_by_time ON branch (repository_id, updated_at_ms);
DROP INDEX branch_by_change;
CREATE INDEX branch_by_change ON branch (repository_id, state, updated_at_ms);
