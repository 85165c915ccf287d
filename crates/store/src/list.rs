//! One page of a table: filters, a stable order, and the number of matches.

use gantry_model::page::folded;
use gantry_model::{Direction, Id, ListQuery, Result};

use crate::db::{Row, Sql, Tx, Val};

/// A list that callers may page through. Every text here is a constant of ours.
pub(crate) struct List {
    pub columns: &'static str,
    /// Tables and joins; the listed table is called `t`.
    pub from: &'static str,
    /// Condition on `$1`… that says whose rows these are.
    pub scope: &'static str,
    /// Fields that callers may sort by, and the columns behind them; the first is the default.
    pub orders: &'static [(&'static str, &'static str)],
}

/// The rows of one page and the number of matches over all pages.
pub(crate) async fn page(
    tx: &mut Tx,
    list: &List,
    scope: Vec<Val>,
    query: &ListQuery,
) -> Result<(Vec<Row>, i64)> {
    let (filter, values) = filter(tx, list, scope, query);
    let next = values.len() + 1;
    let sql = format!(
        "SELECT {} FROM {} WHERE {filter} ORDER BY {} LIMIT ${next} OFFSET ${}",
        list.columns,
        list.from,
        order(column(list, query), query.direction),
        next + 1,
    );
    let mut page_values = values.clone();
    page_values.extend([Val::from(query.limit()), Val::from(query.offset())]);
    let rows = tx.all(Sql::assembled(sql), page_values).await?;
    let count = count(tx, list.from, &filter, values).await?;
    Ok((rows, count))
}

/// The same for a list that may be very long, in which `t.id` is unique. `table` is the listed
/// table without joins, `total` the number of rows without filters.
///
/// No row is looked at twice: an unfiltered page is reached from the nearer end, and what matches
/// behind a filtered page is counted from its last row on.
pub(crate) async fn long_page(
    tx: &mut Tx,
    list: &List,
    table: &str,
    scope: Vec<Val>,
    total: Option<i64>,
    query: &ListQuery,
) -> Result<(Vec<Row>, i64)> {
    let (filter, mut values) = filter(tx, list, scope, query);
    let column = column(list, query);
    let total = total.filter(|_| !is_filtered(query));
    let part = Part::of(query, total);
    let next = values.len() + 1;
    // The inner query reads nothing but an index, and skips there.
    let sql = format!(
        "SELECT {} FROM {} WHERE t.id IN (
             SELECT t.id FROM {table} WHERE {filter} ORDER BY {} LIMIT ${next} OFFSET ${})
         ORDER BY {}",
        list.columns,
        list.from,
        order(column, part.direction),
        next + 1,
        order(column, query.direction),
    );
    let mut page_values = values.clone();
    page_values.extend([Val::from(part.limit), Val::from(part.offset)]);
    let rows = tx.all_planned(Sql::assembled(sql), page_values).await?;
    let seen = part.offset + rows.len() as i64;
    let is_last = (rows.len() as i64) < part.limit;
    let count = match (total, rows.last()) {
        (Some(total), _) => total,
        (None, Some(_)) if is_last => seen,
        (None, Some(last)) => {
            let beyond = if query.direction == Direction::Asc { '>' } else { '<' };
            let filter = format!("{filter} AND ({column}, t.id) {beyond} (${next}, ${})", next + 1);
            values.push(last.value(column.trim_start_matches("t."))?);
            values.push(last.value("id")?);
            seen + count(tx, table, &filter, values).await?
        }
        (None, None) if part.offset == 0 => 0,
        (None, None) => count(tx, table, &filter, values).await?,
    };
    Ok((rows, count))
}

async fn count(tx: &mut Tx, from: &str, filter: &str, values: Vec<Val>) -> Result<i64> {
    let sql = format!("SELECT COUNT(*) AS matches FROM {from} WHERE {filter}");
    let rows = tx.all_planned(Sql::assembled(sql), values).await?;
    rows.first().map_or(Ok(0), |row| row.int("matches"))
}

/// Which rows to read, from which end.
#[derive(Debug, PartialEq, Eq)]
struct Part {
    direction: Direction,
    offset: i64,
    limit: i64,
}

impl Part {
    fn of(query: &ListQuery, total: Option<i64>) -> Self {
        let (direction, offset, limit) = (query.direction, query.offset(), query.limit());
        let Some(total) = total else { return Self { direction, offset, limit } };
        let limit = limit.min(total.saturating_sub(offset)).max(0);
        let behind = total.saturating_sub(offset).saturating_sub(limit).max(0);
        if behind >= offset || limit == 0 {
            return Self { direction, offset: offset.min(total), limit };
        }
        let opposite = match direction {
            Direction::Asc => Direction::Desc,
            Direction::Desc => Direction::Asc,
        };
        Self { direction: opposite, offset: behind, limit }
    }
}

/// The column to sort by.
fn column(list: &List, query: &ListQuery) -> &'static str {
    let wanted = query.order_by.as_deref();
    let found = list.orders.iter().find(|(field, _)| Some(*field) == wanted);
    found.or_else(|| list.orders.first()).map_or("t.id", |(_, column)| *column)
}

fn order(column: &str, direction: Direction) -> String {
    match direction {
        Direction::Asc => format!("{column} ASC, t.id ASC"),
        Direction::Desc => format!("{column} DESC, t.id DESC"),
    }
}

fn is_filtered(query: &ListQuery) -> bool {
    !query.search.is_empty() || !query.labels.is_empty() || query.active.is_some()
}

fn filter(tx: &mut Tx, list: &List, mut values: Vec<Val>, query: &ListQuery) -> (String, Vec<Val>) {
    let mut filter = list.scope.to_owned();
    // No text of ours has it, and PostgreSQL takes it for an error.
    if query.search.contains('\0') || query.labels.iter().any(|label| label.contains('\0')) {
        return (filter + " AND 1 = 0", values);
    }
    if !query.search.is_empty() {
        values.push(Val::from(contains(&query.search)));
        filter += &format!(" AND t.search_text LIKE ${} ESCAPE '\\'", values.len());
    }
    for label in &query.labels {
        values.push(Val::from(format!("\n{label}\n")));
        filter += &format!(" AND {}", tx.contains("t.label_text", values.len()));
    }
    if let Some(active) = query.active {
        values.push(Val::from(i64::from(active)));
        filter += &format!(" AND t.active = ${}", values.len());
    }
    (filter, values)
}

/// Pattern for texts that contain `part`, in lower case, with the wildcards of LIKE made literal.
fn contains(part: &str) -> String {
    let mut pattern = String::from("%");
    for letter in folded(part).chars() {
        if matches!(letter, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern.push('%');
    pattern
}

/// Ids as values.
pub(crate) fn ids(ids: &[Id]) -> Vec<Val> {
    ids.iter().map(|id| Val::from(*id)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_in_a_search_are_letters() {
        assert_eq!(contains("50%_Off\\"), "%50\\%\\_off\\\\%");
    }
}
