//! The forge's database: SQLite in one file. All SQL is below this module.
//!
//! Invariants: every change is one transaction on the one writing connection; readers never wait for it (WAL); no
//! method hands out a connection.

mod account;
mod audit;
mod branch;
mod connection;
mod event;
mod external_identity;
mod head;
mod identity;
mod lane_run;
mod list;
mod membership;
mod merge;
mod mirror;
mod nightly;
mod passkey;
mod reader;
mod record;
mod sample;
mod schema;
mod secret;
mod ssh_key;
mod tutorial;
mod webhook;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use branch::BranchHead;
pub use external_identity::{Adopted, ExternalIdentity};
pub use head::{HeadWithLanes, NewHead, NewLane, RecordedHead};
pub use identity::{AddedCredential, Identified, NewToken};
pub use lane_run::{CancelEffect, Claim, Finish, Finished, LaneRunJob, NewAttempt, QueuedLaneRun, Renewed};
pub use list::{LaneRunsOf, PlacedLaneRun};
pub use merge::{MergeIntent, NewMerge};
pub(crate) use mirror::MirrorRound;
pub use mirror::MirrorState;
pub use nightly::{BeganNightly, NewNightly, NightlyRecord};
pub use passkey::{FoundPasskey, NewPasskey};
pub use record::{BranchRecord, Group, HeadRecord, LaneRecord, LaneRunRecord};
pub use sample::SampleHistory;
pub use secret::SecretRow;
pub use ssh_key::NewSshKey;
pub use tutorial::{FinishTutorial, TutorialJob, TutorialRecord, TutorialStatus};
pub use webhook::{DeliveryRecord, NewDelivery, NewWebhook, Tried, WebhookRecord};

use connection::{Readers, Writer};
use tokio::sync::watch;

/// Why the database could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file could not be opened.
    #[error("cannot open the database {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// The schema could not be brought up to date.
    #[error("cannot bring the database {} up to date", path.display())]
    Migrate {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rusqlite_migration::Error,
    },
    /// A newer forge has written it. Going on would lose what it wrote.
    #[error("the database {} was written by a newer pika-news; start that one, or restore a backup", path.display())]
    TooNew {
        /// The file.
        path: PathBuf,
    },
    /// The database refused.
    #[error("the database refused")]
    Sqlite(#[from] rusqlite::Error),
    /// A stored word or id is none that this forge knows.
    #[error("the database holds the {what} {text:?}, which this pika-news does not know")]
    Word {
        /// What it should be.
        what: &'static str,
        /// What is stored.
        text: String,
    },
    /// An older forge, which is running, made it. Going on would change it under that one's hands.
    #[error("the database {} is of an older pika-news that is running; stop that one, or use its own program", path.display())]
    Outdated {
        /// The file.
        path: PathBuf,
    },
    /// The file is damaged.
    #[error("the database {} is damaged: {said}", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// What SQLite found first.
        said: String,
    },
    /// A transaction ended in a panic, and was rolled back.
    #[error("a transaction of the database failed; this is a mistake in pika-news")]
    Panicked,
    /// The store was closed, or its thread ended.
    #[error("the database is closed")]
    Closed,
}

impl StoreError {
    /// Whether the same can be tried again: the database is locked, or its disk is full.
    pub fn is_passing(&self) -> bool {
        use rusqlite::ErrorCode;
        let StoreError::Sqlite(error) = self else { return false };
        let code = error.sqlite_error_code();
        matches!(code, Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::DiskFull))
    }
}

/// The database. Clones share it.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    writer: Writer,
    readers: Readers,
    latest_event: watch::Sender<i64>,
}

impl Inner {
    fn new(connection: rusqlite::Connection, readers: Readers) -> Arc<Inner> {
        Arc::new(Inner { writer: Writer::start(connection), readers, latest_event: watch::Sender::new(0) })
    }
}

impl Store {
    /// Opens the file, makes it when there is none, and brings its schema up to date.
    ///
    /// Blocks; call it before serving.
    pub fn open(path: &Path) -> Result<Store, StoreError> {
        let mut connection = connection::open(path)?;
        schema::migrate(&mut connection, path)?;
        let readers = Readers::open(path)?;
        Ok(Store { inner: Inner::new(connection, readers) })
    }

    /// Opens the file beside a forge that is running with it, whose schema is left as it is.
    ///
    /// Blocks; call it before serving.
    pub fn open_beside(path: &Path) -> Result<Store, StoreError> {
        let connection = connection::open(path)?;
        schema::check(&connection, path)?;
        let readers = Readers::open(path)?;
        Ok(Store { inner: Inner::new(connection, readers) })
    }

    /// Writes the database as it is now into a new file, beside whatever goes on, and checks the file.
    pub async fn copy_to(&self, to: &Path) -> Result<(), StoreError> {
        let (from, to) = (self.inner.readers.path().to_owned(), to.to_owned());
        let copied = tokio::task::spawn_blocking(move || {
            // A connection of its own: this takes long, and can't be part of a transaction.
            connection::open_reader(&from)?.execute("VACUUM INTO ?1", [to.to_string_lossy()])?;
            check_file(&to)
        });
        copied.await.map_err(|_| StoreError::Closed)?
    }

    /// Runs one transaction on the writing connection; commits when `work` succeeds, rolls back otherwise.
    ///
    /// The transaction happens even if the caller stops waiting for it.
    async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&rusqlite::Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let (value, latest) = self
            .inner
            .writer
            .run(move |transaction| {
                let value = work(transaction)?;
                event::tell_verdicts(transaction)?;
                Ok((value, event::latest(transaction)?))
            })
            .await?;
        self.inner.latest_event.send_if_modified(|known| {
            let is_newer = latest > *known;
            *known = latest.max(*known);
            is_newer
        });
        Ok(value)
    }

    /// Runs queries on a reading connection, all against one state of the database.
    async fn read<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&rusqlite::Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        self.inner.readers.run(work).await
    }

    /// The same for what an index finds in a few pages, whatever the size of the database.
    async fn look_up<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&rusqlite::Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        self.inner.readers.look_up(work).await
    }
}

/// Makes sure that a file is a whole database that this forge can use, or bring up to date. Blocks.
pub fn check_file(path: &Path) -> Result<(), StoreError> {
    let connection = connection::open_reader(path)?;
    let said: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if said != "ok" {
        return Err(StoreError::Broken { path: path.to_owned(), said });
    }
    match schema::check(&connection, path) {
        // A restored one is brought up to date when it is opened.
        Err(StoreError::Outdated { .. }) => Ok(()),
        checked => checked,
    }
}

#[cfg(test)]
mod tests;
