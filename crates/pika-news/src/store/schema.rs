//! The schema and how it came to be: numbered migrations, each applied once, in order.
//!
//! Invariant: a migration that was released is never edited; a new one follows it.

use std::cmp::Ordering;
use std::path::Path;

use rusqlite::Connection;
use rusqlite_migration::{Error, M, MigrationDefinitionError, Migrations};

use super::StoreError;

const MIGRATIONS: &[M<'static>] = &[
    M::up(include_str!("migrations/0001_forge.sql")),
    M::up(include_str!("migrations/0002_tutorial.sql")),
    M::up(include_str!("migrations/0003_access.sql")),
    M::up(include_str!("migrations/0004_branch_order.sql")),
    M::up(include_str!("migrations/0005_identity.sql")),
    M::up(include_str!("migrations/0006_secrets.sql")),
    M::up(include_str!("migrations/0007_events.sql")),
    M::up(include_str!("migrations/0008_mirror.sql")),
    M::up(include_str!("migrations/0009_webhooks.sql")),
    M::up(include_str!("migrations/0010_nightlies.sql")),
    M::up(include_str!("migrations/0011_passkeys.sql")),
];

/// Brings a database up to date.
pub(super) fn migrate(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let migrated = Migrations::from_slice(MIGRATIONS).to_latest(connection);
    migrated.map_err(|source| match source {
        Error::MigrationDefinition(MigrationDefinitionError::DatabaseTooFarAhead) => {
            StoreError::TooNew { path: path.to_owned() }
        }
        source => StoreError::Migrate { path: path.to_owned(), source },
    })
}

