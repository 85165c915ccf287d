//! The seam over SQLite and PostgreSQL: one SQL text, `$1` placeholders, typed values, rows by name.
//!
//! What differs between the engines differs here and in `sqlite.rs`, `writer.rs` and `migrate.rs`,
//! nowhere else.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use gantry_model::{Error, Id, Result, Timestamp};
use rusqlite::types::Value;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgPoolOptions, PgRow};
use sqlx::{
    AssertSqlSafe, Column, Executor, PgConnection, PgPool, Postgres, Row as _, Transaction,
};
use tracing::Instrument as _;

use crate::constraint;
use crate::sqlite::{self, Reader, Readers};
use crate::writer::Writer;

/// Connections to PostgreSQL per server.
const POSTGRES_CONNECTIONS_MAX: u32 = 16;

/// A database. Clones share connections.
#[derive(Clone)]
pub struct Db {
    engine: Engine,
    writes: Arc<Writes>,
}

/// What has been written since the start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Statistics {
    /// Transactions that were to write.
    pub writes: u64,
    /// Those of them that were undone, for whatever reason.
    pub failures: u64,
    /// What all took together, waiting for their turn and for the commit included.
    pub took: Duration,
}

#[derive(Default)]
struct Writes {
    count: AtomicU64,
    failures: AtomicU64,
    micros: AtomicU64,
}

#[derive(Clone)]
enum Engine {
    Sqlite { readers: Arc<Readers>, writer: Arc<Writer> },
    Postgres(PgPool),
}

impl Db {
    /// Opens or creates the SQLite database in `file`, with every migration applied.
    pub async fn open_sqlite(file: &Path) -> Result<Self> {
        let file = file.to_owned();
        let open = move || {
            let mut first = sqlite::connect(&file)?;
            crate::migrate::sqlite(&mut first)?;
            Ok(Self::new(Engine::Sqlite {
                readers: Arc::new(Readers::new(&file)),
                writer: Arc::new(Writer::new(first)),
            }))
        };
        tokio::task::spawn_blocking(open).await.map_err(Error::internal)?
    }

    /// Connects to PostgreSQL, with every migration applied.
    pub async fn open_postgres(url: &str) -> Result<Self> {
        let pool = PgPoolOptions::new()
            .max_connections(POSTGRES_CONNECTIONS_MAX)
            .connect(url)
            .await
            .map_err(Error::internal)?;
        crate::migrate::postgres(&pool).await?;
        Ok(Self::new(Engine::Postgres(pool)))
    }

    fn new(engine: Engine) -> Self {
        Self { engine, writes: Arc::default() }
    }

    /// What has been written since the start.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        let Writes { count, failures, micros } = &*self.writes;
        let took = Duration::from_micros(micros.load(Ordering::Relaxed));
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Statistics { writes: load(count), failures: load(failures), took }
    }

    /// A connection for reads that need not agree with each other.
    pub async fn read(&self) -> Result<Tx> {
        Ok(Tx::new(match &self.engine {
            Engine::Sqlite { readers, .. } => Link::Sqlite(readers.acquire().await?),
            Engine::Postgres(pool) => Link::Postgres(pool.acquire().await.map_err(failed)?),
        }))
    }

    /// A connection whose reads all see the same state of the database.
    pub async fn snapshot(&self) -> Result<Tx> {
        Ok(Tx::new(match &self.engine {
            Engine::Sqlite { readers, .. } => Link::Sqlite(readers.snapshot().await?),
            Engine::Postgres(pool) => Link::PostgresTx(
                pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
                    .await
                    .map_err(failed)?,
            ),
        }))
    }

    /// Runs `work` in one transaction and answers after its commit is durable.
    ///
    /// An error of `work` undoes what it did. The transaction runs in a task of its own: a caller
    /// that goes away neither stops it half way nor leaves it open.
    pub async fn write<T, W>(&self, work: W) -> Result<T>
    where
        T: Send + 'static,
        W: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<T>> + Send + 'static,
    {
        let started = Instant::now();
        let span = tracing::info_span!("database write");
        let task = match &self.engine {
            Engine::Sqlite { writer, .. } => {
                tokio::spawn(Arc::clone(writer).write(work).instrument(span))
            }
            Engine::Postgres(pool) => {
                tokio::spawn(write_postgres(pool.clone(), work).instrument(span))
            }
        };
        let outcome = task.await.map_err(Error::internal).flatten();
        self.writes.note(started.elapsed(), outcome.is_ok());
        outcome
    }

    /// Closes all connections; later calls fail.
    pub async fn close(&self) {
        match &self.engine {
            Engine::Sqlite { readers, writer } => {
                readers.close();
                writer.close().await;
            }
            Engine::Postgres(pool) => pool.close().await,
        }
    }
}

