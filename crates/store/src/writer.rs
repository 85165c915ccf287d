//! SQLite's one writer: transactions of many callers share one commit (group commit).

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use gantry_model::{Error, Result};
use rusqlite::Connection;
use tokio::sync::{Mutex, oneshot};

use crate::db::{Hook, Link, Tx};
use crate::sqlite::{execute, failed};

/// Writes that may share one commit, so that the first of them does not wait for ever.
const BATCH_MAX: usize = 128;

/// Queue of writers over the one connection that may write.
pub(crate) struct Writer {
    waiting: AtomicUsize,
    batch: Mutex<Batch>,
}

/// Writes that will be durable with the next commit.
struct Batch {
    /// `None` only while a write is under way, and for good after [`Writer::close`].
    conn: Option<Connection>,
    open: bool,
    pending: Vec<oneshot::Sender<bool>>,
    hooks: Vec<Hook>,
}

impl Writer {
    pub(crate) fn new(conn: Connection) -> Self {
        let batch = Batch { conn: Some(conn), open: false, pending: Vec::new(), hooks: Vec::new() };
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
            && let Err((_, error)) = conn.close()
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
        let conn = self.conn.take().ok_or_else(closed)?;
        if let Err(error) = begin(&conn, self.open) {
            self.conn = Some(conn);
            return Err(failed(error));
        }
        self.open = true;
        let mut tx = Tx::new(Link::SqliteWriter(conn));
        let outcome = AssertUnwindSafe(work(&mut tx)).catch_unwind().await;
        let Tx { link, after_commit, rehearsal, .. } = tx;
        let Link::SqliteWriter(conn) = link else {
            return Err(Error::internal("a write lost its connection"));
        };
        let outcome = outcome.unwrap_or_else(|_| Err(Error::internal("a write panicked")));
        let stays = outcome.is_ok() && !rehearsal;
        let ended = end(&conn, stays).map_err(failed);
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
        if !std::mem::take(&mut self.open) {
            return Ok(());
        }
        let committed = self.sync().await;
        if committed.is_ok() {
            hooks.into_iter().for_each(|hook| hook());
        }
        for sender in pending {
            // A writer that is gone needs no answer.
            let _ = sender.send(committed.is_ok());
        }
        committed
    }

    /// Commits where waiting for the disk holds up nobody else.
    async fn sync(&mut self) -> Result<()> {
        let conn = self.conn.take().ok_or_else(closed)?;
        let commit = move || {
            let committed = execute(&conn, "COMMIT");
            if committed.is_err() {
                // Nothing to do about a second failure: the next BEGIN reports it.
                let _ = execute(&conn, "ROLLBACK");
            }
            (conn, committed)
        };
        let (conn, committed) =
            tokio::task::spawn_blocking(commit).await.map_err(Error::internal)?;
        self.conn = Some(conn);
        committed.map_err(failed)
    }
}

fn begin(conn: &Connection, open: bool) -> rusqlite::Result<()> {
    if !open {
        execute(conn, "BEGIN IMMEDIATE")?;
    }
    execute(conn, "SAVEPOINT one_write")
}

fn end(conn: &Connection, stays: bool) -> rusqlite::Result<()> {
    if !stays {
        execute(conn, "ROLLBACK TO one_write")?;
    }
    execute(conn, "RELEASE one_write")
}

fn closed() -> Error {
    Error::internal("the database is closed")
}