/// Makes sure that a database is as this program needs it, and changes nothing.
pub(super) fn check(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    match usize::try_from(version).unwrap_or(0).cmp(&MIGRATIONS.len()) {
        Ordering::Equal => Ok(()),
        Ordering::Less => Err(StoreError::Outdated { path: path.to_owned() }),
        Ordering::Greater => Err(StoreError::TooNew { path: path.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_migrations_apply_in_order_to_an_empty_database() {
        Migrations::from_slice(MIGRATIONS).validate().unwrap();
    }

    #[test]
    fn a_database_of_the_first_schema_is_brought_up_to_date_and_keeps_what_it_holds() {
        let mut connection = Connection::open_in_memory().unwrap();
        Migrations::from_slice(&MIGRATIONS[..1]).to_latest(&mut connection).unwrap();
        connection
            .execute_batch(
                "INSERT INTO repository VALUES (1, 'sample', 5);
                 INSERT INTO branch VALUES (1, 1, 'topic', 'open', NULL, NULL, 6);
                 INSERT INTO head (id, branch_id, oid, is_orphan, subject, author, selection, pushed_at_ms)
                 VALUES (1, 1, 'aa', 0, 'Do it', 'Ada', 'selected', 7);
                 UPDATE branch SET head_id = 1;",
            )
            .unwrap();
        migrate(&mut connection, Path::new("forge.sqlite")).unwrap();
        let subject: String = connection
            .query_row("SELECT subject FROM head JOIN branch ON branch.head_id = head.id", [], |row| {
                row.get(0)
            })
            .unwrap();
        assert_eq!(subject, "Do it");
        connection
            .execute("INSERT INTO tutorial (head_id, status, queued_at_ms) VALUES (1, 'queued', 8)", [])
            .unwrap();
        check(&connection, Path::new("forge.sqlite")).unwrap();
    }

    /// The columns of every table, with their types.
    fn tables(connection: &Connection) -> Vec<(String, Vec<(String, String)>)> {
        let list = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'";
        let mut statement = connection.prepare(list).unwrap();
        let names = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
        let columns = |table: &str| {
            let mut statement = connection.prepare("SELECT name, type FROM pragma_table_info(?1)").unwrap();
            let columns = statement.query_map([table], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
            columns.map(Result::unwrap).collect()
        };
        names.map(|name| name.unwrap()).map(|name| (name.clone(), columns(&name))).collect()
    }

    fn rows(connection: &Connection, table: &str, columns: &[(String, String)]) -> Vec<String> {
        let quoted: Vec<String> = columns.iter().map(|(name, _)| format!("quote({name})")).collect();
        let sql = format!("SELECT {} FROM {table}", quoted.join(" || ',' || "));
        let mut statement = connection.prepare(&sql).unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    }

    #[test]
    fn an_upgrade_from_any_earlier_schema_loses_no_row_of_any_table() {
        for version in 1..MIGRATIONS.len() {
            let mut connection = Connection::open_in_memory().unwrap();
            Migrations::from_slice(&MIGRATIONS[..version]).to_latest(&mut connection).unwrap();
            // One row in each, that all refer to each other: every number is 1.
            connection
                .execute_batch("PRAGMA foreign_keys = OFF; PRAGMA ignore_check_constraints = ON")
                .unwrap();
            for (table, columns) in tables(&connection) {
                let value = |column: &(String, String)| match column.1.as_str() {
                    "INTEGER" => "1",
                    "REAL" => "1.0",
                    "BLOB" => "x'01'",
                    _ => "'1'",
                };
                let values: Vec<&str> = columns.iter().map(value).collect();
                // A trigger may have written the row already.
                let sql = format!("INSERT OR IGNORE INTO {table} VALUES ({})", values.join(", "));
                connection.execute(&sql, []).unwrap_or_else(|error| panic!("{sql}: {error}"));
            }
            connection
                .execute_batch("PRAGMA foreign_keys = ON; PRAGMA ignore_check_constraints = OFF")
                .unwrap();
            let before: Vec<_> = tables(&connection)
                .into_iter()
                .map(|(table, columns)| (rows(&connection, &table, &columns), table, columns))
                .collect();
            assert!(before.iter().all(|(rows, ..)| !rows.is_empty()), "{version}");
            migrate(&mut connection, Path::new("forge.sqlite")).unwrap();
            for (rows_before, table, columns) in before {
                let rows_after = rows(&connection, &table, &columns);
                for row in rows_before {
                    assert!(rows_after.contains(&row), "from schema {version}, {table} has lost {row}");
                }
            }
            let broken: i64 = connection
                .query_row("SELECT count(*) FROM pragma_foreign_key_check", [], |row| row.get(0))
                .unwrap();
            assert_eq!(broken, 0, "from schema {version}");
        }
    }

    #[test]
    fn who_might_write_before_there_were_roles_still_may() {
        let mut connection = Connection::open_in_memory().unwrap();
        Migrations::from_slice(&MIGRATIONS[..2]).to_latest(&mut connection).unwrap();
        connection
            .execute_batch(
                "INSERT INTO repository VALUES (1, 'sample', 5);
                 INSERT INTO user VALUES (1, 'admin', 1, 0, 6), (2, 'ada', 0, 0, 7);
                 INSERT INTO token (user_id, title, secret_hash, created_at_ms) VALUES (2, 'git', x'00', 8);",
            )
            .unwrap();
        migrate(&mut connection, Path::new("forge.sqlite")).unwrap();
        let role: (i64, String) = connection
            .query_row("SELECT user_id, role FROM membership", [], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap();
        assert_eq!(role, (2, "write".to_owned()));
        let scopes: String = connection.query_row("SELECT scopes FROM token", [], |row| row.get(0)).unwrap();
        assert_eq!(scopes, "read push write admin");
    }

    #[test]
    fn a_database_of_a_newer_forge_is_refused() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection.pragma_update(None, "user_version", MIGRATIONS.len() as i64 + 1).unwrap();
        let refused = migrate(&mut connection, Path::new("forge.sqlite"));
        assert!(matches!(refused, Err(StoreError::TooNew { .. })), "{refused:?}");
    }

    #[test]
    fn a_database_that_an_older_forge_runs_with_is_left_alone() {
        let connection = Connection::open_in_memory().unwrap();
        let refused = check(&connection, Path::new("forge.sqlite"));
        assert!(matches!(refused, Err(StoreError::Outdated { .. })), "{refused:?}");
        assert_eq!(
            connection.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0)).unwrap(),
            0
        );
    }
}