impl Writes {
    fn note(&self, took: Duration, is_done: bool) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.micros.fetch_add(micros, Ordering::Relaxed);
        self.failures.fetch_add(u64::from(!is_done), Ordering::Relaxed);
        self.count.fetch_add(1, Ordering::Relaxed);
    }
}

async fn write_postgres<T, W>(pool: PgPool, work: W) -> Result<T>
where
    W: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<T>>,
{
    let transaction = pool.begin().await.map_err(failed)?;
    let mut tx = Tx::new(Link::PostgresTx(transaction));
    // On an error or after a rehearsal the transaction is dropped, which rolls it back.
    let value = work(&mut tx).await?;
    let hooks = std::mem::take(&mut tx.after_commit);
    if tx.rehearsal {
        return Ok(value);
    }
    if let Link::PostgresTx(transaction) = tx.link {
        transaction.commit().await.map_err(failed)?;
    }
    hooks.into_iter().for_each(|hook| hook());
    Ok(value)
}

/// Runs once the transaction it was given to is durable.
pub(crate) type Hook = Box<dyn FnOnce() + Send>;

/// A connection, inside a transaction or not.
pub struct Tx {
    pub(crate) link: Link,
    pub(crate) after_commit: Vec<Hook>,
    /// Nothing of this transaction may stay, whatever it answers.
    pub(crate) rehearsal: bool,
    /// Texts of the queries so far.
    #[cfg(test)]
    pub(crate) asked: Vec<String>,
}

