//! The connections: one that writes, on a thread of its own, and a few that read.
//!
//! Invariant: the queue to the writer is bounded; whoever finds it full waits.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::StoreError;

const READERS: usize = 4;
const WRITES_QUEUED_MAX: usize = 256;
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
const STATEMENTS_CACHED: usize = 64;

/// Opens a connection that may write.
pub(super) fn open(path: &Path) -> Result<Connection, StoreError> {
    let opened = Connection::open(path).and_then(|connection| {
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        // FULL: what is written before a deed must survive a loss of power that the deed survives.
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
        Ok(connection)
    });
    opened.map_err(|source| StoreError::Open { path: path.to_owned(), source })
}

pub(super) fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let opened = Connection::open_with_flags(path, flags).and_then(|connection| {
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
        Ok(connection)
    });
    opened.map_err(|source| StoreError::Open { path: path.to_owned(), source })
}

type Work = Box<dyn FnOnce(&mut Connection) + Send>;

/// The thread that owns the writing connection. It ends when the last handle is dropped and the queue is empty.
pub(super) struct Writer {
    queue: mpsc::Sender<Work>,
}

impl Writer {
    pub(super) fn start(mut connection: Connection) -> Writer {
        let (queue, mut works) = mpsc::channel::<Work>(WRITES_QUEUED_MAX);
        std::thread::spawn(move || {
            while let Some(work) = works.blocking_recv() {
                work(&mut connection);
            }
        });
        Writer { queue }
    }

    pub(super) async fn run<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let work: Work = Box::new(move |connection| {
            // Nobody may be waiting any more; the transaction counts all the same.
            // A mistake in one transaction must not end the thread that all others need; it was rolled back.
            let done = catch_unwind(AssertUnwindSafe(|| transact(connection, work)));
            let _ = answer.send(done.unwrap_or(Err(StoreError::Panicked)));
        });
        self.queue.send(work).await.map_err(|_| StoreError::Closed)?;
        answered.await.map_err(|_| StoreError::Closed)?
    }
}

fn transact<T>(
    connection: &mut Connection,
    work: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    // Immediate: the lock is taken at the start, where waiting for it is allowed.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let value = work(&transaction)?;
    transaction.commit()?;
    Ok(value)
}

/// The reading connections. More readers than connections wait for their turn.
pub(super) struct Readers {
    path: PathBuf,
    turns: Semaphore,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    pub(super) fn open(path: &Path) -> Result<Readers, StoreError> {
        let idle = Mutex::new(vec![open_reader(path)?]);
        Ok(Readers { path: path.to_owned(), turns: Semaphore::new(READERS), idle })
    }

    /// The file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) async fn run<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let _turn = self.turns.acquire().await.map_err(|_| StoreError::Closed)?;
        let mut connection = self.take()?;
        let (connection, value) = tokio::task::spawn_blocking(move || {
            let value = look(&mut connection, work);
            (connection, value)
        })
        .await
        .map_err(|_| StoreError::Closed)?;
        self.give_back(connection);
        value
    }

    /// Like [`Readers::run`], on the thread that asks when a connection is idle: to hand a query of some microseconds to
    /// another thread takes several times as long as the query.
    pub(super) async fn look_up<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let Ok(_turn) = self.turns.try_acquire() else { return self.run(work).await };
        let mut connection = self.take()?;
        let value = look(&mut connection, work);
        self.give_back(connection);
        value
    }

    fn take(&self) -> Result<Connection, StoreError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        idle.map_or_else(|| open_reader(&self.path), Ok)
    }

    fn give_back(&self, connection: Connection) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
    }
}

fn look<T>(
    connection: &mut Connection,
    work: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    work(&connection.transaction()?)
}
