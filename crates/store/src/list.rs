//! One page of a table: filters, a stable order, and the number of matches.

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
    let (filter, values) = filter(list, scope, query);
    let count = format!("SELECT COUNT(*) AS matches FROM {} WHERE {filter}", list.from);
    let next = values.len() + 1;
    let sql = format!(
        "SELECT {} FROM {} WHERE {filter} ORDER BY {} LIMIT ${next} OFFSET ${}",
        list.columns,
        list.from,
        order(list, query),
        next + 1,
    );
    let mut page_values = values.clone();
    page_values.extend([Val::from(query.limit()), Val::from(query.offset())]);
    let rows = tx.all(Sql::assembled(sql), page_values).await?;
    let matches = tx.all(Sql::assembled(count), values).await?;
    Ok((rows, matches.first().map_or(Ok(0), |row| row.int("matches"))?))
}

fn order(list: &List, query: &ListQuery) -> String {
    let wanted = query.order_by.as_deref();
    let column = list
        .orders
        .iter()
        .find(|(field, _)| Some(*field) == wanted)
        .or_else(|| list.orders.first())
        .map_or("t.id", |(_, column)| *column);
    match query.direction {
        Direction::Asc => format!("{column} ASC, t.id ASC"),
        Direction::Desc => format!("{column} DESC, t.id DESC"),
    }
}

fn filter(list: &List, mut values: Vec<Val>, query: &ListQuery) -> (String, Vec<Val>) {
    let mut filter = list.scope.to_owned();
    if !query.search.is_empty() {
        values.push(Val::from(contains(&query.search)));
        filter += &format!(" AND t.search_text LIKE ${} ESCAPE '\\'", values.len());
    }
    for label in &query.labels {
        values.push(Val::from(label));
        filter += &format!(
            " AND EXISTS (SELECT 1 FROM labels l WHERE l.resource_id = t.id AND l.label = ${})",
            values.len()
        );
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
    for letter in part.to_lowercase().chars() {
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
