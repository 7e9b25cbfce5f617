//! The rows as the forge reads them, and how a row becomes one.
//!
//! Invariant: a stored word becomes its type here, or the row is an error that names the word.

use pikaci::{Fault, Outcome, RunId};
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ValueRef};
use rusqlite::{Row, Transaction};

use super::StoreError;
use crate::forge::id::{BranchId, HeadId, LaneId, LaneRunId, MergeId, RepositoryId};
use crate::forge::state::{BranchState, LaneKind, LaneRunStatus, Selection};

/// A branch.
#[derive(Clone, Debug, PartialEq)]
pub struct BranchRecord {
    /// Its number.
    pub id: BranchId,
    /// Its repository.
    pub repository_id: RepositoryId,
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub state: BranchState,
    /// The head that it points at.
    pub head_id: HeadId,
    /// The commit that merged it.
    pub merge_oid: Option<String>,
    /// When it last changed.
    pub updated_at_ms: i64,
}

/// A head.
#[derive(Clone, Debug, PartialEq)]
pub struct HeadRecord {
    /// Its number.
    pub id: HeadId,
    /// Its branch.
    pub branch_id: BranchId,
    /// The commit.
    pub oid: String,
    /// The merge base with the target.
    pub base_oid: Option<String>,
    /// Whether it shares no history with the target.
    pub is_orphan: bool,
    /// The first line of the commit's message.
    pub subject: String,
    /// The commit's author.
    pub author: String,
    /// What was read from the manifest.
    pub selection: Selection,
    /// Who pushed it.
    pub pushed_by: Option<String>,
    /// When.
    pub pushed_at_ms: i64,
}

/// A lane.
#[derive(Clone, Debug, PartialEq)]
pub struct LaneRecord {
    /// Its number.
    pub id: LaneId,
    /// Its head.
    pub head_id: HeadId,
    /// The target's id.
    pub target: String,
    /// The target's title.
    pub title: String,
    /// Whether a merge needs it.
    pub is_required: bool,
    /// What selection made of it.
    pub kind: LaneKind,
    /// Why, when it is not to be run.
    pub reason: Option<String>,
    /// Its concurrency group.
    pub group: Option<Group>,
}

/// A concurrency group of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// How many lanes of it may run at once.
    pub size: u32,
}

/// An attempt at a lane.
#[derive(Clone, Debug, PartialEq)]
pub struct LaneRunRecord {
    /// Its number.
    pub id: LaneRunId,
    /// Its lane.
    pub lane_id: LaneId,
    /// From 1.
    pub attempt: u32,
    /// Why it is there.
    pub cause: String,
    /// Who asked for it.
    pub requested_by: Option<String>,
    /// Where it stands.
    pub status: LaneRunStatus,
    /// The run of `pikaci`.
    pub run_id: Option<RunId>,
    /// Whether somebody asked to stop it.
    pub is_cancel_requested: bool,
    /// Whether a newer head of its branch stopped it.
    pub is_superseded: bool,
    /// Why it waits.
    pub waits: Option<String>,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// Whose fault it was.
    pub fault: Option<Fault>,
    /// What a reader should know beyond the outcome.
    pub message: Option<String>,
    /// When it was queued.
    pub queued_at_ms: i64,
    /// When it was claimed.
    pub started_at_ms: Option<i64>,
    /// When its outcome was stored.
    pub finished_at_ms: Option<i64>,
}

pub(super) const BRANCH_COLUMNS: &str = "id, repository_id, name, state, head_id, merge_oid, updated_at_ms";
pub(super) const HEAD_COLUMNS: &str = "id, branch_id, oid, base_oid, is_orphan, subject, author, selection, \
    selection_message, selection_line, selection_column, pushed_by, pushed_at_ms";
pub(super) const LANE_COLUMNS: &str =
    "id, head_id, target, title, is_required, kind, reason, group_name, group_size";
pub(super) const LANE_RUN_COLUMNS: &str = "id, lane_id, attempt, cause, requested_by, status, run_id, \
    is_cancel_requested, is_superseded, waits, outcome, fault, message, queued_at_ms, started_at_ms, finished_at_ms";

pub(super) fn branch(row: &Row<'_>) -> rusqlite::Result<BranchRecord> {
    Ok(BranchRecord {
        id: row.get("id")?,
        repository_id: row.get("repository_id")?,
        name: row.get("name")?,
        state: row.get("state")?,
        head_id: row.get("head_id")?,
        merge_oid: row.get("merge_oid")?,
        updated_at_ms: row.get("updated_at_ms")?,
    })
}