pub(crate) enum Link {
    Sqlite(Reader),
    SqliteWriter(rusqlite::Connection),
    Postgres(PoolConnection<Postgres>),
    PostgresTx(Transaction<'static, Postgres>),
}

enum Conn<'t> {
    Sqlite(&'t mut rusqlite::Connection),
    Postgres(&'t mut PgConnection),
}

impl Tx {
    pub(crate) fn new(link: Link) -> Self {
        Self {
            link,
            after_commit: Vec::new(),
            rehearsal: false,
            #[cfg(test)]
            asked: Vec::new(),
        }
    }

    /// Calls `hook` once this transaction is durable, and never if it is not. Hooks of one SQLite
    /// database run in the order of their commits.
    pub fn after_commit(&mut self, hook: impl FnOnce() + Send + 'static) {
        self.after_commit.push(Box::new(hook));
    }

    /// Undoes everything at the end, hooks included, although the work succeeded: its answer tells
    /// what would have happened.
    pub fn rehearse(&mut self) {
        self.rehearsal = true;
    }

    fn conn(&mut self) -> Result<Conn<'_>> {
        Ok(match &mut self.link {
            Link::Sqlite(reader) => Conn::Sqlite(reader.conn()?),
            Link::SqliteWriter(conn) => Conn::Sqlite(conn),
            Link::Postgres(conn) => Conn::Postgres(conn),
            Link::PostgresTx(conn) => Conn::Postgres(conn),
        })
    }

    /// Condition that `column` contains the text of placeholder `number`, letter by letter.
    pub(crate) fn contains(&mut self, column: &str, number: usize) -> String {
        match self.link {
            Link::Sqlite(_) | Link::SqliteWriter(_) => format!("instr({column}, ${number}) > 0"),
            Link::Postgres(_) | Link::PostgresTx(_) => format!("strpos({column}, ${number}) > 0"),
        }
    }

    /// All rows of a query that may read much, and whose best plan depends on the values.
    pub(crate) async fn all_planned(&mut self, sql: Sql, values: Vec<Val>) -> Result<Vec<Row>> {
        #[cfg(test)]
        self.asked.push(sql.0.clone());
        if let Link::Sqlite(reader) = &mut self.link {
            let rows = reader.all_elsewhere(sql.0, values).await?;
            return Ok(rows.into_iter().map(Row::Sqlite).collect());
        }
        match self.conn()? {
            Conn::Sqlite(conn) => read(conn, &sql.0, &values),
            Conn::Postgres(conn) => {
                let query = sqlx::query_with(AssertSqlSafe(sql.0), postgres_arguments(values)?);
                let rows = conn.fetch_all(query.persistent(false)).await;
                Ok(rows.map_err(constraint::error)?.into_iter().map(Row::Postgres).collect())
            }
        }
    }

    /// All rows of a query.
    pub(crate) async fn all(&mut self, sql: impl Into<Sql>, values: Vec<Val>) -> Result<Vec<Row>> {
        let sql = sql.into().0;
        #[cfg(test)]
        self.asked.push(sql.clone());
        self.let_others_run().await;
        match self.conn()? {
            Conn::Sqlite(conn) => read(conn, &sql, &values),
            Conn::Postgres(conn) => {
                let query = sqlx::query_with(AssertSqlSafe(sql), postgres_arguments(values)?);
                let rows = conn.fetch_all(query).await.map_err(constraint::error)?;
                Ok(rows.into_iter().map(Row::Postgres).collect())
            }
        }
    }

    /// The first row of a query.
    pub(crate) async fn row(
        &mut self,
        sql: impl Into<Sql>,
        values: Vec<Val>,
    ) -> Result<Option<Row>> {
        Ok(self.all(sql, values).await?.into_iter().next())
    }

    /// Changes rows and says how many.
    pub(crate) async fn run(&mut self, sql: impl Into<Sql>, values: Vec<Val>) -> Result<u64> {
        let sql = sql.into().0;
        self.let_others_run().await;
        match self.conn()? {
            Conn::Sqlite(conn) => sqlite::run(conn, &sql, &values),
            Conn::Postgres(conn) => {
                let query = sqlx::query_with(AssertSqlSafe(sql), postgres_arguments(values)?);
                Ok(conn.execute(query).await.map_err(constraint::error)?.rows_affected())
            }
        }
    }

    /// A long row of SQLite's statements would keep its thread to itself.
    async fn let_others_run(&mut self) {
        if matches!(self.link, Link::Sqlite(_) | Link::SqliteWriter(_)) {
            tokio::task::consume_budget().await;
        }
    }
}

fn read(conn: &rusqlite::Connection, sql: &str, values: &[Val]) -> Result<Vec<Row>> {
    Ok(sqlite::all(conn, sql, values)?.into_iter().map(Row::Sqlite).collect())
}

/// Text of a statement: made of constants and placeholders only, never of input.
pub(crate) struct Sql(String);

impl From<&'static str> for Sql {
    fn from(text: &'static str) -> Self {
        Self(text.to_owned())
    }
}

impl Sql {
    /// `text` was put together from constants; values are placeholders.
    pub(crate) fn assembled(text: String) -> Self {
        Self(text)
    }
}

/// Most placeholders of one list; both engines take more, but not without end.
pub(crate) const LIST_MAX: usize = 500;

/// `$3, $4, $5`: `count` placeholders from number `first` on.
pub(crate) fn placeholders(first: usize, count: usize) -> String {
    let numbers: Vec<String> = (first..first + count).map(|n| format!("${n}")).collect();
    numbers.join(", ")
}

/// A value for a placeholder.
#[derive(Clone)]
pub(crate) enum Val {
    Int(Option<i64>),
    Text(Option<String>),
}

