//! Everything that is sealed, column by column, for a change of the key.

use gantry_model::Result;

use crate::Tx;
use crate::db::{Sql, Val};

/// A column that holds sealed text, or nothing.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    pub table: &'static str,
    pub name: &'static str,
    /// Columns that together name one row; what a value is bound to is made of them.
    pub keys: &'static [Key],
    /// A join that brings the columns of [`Key::Joined`]; empty where there are none.
    pub join: &'static str,
}

/// A column of a row's name.
#[derive(Clone, Copy, Debug)]
pub enum Key {
    Number(&'static str),
    Text(&'static str),
    /// A text of another table: part of what a value is bound to, but not of the row's name.
    Joined(&'static str),
}

/// A sealed value and the name of its row.
#[derive(Clone, Debug)]
pub struct Value {
    pub keys: Vec<String>,
    pub sealed: String,
}

impl Key {
    fn name(self) -> &'static str {
        match self {
            Self::Number(name) | Self::Text(name) | Self::Joined(name) => name,
        }
    }
}

impl Column {
    fn key_names(&self) -> Vec<&'static str> {
        self.keys.iter().map(|key| key.name()).collect()
    }
}

/// Up to `limit` values of a column from position `offset` on, in the order of their rows' names.
pub async fn page(tx: &mut Tx, column: &Column, offset: i64, limit: i64) -> Result<Vec<Value>> {
    let keys = column.key_names().join(", ");
    let Column { table, name, join, .. } = column;
    let sql = format!(
        "SELECT {keys}, {name} AS sealed_value FROM {table} {join} WHERE {name} IS NOT NULL
         ORDER BY {keys} LIMIT $1 OFFSET $2"
    );
    let rows = tx.all(Sql::assembled(sql), vec![Val::from(limit), Val::from(offset)]).await?;
    let value = |row: &crate::db::Row| {
        let key = |key: &Key| match key {
            Key::Number(name) => row.int(name).map(|number| number.to_string()),
            Key::Text(name) | Key::Joined(name) => row.text(name),
        };
        let keys = column.keys.iter().map(key).collect::<Result<_>>()?;
        Ok(Value { keys, sealed: row.text("sealed_value")? })
    };
    rows.iter().map(value).collect()
}

/// Puts `sealed` in the place of the value in the row called `keys`.
pub async fn replace(tx: &mut Tx, column: &Column, keys: &[String], sealed: &str) -> Result<()> {
    let mut values = vec![Val::from(sealed)];
    let mut filter = Vec::new();
    for (key, text) in column.keys.iter().zip(keys) {
        values.push(match key {
            Key::Number(_) => Val::from(text.parse::<i64>().ok()),
            Key::Text(_) => Val::from(text),
            Key::Joined(_) => continue,
        });
        filter.push(format!("{} = ${}", key.name(), values.len()));
    }
    let Column { table, name, .. } = column;
    let sql = format!("UPDATE {table} SET {name} = $1 WHERE {}", filter.join(" AND "));
    tx.run(Sql::assembled(sql), values).await?;
    Ok(())
}
