//! SQLite's one writer: transactions of many callers share one commit (group commit).

use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use gantry_model::{Error, Result};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection as _, Executor as _, SqliteConnection, SqlitePool};
use tokio::sync::{Mutex, oneshot};

use crate::db::{Hook, Link, Tx, failed};

/// Connections that read beside the writer.
const READERS_MAX: u32 = 8;
/// Writes that may share one commit, so that the first of them does not wait for ever.
const BATCH_MAX: usize = 128;
/// How long one process waits for another that holds the file, such as `gantry admin`.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

fn options(file: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        .statement_cache_capacity(256)
}

pub(crate) async fn connect(file: &Path) -> Result<SqliteConnection> {
    SqliteConnection::connect_with(&options(file)).await.map_err(failed)
}

pub(crate) async fn readers(file: &Path) -> Result<SqlitePool> {
    SqlitePoolOptions::new()
        .max_connections(READERS_MAX)
        .connect_with(options(file).pragma("query_only", "on"))
        .await
        .map_err(failed)
}

/// Queue of writers over the one connection that may write.
pub(crate) struct Writer {
    waiting: AtomicUsize,
    batch: Mutex<Batch>,
}

/// Writes that will be durable with the next commit.
struct Batch {
    /// `None` only while a write is under way, and for good after [`Writer::close`].
    conn: Option<Box<SqliteConnection>>,
    open: bool,
    pending: Vec<oneshot::Sender<bool>>,
    hooks: Vec<Hook>,
}

impl Writer {
    pub(crate) fn new(conn: SqliteConnection) -> Self {
        let batch = Batch {
            conn: Some(Box::new(conn)),
            open: false,
            pending: Vec::new(),
            hooks: Vec::new(),
        };
        Self { waiting: AtomicUsize::new(0), batch: Mutex::new(batch) }
    }

    /// Runs `work` in a savepoint; the commit is left to the next writer if one already waits.
    pub(crate) async fn write<T, W>(self: Arc<Self>, work: W) -> Result<T>
    where
        W: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<T>>,
    {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let mut batch = self.batch.lock().await;
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        let outcome = batch.run(work).await;
        if self.waiting.load(Ordering::SeqCst) == 0 || batch.pending.len() >= BATCH_MAX {
            let durable = batch.commit().await;
            drop(batch);
            // The writes of others were told by `commit`.
            return outcome.and_then(|value| durable.map(|()| value));
        }
        let value = outcome?;
        let (sender, receiver) = oneshot::channel();
        batch.pending.push(sender);
        drop(batch);
        match receiver.await {
            Ok(true) => Ok(value),
            _ => Err(Error::internal("the commit of this write and its neighbours failed")),
        }
    }

    pub(crate) async fn close(&self) {
        let mut batch = self.batch.lock().await;
        if let Some(conn) = batch.conn.take()
            && let Err(error) = conn.close().await
        {
            tracing::warn!(%error, "the database was not closed cleanly");
        }
    }
}

impl Batch {
    async fn run<T, W>(&mut self, work: W) -> Result<T>
    where
        W: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<T>>,
    {
        let mut conn = self.conn.take().ok_or_else(|| Error::internal("the database is closed"))?;
        if let Err(error) = begin(&mut conn, self.open).await {
            self.conn = Some(conn);
            return Err(error);
        }
        self.open = true;
        let mut tx = Tx::new(Link::SqliteWriter(conn));
        let outcome = AssertUnwindSafe(work(&mut tx)).catch_unwind().await;
        let Tx { link, after_commit, rehearsal, .. } = tx;
        let Link::SqliteWriter(mut conn) = link else {
            return Err(Error::internal("a write lost its connection"));
        };
        let outcome = outcome.unwrap_or_else(|_| Err(Error::internal("a write panicked")));
        let stays = outcome.is_ok() && !rehearsal;
        let end =
            if stays { "RELEASE one_write" } else { "ROLLBACK TO one_write; RELEASE one_write" };
        let ended = conn.execute(end).await.map_err(failed);
        self.conn = Some(conn);
        ended?;
        if stays {
            self.hooks.extend(after_commit);
        }
        outcome
    }

    /// Makes everything since the last commit durable and tells those who wait for it.
    async fn commit(&mut self) -> Result<()> {
        let hooks = std::mem::take(&mut self.hooks);
        let pending = std::mem::take(&mut self.pending);
        let Some(conn) = self.conn.as_mut().filter(|_| self.open) else { return Ok(()) };
        self.open = false;
        let committed = conn.execute("COMMIT").await.map_err(failed);
        if committed.is_err() {
            // Nothing to do about a second failure: the next BEGIN reports it.
            let _ = conn.execute("ROLLBACK").await;
        } else {
            hooks.into_iter().for_each(|hook| hook());
        }
        for sender in pending {
            // A writer that is gone needs no answer.
            let _ = sender.send(committed.is_ok());
        }
        committed.map(|_| ())
    }
}

async fn begin(conn: &mut SqliteConnection, open: bool) -> Result<()> {
    if !open {
        conn.execute("BEGIN IMMEDIATE").await.map_err(failed)?;
    }
    conn.execute("SAVEPOINT one_write").await.map_err(failed)?;
    Ok(())
}