macro_rules! val_from {
    ($($from:ty: $value:ident => $val:expr;)*) => {
        $(impl From<$from> for Val { fn from($value: $from) -> Self { $val } })*
    };
}
val_from! {
    i64: value => Self::Int(Some(value));
    Option<i64>: value => Self::Int(value);
    Id: value => Self::Int(Some(value.get()));
    Option<Id>: value => Self::Int(value.map(Id::get));
    Timestamp: value => Self::Int(Some(value.micros()));
    Option<Timestamp>: value => Self::Int(value.map(Timestamp::micros));
    &str: value => Self::Text(Some(value.to_owned()));
    &String: value => Self::Text(Some(value.clone()));
    String: value => Self::Text(Some(value));
    Option<&str>: value => Self::Text(value.map(str::to_owned));
    Option<String>: value => Self::Text(value);
}

/// `vals![a, b]`: values in the order of the placeholders.
macro_rules! vals {
    ($($value:expr),* $(,)?) => { vec![$($crate::db::Val::from($value)),*] };
}
pub(crate) use vals;

fn postgres_arguments(values: Vec<Val>) -> Result<PgArguments> {
    use sqlx::Arguments as _;
    let mut arguments = PgArguments::default();
    for value in values {
        match value {
            Val::Int(number) => arguments.add(number),
            Val::Text(text) => arguments.add(text),
        }
        .map_err(Error::internal)?;
    }
    Ok(arguments)
}

/// A row whose columns are read by name.
pub(crate) enum Row {
    Sqlite(sqlite::Row),
    Postgres(PgRow),
}

impl Row {
    pub(crate) fn int(&self, name: &str) -> Result<i64> {
        self.int_or_null(name)?.ok_or_else(|| self.broken(name))
    }

    pub(crate) fn int_or_null(&self, name: &str) -> Result<Option<i64>> {
        match self {
            Self::Sqlite(row) => match row.value(name) {
                Some(Value::Integer(number)) => Ok(Some(*number)),
                Some(Value::Null) => Ok(None),
                _ => Err(self.broken(name)),
            },
            Self::Postgres(row) => row.try_get(name).map_err(failed),
        }
    }

    pub(crate) fn text(&self, name: &str) -> Result<String> {
        self.text_or_null(name)?.ok_or_else(|| self.broken(name))
    }

    pub(crate) fn text_or_null(&self, name: &str) -> Result<Option<String>> {
        match self {
            Self::Sqlite(row) => match row.value(name) {
                Some(Value::Text(text)) => Ok(Some(text.clone())),
                Some(Value::Null) => Ok(None),
                _ => Err(self.broken(name)),
            },
            Self::Postgres(row) => row.try_get(name).map_err(failed),
        }
    }

    /// The value of a column that holds numbers or texts.
    pub(crate) fn value(&self, name: &str) -> Result<Val> {
        self.int_or_null(name).map(Val::Int).or_else(|_| self.text_or_null(name).map(Val::Text))
    }

    pub(crate) fn id(&self, name: &str) -> Result<Id> {
        Id::new(self.int(name)?).ok_or_else(|| self.broken(name))
    }

    pub(crate) fn time(&self, name: &str) -> Result<Timestamp> {
        self.int(name).map(Timestamp::from_micros)
    }

    pub(crate) fn time_or_null(&self, name: &str) -> Result<Option<Timestamp>> {
        Ok(self.int_or_null(name)?.map(Timestamp::from_micros))
    }

    fn broken(&self, name: &str) -> Error {
        let columns: Vec<&str> = match self {
            Self::Sqlite(row) => row.names().iter().map(String::as_str).collect(),
            Self::Postgres(row) => row.columns().iter().map(Column::name).collect(),
        };
        Error::internal(format!("column {name} of ({}) holds no usable value", columns.join(", ")))
    }
}

/// A failure of the engine that is nobody's fault out there.
pub(crate) fn failed(error: sqlx::Error) -> Error {
    Error::internal(error)
}
