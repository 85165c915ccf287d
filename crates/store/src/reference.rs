//! Which resource refers to which: to other resources by id, to consumers by their labels.

use std::collections::{BTreeMap, BTreeSet};

use gantry_model::{Id, Result};

use crate::Tx;
use crate::db::{LIST_MAX, Sql, Val, placeholders, vals};
use crate::resource::{Kind, RESOURCES, ResourceRow, of_any_kind};

/// Makes `targets` what a resource refers to.
pub async fn set(tx: &mut Tx, source: Id, targets: &BTreeSet<Id>) -> Result<()> {
    tx.run("DELETE FROM resource_refs WHERE source_id = $1", vals![source]).await?;
    for target in targets {
        tx.run(
            "INSERT INTO resource_refs (source_id, target_id) VALUES ($1, $2)
             ON CONFLICT (source_id, target_id) DO NOTHING",
            vals![source, *target],
        )
        .await?;
    }
    Ok(())
}

/// Makes `labels` the labels of consumers that a resource names.
pub async fn set_labels(
    tx: &mut Tx,
    source: &ResourceRow,
    labels: &BTreeSet<String>,
) -> Result<()> {
    tx.run("DELETE FROM label_refs WHERE source_id = $1", vals![source.id]).await?;
    for label in labels {
        tx.run(
            "INSERT INTO label_refs (source_id, label, cluster_id) VALUES ($1, $2, $3)
             ON CONFLICT (source_id, label) DO NOTHING",
            vals![source.id, label, source.cluster_id],
        )
        .await?;
    }
    Ok(())
}

/// The resources that refer to `target`, by id.
pub async fn referrers(tx: &mut Tx, target: Id) -> Result<Vec<ResourceRow>> {
    let sql = format!(
        "SELECT * FROM {RESOURCES}
         WHERE t.id IN (SELECT source_id FROM resource_refs WHERE target_id = $1) ORDER BY t.id"
    );
    of_any_kind(&tx.all(Sql::assembled(sql), vals![target]).await?)
}

/// The resources of a cluster that name one of `labels`, by id.
pub async fn naming(
    tx: &mut Tx,
    cluster: Id,
    labels: &BTreeSet<String>,
) -> Result<Vec<ResourceRow>> {
    let mut found = BTreeMap::new();
    let labels: Vec<&String> = labels.iter().collect();
    for labels in labels.chunks(LIST_MAX) {
        let sql = format!(
            "SELECT * FROM {RESOURCES} WHERE t.id IN (
                 SELECT source_id FROM label_refs WHERE cluster_id = $1 AND label IN ({})
             ) ORDER BY t.id",
            placeholders(2, labels.len())
        );
        let mut values = vals![cluster];
        values.extend(labels.iter().copied().map(Val::from));
        let rows = of_any_kind(&tx.all(Sql::assembled(sql), values).await?)?;
        found.extend(rows.into_iter().map(|row| (row.id, row)));
    }
    Ok(found.into_values().collect())
}

/// Names of the consumers of a cluster that carry a label, for each of `labels` that any carries.
pub async fn labelled_consumers(
    tx: &mut Tx,
    cluster: Id,
    labels: &BTreeSet<String>,
) -> Result<BTreeMap<String, BTreeSet<String>>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let labels: Vec<&String> = labels.iter().collect();
    for labels in labels.chunks(LIST_MAX) {
        let sql = format!(
            "SELECT l.label, r.name FROM labels l JOIN resources r ON r.id = l.resource_id
             WHERE l.cluster_id = $1 AND l.kind = $2 AND l.label IN ({}) AND r.name IS NOT NULL",
            placeholders(3, labels.len())
        );
        let mut values = vals![cluster, Kind::Consumer.name()];
        values.extend(labels.iter().copied().map(Val::from));
        for row in tx.all(Sql::assembled(sql), values).await? {
            found.entry(row.text("label")?).or_default().insert(row.text("name")?);
        }
    }
    Ok(found)
}
