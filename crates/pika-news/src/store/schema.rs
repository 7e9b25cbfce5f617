//! The schema and how it came to be: numbered migrations, each applied once, in order.
//!
//! Invariant: a migration that was released is never edited; a new one follows it.

use std::cmp::Ordering;
use std::path::Path;

use rusqlite::Connection;
use rusqlite_migration::{Error, M, MigrationDefinitionError, Migrations};

use super::StoreError;

const MIGRATIONS: &[M<'static>] = &[M::up(include_str!("migrations/0001_forge.sql"))];

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