pub(super) fn head(row: &Row<'_>) -> rusqlite::Result<HeadRecord> {
    let kind: String = row.get("selection")?;
    let selection = match kind.as_str() {
        SELECTED => Selection::Selected,
        NO_MANIFEST => Selection::NoManifest,
        // Whatever a newer forge may have written, it is not green here.
        _ => Selection::ManifestError {
            message: row.get::<_, Option<String>>("selection_message")?.unwrap_or(kind),
            line: row.get("selection_line")?,
            column: row.get("selection_column")?,
        },
    };
    Ok(HeadRecord {
        id: row.get("id")?,
        branch_id: row.get("branch_id")?,
        oid: row.get("oid")?,
        base_oid: row.get("base_oid")?,
        is_orphan: row.get("is_orphan")?,
        subject: row.get("subject")?,
        author: row.get("author")?,
        selection,
        pushed_by: row.get("pushed_by")?,
        pushed_at_ms: row.get("pushed_at_ms")?,
    })
}

pub(super) const SELECTED: &str = "selected";
pub(super) const NO_MANIFEST: &str = "no_manifest";
pub(super) const MANIFEST_ERROR: &str = "manifest_error";

pub(super) fn lane(row: &Row<'_>) -> rusqlite::Result<LaneRecord> {
    Ok(LaneRecord {
        id: row.get("id")?,
        head_id: row.get("head_id")?,
        target: row.get("target")?,
        title: row.get("title")?,
        is_required: row.get("is_required")?,
        kind: row.get("kind")?,
        reason: row.get("reason")?,
        group: group(row)?,
    })
}

pub(super) fn group(row: &Row<'_>) -> rusqlite::Result<Option<Group>> {
    let name: Option<String> = row.get("group_name")?;
    let size: Option<u32> = row.get("group_size")?;
    Ok(name.map(|name| Group { name, size: size.unwrap_or(1) }))
}

pub(super) fn lane_run(row: &Row<'_>) -> rusqlite::Result<LaneRunRecord> {
    Ok(LaneRunRecord {
        id: row.get("id")?,
        lane_id: row.get("lane_id")?,
        attempt: row.get("attempt")?,
        cause: row.get("cause")?,
        requested_by: row.get("requested_by")?,
        status: row.get("status")?,
        run_id: row.get::<_, Option<StoredRunId>>("run_id")?.map(|stored| stored.0),
        is_cancel_requested: row.get("is_cancel_requested")?,
        is_superseded: row.get("is_superseded")?,
        waits: row.get("waits")?,
        outcome: row.get::<_, Option<Word<Outcome>>>("outcome")?.map(|word| word.0),
        fault: row.get::<_, Option<Word<Fault>>>("fault")?.map(|word| word.0),
        message: row.get("message")?,
        queued_at_ms: row.get("queued_at_ms")?,
        started_at_ms: row.get("started_at_ms")?,
        finished_at_ms: row.get("finished_at_ms")?,
    })
}

/// Collects the rows of a query.
pub(super) fn list<T>(
    transaction: &Transaction<'_>,
    sql: &str,
    parameters: impl rusqlite::Params,
    convert: fn(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>, StoreError> {
    let mut statement = transaction.prepare_cached(sql)?;
    let rows = statement.query_map(parameters, convert)?;
    Ok(rows.collect::<Result<Vec<T>, rusqlite::Error>>()?)
}

/// Reads the row of a query that has at most one.
pub(super) fn find<T>(
    transaction: &Transaction<'_>,
    sql: &str,
    parameters: impl rusqlite::Params,
    convert: fn(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Option<T>, StoreError> {
    use rusqlite::OptionalExtension as _;
    Ok(transaction.prepare_cached(sql)?.query_row(parameters, convert).optional()?)
}

/// A run id as it is stored.
pub(super) struct StoredRunId(pub(super) RunId);

impl FromSql for StoredRunId {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<StoredRunId> {
        RunId::parse(value.as_str()?).map(StoredRunId).map_err(FromSqlError::other)
    }
}

/// A word of the records as it is stored; the records keep words that they do not know.
struct Word<T>(T);

impl<T: serde::de::DeserializeOwned> FromSql for Word<T> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Word<T>> {
        let text = serde_json::Value::String(value.as_str()?.to_owned());
        serde_json::from_value(text).map(Word).map_err(FromSqlError::other)
    }
}

macro_rules! stored_word {
    ($($word:ident: $what:literal),* $(,)?) => {$(
        impl FromSql for $word {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<$word> {
                let text = value.as_str()?;
                let unknown = || StoreError::Word { what: $what, text: text.to_owned() };
                $word::parse(text).ok_or_else(|| FromSqlError::other(unknown()))
            }
        }

        impl rusqlite::ToSql for $word {
            fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
                Ok(self.as_str().into())
            }
        }
    )*};
}

stored_word! { BranchState: "branch state", LaneRunStatus: "lane run status", LaneKind: "lane kind" }

macro_rules! stored_id {
    ($($id:ident),* $(,)?) => {$(
        impl FromSql for $id {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<$id> {
                value.as_i64().map($id)
            }
        }

        impl rusqlite::ToSql for $id {
            fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
                self.0.to_sql()
            }
        }
    )*};
}

stored_id! { RepositoryId, BranchId, HeadId, LaneId, LaneRunId, MergeId }
