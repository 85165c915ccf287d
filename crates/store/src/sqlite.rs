//! SQLite behind the seam: its connections, and its statements on the caller's own thread.
//!
//! A statement takes microseconds, which is less than it takes to wake another thread for it. What
//! waits for the disk or may read much, a commit or a search, goes to a thread for blocking work.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gantry_model::{Error, Result};
use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, Statement, ToSql};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::constraint;
use crate::db::Val;

/// Connections that read beside the writer.
const READERS_MAX: usize = 8;
/// How long one process waits for another that holds the file, such as `gantry admin`.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// Prepared statements a connection keeps.
const STATEMENTS_MAX: usize = 256;
/// What a connection keeps of the file in memory, in KiB: the hot part of the indexes.
const PAGE_CACHE: i64 = 16 * 1024;

/// A connection that may write.
pub(crate) fn connect(file: &Path) -> Result<Connection> {
    let open = || {
        let conn = Connection::open(file)?;
        conn.busy_timeout(BUSY_TIMEOUT)?;
        conn.pragma_update(None, "journal_mode", "wal")?;
        conn.pragma_update(None, "synchronous", "full")?;
        conn.pragma_update(None, "foreign_keys", "on")?;
        conn.pragma_update(None, "cache_size", -PAGE_CACHE)?;
        conn.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        Ok(conn)
    };
    open().map_err(failed)
}

/// Connections that only read, opened when needed and kept.
pub(crate) struct Readers {
    file: PathBuf,
    idle: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
}

impl Readers {
    pub(crate) fn new(file: &Path) -> Self {
        Self {
            file: file.to_owned(),
            idle: Mutex::default(),
            permits: Arc::new(Semaphore::new(READERS_MAX)),
        }
    }

    /// A connection, as soon as one is free.
    pub(crate) async fn acquire(self: &Arc<Self>) -> Result<Reader> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(Error::internal)?;
        let idle = self.idle().pop();
        let conn = match idle {
            Some(conn) => conn,
            None => {
                let conn = connect(&self.file)?;
                conn.pragma_update(None, "query_only", "on").map_err(failed)?;
                conn
            }
        };
        let pool = Arc::clone(self);
        Ok(Reader { conn: Some(conn), pool, in_snapshot: false, _permit: permit })
    }

    /// A connection whose reads all see the same state of the database.
    pub(crate) async fn snapshot(self: &Arc<Self>) -> Result<Reader> {
        let mut reader = self.acquire().await?;
        execute(reader.conn()?, "BEGIN").map_err(failed)?;
        reader.in_snapshot = true;
        Ok(reader)
    }

    pub(crate) fn close(&self) {
        self.permits.close();
        self.idle().clear();
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection on loan; it goes back when dropped.
pub(crate) struct Reader {
    /// None only while a blocking thread has it. One that does not come back is replaced.
    conn: Option<Connection>,
    pool: Arc<Readers>,
    in_snapshot: bool,
    _permit: OwnedSemaphorePermit,
}

impl Reader {
    pub(crate) fn conn(&mut self) -> Result<&mut Connection> {
        self.conn.as_mut().ok_or_else(lost)
    }

    /// All rows of a query that may read much, on a thread that may block.
    pub(crate) async fn all_elsewhere(
        &mut self,
        sql: String,
        values: Vec<Val>,
    ) -> Result<Vec<Row>> {
        let conn = self.conn.take().ok_or_else(lost)?;
        let read = move || {
            let rows = all(&conn, &sql, &values);
            (conn, rows)
        };
        let (conn, rows) = tokio::task::spawn_blocking(read).await.map_err(Error::internal)?;
        self.conn = Some(conn);
        rows
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let Some(conn) = self.conn.take() else { return };
        let clean = !self.in_snapshot || execute(&conn, "ROLLBACK").is_ok();
        if clean && !self.pool.permits.is_closed() {
            self.pool.idle().push(conn);
        }
    }
}

/// A row, apart from the statement it came from.
pub(crate) struct Row {
    names: Arc<[String]>,
    values: Vec<Value>,
}

impl Row {
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// The value of a column, if there is one of this name.
    pub(crate) fn value(&self, name: &str) -> Option<&Value> {
        let index = self.names.iter().position(|column| column == name)?;
        self.values.get(index)
    }
}

/// All rows of a query.
pub(crate) fn all(conn: &Connection, sql: &str, values: &[Val]) -> Result<Vec<Row>> {
    let read = || {
        let mut statement = conn.prepare_cached(sql)?;
        bind(&mut statement, values)?;
        let names: Arc<[String]> = statement.column_names().map(str::to_owned).collect();
        let mut found = Vec::new();
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next()? {
            let values = (0..names.len()).map(|index| row.get_ref(index).map(Value::try_from));
            let values: Result<Vec<_>, _> = values.collect();
            let values: Result<Vec<_>, _> = values?.into_iter().collect();
            found.push(Row { names: Arc::clone(&names), values: values? });
        }
        Ok(found)
    };
    read().map_err(constraint::sqlite_error)
}

/// Changes rows and says how many.
pub(crate) fn run(conn: &Connection, sql: &str, values: &[Val]) -> Result<u64> {
    let change = || {
        let mut statement = conn.prepare_cached(sql)?;
        bind(&mut statement, values)?;
        statement.raw_execute()
    };
    change().map(|rows| rows as u64).map_err(constraint::sqlite_error)
}

/// A statement without values or rows, such as `COMMIT`.
pub(crate) fn execute(conn: &Connection, sql: &str) -> rusqlite::Result<()> {
    conn.prepare_cached(sql)?.raw_execute().map(|_| ())
}

/// SQLite numbers placeholders by their first appearance; ours go by the number in their name.
fn bind(statement: &mut Statement<'_>, values: &[Val]) -> rusqlite::Result<()> {
    for index in 1..=statement.parameter_count() {
        let number = statement.parameter_name(index).and_then(|name| name.strip_prefix('$'));
        let position = number.and_then(|text| text.parse::<usize>().ok()?.checked_sub(1));
        let value = position.and_then(|position| values.get(position));
        let value = value.ok_or(rusqlite::Error::InvalidParameterCount(values.len(), index))?;
        statement.raw_bind_parameter(index, value)?;
    }
    Ok(())
}

impl ToSql for Val {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let value = match self {
            Self::Int(Some(number)) => ValueRef::Integer(*number),
            Self::Text(Some(text)) => ValueRef::Text(text.as_bytes()),
            Self::Int(None) | Self::Text(None) => ValueRef::Null,
        };
        Ok(ToSqlOutput::Borrowed(value))
    }
}

fn lost() -> Error {
    Error::internal("a connection to the database was lost")
}

/// A failure of the engine that is nobody's fault out there.
pub(crate) fn failed(error: rusqlite::Error) -> Error {
    Error::internal(error)
}
